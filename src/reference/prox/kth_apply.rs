//! Keeps what reaches the threshold of its segment.

use super::kth_histogram::{Segments, magnitude};

/// One row of the window: out = kept bits or 0, support = 1 or 0.
pub fn kth_apply_row(
    cut: &Segments,
    row: usize,
    v: &[u32],
    free: &[f32],
    state: &[u32],
    (out, support): (&mut [u32], &mut [f32]),
) {
    let (block, line) = (row / cut.height, row % cut.height);
    let reversed = (cut.last - cut.base - line * cut.width) as u32;
    for side in 0..cut.across() {
        let segment = block * cut.across() + side;
        let state = &state[4 * segment..][..3];
        let (_, cols) = cut.line(segment, line);
        let reads = v[cols.clone()].iter().zip(&free[cols.clone()]);
        let writes = out[cols.clone()].iter_mut().zip(&mut support[cols]);
        for (i, ((v, free), (out, support))) in reads.zip(writes).enumerate() {
            let (key, index) = (magnitude(*v), reversed - i as u32);
            // No short cuts: the loop has no branch.
            let reached = (key > state[0]) | ((key == state[0]) & (index >= state[1]));
            let kept = u32::from(reached & (state[2] > 0) & (*free != 0.0));
            *out = *v & kept.wrapping_neg();
            *support = kept as f32;
        }
    }
}
