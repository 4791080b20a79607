//! The `secateur` binary: everything is in the library's `cli` room.

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod blocks;

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static BLOCKS: blocks::Blocks = blocks::Blocks;

fn main() -> std::process::ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    blocks::one_heap();
    secateur::cli::main()
}
