//! What a run tells while it works.

use crate::report::LinearRecord;

/// What a run tells while it works.
pub trait Progress {
    /// A linear is done; `done` of `total` linears.
    fn linear(&mut self, done: usize, total: usize, record: &LinearRecord);
    /// A decoder layer is done, `done` of `total` linears with it.
    fn layer(&mut self, layer: usize, done: usize, total: usize);
    /// A step of a descent is done, of `total`, with this loss in nats a token.
    fn step(&mut self, done: usize, total: usize, loss: f64);
    /// A stage outside the layers begins.
    fn stage(&mut self, name: &str);
}
