//! The walk over decoder layers: capture, accumulate, prune, replay, next layer. Once, for every method and family.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::encode::{Encoded, count_zeros, encode};
use super::plan::{Plan, Propagate};
use super::{RunError, peak_resident};
use crate::calib::{CalibrationSet, Corpus, Tokenizer, draw};
use crate::checkpoint::{Checkpoint, CheckpointWriter};
use crate::gpu::{Gpu, Recording};
use crate::linalg;
use crate::model::{Activations, Block, Decoder, Group, LayerWeights, Role};
use crate::ops::dense;
use crate::prune::{GramStatistics, InputStatistics, LayerProblem, PruneError, refit};
use crate::report::{AdapterRecord, CalibrationRecord, LinearRecord, Memory, Phases, PruneReport, Settings, Totals};
use crate::tensor::{PanelMatrix, Tensor};

/// What a run tells while it works.
pub trait Progress {
    /// A linear is done; `done` of `total` linears.
    fn linear(&mut self, done: usize, total: usize, record: &LinearRecord);
    /// A stage outside the layers begins.
    fn stage(&mut self, name: &str);
}

/// Prunes the plan's checkpoint and writes the result; `stop` is asked between linears.
pub fn prune(
    plan: &Plan,
    checkpoint: &Checkpoint,
    gpu: &Gpu,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<PruneReport, RunError> {
    let start = Instant::now();
    // Creating the writer first refuses a bad output before hours of work.
    let writer = CheckpointWriter::create(checkpoint, &plan.options.output)?;
    progress.stage("tokenise and embed");
    let calibration = calibrate(plan, checkpoint)?;
    let decoder = Decoder::new(gpu, checkpoint, &plan.spec, plan.options.samples.length)?;
    let activations = decoder.embed(&calibration.ids)?;
    let mut walk = Walk {
        plan,
        decoder,
        activations,
        writer,
        report: begin_report(plan, checkpoint, gpu, &calibration),
        progress,
        stop,
        done: 0,
    };
    walk.report.phases.prepare = start.elapsed().as_secs_f64();
    for layer in 0..plan.layers {
        walk.layer(layer)?;
    }
    walk.finish()
}

fn calibrate(plan: &Plan, checkpoint: &Checkpoint) -> Result<CalibrationSet, RunError> {
    let corpus = Corpus::read(&plan.options.calibration)?;
    let tokenizer = Tokenizer::open(checkpoint.dir())?;
    Ok(draw(&corpus, &tokenizer, &plan.options.samples)?)
}

struct Walk<'a> {
    plan: &'a Plan,
    decoder: Decoder<'a>,
    activations: Activations,
    writer: CheckpointWriter<'a>,
    report: PruneReport,
    progress: &'a mut dyn Progress,
    stop: &'a AtomicBool,
    done: usize,
}

