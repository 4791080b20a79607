//! The best exchange of one channel between two groups of an N:M pattern.

use num_traits::Float;

/// Largest group.
pub const MOST: usize = 16;

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
    let mut gains = [T::zero(); MOST * MOST];
    let mut kept = T::zero();
    for row in 0..rows {
        let [a, b] = [a, b].map(|group| {
            let mut seats = Seats::new();
            group.iter().for_each(|channel| seats.add(channel[row]));
            kept = kept + seats.close(keep);
            seats
        });
        if b.count == 0 {
            continue;
        }
        for i in 0..size {
            for j in 0..size {
                let gain = b.values[j].max(a.rival[i]) - a.loss[i] + a.values[i].max(b.rival[j]) - b.loss[j];
                gains[i * size + j] = gains[i * size + j] + gain;
            }
        }
    }
    let mut best = 0;
    for (swap, gain) in gains[..size * size].iter().enumerate() {
        if *gain > gains[best] {
            best = swap;
        }
    }
    Swap {
        kept,
        gain: gains[best],
        members: [best / size, best % size],
    }
}

/// The energies of a group in one row.
struct Seats<T> {
    values: [T; MOST],
    count: usize,
    /// What is lost without each of them.
    loss: [T; MOST],
    /// What a newcomer in its place must exceed.
    rival: [T; MOST],
}

impl<T: Float> Seats<T> {
    fn new() -> Self {
        let zeros = [T::zero(); MOST];
        Seats {
            values: zeros,
            count: 0,
            loss: zeros,
            rival: zeros,
        }
    }

    fn add(&mut self, value: T) {
        self.values[self.count] = value;
        self.count += 1;
    }

    /// Finds losses and rivals; returns what is kept.
    fn close(&mut self, keep: usize) -> T {
        let mut sorted = self.values;
        for i in 1..self.count {
            let mut j = i;
            while j > 0 && sorted[j] > sorted[j - 1] {
                sorted.swap(j, j - 1);
                j -= 1;
            }
        }
        let (high, low) = (sorted[keep - 1], sorted[keep]);
        for i in 0..self.count {
            let value = self.values[i];
            self.loss[i] = value.max(high);
            self.rival[i] = if value >= high { low } else { high };
        }
        sorted[..keep.min(self.count)].iter().fold(T::zero(), |sum, v| sum + *v)
    }
}
