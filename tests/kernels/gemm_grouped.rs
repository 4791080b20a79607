//! Products with one left operand: each as if it were alone.

use secateur::gpu::Gpu;
use secateur::ops::dense::{self, GemmGrouped, Layout};
use secateur::ops::{DOUBLES, Precision, TILES, Variant};
use secateur::reference::dense::gemm::View;
use secateur::reference::dense::gemm_grouped::gemm_grouped;
use secateur::tensor::{DType, Tensor};

use crate::common::{Data, assert_close, cooperative, devices, f64s, play, stored, subgroups, tensor};

/// Rows, inner and the columns of each product, around the edges of tiles.
const SIZES: [(usize, usize, &[usize]); 6] = [
    (1, 1, &[1, 1, 1]),
    (65, 17, &[64, 63, 65]),
    (63, 33, &[130, 5, 1]),
    (33, 300, &[1, 64]),
    (7, 64, &[129, 128]),
    (70, 9, &[66]),
];

fn check(gpu: &Gpu, (dtype, layout): (DType, Layout), variant: Variant, sizes: &[(usize, usize, &[usize])]) {
    // SwiftShader takes a third of a second per tile.
    let sizes = if gpu.name().contains("SwiftShader") {
        &sizes[..sizes.len().min(2)]
    } else {
        sizes
    };
    for &(rows, inner, cols) in sizes {
        let mut data = Data::new(1);
        let a = data.uniform(rows * inner);
        let operand = |cols: &usize| {
            let shape = match layout {
                Layout::NN => [inner, *cols],
                Layout::NT => [*cols, inner],
            };
            let (tensor, values) = stored(gpu, shape[0], shape[1], &data.uniform(inner * cols), dtype);
            (tensor, f64s(&values), shape[1])
        };
        let operands: Vec<_> = cols.iter().map(operand).collect();
        // A guard row must survive.
        let out = |cols: &usize| tensor(gpu, rows + 1, *cols, &vec![f32::NAN; (rows + 1) * cols]);
        let guarded: Vec<Tensor> = cols.iter().map(out).collect();
        let outs: Vec<Tensor> = guarded.iter().map(|out| out.row_window(0, rows)).collect();
        let a_tensor = tensor(gpu, rows, inner, &a);
        let call = GemmGrouped {
            a: &a_tensor,
            b: &operands.iter().map(|(tensor, ..)| tensor).collect::<Vec<_>>(),
            layout,
            outs: &outs.iter().collect::<Vec<_>>(),
            precision: Precision::Full,
        };
        play(gpu, |recording| {
            dense::gemm_grouped_with(recording, gpu, variant, &call).unwrap();
        });
        let view = |values, width| match layout {
            Layout::NN => View::row_major(values, width),
            Layout::NT => View::transposed(values, width),
        };
        let parts: Vec<_> = operands
            .iter()
            .zip(cols)
            .map(|((_, values, width), cols)| (view(values, *width), *cols))
            .collect();
        let wanted = gemm_grouped([rows, inner], &f64s(&a), &parts);
        for (part, (found, wanted)) in guarded.iter().zip(&wanted).enumerate() {
            let what = format!(
                "{} {} {dtype:?} {layout:?} {rows}x{cols:?}x{inner} part {part}",
                gpu.name(),
                variant.name()
            );
            let found = found.fetch(gpu).unwrap();
            let tolerance = 8.0 * f64::from(f32::EPSILON) * (inner as f64).sqrt();
            assert_close(&what, &found[..rows * cols[part]], wanted, tolerance);
            assert!(found[rows * cols[part]..].iter().all(|v| v.is_nan()), "{what}: guard");
        }
    }
}

#[test]
fn every_part_with_every_format_and_layout() {
    for gpu in devices() {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            for layout in [Layout::NN, Layout::NT] {
                for kernel in [&dense::GEMM_GROUPED_TILED, &dense::GEMM_GROUPED_REGISTER] {
                    check(gpu, (dtype, layout), Variant::of(kernel), &SIZES);
                }
            }
        }
    }
}

/// Cut where a watchdog would bark.
#[test]
fn in_blocks_of_rows() {
    for gpu in devices() {
        for kernel in [&dense::GEMM_GROUPED_TILED, &dense::GEMM_GROUPED_REGISTER] {
            let variant = Variant::of(kernel).at_most(1);
            check(gpu, (DType::F32, Layout::NN), variant, &[(200, 9, &[33, 5, 1])]);
        }
    }
}

#[test]
fn every_tile() {
    for gpu in devices() {
        for tile in TILES {
            let variant = Variant::new(&dense::GEMM_GROUPED_TILED, tile);
            check(gpu, (DType::BF16, Layout::NT), variant, &SIZES[1..3]);
        }
        for tile in DOUBLES {
            let variant = Variant::new(&dense::GEMM_GROUPED_DOUBLE, tile);
            check(gpu, (DType::F16, Layout::NN), variant, &SIZES[1..4]);
        }
    }
}

#[test]
fn in_subgroups() {
    let name = "gemm_grouped: in_subgroups";
    for (gpu, variant) in subgroups(name, &dense::GEMM_GROUPED_SUBGROUP) {
        for layout in [Layout::NN, Layout::NT] {
            check(gpu, (DType::F16, layout), variant, &SIZES[..4]);
        }
    }
}

#[test]
fn on_cooperative_matrices() {
    let name = "gemm_grouped: on_cooperative_matrices";
    for (gpu, variant) in cooperative(name, &dense::GEMM_GROUPED_COOPERATIVE) {
        for (dtype, layout) in [(DType::F32, Layout::NN), (DType::BF16, Layout::NT)] {
            check(gpu, (dtype, layout), variant, &SIZES);
        }
    }
}

/// Terms are added in the order of the single product.
#[test]
fn the_same_bits_as_alone() {
    for gpu in devices() {
        let [rows, inner] = [70, 129];
        let mut data = Data::new(2);
        let a = tensor(gpu, rows, inner, &data.normal(rows * inner));
        let b = [64, 9, 70].map(|cols| tensor(gpu, inner, cols, &data.normal(inner * cols)));
        let outs = [64, 9, 70].map(|cols| tensor(gpu, rows, cols, &vec![f32::NAN; rows * cols]));
        let call = GemmGrouped {
            a: &a,
            b: &b.each_ref(),
            layout: Layout::NN,
            outs: &outs.each_ref(),
            precision: Precision::Full,
        };
        play(gpu, |recording| dense::gemm_grouped(recording, gpu, &call).unwrap());
        for (b, out) in b.iter().zip(&outs) {
            let alone = tensor(gpu, rows, b.cols(), &vec![f32::NAN; rows * b.cols()]);
            let call = dense::Gemm::new(&a, b, Layout::NN, &alone);
            play(gpu, |recording| dense::gemm(recording, gpu, &call));
            let (found, wanted) = (out.fetch(gpu).unwrap(), alone.fetch(gpu).unwrap());
            if gpu.is_software() || gpu.is_host() {
                assert_eq!(found, wanted, "{}", gpu.name());
            } else {
                assert_close(gpu.name(), &found, &f64s(&wanted), 1e-4);
            }
        }
    }
}
