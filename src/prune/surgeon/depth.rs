//! How many whole layers go, and what is removed of the others, so that a model of a promised size is left. Host code.
//!
//! A layer is one more kind of unit, dearer and heavier than the others: for every number of layers left, [`SizeTarget`]
//! says what goes of those; the number of least cost in all is taken. Layers that go are the cheapest. A shot before the
//! last does its share of what would be best in the end.

use serde::Serialize;

use super::widths::{Cut, LayerCosts, LayerCut, SizeTarget, Widths, cheapest};

/// What is to be removed of a model whose layers may go.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DepthTarget {
    /// Units of the model before the first shot.
    #[serde(flatten)]
    pub units: SizeTarget,
    /// Weights of one whole layer; 0 if layers stay.
    pub layer: u64,
}

/// Layers and their units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Layers.
    pub layers: usize,
    /// Units of each.
    pub widths: Widths,
}

/// What a shot removes, layers included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DepthCut {
    /// Layers that go, ascending.
    pub gone: Vec<usize>,
    /// What goes of those that stay, one for each.
    pub cut: Cut,
}

impl DepthTarget {
    /// Weights gone at these sizes.
    pub fn removed(&self, left: Sizes) -> u64 {
        self.of_layers(left.layers) + self.at(left.layers).removed(left.widths)
    }

    fn of_layers(&self, left: usize) -> u64 {
        (self.units.layers - left) as u64 * self.layer
    }

    /// What is to go of the units of so many layers.
    fn at(&self, left: usize) -> SizeTarget {
        SizeTarget {
            layers: left,
            weights: self.units.weights.saturating_sub(self.of_layers(left)),
            ..self.units.clone()
        }
    }

    /// The sizes the run may end with, most layers first.
    pub fn promises(&self) -> Vec<Sizes> {
        let all = self.units.layers;
        if self.layer == 0 {
            let widths = self.units.promises().into_iter();
            return widths.map(|widths| Sizes { layers: all, widths }).collect();
        }
        let left: Vec<usize> = (1..=all).rev().collect();
        left.into_iter().flat_map(|layers| self.promises_at(layers)).collect()
    }

    fn promises_at(&self, layers: usize) -> Vec<Sizes> {
        let (target, whole) = (self.at(layers), self.units.whole);
        let off = self.units.weights.abs_diff(self.of_layers(layers));
        let units = self.units.neuron > 0 || self.units.group > 0;
        // The least step in size: that of the units of these layers, or a layer.
        let steps = [self.units.neuron * self.units.round as u64, self.units.group];
        let step = match units {
            true => layers as u64 * steps.into_iter().filter(|s| *s > 0).min().unwrap_or(0),
            false => self.layer,
        };
        let mut widths = match units && self.of_layers(layers) <= self.units.weights {
            true => target.promises(),
            false => Vec::new(),
        };
        if layers < self.units.layers && 2 * off <= step {
            widths.push(whole);
        }
        widths.into_iter().map(|widths| Sizes { layers, widths }).collect()
    }

    /// What to remove of a model that has `now` these sizes, once `share` of all is to be gone (1 in the last shot), given
    /// the costs of units and of layers. None if no promise can be kept any more.
    pub fn cut(&self, now: Sizes, share: f64, costs: &[LayerCosts], layers: &[f64]) -> Option<DepthCut> {
        if self.layer == 0 {
            let cut = self.units.uniform(now.widths, share, costs)?;
            return Some(DepthCut { gone: Vec::new(), cut });
        }
        let mut left: Vec<usize> = self.promises().iter().map(|sizes| sizes.layers).collect();
        left.dedup();
        // What would be cheapest if all of it went now, of which a share goes.
        let reachable = left.into_iter().filter(|left| *left <= now.layers);
        let ends = reachable.filter_map(|left| {
            let (gone, kept) = split(layers, now.layers - left);
            let costs: Vec<LayerCosts> = kept.iter().map(|layer| costs[*layer].clone()).collect();
            let cut = self.units_at(left, now.widths, &costs)?;
            let cost = gone.iter().map(|layer| layers[*layer]).sum::<f64>() + cost_of(&cut, &costs);
            Some((cost, left, DepthCut { gone, cut }))
        });
        let (_, left, end) = ends.min_by(|a, b| a.0.total_cmp(&b.0))?;
        Some(if share >= 1.0 {
            end
        } else {
            self.part(now, share, (left, end.cut.widths != now.widths), (costs, layers))
        })
    }

