//! Projection on N:M sparsity.

use num_traits::Float;

/// Keeps the `keep` largest `|v|` among the free elements of one group, ties by lower index; support is 0 or 1.
pub fn project_group<T: Float>(keep: usize, v: &[T], free: &[T], out: &mut [T], support: &mut [T]) {
    for i in 0..v.len() {
        // NaN counts as larger than any number.
        let beats = |j: usize| {
            let (mine, other) = (v[i].abs(), v[j].abs());
            let equal = mine == other || (mine.is_nan() && other.is_nan());
            free[j] != T::zero() && (other > mine || (other.is_nan() && !mine.is_nan()) || (equal && j < i))
        };
        let kept = free[i] != T::zero() && (0..v.len()).filter(|&j| beats(j)).count() < keep;
        (out[i], support[i]) = if kept { (v[i], T::one()) } else { (T::zero(), T::zero()) };
    }
}

/// [`project_group`] on every `group` consecutive elements.
pub fn project_nm<T: Float>(keep: usize, group: usize, v: &[T], free: &[T], out: &mut [T], support: &mut [T]) {
    for at in (0..v.len()).step_by(group) {
        let at = at..at + group;
        let (out, support) = (&mut out[at.clone()], &mut support[at.clone()]);
        project_group(keep, &v[at.clone()], &free[at], out, support);
    }
}

/// Groups that are ranked side by side, so that a compiler can keep them in vectors.
const LANES: usize = 16;

/// [`project_nm`] in f32, bit for bit, with the groups of a block ranked side by side.
pub fn project_nm_fast(keep: usize, group: usize, v: &[f32], free: &[f32], out: &mut [f32], support: &mut [f32]) {
    let rank_blocks = match group {
        4 => ranked::<4>,
        8 => ranked::<8>,
        _ => return project_nm(keep, group, v, free, out, support),
    };
    let whole = v.len() / (LANES * group) * (LANES * group);
    let (out, out_rest) = out.split_at_mut(whole);
    let (support, support_rest) = support.split_at_mut(whole);
    rank_blocks(keep, &v[..whole], &free[..whole], out, support);
    project_nm(keep, group, &v[whole..], &free[whole..], out_rest, support_rest);
}

/// Whole blocks of `LANES` groups of `M`.
fn ranked<const M: usize>(keep: usize, v: &[f32], free: &[f32], out: &mut [f32], support: &mut [f32]) {
    /// Larger than any number, the same for every NaN.
    const NAN: u32 = 0x7f80_0001;
    let reads = v.chunks_exact(LANES * M).zip(free.chunks_exact(LANES * M));
    let writes = out.chunks_exact_mut(LANES * M).zip(support.chunks_exact_mut(LANES * M));
    for ((v, free), (out, support)) in reads.zip(writes) {
        // Magnitudes order as the integers of their bits; 0 is not free.
        let mut keys = [[0i32; LANES]; M];
        for (i, (v, free)) in v.iter().zip(free).enumerate() {
            let key = (v.to_bits() & 0x7fff_ffff).min(NAN) as i32 + 1;
            keys[i % M][i / M] = if *free == 0.0 { 0 } else { key };
        }
        let mut kept = [[0u32; LANES]; M];
        for i in 0..M {
            let mut ahead = [0i32; LANES];
            for j in 0..M {
                for lane in 0..LANES {
                    let (mine, other) = (keys[i][lane], keys[j][lane]);
                    ahead[lane] += i32::from(if j < i { other >= mine } else { other > mine });
                }
            }
            for lane in 0..LANES {
                let chosen = (ahead[lane] < keep as i32) & (keys[i][lane] > 0);
                kept[i][lane] = if chosen { u32::MAX } else { 0 };
            }
        }
        for (i, (out, support)) in out.iter_mut().zip(support).enumerate() {
            let mask = kept[i % M][i / M];
            *out = f32::from_bits(v[i].to_bits() & mask);
            *support = f32::from_bits(1f32.to_bits() & mask);
        }
    }
}
