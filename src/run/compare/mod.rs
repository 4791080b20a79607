//! Methods against targets on one model: each cell of the table is a prune and an evaluation, kept as soon as it is done.
//!
//! The walk and the evaluation are those of `prune` and `eval`; here is only their order, and what is on disk between
//! them ([`Store`]).

mod evaluate;
mod options;
mod store;

pub use evaluate::{EvalText, evaluate, evaluate_against};
pub use options::CompareOptions;

use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::calib::{CalibError, hash_ids};
use crate::checkpoint::Checkpoint;
use crate::gpu::Gpu;
use crate::model::{ActivationOptions, Activations, Decoder, Spec};
use crate::report::{CompareCell, CompareReport, EvalRecord, LinearRecord, PruneReport, RoleError};
use crate::run::RunError;
use crate::run::folder::add_rounding;
use crate::run::global::SurgeonOptions;
use crate::run::global::SurgeonPlan;
use crate::run::global::surgeon;
use crate::run::layerwise::Plan;
use crate::run::layerwise::prune;
use crate::run::options::{PruneOptions, StatisticsSource};
use crate::run::predict::demand::refuse;
use crate::run::predict::resident::{peak_resident, reset_peak_resident};
use crate::run::progress::Progress;
use evaluate::EvalDemand;
use store::Store;

/// What a comparison tells while it works.
pub trait CompareProgress {
    /// Row `number` of `rows` begins.
    fn row(&mut self, name: &str, number: usize, rows: usize);
    /// Hears of the prune of the row.
    fn prune(&mut self) -> &mut dyn Progress;
    /// `done` of `layers` decoder layers have been evaluated on a text; 0 when it begins.
    fn evaluation(&mut self, text: &str, done: usize, layers: usize);
}

/// A checkpoint with its sizes and the device it runs on.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The dense model.
    pub checkpoint: &'a Checkpoint,
    /// Its sizes.
    pub spec: &'a Spec,
    /// Device.
    pub gpu: &'a Gpu,
}

/// Prunes and evaluates row by row; rows that the output has already are not done again. `stop` is asked between
/// linears and between layers of an evaluation.
///
/// Whatever stops it, finished rows stay in the output.
pub fn compare(
    options: &CompareOptions,
    subject: Subject<'_>,
    texts: &[EvalText],
    progress: &mut dyn CompareProgress,
    stop: &AtomicBool,
) -> Result<CompareReport, RunError> {
    // Bad settings of any row are refused before hours of work.
    let text = options.rows.first().map_or(Ok(Value::Null), calibration_hash)?;
    let plans = options.rows.iter().map(|row| Cell::plan(options, row, subject, &text));
    let cells = all_or_largest(plans);
    let demand = match (cells.as_ref().err(), Evaluations::plan(options, subject, texts)) {
        (Some(row), Err(text)) if needed(row) < needed(&text) => return Err(text),
        (_, demand) => demand,
    };
    let (mut cells, demand) = (cells?, demand?);
    let predicted = cells.iter().map(|cell| cell.plan.host_bytes()).max().unwrap_or(0);
    let mut store = Store::open(options, subject.checkpoint, settings(subject, texts))?;
    let memory = &mut store.report.memory;
    memory.predicted_host = memory.predicted_host.max(predicted).max(demand.host);
    let mut run = Comparison {
        options,
        subject,
        texts,
        demand,
        store,
        progress,
        stop,
    };
    for cell in &cells {
        run.store.check(&cell.name, &cell.settings)?;
    }
    let result = run
        .dense()
        .and_then(|()| cells.iter_mut().enumerate().try_for_each(|(i, cell)| run.cell(i, cell)));
    let done = cells.iter().filter(|cell| run.finished(&cell.name)).count();
    run.note_peaks();
    match result.and_then(|()| run.store.save()) {
        Ok(()) => run.store.finish(),
        Err(error) => Err(run.store.paused(error, [done, cells.len()])),
    }
}

