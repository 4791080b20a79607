//! Which linear gives up how much of an unstructured budget.
//!
//! - `curvature`: one threshold for the whole model on what removing a weight costs by the curvature of the loss (LLM
//!   Surgeon; [`super::surgeon::allocate_within`]), every linear within `spread` of the target. The only one that knows
//!   what a layer's error does to the loss, and the one that helped most on the models tried. Within a linear it
//!   spreads the zeros over the outputs, whose errors count by the energy of their gradients
//!   ([`LayerProblem::weighted`]): the diagonal of K-FAC's G in place of all of it.
//! - `lsa` (ICLR 2026): a decoder layer keeps more the less [`redundancy`](super::redundancy()) its linears have on average,
//!   by absolute errors, as published: `I = 1 − E / ΣE`.
//! - `owl` (Yin et al. 2024, Eq. 3): a decoder layer keeps more the larger its share of scores `|w| ‖x‖` above five times
//!   the layer's mean.
//!
//! The last two map their layers' importance to `[0, 2 spread]` and take that, less its mean, from the target: layers lie
//! up to twice the spread from it where their importance is lopsided. All keep the number of zeros of the whole model.

use std::collections::BTreeMap;

#[cfg(doc)]
use super::LayerProblem;
use super::Pattern;

/// Scores above this many times their mean are outliers.
const OUTLIER: f64 = 5.0;
/// Leading bits of a score that are counted apart: sign, exponent and seven of the mantissa.
const BINS: usize = 1 << 16;
/// Sparsities and the spread that LSA's code takes at each.
const LSA_SPREADS: [[f64; 2]; 5] = [[0.4, 0.02], [0.5, 0.04], [0.6, 0.1], [0.7, 0.15], [0.8, 0.12]];
/// Sparsity from which on the default method allocates.
const FROM: f64 = 0.5;

/// How sparsity is spread over linears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Allocation {
    /// `curvature` from 50 % sparsity upward with admm, else `uniform`.
    #[default]
    Auto,
    /// The same sparsity in every linear layer.
    Uniform,
    /// Redundant decoder layers lose more weights, as published (LSA, ICLR 2026). Needs a forward pass or saved
    /// statistics.
    Lsa,
    /// Decoder layers with many outliers lose fewer weights, as published (OWL). Needs a forward pass or saved
    /// statistics.
    Owl,
    /// The weights whose removal costs least by the curvature of the loss go first, by one threshold for the whole
    /// model (costs as in LLM Surgeon). The curvature also weighs the outputs of each linear layer. Needs a forward
    /// and a backward pass on at most 32768 of the tokens, from all over the text.
    Curvature,
}

impl Allocation {
    /// What it comes to for a pattern: anything but `Auto`. `at_high` is what the method does at a high sparsity.
    pub fn resolve(self, pattern: Pattern, at_high: Allocation) -> Self {
        match (pattern, self) {
            (Pattern::NM { .. }, _) => Allocation::Uniform,
            (_, Allocation::Auto) if pattern.sparsity() >= FROM => at_high,
            (_, Allocation::Auto) => Allocation::Uniform,
            (_, chosen) => chosen,
        }
    }

    /// Name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Allocation::Auto => "auto",
            Allocation::Uniform => "uniform",
            Allocation::Lsa => "lsa",
            Allocation::Owl => "owl",
            Allocation::Curvature => "curvature",
        }
    }

    /// The spread that its authors took at a sparsity.
    pub fn spread(self, sparsity: f64) -> f64 {
        match self {
            Allocation::Lsa => {
                let nearest = LSA_SPREADS.iter().min_by(|a, b| {
                    let distance = |entry: &[f64; 2]| (entry[0] - sparsity).abs();
                    distance(a).total_cmp(&distance(b))
                });
                nearest.expect("there are some")[1]
            }
            Allocation::Owl => 0.08,
            _ => 0.1,
        }
    }
}

/// What is known of a linear before anything is pruned.
#[derive(Clone, Debug, Default)]
pub struct Candidate {
    /// Decoder layer.
    pub layer: usize,
    /// Number of its weights.
    pub weights: usize,
    /// [`redundancy`](super::redundancy()), where the rule asks for it.
    pub redundancy: f64,
    /// Scores.
    pub scores: Scores,
}

/// How scores `|w| ‖x‖` are distributed.
#[derive(Clone, Debug, Default)]
pub struct Scores {
    counts: BTreeMap<u16, u64>,
    sum: f64,
}

