//! FISTAPruner (arXiv 2408.03728): FISTA on the LASSO relaxation, rounding, and a search for the penalty.
//!
//! `min_V 1/2 ‖V X* − W X‖² + λ Σ|v|` (Eq. 3), K steps of Eq. 4 with `L` from a power iteration, rounding to the pattern
//! (Eq. 7), λ by bisection on the share of the rounding error (Eq. 8, Algorithm 1), best rounded iterate kept, stop
//! after three rounds without gain.
//!
//! Where we differ: scaled coordinates (unit-diagonal Gram, so rounding ranks |v| ‖x‖); bisection on a log scale of
//! λ relative to the mean scaled weight, because the published interval spans eleven decades; the rounding share is
//! `‖(round(V) − V) X*‖ / ‖round(V) X* − W X‖` (the paper leaves open which of two forms it means); a candidate with
//! fewer non-zeros than the pattern keeps is not accepted, so the sparsity stays exact.

use super::problem::{LayerProblem, PendingError};
use super::registry::{Defaults, Evidence, MethodOption, MethodRow, Removes, Solver, Values};
use super::row_sums::sum;
use super::{LayerSolution, Method, Propagate, PruneError, SparseGpt, Wanda, Within};
use crate::gpu::{Gpu, GpuError, ReadId, Recording};
use crate::ops::dense::{self, Gemm, Layout, RowReduce};
use crate::ops::prox::{self, FistaStep};
use crate::tensor::Tensor;

/// Where the search begins.
const WARM_START: MethodOption = MethodOption {
    name: "warm-start",
    help: "Starting point of FISTAPruner. Published runs use `sparsegpt` for OPT and `wanda` for LLaMA",
    values: Values::Choice(&[
        ("wanda", "Wanda's mask on the original weights"),
        ("sparsegpt", "The solution of SparseGPT"),
    ]),
    default: "wanda",
};

/// FISTAPruner.
pub static FISTA: MethodRow = MethodRow {
    name: "fista",
    title: "FISTAPruner",
    help: "FISTA on the LASSO relaxation, with a search for the penalty and a correction of earlier errors",
    paper: "arXiv 2408.03728",
    evidence: Evidence::Inputs,
    removes: &[Removes::Weights, Removes::Groups],
    defaults: Defaults {
        propagate: Propagate::Dense,
        within: Within::Linear,
        ..Defaults::PUBLISHED
    },
    options: &[WARM_START],
    solver: Solver::Layers(|options| {
        let warm_start = match options.text(&WARM_START) {
            "sparsegpt" => WarmStart::SparseGpt,
            _ => WarmStart::Wanda,
        };
        Box::new(Fista {
            settings: FistaSettings {
                warm_start,
                ..Default::default()
            },
        })
    }),
};

/// Where the search begins: published runs take SparseGPT for OPT and Wanda for LLaMA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum WarmStart {
    /// The kept weights as they are.
    #[default]
    Wanda,
    /// Kept weights that make up for the removed ones.
    SparseGpt,
}

impl WarmStart {
    /// Name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            WarmStart::Wanda => "wanda",
            WarmStart::SparseGpt => "sparsegpt",
        }
    }
}

/// Settings of the search.
#[derive(Clone, Copy, Debug)]
pub struct FistaSettings {
    /// K: proximal steps per round.
    pub steps: usize,
    /// ξ: largest share of the rounding error.
    pub rounding_share: f64,
    /// T: rounds without gain before stopping.
    pub patience: usize,
    /// Rounds at most.
    pub rounds: usize,
    /// Interval of λ relative to the mean scaled weight; the search starts at its geometric mean.
    pub lambda: [f64; 2],
    /// Where it begins.
    pub warm_start: WarmStart,
}

impl Default for FistaSettings {
    fn default() -> Self {
        FistaSettings {
            steps: 20,
            rounding_share: 0.3,
            patience: 3,
            rounds: 24,
            lambda: [1e-6, 1.0],
            warm_start: WarmStart::default(),
        }
    }
}

