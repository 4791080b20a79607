use secateur::gpu::{Gpu, GpuError, GpuOptions, Recording};
use secateur::ops::Variant;
use secateur::ops::dense::{self, GRAM_TILED, Gemm, GramPart, Layout};
use secateur::tensor::Tensor;

use crate::common::{own_devices, tensor};

fn fresh(budget: Option<u64>) -> Vec<Gpu> {
    own_devices(GpuOptions {
        budget,
        ..Default::default()
    })
}

const KIB: u64 = 1024;
const BUDGET: u64 = 1024 * KIB;

#[test]
fn a_buffer_beyond_the_budget_is_named_and_freed_memory_is_found_again() {
    for gpu in fresh(Some(BUDGET)) {
        let mut held: Vec<_> = (0..4).map(|_| gpu.buffer("quarter", 256 * KIB).unwrap()).collect();
        // A refusal takes nothing, however often.
        for _ in 0..3 {
            let error = gpu.buffer("one more", 8).err().expect("must be refused");
            assert!(matches!(
                error,
                GpuError::OverBudget {
                    bytes: 8,
                    in_use: BUDGET,
                    budget: BUDGET,
                    ..
                }
            ));
            let message = error.to_string();
            for part in ["one more", "8 bytes", "1048576", "`max-vram`", "`length`"] {
                assert!(message.contains(part), "{part} in {message}");
            }
        }
        held.pop();
        assert!(gpu.buffer("too large by a word", 256 * KIB + 4).is_err());
        held.push(gpu.buffer("fits", 256 * KIB).unwrap());
        drop(held);
        gpu.buffer("all", BUDGET).unwrap();
        assert!(gpu.buffer("absurd", u64::MAX / 2).is_err());
        assert_eq!(gpu.peak_bytes(), BUDGET, "{}", gpu.name());
    }
}

#[test]
fn the_stock_counts_and_goes_when_its_room_is_needed() {
    for gpu in fresh(Some(BUDGET)) {
        drop(gpu.buffer("small", 100 * KIB).unwrap());
        let rest = gpu.buffer("the rest", BUDGET - 100 * KIB).unwrap();
        assert_eq!(gpu.peak_bytes(), BUDGET - 100 * KIB, "the stock went: {}", gpu.name());
        // The stock serves this one, and cannot serve the next.
        drop(gpu.buffer("small again", 100 * KIB).unwrap());
        assert_eq!(gpu.peak_bytes(), BUDGET);
        let other = gpu.buffer("of another size", 99 * KIB).unwrap();
        drop((rest, other));
        gpu.buffer("all", BUDGET).unwrap();
        assert_eq!(gpu.peak_bytes(), BUDGET);
    }
}

/// What is kept for reuse goes before it would raise the peak: the peak is that of the buffers in use.
#[test]
fn what_is_kept_never_raises_the_peak() {
    for bytes in [KIB, KIB + 4] {
        for gpu in fresh(Some(8 * KIB)) {
            drop(gpu.buffer("kept or not", bytes).unwrap());
            gpu.buffer("other", 4 * KIB).unwrap();
            assert_eq!(gpu.peak_bytes(), 4 * KIB, "{bytes} on {}", gpu.name());
        }
    }
}

#[test]
fn without_a_budget_too() {
    for gpu in fresh(None) {
        drop(gpu.buffer("first", 4000).unwrap());
        let second = gpu.buffer("second", 8000).unwrap();
        assert_eq!(gpu.peak_bytes(), 8000, "{}", gpu.name());
        let first = gpu.buffer("first again", 4000).unwrap();
        assert_eq!(gpu.peak_bytes(), 12_000);
        drop((first, second));
    }
}

/// Sums in parts take memory that nobody planned: under a budget they are taken in one.
#[test]
fn a_gram_comes_in_parts_only_without_a_budget() {
    for (budget, commands) in [(None, 2), (Some(64 << 20), 1)] {
        for gpu in fresh(budget) {
            let (tokens, n) = (512, 5);
            let x = tensor(&gpu, tokens, n, &vec![0.5; tokens * n]);
            let total = tensor(&gpu, n, n, &vec![1.0; n * n]);
            let held = gpu.peak_bytes();
            let part = GramPart {
                a: &x,
                a_col: 0,
                b: &x,
                total: &total,
                upper: false,
            };
            let mut recording = Recording::new();
            dense::gram_with(&mut recording, &gpu, Variant::of(&GRAM_TILED).in_parts(4), &part);
            assert_eq!(recording.len(), commands, "{}", gpu.name());
            gpu.submit(recording).unwrap();
            assert_eq!(total.fetch(&gpu).unwrap(), vec![129.0; n * n], "{}", gpu.name());
            assert_eq!(gpu.peak_bytes() > held, budget.is_none(), "{}", gpu.name());
        }
    }
}

/// Room is made while the device still works on what was dropped.
#[test]
fn work_in_flight_keeps_its_memory() {
    for gpu in fresh(Some(4 * 64 * 64 * 5)) {
        let ones = tensor(&gpu, 64, 64, &[1.0; 64 * 64]);
        let mut last = tensor(&gpu, 64, 64, &[0.0; 64 * 64]);
        for round in 1..20 {
            let a = tensor(&gpu, 64, 64, &[round as f32; 64 * 64]);
            // Of a new size every time, so the stock never serves it.
            let pad = gpu.buffer("pad", 4 * round).unwrap();
            let out = Tensor::empty(&gpu, "out", 64, 64).unwrap();
            let mut recording = Recording::new();
            dense::gemm(&mut recording, &gpu, &Gemm::new(&a, &ones, Layout::NN, &out));
            dense::axpby(&mut recording, 1.0, &last, 1.0, &out);
            gpu.submit(recording).unwrap();
            last = out;
            drop(pad);
        }
        assert_eq!(last.fetch(&gpu).unwrap(), [64.0 * 190.0; 64 * 64], "{}", gpu.name());
        assert!(gpu.peak_bytes() <= 4 * 64 * 64 * 5);
    }
}
