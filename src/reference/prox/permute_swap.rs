//! The best exchange of one channel between two groups of an N:M pattern.

use num_traits::Float;

/// Largest group.
pub const MOST: usize = 16;
/// Rows taken together, so that a compiler can see that they are alike.
const ROWS: usize = 16;

/// One number for each row of a block.
type Block<T> = [T; ROWS];

/// What two groups keep, and the exchange that adds most to it.
#[derive(Clone, Copy, Debug)]
pub struct Swap<T> {
    /// Sum over all rows of the `keep` largest energies of both groups.
    pub kept: T,
    /// What the exchange adds to it.
    pub gain: T,
    /// Member of each group.
    pub members: [usize; 2],
}

/// Tries every exchange of a channel of `a` for one of `b`; a channel is its energy in every row. Ties go to the lower
/// member of `a`, then of `b`.
///
/// With `h` the `keep`-th largest energy of a group and `l` the next, the group without v and with w keeps
/// `max(w, v >= h ? l : h) - max(v, h)` more. An empty `b` has nothing to exchange.
pub fn permute_swap<T: Float>(keep: usize, a: &[&[T]], b: &[&[T]]) -> Swap<T> {
    let (size, rows) = (a.len(), a[0].len());
    let mut gains = vec![[T::zero(); ROWS]; size * size];
    let mut kept = [T::zero(); ROWS];
    for first in (0..rows).step_by(ROWS) {
        let [a, b] = [a, b].map(|group| Seats::of(group, first));
        let [losses_a, losses_b] = [(&a, keep), (&b, keep)].map(|(seats, keep)| seats.exchange(keep, &mut kept));
        for (i, (mine, (loss, rival))) in a.values[..a.count].iter().zip(&losses_a).enumerate() {
            for (j, (other, (loss_b, rival_b))) in b.values[..b.count].iter().zip(&losses_b).enumerate() {
                let gain = &mut gains[i * size + j];
                for r in 0..ROWS {
                    let more = larger(other[r], rival[r]) - loss[r] + larger(mine[r], rival_b[r]) - loss_b[r];
                    gain[r] = gain[r] + more;
                }
            }
        }
    }
    let total = |block: &Block<T>| block.iter().fold(T::zero(), |sum, v| sum + *v);
    let gains: Vec<T> = gains.iter().map(total).collect();
    let best = (1..size * size).fold(0, |best, i| if gains[i] > gains[best] { i } else { best });
    Swap {
        kept: total(&kept),
        gain: gains[best],
        members: [best / size, best % size],
    }
}

fn larger<T: Float>(a: T, b: T) -> T {
    if a > b { a } else { b }
}

/// The energies of a group in a block of rows; zero beyond the last.
struct Seats<T> {
    values: [Block<T>; MOST],
    count: usize,
}

impl<T: Float> Seats<T> {
    fn of(group: &[&[T]], first: usize) -> Self {
        let mut values = [[T::zero(); ROWS]; MOST];
        for (block, channel) in values.iter_mut().zip(group) {
            let part = &channel[first..channel.len().min(first + ROWS)];
            block[..part.len()].copy_from_slice(part);
        }
        let count = group.len();
        Seats { values, count }
    }

    /// What is lost without each member, and what a newcomer in its place must exceed. Adds what is kept.
    fn exchange(&self, keep: usize, kept: &mut Block<T>) -> Vec<(Block<T>, Block<T>)> {
        if self.count == 0 {
            return Vec::new();
        }
        let mut sorted = self.values;
        for i in 1..self.count {
            for j in (1..=i).rev() {
                let (above, below) = sorted.split_at_mut(j);
                for (a, b) in above[j - 1].iter_mut().zip(&mut below[0]) {
                    (*a, *b) = if *b > *a { (*b, *a) } else { (*a, *b) };
                }
            }
        }
        for block in &sorted[..keep] {
            kept.iter_mut().zip(block).for_each(|(sum, v)| *sum = *sum + *v);
        }
        let (high, low) = (&sorted[keep - 1], &sorted[keep]);
        let member = |values: &Block<T>| {
            let loss = std::array::from_fn(|r| larger(values[r], high[r]));
            let rival = std::array::from_fn(|r| if values[r] >= high[r] { low[r] } else { high[r] });
            (loss, rival)
        };
        self.values[..self.count].iter().map(member).collect()
    }
}
