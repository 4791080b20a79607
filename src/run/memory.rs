//! Memory: what this process and machine have, as the system reports it, and what a run will take under its limits.

use serde::Serialize;

use super::RunError;
use super::plan::{Propagate, PruneOptions};
use crate::checkpoint::Checkpoint;
use crate::gpu::Gpu;
use crate::model::{LinearSpec, Spec, Tap, batch_rows};
use crate::tensor::DType;

/// Rows of a batch unless memory is short.
const BATCH_ROWS: usize = 2048;
/// Matrices of a linear's size alive at once in a refit.
pub(super) const REFIT: usize = 12;
/// The program with its tokenizer, and small buffers.
const PROGRAM: u64 = 110 << 20;

/// Largest resident memory of this process so far, bytes; `None` where the system does not tell.
pub fn peak_resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// Total and available memory of the machine, bytes; `None` where the system does not tell.
pub fn total_memory() -> Option<[u64; 2]> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    Some([system.total_memory(), system.available_memory()])
}

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
    /// The largest buffers of the device and what makes them smaller.
    pub largest: String,
}

fn name<S: serde::Serializer>(dtype: &DType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(dtype.name())
}

/// What a plan is made for.
pub(super) struct Budget<'a> {
    pub(super) spec: &'a Spec,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) gpu: &'a Gpu,
    pub(super) options: &'a PruneOptions,
    /// Matrices of a linear's size alive at once while a method solves.
    pub(super) workspace: usize,
}

/// Device bytes of the two phases of one layer's worst groups.
struct Phases {
    weights: u64,
    capture: u64,
    grams: u64,
    /// Bytes of the largest linear as f32.
    largest: u64,
    largest_name: String,
    gram_name: String,
}

