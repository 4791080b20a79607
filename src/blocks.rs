//! Large blocks of memory straight from the system, so that what is freed is not the process's any more.
//!
//! glibc serves also a large block from a hole in its heap, if there is one, and keeps the hole when the block is freed. A
//! tokenizer leaves a hole of up to a hundred times its text; a run through many layers would fill it bit by bit and never
//! give it back.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;

/// Bytes from which a block is mapped. A smaller one costs more to map than to copy.
const LARGE: usize = 128 << 10;
/// Mappings begin at multiples of this on every system.
const PAGE: usize = 4096;

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

// SAFETY: a layout alone says who has a block, and each of the two keeps the contract for its own.
unsafe impl GlobalAlloc for Blocks {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match is_mapped(layout) {
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
            true => {
                // SAFETY: `map` made it of this size. Where the system refuses, that costs only memory.
                let _ = unsafe { libc::munmap(block.cast(), layout.size()) };
            }
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