impl Walk<'_> {
    fn layer(&mut self, layer: usize) -> Result<(), RunError> {
        let dense = self.decoder.layer(layer)?;
        let mut pruned = dense.clone();
        for (index, group) in self.plan.spec.groups.iter().enumerate() {
            self.group(layer, group, index == 0, &dense, &mut pruned)?;
        }
        let clock = Instant::now();
        let next = if self.plan.options.propagate == Propagate::Dense {
            &dense
        } else {
            &pruned
        };
        if layer + 1 < self.plan.layers {
            self.decoder.advance(&mut self.activations, next)?;
        }
        self.decoder.checkpoint.release_all();
        self.report.phases.propagate += clock.elapsed().as_secs_f64();
        Ok(())
    }

    /// Captures the group's inputs once, then prunes its linears one by one.
    fn group(
        &mut self,
        layer: usize,
        group: &Group,
        first: bool,
        dense: &LayerWeights,
        pruned: &mut LayerWeights,
    ) -> Result<(), RunError> {
        let clock = Instant::now();
        let gpu = self.decoder.gpu;
        // The first group's inputs are the same in both streams; without correction there is one stream only.
        let corrected = !first && self.plan.options.propagate != Propagate::Pruned;
        let sums = self.capture(group, corrected.then_some(dense), pruned)?;
        let place = format!("layer {layer}, {:?}", group.input);
        let inputs = InputStatistics::prepare(gpu, sums, self.plan.options.damping, &place)?;
        self.report.phases.capture += clock.elapsed().as_secs_f64();
        let mut replaced = Vec::new();
        for role in &group.linears {
            let clock = Instant::now();
            let (record, encoded) = self.linear(layer, *role, &inputs)?;
            self.report.phases.solve += clock.elapsed().as_secs_f64();
            let clock = Instant::now();
            self.writer.put(&record.tensor, &encoded)?;
            self.report.phases.write += clock.elapsed().as_secs_f64();
            self.done += 1;
            let total = self.plan.layers * Role::ALL.len();
            self.progress.linear(self.done, total, &record);
            self.report.linears.push(record);
            replaced.push((*role, encoded));
            if self.stop.load(Ordering::Relaxed) {
                let output = self.plan.options.output.display().to_string();
                return Err(RunError::Interrupted { output });
            }
        }
        drop(inputs);
        for (role, encoded) in replaced {
            let name = self.plan.spec.linear(layer, role);
            let dtype = self.decoder.checkpoint.tensor(&name)?.dtype;
            pruned.replace(gpu, role, self.plan.spec.shape(role), dtype, &encoded)?;
        }
        Ok(())
    }

    /// Sums over all batches: the Gram of the pruned stream's inputs and, with a dense stream beside it, the drift.
    fn capture(
        &self,
        group: &Group,
        dense: Option<&LayerWeights>,
        pruned: &LayerWeights,
    ) -> Result<GramStatistics, RunError> {
        let (gpu, n) = (self.decoder.gpu, self.plan.spec.width(group.input));
        let mut recording = Recording::new();
        let gram = PanelMatrix::zeros(gpu, &mut recording, "gram", n)?;
        let drift = match dense {
            None => None,
            Some(_) => Some([
                PanelMatrix::zeros(gpu, &mut recording, "drift cross-gram", n)?,
                PanelMatrix::zeros(gpu, &mut recording, "drift gram", n)?,
            ]),
        };
        gpu.submit(recording)?;
        let block = self.decoder.block(pruned);
        let beside = dense.map(|weights| self.decoder.block(weights));
        for batch in 0..self.activations.batches.len() {
            let x = self.activations.upload(gpu, batch)?;
            let mut recording = Recording::new();
            let inputs = self.tap(&mut recording, &block, &x, group)?;
            linalg::accumulate(&mut recording, gpu, &inputs, &inputs, &gram, true);
            if let (Some(block), Some([cross, square])) = (&beside, &drift) {
                let delta = self.tap(&mut recording, block, &x, group)?;
                dense::axpby(&mut recording, 1.0, &inputs, -1.0, &delta);
                linalg::accumulate(&mut recording, gpu, &delta, &inputs, cross, false);
                linalg::accumulate(&mut recording, gpu, &delta, &delta, square, true);
            }
            gpu.submit(recording)?.wait()?;
        }
        let mut recording = Recording::new();
        linalg::finish(&mut recording, &gram);
        if let Some([_, square]) = &drift {
            linalg::finish(&mut recording, square);
        }
        gpu.submit(recording)?;
        Ok(GramStatistics {
            gram,
            drift,
            tokens: self.activations.tokens(),
        })
    }

    fn tap(&self, recording: &mut Recording, block: &Block<'_>, x: &Tensor, group: &Group) -> Result<Tensor, RunError> {
        Ok(block.forward_to(recording, self.decoder.gpu, x, self.activations.sequence, group.input)?)
    }

    /// Solves one linear and returns its record and the bytes to be stored.
    fn linear(&self, layer: usize, role: Role, inputs: &InputStatistics) -> Result<(LinearRecord, Vec<u8>), RunError> {
        let start = Instant::now();
        let (spec, gpu) = (&self.plan.spec, self.decoder.gpu);
        let (name, shape) = (spec.linear(layer, role), spec.shape(role));
        let view = self.decoder.checkpoint.tensor_of_shape(&name, &shape)?;
        let weight = view.to_f32();
        let blocks = row_blocks(gpu, shape);
        let mut record = LinearRecord {
            layer,
            role: format!("{role:?}").to_lowercase(),
            tensor: name,
            shape,
            input_zeros: count_zeros(view.dtype, view.bytes),
            lipschitz: inputs.lipschitz,
            dead_inputs: inputs.dead,
            row_blocks: blocks.len(),
            ..Default::default()
        };
        let mut bytes = Vec::with_capacity(view.bytes.len());
        let (mut before, mut after, mut energy) = (0.0, 0.0, 0.0);
        for rows in blocks {
            let part = &weight[rows.start * shape[1]..rows.end * shape[1]];
            let problem = LayerProblem::new(gpu, inputs, [rows.len(), shape[1]], part, self.plan.options.pattern)?;
            let solved = self.solve(&problem, view.dtype, &mut record)?;
            before += solved.before;
            after += solved.after;
            energy += problem.energy;
            bytes.extend(solved.encoded.bytes);
        }
        // A weight of zeros has no energy to lose.
        let relative = |error: f64| if energy > 0.0 { error / energy } else { 0.0 };
        (record.error_before, record.error_after) = (relative(before), relative(after));
        record.sparsity = record.zeros as f64 / weight.len() as f64;
        record.seconds = start.elapsed().as_secs_f64();
        Ok((record, bytes))
    }

    fn solve(
        &self,
        problem: &LayerProblem<'_>,
        dtype: crate::tensor::DType,
        record: &mut LinearRecord,
    ) -> Result<Solved, RunError> {
        let gpu = self.decoder.gpu;
        let solution = self.plan.method.solve(gpu, problem)?;
        let solution = refit(gpu, problem, solution, self.plan.options.refit)?;
        let mut recording = Recording::new();
        problem
            .inputs
            .leave(&mut recording, gpu, &solution.weight)
            .map_err(PruneError::from)?;
        let ids = [
            recording.read(&solution.weight.slice()),
            recording.read(&solution.support.slice()),
        ];
        let done = gpu.submit(recording)?;
        let encoded = encode(&done.floats(ids[0])?, &done.floats(ids[1])?, dtype);
        // The error that counts is that of the weights as stored.
        let [rows, cols] = solution.weight.shape();
        let stored = Tensor::upload(gpu, "stored weight", rows, cols, &dtype.decode(&encoded.bytes))?;
        let mut recording = Recording::new();
        problem
            .inputs
            .enter(&mut recording, gpu, &stored)
            .map_err(PruneError::from)?;
        gpu.submit(recording)?;
        let after = problem.error(gpu, &stored)?;
        record.rounds += solution.rounds;
        record.lambda = record.lambda.max(solution.lambda);
        record.zeros += encoded.zeros;
        record.raised += encoded.raised;
        record.saturated += encoded.saturated;
        Ok(Solved {
            encoded,
            before: solution.start_error,
            after,
        })
    }

    /// Writes what remains, opens the result again and counts its zeros.
    fn finish(self) -> Result<PruneReport, RunError> {
        self.progress.stage("write and verify");
        let clock = Instant::now();
        let mut report = self.report;
        let mut totals = Totals::default();
        for linear in &report.linears {
            totals.weights += linear.shape[0] * linear.shape[1];
            totals.zeros += linear.zeros;
            totals.input_zeros += linear.input_zeros;
        }
        totals.sparsity = totals.zeros as f64 / totals.weights.max(1) as f64;
        report.totals = totals;
        report.memory.device_peak = self.decoder.gpu.peak_bytes();
        report.memory.host_peak = peak_resident();
        let json = serde_json::to_string_pretty(&report).expect("a report is plain data");
        self.writer.finish(&[("pruning_report.json", json.as_bytes())])?;
        verify(&self.plan.options.output, &report)?;
        report.phases.write += clock.elapsed().as_secs_f64();
        Ok(report)
    }
}

