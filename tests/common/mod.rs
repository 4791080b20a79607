//! Devices, seeded data and the one comparison every test uses.
//!
//! What a test shares with others, it does not measure: counters are read on a device opened again ([`reopen`]),
//! programs run as [`program`] has them. [`alone`] holds the tests to it.

mod alone;
mod arrows;
mod dawn;

use std::process::Command;
use std::sync::OnceLock;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use secateur::gpu::{Gpu, GpuOptions, Kernel, Recording, TuneMode};
use secateur::ops::Variant;
use secateur::tensor::{DType, Tensor};

/// The devices every kernel is tested on: the host executor and the adapter `SECATEUR_TEST_ADAPTER` names (default: the
/// first one found, software ones included; `dawn`: the kernels on Dawn). No adapter is a failure unless
/// `SECATEUR_TEST_ADAPTER=none` says so.
pub(crate) fn devices() -> &'static [Gpu] {
    static DEVICES: OnceLock<Vec<Gpu>> = OnceLock::new();
    DEVICES.get_or_init(|| {
        let mut devices = vec![open("cpu", None)];
        let wanted = std::env::var("SECATEUR_TEST_ADAPTER").unwrap_or_else(|_| "0".to_string());
        if wanted != "none" {
            devices.push(open(&wanted, None));
        }
        for device in &devices {
            eprintln!("testing on {}", device.name());
        }
        devices
    })
}

/// Opens an adapter, optionally pretending that bindings are small.
pub(crate) fn open(adapter: &str, max_binding: Option<u64>) -> Gpu {
    let options = GpuOptions {
        max_binding,
        ..Default::default()
    };
    open_with(adapter, options)
}

/// The device of the other tests, opened again for one test alone. Only of such a one the counters (flops, bytes, times)
/// and the pool are the test's: those of [`devices`] move with whatever runs at the same time.
pub(crate) fn reopen(gpu: &Gpu, options: GpuOptions) -> Gpu {
    open_with(if gpu.is_host() { "cpu" } else { gpu.name() }, options)
}

/// All [`devices`], opened again.
pub(crate) fn own_devices(options: GpuOptions) -> Vec<Gpu> {
    devices().iter().map(|gpu| reopen(gpu, options.clone())).collect()
}

/// It takes the default kernels unless `options` say otherwise: those that the user's cache folder names change whenever
/// somebody measures.
fn open_with(adapter: &str, options: GpuOptions) -> Gpu {
    if adapter.to_lowercase().starts_with("dawn") {
        return dawn::open(options);
    }
    let options = GpuOptions {
        adapter: adapter.parse().unwrap(),
        tune: options.tune.or(Some(TuneMode::Off)),
        ..options
    };
    Gpu::open(options).unwrap_or_else(|e| panic!("{e}\nSet SECATEUR_TEST_ADAPTER to an adapter, or to `none`."))
}

/// The program as somebody without settings of their own runs it, with the default kernels.
pub(crate) fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    plain(&mut command);
    command
}

/// Its path.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_secateur");

/// Takes from a command what the environment of whoever runs the tests would change, kernels chosen by measurement too.
pub(crate) fn plain(command: &mut Command) {
    for variable in [
        "SECATEUR_ADAPTER",
        "SECATEUR_VERIFY_KERNELS",
        "SECATEUR_MAX_BINDING",
        "RUST_BACKTRACE",
        "CLICOLOR_FORCE",
        "COLUMNS",
    ] {
        command.env_remove(variable);
    }
    command.env("SECATEUR_TUNE", "off");
}

/// Every device with each of its subgroup variants of a kernel. Adapters without any are named in the log with the test
/// that they leave out.
pub(crate) fn subgroups(test: &str, kernel: &'static Kernel) -> Vec<(&'static Gpu, Variant)> {
    on_every_device(test, "subgroups", |gpu| Variant::subgroup(gpu, kernel))
}

/// Every device with each of its cooperative variants of a kernel. Those without are named in the log with the test that
/// they leave out; with `SECATEUR_TEST_COOP=1` it is a failure if all are.
pub(crate) fn cooperative(test: &str, kernel: &'static Kernel) -> Vec<(&'static Gpu, Variant)> {
    let found = on_every_device(test, "cooperative matrices", |gpu| Variant::cooperative(gpu, kernel));
    let wanted = std::env::var("SECATEUR_TEST_COOP").is_ok_and(|value| value == "1");
    assert!(
        !wanted || !found.is_empty(),
        "{test}: SECATEUR_TEST_COOP=1, and no device has cooperative matrices"
    );
    found
}

