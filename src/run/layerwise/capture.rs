//! Inputs of groups of linears, summed over the calibration set.

use crate::gpu::{Gpu, Recording};
use crate::linalg;
use crate::model::{ActivationSite, Activations, Ahead, DecoderLayer, Group, Routing, at_once};
use crate::ops::dense;
use crate::ops::dense::{Gemm, Layout};
use crate::prune::{GramStatistics, InputSums, Needs};
use crate::run::RunError;
use crate::tensor::{PanelMatrix, Tensor};

/// A half of a decoder layer in the pruned model and, for the correction of errors made before, in the
/// dense one.
pub(in crate::run) struct Streams<'a> {
    /// Weights pruned so far, and the stream its half reads.
    pub(in crate::run) pruned: (DecoderLayer<'a>, &'a Activations),
    /// The dense weights, and the stream they saw.
    pub(in crate::run) dense: (DecoderLayer<'a>, &'a Activations),
}

impl Streams<'_> {
    /// Sums over all batches: of the pruned stream's inputs and, if `corrected`, of the drift from the dense ones.
    ///
    /// `routes` are the experts of the pruned stream's tokens by batch: chosen by the first capture that wants them, and
    /// kept by the caller as long as the stream is the same.
    pub(in crate::run) fn capture(
        &self,
        gpu: &Gpu,
        group: &Group,
        (needs, corrected): (Needs, bool),
        routes: &mut Vec<Routing>,
    ) -> Result<GramStatistics, RunError> {
        let n = self.pruned.0.spec.width(group.input);
        let mut sums = GramSums::new(gpu, n, needs, corrected)?;
        let (mut pruned, mut dense) = (Ahead::default(), Ahead::default());
        let routed = matches!(
            group.input,
            ActivationSite::ExpertInput(_) | ActivationSite::ExpertHidden(_)
        );
        for batch in 0..self.pruned.1.batches() {
            let mut recording = Recording::new();
            let x = pruned.take(gpu, self.pruned.1, batch)?;
            if routed && routes.len() == batch {
                routes.push(self.pruned.0.route(&mut recording, &x)?);
            }
            let routing = routed.then(|| &routes[batch]);
            let Some(inputs) = activations_at(&mut recording, &self.pruned.0, &x, group.input, routing)? else {
                continue;
            };
            let drift = if corrected {
                let x = dense.take(gpu, self.dense.1, batch)?;
                // The pruned stream's routes for both: a drift is between rows of one token.
                activations_at(&mut recording, &self.dense.0, &x, group.input, routing)?
            } else {
                None
            };
            sums.add(&mut recording, gpu, &inputs, drift.as_ref())?;
            let submission = gpu.submit(recording)?;
            pruned.fetch(gpu, self.pruned.1, batch + 1)?;
            if corrected {
                dense.fetch(gpu, self.dense.1, batch + 1)?;
            }
            submission.wait()?;
        }
        sums.finish(gpu)
    }
}

/// Sums at the inputs of all groups of a layer without experts, in one pass over `stream`, which enters it.
pub(in crate::run) fn capture_all(
    gpu: &Gpu,
    block: &DecoderLayer<'_>,
    stream: &Activations,
    groups: &[Group],
    needs: Needs,
) -> Result<Vec<GramStatistics>, RunError> {
    let of = |group: &Group| GramSums::new(gpu, block.spec.width(group.input), needs, false);
    let mut sums = groups.iter().map(of).collect::<Result<Vec<_>, _>>()?;
    let mut add = |recording: &mut Recording, site: ActivationSite, inputs: &Tensor| {
        let mut wanted = groups.iter().zip(&mut sums).filter(|(group, _)| group.input == site);
        wanted.try_for_each(|(_, sums)| sums.add(recording, gpu, inputs, None))
    };
    if gpu.is_host() {
        for batch in 0..stream.batches() {
            let parts = at_once(stream.upload_parts(gpu, batch)?, |x| {
                let (mut recording, mut read_at) = (Recording::new(), Vec::new());
                block.all_activations(&mut recording, &x, |_, site, inputs| {
                    read_at.push((site, inputs.clone()))
                })?;
                gpu.submit(recording)?;
                Ok::<_, RunError>(read_at)
            });
            // In the order of the tokens, whichever part was first.
            for part in parts {
                let mut recording = Recording::new();
                for (site, inputs) in part? {
                    add(&mut recording, site, &inputs)?;
                }
                gpu.submit(recording)?;
            }
        }
        return sums.into_iter().map(|sums| sums.finish(gpu)).collect();
    }
    let mut ahead = Ahead::default();
    for batch in 0..stream.batches() {
        let mut recording = Recording::new();
        let x = ahead.take(gpu, stream, batch)?;
        let mut added = Ok(());
        block.all_activations(&mut recording, &x, |recording, site, inputs| {
            if added.is_ok() {
                added = add(recording, site, inputs);
            }
        })?;
        added?;
        let submission = gpu.submit(recording)?;
        ahead.fetch(gpu, stream, batch + 1)?;
        submission.wait()?;
    }
    sums.into_iter().map(|sums| sums.finish(gpu)).collect()
}

