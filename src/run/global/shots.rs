//! What every run in shots has in common: its folder, how far it came, and the checkpoint each shot leaves for the next.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::Value;

use super::plan::SurgeonPlan;
use super::report::warn_of_corrections;
use crate::checkpoint::{Checkpoint, CheckpointWriter, Reshaping};
use crate::gpu::Gpu;
use crate::report::{CalibrationRecord, PruneReport, ShotRecord};
use crate::run::RunError;
use crate::run::curvature::factors::{FactorStore, Wanted};
use crate::run::folder::{RunFolder, RunIdentity, Step};
use crate::run::predict::resident::peak_resident;
use crate::run::progress::Progress;
use crate::run::report::{calibration_record, continued, total, verify};
use crate::run::samples::SampleSets;

/// What a run works on, and what it has found so far.
pub(in crate::run) struct Shots<'r> {
    pub(in crate::run) plan: &'r SurgeonPlan,
    /// The dense model.
    pub(in crate::run) original: &'r Checkpoint,
    pub(in crate::run) gpu: &'r Gpu,
    pub(in crate::run) samples: &'r SampleSets,
    pub(in crate::run) report: PruneReport,
    pub(in crate::run) progress: &'r mut dyn Progress,
    pub(in crate::run) stop: &'r AtomicBool,
    folder: RunFolder,
    /// Whether the last step is done, which needs no keeping: its result is in place.
    finished: bool,
    /// Steps of the correction at hand that are kept.
    pub(in crate::run) steps_done: usize,
}

/// Who watches a run.
pub(in crate::run) struct Watch<'r> {
    pub(in crate::run) progress: &'r mut dyn Progress,
    pub(in crate::run) stop: &'r AtomicBool,
}

