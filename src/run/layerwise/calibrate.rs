//! The dense model's sums, saved for any number of prunes.

use std::fs::File;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use super::begin::Begun;
use super::plan::Plan;
use super::source::HiddenStates;
use super::statistics::{Manifest, StatisticsWriter};
use super::walk::{Sink, Walk};
use crate::checkpoint::{Checkpoint, STATE_FILE, STATE_FOLDER};
use crate::gpu::Gpu;
use crate::report::{CalibrateReport, PruneReport};
use crate::run::folder::RunState;
use crate::run::layerwise::statistics::{LayerEntry, MANIFEST};
use crate::run::order::linears_of;
use crate::run::predict::resident::peak_resident;
use crate::run::progress::Progress;
use crate::run::{RunError, StateError};

/// Walks the dense model and saves what its linears read, for any number of prunes; `stop` is asked between groups.
///
/// Whatever stops it after the first decoder layer leaves the finished layers in the output, to be resumed.
pub fn calibrate(
    plan: &Plan,
    checkpoint: &Checkpoint,
    gpu: &Gpu,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<CalibrateReport, RunError> {
    let start = Instant::now();
    let output = &plan.options.output;
    let Begun {
        folder,
        decoder,
        mut report,
        ids,
        earlier,
    } = Begun::at(plan, checkpoint, gpu, progress, Some(MANIFEST))?;
    let mut manifest = Manifest::begin(&report, &plan.spec);
    let entering = match earlier {
        Some((state, entering)) => {
            manifest.layers = kept_layers(&state, output)?;
            entering
        }
        None => {
            let ids = ids.as_ref().expect("what is to be saved is captured");
            Some(HiddenStates::embedded(plan, &decoder, ids)?)
        }
    };
    drop(ids);
    let first = folder.done();
    let mut writer = StatisticsWriter::new(folder, manifest);
    report.phases.prepare += start.elapsed().as_secs_f64();
    let mut walk = Walk {
        plan,
        decoder: &decoder,
        entering,
        sink: Sink::Statistics(&mut writer),
        report,
        allocated: None,
        progress,
        stop,
        done: linears_of(&plan.spec, 0..first)?,
    };
    let result = (first..plan.layers).try_for_each(|layer| walk.layer(layer));
    let mut report = walk.report;
    result.map_err(|error| writer.suspended(error, plan.layers))?;
    report.memory.device_peak = gpu.peak_bytes();
    Ok(calibrated(output, &writer.finish()?, report))
}

/// The layers that an earlier run saved. Fails unless their files are what it wrote.
fn kept_layers(state: &RunState, output: &Path) -> Result<Vec<LayerEntry>, RunError> {
    let damaged = |reason: String| StateError::Damaged {
        file: output.join(STATE_FOLDER).join(STATE_FILE),
        output: output.into(),
        reason,
    };
    let layers: Vec<LayerEntry> = serde_json::from_value(state.found.clone())
        .map_err(|error| damaged(format!("its list of layers cannot be read ({error})")))?;
    for layer in &layers {
        let path = output.join(&layer.file);
        let mut hasher = blake3::Hasher::new();
        let read = File::open(&path).and_then(|file| hasher.update_reader(file).map(|_| ()));
        read.map_err(|error| damaged(format!("{}: {error}", path.display())))?;
        if hasher.finalize().to_hex().as_str() != layer.blake3 {
            return Err(damaged(format!("{} is not as it was written", path.display())).into());
        }
    }
    Ok(layers)
}

/// What `secateur calibrate` reports.
fn calibrated(output: &Path, manifest: &Manifest, report: PruneReport) -> CalibrateReport {
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
