//! Chains of multiplications and additions on registers: what a processor can do at most.

use num_traits::Float;

/// Chains of a lane.
pub const CHAINS: usize = 32;
/// Steps of a round.
pub const STEPS: usize = 4;

/// `out[i]` = sum of 32 chains after `4 rounds` steps `c = c factor + step`, chain j beginning at `(i mod 64 + j) / 64`.
pub fn fma<T: Float>(first: usize, rounds: usize, [factor, step]: [T; 2], out: &mut [T]) {
    let number = |n: usize| T::from(n).expect("a small number");
    for (i, out) in (first..).zip(out) {
        *out = T::zero();
        for chain in 0..CHAINS {
            let mut value = number(i % 64 + chain) / number(64);
            for _ in 0..STEPS * rounds {
                value = value * factor + step;
            }
            *out = *out + value;
        }
    }
}

/// The same in f32 with the widest fused instructions this processor has, on the calling thread.
pub fn fma_fast(first: usize, rounds: usize, factors: [f32; 2], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has what the function is compiled for.
            return unsafe { x86::lanes_512(first, rounds, factors, out) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: as above.
            return unsafe { x86::lanes_256(first, rounds, factors, out) };
        }
    }
    plain(first, rounds, factors, out);
}

/// All chains of a lane as one array, which compilers keep in vectors.
fn plain(first: usize, rounds: usize, [factor, step]: [f32; 2], out: &mut [f32]) {
    for (i, out) in (first..).zip(out) {
        let mut chains = start(i);
        for _ in 0..STEPS * rounds {
            for chain in &mut chains {
                // Fused only where that is one instruction of the processor this is compiled for.
                *chain = if cfg!(target_arch = "aarch64") {
                    chain.mul_add(factor, step)
                } else {
                    *chain * factor + step
                };
            }
        }
        *out = chains.iter().sum();
    }
}

fn start(lane: usize) -> [f32; CHAINS] {
    std::array::from_fn(|chain| (lane % 64 + chain) as f32 / 64.0)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{CHAINS, STEPS, start};

    /// Defines a function that takes `$lanes` lanes at once, their chains in `$vectors` registers of `$width` numbers: more than
    /// the latency of the instruction times the number of units, so that none waits for another.
    macro_rules! lanes {
        ($name:ident, $features:literal, $width:literal, $lanes:literal, $load:ident, $set:ident, $fma:ident, $store:ident) => {
            #[target_feature(enable = $features)]
            pub(super) unsafe fn $name(first: usize, rounds: usize, [factor, step]: [f32; 2], out: &mut [f32]) {
                const VECTORS: usize = CHAINS / $width * $lanes;
                for (i, out) in out.chunks_mut($lanes).enumerate() {
                    let lanes: [[f32; CHAINS]; $lanes] = std::array::from_fn(|lane| start(first + i * $lanes + lane));
                    let mut numbers = [0.0f32; CHAINS * $lanes];
                    numbers.copy_from_slice(lanes.as_flattened());
                    let (factor, step) = ($set(factor), $set(step));
                    // SAFETY: every vector lies within `numbers`.
                    let mut chains: [_; VECTORS] =
                        std::array::from_fn(|v| unsafe { $load(numbers.as_ptr().add(v * $width)) });
                    for _ in 0..STEPS * rounds {
                        for chain in &mut chains {
                            *chain = $fma(*chain, factor, step);
                        }
                    }
                    for (v, chain) in chains.into_iter().enumerate() {
                        // SAFETY: as above.
                        unsafe { $store(numbers.as_mut_ptr().add(v * $width), chain) };
                    }
                    for (out, chains) in out.iter_mut().zip(numbers.chunks(CHAINS)) {
                        *out = chains.iter().sum();
                    }
                }
            }
        };
    }

    lanes!(
        lanes_512,
        "avx512f",
        16,
        8,
        _mm512_loadu_ps,
        _mm512_set1_ps,
        _mm512_fmadd_ps,
        _mm512_storeu_ps
    );
    lanes!(
        lanes_256,
        "avx2,fma",
        8,
        3,
        _mm256_loadu_ps,
        _mm256_set1_ps,
        _mm256_fmadd_ps,
        _mm256_storeu_ps
    );
}
