//! How much a walk takes with batches and solver blocks of some sizes, and which sizes fit a limit.

use super::layer::Moment;
use super::resident::kept;

/// What can be chosen.
#[derive(Clone, Copy)]
pub(in crate::run) struct Sizes {
    /// Rows of a batch.
    pub(in crate::run) rows: usize,
    /// Bytes of a matrix of the solver.
    pub(in crate::run) matrix: u64,
}

/// The walk, and what is there all the time.
pub(in crate::run) struct Walked<'m> {
    pub(in crate::run) moments: &'m [Moment],
    /// The process itself.
    pub(in crate::run) settled: u64,
    /// Small buffers of the device.
    pub(in crate::run) small: u64,
    /// What the host executor packs of a row in a product.
    pub(in crate::run) packed_row: u64,
    /// Whether buffers of the device are the process's.
    pub(in crate::run) shared: bool,
}

impl Walked<'_> {
    /// Peak of device buffers.
    pub(in crate::run) fn device(&self, sizes: Sizes) -> u64 {
        let device = self.moments.iter().map(|m| m.device(sizes.rows, sizes.matrix));
        self.small + device.max().unwrap_or(0)
    }

    /// What a moment takes beside device and streams, or leaves there for products before it.
    fn heap(&self, moment: &Moment, rows: usize) -> u64 {
        moment.host(rows).max(moment.heap + kept(self.packed_row * rows as u64))
    }

    /// The process at a moment, without streams, with `stock` bytes of freed buffers kept at most.
    pub(in crate::run) fn beside(&self, moment: &Moment, sizes: Sizes, stock: u64) -> u64 {
        let buffers = match self.shared {
            // What is kept never raises the peak of the buffers.
            true => (self.small + stock + moment.device(sizes.rows, sizes.matrix)).min(self.device(sizes)),
            // On their way to the device and back.
            false => 2 * moment.matrix.min(sizes.matrix),
        };
        self.settled + self.heap(moment, sizes.rows) + buffers
    }

    /// Peak of the process with `stream` bytes of each stream in memory.
    pub(in crate::run) fn host(&self, sizes: Sizes, stream: u64, stock: u64) -> u64 {
        let bytes = |m: &Moment| {
            self.beside(m, sizes, stock)
                .saturating_add(m.streams.saturating_mul(stream))
        };
        self.moments.iter().map(bytes).max().unwrap_or(self.settled)
    }

    /// Bytes of a solver matrix that fit beside the rest wherever one is needed; all of it where that fits.
    pub(in crate::run) fn matrix(&self, rows: usize, limits: Limits) -> u64 {
        let largest = self.moments.iter().map(|m| m.matrix).max().unwrap_or(0);
        let fitting = |m: &Moment| {
            let beside = self.small + m.device(rows, 0);
            let device = limits.vram.saturating_sub(beside) / m.matrices;
            let ram = limits.ram.saturating_sub(self.settled + self.heap(m, rows));
            let host = match self.shared {
                true => ram.saturating_sub(beside) / m.matrices,
                false => ram / 2,
            };
            match device.min(host) {
                bytes if bytes >= m.matrix => largest,
                bytes => bytes,
            }
        };
        let solving = self.moments.iter().filter(|m| m.matrices > 0);
        solving.map(fitting).min().unwrap_or(largest).min(largest)
    }
}

/// What there is, bytes.
#[derive(Clone, Copy)]
pub(in crate::run) struct Limits {
    /// On the device.
    pub(in crate::run) vram: u64,
    /// Resident.
    pub(in crate::run) ram: u64,
}
