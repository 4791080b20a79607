//! The best exchange of one channel between two groups of an N:M pattern.

use num_traits::Float;

/// Largest group.
pub const MOST: usize = 16;
/// Rows taken together, so that a compiler can see that they are alike.
const ROWS: usize = 16;

/// One number for each row of a block.
type RowBlock<T> = [T; ROWS];

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
    let [mut first, mut second] = [a, b].map(|group| vec![Seat::default(); group.len()]);
    for row in (0..rows).step_by(ROWS) {
        take_seats(keep, (a, row), &mut first, &mut kept);
        take_seats(keep, (b, row), &mut second, &mut kept);
        for (i, a) in first.iter().enumerate() {
            for (gain, b) in gains[i * size..].iter_mut().zip(&second) {
                for (r, gain) in gain.iter_mut().enumerate() {
                    let more =
                        (larger(b.value[r], a.rival[r]) - a.loss[r]) + (larger(a.value[r], b.rival[r]) - b.loss[r]);
                    *gain = *gain + more;
                }
            }
        }
    }
    let total = |block: &RowBlock<T>| block.iter().fold(T::zero(), |sum, v| sum + *v);
    let gains: Vec<T> = gains.iter().map(total).collect();
    let best = (1..size * size).fold(0, |best, i| if gains[i] > gains[best] { i } else { best });
    Swap {
        kept: total(&kept),
        gain: gains[best],
        members: [best / size, best % size],
    }
}

/// A member of a group in a block of rows.
#[derive(Clone, Copy)]
struct Seat<T> {
    /// Its energy; zero beyond the last row.
    value: RowBlock<T>,
    /// What is lost without it.
    loss: RowBlock<T>,
    /// What a newcomer in its place must exceed.
    rival: RowBlock<T>,
}

impl<T: Float> Default for Seat<T> {
    fn default() -> Self {
        let [value, loss, rival] = [[T::zero(); ROWS]; 3];
        Seat { value, loss, rival }
    }
}

/// Fills the seats of a group with the block that begins at a row, and adds what is kept.
fn take_seats<T: Float>(keep: usize, (group, row): (&[&[T]], usize), seats: &mut [Seat<T>], kept: &mut RowBlock<T>) {
    for (seat, channel) in seats.iter_mut().zip(group) {
        let part = &channel[row..channel.len().min(row + ROWS)];
        seat.value[part.len()..].fill(T::zero());
        seat.value[..part.len()].copy_from_slice(part);
        // For a while the losses are the energies, largest first.
        seat.loss = seat.value;
    }
    for last in (1..seats.len()).rev() {
        for i in 0..last {
            let (above, below) = seats.split_at_mut(i + 1);
            let (above, below) = (&mut above[i].loss, &mut below[0].loss);
            for r in 0..ROWS {
                (above[r], below[r]) = (larger(above[r], below[r]), smaller(above[r], below[r]));
            }
        }
    }
    let Some(low) = seats.get(keep).map(|seat| seat.loss) else {
        return;
    };
    let high = seats[keep - 1].loss;
    for seat in &seats[..keep] {
        kept.iter_mut().zip(&seat.loss).for_each(|(sum, v)| *sum = *sum + *v);
    }
    for seat in seats {
        for r in 0..ROWS {
            seat.loss[r] = larger(seat.value[r], high[r]);
            seat.rival[r] = if seat.value[r] >= high[r] { low[r] } else { high[r] };
        }
    }
}

fn larger<T: Float>(a: T, b: T) -> T {
    if a > b { a } else { b }
}

fn smaller<T: Float>(a: T, b: T) -> T {
    if a < b { a } else { b }
}