/// FISTAPruner.
#[derive(Default)]
pub struct Fista {
    /// Settings of the search.
    pub settings: FistaSettings,
}

/// Scratch matrices of one solve.
struct Scratch {
    iterate: Tensor,
    momentum: [Tensor; 2],
    rounded: Tensor,
    support: Tensor,
}

struct Round {
    error: f64,
    share: f64,
    full: bool,
}

impl Method for Fista {
    fn products(&self, shape: [usize; 2]) -> f64 {
        // Rounds as seen on real layers, with the two errors of each.
        self.start().products(shape) + 6.5 * (self.settings.steps + 2) as f64
    }

    fn squares(&self) -> usize {
        self.start().squares()
    }

    fn workspace(&self) -> usize {
        14
    }

    fn solve(&self, gpu: &Gpu, problem: &LayerProblem<'_>) -> Result<LayerSolution, PruneError> {
        let settings = &self.settings;
        let mut best = self.start().solve(gpu, problem)?;
        let [mut low, mut high] = settings.lambda;
        let mut stalls = 0;
        let mut work = Scratch::new(gpu, problem)?;
        while stalls < settings.patience && best.rounds < settings.rounds && high / low > 1.0 + 1e-3 {
            let lambda = (low * high).sqrt();
            let round = self.round(gpu, problem, &best.weight, lambda * problem.unit, &work)?;
            best.rounds += 1;
            if round.full && round.error < best.error {
                std::mem::swap(&mut best.weight, &mut work.rounded);
                std::mem::swap(&mut best.support, &mut work.support);
                (best.error, best.lambda) = (round.error, lambda);
                stalls = 0;
            } else {
                stalls += 1;
            }
            if round.full && round.share > settings.rounding_share {
                low = lambda
            } else {
                high = lambda
            }
        }
        Ok(best)
    }
}

impl Scratch {
    fn new(gpu: &Gpu, problem: &LayerProblem<'_>) -> Result<Self, GpuError> {
        Ok(Scratch {
            iterate: problem.scratch(gpu, "iterate")?,
            momentum: [
                problem.scratch(gpu, "momentum")?,
                problem.scratch(gpu, "next momentum")?,
            ],
            rounded: problem.scratch(gpu, "rounded")?,
            support: problem.scratch(gpu, "rounded support")?,
        })
    }
}

impl Fista {
    /// The method whose solution the search begins with.
    fn start(&self) -> &'static dyn Method {
        match self.settings.warm_start {
            WarmStart::Wanda => &Wanda,
            WarmStart::SparseGpt => &SparseGpt,
        }
    }

    /// K steps from `start` with penalty `lambda`, then rounding; one readback.
    fn round(
        &self,
        gpu: &Gpu,
        problem: &LayerProblem<'_>,
        start: &Tensor,
        lambda: f64,
        work: &Scratch,
    ) -> Result<Round, PruneError> {
        let mut recording = Recording::new();
        iterate(
            &mut recording,
            gpu,
            problem,
            [start, &work.iterate],
            &work.momentum,
            lambda,
            self.settings.steps,
        )?;
        let free = &problem.free;
        problem
            .pattern
            .round(&mut recording, gpu, [&work.iterate, free], &work.rounded, &work.support)?;
        let total = problem.record_error(&mut recording, gpu, &work.rounded)?;
        let [found, wanted] = count(&mut recording, gpu, &work.rounded, &work.support)?;
        // From here on the iterate is the rounding difference.
        dense::axpby(&mut recording, -1.0, &work.rounded, 1.0, &work.iterate);
        let rounding: PendingError = problem.record_distance(&mut recording, gpu, &work.iterate)?;
        let done = gpu.submit(recording)?;
        let error = total.objective(&done)?;
        let share = (rounding.objective(&done)? / error.max(f64::MIN_POSITIVE)).sqrt();
        Ok(Round {
            error,
            share,
            full: sum(&done, found)? == sum(&done, wanted)?,
        })
    }
}

