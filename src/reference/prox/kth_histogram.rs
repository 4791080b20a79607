//! Counts of one digit of the keys, per segment of a matrix.

use rayon::prelude::*;

/// Digits have 8 bits.
pub const BINS: usize = 256;

/// How a window of rows of a matrix is cut into segments, each a block of `height` x `width` elements (the last one
/// across may be narrower). Element e of a segment is at row `e / width`, column `e % width` of it.
#[derive(Clone, Copy, Debug)]
pub struct Segments {
    /// Columns of the matrix.
    pub cols: usize,
    /// Rows of a segment inside the window.
    pub height: usize,
    /// Columns of a segment.
    pub width: usize,
    /// Number of segments that the window touches.
    pub count: usize,
    /// Index inside its segment of the first element of the window (a segment may start in an earlier window).
    pub base: usize,
    /// Largest index inside a whole segment.
    pub last: usize,
}

impl Segments {
    /// Number of segments side by side.
    pub fn across(&self) -> usize {
        self.cols.div_ceil(self.width)
    }

    /// Row of the window and columns of line `line` of segment `segment`.
    pub fn line(&self, segment: usize, line: usize) -> (usize, std::ops::Range<usize>) {
        let first = segment % self.across() * self.width;
        let row = segment / self.across() * self.height + line;
        (row, first..self.cols.min(first + self.width))
    }
}

/// Which digit of the key: of the magnitude, or of the reversed index among equal magnitudes.
#[derive(Clone, Copy, Debug)]
pub struct Digit {
    /// 0: magnitude; 1: reversed index.
    pub by_index: bool,
    /// Lowest bit.
    pub shift: u32,
}

impl Digit {
    /// The bits above the digit.
    pub fn above(&self) -> u32 {
        // Shifts of 32 and more give 0.
        ((u64::from(u32::MAX) << (self.shift + 8)) & u64::from(u32::MAX)) as u32
    }
}

/// Order of magnitudes: the bits of f32 without the sign; NaN is largest.
pub fn magnitude(bits: u32) -> u32 {
    bits << 1
}

/// Adds to `histogram[segment][digit]` the free elements whose higher digits equal the state's.
/// `state` is `[segments, 4]`: magnitude, reversed index, rank, unused.
pub fn kth_histogram(cut: &Segments, digit: Digit, v: &[u32], free: &[f32], state: &[u32], histogram: &mut [u32]) {
    /// Elements of one task.
    const TASK: usize = 1 << 16;
    let lines = (TASK / cut.width).max(1);
    let each = histogram.par_chunks_mut(BINS).take(cut.count).enumerate();
    each.for_each(|(segment, bins)| {
        let state = &state[4 * segment..4 * segment + 2];
        let count = |first: usize| {
            let mut bins = [0u32; BINS];
            for line in first..cut.height.min(first + lines) {
                count_line(cut, digit, [segment, line], [v, state], free, &mut bins);
            }
            bins
        };
        if cut.height <= lines {
            add(bins, &count(0));
        } else {
            let starts = (0..cut.height.div_ceil(lines)).into_par_iter();
            let total = starts.map(|i| count(i * lines)).reduce(
                || [0; BINS],
                |mut a, b| {
                    add(&mut a, &b);
                    a
                },
            );
            add(bins, &total);
        }
    });
}

fn add(total: &mut [u32], part: &[u32; BINS]) {
    for (total, part) in total.iter_mut().zip(part) {
        *total += part;
    }
}

fn count_line(
    cut: &Segments,
    digit: Digit,
    [segment, line]: [usize; 2],
    [v, state]: [&[u32]; 2],
    free: &[f32],
    bins: &mut [u32; BINS],
) {
    let (row, cols) = cut.line(segment, line);
    let at = row * cut.cols + cols.start..row * cut.cols + cols.end;
    let above = digit.above();
    let reversed = (cut.last - cut.base - line * cut.width) as u32;
    for (i, (bits, free)) in v[at.clone()].iter().zip(&free[at]).enumerate() {
        let key = magnitude(*bits);
        if *free == 0.0 || (digit.by_index && key != state[0]) {
            continue;
        }
        let (key, known) = if digit.by_index {
            (reversed - i as u32, state[1])
        } else {
            (key, state[0])
        };
        if (key ^ known) & above == 0 {
            bins[(key >> digit.shift) as usize % BINS] += 1;
        }
    }
}