/// What every row depends on.
fn settings(subject: Subject<'_>, texts: &[EvalText]) -> Value {
    let texts = texts.iter().map(|text| {
        json!({
            "protocol": text.protocol.id(),
            "bos": text.bos.name(),
            "context": text.windows.context,
            "windows": text.windows.ids.len(),
            "tokens": hash_ids(&text.windows.ids),
        })
    });
    let mut settings = json!({ "model": subject.checkpoint.fingerprint(), "texts": texts.collect::<Vec<_>>() });
    add_rounding(&mut settings, subject.gpu);
    settings
}

/// BLAKE3, as hex, of the calibration text; nothing where sums are loaded, which have a checksum of their own.
fn calibration_hash(options: &PruneOptions) -> Result<Value, RunError> {
    if options.sums != StatisticsSource::Captured {
        return Ok(Value::Null);
    }
    let path = &options.calibration;
    let mut hasher = blake3::Hasher::new();
    let read = std::fs::File::open(path).and_then(|file| hasher.update_reader(file).map(|_| ()));
    read.map_err(|error| match error.kind() {
        ErrorKind::NotFound => CalibError::MissingText { file: path.clone() },
        _ => CalibError::Io {
            file: path.clone(),
            error,
        },
    })?;
    Ok(hasher.finalize().to_hex().to_string().into())
}

/// All of them, or the error that asks for the most memory; any other error comes first.
fn all_or_largest<T>(results: impl Iterator<Item = Result<T, RunError>>) -> Result<Vec<T>, RunError> {
    let mut all = Vec::new();
    let mut refused: Option<RunError> = None;
    for result in results {
        match result {
            Ok(found) => all.push(found),
            Err(error) => match needed(&error) {
                None => return Err(error),
                needs if needs > refused.as_ref().and_then(needed) => refused = Some(error),
                Some(_) => {}
            },
        }
    }
    refused.map_or(Ok(all), Err)
}

/// Bytes that a limit is short of.
fn needed(error: &RunError) -> Option<u64> {
    match error {
        RunError::OverBudget { needed, .. } => Some(*needed),
        _ => None,
    }
}

/// What the evaluations take.
struct Evaluations {
    /// Resident bytes of the process.
    host: u64,
    /// Bytes of streams kept in memory; the rest is in a file.
    streams: Option<u64>,
}

impl Evaluations {
    /// Fails if they cannot keep to --max-ram.
    fn plan(options: &CompareOptions, subject: Subject<'_>, texts: &[EvalText]) -> Result<Self, RunError> {
        let Subject { checkpoint, spec, gpu } = subject;
        let limit = options.rows.iter().filter_map(|row| row.max_ram).min();
        let mut found = Evaluations { host: 0, streams: None };
        let demands = texts.iter().map(|text| {
            let demand = EvalDemand::of(gpu, checkpoint, spec, &text.windows)?;
            let advice = format!("evaluating on {} takes the most: `context` shortens it", text.file);
            refuse("`max-ram`", limit, demand.host, &advice)?;
            Ok(demand)
        });
        for demand in all_or_largest(demands)? {
            let room = limit.map_or(u64::MAX, |limit| limit - demand.host);
            found.host = found.host.max(demand.host + demand.streams.min(room));
            if room < demand.streams {
                found.streams = Some(found.streams.unwrap_or(u64::MAX).min(room));
            }
        }
        Ok(found)
    }
}

/// What a row is pruned by.
enum RowPlan {
    Layers(Box<Plan>),
    Surgeon(Box<SurgeonPlan>),
}

impl RowPlan {
    fn resolve(options: &CompareOptions, row: &PruneOptions, subject: Subject<'_>) -> Result<Self, RunError> {
        let Subject { checkpoint, spec, gpu } = subject;
        if !row.method.is_global() {
            let plan = Plan::resolve(row.clone(), checkpoint, spec.clone(), gpu)?;
            return Ok(RowPlan::Layers(Box::new(plan)));
        }
        let surgeon = SurgeonOptions {
            refit: row.refit,
            ..options.surgeon.clone()
        };
        let plan = SurgeonPlan::resolve(row.clone(), surgeon, checkpoint, spec.clone(), gpu)?;
        Ok(RowPlan::Surgeon(Box::new(plan)))
    }