    /// What goes of the units of so many layers in the end, and nothing else; none if no promise can be kept.
    fn units_at(&self, left: usize, now: Widths, costs: &[LayerCosts]) -> Option<Cut> {
        let promises = self.promises_at(left);
        let as_is = now == self.units.whole && promises.iter().any(|sizes| sizes.widths == now);
        let as_is = as_is.then(|| untouched(now, left));
        let units = match promises.iter().any(|sizes| sizes.widths != self.units.whole) {
            true => self.at(left).uniform(now, 1.0, costs),
            false => None,
        };
        let cuts = as_is.into_iter().chain(units);
        cuts.min_by(|a, b| cost_of(a, costs).total_cmp(&cost_of(b, costs)))
    }

    /// What goes before the last shot if in the end so many layers are left, and units of them go or not.
    fn part(
        &self,
        now: Sizes,
        share: f64,
        (left, units): (usize, bool),
        (costs, layers): (&[LayerCosts], &[f64]),
    ) -> DepthCut {
        let gone = (share * (self.units.layers - left) as f64).round() as usize;
        let present = (self.units.layers - gone).clamp(left, now.layers);
        let (gone, kept) = split(layers, now.layers - present);
        let costs: Vec<LayerCosts> = kept.iter().map(|layer| costs[*layer].clone()).collect();
        let target = self.at(left);
        let rest = share * self.units.weights as f64 - self.of_layers(present) as f64;
        let rest = (rest / target.weights.max(1) as f64).clamp(0.0, 1.0 - f64::EPSILON);
        let cut = match units {
            true => target.uniform(now.widths, rest, &costs),
            false => None,
        };
        let cut = cut.unwrap_or_else(|| untouched(now.widths, present));
        DepthCut { gone, cut }
    }
}

/// The numbers of the cheapest layers, so many, and those of the others, ascending.
fn split(costs: &[f64], count: usize) -> (Vec<usize>, Vec<usize>) {
    let gone = cheapest(costs, count).0;
    let kept = (0..costs.len()).filter(|layer| gone.binary_search(layer).is_err());
    let kept = kept.collect();
    (gone, kept)
}

fn untouched(widths: Widths, layers: usize) -> Cut {
    Cut {
        widths,
        layers: vec![LayerCut::default(); layers],
    }
}

