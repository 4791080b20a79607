//! Counts of costs by their leading bits; works on bits, as the kernel does.

/// Number of bins: 8 bits of the exponent and 8 of the mantissa.
pub const COST_BINS: usize = 1 << 16;

/// Bin of a cost that is not negative.
pub fn cost_bin(bits: u32) -> usize {
    ((bits & 0x7fff_ffff) >> 15) as usize
}

/// The least cost of a bin.
pub fn cost_of_bin(bin: usize) -> f32 {
    f32::from_bits((bin as u32) << 15)
}

/// `histogram[bin of cost] += 1` for the elements whose `w` is not zero.
pub fn cost_histogram(cost: &[u32], w: &[f32], histogram: &mut [u32]) {
    for (cost, _) in cost.iter().zip(w).filter(|(_, w)| **w != 0.0) {
        histogram[cost_bin(*cost)] += 1;
    }
}
