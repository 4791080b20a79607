//! The report of a run: begun, continued, summed up, and held against the files.

use std::path::Path;

use super::plan::{Plan, PruneOptions};
use super::state::{RunState, StateError};
use super::statistics::Manifest;
use super::{RunError, peak_resident};
use crate::calib::CalibrationSet;
use crate::checkpoint::{Checkpoint, STATE_FILE, STATE_FOLDER};
use crate::gpu::Gpu;
use crate::prune::{Propagate, Within};
use crate::report::{
    AdapterRecord, CalibrateReport, CalibrationRecord, LinearRecord, Memory, PruneReport, Settings, Totals,
};

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
         (one without any is pruned by magnitude); use more --samples",
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
        "{} linears could only be solved with more damping (the first: `{}`); use more --samples, or more --damping",
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

pub(super) fn begin_report(
    plan: &Plan,
    checkpoint: &Checkpoint,
    gpu: &Gpu,
    calibration: CalibrationRecord,
) -> PruneReport {
    let (options, demand) = (&plan.options, &plan.demand);
    let memory = [demand.device_bytes, demand.host_bytes];
    let head = report_head(options, &plan.family, (checkpoint, gpu), memory);
    PruneReport {
        settings: Settings {
            warm_start: (options.method == "fista").then(|| options.warm_start.name().to_string()),
            refit: options.refit,
            damping_rule: options.damping.rule.name().to_string(),
            correction: match options.propagate {
                // Targets are on the same inputs: there is nothing to correct.
                Propagate::Pruned => 0.0,
                _ if options.within == Within::Layer => 0.0,
                Propagate::Dense | Propagate::Local | Propagate::Both => options.correction,
            },
            within: Some(options.within.name().to_string()),
            propagate: options.propagate.name().to_string(),
            permute: options.permutes(),
            allocation: options.allocates().name().to_string(),
            spread: options.spread_in_use(),
            activations: match plan.statistics {
                Some(_) => "none".to_string(),
                None => demand.activations.name().to_string(),
            },
            batch_rows: demand.batch_rows,
            statistics: plan.statistics.as_ref().map(|s| s.dir().display().to_string()),
            ..head.settings
        },
        calibration,
        ..head
    }
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
            method: options.method.clone(),
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

/// What `secateur calibrate` reports.
pub(super) fn calibrated(output: &Path, manifest: &Manifest, report: PruneReport) -> CalibrateReport {
    let groups = manifest.layers.iter().map(|layer| layer.groups.len()).sum();
    let mut memory = report.memory;
    memory.host_peak = peak_resident();
    CalibrateReport {
        tool: report.tool,
        model: report.settings.model,
        model_fingerprint: report.input_fingerprint,
        output: output.display().to_string(),
        calibration: report.calibration,
        layers: manifest.layers.len(),
        groups,
        bytes: manifest.layers.iter().map(|layer| layer.bytes).sum(),
        adapter: report.adapter,
        phases: report.phases,
        memory,
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
