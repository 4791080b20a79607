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
