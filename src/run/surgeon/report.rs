//! The report of a run in shots as it begins.

use super::plan::SurgeonPlan;
use crate::checkpoint::Checkpoint;
use crate::gpu::Gpu;
use crate::report::{Memory, PruneReport, Settings};
use crate::run::report::adapter_record;

/// A report with the settings of a plan.
pub(in crate::run) fn begin_report(plan: &SurgeonPlan, checkpoint: &Checkpoint, gpu: &Gpu) -> PruneReport {
    let options = &plan.options;
    PruneReport {
        tool: format!("secateur {}", env!("CARGO_PKG_VERSION")),
        settings: Settings {
            model: options.model.display().to_string(),
            output: options.output.display().to_string(),
            family: plan.family.clone(),
            method: options.method.clone(),
            chosen: options.chosen.clone(),
            pattern: options.pattern.to_string(),
            sparsity: options.pattern.sparsity(),
            refit: plan.surgeon.refit,
            damping: options.damping.fraction,
            damping_rule: "mean".into(),
            output_damping: Some(plan.surgeon.output_damping),
            shots: Some(plan.surgeon.shots),
            fisher: Some(plan.surgeon.fisher.name()),
            half_steps: Some(plan.surgeon.half_steps).filter(|steps| *steps > 0),
            structure: plan.surgeon.lines.any().then(|| plan.surgeon.lines.name()),
            max_correlate: (!plan.searches()).then_some(plan.surgeon.max_correlate),
            propagate: "pruned".into(),
            allocation: "global".into(),
            activations: "float32".into(),
            batch_rows: plan.activation_options().rows,
            ..Default::default()
        },
        input_fingerprint: checkpoint.fingerprint(),
        adapter: adapter_record(gpu),
        memory: Memory {
            predicted_device: plan.device_bytes,
            predicted_host: plan.host_bytes,
            ..Default::default()
        },
        ..Default::default()
    }
}
