//! Inputs of a group of linears, summed over the calibration set.

use super::RunError;
use crate::gpu::{Gpu, Recording};
use crate::linalg;
use crate::model::{Activations, Ahead, Block, Group, Routing, Tap};
use crate::ops::dense;
use crate::prune::GramStatistics;
use crate::tensor::{PanelMatrix, Tensor};

/// A half of a decoder layer in the pruned model and, for the correction of errors made before, in the
/// dense one.
pub(super) struct Streams<'a> {
    /// Weights pruned so far, and the stream its half reads.
    pub(super) pruned: (Block<'a>, &'a Activations),
    /// The dense weights, and the stream they saw.
    pub(super) dense: (Block<'a>, &'a Activations),
}

impl Streams<'_> {
    /// Sums over all batches: the Gram of the pruned stream's inputs and, if `corrected`, the drift from the dense ones.
    pub(super) fn capture(&self, gpu: &Gpu, group: &Group, corrected: bool) -> Result<GramStatistics, RunError> {
        let n = self.pruned.0.spec.width(group.input);
        let mut sums = Sums::new(gpu, n, corrected)?;
        let (mut pruned, mut dense) = (Ahead::default(), Ahead::default());
        for batch in 0..self.pruned.1.batches() {
            let mut recording = Recording::new();
            let x = pruned.take(gpu, self.pruned.1, batch)?;
            let routing = self.routing(&mut recording, &x, group.input)?;
            let Some(inputs) = tap(&mut recording, &self.pruned.0, &x, group.input, routing.as_ref())? else {
                continue;
            };
            let drift = if corrected {
                let x = dense.take(gpu, self.dense.1, batch)?;
                // The pruned stream's routes for both: a drift is between rows of one token.
                tap(&mut recording, &self.dense.0, &x, group.input, routing.as_ref())?
            } else {
                None
            };
            sums.add(&mut recording, gpu, &inputs, drift.as_ref());
            let submission = gpu.submit(recording)?;
            pruned.fetch(gpu, self.pruned.1, batch + 1)?;
            if corrected {
                dense.fetch(gpu, self.dense.1, batch + 1)?;
            }
            submission.wait()?;
        }
        sums.finish(gpu)
    }

    fn routing(&self, recording: &mut Recording, x: &Tensor, at: Tap) -> Result<Option<Routing>, RunError> {
        match at {
            Tap::ExpertInput(_) | Tap::ExpertHidden(_) => Ok(Some(self.pruned.0.route(recording, x)?)),
            _ => Ok(None),
        }
    }
}

fn tap(
    recording: &mut Recording,
    block: &Block<'_>,
    x: &Tensor,
    at: Tap,
    routing: Option<&Routing>,
) -> Result<Option<Tensor>, RunError> {
    Ok(match routing {
        Some(routing) => block.expert_tap(recording, x, routing, at)?,
        None => Some(block.tap(recording, x, at)?),
    })
}

/// Sums being gathered.
struct Sums {
    gram: PanelMatrix,
    drift: Option<[PanelMatrix; 2]>,
    tokens: usize,
}

impl Sums {
    fn new(gpu: &Gpu, n: usize, corrected: bool) -> Result<Self, RunError> {
        let mut recording = Recording::new();
        let mut zeros = |label| PanelMatrix::zeros(gpu, &mut recording, label, n);
        let gram = zeros("gram")?;
        let drift = if corrected {
            Some([zeros("drift cross-gram")?, zeros("drift gram")?])
        } else {
            None
        };
        gpu.submit(recording)?;
        Ok(Sums { gram, drift, tokens: 0 })
    }

    /// Records one batch: inputs `[tokens, n]` of the pruned stream and the same of the dense one.
    fn add(&mut self, recording: &mut Recording, gpu: &Gpu, inputs: &Tensor, dense: Option<&Tensor>) {
        self.tokens += inputs.rows();
        linalg::accumulate(recording, gpu, inputs, inputs, &self.gram, true);
        if let (Some(delta), Some([cross, square])) = (dense, &self.drift) {
            dense::axpby(recording, 1.0, inputs, -1.0, delta);
            linalg::accumulate(recording, gpu, delta, inputs, cross, false);
            linalg::accumulate(recording, gpu, delta, delta, square, true);
        }
    }

    fn finish(self, gpu: &Gpu) -> Result<GramStatistics, RunError> {
        let mut recording = Recording::new();
        linalg::finish(&mut recording, &self.gram);
        if let Some([_, square]) = &self.drift {
            linalg::finish(&mut recording, square);
        }
        gpu.submit(recording)?;
        Ok(GramStatistics {
            gram: self.gram,
            drift: self.drift,
            tokens: self.tokens,
        })
    }
}