impl Scores {
    /// Of a weight `[rows, norms.len()]`, row-major.
    pub fn of(weight: &[f32], norms: &[f32]) -> Self {
        let (mut counts, mut sum) = (vec![0_u64; BINS], 0.0);
        for row in weight.chunks_exact(norms.len()) {
            for (w, norm) in row.iter().zip(norms) {
                let score = (w * norm).abs();
                sum += f64::from(score);
                counts[(score.to_bits() >> 16) as usize] += 1;
            }
        }
        let counts = counts.into_iter().enumerate().filter(|(_, count)| *count > 0);
        Scores {
            counts: counts.map(|(bin, count)| (bin as u16, count)).collect(),
            sum,
        }
    }

    /// With the scores of another part.
    pub fn and(mut self, other: Scores) -> Self {
        for (bin, count) in other.counts {
            *self.counts.entry(bin).or_default() += count;
        }
        self.sum += other.sum;
        self
    }

    fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Share of scores above [`OUTLIER`] times the mean, to the width of a bin (0.8 %).
    fn outliers(&self) -> f64 {
        let total = self.total().max(1) as f64;
        let least = ((OUTLIER * self.sum / total) as f32).to_bits() >> 16;
        let above = self
            .counts
            .range(least as u16 + 1..)
            .map(|(_, count)| count)
            .sum::<u64>();
        above as f64 / total
    }
}

/// Least and greatest sparsity of a linear: never nothing and never all.
pub fn range(sparsity: f64, spread: f64) -> [f64; 2] {
    let spread = spread.min(0.9 * sparsity).min(0.9 * (1.0 - sparsity));
    [sparsity - spread, sparsity + spread]
}

/// The sparsity of each candidate for a rule other than uniform.
pub fn allocate(rule: Allocation, candidates: &[Candidate], sparsity: f64, spread: f64) -> Vec<f64> {
    let importance = match rule {
        Allocation::Lsa => essential(candidates),
        Allocation::Owl => outlying(candidates),
        Allocation::Auto | Allocation::Uniform | Allocation::Curvature => return vec![sparsity; candidates.len()],
    };
    by_importance(&importance, candidates, sparsity, spread)
}

/// Importance of each layer: what of all redundancy is not its own.
fn essential(candidates: &[Candidate]) -> BTreeMap<usize, f64> {
    let mut layers: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    for candidate in candidates {
        let (sum, linears) = layers.entry(candidate.layer).or_default();
        *sum += candidate.redundancy;
        *linears += 1.0;
    }
    let all: f64 = layers.values().map(|(sum, linears)| sum / linears).sum();
    let share = |(sum, linears): &(f64, f64)| if all > 0.0 { sum / linears / all } else { 0.0 };
    layers.iter().map(|(layer, sums)| (*layer, 1.0 - share(sums))).collect()
}

/// Importance of each layer: its share of outliers.
fn outlying(candidates: &[Candidate]) -> BTreeMap<usize, f64> {
    let mut layers: BTreeMap<usize, Scores> = BTreeMap::new();
    for candidate in candidates {
        let layer = layers.remove(&candidate.layer).unwrap_or_default();
        layers.insert(candidate.layer, layer.and(candidate.scores.clone()));
    }
    layers
        .iter()
        .map(|(layer, scores)| (*layer, scores.outliers()))
        .collect()
}

/// The kept share of a layer is that of the model plus its deviation in importance, rescaled to twice the spread.
fn by_importance(layers: &BTreeMap<usize, f64>, candidates: &[Candidate], sparsity: f64, spread: f64) -> Vec<f64> {
    let bounds = layers
        .values()
        .fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], v| {
            [low.min(*v), high.max(*v)]
        });
    let scale = match bounds[1] - bounds[0] {
        width if width > 0.0 => 2.0 * spread / width,
        _ => 0.0,
    };
    let deviation = |c: &Candidate| -scale * (layers[&c.layer] - bounds[0]);
    let raw: Vec<f64> = candidates.iter().map(deviation).collect();
    // As published, but never nothing and never all of a layer.
    let low = (sparsity - 2.0 * spread).max(0.1 * sparsity);
    let high = (sparsity + 2.0 * spread).min(1.0 - 0.1 * (1.0 - sparsity));
    shifted(&raw, candidates, sparsity, [low, high])
}