    fn options(&mut self) -> &mut PruneOptions {
        match self {
            RowPlan::Layers(plan) => &mut plan.options,
            RowPlan::Surgeon(plan) => &mut plan.options,
        }
    }

    fn host_bytes(&self) -> u64 {
        match self {
            RowPlan::Layers(plan) => plan.demand.host_bytes,
            RowPlan::Surgeon(plan) => plan.host_bytes,
        }
    }

    fn settings(&self) -> Value {
        match self {
            RowPlan::Layers(plan) => plan.settings.clone(),
            RowPlan::Surgeon(plan) => plan.settings.clone(),
        }
    }
}

/// A row, resolved.
struct Cell {
    name: String,
    plan: RowPlan,
    settings: Value,
}

impl Cell {
    fn plan(
        options: &CompareOptions,
        row: &PruneOptions,
        subject: Subject<'_>,
        text: &Value,
    ) -> Result<Self, RunError> {
        let mut plan = RowPlan::resolve(options, row, subject)?;
        let mut name = row.method.name.to_string();
        if row.refit > 0 {
            name += &format!("-refit{}", row.refit);
        }
        name += &format!(
            "-{}",
            row.pattern.to_string().replace(" %", "").replace([' ', ':'], "-")
        );
        let seed = plan.options().samples.seed;
        if seed != 0 {
            name += &format!("-seed{seed}");
        }
        let folder = match &options.keep {
            Some(folder) => folder.clone(),
            None => Store::scratch(&options.output),
        };
        plan.options().output = folder.join(&name);
        let mut settings = plan.settings();
        settings["calibration"] = text.clone();
        Ok(Cell { name, plan, settings })
    }

    /// The row of a report on the prune, not yet evaluated.
    fn record(&self, options: &CompareOptions, report: PruneReport) -> CompareCell {
        let linears = &report.linears;
        CompareCell {
            name: self.name.clone(),
            method: report.settings.method,
            refit: report.settings.refit,
            target: report.settings.pattern,
            seed: report.calibration.seed,
            settings: self.settings.clone(),
            checkpoint: options.keep.is_some().then_some(report.settings.output),
            calibration: report.calibration,
            adapter: report.adapter,
            roles: RoleError::means(linears),
            error: linears.iter().map(|l| l.errors()[1]).sum::<f64>() / linears.len().max(1) as f64,
            sparsity: report.totals.sparsity,
            phases: report.phases,
            products: products(linears),
            memory: report.memory,
            warnings: report.warnings,
            evals: Vec::new(),
        }
    }
}

/// Of all linears together: each counts by the size of its product with the Gram.
fn products(linears: &[LinearRecord]) -> f64 {
    let size = |linear: &LinearRecord| (linear.shape[0] * linear.shape[1] * linear.shape[1]) as f64;
    let all: f64 = linears.iter().map(size).sum();
    linears.iter().map(|linear| linear.products * size(linear)).sum::<f64>() / all.max(1.0)
}

struct Comparison<'a, 'p> {
    options: &'a CompareOptions,
    subject: Subject<'a>,
    texts: &'a [EvalText],
    demand: Evaluations,
    store: Store,
    progress: &'p mut dyn CompareProgress,
    stop: &'p AtomicBool,
}

impl Comparison<'_, '_> {
    /// Evaluates the dense model on the texts it has not been evaluated on.
    fn dense(&mut self) -> Result<(), RunError> {
        for number in self.store.report.dense.len()..self.texts.len() {
            let (record, states) = self.evaluate(self.subject.checkpoint, number, None)?;
            states.save_to(&self.store.dense_states(number))?;
            self.store.report.dense.push(record);
            self.store.save()?;
        }
        Ok(())
    }

