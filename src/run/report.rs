//! The report of a run: begun, continued, summed up, and held against the files.

use std::path::Path;

use super::folder::RunState;
use super::options::PruneOptions;
use super::{RunError, StateError};
use crate::calib::CalibrationSet;
use crate::checkpoint::{Checkpoint, STATE_FILE, STATE_FOLDER};
use crate::gpu::Gpu;
use crate::report::{AdapterRecord, CalibrationRecord, LinearRecord, Memory, PruneReport, Settings, Totals};

/// Calibration tokens below which an expert's weights rest on too little.
const EXPERT_TOKENS: usize = 256;

/// Sums over all linears.
pub(super) fn total(linears: &[LinearRecord]) -> Totals {
    let mut totals = Totals::default();
    for linear in linears {
        totals.weights += linear.shape[0] * linear.shape[1];
        totals.zeros += linear.zeros;
        totals.input_zeros += linear.input_zeros;
    }
    totals.sparsity = totals.zeros as f64 / totals.weights.max(1) as f64;
    totals
}

/// Says which experts saw hardly any token.
pub(super) fn warn_of_experts(linears: &[LinearRecord]) -> Vec<String> {
    let mut few: Vec<(usize, usize, usize)> = linears
        .iter()
        .filter(|l| l.tokens < EXPERT_TOKENS)
        .filter_map(|l| Some((l.layer, l.expert?, l.tokens)))
        .collect();
    few.sort_unstable();
    few.dedup();
    let Some((layer, expert, tokens)) = few.iter().min_by_key(|(_, _, tokens)| *tokens) else {
        return Vec::new();
    };
    vec![format!(
        "{} experts saw fewer than {EXPERT_TOKENS} calibration tokens, the fewest layer {layer}, expert {expert}: {tokens} \
         (one without any is pruned by magnitude); use more `samples`",
        few.len()
    )]
}

/// Says which linears needed more damping than was asked for.
pub(super) fn warn_of_damping(linears: &[LinearRecord]) -> Vec<String> {
    let raised = linears.iter().filter(|l| l.damping_raised > 0);
    let Some(first) = raised.clone().next() else {
        return Vec::new();
    };
    vec![format!(
        "{} linears could only be solved with more damping (the first: `{}`); use more `samples`, or more `damping`",
        raised.count(),
        first.tensor
    )]
}

/// The report of an earlier run, to be gone on with; `now` is what this run began.
pub(super) fn continued(state: &RunState, now: PruneReport) -> Result<PruneReport, RunError> {
    let earlier: PruneReport = serde_json::from_value(state.report.clone()).map_err(|e| StateError::Damaged {
        file: Path::new(&now.settings.output).join(STATE_FOLDER).join(STATE_FILE),
        output: now.settings.output.clone().into(),
        reason: format!("its report cannot be read ({e})"),
    })?;
    Ok(PruneReport {
        allocated: earlier.allocated,
        shots: earlier.shots,
        linears: earlier.linears,
        phases: earlier.phases,
        // Of shots, where only a correction may be left to do.
        totals: earlier.totals,
        warnings: earlier.warnings,
        shrunk: earlier.shrunk,
        ..now
    })
}

/// Opens the written checkpoint and counts its zeros.
pub(super) fn verify(output: &Path, report: &PruneReport) -> Result<(), RunError> {
    let written = Checkpoint::open(output)?;
    for linear in &report.linears {
        let view = written.tensor(&linear.tensor)?;
        let found = view.dtype.count_zeros(view.bytes);
        if found != linear.zeros {
            return Err(RunError::Verification {
                output: output.display().to_string(),
                tensor: linear.tensor.clone(),
                found,
                wanted: linear.zeros,
            });
        }
        written.release(&linear.tensor);
    }
    Ok(())
}

/// What every report of a prune begins with; the memory is what the plan wants of the device and of the host.
pub(super) fn report_head(
    options: &PruneOptions,
    family: &str,
    (checkpoint, gpu): (&Checkpoint, &Gpu),
    [predicted_device, predicted_host]: [u64; 2],
) -> PruneReport {
    PruneReport {
        tool: format!("secateur {}", env!("CARGO_PKG_VERSION")),
        settings: Settings {
            model: options.model.display().to_string(),
            output: options.output.display().to_string(),
            family: family.to_string(),
            method: options.method.name.to_string(),
            chosen: options.chosen.clone(),
            pattern: options.pattern.to_string(),
            sparsity: options.pattern.sparsity(),
            damping: options.damping.fraction,
            ..Default::default()
        },
        input_fingerprint: checkpoint.fingerprint(),
        adapter: adapter_record(gpu),
        memory: Memory {
            predicted_device,
            predicted_host,
            ..Default::default()
        },
        ..Default::default()
    }
}

/// What was drawn.
pub(super) fn calibration_record(options: &PruneOptions, set: &CalibrationSet) -> CalibrationRecord {
    CalibrationRecord {
        source: options.calibration.display().to_string(),
        rule: set.rule.to_string(),
        samples: options.samples.samples,
        length: options.samples.length,
        seed: options.samples.seed,
        sets: None,
        token_hash: set.hash.clone(),
    }
}

/// How a device appears in reports.
pub fn adapter_record(gpu: &Gpu) -> AdapterRecord {
    let executor = if gpu.is_host() { "host" } else { "wgpu" };
    AdapterRecord {
        name: gpu.name().to_string(),
        executor: executor.to_string(),
        half_attention: gpu.half_attention(),
    }
}

/// Arithmetic in products of a weight with the Gram of its inputs.
pub(super) fn in_products(flops: f64, [rows, cols]: [usize; 2]) -> f64 {
    flops / (2.0 * (rows * cols) as f64 * cols as f64)
}
