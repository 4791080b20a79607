//! Which linear gives up how much of an unstructured budget.
//!
//! - `error`: the sum of the relative errors of all linears is made least. Every linear's error is known at a few
//!   sparsities around the target ([`grid`]), found by Wanda on the dense model's inputs; between them it is a straight
//!   line, made convex. Weights then go where a weight costs least error: all linears stop at one slope (the error-based
//!   allocation of LSA, with measured curves in place of its one score).
//! - `owl` (Yin et al. 2024, Eq. 3): a decoder layer keeps more the larger its share of scores `|w| ‖x‖` above five times
//!   the layer's mean.
//! - `curvature`: one threshold for the whole model on what removing a weight costs by the curvature of the loss (LLM
//!   Surgeon; [`super::surgeon::allocate_within`]). The only one that knows what a layer's error does to the loss, and the
//!   only one that helped on the models tried: equal relative errors in all linears are not equally bad. Within a linear it
//!   spreads the zeros over the outputs, whose errors count by the energy of their gradients
//!   ([`LayerProblem::weighted`]): the diagonal of K-FAC's G in place of all of it.
//!
//! All keep every linear within `spread` of the target and the number of zeros of the whole model.

use std::collections::BTreeMap;

use super::{LayerProblem, Method, Pattern, PruneError, Scope, Wanda};
use crate::gpu::Gpu;

/// Sparsities at which errors are measured.
const POINTS: usize = 5;
/// Scores above this many times their mean are outliers.
const OUTLIER: f64 = 5.0;
/// Leading bits of a score that are counted apart: sign, exponent and seven of the mantissa.
const BINS: usize = 1 << 16;
/// Sparsity from which on the default method allocates.
const FROM: f64 = 0.5;

/// How sparsity is spread over linears.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Allocation {
    /// By curvature from 50 % upward with admm, else uniform.
    #[default]
    Auto,
    /// The same in every linear.
    Uniform,
    /// Least sum of relative errors.
    Error,
    /// By each decoder layer's share of outliers.
    Owl,
    /// Least loss by the curvature of LLM Surgeon: one threshold of its costs for the whole model.
    Curvature,
}

impl Allocation {
    /// What it comes to for a pattern and method: anything but `Auto`.
    pub fn resolve(self, pattern: Pattern, method: &str) -> Self {
        match (pattern, self) {
            (Pattern::NM { .. }, _) => Allocation::Uniform,
            (_, Allocation::Auto) if method == super::METHODS[0] && pattern.sparsity() >= FROM => Allocation::Curvature,
            (_, Allocation::Auto) => Allocation::Uniform,
            (_, chosen) => chosen,
        }
    }

    /// Name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Allocation::Auto => "auto",
            Allocation::Uniform => "uniform",
            Allocation::Error => "error",
            Allocation::Owl => "owl",
            Allocation::Curvature => "curvature",
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
    /// Relative error at each sparsity of the [`grid`].
    pub errors: Vec<f64>,
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

/// The sparsities at which [`Candidate::errors`] are measured.
pub fn grid(sparsity: f64, spread: f64) -> Vec<f64> {
    let [low, high] = range(sparsity, spread);
    let step = (high - low) / (POINTS - 1) as f64;
    (0..POINTS).map(|i| low + step * i as f64).collect()
}

/// Least and greatest sparsity of a linear: never nothing and never all.
pub fn range(sparsity: f64, spread: f64) -> [f64; 2] {
    let spread = spread.min(0.9 * sparsity).min(0.9 * (1.0 - sparsity));
    [sparsity - spread, sparsity + spread]
}

/// Errors of Wanda at some sparsities, not divided by the energy.
pub fn wanda_errors(gpu: &Gpu, problem: &mut LayerProblem<'_>, sparsities: &[f64]) -> Result<Vec<f64>, PruneError> {
    let errors = sparsities.iter().map(|sparsity| {
        problem.pattern = Pattern::unstructured(*sparsity, Scope::Matrix)?;
        Ok(Wanda.solve(gpu, problem)?.start_error)
    });
    errors.collect()
}

/// The sparsity of each candidate for a rule other than uniform.
pub fn allocate(rule: Allocation, candidates: &[Candidate], sparsity: f64, spread: f64) -> Vec<f64> {
    match rule {
        Allocation::Error => by_error(candidates, sparsity, spread),
        Allocation::Owl => by_outliers(candidates, sparsity, spread),
        Allocation::Auto | Allocation::Uniform | Allocation::Curvature => vec![sparsity; candidates.len()],
    }
}

/// All linears at one slope of error over weights; the one that crosses the budget takes what is left.
fn by_error(candidates: &[Candidate], sparsity: f64, spread: f64) -> Vec<f64> {
    let grid = grid(sparsity, spread);
    let mut pieces = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        for piece in hull(&grid, &candidate.errors) {
            let slope = piece.rise / (piece.run * candidate.weights as f64);
            pieces.push((slope, index, piece.run));
        }
    }
    pieces.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut out = vec![grid[0]; candidates.len()];
    let weights = |index: usize| candidates[index].weights as f64;
    let all: f64 = candidates.iter().map(|c| c.weights as f64).sum();
    let mut left = (sparsity - grid[0]) * all;
    for (_, index, run) in pieces {
        let taken = (run * weights(index)).min(left);
        out[index] += taken / weights(index).max(1.0);
        left -= taken;
    }
    out
}

