use secateur::gpu::Gpu;
use secateur::ops::prox::{self, Keep, Scope};

use crate::common::{Data, devices, open, play, poisoned, tensor};

/// `[out, support]` by sorting.
fn by_sort([rows, cols]: [usize; 2], v: &[f32], free: &[f32], scope: Scope, count: usize) -> [Vec<f32>; 2] {
    let segment = |i: usize| match scope {
        Scope::Matrix => 0,
        Scope::Row => i / cols,
        Scope::ColumnBlock(width) => i % cols / width,
    };
    // NaN is largest; among equals the lower index wins (the sort is stable).
    let mut order: Vec<usize> = (0..rows * cols).filter(|&i| free[i] != 0.0).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(v[i].abs().to_bits()));
    let mut left = vec![count; rows.max(cols)];
    let (mut out, mut support) = (vec![0.0; rows * cols], vec![0.0; rows * cols]);
    for i in order {
        let left = &mut left[segment(i)];
        if *left > 0 {
            *left -= 1;
            (out[i], support[i]) = (v[i], 1.0);
        }
    }
    [out, support]
}

fn check(gpu: &Gpu, [rows, cols]: [usize; 2], v: &[f32], free: &[f32], scope: Scope, count: usize) {
    let (v_tensor, free_tensor) = (tensor(gpu, rows, cols, v), tensor(gpu, rows, cols, free));
    let (out, support) = (poisoned(gpu, rows, cols), poisoned(gpu, rows, cols));
    let keep = Keep { count };
    play(gpu, |recording| {
        prox::keep_largest(recording, gpu, &v_tensor, &free_tensor, scope, keep, &out, &support).unwrap();
    });
    let [wanted, kept] = by_sort([rows, cols], v, free, scope, count);
    let what = format!("{} {rows}x{cols} {scope:?} keep {count}", gpu.name());
    assert_eq!(support.fetch(gpu).unwrap(), kept, "{what}: support");
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&out.fetch(gpu).unwrap()), bits(&wanted), "{what}: out");
}

/// Smooth values, then few levels (many ties, zeros of both signs), each with and without elements that are not free.
fn cases(size: usize) -> Vec<[Vec<f32>; 2]> {
    let mut data = Data::new(16);
    let smooth = data.normal(size);
    let levels: Vec<f32> = data.below(7, size).iter().map(|v| (*v as f32 - 3.0) * -0.5).collect();
    let free: Vec<f32> = data.below(3, size).iter().map(|v| f32::from(*v > 0)).collect();
    let all = vec![1.0; size];
    vec![
        [smooth.clone(), all.clone()],
        [smooth, free.clone()],
        [levels.clone(), all.clone()],
        [levels, free],
        [vec![0.0; size], all.clone()],
        [all.clone(), vec![0.0; size]],
    ]
}

#[test]
fn equals_a_sort() {
    for gpu in devices() {
        for [rows, cols] in [[1, 1], [1, 257], [7, 131], [64, 64], [300, 5], [2, 9001]] {
            for [v, free] in cases(rows * cols) {
                for scope in [Scope::Matrix, Scope::Row, Scope::ColumnBlock(1), Scope::ColumnBlock(4)] {
                    let size = match scope {
                        Scope::Matrix => rows * cols,
                        Scope::Row => cols,
                        Scope::ColumnBlock(width) => rows * width,
                    };
                    check(gpu, [rows, cols], &v, &free, scope, size / 3 + size % 2);
                }
            }
        }
    }
}

#[test]
fn extreme_counts_and_widths() {
    for gpu in devices() {
        for [v, free] in cases(35) {
            for scope in [
                Scope::Matrix,
                Scope::Row,
                Scope::ColumnBlock(7),
                Scope::ColumnBlock(100),
            ] {
                for count in [0, 1, 35, usize::MAX] {
                    check(gpu, [5, 7], &v, &free, scope, count);
                }
            }
        }
    }
}

#[test]
fn nan_and_denormals() {
    for gpu in devices() {
        let v = [f32::NAN, 1e-42, -1e-41, f32::INFINITY, 0.0, -f32::NAN, 1e-45, -0.0];
        for count in 0..9 {
            check(gpu, [2, 4], &v, &[1.0; 8], Scope::Matrix, count);
        }
    }
}

/// A binding smaller than the matrix and than the histograms: windows and parts.
#[test]
fn small_bindings() {
    let wanted = std::env::var("SECATEUR_TEST_ADAPTER").unwrap_or_else(|_| "0".to_string());
    let adapters = ["cpu".to_string(), wanted];
    for adapter in adapters.iter().filter(|name| *name != "none") {
        let gpu = open(adapter, Some(16 << 10));
        let size = [201, 64];
        for [v, free] in cases(size[0] * size[1]) {
            for (scope, count) in [(Scope::Matrix, 5000), (Scope::Row, 20), (Scope::ColumnBlock(24), 1000)] {
                check(&gpu, size, &v, &free, scope, count);
            }
        }
    }
}
