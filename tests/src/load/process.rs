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
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("reading the process's memory")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kib * 1_024)
}