/// A straight piece of a curve.
struct Piece {
    run: f64,
    rise: f64,
}

/// Pieces of the lower convex hull of a curve, of growing slope.
fn hull(x: &[f64], y: &[f64]) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for (x, y) in x.windows(2).zip(y.windows(2)) {
        let mut piece = Piece {
            run: x[1] - x[0],
            rise: (y[1] - y[0]).max(0.0),
        };
        while let Some(last) = pieces.pop_if(|last| last.rise * piece.run >= piece.rise * last.run) {
            piece = Piece {
                run: piece.run + last.run,
                rise: piece.rise + last.rise,
            };
        }
        pieces.push(piece);
    }
    pieces
}

/// The kept share of a layer is that of the model plus its deviation in outliers, rescaled to twice the spread.
fn by_outliers(candidates: &[Candidate], sparsity: f64, spread: f64) -> Vec<f64> {
    let mut layers: BTreeMap<usize, Scores> = BTreeMap::new();
    for candidate in candidates {
        let layer = layers.remove(&candidate.layer).unwrap_or_default();
        layers.insert(candidate.layer, layer.and(candidate.scores.clone()));
    }
    let ratio: BTreeMap<usize, f64> = layers
        .iter()
        .map(|(layer, scores)| (*layer, scores.outliers()))
        .collect();
    let (least, most) = ratio
        .values()
        .fold((f64::INFINITY, 0.0_f64), |(low, high), r| (low.min(*r), high.max(*r)));
    let [low, high] = range(sparsity, spread);
    let scale = if most > least {
        (high - low) / (most - least)
    } else {
        0.0
    };
    let raw: Vec<f64> = candidates.iter().map(|c| -scale * (ratio[&c.layer] - least)).collect();
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

    fn candidate(layer: usize, weights: usize, errors: &[f64]) -> Candidate {
        Candidate {
            layer,
            weights,
            errors: errors.to_vec(),
            scores: Scores::of(&[1.0, 2.0], &[1.0, 1.0]),
        }
    }

    fn zeros(candidates: &[Candidate], out: &[f64]) -> f64 {
        out.iter().zip(candidates).map(|(s, c)| s * c.weights as f64).sum()
    }

    #[test]
    fn the_sum_of_errors_is_least_for_the_budget() {
        // Quadratic curves: the best allocation is known from equal slopes.
        let grid = grid(0.7, 0.1);
        let curves = [(100, 1.0), (300, 1.0), (100, 4.0)];
        let candidates: Vec<Candidate> = (curves.iter())
            .map(|(weights, scale)| {
                let errors: Vec<f64> = grid.iter().map(|s| scale * s * s).collect();
                candidate(0, *weights, &errors)
            })
            .collect();
        let out = allocate(Allocation::Error, &candidates, 0.7, 0.1);
        assert!((zeros(&candidates, &out) - 0.7 * 500.0).abs() < 1e-9, "{out:?}");
        let cost = |s: &[f64]| -> f64 { s.iter().zip(curves).map(|(s, (_, scale))| scale * s * s).sum() };
        // Against every other allocation on a fine grid with the same budget.
        let fine: Vec<f64> = (0..=40).map(|i| 0.6 + 0.005 * f64::from(i)).collect();
        for a in &fine {
            for b in &fine {
                let c = (350.0 - 100.0 * a - 300.0 * b) / 100.0;
                if (0.6..=0.8).contains(&c) {
                    assert!(cost(&out) <= cost(&[*a, *b, c]) + 2e-3, "{out:?} against {a} {b} {c}");
                }
            }
        }
    }

    #[test]
    fn a_curve_that_bends_down_is_one_piece() {
        let pieces = hull(&[0.0, 1.0, 2.0], &[0.0, 3.0, 4.0]);
        assert_eq!(pieces.len(), 1);
        assert_eq!((pieces[0].run, pieces[0].rise), (2.0, 4.0));
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
                errors: Vec::new(),
                scores: Scores::of(row, &norms),
            })
            .collect();
        let out = allocate(Allocation::Owl, &candidates, 0.7, 0.08);
        assert!(out[1] < out[2] && out[2] < out[0], "{out:?}");
        assert!((zeros(&candidates, &out) - 0.7 * 600.0).abs() < 1e-6, "{out:?}");
        assert!(out.iter().all(|s| (0.62..=0.78 + 1e-12).contains(s)), "{out:?}");
    }

    #[test]
    fn one_candidate_gets_the_target() {
        for rule in [Allocation::Error, Allocation::Owl] {
            let out = allocate(rule, &[candidate(0, 10, &[0.1, 0.2, 0.2, 0.3, 0.4])], 0.6, 0.1);
            assert!((out[0] - 0.6).abs() < 1e-9, "{rule:?} {out:?}");
        }
    }

    #[test]
    fn the_range_stays_inside() {
        for sparsity in [0.01, 0.5, 0.99] {
            let grid = grid(sparsity, 0.2);
            assert!(grid[0] > 0.0 && grid[POINTS - 1] < 1.0, "{grid:?}");
        }
    }
}
