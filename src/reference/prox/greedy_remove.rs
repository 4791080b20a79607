//! The weights of one block of columns that cost least together, found one by one.

use num_traits::Float;

/// What all rows share.
#[derive(Clone, Copy)]
pub struct InverseBlock<'a, T> {
    /// The block's rows of the Gram, each `cols` long.
    pub gram: &'a [T],
    /// Columns of the Gram.
    pub cols: usize,
    /// First column of the block.
    pub first: usize,
    /// Weights of a row to remove.
    pub count: usize,
}

/// One row of a block: `removed` gets w where it is removed, else 0. Each time the column with the least
/// `w_j² G_jj + 2 w_j (before_j + Σ_i removed_i G_ij)` goes, ties by lower index.
pub fn greedy_remove_row<T: Float>(block: &InverseBlock<'_, T>, w: &[T], before: &[T], removed: &mut [T]) {
    let row = |j: usize| &block.gram[j * block.cols + block.first..][..w.len()];
    let two = T::one() + T::one();
    let costs = w.iter().zip(before).enumerate();
    let mut cost: Vec<Option<T>> = costs
        .map(|(j, (w, before))| Some(*w * *w * row(j)[j] + two * *w * *before))
        .collect();
    removed.fill(T::zero());
    for _ in 0..block.count {
        let mut taken: Option<(usize, T)> = None;
        for (j, cost) in cost.iter().enumerate() {
            if let Some(cost) = *cost
                && taken.is_none_or(|(_, least)| cost < least)
            {
                taken = Some((j, cost));
            }
        }
        let Some((taken, _)) = taken else { return };
        removed[taken] = w[taken];
        for ((cost, w_j), gram) in cost.iter_mut().zip(w).zip(row(taken)) {
            *cost = cost.map(|cost| cost + two * *w_j * w[taken] * *gram);
        }
        cost[taken] = None;
    }
}
