//! A benchmark from settings to rows.

use super::case::{Accuracy, Case};
use super::machine::machine;
use super::measure::{Samples, deviation, drift, mean, measure, median};
use super::roof::roofs;
use super::spec::{Spec, short, specs};
use super::{BenchError, BenchKernel, Shape, cases};
use crate::gpu::Gpu;
use crate::report::{BenchRow, Machine};
use crate::tensor::DType;

/// What to measure, and how.
#[derive(Clone, Debug)]
pub struct BenchSettings {
    /// Kernels.
    pub kernels: Vec<BenchKernel>,
    /// Shapes.
    pub shapes: Vec<Shape>,
    /// Tokens of forward products, Grams and attention.
    pub tokens: usize,
    /// Linears of each model that are solved, smallest first.
    pub solves: usize,
    /// Types of stored weights.
    pub dtypes: Vec<DType>,
    /// Samples of each.
    pub repetitions: usize,
    /// Of the data.
    pub seed: u64,
    /// What a user types for the same.
    pub command: String,
}

/// Two handles on one adapter.
pub struct Devices {
    /// Opened to profile: kernels have the device's own clock.
    pub profiled: Gpu,
    /// For solves, whose many submissions reading stamps would hold up.
    pub plain: Gpu,
}

/// A finished benchmark.
#[derive(Debug, Default)]
pub struct Bench {
    /// What was measured.
    pub rows: Vec<BenchRow>,
    /// What was left out, and why.
    pub skipped: Vec<String>,
    /// What missed its twin and so was not timed.
    pub wrong: Vec<String>,
}

/// Every kernel at every shape, roofs before and after; `note` is told what comes next.
pub fn bench(devices: &Devices, settings: &BenchSettings, note: &mut dyn FnMut(&str)) -> Result<Bench, BenchError> {
    let gpu = &devices.profiled;
    note("measuring the roofs");
    let place = machine(gpu, &settings.command, settings.seed);
    let before = roofs(gpu, settings.repetitions)?;
    let mut out = Bench::default();
    for roof in &before {
        out.rows
            .push(row(&place, &roof.spec, &roof.case, &roof.samples, &roof.accuracy));
    }
    let before = before.map(|roof| roof.best());
    let amounts = [settings.tokens, settings.solves];
    let mut kernels = settings.kernels.clone();
    if gpu.cooperative().is_none() && kernels.contains(&BenchKernel::GemmCoop) {
        kernels.retain(|kernel| *kernel != BenchKernel::GemmCoop);
        // Worth a line only to who asked for it.
        if settings.kernels != BenchKernel::all() {
            let name = BenchKernel::GemmCoop.name();
            out.skipped
                .push(format!("{name}: {} has no cooperative matrices to use", gpu.name()));
        }
    }
    for spec in specs(&kernels, &settings.shapes, amounts, &settings.dtypes) {
        let name = spec.describe();
        if let Some(obstacle) = spec.obstacle() {
            out.skipped.push(format!("{name}: {obstacle}"));
            continue;
        }
        note(&name);
        let gpu = if spec.kernel == BenchKernel::Solve {
            &devices.plain
        } else {
            gpu
        };
        match one(gpu, &spec, settings, &place) {
            Ok(Ok(row)) => out.rows.push(row),
            Ok(Err(wrong)) => out.wrong.push(format!("{name}: {wrong}")),
            Err(error) if error.is_too_large() => out.skipped.push(format!("{name}: {error}")),
            Err(error) => return Err(error),
        }
    }
    // Once more: other work may have been in the way of the first.
    note("measuring the roofs again");
    let after = roofs(gpu, settings.repetitions)?.map(|roof| roof.best());
    let best = [before[0].max(after[0]), before[1].max(after[1])];
    out.rows.iter_mut().for_each(|row| hold_against(row, best));
    Ok(out)
}

/// Sets a row beside the roofs, in 1e9 flops and bytes a second.
fn hold_against(row: &mut BenchRow, [gflops, gbps]: [f64; 2]) {
    (row.machine.roof_gflops, row.machine.roof_gbps) = (gflops, gbps);
    // The nanoseconds that arithmetic and memory would take at their roofs.
    let (compute, memory) = (row.flops / gflops, row.bytes / gbps);
    row.bound = if compute >= memory { "compute" } else { "memory" }.to_string();
    row.pct_of_measured_peak = 100.0 * compute.max(memory) / row.median_ns;
}

/// Checks, then times; `Err` within says how wrong it is.
fn one(
    gpu: &Gpu,
    spec: &Spec,
    settings: &BenchSettings,
    place: &Machine,
) -> Result<Result<BenchRow, String>, BenchError> {
    let case = cases::build(gpu, spec, settings.seed)?;
    let accuracy = (case.check)(gpu)?;
    if !accuracy.is_fine() {
        let Accuracy { error, bound, .. } = accuracy;
        return Ok(Err(format!(
            "error {error:.1e} against the f64 twin, at most {bound:.1e} is rounding"
        )));
    }
    let case = Case {
        flops: accuracy.flops.unwrap_or(case.flops),
        ..case
    };
    let samples = measure(gpu, &case, settings.repetitions)?;
    Ok(Ok(row(place, spec, &case, &samples, &accuracy)))
}

/// All but how far from the roofs it is.
fn row(place: &Machine, spec: &Spec, case: &Case, samples: &Samples, accuracy: &Accuracy) -> BenchRow {
    let nanoseconds: Vec<f64> = samples.seconds.iter().map(|s| s * 1e9).collect();
    let ([avg_ns, stddev_ns], median_ns) = (mean(&nanoseconds), median(&nanoseconds));
    let rate = |amount: f64| (amount > 0.0).then(|| amount / median_ns);
    BenchRow {
        machine: place.clone(),
        kernel: spec.kernel.name().to_string(),
        variant: spec.variant.clone(),
        shape: spec.shape.clone(),
        m: spec.size[0],
        n: spec.size[1],
        k: spec.size[2],
        dtype: short(spec.dtype).to_string(),
        warmups: samples.warmups,
        repetitions: nanoseconds.len(),
        calls: samples.calls,
        timing: samples.clock.name().to_string(),
        avg_ns,
        stddev_ns,
        median_ns,
        mad_ns: deviation(&nanoseconds),
        drift: drift(&nanoseconds),
        samples_ns: nanoseconds,
        flops: case.flops,
        bytes: case.bytes,
        gflops: rate(case.flops),
        gbps: rate(case.bytes),
        max_rel_err: accuracy.error,
        err_bound: accuracy.bound,
        checked: accuracy.checked,
        elements: accuracy.elements,
        layer_error: accuracy.layer_error,
        ..Default::default()
    }
}
