//! Parts of a batch that go through a layer at the same time, each on threads of its own.
//!
//! A kernel of the host executor ends when its slowest thread does, and the less there is for a thread, the more of its time
//! goes by waiting. Two halves of a batch on half the threads each wait for each other once a layer.

use std::sync::OnceLock;

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::gpu::Gpu;

/// Parts on their way at once, at most.
const LANES: usize = 2;

/// How many parts a batch of so many sequences is cut into.
pub(super) fn lanes(gpu: &Gpu, sequences: usize) -> usize {
    match gpu.is_host() && rayon::current_num_threads() > 1 {
        true => sequences.clamp(1, LANES),
        false => 1,
    }
}

/// Threads of all lanes together.
pub(crate) fn lane_threads() -> usize {
    match rayon::current_num_threads() {
        1 => 0,
        threads => threads.div_ceil(LANES) * LANES,
    }
}

/// What `work` makes of every part, in their order; of one part on all threads.
pub(crate) fn at_once<P: Send, R: Send>(parts: Vec<P>, work: impl Fn(P) -> R + Sync) -> Vec<R> {
    static POOLS: OnceLock<Vec<ThreadPool>> = OnceLock::new();
    if parts.len() == 1 {
        return parts.into_iter().map(work).collect();
    }
    let pools = POOLS.get_or_init(|| {
        let threads = rayon::current_num_threads().div_ceil(LANES);
        let pool = |_| ThreadPoolBuilder::new().num_threads(threads).build();
        (0..LANES)
            .map(|lane| pool(lane).expect("threads can be started"))
            .collect()
    });
    // Not tasks of one pool: a thread that waits for pieces of its kernel could begin the other part's kernel, and wait
    // for locks that it holds itself.
    std::thread::scope(|scope| {
        let work = &work;
        let begin = |(part, pool): (P, &'static ThreadPool)| scope.spawn(move || pool.install(|| work(part)));
        let threads: Vec<_> = parts.into_iter().zip(pools).map(begin).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, R>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    })
}
