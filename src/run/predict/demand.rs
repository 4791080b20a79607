//! What a run will take, and the sizes of batches and blocks with which it stays under its limits.

use serde::Serialize;

use super::fitting::{Limits, Sizes, Walked};
use super::layer::{Layer, Moment};
use super::passes::{GatherPlan, Passes};
use super::resident::{Process, Way, mib};
use crate::checkpoint::Checkpoint;
use crate::gpu::Gpu;
use crate::model::{Role, Spec, batch_rows};
use crate::prune::{Admm, Allocation, Method, Propagate};
use crate::run::RunError;
use crate::run::options::{PruneOptions, StatisticsSource, curvature_samples};
use crate::tensor::DType;

/// Rows of a batch unless memory is short.
const BATCH_ROWS: usize = 2048;
/// Blocks of a linear below this part of the largest are slower than useful.
const LEAST_PART: u64 = 32;
/// Streams of the prune's size in the memory of a backward pass, which has one a layer; the rest is in a file.
const CURVATURE_STREAMS: u64 = 3;
/// What to say where that pass takes the most.
const BACKWARD: &str =
    "the backward pass of `allocation` curvature (`allocation` uniform needs none, a shorter `length` less)";
/// What to say where reading the text takes the most.
pub(in crate::run) const READING: &str =
    "reading the tokenizer and `calibration` takes the most (.jsonl takes less than .txt)";

/// What a run will take.
#[derive(Clone, Debug, Serialize)]
pub struct Demand {
    /// Peak of device buffers, bytes.
    pub device_bytes: u64,
    /// Peak of resident host memory, bytes.
    pub host_bytes: u64,
    /// Rows of activations that go through a layer at once.
    pub batch_rows: usize,
    /// Bytes of a matrix of the solver; larger linears are solved in blocks of outputs.
    pub solver_matrix_bytes: u64,
    /// Stored type of activations between layers.
    #[serde(serialize_with = "name")]
    pub activations: DType,
    /// Bytes of one stream of activations.
    pub activation_bytes: u64,
    /// Bytes of each stream kept in memory, if not all; the rest goes to a file beside the output.
    pub activation_ram: Option<u64>,
    /// Bytes of all streams of the backward pass for an allocation that are kept in memory.
    #[serde(skip)]
    pub(in crate::run) curvature_ram: u64,
    /// Bytes of freed buffers that the device may keep for reuse.
    #[serde(skip)]
    pub(in crate::run) stock: u64,
    /// The largest buffers of the device and what makes them smaller.
    pub largest: String,
}

fn name<S: serde::Serializer>(dtype: &DType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(dtype.name())
}

/// What a plan is made for.
pub(in crate::run) struct Budget<'a> {
    pub(in crate::run) spec: &'a Spec,
    pub(in crate::run) checkpoint: &'a Checkpoint,
    pub(in crate::run) gpu: &'a Gpu,
    pub(in crate::run) options: &'a PruneOptions,
    pub(in crate::run) method: &'a dyn Method,
}

/// What the backward pass for an allocation takes; nothing without one.
#[derive(Clone, Copy, Default)]
struct Backward {
    /// Device buffers.
    device: u64,
    /// The process, but for its streams.
    host: u64,
}

