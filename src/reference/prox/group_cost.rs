//! Cost of bringing a group of weights to N:M.

use num_traits::Float;

/// Sum of the costs of a group without its `keep` largest among the weights that are not zero (ties: lower index), and
/// whether more than `keep` of them are not zero.
pub fn group_cost<T: Float>(costs: &[T], w: &[T], keep: usize) -> (T, bool) {
    let mut sum = T::zero();
    for (j, cost) in costs.iter().enumerate() {
        let beats = |(k, other): &(usize, &T)| !w[*k].is_zero() && (*other > cost || (*other == cost && *k < j));
        if w[j].is_zero() || costs.iter().enumerate().filter(beats).count() >= keep {
            sum = sum + *cost;
        }
    }
    (sum, w.iter().filter(|w| !w.is_zero()).count() > keep)
}
