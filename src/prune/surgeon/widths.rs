//! How many neurons and attention groups go, so that a model of a promised size is left; and which. Host code.
//!
//! Uniform: every layer loses the same number of each, its own cheapest. How many of each is the split of least cost at the
//! size asked for; only then is the width of the MLP rounded, to what comes nearest to that size. Padded: one threshold for
//! all layers ([`super::cheapest_units`]), and the widest layer gives the width.

use serde::Serialize;

use super::structured::{Unit, cheapest_units};
use super::units::standardized;

/// Units of a layer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Widths {
    /// Neurons of the MLP.
    pub neurons: usize,
    /// Key/value heads with their query heads.
    pub groups: usize,
}

/// What is to be removed of a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SizeTarget {
    /// Before the first shot.
    pub whole: Widths,
    /// Layers.
    pub layers: usize,
    /// Weights that a neuron of one layer has; 0 if neurons stay.
    pub neuron: u64,
    /// Weights that a group of one layer has; 0 if groups stay.
    pub group: u64,
    /// Weights to remove from all layers together.
    pub weights: u64,
    /// What the number of neurons is a multiple of in the end.
    pub round: usize,
    /// Numbers of groups that may be left, ascending, the present one last.
    pub groups: Vec<usize>,
}

/// Costs of one layer's units, as they are now; those without any cost are gone already or worth nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerCosts {
    /// Of the neurons; empty if they stay.
    pub neurons: Vec<f64>,
    /// Of the groups; empty if they stay.
    pub groups: Vec<f64>,
}

impl LayerCosts {
    /// Each kind [`standardized`] by itself.
    pub fn standardized(&self) -> Self {
        LayerCosts {
            neurons: standardized(&self.neurons),
            groups: standardized(&self.groups),
        }
    }
}

/// Units of one layer to remove, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerCut {
    /// Neurons.
    pub neurons: Vec<usize>,
    /// Groups.
    pub groups: Vec<usize>,
}

/// What a shot removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Units of every layer afterwards; what a layer has not, zeros fill up.
    pub widths: Widths,
    /// One per layer.
    pub layers: Vec<LayerCut>,
}

/// What the width of the MLP is a multiple of unless asked otherwise: 256, and for widths below 1024 the largest power of two
/// that is at most a quarter of it.
pub fn default_round(neurons: usize) -> usize {
    (1 << (neurons / 4).max(1).ilog2()).min(256)
}

/// Neurons that an MLP keeps at least, if it had four times as many: kernels and quantisers want no fewer.
const LEAST_NEURONS: usize = 64;

impl SizeTarget {
    fn least_neurons(&self) -> usize {
        match self.whole.neurons < 4 * LEAST_NEURONS {
            true => 1,
            false => LEAST_NEURONS,
        }
    }

    /// Weights gone from all layers together at these widths.
    pub fn removed(&self, left: Widths) -> u64 {
        let neurons = (self.whole.neurons - left.neurons) as u64;
        let groups = (self.whole.groups - left.groups) as u64;
        self.layers as u64 * (neurons * self.neuron + groups * self.group)
    }

    /// Weights gone from one layer once `share` of all that is to go is gone.
    fn per_layer(&self, share: f64) -> f64 {
        share * self.weights as f64 / self.layers as f64
    }

    fn groups_weights(&self, left: usize) -> f64 {
        ((self.whole.groups - left) as u64 * self.group) as f64
    }

    /// The widths the run may end with, most groups first: for each number of groups the width of the MLP that brings the
    /// model nearest to its size. Empty if none does.
    pub fn promises(&self) -> Vec<Widths> {
        let rest = |groups: usize| self.per_layer(1.0) - self.groups_weights(groups);
        if self.neuron == 0 {
            let nearest = self.groups.iter().copied().filter(|groups| *groups < self.whole.groups);
            let nearest = nearest.min_by(|a, b| rest(*a).abs().total_cmp(&rest(*b).abs()));
            let neurons = self.whole.neurons;
            return nearest.map(|groups| Widths { neurons, groups }).into_iter().collect();
        }
        let promise = |groups: &usize| {
            let width = self.whole.neurons as f64 - rest(*groups) / self.neuron as f64;
            let neurons = self.rounded(width)?;
            Some(Widths {
                neurons,
                groups: *groups,
            })
            .filter(|widths| *widths != self.whole)
        };
        self.groups.iter().rev().filter_map(promise).collect()
    }

    /// The multiple nearest to a width, or the present width; none beyond half a step of them.
    fn rounded(&self, width: f64) -> Option<usize> {
        let (round, whole) = (self.round, self.whole.neurons);
        let below = (width.max(0.0) as usize / round * round).min(whole);
        let choices = [below, (below + round).min(whole)];
        let distance = |choice: usize| (choice as f64 - width).abs();
        let nearest = choices
            .into_iter()
            .filter(|choice| *choice >= self.least_neurons())
            .min_by(|a, b| distance(*a).total_cmp(&distance(*b)))?;
        (2.0 * distance(nearest) <= round as f64).then_some(nearest)
    }

