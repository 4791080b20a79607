//! One measurement with everything that is needed to read it alone.

use serde::{Deserialize, Serialize};

/// Version of the fields of [`BenchRow`]; `benches/bench.schema.json` describes them.
pub const BENCH_SCHEMA_VERSION: u32 = 1;

/// Where and with what it was measured: the same in all rows of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Of the fields.
    pub schema_version: u32,
    /// Version of the program.
    pub build_version: String,
    /// Commit it was built from, or `unknown`.
    pub build_commit: String,
    /// What measures the same again.
    pub command: String,
    /// When the run began, UTC.
    pub test_time: String,
    /// Processor.
    pub cpu_info: String,
    /// Threads of the host executor.
    pub cpu_threads: usize,
    /// Memory of the machine in bytes.
    pub memory_bytes: Option<u64>,
    /// Adapter, or `host (n threads)`.
    pub gpu_info: String,
    /// `vulkan`, `metal`, `dx12`, `gl`, or `host`.
    pub backend: String,
    /// As `secateur doctor` has it; `Host` on the host executor.
    pub device_type: String,
    /// Number of the vendor.
    pub vendor: Option<String>,
    /// Driver and its version.
    pub driver: Option<String>,
    /// Bytes a storage binding may span.
    pub limit_binding: Option<u64>,
    /// Bytes a buffer may have.
    pub limit_buffer: Option<u64>,
    /// Invocations per workgroup.
    pub limit_invocations: Option<u32>,
    /// Workgroup memory in bytes.
    pub limit_workgroup_memory: Option<u32>,
    /// Storage buffers per stage.
    pub limit_storage_buffers: Option<u32>,
    /// Optional features that the adapter has, by comma.
    pub features: String,
    /// What the system tells of power supply and governors, or `unknown`.
    pub power_state: String,
    /// Seed of the data.
    pub seed: u64,
    /// Best rate of the FMA kernel in this run, GFLOP/s.
    pub roof_gflops: f64,
    /// Best rate of the copy kernel in this run, GB/s, reading and writing counted.
    pub roof_gbps: f64,
}

/// One kernel, shape and element type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BenchRow {
    /// Where.
    #[serde(flatten)]
    pub machine: Machine,
    /// What is measured.
    pub kernel: String,
    /// Which form of it.
    pub variant: String,
    /// Whose shape it is.
    pub shape: String,
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Length of the sums, 0 where there are none.
    pub k: usize,
    /// Type the weights are stored in.
    pub dtype: String,
    /// Calls before the first that counts.
    pub warmups: usize,
    /// Samples.
    pub repetitions: usize,
    /// Calls in a sample.
    pub calls: usize,
    /// What the clock is.
    pub timing: String,
    /// Mean nanoseconds of a call.
    pub avg_ns: f64,
    /// Their standard deviation.
    pub stddev_ns: f64,
    /// Median nanoseconds of a call.
    pub median_ns: f64,
    /// Median absolute deviation from it.
    pub mad_ns: f64,
    /// How much slower the last sample is than the first by a straight line through all, relative to the median.
    pub drift: f64,
    /// Nanoseconds of a call in each sample.
    pub samples_ns: Vec<f64>,
    /// Floating-point operations of a call, 0 where there are none to speak of.
    pub flops: f64,
    /// Bytes a call must move at least: inputs once, outputs once.
    pub bytes: f64,
    /// Rate of the median call.
    pub gflops: Option<f64>,
    /// Rate of the median call.
    pub gbps: Option<f64>,
    /// Which roof is lower for this call: `compute` or `memory`.
    pub bound: String,
    /// Share of that roof, percent.
    pub pct_of_measured_peak: f64,
    /// Largest difference from the f64 twin, over the twin's largest value.
    pub max_rel_err: f64,
    /// What it may be.
    pub err_bound: f64,
    /// Elements that were compared.
    pub checked: usize,
    /// Elements there are.
    pub elements: usize,
    /// Layer solves: the layer error relative to removing everything.
    pub layer_error: Option<f64>,
}

impl BenchRow {
    /// `kernel/variant/shape/MxNxK/type`: equal for the same measurement on different machines.
    pub fn key(&self) -> String {
        format!(
            "{}/{}/{}/{}/{}",
            self.kernel,
            self.variant,
            self.shape,
            self.size(),
            self.dtype
        )
    }

    /// `MxN` or `MxNxK`.
    pub fn size(&self) -> String {
        match self.k {
            0 => format!("{}x{}", self.m, self.n),
            k => format!("{}x{}x{k}", self.m, self.n),
        }
    }
}
