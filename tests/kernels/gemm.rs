use secateur::gpu::Gpu;
use secateur::ops::dense::{self, Gemm, Layout};
use secateur::ops::{DOUBLES, TILES, Tile, Variant};
use secateur::reference::dense::gemm::{Target, View, gemm};
use secateur::tensor::DType;

use crate::common::{Data, assert_close, cooperative, devices, f64s, play, stored, subgroups, tensor};

/// Sizes around a tile, a prime, a long thin one.
const SIZES: [[usize; 3]; 8] = [
    [1, 1, 1],
    [63, 64, 15],
    [64, 65, 16],
    [65, 63, 17],
    [7, 130, 33],
    [131, 5, 300],
    [1, 257, 64],
    [200, 1, 9],
];

fn check(dtype: DType, layout: Layout, variant: Variant, sizes: &[[usize; 3]]) {
    for gpu in devices() {
        check_on(gpu, (dtype, layout), variant, sizes);
    }
}

fn check_on(gpu: &Gpu, (dtype, layout): (DType, Layout), variant: Variant, sizes: &[[usize; 3]]) {
    // SwiftShader takes a third of a second per tile: the sizes that reach every edge are enough there.
    let sizes = if gpu.name().contains("SwiftShader") {
        &sizes[sizes.len() / 4..sizes.len().div_ceil(2)]
    } else {
        sizes
    };
    for &[rows, cols, inner] in sizes {
        let mut data = Data::new(1);
        let (a, b) = (data.uniform(rows * inner), data.uniform(inner * cols));
        let (b_rows, b_cols) = if layout == Layout::NN {
            (inner, cols)
        } else {
            (cols, inner)
        };
        let (b_tensor, b) = stored(gpu, b_rows, b_cols, &b, dtype);
        let a_tensor = tensor(gpu, rows, inner, &a);
        let old = data.uniform(rows * (cols + 3));
        let (a, b) = (f64s(&a), f64s(&b));
        let b_view = if layout == Layout::NN {
            View::row_major(&b, b_cols)
        } else {
            View::transposed(&b, b_cols)
        };
        for beta in [0.0, 0.5] {
            // Guard columns on both sides must survive; with beta 0 the old contents are NaN.
            let mut start = old.clone();
            if beta == 0.0 {
                for row in start.chunks_mut(cols + 3) {
                    row[2..2 + cols].fill(f32::NAN);
                }
            }
            let out = tensor(gpu, rows, cols + 3, &start);
            let call = Gemm {
                out_col: 2,
                alpha: -1.5,
                beta,
                ..Gemm::new(&a_tensor, &b_tensor, layout, &out)
            };
            play(gpu, |recording| dense::gemm_with(recording, variant, &call));
            let mut wanted = f64s(&old);
            let target = Target {
                start: 2,
                stride: cols + 3,
                alpha: -1.5,
                beta: f64::from(beta),
            };
            gemm(
                [rows, cols, inner],
                View::row_major(&a, inner),
                b_view,
                target,
                &mut wanted,
            );
            let what = format!("{} {dtype:?} {layout:?} {rows}x{cols}x{inner} beta {beta}", gpu.name());
            let tolerance = 8.0 * f64::from(f32::EPSILON) * (inner as f64).sqrt();
            assert_close(&what, &out.fetch(gpu).unwrap(), &wanted, tolerance);
        }
    }
}

#[test]
fn product_with_every_format_and_layout() {
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        for layout in [Layout::NN, Layout::NT] {
            for kernel in [&dense::GEMM_TILED, &dense::GEMM_REGISTER] {
                check(dtype, layout, Variant::of(kernel), &SIZES);
            }
        }
    }
}

/// Every tile that tuning may choose, with sizes around its own.
#[test]
fn every_tile() {
    let kernel = &dense::GEMM_TILED;
    for tile in TILES {
        let [rows, cols, depth] = [tile.rows, tile.cols, tile.depth].map(usize::from);
        let sizes = [[rows + 1, cols - 1, depth + 1], [rows - 1, cols + 1, 2 * depth - 1]];
        for (dtype, layout) in [(DType::F32, Layout::NN), (DType::BF16, Layout::NT)] {
            check(dtype, layout, Variant::new(kernel, tile), &sizes);
        }
    }
}

/// With two buffers, and sums of less than a step, of whole ones, and of one more.
#[test]
fn every_double_tile() {
    for tile in DOUBLES {
        let [rows, cols, depth] = [tile.rows, tile.cols, tile.depth].map(usize::from);
        let sizes = [
            [rows + 1, cols - 1, depth + 1],
            [rows - 1, cols + 1, 2 * depth],
            [1, 1, 1],
            [5, cols, 3 * depth - 1],
        ];
        for (dtype, layout) in [
            (DType::F32, Layout::NN),
            (DType::BF16, Layout::NT),
            (DType::F16, Layout::NN),
        ] {
            check(dtype, layout, Variant::new(&dense::GEMM_DOUBLE, tile), &sizes);
        }
    }
}

/// Sizes around a tile of 16 rows and each number of lanes.
const SUBGROUP_SIZES: [[usize; 3]; 6] = [
    [1, 1, 1],
    [15, 127, 31],
    [16, 128, 32],
    [17, 129, 33],
    [33, 257, 7],
    [131, 5, 300],
];

