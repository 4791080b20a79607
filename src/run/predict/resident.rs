//! Resident memory: what this process and machine have, as the system reports it, and what a process takes beside what a
//! run keeps.

use std::path::Path;

use crate::checkpoint::Checkpoint;
use crate::gpu::Gpu;
use crate::model::{Spec, lane_threads};

/// The program's pages and what it allocates before it has opened anything.
const PROGRAM: u64 = 15 << 20;
/// Bytes of freed blocks that the program's allocator keeps at most.
pub const ALLOCATOR_STOCK: usize = 6 << 20;
/// What a driver takes beside the buffers, with 16 MiB on their way to it; measured with a driver that compiles for the CPU.
const DRIVER: u64 = 135 << 20;
/// Stack of a thread, and pieces that it encodes or decodes.
const THREAD: u64 = 640 << 10;
/// What a thread of a lane takes beside: while it works in a layer, the others wait.
const LANE: u64 = 384 << 10;
/// Rows and inner width of a block of a product that a thread of the host executor packs, at most, by the caches of today.
const PACKED: [u64; 2] = [384, 512];
/// Query rows of a block of attention there.
const QUERIES: u64 = 64;
/// What is left of a tokenizer: pages of freed memory that hold something else too.
const LEFT_BEHIND: u64 = 3 << 20;
/// A linear's names, places and record, as they are and as they are written.
const LINEAR: u64 = 4 << 10;
/// Bytes that the tokenizer takes per byte of its file, while it is read and afterwards; measured.
const TOKENIZER: [u64; 2] = [15, 9];
/// Bytes that a text takes per byte of its file, if it is tokenised as a whole, and if it is lines of JSON; measured.
const TEXT: [u64; 2] = [97, 2];

/// Largest resident memory of this process so far, bytes; `None` where the system does not tell.
pub fn peak_resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// Free space on the disk that holds a path, or will.
pub fn free_disk(path: &Path) -> Option<u64> {
    let path = std::path::absolute(path).ok()?;
    let present = path.ancestors().find(|folder| folder.exists())?.canonicalize().ok()?;
    let disks = sysinfo::Disks::new_with_refreshed_list().ok()?;
    let holding = disks.iter().filter(|d| present.starts_with(d.mount_point()));
    let nearest = holding.max_by_key(|d| d.mount_point().as_os_str().len())?;
    Some(nearest.available_space())
}

/// From now on [`peak_resident`] tells of what follows, where the system can forget; else still of the whole process.
pub(in crate::run) fn reset_peak_resident() {
    // What is free by now is not of what follows.
    give_back();
    // Only Linux has the file.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Gives what was freed in small pieces back to the system: a tokenizer consists of millions of them.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(in crate::run) fn give_back() {
    // SAFETY: always allowed.
    unsafe { libc::malloc_trim(0) };
}

/// Does nothing: only glibc must be asked.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(in crate::run) fn give_back() {}

/// Total and available memory of the machine, bytes; `None` where the system does not tell.
pub fn total_memory() -> Option<[u64; 2]> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    Some([system.total_memory(), system.available_memory()])
}

/// What a process takes whatever it works on, on a device.
pub(in crate::run) struct Process {
    program: u64,
    threads: u64,
    rest: u64,
    tokenizer: u64,
    on_host: bool,
}

/// Which way a process goes through a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::run) enum Way {
    /// Forwards.
    Forward,
    /// And backwards.
    Backward,
}

impl Process {
    /// With sequences of `length` tokens.
    pub(in crate::run) fn of(gpu: &Gpu, checkpoint: &Checkpoint, spec: &Spec, length: usize, way: Way) -> Self {
        let on_host = gpu.is_host();
        let tokenizer = file_bytes(&checkpoint.dir().join("tokenizer.json"));
        let widest = spec.ffn.max(spec.hidden).max(spec.heads * spec.head_dim) as u64;
        let [rows, inner] = PACKED;
        // Scores; backwards also what pulls at them, twice.
        let scores = QUERIES * length as u64 * if way == Way::Backward { 3 } else { 1 };
        let products = if on_host {
            4 * (rows * inner.min(widest) + scores)
        } else {
            0
        };
        let linears = (0..spec.layers).map(|layer| spec.linears_of(layer).map_or(0, |l| l.len() as u64));
        let threads = rayon::current_num_threads() as u64 * (THREAD + products);
        let lanes = if on_host { LANE * lane_threads() as u64 } else { 0 };
        Process {
            program: PROGRAM + if on_host { 0 } else { DRIVER },
            threads: threads + lanes,
            rest: LEFT_BEHIND.min(tokenizer) + LINEAR * linears.sum::<u64>(),
            tokenizer,
            on_host,
        }
    }

    /// Once it works.
    pub(in crate::run) fn at_work(&self) -> u64 {
        self.program + self.threads + self.rest
    }

    /// While it reads the tokenizer, then the tokens of a text, which is taken as a whole unless it is lines of JSON.
    pub(in crate::run) fn tokenising(&self, text: &Path) -> u64 {
        let name = text.to_string_lossy().to_lowercase();
        let (name, packed) = match name.strip_suffix(".gz") {
            Some(name) => (name, 3),
            None => (name.as_str(), 1),
        };
        let lines = [".jsonl", ".ndjson", ".json"]
            .iter()
            .any(|ending| name.ends_with(ending));
        let text = packed * TEXT[usize::from(lines)] * file_bytes(text);
        self.program + (TOKENIZER[0] * self.tokenizer).max(TOKENIZER[1] * self.tokenizer + text)
    }

    /// What it packs in a product of `rows` rows with a layer's weights.
    pub(in crate::run) fn packed_in_layer(&self, spec: &Spec, rows: usize) -> u64 {
        self.packed(rows as u64, spec.hidden.max(spec.ffn))
    }

    /// And what a row adds to that.
    pub(in crate::run) fn packed_row(&self, spec: &Spec) -> u64 {
        self.packed_in_layer(spec, 1) - self.packed_in_layer(spec, 0)
    }

    /// What the host executor packs of both sides of a product whose result has `rows` rows.
    pub(in crate::run) fn packed(&self, rows: u64, inner: usize) -> u64 {
        let [height, depth] = PACKED;
        match self.on_host {
            true => 4 * depth.min(inner as u64) * (rows + 2 * height),
            false => 0,
        }
    }
}

/// What is kept of freed blocks where products pack so much: blocks of two sizes, a layer's width and its MLP's.
pub(in crate::run) fn kept(packed: u64) -> u64 {
    (ALLOCATOR_STOCK as u64).min(2 * packed)
}

/// Bytes of a file; 0 if it cannot be read.
fn file_bytes(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |found| found.len())
}

/// Bytes as MiB.
pub(in crate::run) fn mib(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
}
