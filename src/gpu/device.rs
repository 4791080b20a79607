//! The one handle everything else holds: a device with its executor, limits, pool and timings.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::pool::{Pool, Storage};
use super::record::SCRATCH;
use super::timing::{Timing, Timings};
use super::tune::{Contest, Question, TuneMode, Tuner};
use super::wgpu_device::WgpuDevice;
use super::{
    AdapterChoice, AdapterSummary, Buffer, Cooperative, Foreign, GpuError, Recording, Slice, adapter, cooperative, host,
};

/// Bytes of freed buffers kept for reuse on a GPU, where allocation is slow.
const DEVICE_STOCK: u64 = 256 << 20;
/// The same on the host, where fresh memory costs a page fault for every 4 KiB. The pool never holds more than was in use at once.
const HOST_STOCK: u64 = 128 << 20;

/// Flops of one dispatch of a product at most: about 0.1 s on a slow integrated GPU.
pub(crate) const DISPATCH_FLOPS: usize = 20_000_000_000;
/// The same where the GPU draws the screen meanwhile: less than a frame there.
const GENTLE_DISPATCH_FLOPS: usize = 2_000_000_000;

/// How to open a device.
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// Which adapter.
    pub adapter: AdapterChoice,
    /// Pretend that a storage binding spans at most this many bytes (tests of windows and panels).
    pub max_binding: Option<u64>,
    /// Play every command on the host too and stop at the first that differs.
    pub verify: bool,
    /// Measure each kernel.
    pub profile: bool,
    /// Bytes of buffers held at once at most, those kept for reuse included; see [`Gpu::peak_bytes`] for what counts.
    pub budget: Option<u64>,
    /// Leave the device to others in between: small pieces of work, and after each a rest as long as it took.
    pub gentle: bool,
    /// Keep queries, keys and values of attention as halves in workgroup memory.
    pub half_attention: bool,
    /// Whether to measure which variants of kernels are fastest; `None`: as `SECATEUR_TUNE` says.
    pub tune: Option<TuneMode>,
    /// Where the results are kept; `None`: in the user's cache folder.
    pub tune_file: Option<PathBuf>,
    /// Whether to open cooperative matrices where the device has them; `None`: as `SECATEUR_COOP` says.
    pub cooperative: Option<bool>,
}

/// What the ops must respect.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes one storage binding may span.
    pub binding: u64,
    /// Bytes one buffer may have.
    pub buffer: u64,
    /// Alignment of a binding's offset in bytes.
    pub alignment: u64,
}

pub(super) enum Executor {
    Wgpu(Box<WgpuDevice>),
    Host,
    Foreign(Box<dyn Foreign>),
}

pub(super) struct Inner {
    pub(super) executor: Executor,
    pub(super) limits: Limits,
    pub(super) pool: Arc<Pool>,
    pub(super) timings: Timings,
    pub(super) options: GpuOptions,
    tuner: Tuner,
    flops: Mutex<f64>,
    name: String,
    software: bool,
    cooperative: Option<Cooperative>,
    summary: Option<AdapterSummary>,
}

impl Inner {
    pub(super) fn count_flops(&self, flops: f64) {
        *self.flops.lock().expect("flop counter lock") += flops;
    }
}

/// A device, cheap to clone.
#[derive(Clone)]
pub struct Gpu(pub(super) Arc<Inner>);

impl Gpu {
    /// Opens the adapter that `options` names; without a hardware adapter `Auto` means the host executor.
    pub fn open(options: GpuOptions) -> Result<Self, GpuError> {
        if options.adapter == AdapterChoice::Cpu {
            return Ok(Self::host(options));
        }
        let (_instance, adapters) = adapter::enumerate();
        match adapter::pick(&options.adapter, &adapters)? {
            None => Ok(Self::host(options)),
            Some(index) => Self::wgpu(index, &adapters[index], options),
        }
    }

    /// A device whose dispatches another implementation of WebGPU plays, with its limits. It is given no subgroups and
    /// nothing to tune.
    pub fn foreign(name: &str, limits: Limits, options: GpuOptions, executor: Box<dyn Foreign>) -> Self {
        let limits = Limits {
            binding: limits.binding.min(options.max_binding.unwrap_or(u64::MAX)),
            ..limits
        };
        Self::in_memory(Executor::Foreign(executor), name.to_string(), limits, options)
    }

    fn host(options: GpuOptions) -> Self {
        let limits = Limits {
            binding: options.max_binding.unwrap_or(u64::MAX),
            buffer: u64::MAX,
            alignment: 4,
        };
        let name = format!("host ({} threads)", rayon::current_num_threads());
        Self::in_memory(Executor::Host, name, limits, options)
    }

