//! Memory of this process and machine, as the system reports it.

/// Largest resident memory of this process so far, bytes; `None` where the system does not tell.
pub fn peak_resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// Total and available memory of the machine, bytes; `None` where the system does not tell.
pub fn total_memory() -> Option<[u64; 2]> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    Some([system.total_memory(), system.available_memory()])
}