/// `raw` plus one constant, clamped, such that the model has the sparsity.
fn shifted(raw: &[f64], candidates: &[Candidate], sparsity: f64, [low, high]: [f64; 2]) -> Vec<f64> {
    let at = |shift: f64| -> Vec<f64> { raw.iter().map(|r| (r + shift).clamp(low, high)).collect() };
    let zeros = |s: &[f64]| -> f64 { s.iter().zip(candidates).map(|(s, c)| s * c.weights as f64).sum() };
    let wanted = sparsity * candidates.iter().map(|c| c.weights as f64).sum::<f64>();
    let extreme = raw.iter().fold(0.0_f64, |most, r| most.max(r.abs()));
    let (mut below, mut above) = (low - extreme, high + extreme);
    for _ in 0..64 {
        let middle = f64::midpoint(below, above);
        if zeros(&at(middle)) < wanted {
            below = middle;
        } else {
            above = middle;
        }
    }
    at(above)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(layer: usize, weights: usize, redundancy: f64) -> Candidate {
        Candidate {
            layer,
            weights,
            redundancy,
            scores: Scores::of(&[1.0, 2.0], &[1.0, 1.0]),
        }
    }

    fn zeros(candidates: &[Candidate], out: &[f64]) -> f64 {
        out.iter().zip(candidates).map(|(s, c)| s * c.weights as f64).sum()
    }

    /// The published arithmetic on three layers of one size: `d = 2 β (I − min I) / (max I − min I)`, `s = p + mean d − d`.
    #[test]
    fn redundant_layers_give_up_more() {
        let errors = [[1.0, 3.0], [8.0, 4.0], [5.0, 5.0]];
        let linears = errors.iter().enumerate();
        let candidates: Vec<Candidate> = linears
            .flat_map(|(layer, errors)| errors.map(|error| candidate(layer, 100, error)))
            .collect();
        let out = allocate(Allocation::Lsa, &candidates, 0.6, 0.1);
        let importance = [1.0 - 2.0 / 13.0, 1.0 - 6.0 / 13.0, 1.0 - 5.0 / 13.0];
        let d = importance.map(|i| 0.2 * (i - importance[1]) / (importance[0] - importance[1]));
        let mean = d.iter().sum::<f64>() / 3.0;
        for (i, share) in out.iter().enumerate() {
            assert!((share - (0.6 + mean - d[i / 2])).abs() < 1e-9, "{out:?}");
        }
    }

    /// One layer that matters among many, at a sparsity that leaves little above it and much below.
    #[test]
    fn an_essential_layer_keeps_what_it_should() {
        let candidates: Vec<Candidate> = (0..12)
            .map(|layer| candidate(layer, 100, if layer == 3 { 1.0 } else { 2.0 }))
            .collect();
        let out = allocate(Allocation::Lsa, &candidates, 0.9, 0.05);
        assert!((zeros(&candidates, &out) - 0.9 * 1200.0).abs() < 1e-6, "{out:?}");
        // d is 0.1 there and 0 elsewhere.
        assert!((out[3] - (0.9 + 0.1 / 12.0 - 0.1)).abs() < 1e-9, "{out:?}");
    }

    #[test]
    fn layers_with_outliers_keep_more() {
        let norms = [1.0; 100];
        let mut rows = [[1.0_f32; 100]; 3];
        rows[1][..5].fill(50.0);
        rows[2][..2].fill(50.0);
        let candidates: Vec<Candidate> = (rows.iter().enumerate())
            .map(|(layer, row)| Candidate {
                layer,
                weights: 100 * (layer + 1),
                redundancy: 0.0,
                scores: Scores::of(row, &norms),
            })
            .collect();
        let out = allocate(Allocation::Owl, &candidates, 0.7, 0.08);
        assert!(out[1] < out[2] && out[2] < out[0], "{out:?}");
        assert!((zeros(&candidates, &out) - 0.7 * 600.0).abs() < 1e-6, "{out:?}");
        assert!((out[0] - out[1] - 0.16).abs() < 1e-9, "{out:?}");
    }

    #[test]
    fn one_candidate_gets_the_target() {
        for rule in [Allocation::Lsa, Allocation::Owl] {
            let out = allocate(rule, &[candidate(0, 10, 0.3)], 0.6, 0.1);
            assert!((out[0] - 0.6).abs() < 1e-9, "{rule:?} {out:?}");
        }
    }

    #[test]
    fn the_range_stays_inside() {
        for sparsity in [0.01, 0.5, 0.99] {
            let [low, high] = range(sparsity, 0.2);
            assert!(low > 0.0 && high < 1.0, "{low} {high}");
        }
    }
}
