//! The order of things in a decoder layer, as the walk and the prediction of its memory both know it: which inputs differ
//! from the dense ones, which may change places, and what is read for the last time.

use super::RunError;
use super::options::{PruneOptions, StatisticsSource};
use crate::model::{ActivationSite, Spec};
use crate::prune::{Channels, Propagate, Within};

/// Whether the inputs at an activation site differ between the pruned and the dense layer, and the difference is corrected.
pub(super) fn drifts(spec: &Spec, options: &PruneOptions, site: ActivationSite) -> bool {
    let same = options.within == Within::Layer || (options.propagate != Propagate::Both && enters(spec, site));
    !same && options.propagate != Propagate::Pruned && !matches!(options.sums, StatisticsSource::Loaded(_))
}

/// Whether an activation site reads nothing but what enters the layer.
pub(super) fn enters(spec: &Spec, site: ActivationSite) -> bool {
    match site {
        ActivationSite::AttentionInput => true,
        ActivationSite::MlpInput | ActivationSite::ExpertInput(_) => spec.parallel,
        _ => false,
    }
}

/// The MLP (or which expert) that is read for the last time when this activation site is captured, but by the pass to the next
/// layer. That reads the dense layer if inputs are dense, else the pruned one: the other copy can go, unless both streams
/// go on.
pub(super) fn done_after(site: ActivationSite) -> Option<Option<usize>> {
    match site {
        ActivationSite::MlpHidden => Some(None),
        ActivationSite::ExpertHidden(expert) => Some(Some(expert)),
        _ => None,
    }
}

/// The inputs at an activation site that may change places; none if they are the residual stream.
pub(super) fn channels(spec: &Spec, site: ActivationSite) -> Option<Channels> {
    match site {
        ActivationSite::MlpHidden | ActivationSite::ExpertHidden(_) => Some(Channels::all(spec.width(site))),
        ActivationSite::AttentionOutput => Some(Channels {
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
