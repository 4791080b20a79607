//! The product of `coop_tile`: each operand as two halves, scaled by powers of two, in f64 otherwise.

use half::f16;

use super::gemm::View;

/// How many rows, columns and terms share a scale, and whether b is one half only.
#[derive(Clone, Copy)]
pub struct Split {
    /// Rows and columns of a tile.
    pub tile: usize,
    /// Terms of a step.
    pub depth: usize,
    /// b holds at most 11 bits of precision.
    pub short: bool,
}

/// `a b` with `[rows, cols, inner] = shape`, exact but for the splitting.
pub fn product(shape: [usize; 3], a: View<'_, f32>, b: View<'_, f32>, split: Split) -> Vec<f64> {
    let [rows, cols, inner] = shape;
    let mut out = vec![0.0; rows * cols];
    for row in (0..rows).step_by(split.tile) {
        for col in (0..cols).step_by(split.tile) {
            for k in (0..inner).step_by(split.depth) {
                let lengths = [rows - row, cols - col].map(|left| left.min(split.tile));
                let depth = split.depth.min(inner - k);
                let a = halves([lengths[0], depth], |r, i| a.at(row + r, k + i), false);
                let b = halves([lengths[1], depth], |c, i| b.at(k + i, col + c), split.short);
                for r in 0..lengths[0] {
                    for c in 0..lengths[1] {
                        let [left, right] = [&a[r * depth..][..depth], &b[c * depth..][..depth]];
                        let terms = left.iter().zip(right).map(|(a, b)| times(*a, *b));
                        out[(row + r) * cols + col + c] += terms.sum::<f64>();
                    }
                }
            }
        }
    }
    out
}

/// `(high + low)(high + low)` without `low low`.
fn times(a: [f64; 2], b: [f64; 2]) -> f64 {
    a[0] * b[0] + (a[0] * b[1] + a[1] * b[0])
}

/// High and low term of every element of a tile, at the scale of the element.
fn halves([lines, depth]: [usize; 2], at: impl Fn(usize, usize) -> f32, short: bool) -> Vec<[f64; 2]> {
    let values: Vec<f32> = (0..lines * depth).map(|i| at(i / depth, i % depth)).collect();
    let finite = values.iter().map(|value| value.abs()).filter(|value| value.is_finite());
    let peak = finite.fold(0.0f32, f32::max);
    // Scaled, the largest lies in 2^14 .. 2^15; what is below 2^-112 is as small as it is.
    let exponent = 14 - (f64::from(peak).max(2f64.powi(-112)).log2().floor() as i32);
    let scale = 2f64.powi(exponent);
    let split = |value: &f32| {
        let scaled = f64::from(*value) * scale;
        let is_small = !short && scaled.abs() < 2f64.powi(-14);
        let high = if is_small { 0.0 } else { f16::from_f64(scaled).to_f64() };
        let low = f16::from_f64((scaled - high) * 2048.0).to_f64() / 2048.0;
        [high / scale, if short { 0.0 } else { low / scale }]
    };
    values.iter().map(split).collect()
}