fn cost_of(cut: &Cut, costs: &[LayerCosts]) -> f64 {
    let sum = |costs: &[f64], gone: &[usize]| gone.iter().map(|i| costs[*i]).sum::<f64>();
    let layers = cut.layers.iter().zip(costs);
    layers
        .map(|(cut, costs)| sum(&costs.neurons, &cut.neurons) + sum(&costs.groups, &cut.groups))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Widths = Widths { neurons: 16, groups: 2 };

    /// Six layers of 160 weights: 16 neurons of 6, two groups of 32.
    fn target(weights: u64, [neuron, group]: [u64; 2]) -> DepthTarget {
        DepthTarget {
            units: SizeTarget {
                whole: WHOLE,
                layers: 6,
                neuron,
                group,
                weights,
                round: 4,
                groups: if group > 0 { vec![1, 2] } else { vec![2] },
            },
            layer: 160,
        }
    }

    fn sizes(layers: usize, neurons: usize, groups: usize) -> Sizes {
        Sizes {
            layers,
            widths: Widths { neurons, groups },
        }
    }

    #[test]
    fn layers_alone() {
        for (weights, left) in [(160, 5), (300, 4), (230, 5), (400, 3)] {
            let target = target(weights, [0, 0]);
            let promises = target.promises();
            assert!(promises.contains(&sizes(left, 16, 2)), "{weights}: {promises:?}");
            assert!(promises.iter().all(|p| target.removed(*p).abs_diff(weights) <= 80));
        }
        assert!(target(70, [0, 0]).promises().is_empty());
        let costs = vec![LayerCosts::default(); 6];
        let cut = target(320, [0, 0]).cut(sizes(6, 16, 2), 1.0, &costs, &[5.0, 1.0, 4.0, 3.0, 0.5, 9.0]);
        assert_eq!(cut.unwrap().gone, [1, 4]);
        // Half of the way.
        let cut = target(320, [0, 0]).cut(sizes(6, 16, 2), 0.5, &costs, &[5.0, 1.0, 4.0, 3.0, 0.5, 9.0]);
        assert_eq!(cut.unwrap().gone, [4]);
        let cut = target(320, [0, 0]).cut(sizes(5, 16, 2), 1.0, &costs[1..], &[5.0, 1.0, 4.0, 3.0, 9.0]);
        assert_eq!(cut.unwrap().gone, [1]);
    }

    /// A layer goes where that costs less than as many weights of units.
    #[test]
    fn layers_or_units_by_their_cost() {
        let target = target(160, [6, 32]);
        let promises = target.promises();
        assert!(
            promises.contains(&sizes(5, 16, 2)) && promises.contains(&sizes(6, 12, 2)),
            "{promises:?}"
        );
        for promise in &promises {
            let off = target.removed(*promise).abs_diff(160);
            assert!(off <= 6 * 6 * 4 / 2, "{promise:?}: {off}");
        }
        let costs = vec![
            LayerCosts {
                neurons: vec![1.0; 16],
                groups: vec![10.0; 2],
            };
            6
        ];
        let cheap = [50.0, 50.0, 2.0, 50.0, 50.0, 50.0];
        let cut = target.cut(sizes(6, 16, 2), 1.0, &costs, &cheap).unwrap();
        assert_eq!((cut.gone, cut.cut.widths), (vec![2], WHOLE));
        assert_eq!(cut.cut.layers, vec![LayerCut::default(); 5]);
        let cut = target.cut(sizes(6, 16, 2), 1.0, &costs, &[50.0; 6]).unwrap();
        assert_eq!((cut.gone, cut.cut.widths.neurons), (vec![], 12));
        // Once neurons are gone, a layer on top would be too much.
        let cut = target.cut(sizes(6, 14, 2), 1.0, &costs, &cheap).unwrap();
        assert_eq!((cut.gone, cut.cut.widths.neurons), (vec![], 12));
    }

    #[test]
    fn every_shot_leads_to_a_promise() {
        for weights in (100..700).step_by(30) {
            let target = target(weights, [6, 32]);
            let promises = target.promises();
            let mut now = sizes(6, 16, 2);
            for share in [0.2, 0.4, 0.6, 0.8, 1.0] {
                let costs = vec![
                    LayerCosts {
                        neurons: (0..now.widths.neurons).map(|i| 0.1 * i as f64).collect(),
                        groups: vec![2.0; now.widths.groups],
                    };
                    now.layers
                ];
                let layers: Vec<f64> = (0..now.layers).map(|i| 1.0 + 3.0 * i as f64).collect();
                let cut = target.cut(now, share, &costs, &layers);
                let cut = cut.unwrap_or_else(|| panic!("{weights}, {share}: nothing from {now:?}"));
                now = Sizes {
                    layers: now.layers - cut.gone.len(),
                    widths: cut.cut.widths,
                };
                assert_eq!(cut.cut.layers.len(), now.layers);
            }
            assert!(promises.contains(&now), "{weights}: {now:?} is not in {promises:?}");
        }
    }
}