/// With lanes that hand a round.
#[test]
fn every_format_and_layout_in_subgroups() {
    let name = "gemm: every_format_and_layout_in_subgroups";
    for (gpu, variant) in subgroups(name, &dense::GEMM_SUBGROUP) {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            for layout in [Layout::NN, Layout::NT] {
                check_on(gpu, (dtype, layout), variant, &SUBGROUP_SIZES);
            }
        }
    }
}

/// Workgroups that no subgroup divides, or smaller than one.
#[test]
fn workgroups_that_do_not_fill_subgroups() {
    let name = "gemm: workgroups_that_do_not_fill_subgroups";
    for (gpu, _) in subgroups(name, &dense::GEMM_SUBGROUP).into_iter().take(1) {
        for lanes in [1, 2, 3, 12, 33] {
            let tile = Tile::new(16, 4 * lanes, 1);
            let variant = Variant::new(&dense::GEMM_SUBGROUP, tile);
            check_on(gpu, (DType::F32, Layout::NN), variant, &SUBGROUP_SIZES[..5]);
        }
    }
}

/// Terms are added in the same order, so tuning does not change results where products and sums are rounded apart.
#[test]
fn the_same_bits_whatever_the_tile() {
    let name = "gemm: the_same_bits_whatever_the_tile";
    let [rows, cols, inner] = [37, 150, 203];
    let doubles = devices()
        .iter()
        .flat_map(|gpu| DOUBLES.map(|tile| (gpu, Variant::new(&dense::GEMM_DOUBLE, tile))));
    for (gpu, variant) in subgroups(name, &dense::GEMM_SUBGROUP).into_iter().chain(doubles) {
        let mut data = Data::new(3);
        let (a, b) = (data.normal(rows * inner), data.normal(inner * cols));
        let (a, b) = (tensor(gpu, rows, inner, &a), tensor(gpu, inner, cols, &b));
        let product = |variant: Variant| {
            let out = tensor(gpu, rows, cols, &vec![f32::NAN; rows * cols]);
            let call = Gemm::new(&a, &b, Layout::NN, &out);
            play(gpu, |recording| dense::gemm_with(recording, variant, &call));
            out.fetch(gpu).unwrap()
        };
        let (found, wanted) = (product(variant), product(Variant::of(&dense::GEMM_TILED)));
        if gpu.is_software() {
            assert_eq!(found, wanted, "{} {}", gpu.name(), variant.name());
        } else {
            let tolerance = 8.0 * f64::from(f32::EPSILON) * (inner as f64).sqrt();
            assert_close(&variant.name(), &found, &f64s(&wanted), tolerance);
        }
    }
}

/// The same epilogue after cooperative matrices.
#[test]
fn every_format_and_layout_on_cooperative_matrices() {
    let name = "gemm: every_format_and_layout_on_cooperative_matrices";
    for (gpu, variant) in cooperative(name, &dense::GEMM_COOPERATIVE) {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            for layout in [Layout::NN, Layout::NT] {
                check_on(gpu, (dtype, layout), variant, &SIZES);
            }
        }
    }
}

/// A product with some columns of b leaves out the rest of it, on both sides of the sums.
#[test]
fn columns_of_b() {
    for gpu in devices() {
        for (dtype, layout, kernel) in [
            (DType::F32, Layout::NN, &dense::GEMM_TILED),
            (DType::F32, Layout::NN, &dense::GEMM_REGISTER),
            (DType::BF16, Layout::NN, &dense::GEMM_TILED),
            (DType::F32, Layout::NT, &dense::GEMM_TILED),
            (DType::F16, Layout::NT, &dense::GEMM_REGISTER),
        ] {
            for [rows, b_rows, b_cols, b_col] in [[1, 1, 2, 1], [5, 33, 70, 3], [67, 9, 131, 66], [3, 4, 8, 8]] {
                let used = b_cols - b_col;
                let (cols, inner) = if layout == Layout::NN {
                    (used, b_rows)
                } else {
                    (b_rows, used)
                };
                let mut data = Data::new(2);
                let (a, mut b) = (data.uniform(rows * inner), data.uniform(b_rows * b_cols));
                for row in b.chunks_mut(b_cols) {
                    row[..b_col].fill(f32::NAN);
                }
                let old = data.uniform(rows * (cols + 1));
                let (b_tensor, b) = stored(gpu, b_rows, b_cols, &b, dtype);
                let (a_tensor, out) = (tensor(gpu, rows, inner, &a), tensor(gpu, rows, cols + 1, &old));
                let call = Gemm {
                    b_col,
                    out_col: 1,
                    ..Gemm::new(&a_tensor, &b_tensor, layout, &out).add()
                };
                play(gpu, |recording| dense::gemm_with(recording, kernel, &call));
                let mut wanted = f64s(&old);
                for r in 0..rows {
                    for c in 0..cols {
                        let b = |k: usize| match layout {
                            Layout::NN => b[k * b_cols + b_col + c],
                            Layout::NT => b[c * b_cols + b_col + k],
                        };
                        wanted[r * (cols + 1) + 1 + c] += (0..inner)
                            .map(|k| f64::from(a[r * inner + k]) * f64::from(b(k)))
                            .sum::<f64>();
                    }
                }
                let what = format!("{} {dtype:?} {layout:?} columns {b_col}.. of {b_cols}", gpu.name());
                let tolerance = 8.0 * f64::from(f32::EPSILON) * (inner.max(1) as f64).sqrt();
                assert_close(&what, &out.fetch(gpu).unwrap(), &wanted, tolerance);
            }
        }
    }
}
