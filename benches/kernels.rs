//! Kernels on real layer shapes, on the host executor and on the adapter `SECATEUR_ADAPTER` names (default: `auto`).
//!
//! Quote ratios measured in one run, never times across machines.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use secateur::gpu::{Gpu, GpuOptions, Recording};
use secateur::ops::dense::{self, Gemm, GramPart, Layout};
use secateur::ops::prox::{self, FistaStep};
use secateur::tensor::Tensor;

/// `[rows, inner]` of SmolLM2-135M's linears and of a square.
const SHAPES: [[usize; 2]; 3] = [[576, 576], [1536, 576], [576, 1536]];

fn devices() -> Vec<Gpu> {
    let open = |name: &str| {
        let options = GpuOptions {
            adapter: name.parse().expect("any text is a choice"),
            ..Default::default()
        };
        Gpu::open(options).expect("the adapter opens")
    };
    let mut devices = vec![open("cpu")];
    let named = open(&std::env::var("SECATEUR_ADAPTER").unwrap_or_default());
    if !named.is_host() {
        devices.push(named);
    }
    devices
}

/// A matrix of small, varied numbers.
fn matrix(gpu: &Gpu, rows: usize, cols: usize) -> Tensor {
    let values: Vec<f32> = (0..rows * cols)
        .map(|i| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5)
        .collect();
    Tensor::upload(gpu, "bench", rows, cols, &values).expect("fits")
}

fn play(gpu: &Gpu, record: impl FnOnce(&mut Recording)) {
    let mut recording = Recording::new();
    record(&mut recording);
    gpu.submit(black_box(recording))
        .expect("plays")
        .wait()
        .expect("finishes");
}

fn kernels(criterion: &mut Criterion) {
    for gpu in devices() {
        let mut group = criterion.benchmark_group(gpu.name().to_string());
        group.sample_size(10);
        for [rows, n] in SHAPES {
            let (v, h, out) = (matrix(&gpu, rows, n), matrix(&gpu, n, n), matrix(&gpu, rows, n));
            let (b, free, x) = (matrix(&gpu, rows, n), matrix(&gpu, rows, n), matrix(&gpu, rows, n));
            group.throughput(Throughput::Elements((2 * rows * n * n) as u64));
            group.bench_function(format!("gemm {rows}x{n}x{n}"), |bencher| {
                bencher.iter(|| play(&gpu, |r| dense::gemm(r, &gpu, &Gemm::new(&v, &h, Layout::NN, &out))));
            });
            group.bench_function(format!("fista_step {rows}x{n}"), |bencher| {
                let step = FistaStep {
                    y: &v,
                    y_col: 0,
                    h: &h,
                    b: &b,
                    free: &free,
                    x: &x,
                    y_next: &out,
                    step: 1e-3,
                    threshold: 1e-4,
                    momentum: 0.5,
                    accumulate: false,
                };
                bencher.iter(|| play(&gpu, |r| prox::fista_step(r, &gpu, &step)));
            });
            let tokens = matrix(&gpu, 1024, n);
            group.throughput(Throughput::Elements((1024 * n * n) as u64));
            group.bench_function(format!("gram 1024x{n}"), |bencher| {
                let part = GramPart {
                    a: &tokens,
                    a_col: 0,
                    b: &tokens,
                    total: &h,
                    upper: true,
                };
                bencher.iter(|| play(&gpu, |r| dense::gram_chunk(r, &gpu, &part)));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
