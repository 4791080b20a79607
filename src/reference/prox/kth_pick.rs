//! Chooses the next digit of the threshold from a histogram.

/// For one segment: the digit that holds the element of rank `state[2]` (1 is the largest), which goes into the state;
/// the rank becomes the rank inside that digit. `start` gives the first rank, capped by the number of elements; 0 keeps
/// nothing. The bins are cleared for the next digit.
pub fn kth_pick(start: Option<u32>, by_index: bool, shift: u32, bins: &mut [u32], state: &mut [u32]) {
    if let Some(count) = start {
        state[..4].copy_from_slice(&[0, 0, count.min(bins.iter().sum()), 0]);
    }
    if state[2] > 0 {
        for (digit, count) in bins.iter().enumerate().rev() {
            if *count >= state[2] {
                state[usize::from(by_index)] |= (digit as u32) << shift;
                break;
            }
            state[2] -= count;
        }
    }
    bins.fill(0);
}
