//! The `secateur` binary: everything is in the library's `cli` room.

fn main() -> std::process::ExitCode {
    give_memory_back();
    secateur::cli::main()
}

/// Makes glibc take every large block from the system and give it back as soon as it is freed. By default it keeps what
/// was freed below a threshold that grows with use, and a run would hold far more than it needs.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_memory_back() {
    const LARGE: libc::c_int = 1 << 20;
    // SAFETY: called before any thread is started; a refusal changes nothing.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_memory_back() {}
