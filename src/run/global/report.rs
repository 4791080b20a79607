//! The report of a run in shots as it begins.

use super::plan::SurgeonPlan;
use crate::checkpoint::Checkpoint;
use crate::gpu::Gpu;
use crate::report::{PruneReport, Settings, ShotRecord};
use crate::run::report::report_head;

/// A report with the settings of a plan.
pub(in crate::run) fn begin_report(plan: &SurgeonPlan, checkpoint: &Checkpoint, gpu: &Gpu) -> PruneReport {
    let memory = [plan.device_bytes, plan.host_bytes];
    let head = report_head(&plan.options, &plan.family, (checkpoint, gpu), memory);
    PruneReport {
        settings: Settings {
            refit: plan.surgeon.refit,
            damping_rule: plan.options.damping.rule.name().into(),
            output_damping: Some(plan.surgeon.output_damping),
            shots: Some(plan.surgeon.shots),
            fisher: Some(plan.surgeon.fisher.name().into()),
            half_steps: Some(plan.surgeon.half_steps).filter(|steps| *steps > 0),
            structure: plan.surgeon.lines.any().then(|| plan.surgeon.lines.name()),
            max_correlate: (!plan.searches()).then_some(plan.surgeon.max_correlate),
            propagate: "pruned".into(),
            allocation: "global".into(),
            activations: "float32".into(),
            batch_rows: plan.activation_options().rows,
            ..head.settings
        },
        ..head
    }
}

/// Says where corrections did not help, or samples were of no use to them.
pub(in crate::run) fn warn_of_corrections(shots: &[ShotRecord]) -> Vec<String> {
    let mut out = Vec::new();
    for (shot, found) in shots.iter().filter_map(|s| Some((s.shot, s.correction.as_ref()?))) {
        let [before, after] = found.loss;
        if after > before {
            out.push(format!(
                "the correction of shot {shot} made the loss worse, {before:.4} to {after:.4} nats a token; use a lower `lora-rate`"
            ));
        }
        if found.skipped_steps > 0 {
            out.push(format!(
                "{} of {} steps of the correction of shot {shot} met a sample without a finite loss",
                found.skipped_steps, found.steps
            ));
        }
    }
    out
}