impl Budget<'_> {
    /// Chooses rows, blocks and types so that the limits hold; fails with what would help if they cannot.
    pub(in crate::run) fn resolve(&self, layers: usize) -> Result<Demand, RunError> {
        let process = self.process(Way::Forward);
        let moments = self.moments(&process, layers)?;
        let walked = Walked {
            moments: &moments,
            settled: process.at_work(),
            packed_row: process.packed_row(self.spec),
            small: small(self.spec, self.gpu, self.options.samples.length),
            shared: self.gpu.in_host_memory(),
        };
        let (sizes, backward) = self.sizes(&walked)?;
        let device = walked.device(sizes).max(backward.device);
        let largest = match backward.device > walked.device(sizes) {
            true => format!("the most in {BACKWARD}"),
            false => self.advice(&moments, sizes),
        };
        refuse("`max-vram`", self.options.max_vram, device, &largest)?;
        let prepare = match self.loaded() {
            true => 0,
            false => process.tokenising(&self.options.calibration),
        };
        let least = walked.host(sizes, 0, 0).max(prepare).max(backward.host);
        let advice = match least {
            least if least == prepare => READING.to_string(),
            least if least == backward.host => format!("the most in {BACKWARD}"),
            _ => format!(
                "{} are the program and its threads; {}",
                mib(walked.settled),
                self.advice(&moments, sizes)
            ),
        };
        refuse("`max-ram`", self.options.max_ram, least, &advice)?;
        let (activations, activation_ram) = self.streams(&walked, sizes);
        let held = activation_ram.unwrap_or(u64::MAX).min(self.stream(activations));
        let curvature_ram = self.curvature_ram(backward, sizes.rows);
        let stock = match self.options.max_ram {
            // Streams come first: to read them back from a file takes longer than to touch fresh memory.
            Some(ram) if walked.shared => ram - walked.host(sizes, held, 0),
            _ => u64::MAX,
        };
        let stock = stock.min(self.gpu.stock_bytes());
        let host = walked.host(sizes, held, stock).max(backward.host + curvature_ram);
        Ok(Demand {
            device_bytes: device,
            host_bytes: host.max(prepare),
            batch_rows: sizes.rows,
            solver_matrix_bytes: sizes.matrix,
            activations,
            activation_bytes: self.stream(activations),
            activation_ram,
            curvature_ram,
            stock,
            largest,
        })
    }

    /// Whether nothing goes through the model.
    fn loaded(&self) -> bool {
        matches!(self.options.sums, StatisticsSource::Loaded(_))
    }

    fn process(&self, way: Way) -> Process {
        let length = self.options.samples.length;
        Process::of(self.gpu, self.checkpoint, self.spec, length, way)
    }

    /// The walk through all layers to be pruned; layers of one kind are alike.
    fn moments(&self, process: &Process, layers: usize) -> Result<Vec<Moment>, RunError> {
        let mut moments = Vec::new();
        for layer in 0..layers.min(self.spec.layers) {
            if layer > 0 && self.spec.kinds[layer].sparse == self.spec.kinds[layer - 1].sparse {
                continue;
            }
            let linears = self.spec.linears_of(layer)?;
            let stored = self.checkpoint.tensor(&linears[0].tensor).map_or(4, |t| t.dtype.size());
            let walk = Layer::new(
                (self.spec, process),
                self.options,
                self.gpu,
                [layer, stored],
                self.method,
            )?;
            moments.extend(walk.moments());
        }
        Ok(moments)
    }

    /// Rows of a batch and bytes of a solver matrix: as many as are quick, fewer if memory is short. And what the backward
    /// pass takes with them.
    fn sizes(&self, walked: &Walked<'_>) -> Result<(Sizes, Backward), RunError> {
        let spec = self.spec;
        let limits = Limits {
            vram: self.options.max_vram.unwrap_or(u64::MAX),
            ram: self.options.max_ram.unwrap_or(u64::MAX),
        };
        let sequence = self.options.samples.length;
        let expert = spec.experts.map_or(0, |e| e.ffn);
        let widest = spec.ffn.max(spec.hidden).max(spec.heads * spec.head_dim).max(expert);
        let all = self.options.samples.samples.saturating_mul(sequence);
        let fitting = |wanted| batch_rows(widest, sequence, self.gpu.limits().binding, wanted);
        let mut rows = if self.loaded() { 0 } else { fitting(BATCH_ROWS.min(all)) };
        let mut backward = self.backward(rows)?;
        let within = |device: u64, host: u64| device <= limits.vram && host <= limits.ram;
        let fits = |rows: usize, backward: Backward| {
            let sizes = Sizes { rows, matrix: 0 };
            within(walked.device(sizes), walked.host(sizes, 0, 0)) && within(backward.device, backward.host)
        };
        while rows > sequence && !fits(rows, backward) {
            rows = fitting(rows / 2);
            backward = self.backward(rows)?;
        }
        let least = walked.moments.iter().map(|m| m.matrix).max().unwrap_or(0) / LEAST_PART;
        let matrix = walked.matrix(rows, limits).max(least);
        Ok((Sizes { rows, matrix }, backward))
    }

    /// Bytes of a stream of activations.
    fn stream(&self, dtype: DType) -> u64 {
        if self.loaded() {
            return 0;
        }
        self.samples(self.options.samples.samples, dtype)
    }

    /// Bytes of the activations of so many samples.
    fn samples(&self, samples: usize, dtype: DType) -> u64 {
        [samples, self.options.samples.length, self.spec.hidden, dtype.size()]
            .iter()
            .fold(1, |bytes: u64, n| bytes.saturating_mul(*n as u64))
    }

    /// The backward pass for an allocation, of batches of `rows`.
    fn backward(&self, rows: usize) -> Result<Backward, RunError> {
        if self.options.allocates() != Allocation::Curvature {
            return Ok(Backward::default());
        }
        let (spec, samples) = (self.spec, &self.options.samples);
        let tokens = curvature_samples(samples) * samples.length;
        let rows = rows.min(tokens);
        let passes = Passes::of(self.gpu, self.checkpoint, spec, [tokens, rows], GatherPlan::ALL)?;
        let device = passes.gather + small(spec, self.gpu, samples.length);
        let process = self.process(Way::Backward);
        Ok(Backward {
            device,
            host: passes.host(self.gpu, &process, spec, [rows as u64, device]),
        })
    }

    /// Bytes of all its streams that are kept in memory: what is left there, but no more than a prune itself may need.
    fn curvature_ram(&self, backward: Backward, rows: usize) -> u64 {
        if self.options.allocates() != Allocation::Curvature {
            return 0;
        }
        let samples = &self.options.samples;
        let left = self
            .options
            .max_ram
            .map_or(u64::MAX, |ram| ram.saturating_sub(backward.host));
        let together = left.min(CURVATURE_STREAMS.saturating_mul(self.stream(DType::F32)));
        let stream = self.samples(curvature_samples(samples), DType::F32);
        let batch = self.samples((rows / samples.length.max(1)).max(1), DType::F32);
        let streams = GatherPlan::ALL.streams(self.spec.layers);
        streams * whole_batches(together / streams, stream, batch)
    }

    /// Type of the activations, and bytes of each stream kept in memory if not all.
    fn streams(&self, walked: &Walked<'_>, sizes: Sizes) -> (DType, Option<u64>) {
        let Some(ram) = self.options.max_ram else {
            return (self.options.activations.unwrap_or(DType::F32), None);
        };
        let rooms = walked.moments.iter().filter(|m| m.streams > 0);
        let room = rooms.map(|m| (ram - walked.beside(m, sizes, 0)) / m.streams);
        let room = room.min().unwrap_or(0);
        let dtype = match self.options.activations {
            Some(dtype) => dtype,
            None if self.stream(DType::F32) <= room => DType::F32,
            None => DType::BF16,
        };
        (dtype, (self.stream(dtype) > room).then_some(room))
    }

    /// The moment that takes the most on the device and what makes it smaller.
    fn advice(&self, moments: &[Moment], Sizes { rows, matrix }: Sizes) -> String {
        let Some(worst) = moments.iter().max_by_key(|m| m.device(rows, matrix)) else {
            return String::new();
        };
        let mut parts = vec![format!("{} of weights", mib(worst.weights))];
        if worst.grams > 0 {
            let flag = match (&self.options.sums, self.options.propagate) {
                (StatisticsSource::Loaded(_), _) | (_, Propagate::Pruned) => "",
                _ => " (`propagate` pruned needs a third)",
            };
            parts.push(format!("{} of Gram matrices{flag}", mib(worst.grams)));
        }
        if worst.matrices > 0 {
            let (count, one) = (worst.matrices, mib(worst.matrix.min(matrix)));
            let flag = "`method` wanda `refit` 0 needs fewest, `max-vram` cuts them into blocks";
            parts.push(format!("{count} matrices of {one} ({flag})"));
        }
        if worst.row > 0 {
            let bytes = mib(worst.row * rows as u64);
            parts.push(format!(
                "{bytes} of activations of {rows} tokens (`length` shortens them)"
            ));
        }
        format!("the most at {}: {}", worst.what, parts.join(", "))
    }
}

