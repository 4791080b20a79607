//! Memory: what this process and machine have, as the system reports it, and what a run will take under its limits.

use std::path::Path;

use serde::Serialize;

use super::RunError;
use super::allocate::curvature_samples;
use super::layer_memory::{Layer, Moment};
use super::plan::{PruneOptions, Sums};
use super::surgeon::{Need, Passes};
use crate::checkpoint::Checkpoint;
use crate::gpu::Gpu;
use crate::model::{Role, Spec, batch_rows};
use crate::prune::{Admm, Allocation, Method, Propagate};
use crate::tensor::DType;

/// Rows of a batch unless memory is short.
const BATCH_ROWS: usize = 2048;
/// Blocks of a linear below this part of the largest are slower than useful.
const LEAST_PART: u64 = 32;
/// Streams of a backward pass in memory, of as many as there are layers; the rest is in a file.
pub(super) const CURVATURE_STREAMS: u64 = 3;
/// What to say where that pass takes the most.
const BACKWARD: &str = "the backward pass of --allocation curvature (--allocation uniform needs none)";
/// The program, its threads and small buffers.
const PROGRAM: u64 = 24 << 20;
/// What a tokenizer leaves behind in pieces, at most and per byte of its file; measured.
const LEFT_BEHIND: [u64; 2] = [12 << 20, 4];
/// Of files that are mapped, this much is resident before it is given back.
const MAPPED: u64 = 16 << 20;
/// What a driver takes beside the buffers; measured with a driver that compiles for the CPU.
const DRIVER: u64 = 110 << 20;

/// Largest resident memory of this process so far, bytes; `None` where the system does not tell.
pub fn peak_resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// Free space on the disk that holds a path, or will.
pub fn free_disk(path: &Path) -> Option<u64> {
    let path = std::path::absolute(path).ok()?;
    let present = path.ancestors().find(|folder| folder.exists())?.canonicalize().ok()?;
    let disks = sysinfo::Disks::new_with_refreshed_list().ok()?;
    let holding = disks.iter().filter(|d| present.starts_with(d.mount_point()));
    let nearest = holding.max_by_key(|d| d.mount_point().as_os_str().len())?;
    Some(nearest.available_space())
}

/// From now on [`peak_resident`] tells of what follows, where the system can forget; else still of the whole process.
pub(super) fn reset_peak_resident() {
    // What is free by now is not of what follows.
    give_back();
    // Only Linux has the file.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Gives what was freed in small pieces back to the system: a tokenizer consists of millions of them.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn give_back() {
    // SAFETY: always allowed.
    unsafe { libc::malloc_trim(0) };
}

/// Does nothing: only glibc must be asked.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn give_back() {}

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
    pub(super) method: &'a dyn Method,
}

