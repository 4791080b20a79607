//! CPython's `random`, as far as `randint` needs it, so that a seed picks the samples it picks in published work.

use rand_mt::Mt;

/// The generator behind `random.seed(seed)` with a whole number, since Python 3.2.
pub struct CpythonRandom(Mt);

impl CpythonRandom {
    /// `random.seed(seed)`.
    pub fn new(seed: u64) -> Self {
        // CPython passes the number's 32-bit words, lowest first, without leading zeros but never none.
        let (low, high) = (seed as u32, (seed >> 32) as u32);
        let words = if high == 0 { vec![low] } else { vec![low, high] };
        CpythonRandom(Mt::new_with_key(words))
    }

    /// `random.getrandbits(bits)`, for at most 64 bits.
    pub fn bits(&mut self, bits: u32) -> u64 {
        let mut word = |bits: u32| u64::from(self.0.next_u32() >> (32 - bits));
        match bits {
            0 => 0,
            1..=32 => word(bits),
            33..=64 => word(32) | word(bits - 32) << 32,
            _ => panic!("{bits} bits do not fit in 64"),
        }
    }

    /// `random.randint(0, limit - 1)`: uniform over `0..limit`. `limit` must not be 0.
    pub fn below(&mut self, limit: usize) -> usize {
        assert!(limit > 0, "nothing lies below 0");
        let bits = usize::BITS - limit.leading_zeros();
        // Rejection, bit for bit as CPython does it: even a limit of 1 draws until it hits 0.
        loop {
            let drawn = self.bits(bits) as usize;
            if drawn < limit {
                return drawn;
            }
        }
    }
}
