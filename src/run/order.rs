//! The order of things in a decoder layer, as the walk and the prediction of its memory both know it: which inputs differ
//! from the dense ones, which may change places, and what is read for the last time.

use super::RunError;
use super::options::{PruneOptions, Sums};
use crate::model::{Spec, Tap};
use crate::prune::{Channels, Propagate, Within};

/// Whether the inputs at a tap differ between the pruned and the dense layer, and the difference is corrected.
pub(super) fn drifts(spec: &Spec, options: &PruneOptions, tap: Tap) -> bool {
    let same = options.within == Within::Layer || (options.propagate != Propagate::Both && enters(spec, tap));
    !same && options.propagate != Propagate::Pruned && !matches!(options.sums, Sums::Loaded(_))
}

/// Whether a tap reads nothing but what enters the layer.
pub(super) fn enters(spec: &Spec, tap: Tap) -> bool {
    match tap {
        Tap::AttentionInput => true,
        Tap::MlpInput | Tap::ExpertInput(_) => spec.parallel,
        _ => false,
    }
}

/// The MLP (or which expert) that is read for the last time when this tap is captured, but by the pass to the next
/// layer. That reads the dense layer if inputs are dense, else the pruned one: the other copy can go, unless both streams
/// go on.
pub(super) fn done_after(tap: Tap) -> Option<Option<usize>> {
    match tap {
        Tap::MlpHidden => Some(None),
        Tap::ExpertHidden(expert) => Some(Some(expert)),
        _ => None,
    }
}

/// The inputs at a tap that may change places; none if they are the residual stream.
pub(super) fn channels(spec: &Spec, tap: Tap) -> Option<Channels> {
    match tap {
        Tap::MlpHidden | Tap::ExpertHidden(_) => Some(Channels::all(spec.width(tap))),
        Tap::AttentionOutput => Some(Channels {
            segments: spec.kv_heads,
            copies: spec.heads / spec.kv_heads,
            width: spec.head_dim,
        }),
        _ => None,
    }
}

/// Linears of these layers.
pub(super) fn linears_of(spec: &Spec, mut layers: std::ops::Range<usize>) -> Result<usize, RunError> {
    layers.try_fold(0, |sum, layer| Ok(sum + spec.linears_of(layer)?.len()))
}
