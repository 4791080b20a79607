//! Dual step and right-hand side of ADMM.

use num_traits::Float;

/// `u = ratio (z − d)`, `right = b + rho (d − u)`, `z = u`, elementwise.
pub fn admm_step<T: Float>([rho, ratio]: [T; 2], b: &[T], d: &[T], z: &mut [T], right: &mut [T]) {
    for i in 0..b.len() {
        let u = ratio * (z[i] - d[i]);
        right[i] = b[i] + rho * (d[i] - u);
        z[i] = u;
    }
}
