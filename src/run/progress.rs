//! What a run tells while it works.

use crate::report::LinearRecord;

/// What a run tells while it works; by default nobody hears it.
pub trait Progress {
    /// A linear is done; `done` of `total` linears.
    fn linear(&mut self, _done: usize, _total: usize, _record: &LinearRecord) {}
    /// A decoder layer is done, `done` of `total` linears with it.
    fn layer(&mut self, _layer: usize, _done: usize, _total: usize) {}
    /// A step of a descent is done, of `total`, with this loss in nats a token.
    fn step(&mut self, _done: usize, _total: usize, _loss: f64) {}
    /// A stage outside the layers begins.
    fn stage(&mut self, _name: &str) {}
}
