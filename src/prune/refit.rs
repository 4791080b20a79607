//! Exact refit of the survivors on their support by masked conjugate gradients: worth more than any mask method's own
//! update.

use super::{LayerProblem, LayerSolution, PruneError};
use crate::gpu::{Gpu, Recording};
use crate::linalg::masked_conjugate_gradient;

/// `steps` conjugate-gradient steps from the solution; kept only if the error falls.
pub fn refit(
    gpu: &Gpu,
    problem: &LayerProblem<'_>,
    solution: LayerSolution,
    steps: usize,
) -> Result<LayerSolution, PruneError> {
    if steps == 0 {
        return Ok(solution);
    }
    let weight = problem.scratch(gpu, "refitted")?;
    let mut recording = Recording::new();
    recording.copy(&solution.weight.slice(), &weight.slice());
    let (gram, target) = (problem.inputs.gram(), problem.target());
    masked_conjugate_gradient(&mut recording, gpu, gram, target, &solution.support, &weight, steps)?;
    gpu.submit(recording)?;
    let error = problem.errors(gpu, &weight)?.objective;
    Ok(if error < solution.error {
        LayerSolution {
            weight,
            error,
            ..solution
        }
    } else {
        solution
    })
}
