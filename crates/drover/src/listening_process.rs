//! The process that listens on a port of this machine, as far as this user may see it (Linux: proc(5)).

use std::fs;
use std::path::Path;

/// A process.
#[derive(Debug)]
pub struct Process {
    pub id: u32,
    pub name: String,
}

/// Who listens on a TCP port.
pub fn of_port(port: u16) -> Option<Process> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|text| text.lines().filter_map(|line| listening(line, port)).collect::<Vec<_>>())
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let has_socket = |process: &Path| {
        let links = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
        let mut targets = links.filter_map(|link| fs::read_link(link.path()).ok());
        targets.any(|target| inodes.iter().any(|inode| target.as_os_str() == inode.as_str()))
    };
    let mut processes = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    // Beside the processes there are names for the one that asks.
    let id = |path: &Path| path.file_name()?.to_str()?.parse().ok();
    let (path, id) = processes.find_map(|path| {
        let id = id(&path)?;
        has_socket(&path).then_some((path, id))
    })?;
    let name = fs::read_to_string(path.join("comm")).ok()?;
    Some(Process { id, name: name.trim().to_owned() })
}

/// The inode of a socket that listens on the port.
fn listening(line: &str, port: u16) -> Option<String> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, state) = (fields.next()?, fields.nth(1)?);
    let (_, found) = local.rsplit_once(':')?;
    let listens = state == "0A" && u16::from_str_radix(found, 16) == Ok(port);
    listens.then(|| fields.nth(5).map(str::to_owned))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listening_socket_is_found_in_the_table_of_the_kernel() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0 100 0 0 10 0";
        assert_eq!(listening(line, 8_080), Some("4242".to_owned()));
        assert_eq!(listening(line, 8_081), None);
        assert_eq!(listening(&line.replace(" 0A ", " 01 "), 8_080), None);
    }
}