impl Budget<'_> {
    /// Chooses rows, blocks and types so that the limits hold; fails with what would help if they cannot.
    pub(super) fn resolve(&self, layers: usize) -> Result<Demand, RunError> {
        let moments = self.moments(layers)?;
        let small = self.small();
        let vram = self.options.max_vram.unwrap_or(u64::MAX).saturating_sub(small);
        let rows = if self.loaded() { 0 } else { self.rows(&moments, vram) };
        let matrix = solver_matrix(&moments, vram);
        let peak = |limit: u64| moments.iter().map(|m| m.device(rows, limit)).max().unwrap_or(0);
        let least = moments.iter().map(|m| m.matrix).max().unwrap_or(0) / LEAST_PART;
        if peak(matrix.max(least)) > vram {
            return Err(RunError::OverBudget {
                what: "--max-vram".into(),
                budget: vram + small,
                needed: peak(least) + small,
                advice: self.advice(&moments, rows, least),
            });
        }
        let curvature = self.curvature(rows)?;
        if curvature > vram {
            return Err(RunError::OverBudget {
                what: "--max-vram".into(),
                budget: vram + small,
                needed: curvature + small,
                advice: format!("the most in {BACKWARD}"),
            });
        }
        let (activations, activation_ram, host_bytes) = self.host(&moments, rows, matrix)?;
        Ok(Demand {
            device_bytes: peak(matrix).max(curvature) + small,
            host_bytes: host_bytes.max(self.curvature_host(curvature)),
            batch_rows: rows,
            solver_matrix_bytes: matrix,
            activations,
            activation_bytes: self.stream(activations),
            activation_ram,
            largest: match curvature > peak(matrix) {
                true => format!("the most in {BACKWARD}"),
                false => self.advice(&moments, rows, matrix),
            },
        })
    }

    /// Whether nothing goes through the model.
    fn loaded(&self) -> bool {
        matches!(self.options.sums, Sums::Loaded(_))
    }

    /// The walk through all layers to be pruned; layers of one kind are alike.
    fn moments(&self, layers: usize) -> Result<Vec<Moment>, RunError> {
        let mut moments = Vec::new();
        for layer in 0..layers.min(self.spec.layers) {
            if layer > 0 && self.spec.kinds[layer].sparse == self.spec.kinds[layer - 1].sparse {
                continue;
            }
            let linears = self.spec.linears_of(layer)?;
            let stored = self.checkpoint.tensor(&linears[0].tensor).map_or(4, |t| t.dtype.size());
            let walk = Layer::new(self.spec, self.options, self.gpu, [layer, stored], self.method)?;
            moments.extend(walk.moments());
        }
        Ok(moments)
    }

    fn small(&self) -> u64 {
        small(self.spec, self.gpu, self.options.samples.length)
    }

    /// Rows of a batch: as many as are quick, fewer if memory is short.
    fn rows(&self, moments: &[Moment], vram: u64) -> usize {
        let spec = self.spec;
        let sequence = self.options.samples.length;
        let expert = spec.experts.map_or(0, |e| e.ffn);
        let widest = spec.ffn.max(spec.hidden).max(spec.heads * spec.head_dim).max(expert);
        let all = self.options.samples.samples.saturating_mul(sequence);
        let fitting = |wanted| batch_rows(widest, sequence, self.gpu.limits().binding, wanted);
        let mut rows = fitting(BATCH_ROWS.min(all));
        while rows > sequence && moments.iter().any(|m| m.device(rows, 0) > vram) {
            rows = fitting(rows / 2);
        }
        rows
    }

    /// Bytes of a stream of activations.
    fn stream(&self, dtype: DType) -> u64 {
        if self.loaded() {
            return 0;
        }
        let samples = &self.options.samples;
        [samples.samples, samples.length, self.spec.hidden, dtype.size()]
            .iter()
            .fold(1, |bytes: u64, n| bytes.saturating_mul(*n as u64))
    }

    /// Reading the tokenizer, then the tokens of a text, which is taken as a whole unless it is lines of JSON. As
    /// measured, per byte of the files.
    fn prepare(&self) -> u64 {
        if self.loaded() {
            return 0;
        }
        let text = &self.options.calibration;
        let name = text.to_string_lossy().to_lowercase();
        let (name, packed) = match name.strip_suffix(".gz") {
            Some(name) => (name, 3),
            None => (name.as_str(), 1),
        };
        let per_byte = if [".jsonl", ".ndjson", ".json"].iter().any(|e| name.ends_with(e)) {
            2
        } else {
            97
        };
        let tokenizer = self.tokenizer();
        (14 * tokenizer).max(9 * tokenizer + packed * per_byte * file_bytes(text))
    }

    /// Device memory of the backward pass for an allocation, bytes; 0 without one.
    fn curvature(&self, rows: usize) -> Result<u64, RunError> {
        match self.options.allocates() {
            Allocation::Curvature => {
                let sizes = [
                    curvature_samples(&self.options.samples) * self.options.samples.length,
                    rows,
                ];
                Ok(Passes::of(self.gpu, self.checkpoint, self.spec, sizes, Need::ALL)?.gather)
            }
            _ => Ok(0),
        }
    }

    /// Bytes of the tokenizer's file.
    fn tokenizer(&self) -> u64 {
        file_bytes(&self.checkpoint.dir().join("tokenizer.json"))
    }

    /// What the process takes before it does anything.
    fn program(&self) -> u64 {
        PROGRAM + if self.gpu.is_host() { 0 } else { DRIVER }
    }

    /// And once it has: pieces of memory and of files that it holds.
    fn settled(&self) -> u64 {
        let [most, per_byte] = LEFT_BEHIND;
        self.program() + most.min(per_byte * self.tokenizer()) + MAPPED.min(self.checkpoint.total_bytes())
    }

    /// Host memory of that pass, bytes: its streams, and the device's buffers where they are the host's.
    fn curvature_host(&self, device: u64) -> u64 {
        let shared = self.gpu.in_host_memory();
        match device {
            0 => 0,
            _ => self.settled() + CURVATURE_STREAMS * self.stream(DType::F32) + if shared { device } else { 0 },
        }
    }

    /// Type of the activations, bytes of each stream kept in memory if not all, and the peak of the process.
    fn host(&self, moments: &[Moment], rows: usize, matrix: u64) -> Result<(DType, Option<u64>, u64), RunError> {
        // Drivers that run on the CPU take the device's memory from the host's.
        let shared = self.gpu.in_host_memory();
        let device = |m: &Moment| {
            if shared {
                m.device(rows, matrix) + self.small()
            } else {
                2 * m.matrix.min(matrix)
            }
        };
        let settled = self.settled();
        let beside = |m: &Moment| settled + m.host(rows) + device(m);
        let prepare = self.program() + self.prepare();
        let peak = |stream: u64| {
            let bytes = |m: &Moment| beside(m).saturating_add(m.streams.saturating_mul(stream));
            moments.iter().map(bytes).max().unwrap_or(settled).max(prepare)
        };
        let Some(ram) = self.options.max_ram else {
            let dtype = self.options.activations.unwrap_or(DType::F32);
            return Ok((dtype, None, peak(self.stream(dtype))));
        };
        if peak(0) > ram {
            let mut advice = self.advice(moments, rows, matrix);
            if peak(0) == prepare {
                advice = "reading the tokenizer and --calibration takes the most (.jsonl takes less than .txt)".into();
            } else if shared {
                advice += "; here the device's memory is the host's: lower --max-vram";
            }
            return Err(RunError::OverBudget {
                what: "--max-ram".into(),
                budget: ram,
                needed: peak(0),
                advice,
            });
        }
        let rooms = moments.iter().filter(|m| m.streams > 0);
        let room = rooms.map(|m| (ram - beside(m)) / m.streams).min().unwrap_or(0);
        let dtype = match self.options.activations {
            Some(dtype) => dtype,
            None if self.stream(DType::F32) <= room => DType::F32,
            None => DType::BF16,
        };
        let stream = self.stream(dtype);
        Ok((dtype, (stream > room).then_some(room), peak(stream.min(room))))
    }

    /// The moment that takes the most on the device and what makes it smaller.
    fn advice(&self, moments: &[Moment], rows: usize, matrix: u64) -> String {
        let Some(worst) = moments.iter().max_by_key(|m| m.device(rows, matrix)) else {
            return String::new();
        };
        let mut parts = vec![format!("{} of weights", mib(worst.weights))];
        if worst.grams > 0 {
            let flag = match (&self.options.sums, self.options.propagate) {
                (Sums::Loaded(_), _) | (_, Propagate::Pruned) => "",
                _ => " (--propagate pruned needs a third)",
            };
            parts.push(format!("{} of Gram matrices{flag}", mib(worst.grams)));
        }
        if worst.matrices > 0 {
            let (count, one) = (worst.matrices, mib(worst.matrix.min(matrix)));
            let flag = "--method wanda --refit 0 needs fewest, --max-vram cuts them into blocks";
            parts.push(format!("{count} matrices of {one} ({flag})"));
        }
        if worst.row > 0 {
            let bytes = mib(worst.row * rows as u64);
            parts.push(format!(
                "{bytes} of activations of {rows} tokens (--length shortens them)"
            ));
        }
        format!("the most at {}: {}", worst.what, parts.join(", "))
    }
}