/// Records `steps` FISTA steps from `start`; the last iterate is left in `x`.
fn iterate(
    recording: &mut Recording,
    gpu: &Gpu,
    problem: &LayerProblem<'_>,
    [start, x]: [&Tensor; 2],
    momentum: &[Tensor; 2],
    lambda: f64,
    steps: usize,
) -> Result<(), PruneError> {
    let step = 1.0 / problem.inputs.lipschitz(gpu)?;
    recording.copy(&start.slice(), &x.slice());
    recording.copy(&start.slice(), &momentum[0].slice());
    let mut t = 1.0f64;
    for k in 0..steps {
        let next = (1.0 + (1.0 + 4.0 * t * t).sqrt()) / 2.0;
        let (y, y_next) = (&momentum[k % 2], &momentum[(k + 1) % 2]);
        let factors = Factors {
            step: step as f32,
            threshold: (lambda * step) as f32,
            momentum: ((t - 1.0) / next) as f32,
        };
        one_step(recording, gpu, problem, [y, x, y_next], factors);
        t = next;
    }
    Ok(())
}

/// Numbers of a step.
#[derive(Clone, Copy)]
pub(super) struct Factors {
    /// Of the gradient.
    pub(super) step: f32,
    /// Of soft thresholding.
    pub(super) threshold: f32,
    /// Share of the last move that is added to the next iterate.
    pub(super) momentum: f32,
}

/// One step; with several panels the products of all but the last are gathered in `y_next` first.
pub(super) fn one_step(
    recording: &mut Recording,
    gpu: &Gpu,
    problem: &LayerProblem<'_>,
    [y, x, y_next]: [&Tensor; 3],
    factors: Factors,
) {
    let panels: Vec<(usize, &Tensor)> = problem.inputs.gram().panels().collect();
    let (last, earlier) = panels.split_last().expect("a Gram has at least one panel");
    for (first, panel) in earlier {
        let call = Gemm {
            a_col: *first,
            ..Gemm::new(y, panel, Layout::NN, y_next).split()
        };
        dense::gemm(recording, gpu, &if *first > 0 { call.add() } else { call });
    }
    let step = FistaStep {
        y,
        y_col: last.0,
        h: last.1,
        b: problem.target(),
        free: &problem.free,
        x,
        y_next,
        step: factors.step,
        threshold: factors.threshold,
        momentum: factors.momentum,
        accumulate: !earlier.is_empty(),
    };
    prox::fista_step(recording, gpu, &step);
}

/// Records the numbers of non-zeros of a matrix and of its support.
fn count(recording: &mut Recording, gpu: &Gpu, v: &Tensor, support: &Tensor) -> Result<[ReadId; 2], GpuError> {
    let mut ids = Vec::with_capacity(2);
    for matrix in [v, support] {
        let sums = Tensor::empty(gpu, "row counts", 1, matrix.rows())?;
        dense::row_reduce(recording, RowReduce::CountNonZero, matrix, matrix, &sums);
        ids.push(recording.read(&sums.slice()));
    }
    Ok([ids[0], ids[1]])
}

/// K plain FISTA steps on a problem from its scaled weight with penalty `lambda` (in units of `problem.unit`); for tests
/// of optimality. Returns the last iterate.
pub fn lasso(gpu: &Gpu, problem: &LayerProblem<'_>, lambda: f64, steps: usize) -> Result<Tensor, PruneError> {
    let work = Scratch::new(gpu, problem)?;
    let mut recording = Recording::new();
    let pair = [&problem.weight, &work.iterate];
    iterate(
        &mut recording,
        gpu,
        problem,
        pair,
        &work.momentum,
        lambda * problem.unit,
        steps,
    )?;
    gpu.submit(recording)?;
    Ok(work.iterate)
}