impl Budget<'_> {
    /// Chooses rows, blocks and types so that the limits hold; fails with what would help if they cannot.
    pub(super) fn resolve(&self, layers: usize) -> Result<Demand, RunError> {
        let options = self.options;
        let sequence = options.samples.length;
        let vram = options.max_vram.unwrap_or(u64::MAX);
        let (q, e) = (
            self.spec.heads * self.spec.head_dim,
            self.spec.experts.map_or(0, |e| e.ffn),
        );
        let widest = self.spec.ffn.max(self.spec.hidden).max(q).max(e);
        let all = options.samples.samples.saturating_mul(sequence);
        let mut rows = batch_rows(widest, sequence, self.gpu.limits().binding, BATCH_ROWS.min(all));
        while self.phases(layers, rows)?.device(u64::MAX, 0) > vram && rows > sequence {
            rows = batch_rows(widest, sequence, self.gpu.limits().binding, rows / 2);
        }
        let phases = self.phases(layers, rows)?;
        let workspace = self.workspace as u64;
        let room = vram.saturating_sub(phases.weights + phases.grams);
        let matrix = (room / workspace).min(phases.largest);
        let stock = self.stock();
        let needed = phases.device(matrix, workspace);
        // Rows of a block below this many are slower than useful.
        let least = phases.largest.min(1 << 20);
        if needed > vram || matrix < least {
            let wanted = phases.device(phases.largest.min(16 << 20), workspace);
            return Err(RunError::OverBudget {
                what: "--max-vram".into(),
                budget: vram,
                needed: wanted.max(needed),
                advice: phases.advice(),
            });
        }
        let device_bytes = needed + stock.min(vram - needed);
        let largest = phases.advice();
        let (activations, activation_bytes, activation_ram, host_bytes) = self.host(&phases, device_bytes)?;
        Ok(Demand {
            device_bytes,
            host_bytes,
            batch_rows: rows,
            solver_matrix_bytes: matrix,
            activations,
            activation_bytes,
            activation_ram,
            largest,
        })
    }

    /// What the pool keeps for reuse beside what is in use.
    fn stock(&self) -> u64 {
        let limit = if self.gpu.is_host() { 16 << 20 } else { 256 << 20 };
        self.options.max_vram.map_or(limit, |budget| limit.min(budget / 8))
    }

    /// Type of the activations, bytes of a stream, bytes of it in memory, and the peak of the process.
    fn host(&self, phases: &Phases, device: u64) -> Result<(DType, u64, Option<u64>, u64), RunError> {
        let options = self.options;
        let device = if self.gpu.is_host() { device } else { 0 };
        // A linear as f32, its result and its stored bytes; the largest tensor of all is read in pieces.
        let solution = 3 * phases.largest;
        let fixed = PROGRAM + solution + device;
        let values = (options.samples.samples as u64)
            .saturating_mul(options.samples.length as u64)
            .saturating_mul(self.spec.hidden as u64);
        let streams = if options.propagate == Propagate::Pruned || self.spec.parallel {
            1
        } else {
            2
        };
        let bytes = |dtype: DType| values.saturating_mul(dtype.size() as u64);
        let Some(ram) = options.max_ram else {
            let dtype = options.activations.unwrap_or(DType::F32);
            return Ok((
                dtype,
                bytes(dtype),
                None,
                fixed.saturating_add(bytes(dtype).saturating_mul(streams)),
            ));
        };
        if fixed > ram {
            return Err(RunError::OverBudget {
                what: "--max-ram".into(),
                budget: ram,
                needed: fixed,
                advice: format!(
                    "{}; on the host executor device buffers count too: lower --max-vram",
                    phases.advice()
                ),
            });
        }
        let room = (ram - fixed) / streams;
        let dtype = match options.activations {
            Some(dtype) => dtype,
            None if bytes(DType::F32) <= room => DType::F32,
            None => DType::BF16,
        };
        let stream = bytes(dtype);
        let kept = (stream > room).then_some(room);
        Ok((dtype, stream, kept, fixed + streams * stream.min(room)))
    }

    /// The worst of all layers to be pruned.
    fn phases(&self, layers: usize, rows: usize) -> Result<Phases, RunError> {
        let mut worst = Phases {
            weights: 0,
            capture: 0,
            grams: 0,
            largest: 0,
            largest_name: String::new(),
            gram_name: String::new(),
        };
        for layer in 0..layers.min(self.spec.layers) {
            // Layers of one kind are alike.
            if layer > 0 && self.spec.kinds[layer].sparse == self.spec.kinds[layer - 1].sparse {
                continue;
            }
            self.layer(layer, rows, &mut worst)?;
        }
        Ok(worst)
    }

    fn layer(&self, layer: usize, rows: usize, worst: &mut Phases) -> Result<(), RunError> {
        let spec = self.spec;
        let linears = spec.linears_of(layer)?;
        let elements = |l: &LinearSpec| (l.shape[0] * l.shape[1]) as u64;
        let stored = self
            .checkpoint
            .tensor(&linears[0].tensor)
            .map_or(4, |t| t.dtype.size() as u64);
        let element = if self.gpu.is_host() || self.gpu.is_software() {
            4
        } else {
            stored
        };
        // The dense layer and what has been pruned of it.
        worst.weights = worst
            .weights
            .max(2 * element * linears.iter().map(elements).sum::<u64>());
        for group in spec.groups(layer)? {
            let n = spec.width(group.input) as u64;
            let corrected = self.options.propagate != Propagate::Pruned && group.input != Tap::AttentionInput;
            let grams = if corrected { 3 } else { 1 } * n * n * 4;
            let capture = grams + 4 * rows as u64 * self.columns(group.input, corrected);
            if capture > worst.capture {
                worst.capture = capture;
            }
            if grams > worst.grams {
                (worst.grams, worst.gram_name) = (grams, format!("{:?}", group.input));
            }
            for linear in &group.linears {
                if 4 * elements(linear) > worst.largest {
                    (worst.largest, worst.largest_name) = (4 * elements(linear), linear.tensor.clone());
                }
            }
        }
        Ok(())
    }

    /// Columns of all activations alive at once as far as a tap, both streams if corrected.
    fn columns(&self, tap: Tap, corrected: bool) -> u64 {
        let spec = self.spec;
        let (q, kv) = (spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim);
        let ffn = spec.width(tap);
        let one = match tap {
            Tap::AttentionInput | Tap::MlpInput | Tap::Output => 2 * spec.hidden,
            Tap::AttentionOutput => 2 * spec.hidden + 2 * q + 2 * kv,
            Tap::MlpHidden => 2 * spec.hidden + 2 * ffn,
            Tap::ExpertInput(_) => 3 * spec.hidden,
            Tap::ExpertHidden(_) => 3 * spec.hidden + 2 * ffn,
        };
        (if corrected { 2 * one } else { one }) as u64
    }
}

impl Phases {
    /// Peak of device buffers with solver matrices of `matrix` bytes.
    fn device(&self, matrix: u64, workspace: u64) -> u64 {
        let solve = self.grams + workspace * matrix.min(self.largest);
        self.weights + self.capture.max(solve)
    }

    fn advice(&self) -> String {
        format!(
            "the largest: {} of Gram matrices at {} (--propagate pruned leaves a third), {} per solver matrix of `{}` \
             (--max-vram solves it in blocks), {} of activations and Grams in capture (--length halves the former)",
            mib(self.grams),
            self.gram_name,
            mib(self.largest),
            self.largest_name,
            mib(self.capture),
        )
    }
}

impl Demand {
    /// Rough work of a run: forward passes, Gram matrices and products of the solver.
    pub(super) fn flops(&self, spec: &Spec, options: &PruneOptions, layers: usize) -> Result<f64, RunError> {
        let tokens = options.samples.samples as f64 * options.samples.length as f64;
        // Products with the Gram per linear: FISTA's rounds, its searches and the refit.
        let products = if options.method == "fista" { 140.0 } else { 4.0 } + options.refit as f64 + 2.0;
        let mut flops = 0.0;
        for layer in 0..layers {
            for linear in spec.linears_of(layer)? {
                let [rows, cols] = linear.shape.map(|n| n as f64);
                flops += 2.0 * rows * cols * cols * products + 5.0 * 2.0 * rows * cols * tokens;
            }
            for group in spec.groups(layer)? {
                flops += 4.0 * tokens * (spec.width(group.input) as f64).powi(2);
            }
        }
        Ok(flops)
    }
}

/// Bytes as MiB.
fn mib(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
}