/// Plays the shots that are not done yet, in a new folder or that of an earlier run; `begun` is the report of a run that has
/// found nothing. The last step leaves the result, every other, shot or correction, a checkpoint at [`Shots::path`].
pub(in crate::run) fn in_shots(
    plan: &SurgeonPlan,
    (original, gpu): (&Checkpoint, &Gpu),
    Watch { progress, stop }: Watch<'_>,
    begun: PruneReport,
    mut each: impl FnMut(&mut Shots<'_>, usize) -> Result<(), RunError>,
) -> Result<PruneReport, RunError> {
    let start = Instant::now();
    let (output, shots, steps) = (&plan.options.output, plan.surgeon.shots, plan.steps_per_shot());
    let mut folder = RunFolder::begin(original, (output, plan.disk_bytes), plan.options.resume, None)?;
    progress.stage("tokenise");
    let samples = SampleSets::draw(&plan.options, original, plan.sample_sets())?;
    let mut report = PruneReport {
        calibration: CalibrationRecord {
            sets: Some(samples.count()).filter(|sets| *sets > 1),
            ..calibration_record(&plan.options, &samples.all)
        },
        ..begun
    };
    let identity = RunIdentity::of(original, &report.calibration, &plan.settings);
    if let Some(state) = folder.identify(identity)? {
        report = continued(&state, report)?;
        let done = folder.done();
        progress.stage(&format!("resumed after {} of {shots} shots", done.div_ceil(steps)));
    }
    report.phases.prepare += start.elapsed().as_secs_f64();
    let mut run = Shots {
        plan,
        original,
        gpu,
        samples: &samples,
        report,
        progress,
        stop,
        folder,
        steps_done: 0,
        finished: false,
    };
    let mut result = Ok(());
    while result.is_ok() && !run.finished {
        let (shot, step) = (run.folder.done() / steps, run.folder.done() % steps);
        result = match step {
            0 => each(&mut run, shot),
            _ => run.correct(shot),
        };
    }
    if let Err(error) = result {
        return Err(run.folder.suspended(error, run.kept()));
    }
    let Shots { mut report, folder, .. } = run;
    folder.finish()?;
    report.memory.device_peak = gpu.peak_bytes();
    report.memory.host_peak = peak_resident();
    Ok(report)
}

impl Shots<'_> {
    /// What can be resumed.
    fn kept(&self) -> String {
        let surgeon = &self.plan.surgeon;
        let shots = self.folder.done().div_ceil(self.plan.steps_per_shot());
        let kept = format!("{shots} of {} shots", surgeon.shots);
        match self.steps_done {
            0 => kept,
            steps => format!(
                "{kept} and {steps} of {} steps of the last one's correction",
                surgeon.low_rank.steps
            ),
        }
    }

    fn path(&self, done: usize) -> PathBuf {
        self.folder.place(&format!("step-{done}"))
    }

    /// Whether this step is the last.
    fn is_last(&self) -> bool {
        self.folder.done() + 1 == self.plan.surgeon.shots * self.plan.steps_per_shot()
    }

    /// What the step before left; none for the first, which starts from the original.
    pub(in crate::run) fn earlier(&self) -> Result<Option<Checkpoint>, RunError> {
        Ok(match self.folder.done() {
            0 => None,
            done => {
                // Of the original hardly anything is read from now on.
                self.original.release_all();
                Some(Checkpoint::open(&self.path(done))?)
            }
        })
    }

    /// Where this step writes: the last to the output, any other for the next; what a crash left there is gone.
    pub(in crate::run) fn writer<'c>(
        &self,
        current: &'c Checkpoint,
        reshaping: Reshaping,
    ) -> Result<CheckpointWriter<'c>, RunError> {
        if self.is_last() {
            let output = &self.plan.options.output;
            return Ok(CheckpointWriter::within(
                current,
                output,
                reshaping,
                self.folder.done() > 0,
            )?);
        }
        let next = self.path(self.folder.done() + 1);
        let _ = fs::remove_dir_all(&next);
        Ok(CheckpointWriter::create_reshaped(current, &next, reshaping)?)
    }

    /// Writes what remains; of the result, with the report, also counts the zeros.
    pub(in crate::run) fn leave(&mut self, mut writer: CheckpointWriter<'_>) -> Result<(), RunError> {
        let clock = Instant::now();
        if self.is_last() {
            self.progress.stage("write and verify");
            let json = serde_json::to_string_pretty(&self.report.reproducible()).expect("a report is plain data");
            writer.place(&[("pruning_report.json", json.as_bytes())])?;
            verify(&self.plan.options.output, &self.report)?;
        } else {
            writer.finish(&[])?;
        }
        self.report.phases.write += clock.elapsed().as_secs_f64();
        Ok(())
    }

    /// Room for the factors of a shot.
    pub(in crate::run) fn store(&self, wanted: Wanted) -> Result<FactorStore, RunError> {
        Ok(FactorStore::create(self.folder_of("factors"), wanted)?)
    }

    /// A folder for what a shot has no use for once it is done.
    pub(in crate::run) fn folder_of(&self, name: &str) -> PathBuf {
        self.folder.place(name)
    }

    pub(in crate::run) fn interrupted(&self) -> Result<(), RunError> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(RunError::Interrupted),
            false => Ok(()),
        }
    }

    /// Counts a step as done whose checkpoint is on the disk. That of the step before goes: nothing may read it any more.
    /// The last needs no counting: its result is in place.
    pub(in crate::run) fn commit(&mut self) -> Result<(), RunError> {
        if self.is_last() {
            self.finished = true;
            return Ok(());
        }
        let done = self.folder.done();
        self.folder.commit(Step {
            done: done + 1,
            report: serde_json::to_value(&self.report).expect("a report is plain data"),
            found: Value::Null,
            streams: &[],
        })?;
        if done > 0 {
            let old = self.path(done);
            fs::remove_dir_all(&old).map_err(|e| self.folder.failed(&old, e))?;
        }
        Ok(())
    }

    /// Sums the report up, with warnings, as far as that does not take the files.
    pub(in crate::run) fn sum_up(&mut self, warnings: Vec<String>) {
        self.report.totals = total(&self.report.linears);
        self.report.warnings = warnings;
        self.report.warnings.extend(warn_of_skipped(&self.report.shots));
        self.report.warnings.extend(warn_of_corrections(&self.report.shots));
    }
}

/// Says that some samples had no finite loss.
fn warn_of_skipped(shots: &[ShotRecord]) -> Option<String> {
    let skipped = shots.iter().map(|s| s.skipped_samples).max().unwrap_or(0);
    (skipped > 0).then(|| {
        format!("{skipped} calibration samples had no finite loss and were left out; the model may be damaged")
    })
}
