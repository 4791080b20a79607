//! An exponential for f32 that compilers turn into vector code; softmax and its relatives spend their time there.

/// Sums and maxima kept side by side so that loops become vector code.
const WIDE: usize = 16;

/// Compiles a loop twice, as it stands and for AVX2, and chooses when it runs. Both give the same bits: only the number
/// of elements per instruction differs.
macro_rules! widest {
    ($(#[$meta:meta])* pub fn $name:ident($($arg:ident: $kind:ty),*) $(-> $out:ty)? $body:block) => {
        $(#[$meta])*
        pub fn $name($($arg: $kind),*) $(-> $out)? {
            #[inline(always)]
            fn plain($($arg: $kind),*) $(-> $out)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn wide($($arg: $kind),*) $(-> $out)? {
                    plain($($arg),*)
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has what `wide` is compiled for.
                    return unsafe { wide($($arg),*) };
                }
            }
            plain($($arg),*)
        }
    };
}
pub(super) use widest;

/// `exp(x)` for `x <= 0` within about 2 ulp; 0 below the smallest normal number, NaN for NaN.
///
/// Splits x = n ln 2 + r with |r| <= ln 2 / 2 (n by adding 1.5 * 2^23, which leaves the rounded integer in the low
/// bits), sums Taylor's series of exp(r) to r^7 (remainder 5e-9) and writes n into the exponent.
#[inline(always)]
pub fn exp_negative(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4; // 355 / 512: few bits, so its product with n is exact
    const LN2_LOW: f32 = -2.121_944_4e-4;
    const LOWEST: f32 = -87.0;
    let clamped = if x < LOWEST { LOWEST } else { x };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (clamped - n * LN2_HIGH) - n * LN2_LOW;
    let mut series = 1.0 / 5040.0;
    for factor in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = series * r + factor;
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    if x < LOWEST { 0.0 } else { series * power }
}

widest! {
    /// Largest value; NaN is passed over.
    pub fn largest(values: &[f32]) -> f32 {
        let mut best = [f32::NEG_INFINITY; WIDE];
        let (parts, rest) = values.as_chunks::<WIDE>();
        for part in parts {
            for i in 0..WIDE {
                best[i] = if part[i] > best[i] { part[i] } else { best[i] };
            }
        }
        rest.iter().chain(&best).fold(f32::NEG_INFINITY, |a, b| a.max(*b))
    }
}

widest! {
    /// Replaces each value by `exp(value - top)` and returns the sum.
    pub fn exp_in_place(values: &mut [f32], top: f32) -> f32 {
        let mut sums = [0.0; WIDE];
        let (parts, rest) = values.as_chunks_mut::<WIDE>();
        for part in parts {
            for i in 0..WIDE {
                part[i] = exp_negative(part[i] - top);
                sums[i] += part[i];
            }
        }
        for (value, sum) in rest.iter_mut().zip(&mut sums) {
            *value = exp_negative(*value - top);
            *sum += *value;
        }
        sums.into_iter().sum()
    }
}

widest! {
    /// Sum of `exp(value - top)`.
    pub fn exp_sum(values: &[f32], top: f32) -> f32 {
        let mut sums = [0.0; WIDE];
        let (parts, rest) = values.as_chunks::<WIDE>();
        for part in parts {
            for i in 0..WIDE {
                sums[i] += exp_negative(part[i] - top);
            }
        }
        for (value, sum) in rest.iter().zip(&mut sums) {
            *sum += exp_negative(*value - top);
        }
        sums.into_iter().sum()
    }
}

widest! {
    /// Sums of `exp(p - top)` and of `exp(p - top) * (p - q)`; p and q have one length.
    pub fn exp_cross(p: &[f32], q: &[f32], top: f32) -> (f32, f32) {
        let (mut sums, mut crosses) = ([0.0; WIDE], [0.0; WIDE]);
        let ((p_parts, p_rest), (q_parts, q_rest)) = (p.as_chunks::<WIDE>(), q.as_chunks::<WIDE>());
        for (p, q) in p_parts.iter().zip(q_parts) {
            for i in 0..WIDE {
                let weight = exp_negative(p[i] - top);
                sums[i] += weight;
                crosses[i] += weight * (p[i] - q[i]);
            }
        }
        for (i, (p, q)) in p_rest.iter().zip(q_rest).enumerate() {
            let weight = exp_negative(*p - top);
            sums[i] += weight;
            crosses[i] += weight * (*p - *q);
        }
        (sums.into_iter().sum(), crosses.into_iter().sum())
    }
}