    /// A device whose buffers are the host's memory.
    fn in_memory(executor: Executor, name: String, limits: Limits, options: GpuOptions) -> Self {
        Gpu(Arc::new(Inner {
            software: match &executor {
                Executor::Foreign(foreign) => foreign.is_software(),
                _ => false,
            },
            executor,
            limits,
            pool: Pool::new(HOST_STOCK, options.budget),
            timings: Timings::default(),
            tuner: Tuner::new(TuneMode::Off, String::new(), None),
            flops: Mutex::new(0.0),
            name,
            cooperative: None,
            summary: None,
            options,
        }))
    }

    fn wgpu(index: usize, adapter: &wgpu::Adapter, options: GpuOptions) -> Result<Self, GpuError> {
        let wanted = options.cooperative.map_or_else(cooperative::from_env, Ok)?;
        let coop = cooperative::usable(adapter).filter(|_| wanted);
        let (device, coop) = match WgpuDevice::open(adapter, options.profile, coop) {
            // Listed and still refused: go without.
            Err(_) if coop.is_some() => (WgpuDevice::open(adapter, options.profile, None)?, None),
            other => (other?, coop),
        };
        let limits = device.device.limits();
        let info = adapter.get_info();
        let default = match info.device_type {
            wgpu::DeviceType::Cpu => TuneMode::Load,
            _ => TuneMode::Full,
        };
        let summary = AdapterSummary::new(index, adapter);
        let device_name = format!("{} ({})", summary.name, summary.driver);
        let mode = options.tune.map_or_else(|| TuneMode::from_env(default), Ok)?;
        Ok(Gpu(Arc::new(Inner {
            limits: Limits {
                binding: options
                    .max_binding
                    .unwrap_or(u64::MAX)
                    .min(limits.max_storage_buffer_binding_size),
                buffer: limits.max_buffer_size,
                alignment: u64::from(limits.min_storage_buffer_offset_alignment),
            },
            pool: Pool::new(DEVICE_STOCK, options.budget),
            timings: Timings::default(),
            tuner: Tuner::new(mode, device_name, options.tune_file.clone()),
            flops: Mutex::new(0.0),
            software: info.device_type == wgpu::DeviceType::Cpu,
            cooperative: coop,
            summary: Some(summary),
            name: info.name,
            executor: Executor::Wgpu(Box::new(device)),
            options,
        })))
    }

    /// Name of the adapter, or `host (n threads)`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether the host executor plays the commands.
    pub fn is_host(&self) -> bool {
        matches!(self.0.executor, Executor::Host)
    }

    /// Whether this is a graphics driver that runs on the CPU: kernels without barriers are faster there.
    pub fn is_software(&self) -> bool {
        self.0.software
    }

    /// Whether buffers of this device are the host's memory: the host executor, or a driver that runs on the CPU.
    pub fn in_host_memory(&self) -> bool {
        self.is_host() || self.is_software()
    }

    /// Whether lanes of this device can hand values to each other, and its driver compiles kernels in which they do.
    pub fn has_subgroups(&self) -> bool {
        matches!(&self.0.executor, Executor::Wgpu(device) if device.subgroups)
    }

    /// The cooperative matrices that this device was opened with. Being listed says nothing of their speed.
    pub fn cooperative(&self) -> Option<Cooperative> {
        self.0.cooperative
    }

    /// Whether attention keeps its blocks in 16 bits.
    pub fn half_attention(&self) -> bool {
        self.0.options.half_attention
    }

    /// Flops of one dispatch at most, so that it stays short of a desktop watchdog, which the host does not have; a screen
    /// wants even less.
    pub fn dispatch_flops(&self) -> usize {
        match (self.is_host(), self.0.options.gentle) {
            (true, _) => usize::MAX,
            (false, true) => GENTLE_DISPATCH_FLOPS,
            (false, false) => DISPATCH_FLOPS,
        }
    }

    /// What the ops must respect.
    pub fn limits(&self) -> Limits {
        self.0.limits
    }

    /// A buffer of at least `bytes` bytes (rounded up to 4, at least 4), contents undefined. Fails beyond the budget.
    pub fn buffer(&self, label: &str, bytes: u64) -> Result<Buffer, GpuError> {
        let bytes = bytes.next_multiple_of(4).max(4);
        if bytes > self.0.limits.buffer {
            return Err(GpuError::BufferTooLarge {
                label: label.to_string(),
                bytes,
                limit: self.0.limits.buffer,
                adapter: self.0.name.clone(),
            });
        }
        let storage = match self.0.pool.take(bytes) {
            Some(storage) => storage,
            None => {
                self.reserve(label, bytes)?;
                self.allocate(label, bytes)
                    .inspect_err(|_| self.0.pool.unreserve(bytes))?
            }
        };
        Ok(Buffer::new(label, bytes, storage, &self.0.pool))
    }

    /// Bytes of buffers held at once at most, if there is a limit.
    pub fn budget(&self) -> Option<u64> {
        self.0.options.budget
    }

    /// A buffer that work can do without: none under a budget, all of which is planned for what cannot, nor where memory
    /// is short.
    pub(crate) fn spare(&self, label: &str, bytes: u64) -> Option<Buffer> {
        let allowed = self.0.options.budget.is_none();
        allowed.then(|| self.buffer(label, bytes).ok()).flatten()
    }

