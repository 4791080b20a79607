//! Pruning without knowing the model: every matrix that looks like a linear's weight, by magnitude, on its own.
//!
//! For architectures no family file describes. Nothing is run, so there are no inputs to calibrate on, no layer errors
//! and no refit.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::solve::row_blocks;
use crate::checkpoint::{Checkpoint, CheckpointWriter, TensorView, encode};
use crate::gpu::{Gpu, Recording};
use crate::model::finite;
use crate::prune::{MAGNITUDE, Pattern, PruneError};
use crate::report::{LinearRecord, PruneReport, Settings};
use crate::run::RunError;
use crate::run::predict::resident::peak_resident;
use crate::run::progress::Progress;
use crate::run::report::{adapter_record, total, verify};
use crate::tensor::Tensor;

/// Parts of names that mark a matrix as something else than a linear of a layer.
const OTHERS: [&str; 11] = [
    "embed",
    "wte",
    "wpe",
    "lm_head",
    "head.",
    "norm",
    "ln_",
    "router",
    ".gate.weight",
    "position",
    "conv",
];

/// What the user asked for.
#[derive(Clone, Debug)]
pub struct WeightsOnly {
    /// Output folder.
    pub output: PathBuf,
    /// Pattern.
    pub pattern: Pattern,
    /// Why no more than this can be done.
    pub reason: String,
}

/// Prunes every matrix that looks like a linear's weight and writes the result.
pub fn prune_weights(
    options: &WeightsOnly,
    checkpoint: &Checkpoint,
    gpu: &Gpu,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<PruneReport, RunError> {
    let start = Instant::now();
    let names = candidates(checkpoint, options.pattern)?;
    let mut writer = CheckpointWriter::create(checkpoint, &options.output)?;
    let mut report = PruneReport {
        tool: format!("secateur {}", env!("CARGO_PKG_VERSION")),
        settings: Settings {
            model: checkpoint.dir().display().to_string(),
            output: options.output.display().to_string(),
            family: "none (weights only)".into(),
            method: MAGNITUDE.name.into(),
            pattern: options.pattern.to_string(),
            sparsity: options.pattern.sparsity(),
            ..Default::default()
        },
        input_fingerprint: checkpoint.fingerprint(),
        adapter: adapter_record(gpu),
        warnings: vec![format!(
            "{}: no family file describes it, so only the weights were looked at. Not done: calibration, layer errors \
             (those shown are of the weights), refit, permutation; `secateur eval` cannot run it. A family file (models/README.md) \
             given with `family` makes all of it possible",
            options.reason
        )],
        ..Default::default()
    };
    for name in &names {
        if stop.load(Ordering::Relaxed) {
            let output = options.output.display().to_string();
            return Err(RunError::NothingWritten { output });
        }
        let (record, bytes) = matrix(options.pattern, &checkpoint.tensor(name)?, gpu)?;
        writer.put(name, &bytes)?;
        checkpoint.release(name);
        progress.linear(report.linears.len() + 1, names.len(), &record);
        report.linears.push(record);
    }
    report.phases.solve = start.elapsed().as_secs_f64();
    progress.stage("write and verify");
    report.totals = total(&report.linears);
    report.memory.device_peak = gpu.peak_bytes();
    let json = serde_json::to_string_pretty(&report.reproducible()).expect("a report is plain data");
    writer.finish(&[("pruning_report.json", json.as_bytes())])?;
    verify(&options.output, &report)?;
    report.memory.host_peak = peak_resident();
    Ok(report)
}

/// Names of matrices that look like a linear's weight: 2-D, `.weight`, and not called like anything else.
fn candidates(checkpoint: &Checkpoint, pattern: Pattern) -> Result<Vec<String>, RunError> {
    let mut names = Vec::new();
    for name in checkpoint.names() {
        let lower = name.to_lowercase();
        if !lower.ends_with(".weight") || OTHERS.iter().any(|part| lower.contains(part)) {
            continue;
        }
        let Ok(view) = checkpoint.tensor(name) else { continue };
        if let [_, cols] = view.shape[..] {
            pattern.check_width(name, cols)?;
            names.push(name.to_string());
        }
    }
    if names.is_empty() {
        let message = format!(
            "{}: no tensor looks like a linear's weight (2-D, named *.weight); there is nothing to prune",
            checkpoint.dir().display()
        );
        return Err(RunError::Setting(message));
    }
    Ok(names)
}

fn matrix(pattern: Pattern, view: &TensorView<'_>, gpu: &Gpu) -> Result<(LinearRecord, Vec<u8>), RunError> {
    let start = Instant::now();
    finite(view)?;
    let [rows, cols] = [view.shape[0], view.shape[1]];
    let mut record = LinearRecord {
        role: "matrix".into(),
        tensor: view.name.to_string(),
        shape: [rows, cols],
        input_zeros: view.dtype.count_zeros(view.bytes),
        ..Default::default()
    };
    let height = ((gpu.limits().binding / (4 * cols as u64)) as usize).clamp(1, rows);
    let (mut bytes, mut lost, mut energy) = (Vec::with_capacity(view.bytes.len()), 0.0, 0.0);
    for block in row_blocks(height, rows) {
        let values = part(view, block.clone(), cols);
        let [kept, support] = round(pattern, gpu, [block.len(), cols], &values)?;
        let squares = |values: &[f32]| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        energy += squares(&values);
        lost += squares(&values) - squares(&kept);
        let encoded = encode(&kept, &support, view.dtype);
        record.zeros += encoded.zeros;
        record.row_blocks += 1;
        bytes.extend(encoded.bytes);
    }
    record.error_after = Some(if energy > 0.0 { lost.max(0.0) / energy } else { 0.0 });
    record.error_before = record.error_after;
    record.sparsity = record.zeros as f64 / (rows * cols).max(1) as f64;
    record.seconds = start.elapsed().as_secs_f64();
    Ok((record, bytes))
}

fn part(view: &TensorView<'_>, rows: Range<usize>, cols: usize) -> Vec<f32> {
    let row = cols * view.dtype.size();
    view.dtype.decode(&view.bytes[rows.start * row..rows.end * row])
}

fn round(pattern: Pattern, gpu: &Gpu, [rows, cols]: [usize; 2], values: &[f32]) -> Result<[Vec<f32>; 2], PruneError> {
    let free: Vec<f32> = values.iter().map(|v| if *v == 0.0 { 0.0 } else { 1.0 }).collect();
    let v = Tensor::upload(gpu, "weight", rows, cols, values)?;
    let free = Tensor::upload(gpu, "free", rows, cols, &free)?;
    let kept = Tensor::empty(gpu, "kept", rows, cols)?;
    let support = Tensor::empty(gpu, "support", rows, cols)?;
    let mut recording = Recording::new();
    pattern.round(&mut recording, gpu, [&v, &free], &kept, &support)?;
    let ids = [recording.read(&kept.slice()), recording.read(&support.slice())];
    let done = gpu.submit(recording)?;
    Ok([done.floats(ids[0])?, done.floats(ids[1])?])
}
