//! What the system says about this process.

/// Resident memory in bytes.
#[cfg(target_os = "linux")]
pub(super) fn resident_bytes() -> Option<u64> {
    let status = procfs::process::Process::myself().ok()?.status().ok()?;
    Some(status.vmrss? * 1024)
}

/// Not told by other systems without more code.
#[cfg(not(target_os = "linux"))]
pub(super) const fn resident_bytes() -> Option<u64> {
    None
}

/// CPU time of all threads in seconds.
#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems do not tell")]
pub(super) fn cpu_seconds() -> Option<f64> {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Some(time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9)
}

/// Not told by other systems without more code.
#[cfg(not(unix))]
pub(super) const fn cpu_seconds() -> Option<f64> {
    None
}