    /// Bytes that a recording may take beside the buffers it is given, because its products are faster so: none under a
    /// budget, nor on the host and on drivers that run there, which have nothing to gain.
    pub fn scratch_bytes(&self) -> u64 {
        let gains = !self.is_host() && !self.is_software() && self.0.options.budget.is_none();
        if gains { SCRATCH } else { 0 }
    }

    fn allocate(&self, label: &str, bytes: u64) -> Result<Storage, GpuError> {
        match &self.0.executor {
            Executor::Wgpu(device) => Ok(Storage::Wgpu(device.allocate(label, bytes, &self.0.pool)?)),
            Executor::Host | Executor::Foreign(_) => Ok(Storage::Host(vec![0; bytes as usize / 4].into())),
        }
    }

    /// Makes room within the budget, if need be by giving up the stock of freed buffers.
    fn reserve(&self, label: &str, bytes: u64) -> Result<(), GpuError> {
        let pool = &self.0.pool;
        if pool.reserve(bytes).is_ok() {
            return Ok(());
        }
        let returned = pool.clear();
        if let Executor::Wgpu(device) = &self.0.executor {
            device.wait()?;
        }
        pool.settle(returned);
        pool.reserve(bytes).map_err(|in_use| GpuError::OverBudget {
            label: label.to_string(),
            bytes,
            in_use,
            budget: self.0.options.budget.unwrap_or(u64::MAX),
        })
    }

    /// A new buffer holding `bytes` (padded with zeros to a multiple of 4).
    pub fn upload(&self, label: &str, bytes: &[u8]) -> Result<Buffer, GpuError> {
        let buffer = self.buffer(label, bytes.len() as u64)?;
        match &self.0.executor {
            Executor::Wgpu(device) => device.write(&buffer, bytes)?,
            Executor::Host => host::write(&buffer, bytes),
            Executor::Foreign(foreign) => {
                foreign.uploaded(label, bytes.len());
                host::write(&buffer, bytes);
            }
        }
        Ok(buffer)
    }

    /// Index of the fastest candidate of a contest on this device, as far as it is known or may be measured; else 0.
    pub fn tuned<C: Contest>(&self, question: &Question, contest: impl FnOnce() -> Result<C, GpuError>) -> usize {
        self.0.tuner.choose(question, contest)
    }

    /// Largest number of bytes of buffers held at once: those in use and freed ones kept for reuse.
    ///
    /// Not counted: parameter blocks, staging memory of uploads (16 MiB at a time) and of readbacks (host memory, as
    /// large as what is read), and what the driver rounds up. On the host the buffers are ordinary memory.
    pub fn peak_bytes(&self) -> u64 {
        self.0.pool.peak()
    }

    /// Gives up freed buffers that were kept for reuse, and keeps none beyond what is in use at once from now on.
    pub fn begin_phase(&self) {
        self.0.pool.begin_phase();
    }

    /// Bytes of freed buffers that are kept for reuse at most.
    pub fn stock_bytes(&self) -> u64 {
        self.0.pool.stock()
    }

    /// Keeps no more freed buffers than these bytes from now on.
    pub fn limit_stock(&self, bytes: u64) {
        self.0.pool.limit_stock(bytes);
    }

    /// From now on [`Gpu::peak_bytes`] tells of what follows.
    pub fn reset_peak(&self) {
        self.0.pool.reset_peak();
    }

    /// Rough floating-point operations submitted so far; products dominate.
    pub fn flops(&self) -> f64 {
        *self.0.flops.lock().expect("flop counter lock")
    }

    /// What the driver tells of the adapter; nothing on the host.
    pub fn adapter(&self) -> Option<&AdapterSummary> {
        self.0.summary.as_ref()
    }

    /// Whether the device stamps the beginning and end of each kernel: it was opened to profile, and can.
    pub fn has_timestamps(&self) -> bool {
        matches!(&self.0.executor, Executor::Wgpu(device) if device.timestamps)
    }

    /// Seconds by the device's own clock from the first kernel of a submission to the end of its last, added up over all
    /// finished so far; 0 without timestamps. A long recording is several submissions, and the time between them is left out.
    pub fn device_seconds(&self) -> f64 {
        self.0.timings.span()
    }

    /// Time per kernel, slowest first (empty unless profiling or on the host).
    pub fn timings(&self) -> Vec<Timing> {
        self.0.timings.table()
    }
}

impl Recording {
    /// `bytes` of memory, at most [`SCRATCH`], with undefined contents for what one command hands to the next; all who ask
    /// get the same. None where the device can spare none.
    pub(crate) fn scratch(&mut self, gpu: &Gpu, bytes: u64) -> Option<Slice> {
        if bytes > gpu.limits().binding {
            return None;
        }
        if self.scratch.is_none() {
            self.scratch = gpu.spare("scratch", SCRATCH);
        }
        Some(self.scratch.as_ref()?.window(0, bytes))
    }
}
