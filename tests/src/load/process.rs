//! Readings of a running process from /proc.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// Ticks of /proc/PID/stat a second; fixed at 100 on Linux.
const TICKS: u64 = 100;

/// CPU time that a process has used, user and system together.
///
/// # Errors
/// When the process is gone.
pub fn cpu(pid: u32) -> anyhow::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("reading the process's CPU time")?;
    let after_name = stat.rsplit(") ").next().context("unexpected /proc stat")?;
    let field = |index: usize| -> anyhow::Result<u64> {
        Ok(after_name.split_whitespace().nth(index).context("short /proc stat")?.parse()?)
    };
    Ok(Duration::from_millis((field(11)? + field(12)?) * 1_000 / TICKS))
}

/// Resident memory of a process, in bytes.
///
/// # Errors
/// When the process is gone.
pub fn resident(pid: u32) -> anyhow::Result<u64> {
    memory(pid, "VmRSS:")
}

/// The most resident memory that a process had since its start or [`forget_peak`], in bytes.
///
/// # Errors
/// When the process is gone.
pub fn peak(pid: u32) -> anyhow::Result<u64> {
    memory(pid, "VmHWM:")
}

/// The peak begins anew with what is resident now.
///
/// # Errors
/// When the process is gone, or somebody else's.
pub fn forget_peak(pid: u32) -> anyhow::Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("resetting the peak of the process's memory")
}

fn memory(pid: u32, name: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("reading the process's memory")?;
    let line = status.lines().find(|line| line.starts_with(name)).with_context(|| format!("no {name}"))?;
    let kib: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kib * 1_024)
}