    /// On a text; with what left the dense model's last layer on it, against that.
    fn evaluate(
        &mut self,
        checkpoint: &Checkpoint,
        number: usize,
        dense: Option<&Activations>,
    ) -> Result<(EvalRecord, Activations), RunError> {
        let (Subject { spec, gpu, .. }, text) = (self.subject, &self.texts[number]);
        let decoder = |checkpoint| Decoder::new(gpu, checkpoint, spec, text.windows.context);
        let reference = dense.map(|_| decoder(self.subject.checkpoint)).transpose()?;
        let decoder = decoder(checkpoint)?;
        self.progress.evaluation(&text.file, 0, spec.layers);
        let options = self.activations();
        gpu.begin_phase();
        evaluate(&decoder, text, reference.as_ref().zip(dense), &options, |layer| {
            self.progress.evaluation(&text.file, layer, spec.layers);
            !self.stop.load(Ordering::Relaxed)
        })
    }

    /// How a stream of an evaluation is kept: there are two.
    fn activations(&self) -> ActivationOptions {
        ActivationOptions {
            ram_budget: self.demand.streams.map(|bytes| bytes / 2),
            spill_dir: Store::scratch(&self.options.output),
            ..ActivationOptions::default()
        }
    }

    /// Notes what has been taken since this was last forgotten.
    fn note_peaks(&mut self) {
        let memory = &mut self.store.report.memory;
        memory.host_peak = memory.host_peak.max(peak_resident());
        memory.device_peak = memory.device_peak.max(self.subject.gpu.peak_bytes());
    }

    /// What left the dense model's last layer: as saved, or once more where that is gone.
    fn dense_states(&mut self, number: usize) -> Result<Activations, RunError> {
        let path = self.store.dense_states(number);
        if let Ok(states) = Activations::load_from(&path, &self.activations()) {
            return Ok(states);
        }
        let (_, states) = self.evaluate(self.subject.checkpoint, number, None)?;
        states.save_to(&path)?;
        Ok(states)
    }

    fn finished(&self, name: &str) -> bool {
        self.store.finished(name, self.texts.len(), self.options.keep.is_some())
    }

    fn cell(&mut self, number: usize, cell: &mut Cell) -> Result<(), RunError> {
        if self.finished(&cell.name) {
            return Ok(());
        }
        if self.stop.load(Ordering::Relaxed) {
            return Err(RunError::Interrupted);
        }
        self.progress.row(&cell.name, number + 1, self.options.rows.len());
        if !self.store.pruned(&cell.name, &cell.plan.options().output) {
            self.prune(cell)?;
        }
        let pruned = Checkpoint::open(&cell.plan.options().output)?;
        for text in self.store.cell(&cell.name).evals.len()..self.texts.len() {
            let dense = self.dense_states(text)?;
            let (mut record, _) = self.evaluate(&pruned, text, Some(&dense))?;
            if self.options.keep.is_none() {
                record.model = cell.name.clone();
            }
            self.store.cell(&cell.name).evals.push(record);
            self.store.save()?;
        }
        drop(pruned);
        match self.options.keep {
            None => self.store.remove(&cell.plan.options().output),
            Some(_) => Ok(()),
        }
    }

    /// Prunes the row's checkpoint; one that an interruption left goes on after its last finished layer.
    fn prune(&mut self, cell: &mut Cell) -> Result<(), RunError> {
        let options = cell.plan.options();
        options.resume = self.store.unfinished(&options.output, self.options.keep.is_none())?;
        let Subject { checkpoint, gpu, .. } = self.subject;
        self.note_peaks();
        gpu.reset_peak();
        reset_peak_resident();
        let progress = self.progress.prune();
        let report = match &cell.plan {
            RowPlan::Layers(plan) => prune(plan, checkpoint, gpu, progress, self.stop)?,
            RowPlan::Surgeon(plan) => surgeon(plan, checkpoint, gpu, progress, self.stop)?,
        };
        self.store.put(cell.record(self.options, report));
        self.store.save()
    }
}
