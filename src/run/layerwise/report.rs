//! The report of a walk as it begins, and the samples it begins with.

use std::collections::BTreeMap;

use super::plan::Plan;
use crate::calib::CalibrationSet;
use crate::checkpoint::Checkpoint;
use crate::gpu::Gpu;
use crate::prune::{Propagate, Within};
use crate::report::{CalibrationRecord, PruneReport, Settings};
use crate::run::RunError;
use crate::run::options::PruneOptions;
use crate::run::progress::Progress;
use crate::run::report::{calibration_record, report_head};
use crate::run::samples::{SampleSets, TokenIds};

/// The method's own options, by name.
fn own(options: &PruneOptions) -> BTreeMap<String, String> {
    let all = options.method_options.all().iter();
    all.map(|(name, value)| (name.to_string(), value.clone())).collect()
}

/// A report with the settings of a plan.
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
            method_options: own(options),
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

/// What the tokens are, and the tokens themselves unless their sums were saved before.
pub(super) fn calibration(
    plan: &Plan,
    checkpoint: &Checkpoint,
    progress: &mut dyn Progress,
) -> Result<(CalibrationRecord, Option<TokenIds>), RunError> {
    if let Some(statistics) = &plan.statistics {
        progress.stage("prune from saved statistics");
        return Ok((statistics.manifest.calibration.clone(), None));
    }
    progress.stage("tokenise and embed");
    let set = samples(&plan.options, checkpoint)?;
    Ok((calibration_record(&plan.options, &set), Some(set.ids)))
}

/// Draws the samples.
fn samples(options: &PruneOptions, checkpoint: &Checkpoint) -> Result<CalibrationSet, RunError> {
    Ok(SampleSets::draw(options, checkpoint, 1)?.all)
}
