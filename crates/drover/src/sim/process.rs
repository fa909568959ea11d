//! The CPU time of a server on this machine, from /proc (Linux: proc(5)).

use std::fs;
use std::time::Duration;

use crate::listening_process;

/// Ticks of /proc/PID/stat a second; fixed at 100 on Linux.
const TICKS: u64 = 100;
/// Fields of the line after the name: user and system time.
const TIMES: [usize; 2] = [11, 12];

/// A process whose CPU time can be read.
#[derive(Debug)]
pub struct Cpu {
    process: u32,
}

impl Cpu {
    /// The process that listens at an address of this machine, `host:port` or a URL; none elsewhere, or when this user may not see it.
    pub fn of_listener(address: &str) -> Option<Self> {
        let address = address.split_once("://").map_or(address, |(_, rest)| rest);
        let (host, port) = address.trim_end_matches('/').rsplit_once(':')?;
        let is_local = matches!(host, "localhost" | "[::1]") || host.starts_with("127.");
        let process = is_local.then(|| listening_process::of_port(port.parse().ok()?)).flatten()?;
        Some(Self { process: process.id })
    }

    /// User and system time since its start.
    pub fn used(&self) -> Option<Duration> {
        times(&fs::read_to_string(format!("/proc/{}/stat", self.process)).ok()?)
    }
}

fn times(stat: &str) -> Option<Duration> {
    // The name, in brackets, may hold anything.
    let (_, after_name) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = TIMES.iter().map(|index| fields.get(*index)?.parse::<u64>().ok()).sum::<Option<u64>>()?;
    Some(Duration::from_millis(ticks * 1_000 / TICKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_stand_after_a_name_that_may_hold_anything() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 12 0 0 0 150 50 0 0 20 0 4 0 100 1 1";
        assert_eq!(times(stat), Some(Duration::from_secs(2)));
        assert_eq!(times("7 (a) S 1"), None);
    }

    #[test]
    fn the_listener_of_a_port_of_this_machine_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let cpu = Cpu::of_listener(&format!("http://127.0.0.1:{port}/")).unwrap();
        assert_eq!(cpu.process, std::process::id());
        assert!(cpu.used().is_some());
        assert!(Cpu::of_listener(&format!("drover.example:{port}")).is_none());
    }
}
