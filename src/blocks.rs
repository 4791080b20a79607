//! Large blocks of memory straight from the system, so that what is freed is not the process's any more.
//!
//! glibc serves also a large block from a hole in its heap, if there is one, and keeps the hole when the block is freed. A
//! tokenizer leaves a hole of up to a hundred times its text; a run through many layers would fill it bit by bit and never
//! give it back.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::Mutex;

/// Bytes from which a block is mapped. A smaller one costs more to map than to copy.
const LARGE: usize = 128 << 10;
/// Mappings begin at multiples of this on every system.
const PAGE: usize = 4096;

/// Bytes of freed blocks that are kept for the next of the same size: what a product packs of its operands, which would
/// otherwise be mapped, and faulted in page by page, in every product.
const STOCK: usize = secateur::run::ALLOCATOR_STOCK;
/// Alignment by which they are known: nothing else that is large begins at a cache line.
const PACKED: usize = 64;
/// Blocks kept at most.
const SLOTS: usize = 4;

/// Freed blocks and their bytes: first the empty places (0 bytes), then the blocks, the one longest free first.
struct Stock([(usize, usize); SLOTS]);

static STOCKED: Mutex<Stock> = Mutex::new(Stock([(0, 0); SLOTS]));

impl Stock {
    /// A block of just this size, with what was written there.
    fn take(&mut self, bytes: usize) -> Option<*mut u8> {
        let at = self.0.iter().rposition(|(_, size)| *size == bytes)?;
        let (block, _) = std::mem::take(&mut self.0[at]);
        self.0[..=at].rotate_right(1);
        Some(block as *mut u8)
    }

    /// Keeps a block, and gives up the oldest that there is no more room for.
    fn put(&mut self, block: *mut u8, bytes: usize) {
        if bytes > STOCK {
            return unmap(block, bytes);
        }
        while self.0[0].1 > 0 || self.held() + bytes > STOCK {
            let oldest = self.0.iter_mut().find(|(_, size)| *size > 0).expect("some are held");
            let (block, size) = std::mem::take(oldest);
            unmap(block as *mut u8, size);
        }
        self.0[0] = (block as usize, bytes);
        self.0.rotate_left(1);
    }

    fn held(&self) -> usize {
        self.0.iter().map(|(_, size)| size).sum()
    }
}

/// The system's allocator for small blocks, mappings for large ones.
pub(crate) struct Blocks;

/// Keeps glibc's heap, which is left with the small blocks, in one piece: pieces have holes each.
pub(crate) fn one_heap() {
    // SAFETY: called before any thread is started; a refusal changes nothing.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE as libc::c_int);
        libc::mallopt(libc::M_TRIM_THRESHOLD, LARGE as libc::c_int);
    }
}

fn is_mapped(layout: Layout) -> bool {
    layout.size() >= LARGE && layout.align() <= PAGE
}

/// Zeros; null if there is no memory.
fn map(bytes: usize) -> *mut u8 {
    let (access, kind) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    // SAFETY: a new mapping touches no other.
    let block = unsafe { libc::mmap(ptr::null_mut(), bytes, access, kind, -1, 0) };
    if block == libc::MAP_FAILED {
        ptr::null_mut()
    } else {
        block.cast()
    }
}

fn unmap(block: *mut u8, bytes: usize) {
    // SAFETY: `map` made it of this size, and nobody has it any more. Where the system refuses, that costs only memory.
    let _ = unsafe { libc::munmap(block.cast(), bytes) };
}

/// A kept block of this size.
fn stocked(bytes: usize) -> Option<*mut u8> {
    STOCKED.lock().ok()?.take(bytes)
}

fn keep(block: *mut u8, bytes: usize) {
    match STOCKED.lock() {
        Ok(mut stock) => stock.put(block, bytes),
        Err(_) => unmap(block, bytes),
    }
}

// SAFETY: a layout alone says who has a block, and each of the two keeps the contract for its own.
unsafe impl GlobalAlloc for Blocks {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match is_mapped(layout) {
            true if layout.align() >= PACKED => stocked(layout.size()).unwrap_or_else(|| map(layout.size())),
            true => map(layout.size()),
            // SAFETY: the caller's promise.
            false => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match is_mapped(layout) {
            true => map(layout.size()),
            // SAFETY: the caller's promise.
            false => unsafe { System.alloc_zeroed(layout) },
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match is_mapped(layout) {
            true if layout.align() >= PACKED => keep(block, layout.size()),
            true => unmap(block, layout.size()),
            // SAFETY: the caller's promise.
            false => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: the caller promises that the size fits a layout.
        let wanted = unsafe { Layout::from_size_align_unchecked(bytes, layout.align()) };
        match (is_mapped(layout), is_mapped(wanted)) {
            // SAFETY: the caller's promise.
            (false, false) => unsafe { System.realloc(block, layout, bytes) },
            (true, true) => {
                // SAFETY: `map` made it of this size; pages move with their contents.
                let moved = unsafe { libc::mremap(block.cast(), layout.size(), bytes, libc::MREMAP_MAYMOVE) };
                if moved == libc::MAP_FAILED {
                    ptr::null_mut()
                } else {
                    moved.cast()
                }
            }
            _ => {
                // SAFETY: both blocks are at least as long as what is copied, and the old one is freed once.
                unsafe {
                    let moved = self.alloc(wanted);
                    if !moved.is_null() {
                        ptr::copy_nonoverlapping(block, moved, layout.size().min(bytes));
                        self.dealloc(block, layout);
                    }
                    moved
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_block_serves_the_next_of_its_size() {
        let mut stock = Stock([(0, 0); SLOTS]);
        let blocks: Vec<*mut u8> = (1..=SLOTS + 1).map(|i| map(i * LARGE)).collect();
        for (i, block) in blocks.iter().enumerate() {
            stock.put(*block, (i + 1) * LARGE);
        }
        // The oldest was given up.
        assert_eq!(stock.held(), (2..=SLOTS + 1).sum::<usize>() * LARGE);
        assert_eq!(stock.take(LARGE), None);
        assert_eq!(stock.take(3 * LARGE), Some(blocks[2]));
        assert_eq!(stock.take(3 * LARGE), None);
        stock.put(blocks[2], 3 * LARGE);
        // The largest takes the room of all.
        stock.put(map(STOCK), STOCK);
        assert_eq!(stock.held(), STOCK);
        stock.put(map(STOCK + 1), STOCK + 1);
        assert_eq!(stock.held(), STOCK);
    }
}
