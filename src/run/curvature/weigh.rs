//! What is weighed in the first pass of a shot: curvatures from factors, and the costs of all that may go, counted.

use super::factors::LayerFactors;
use super::piece::{LinearSlice, pieces};
use crate::gpu::Gpu;
use crate::model::{ActivationSite, Decoder, Spec};
use crate::prune::surgeon::{CostHistogram, Costs, Curvature, Grain, Saliency};
use crate::prune::{Damping, Pattern};
use crate::run::RunError;
use crate::tensor::Tensor;

/// What a pattern removes as one.
pub(in crate::run) fn grain(pattern: Pattern) -> Grain {
    match pattern {
        Pattern::Unstructured { .. } => Grain::Weights,
        Pattern::NM { n, m } => Grain::Groups { n, m },
    }
}

/// Gives the curvature of every linear of the forward pass of a layer that has factors to `each`, with where it reads, in the
/// order of the linears; the factors are used up. Damping is that of inputs and of outputs.
pub(in crate::run) fn each_curvature(
    (gpu, spec): (&Gpu, &Spec),
    layer: usize,
    factors: &mut LayerFactors,
    damping: [Damping; 2],
    mut each: impl FnMut(ActivationSite, &LinearSlice<'_>, &Curvature) -> Result<(), RunError>,
) -> Result<(), RunError> {
    for (number, group) in spec.groups(layer)?.iter().enumerate() {
        if !factors.has(number) {
            continue;
        }
        let place = format!("layer {layer}, {:?}", group.input);
        let inputs = factors.take_inputs(gpu, number, damping[0], &place)?;
        for piece in pieces(&group.linears) {
            let curvature = Curvature {
                outputs: factors.take_outputs(gpu, piece.id, damping[1], &place)?,
                inputs: inputs.clone(),
            };
            each(group.input, &piece, &curvature)?;
        }
    }
    Ok(())
}

/// How costs are counted.
#[derive(Clone, Copy)]
pub(in crate::run) struct CostRule {
    pub(in crate::run) pattern: Pattern,
    /// Share of the weights or groups that is to be zero: that of an expert of which nothing else is known.
    pub(in crate::run) share: f64,
    /// Of the factors of inputs and of outputs.
    pub(in crate::run) damping: [Damping; 2],
}

impl CostRule {
    /// Gives every linear of the forward pass of a layer to `each`, in the order of [`super::prune::Surgery::layer`], with its
    /// costs, counted, and the energy of each of its outputs' gradients; the factors are used up.
    pub(in crate::run) fn histograms(
        &self,
        decoder: &Decoder<'_>,
        layer: usize,
        factors: &mut LayerFactors,
        mut each: impl FnMut(&LinearSlice<'_>, CostHistogram, Vec<f64>),
    ) -> Result<(), RunError> {
        self.each(decoder, layer, factors, |piece, curvature, weight| {
            let costs = self.removal(decoder.gpu, curvature, weight)?;
            each(piece, costs, curvature.outputs.energy());
            Ok(())
        })
    }

    /// What removing weights or groups costs.
    pub(in crate::run) fn removal(
        &self,
        gpu: &Gpu,
        curvature: &Curvature,
        weight: &Tensor,
    ) -> Result<CostHistogram, RunError> {
        let costs = Costs::new(gpu, curvature, weight, Saliency::Obs, grain(self.pattern))?;
        Ok(self.known(curvature, costs.histogram(gpu, weight)?))
    }

    /// The costs of a linear; one that saw no token gets the share of all.
    pub(in crate::run) fn known(&self, curvature: &Curvature, costs: CostHistogram) -> CostHistogram {
        match curvature.unseen() {
            true => costs.settled(self.share),
            false => costs,
        }
    }

    /// Gives every linear of the forward pass of a layer with its curvature and weight to `each`.
    pub(in crate::run) fn each(
        &self,
        decoder: &Decoder<'_>,
        layer: usize,
        factors: &mut LayerFactors,
        mut each: impl FnMut(&LinearSlice<'_>, &Curvature, &Tensor) -> Result<(), RunError>,
    ) -> Result<(), RunError> {
        let (gpu, spec) = (decoder.gpu, decoder.spec);
        each_curvature((gpu, spec), layer, factors, self.damping, |_, piece, curvature| {
            let (weight, _) = piece.weight(gpu, decoder.checkpoint)?;
            each(piece, curvature, &weight)
        })
    }
}
