use secateur::gpu::{Gpu, Recording};
use secateur::ops::dense::{self, GramPart};
use secateur::ops::{DOUBLES, TILES, Variant};
use secateur::reference::dense::gemm::View;
use secateur::reference::dense::gram::gram;

use crate::common::{Data, assert_close, cooperative, devices, f64s, play, poisoned, subgroups, tensor};

/// Tokens, rows and columns.
const SIZES: [[usize; 3]; 5] = [[1, 1, 1], [64, 65, 65], [17, 130, 130], [2100, 33, 33], [50, 3, 70]];

fn check(variant: Variant, upper: bool, sizes: &[[usize; 3]]) {
    for gpu in devices() {
        check_on(gpu, variant, upper, sizes);
    }
}

fn check_on(gpu: &Gpu, variant: Variant, upper: bool, sizes: &[[usize; 3]]) {
    for &[tokens, rows, cols] in sizes {
        let rows = if upper { cols } else { rows };
        let mut data = Data::new(2);
        let (a, b) = (data.normal(tokens * (rows + 4)), data.normal(tokens * cols));
        let old = data.uniform(rows * cols);
        let (ta, tb) = (tensor(gpu, tokens, rows + 4, &a), tensor(gpu, tokens, cols, &b));
        let total = tensor(gpu, rows, cols, &old);
        let part = GramPart {
            a: &ta,
            a_col: 4,
            b: &tb,
            total: &total,
            upper,
        };
        play(gpu, |recording| dense::gram_with(recording, gpu, variant, &part));
        let found = total.fetch(gpu).unwrap();
        let mut wanted = f64s(&old);
        let a = f64s(&a);
        let view = View::new(&a, 4, rows + 4, 1);
        gram(
            [tokens, rows, cols],
            view,
            View::row_major(&f64s(&b), cols),
            upper,
            &mut wanted,
        );
        let what = format!("{} {} {tokens}x{rows}x{cols} upper {upper}", gpu.name(), variant.name());
        assert_close(
            &what,
            &found,
            &wanted,
            8.0 * f64::from(f32::EPSILON) * (tokens as f64).sqrt(),
        );
    }
}

#[test]
fn gram_and_cross_gram() {
    for kernel in [&dense::GRAM_TILED, &dense::GRAM_REGISTER] {
        check(Variant::of(kernel), false, &SIZES);
        check(Variant::of(kernel), true, &SIZES);
    }
}

/// Sums in parts side by side, on every device. Tokens: of one chunk, of two, of one and too few for parts, an odd number
/// that no number of parts divides.
#[test]
fn tokens_in_parts() {
    let sizes = [[515, 33, 65], [1037, 70, 66], [2100, 3, 33]];
    for gpu in devices() {
        let mut variants = vec![Variant::of(&dense::GRAM_TILED), Variant::of(&dense::GRAM_REGISTER)];
        variants.extend(Variant::subgroup(gpu, &dense::GRAM_SUBGROUP).first());
        // SwiftShader takes a third of a second per tile.
        let sizes = if gpu.name().contains("SwiftShader") {
            &sizes[..1]
        } else {
            &sizes[..]
        };
        for variant in variants {
            for parts in [3, 8, 16] {
                // Memory that a recording may get for the parts: what they do not write must not be read.
                drop(gpu.upload("spoilt", &vec![0xff; 32 << 20]).unwrap());
                for upper in [false, true] {
                    check_on(gpu, variant.in_parts(parts), upper, sizes);
                }
            }
        }
    }
}

/// Each chunk of enough tokens is two dispatches, the others are one.
#[test]
fn parts_are_taken_where_tokens_suffice() {
    for gpu in devices() {
        for (tokens, commands) in [(255, 1), (256, 2), (2048, 2), (2049, 3), (4096, 4)] {
            let [x, total] = [(tokens, 9), (9, 9)].map(|(rows, cols)| poisoned(gpu, rows, cols));
            let part = GramPart {
                a: &x,
                a_col: 0,
                b: &x,
                total: &total,
                upper: true,
            };
            let variant = Variant::of(&dense::GRAM_TILED).in_parts(8);
            let mut recording = Recording::new();
            dense::gram_with(&mut recording, gpu, variant, &part);
            assert_eq!(recording.len(), commands, "{tokens} tokens");
        }
    }
}

#[test]
fn in_subgroups() {
    for (gpu, variant) in subgroups("gram: in_subgroups", &dense::GRAM_SUBGROUP) {
        check_on(gpu, variant, false, &SIZES);
        check_on(gpu, variant, true, &SIZES);
    }
}

#[test]
fn on_cooperative_matrices() {
    for (gpu, variant) in cooperative("gram: on_cooperative_matrices", &dense::GRAM_COOPERATIVE) {
        check_on(gpu, variant, false, &SIZES);
        check_on(gpu, variant, true, &SIZES);
    }
}

/// Every tile that tuning may choose.
#[test]
fn every_tile() {
    for tile in TILES {
        let kernel = &dense::GRAM_TILED;
        check(Variant::new(kernel, tile), true, &SIZES[2..3]);
        check(Variant::new(kernel, tile), false, &SIZES[4..]);
    }
    for tile in DOUBLES {
        let variant = Variant::new(&dense::GRAM_DOUBLE, tile);
        check(variant, true, &SIZES[2..4]);
        check(variant, false, &SIZES[4..]);
    }
}