struct Solved {
    encoded: Encoded,
    before: f64,
    after: f64,
}

/// Rows of a linear that fit a binding together; one block in the usual case. N:M and per-row patterns do not care.
fn row_blocks(gpu: &Gpu, [rows, cols]: [usize; 2]) -> Vec<std::ops::Range<usize>> {
    let height = ((gpu.limits().binding / (4 * cols as u64)) as usize).clamp(1, rows);
    (0..rows)
        .step_by(height)
        .map(|first| first..(first + height).min(rows))
        .collect()
}

fn verify(output: &std::path::Path, report: &PruneReport) -> Result<(), RunError> {
    let written = Checkpoint::open(output)?;
    for linear in &report.linears {
        let view = written.tensor_of_shape(&linear.tensor, &linear.shape)?;
        let found = count_zeros(view.dtype, view.bytes);
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

fn begin_report(plan: &Plan, checkpoint: &Checkpoint, gpu: &Gpu, calibration: &CalibrationSet) -> PruneReport {
    let options = &plan.options;
    PruneReport {
        tool: format!("secateur {}", env!("CARGO_PKG_VERSION")),
        settings: Settings {
            model: options.model.display().to_string(),
            output: options.output.display().to_string(),
            family: plan.family.clone(),
            method: options.method.clone(),
            pattern: options.pattern.to_string(),
            sparsity: options.pattern.sparsity(),
            refit: options.refit,
            damping: options.damping,
            propagate: options.propagate.name().to_string(),
        },
        input_fingerprint: checkpoint.fingerprint(),
        calibration: CalibrationRecord {
            source: options.calibration.display().to_string(),
            rule: calibration.rule.to_string(),
            samples: options.samples.samples,
            length: options.samples.length,
            seed: options.samples.seed,
            token_hash: calibration.hash.clone(),
        },
        adapter: adapter_record(gpu),
        memory: Memory {
            predicted_device: plan.device_bytes,
            predicted_host: plan.host_bytes,
            ..Default::default()
        },
        phases: Phases::default(),
        ..Default::default()
    }
}

/// How a device appears in reports.
pub fn adapter_record(gpu: &Gpu) -> AdapterRecord {
    let executor = if gpu.is_host() { "host" } else { "wgpu" };
    AdapterRecord {
        name: gpu.name().to_string(),
        executor: executor.to_string(),
    }
}