/// Fails if a limit is below what is needed.
pub(in crate::run) fn refuse(flag: &str, limit: Option<u64>, needed: u64, advice: &str) -> Result<(), RunError> {
    match limit {
        Some(budget) if budget < needed => Err(RunError::OverBudget {
            what: flag.into(),
            budget,
            needed,
            advice: advice.into(),
        }),
        _ => Ok(()),
    }
}

/// Of a stream the bytes that are kept in memory, if so many are allowed: it is kept batch by batch.
pub(in crate::run) fn whole_batches(allowed: u64, stream: u64, batch: u64) -> u64 {
    match allowed {
        allowed if allowed >= stream => stream,
        allowed => allowed / batch.max(1) * batch,
    }
}

impl Demand {
    /// Rough work of a run: forward passes, Gram matrices and products of the solver.
    pub(in crate::run) fn flops(
        &self,
        spec: &Spec,
        options: &PruneOptions,
        method: &dyn Method,
        layers: usize,
    ) -> Result<f64, RunError> {
        let tokens = match options.sums {
            StatisticsSource::Loaded(_) => 0.0,
            _ => options.samples.samples as f64 * options.samples.length as f64,
        };
        let greedy = if options.allocates() == Allocation::Lsa {
            2.5
        } else {
            0.0
        };
        let measured = if options.allocates() == Allocation::Uniform {
            0.0
        } else {
            1.0
        };
        let mut flops = 0.0;
        for layer in 0..layers {
            let prunes = options.prunes(layer);
            for linear in spec.linears_of(layer)? {
                let [rows, cols] = linear.shape.map(|n| n as f64);
                if prunes && options.sums != StatisticsSource::Saved {
                    // Errors and the linear term take a few.
                    let mut products = method.products(linear.shape) + options.refit as f64 + 4.0 + greedy;
                    if options.permutes() && matches!(linear.id.role, Role::Down | Role::O) {
                        products += Admm::brief().products(linear.shape);
                    }
                    flops += 2.0 * rows * cols * cols * products;
                }
                // A pass to measure is a forward pass and its Grams again; a layer that stays has one forward pass.
                let passes = if prunes { 5.0 } else { 1.0 };
                flops += (passes + 2.0 * measured) * 2.0 * rows * cols * tokens;
            }
            if !prunes {
                continue;
            }
            for group in spec.groups(layer)? {
                flops += (4.0 + 2.0 * measured) * tokens * (spec.width(group.input) as f64).powi(2);
            }
        }
        Ok(flops)
    }
}

/// What is always on the device or counts for little: rotary tables for `length` tokens, norms, rows of a solve, and what
/// products may take.
pub(in crate::run) fn small(spec: &Spec, gpu: &Gpu, length: usize) -> u64 {
    let widest = spec.ffn.max(spec.hidden).max(spec.heads * spec.head_dim) as u64;
    let ropes: usize = spec.ropes.iter().map(|rope| rope.rotary_dim()).sum();
    4 * (ropes * length) as u64 + 4 * 16 * widest + gpu.scratch_bytes()
}
