//! Coupled units: sums of the costs of their rows and columns, and the scores of comparison methods.
//!
//! A unit of an MLP is a row of gate and up and a column of down; one of attention the rows of q, k and v of a key/value
//! group and its columns of o. What belongs to a unit is the caller's knowledge: lists of numbers.

use super::costs::transposed;
use super::curvature::KroneckerFactor;
use super::lines::joint;
use crate::gpu::{Gpu, GpuError, Recording};
use crate::ops::dense::{self, RowReduce};
use crate::prune::PruneError;
use crate::tensor::Tensor;

/// What one linear has to do with the units.
pub struct UnitPart<'a> {
    /// Cost of each of its rows, or columns.
    pub costs: &'a [f64],
    /// Those that belong to each unit.
    pub lines: &'a [Vec<usize>],
}

/// Sum of the costs of all lines of each unit. Panics if the parts differ in their number of units.
pub fn unit_costs(parts: &[UnitPart<'_>]) -> Vec<f64> {
    let count = parts.first().map_or(0, |part| part.lines.len());
    let mut costs = vec![0.0; count];
    for part in parts {
        assert_eq!(part.lines.len(), count, "unit_costs: units of a part");
        for (cost, lines) in costs.iter_mut().zip(part.lines) {
            *cost += lines.iter().map(|i| part.costs[*i]).sum::<f64>();
        }
    }
    costs
}

/// What removing these columns together costs by the inputs alone (G = 1): OSSCAR's score of a unit (ICML 2024), for a side
/// damped by 0.01. [`super::remove_columns`] is its refit.
pub fn osscar_cost(gpu: &Gpu, inputs: &KroneckerFactor, w: &Tensor, cols: &[usize]) -> Result<f64, PruneError> {
    joint(gpu, &transposed(gpu, w)?, inputs, None, cols)
}

/// [`osscar_cost`] of every column by itself.
pub fn osscar_column_costs(gpu: &Gpu, inputs: &KroneckerFactor, w: &Tensor) -> Result<Vec<f64>, GpuError> {
    let sums = column_sums(gpu, w, RowReduce::Dot)?;
    let cost = |(j, sum): (usize, &f64)| 0.5 * inputs.mean * sum * inputs.unit(j) * inputs.unit(j);
    Ok(sums.iter().enumerate().map(cost).collect())
}

/// Wanda-sp's score of each column: `‖x_j‖ Σ_i |w_ij|` with `energy` = `E[x_j²]`.
pub fn wanda_sp_scores(gpu: &Gpu, w: &Tensor, energy: &[f64]) -> Result<Vec<f64>, GpuError> {
    let sums = column_sums(gpu, w, RowReduce::AbsSum)?;
    assert_eq!(sums.len(), energy.len(), "wanda_sp_scores: energies");
    Ok(sums
        .iter()
        .zip(energy)
        .map(|(sum, energy)| sum * energy.sqrt())
        .collect())
}

/// FLAP's score of each column: `Var[x_j] ‖w_j‖²` with `energy` = `E[x_j²]` and `mean` = `E[x_j]`.
pub fn flap_scores(gpu: &Gpu, w: &Tensor, energy: &[f64], mean: &[f64]) -> Result<Vec<f64>, GpuError> {
    let sums = column_sums(gpu, w, RowReduce::Dot)?;
    assert!(
        sums.len() == energy.len() && sums.len() == mean.len(),
        "flap_scores: moments"
    );
    let variance = energy
        .iter()
        .zip(mean)
        .map(|(energy, mean)| (energy - mean * mean).max(0.0));
    Ok(sums
        .iter()
        .zip(variance)
        .map(|(sum, variance)| sum * variance)
        .collect())
}

/// Scores of one kind of unit in one layer made comparable with those of others, as FLAP does (An et al. 2024, AAAI): less
/// their mean, by their standard deviation. What costs nothing is gone already and stays cheapest; equal scores become 0.
pub fn standardized(scores: &[f64]) -> Vec<f64> {
    let left: Vec<f64> = scores.iter().copied().filter(|score| *score > 0.0).collect();
    let mean = left.iter().sum::<f64>() / left.len() as f64;
    let squares: f64 = left.iter().map(|score| (score - mean).powi(2)).sum();
    let deviation = (squares / (left.len() as f64 - 1.0)).sqrt();
    let standard = |score: &f64| match *score > 0.0 {
        false => f64::NEG_INFINITY,
        true if deviation > 0.0 => (score - mean) / deviation,
        true => 0.0,
    };
    scores.iter().map(standard).collect()
}

/// Magnitude's score of each column: `‖w_j‖`.
pub fn column_magnitudes(gpu: &Gpu, w: &Tensor) -> Result<Vec<f64>, GpuError> {
    let sums = column_sums(gpu, w, RowReduce::Dot)?;
    Ok(sums.iter().map(|sum| sum.sqrt()).collect())
}

fn column_sums(gpu: &Gpu, w: &Tensor, mode: RowReduce) -> Result<Vec<f64>, GpuError> {
    let turned = transposed(gpu, w)?;
    let sums = Tensor::empty(gpu, "column sums", 1, w.cols())?;
    let mut recording = Recording::new();
    dense::row_reduce(&mut recording, mode, &turned, &turned, &sums);
    let id = recording.read(&sums.slice());
    let sums = gpu.submit(recording)?.floats(id)?;
    Ok(sums.iter().map(|v| f64::from(*v)).collect())
}

#[cfg(test)]
mod tests {
    use super::standardized;

    #[test]
    fn layers_of_other_scales_compare() {
        let scores = [2.0, 0.0, 4.0, 6.0];
        let wanted = [-1.0, f64::NEG_INFINITY, 0.0, 1.0];
        assert_eq!(standardized(&scores), wanted);
        assert_eq!(standardized(&scores.map(|score| 1e6 * score)), wanted);
        assert_eq!(standardized(&[0.0, 3.0, 3.0]), [f64::NEG_INFINITY, 0.0, 0.0]);
        assert_eq!(standardized(&[3.0]), [0.0]);
        assert_eq!(standardized(&[0.0]), [f64::NEG_INFINITY]);
        assert_eq!(standardized(&[]), [0.0; 0]);
    }
}