/// Bytes of a solver matrix that fit beside the rest wherever one is needed; all of it where that fits.
fn solver_matrix(moments: &[Moment], vram: u64) -> u64 {
    let largest = moments.iter().map(|m| m.matrix).max().unwrap_or(0);
    let tight = moments
        .iter()
        .filter(|m| m.device(0, u64::MAX) > vram && m.matrices > 0);
    let fitting = tight.map(|m| vram.saturating_sub(m.weights + m.grams) / m.matrices);
    fitting.min().unwrap_or(largest).min(largest)
}

impl Demand {
    /// Rough work of a run: forward passes, Gram matrices and products of the solver.
    pub(super) fn flops(
        &self,
        spec: &Spec,
        options: &PruneOptions,
        method: &dyn Method,
        layers: usize,
    ) -> Result<f64, RunError> {
        let tokens = match options.sums {
            Sums::Loaded(_) => 0.0,
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
                if prunes && options.sums != Sums::Saved {
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
pub(super) fn small(spec: &Spec, gpu: &Gpu, length: usize) -> u64 {
    let widest = spec.ffn.max(spec.hidden).max(spec.heads * spec.head_dim) as u64;
    let ropes: usize = spec.ropes.iter().map(|rope| rope.rotary_dim()).sum();
    4 * (ropes * length) as u64 + 4 * 16 * widest + gpu.scratch_bytes()
}

/// Bytes of a file; 0 if it cannot be read.
fn file_bytes(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |found| found.len())
}

/// Bytes as MiB.
fn mib(bytes: u64) -> String {
    format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
}