fn on_every_device(test: &str, what: &str, variants: impl Fn(&Gpu) -> Vec<Variant>) -> Vec<(&'static Gpu, Variant)> {
    let mut found = Vec::new();
    for gpu in devices() {
        let variants = variants(gpu);
        if variants.is_empty() {
            eprintln!("SKIPPED {test}: {} has no {what} to use", gpu.name());
        }
        found.extend(variants.into_iter().map(|variant| (gpu, variant)));
    }
    found
}

/// Seeded numbers.
pub(crate) struct Data(Pcg64);

impl Data {
    pub(crate) fn new(seed: u64) -> Self {
        Data(Pcg64::seed_from_u64(seed))
    }

    /// Uniform in [-1, 1).
    pub(crate) fn uniform(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.0.random_range(-1.0..1.0)).collect()
    }

    /// Roughly normal (sum of uniforms), mean 0, variance 1.
    pub(crate) fn normal(&mut self, n: usize) -> Vec<f32> {
        (0..n)
            .map(|_| (0..12).map(|_| self.0.random_range(-0.5f32..0.5)).sum())
            .collect()
    }

    /// Integers in `0..end`.
    pub(crate) fn below(&mut self, end: u32, n: usize) -> Vec<u32> {
        (0..n).map(|_| self.0.random_range(0..end)).collect()
    }
}

pub(crate) fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// `‖found - wanted‖ / ‖wanted‖` and the worst element. NaN or a wrong length fails by construction.
#[track_caller]
pub(crate) fn assert_close(what: &str, found: &[f32], wanted: &[f64], tolerance: f64) {
    assert_eq!(found.len(), wanted.len(), "{what}: length");
    let (mut worst, mut at, mut sum, mut norm) = (0.0f64, 0, 0.0, 0.0);
    for (i, (f, w)) in found.iter().zip(wanted).enumerate() {
        let d = (f64::from(*f) - w).abs();
        if d > worst || d.is_nan() {
            (worst, at) = (d, i);
        }
        sum += d * d;
        norm += w * w;
    }
    let error = (sum / norm.max(f64::MIN_POSITIVE)).sqrt();
    let fine = error <= tolerance || sum == 0.0;
    assert!(
        fine,
        "{what}: relative error {error:.3e} > {tolerance:.3e}; worst at {at}: {} instead of {}",
        found.get(at).copied().unwrap_or(f32::NAN),
        wanted.get(at).copied().unwrap_or(f64::NAN)
    );
}

/// An f32 tensor full of NaN: what a kernel does not write stays visible.
pub(crate) fn poisoned(gpu: &Gpu, rows: usize, cols: usize) -> Tensor {
    Tensor::upload(gpu, "poisoned", rows, cols, &vec![f32::NAN; rows * cols]).unwrap()
}

/// Uploads f32.
pub(crate) fn tensor(gpu: &Gpu, rows: usize, cols: usize, values: &[f32]) -> Tensor {
    Tensor::upload(gpu, "test", rows, cols, values).unwrap()
}

/// Uploads `values` as `dtype`; also returns what the device will see.
pub(crate) fn stored(gpu: &Gpu, rows: usize, cols: usize, values: &[f32], dtype: DType) -> (Tensor, Vec<f32>) {
    let bytes = dtype.encode(values);
    (
        Tensor::upload_stored(gpu, "stored", [rows, cols], dtype, &bytes).unwrap(),
        dtype.decode(&bytes),
    )
}

/// Plays what `record` records and waits.
pub(crate) fn play(gpu: &Gpu, record: impl FnOnce(&mut Recording)) {
    let mut recording = Recording::new();
    record(&mut recording);
    gpu.submit(recording).unwrap().wait().unwrap();
}

/// Solves a small symmetric positive definite system by Gaussian elimination.
pub(crate) fn eliminate(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for p in 0..n {
        for i in p + 1..n {
            let factor = a[i][p] / a[p][p];
            let (head, tail) = a.split_at_mut(i);
            for (x, y) in tail[0][p..].iter_mut().zip(&head[p][p..]) {
                *x -= factor * y;
            }
            b[i] -= factor * b[p];
        }
    }
    for p in (0..n).rev() {
        let known: f64 = (p + 1..n).map(|j| a[p][j] * b[j]).sum();
        b[p] = (b[p] - known) / a[p][p];
    }
    b
}
