//! Matrix with at most two of every four weights along a row times a vector.

use num_traits::Float;

use super::gemv::pairwise;

/// Groups whose places are in one word.
pub const GROUPS_PER_WORD: usize = 8;

/// The two weights of every four that are kept, and where they are: two bits each, the first in the lower ones.
pub struct Packed<T> {
    /// `[rows, cols / 2]`.
    pub values: Vec<T>,
    /// `[rows, words]`: four bits per group of four, [`GROUPS_PER_WORD`] to a word, the first lowest.
    pub places: Vec<u32>,
}

/// Words of places of a row of `cols`.
pub fn words(cols: usize) -> usize {
    (cols / 4).div_ceil(GROUPS_PER_WORD)
}

/// Packs rows of `cols` weights, a multiple of 4; the row and group where more than two are not zero, if that is so.
pub fn pack<T: Float>(weights: &[T], cols: usize) -> Result<Packed<T>, [usize; 2]> {
    let mut packed = Packed {
        values: Vec::with_capacity(weights.len() / 2),
        places: Vec::with_capacity(weights.len() / cols * words(cols)),
    };
    for (row, line) in weights.chunks(cols).enumerate() {
        let mut nibbles = Vec::with_capacity(cols / 4);
        for (number, group) in line.chunks(4).enumerate() {
            let mut kept: Vec<usize> = (0..4).filter(|i| group[*i] != T::zero()).collect();
            if kept.len() > 2 {
                return Err([row, number]);
            }
            // Zeros fill up what is missing.
            let spare = (0..4).filter(|i| group[*i] == T::zero()).take(2 - kept.len());
            kept.extend(spare.collect::<Vec<_>>());
            packed.values.extend([group[kept[0]], group[kept[1]]]);
            nibbles.push((kept[0] | kept[1] << 2) as u32);
        }
        let word = |nibbles: &[u32]| nibbles.iter().rev().fold(0, |word, nibble| word << 4 | nibble);
        packed.places.extend(nibbles.chunks(GROUPS_PER_WORD).map(word));
    }
    Ok(packed)
}

/// `values · x` of a row, in the order of the kernel.
pub fn dot<T: Float>(values: &[T], places: &[u32], x: &[T]) -> T {
    pairwise(values.len() / 2, |group| {
        let place = (places[group / GROUPS_PER_WORD] >> (4 * (group % GROUPS_PER_WORD))) as usize;
        let [first, second] = [place & 3, place >> 2 & 3].map(|p| x[4 * group + p]);
        values[2 * group] * first + values[2 * group + 1] * second
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_what_is_there() {
        let row = [0.0, 5.0, 0.0, 6.0, 7.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        let packed = pack(&row, 12).unwrap();
        assert_eq!(packed.values, [5.0, 6.0, 7.0, 0.0, 0.0, 0.0]);
        assert_eq!(packed.places, [1 | 3 << 2 | 1 << 6 | 1 << 10]);
        let x: Vec<f64> = (1..=12).map(f64::from).collect();
        assert_eq!(
            dot(&packed.values, &packed.places, &x),
            5.0 * 2.0 + 6.0 * 4.0 + 7.0 * 5.0
        );
        assert_eq!(pack(&[0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 3.0, 0.0], 8).err(), Some([0, 1]));
        assert_eq!(words(4 * 9), 2);
    }
}