    /// What to remove of layers that are `now` so wide, once `share` of all is to be gone (1 in the last shot); none if no
    /// promise can be kept any more.
    pub fn uniform(&self, now: Widths, share: f64, costs: &[LayerCosts]) -> Option<Cut> {
        let half_group = self.group as f64 / 2.0;
        let mut best: Option<(f64, Widths)> = None;
        for promise in self.promises() {
            let last = share >= 1.0;
            let budget = self.per_layer(share) - self.groups_weights(promise.groups);
            if promise.groups > now.groups || promise.neurons > now.neurons || (!last && budget < -half_group) {
                continue;
            }
            // The split is weighed before the width is rounded: else the one that removes least would win.
            let exact = self.width(budget).min(now.neurons);
            let cost = costs.iter().map(|layer| {
                cheapest(&layer.neurons, now.neurons - exact).1 + cheapest(&layer.groups, now.groups - promise.groups).1
            });
            let cost = cost.sum();
            let neurons = if last {
                promise.neurons
            } else {
                self.width(share * self.removed_per_layer(promise) - self.groups_weights(promise.groups))
                    .clamp(promise.neurons, now.neurons)
            };
            if best.is_none_or(|(least, _)| cost < least) {
                let groups = promise.groups;
                best = Some((cost, Widths { neurons, groups }));
            }
        }
        let (_, widths) = best.or_else(|| self.neither(now, share))?;
        let layers = costs.iter().map(|layer| LayerCut {
            neurons: cheapest(&layer.neurons, now.neurons - widths.neurons).0,
            groups: cheapest(&layer.groups, now.groups - widths.groups).0,
        });
        Some(Cut {
            widths,
            layers: layers.collect(),
        })
    }

    /// A shot that is too small for the first group leaves all as it is.
    fn neither(&self, now: Widths, share: f64) -> Option<(f64, Widths)> {
        (share < 1.0).then_some((0.0, now))
    }

    fn removed_per_layer(&self, left: Widths) -> f64 {
        self.removed(left) as f64 / self.layers as f64
    }

    /// Neurons left when those of a budget are gone.
    fn width(&self, budget: f64) -> usize {
        let gone = match self.neuron {
            0 => 0.0,
            neuron => (budget / neuron as f64).round().max(0.0),
        };
        self.whole.neurons.saturating_sub(gone as usize)
    }

    /// What to remove over all layers by one threshold, at most `share` of the target, and the widths that hold the widest
    /// layer, rounded in the last shot. A unit and a group stay in every layer.
    pub fn padded(&self, now: Widths, share: f64, costs: &[LayerCosts]) -> Cut {
        let (units, places) = self.units(costs);
        let kinds = [now.neurons, now.groups].map(|units| units.saturating_sub(1));
        let most: Vec<usize> = kinds.into_iter().cycle().take(2 * costs.len()).collect();
        // Zeros of earlier shots are candidates again, at no cost; only what is cut off for good has been paid.
        let budget = ((share * self.weights as f64) as u64).saturating_sub(self.removed(now));
        let mut layers = vec![LayerCut::default(); costs.len()];
        for removed in cheapest_units(&units, &most, budget) {
            let (layer, group, number) = places[removed];
            let cut = &mut layers[layer];
            if group { &mut cut.groups } else { &mut cut.neurons }.push(number);
        }
        let widest = |all: usize, of: &dyn Fn(&LayerCut) -> usize| all - layers.iter().map(of).min().unwrap_or(0);
        let mut widths = Widths {
            neurons: widest(now.neurons, &|cut| cut.neurons.len()),
            groups: widest(now.groups, &|cut| cut.groups.len()),
        };
        if share >= 1.0 && self.neuron > 0 {
            let width = widths.neurons.max(self.least_neurons()).next_multiple_of(self.round);
            widths.neurons = width.min(self.whole.neurons);
        }
        let fits = self.groups.iter().copied().find(|groups| *groups >= widths.groups);
        widths.groups = fits.unwrap_or(self.whole.groups);
        Cut { widths, layers }
    }

    /// Units of all layers, and where each is: layer, whether a group, number.
    fn units(&self, costs: &[LayerCosts]) -> (Vec<Unit>, Vec<(usize, bool, usize)>) {
        let (mut units, mut places) = (Vec::new(), Vec::new());
        for (layer, costs) in costs.iter().enumerate() {
            let kinds = [(&costs.neurons, self.neuron), (&costs.groups, self.group)];
            for (kind, (costs, parameters)) in kinds.into_iter().enumerate() {
                for (number, cost) in costs.iter().enumerate() {
                    let class = 2 * layer + kind;
                    units.push(Unit {
                        cost: *cost,
                        parameters,
                        class,
                    });
                    places.push((layer, kind == 1, number));
                }
            }
        }
        (units, places)
    }
}

/// The numbers of the `count` cheapest, ascending, and their cost together. Equal costs: lower numbers first.
pub(super) fn cheapest(costs: &[f64], count: usize) -> (Vec<usize>, f64) {
    let mut order: Vec<usize> = (0..costs.len()).collect();
    order.sort_by(|a, b| costs[*a].total_cmp(&costs[*b]));
    order.truncate(count);
    order.sort_unstable();
    let sum = order.iter().map(|i| costs[*i]).sum();
    (order, sum)
}

#[cfg(test)]
#[path = "widths_tests.rs"]
mod tests;
