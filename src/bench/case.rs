//! One measurement, its data on the device.

use super::BenchError;
use crate::gpu::{Gpu, GpuError, Recording};
use crate::reference::dense::gemm::{Target, View, gemm};

/// How far a kernel is from its twin.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Accuracy {
    /// Largest difference over the twin's largest value; infinite if anything is NaN.
    pub(super) error: f64,
    /// What rounding explains.
    pub(super) bound: f64,
    /// Elements compared.
    pub(super) checked: usize,
    /// Elements there are.
    pub(super) elements: usize,
    /// Floating-point operations of the call, where they are counted while it runs.
    pub(super) flops: Option<f64>,
    /// Relative layer error of a solve.
    pub(super) layer_error: Option<f64>,
}

impl Accuracy {
    pub(super) fn new(error: f64, bound: f64, checked: usize, elements: usize) -> Self {
        Accuracy {
            error,
            bound,
            checked,
            elements,
            ..Default::default()
        }
    }

    /// Whether rounding explains the error.
    pub(super) fn is_fine(&self) -> bool {
        self.error <= self.bound
    }
}

type Record = dyn Fn(&mut Recording, &Gpu) -> Result<(), GpuError>;
type Run<T> = dyn Fn(&Gpu) -> Result<T, BenchError>;

/// What a call is.
pub(super) enum Call {
    /// Commands, as often as wanted in one recording.
    Recorded(Box<Record>),
    /// Several submissions with readbacks between them.
    Run(Box<Run<()>>),
}

/// A measurement ready to go.
pub(super) struct Case {
    /// Floating-point operations of a call.
    pub(super) flops: f64,
    /// Bytes a call must move at least.
    pub(super) bytes: f64,
    pub(super) work: Call,
    /// Plays the first call and compares. Later calls go on from its results.
    pub(super) check: Box<Run<Accuracy>>,
}

impl Case {
    /// A case whose check plays the recording once, then looks at the results.
    pub(super) fn recorded(
        [flops, bytes]: [f64; 2],
        record: impl Fn(&mut Recording, &Gpu) -> Result<(), GpuError> + Clone + 'static,
        look: impl Fn(&Gpu) -> Result<Accuracy, GpuError> + 'static,
    ) -> Case {
        let first = record.clone();
        Case {
            flops,
            bytes,
            work: Call::Recorded(Box::new(record)),
            check: Box::new(move |gpu| {
                let mut recording = Recording::new();
                first(&mut recording, gpu)?;
                gpu.submit(recording)?.wait()?;
                Ok(look(gpu)?)
            }),
        }
    }

    /// Plays some calls and waits.
    pub(super) fn play(&self, gpu: &Gpu, calls: usize) -> Result<(), BenchError> {
        match &self.work {
            Call::Recorded(record) => {
                let mut recording = Recording::new();
                for _ in 0..calls {
                    record(&mut recording, gpu)?;
                }
                gpu.submit(recording)?.wait()?;
            }
            Call::Run(run) => {
                for _ in 0..calls {
                    run(gpu)?;
                }
            }
        }
        Ok(())
    }
}

/// Largest difference over the largest wanted value; infinite if anything is NaN or the lengths differ.
pub(super) fn error_of(found: &[f32], wanted: &[f64]) -> f64 {
    if found.len() != wanted.len() {
        return f64::INFINITY;
    }
    let largest = wanted.iter().fold(0.0, |top: f64, w| top.max(w.abs()));
    let mut worst = 0.0f64;
    for (found, wanted) in found.iter().zip(wanted) {
        let difference = (f64::from(*found) - wanted).abs();
        if difference.is_nan() {
            return f64::INFINITY;
        }
        worst = worst.max(difference);
    }
    if worst == 0.0 {
        0.0
    } else {
        worst / largest.max(f64::MIN_POSITIVE)
    }
}

/// Some elements of a product, `rows` by `cols`, from the f64 twin; `a(row, k)` and `b(k, col)` are the operands.
pub(super) fn product(
    [rows, cols]: [&[usize]; 2],
    inner: usize,
    a: impl Fn(usize, usize) -> f64,
    b: impl Fn(usize, usize) -> f64,
) -> Vec<f64> {
    let left: Vec<f64> = rows
        .iter()
        .flat_map(|r| (0..inner).map(|k| a(*r, k)).collect::<Vec<_>>())
        .collect();
    // Stored by column, which is how the twin's inner loop reads it.
    let right: Vec<f64> = cols
        .iter()
        .flat_map(|c| (0..inner).map(|k| b(k, *c)).collect::<Vec<_>>())
        .collect();
    let mut out = vec![0.0; rows.len() * cols.len()];
    let target = Target {
        start: 0,
        stride: cols.len(),
        alpha: 1.0,
        beta: 0.0,
    };
    let shape = [rows.len(), cols.len(), inner];
    gemm(
        shape,
        View::row_major(&left, inner),
        View::transposed(&right, inner),
        target,
        &mut out,
    );
    out
}

/// The elements of a row-major matrix at `rows` by `cols`.
pub(super) fn pick<T: Copy>(values: &[T], width: usize, [rows, cols]: [&[usize]; 2]) -> Vec<T> {
    let places = rows.iter().flat_map(|r| cols.iter().map(move |c| r * width + c));
    places.map(|at| values[at]).collect()
}

/// Rounding of a sum of that many products, relative to its largest result: `(length + 8) eps`, far above what random
/// data shows and far below what a wrong index would.
pub(super) fn rounding(length: usize) -> f64 {
    (length + 8) as f64 * f64::from(f32::EPSILON)
}