fn activations_at(
    recording: &mut Recording,
    block: &DecoderLayer<'_>,
    x: &Tensor,
    at: ActivationSite,
    routing: Option<&Routing>,
) -> Result<Option<Tensor>, RunError> {
    Ok(match routing {
        Some(routing) => block.expert_activations_at(recording, x, routing, at)?,
        None => Some(block.activations_at(recording, x, at)?),
    })
}

/// Sums being gathered.
struct GramSums {
    inputs: InputSums,
    drift: Option<[PanelMatrix; 2]>,
    tokens: usize,
}

impl GramSums {
    fn new(gpu: &Gpu, n: usize, needs: Needs, corrected: bool) -> Result<Self, RunError> {
        let mut recording = Recording::new();
        let mut zeros = |label| PanelMatrix::zeros(gpu, &mut recording, label, n);
        let drift = if corrected {
            Some([zeros("drift cross-gram")?, zeros("drift gram")?])
        } else {
            None
        };
        let inputs = match needs {
            Needs::Gram => InputSums::Gram(zeros("gram")?),
            Needs::Norms => InputSums::Squares(Tensor::zeros(gpu, &mut recording, "squares of inputs", 1, n)?),
        };
        gpu.submit(recording)?;
        let tokens = 0;
        Ok(GramSums { inputs, drift, tokens })
    }

    /// Records one batch: inputs `[tokens, n]` of the pruned stream and the same of the dense one.
    fn add(
        &mut self,
        recording: &mut Recording,
        gpu: &Gpu,
        inputs: &Tensor,
        dense: Option<&Tensor>,
    ) -> Result<(), RunError> {
        self.tokens += inputs.rows();
        match &self.inputs {
            InputSums::Gram(gram) => linalg::accumulate(recording, gpu, inputs, inputs, gram, true),
            InputSums::Squares(total) => add_squares(recording, gpu, inputs, total)?,
        }
        if let (Some(delta), Some([cross, square])) = (dense, &self.drift) {
            dense::axpby(recording, 1.0, inputs, -1.0, delta);
            linalg::accumulate(recording, gpu, delta, inputs, cross, false);
            linalg::accumulate(recording, gpu, delta, delta, square, true);
        }
        Ok(())
    }

    fn finish(self, gpu: &Gpu) -> Result<GramStatistics, RunError> {
        let mut recording = Recording::new();
        if let InputSums::Gram(gram) = &self.inputs {
            linalg::finish(&mut recording, gram);
        }
        if let Some([_, square]) = &self.drift {
            linalg::finish(&mut recording, square);
        }
        gpu.submit(recording)?;
        Ok(GramStatistics {
            inputs: self.inputs,
            drift: self.drift,
            tokens: self.tokens,
        })
    }
}

/// Records `total += Σ x²` by column for x `[tokens, n]`, the batch from zero.
fn add_squares(recording: &mut Recording, gpu: &Gpu, x: &Tensor, total: &Tensor) -> Result<(), RunError> {
    let [tokens, n] = x.shape();
    let squares = Tensor::empty(gpu, "squares", tokens, n)?;
    recording.copy(&x.slice(), &squares.slice());
    dense::multiply(recording, x, &squares);
    let ones = Tensor::upload(gpu, "ones", 1, tokens, &vec![1.0; tokens])?;
    dense::gemm(recording, gpu, &Gemm::new(&ones, &squares, Layout::NN, total).add());
    Ok(())
}
