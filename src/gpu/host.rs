//! The host executor: plays commands with each kernel's twin.

use std::sync::{RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use super::record::Dispatch;
use super::timing::Timings;
use super::{Buffer, HostCall, Slice};

fn words(slice: &Slice) -> std::ops::Range<usize> {
    slice.offset as usize / 4..(slice.offset + slice.len) as usize / 4
}

/// Copies `bytes` to the start of the buffer and clears the padding of the last word.
pub(super) fn write(buffer: &Buffer, bytes: &[u8]) {
    let mut memory = buffer.host().write().expect("host buffer lock");
    if let Some(last) = memory[..bytes.len().div_ceil(4)].last_mut() {
        *last = 0;
    }
    bytemuck::cast_slice_mut::<u32, u8>(&mut memory)[..bytes.len()].copy_from_slice(bytes);
}

pub(super) fn read(slice: &Slice) -> Vec<u32> {
    slice.buffer.host().read().expect("host buffer lock")[words(slice)].to_vec()
}

pub(super) fn copy(from: &Slice, to: &Slice) {
    let source = from.buffer.host().read().expect("host buffer lock");
    to.buffer.host().write().expect("host buffer lock")[words(to)].copy_from_slice(&source[words(from)]);
}

pub(super) fn clear(target: &Slice) {
    target.buffer.host().write().expect("host buffer lock")[words(target)].fill(0);
}

/// Plays one dispatch with the kernel's twin.
pub(super) fn dispatch(command: &Dispatch, timings: &Timings) {
    let start = Instant::now();
    with_bindings(command, command.kernel.host);
    timings.add(command.kernel.stem, start.elapsed().as_secs_f64());
}

/// What `play` makes of a dispatch, under the locks of its bindings.
pub(super) fn with_bindings<T>(command: &Dispatch, play: impl FnOnce(&mut HostCall<'_>) -> T) -> T {
    let (reads, writes) = command.bindings.split_at(command.kernel.reads);
    let read_guards: Vec<RwLockReadGuard<'_, Vec<u32>>> = reads
        .iter()
        .map(|s| s.buffer.host().read().expect("host buffer lock"))
        .collect();
    let mut write_guards: Vec<RwLockWriteGuard<'_, Vec<u32>>> = writes
        .iter()
        .map(|s| s.buffer.host().write().expect("host buffer lock"))
        .collect();
    let mut call = HostCall {
        knobs: &command.knobs,
        params: &command.params,
        reads: reads.iter().zip(&read_guards).map(|(s, g)| &g[words(s)]).collect(),
        writes: writes
            .iter()
            .zip(&mut write_guards)
            .map(|(s, g)| &mut g[words(s)])
            .collect(),
    };
    play(&mut call)
}
