//! An order of the inputs under which an N:M pattern costs least (after RIA, Zhang et al. 2024).
//!
//! Groups of M consecutive inputs keep N each, so it matters which inputs share a group. The energies `v²` of the
//! unstructured solution at the pattern's sparsity (scaled coordinates, [`Admm::brief`]) say what is worth keeping;
//! wanted is the order whose groups keep most of it. The search starts from the better of the present order and RIA's
//! deal (inputs by falling energy, dealt to the groups back and forth), and exchanges single inputs between random pairs
//! of groups as long as that gains. Published is a linear assignment on scores of the dense weight; swaps on these
//! energies gain more.
//!
//! A permutation costs nothing where another linear writes the inputs: its outputs are put in the same order.

use super::{Admm, InputStatistics, LayerProblem, Pattern, PruneError, Scope};
use crate::gpu::{Gpu, Recording, Slice};
use crate::ops::dense::{self, RowReduce};
use crate::ops::nn;
use crate::ops::prox::{self, PermuteSwap};
use crate::tensor::{PanelMatrix, Tensor};

/// Rounds between two looks at the gain.
const ROUNDS: usize = 64;
/// Looks at most.
const LOOKS: usize = 16;
/// The search ends when the rounds between two looks gain less than this share of what is kept.
const LITTLE: f64 = 1e-4;
/// Seed of the pairs.
const SEED: u64 = 0x5eca_7e05;

/// Whether inputs are permuted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
#[serde(rename_all = "lowercase")]
pub enum Permute {
    /// With N:M patterns and ADMM, where it helps reliably.
    #[default]
    Auto,
    /// With any layer-wise method.
    On,
    /// Never.
    Off,
}

impl Permute {
    /// Whether inputs are permuted under a pattern; `by_default` says whether the method does so.
    pub fn applies(self, pattern: Pattern, by_default: bool) -> bool {
        let chosen = match self {
            Permute::Auto => by_default,
            Permute::On => true,
            Permute::Off => false,
        };
        chosen && matches!(pattern, Pattern::NM { .. })
    }
}

/// Which inputs of a linear may change places: those of a segment, the same way in all copies of it. Input
/// `(segment * copies + copy) * width + i` is channel `segment * width + i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// Parts between which nothing moves.
    pub segments: usize,
    /// Parts of the inputs that one segment serves: the query heads of a key/value head.
    pub copies: usize,
    /// Channels of a segment.
    pub width: usize,
}

impl Channels {
    /// All inputs may change places.
    pub fn all(width: usize) -> Self {
        let (segments, copies) = (1, 1);
        Channels {
            segments,
            copies,
            width,
        }
    }

    /// For an order of the channels, that of the inputs.
    fn inputs(&self, channels: &[u32]) -> Vec<u32> {
        let mut inputs = Vec::with_capacity(channels.len() * self.copies);
        for (segment, channels) in channels.chunks(self.width).enumerate() {
            for copy in 0..self.copies {
                let start = segment * self.copies + copy;
                inputs.extend(
                    channels
                        .iter()
                        .map(|c| c % self.width as u32 + (start * self.width) as u32),
                );
            }
        }
        inputs
    }
}

/// An order of the inputs of a linear.
#[derive(Clone, Debug)]
pub struct Permutation {
    /// The channel at each place: the order of the outputs that become these inputs.
    pub channels: Vec<u32>,
    /// The input at each place.
    pub inputs: Vec<u32>,
    /// Share of the energy that the pattern keeps: before and after.
    pub kept: [f64; 2],
}

impl Permutation {
    /// Finds one for `weight` (row-major f32 `[rows, cols]`) under an N:M pattern; none if none is better than the order
    /// there is. The same on every run; on another device it may be another of about the same worth.
    pub fn find(
        gpu: &Gpu,
        inputs: &InputStatistics,
        shape: [usize; 2],
        weight: &[f32],
        (pattern, channels): (Pattern, Channels),
    ) -> Result<Option<Self>, PruneError> {
        let Pattern::NM { n, m } = pattern else {
            panic!("only groups can be permuted")
        };
        assert_eq!(
            channels.segments * channels.copies * channels.width,
            shape[1],
            "channels"
        );
        if !channels.width.is_multiple_of(m) {
            return Ok(None);
        }
        let energy = energies(gpu, inputs, shape, weight, (pattern, channels))?;
        Search::new(gpu, &energy, [n, m], channels).run()
    }

    /// Rows of elements of `size` bytes with the columns in this order.
    pub fn gather(&self, rows: &[u8], size: usize) -> Vec<u8> {
        let rows = rows.chunks_exact(self.inputs.len() * size);
        rows.flat_map(|row| self.inputs.iter().flat_map(|i| &row[*i as usize * size..][..size]))
            .copied()
            .collect()
    }
}

/// Squares of the unstructured solution, `[channels, copies * rows]`.
fn energies(
    gpu: &Gpu,
    inputs: &InputStatistics,
    shape @ [rows, cols]: [usize; 2],
    weight: &[f32],
    (pattern, channels): (Pattern, Channels),
) -> Result<Tensor, PruneError> {
    let free = Pattern::unstructured(pattern.sparsity(), Scope::Matrix)?;
    let solution = {
        let problem = LayerProblem::new(gpu, inputs, shape, weight, free)?;
        Admm::brief().kept(gpu, &problem)?
    };
    let (squares, turned) = (
        Tensor::empty(gpu, "energies", rows, cols)?,
        Tensor::empty(gpu, "energies by input", cols, rows)?,
    );
    let mut recording = Recording::new();
    recording.copy(&solution.slice(), &squares.slice());
    dense::multiply(&mut recording, &solution, &squares);
    dense::transpose(&mut recording, &squares, &turned);
    let Channels {
        segments,
        copies,
        width,
    } = channels;
    if copies > 1 {
        // The copies of a channel one after the other.
        let input = |i: usize| (i / (width * copies) * copies + i % copies) * width + i / copies % width;
        let order: Vec<u32> = (0..cols).map(|i| input(i) as u32).collect();
        nn::embed(
            &mut recording,
            &upload(gpu, "copies", &order)?,
            &turned,
            0,
            &squares.reshaped(cols, rows),
        );
        gpu.submit(recording)?;
        return Ok(squares.reshaped(segments * width, copies * rows));
    }
    gpu.submit(recording)?;
    Ok(turned)
}

fn upload(gpu: &Gpu, label: &str, numbers: &[u32]) -> Result<Slice, PruneError> {
    Ok(gpu.upload(label, bytemuck::cast_slice(numbers))?.slice())
}

/// A search for the order of channels.
struct Search<'a> {
    gpu: &'a Gpu,
    energy: &'a Tensor,
    pattern: [usize; 2],
    channels: Channels,
    random: Random,
}

impl<'a> Search<'a> {
    fn new(gpu: &'a Gpu, energy: &'a Tensor, pattern: [usize; 2], channels: Channels) -> Self {
        Search {
            gpu,
            energy,
            pattern,
            channels,
            random: Random(SEED),
        }
    }

    fn run(mut self) -> Result<Option<Permutation>, PruneError> {
        let rows = self.sums()?;
        let total: f64 = rows.iter().map(|v| f64::from(*v)).sum();
        let present: Vec<u32> = (0..self.energy.rows() as u32).collect();
        let before = self.kept(&present)?;
        let dealt = deal(&rows, self.pattern[1], self.channels);
        let dealt_keeps = self.kept(&dealt)?;
        let mut kept = before.max(dealt_keeps);
        let order = upload(self.gpu, "order", if dealt_keeps > before { &dealt } else { &present })?;
        for _ in 0..LOOKS {
            let gained = self.rounds(&order)?;
            kept += gained;
            if gained <= LITTLE * kept {
                break;
            }
        }
        if kept.is_nan() || kept <= before {
            return Ok(None);
        }
        let mut channels = self.gpu.fetch(&order)?;
        tidy(&mut channels, self.pattern[1], self.channels.width);
        // What was gained in many steps, summed up once.
        let after = self.kept(&channels)?;
        Ok((after > before).then(|| Permutation {
            inputs: self.channels.inputs(&channels),
            channels,
            kept: [before, after].map(|kept| kept / total),
        }))
    }

    /// Energy of each channel.
    fn sums(&self) -> Result<Vec<f32>, PruneError> {
        let sums = Tensor::empty(self.gpu, "channel energies", 1, self.energy.rows())?;
        let mut recording = Recording::new();
        dense::row_reduce(&mut recording, RowReduce::AbsSum, self.energy, self.energy, &sums);
        let id = recording.read(&sums.slice());
        Ok(self.gpu.submit(recording)?.floats(id)?)
    }

    /// What an order keeps.
    fn kept(&mut self, order: &[u32]) -> Result<f64, PruneError> {
        let pairs = self.random.matching(order.len() / self.pattern[1], 1);
        let order = upload(self.gpu, "order", order)?;
        Ok(self.play(&order, &pairs, 1, false)?[0])
    }

    /// Some rounds of exchanges; returns what they gain.
    fn rounds(&mut self, order: &Slice) -> Result<f64, PruneError> {
        let groups = self.energy.rows() / self.pattern[1];
        let pairs: Vec<u32> = (0..ROUNDS)
            .flat_map(|_| self.random.matching(groups, self.channels.segments))
            .collect();
        Ok(self.play(order, &pairs, ROUNDS, true)?[1])
    }

    /// Plays rounds of equally many pairs; returns what the first kept before and what all gained.
    fn play(&self, order: &Slice, pairs: &[u32], rounds: usize, swaps: bool) -> Result<[f64; 2], PruneError> {
        let count = pairs.len() / 2 / rounds;
        let pairs = upload(self.gpu, "pairs", pairs)?;
        let mut recording = Recording::new();
        let mut ids = Vec::new();
        for round in 0..rounds {
            let sums = Tensor::empty(self.gpu, "sums of pairs", 2, count)?;
            let call = PermuteSwap {
                energy: self.energy,
                pattern: self.pattern,
                pairs: &pairs,
                first: round * count,
                swaps,
            };
            prox::permute_swap(&mut recording, &call, order, &sums);
            ids.push(recording.read(&sums.slice()));
        }
        let done = self.gpu.submit(recording)?;
        let mut result = [0.0; 2];
        for (round, id) in ids.into_iter().enumerate() {
            let sums = done.floats(id)?;
            let total = |part: &[f32]| part.iter().map(|v| f64::from(*v)).sum::<f64>();
            if round == 0 {
                result[0] = total(&sums[..count]);
            }
            result[1] += total(&sums[count..]);
        }
        Ok(result)
    }
}

/// RIA's deal: channels by falling energy, to the groups of their segment and back.
fn deal(energies: &[f32], size: usize, channels: Channels) -> Vec<u32> {
    let (width, groups) = (channels.width, channels.width / size);
    let mut order = vec![0; energies.len()];
    for segment in 0..channels.segments {
        let first = segment * width;
        let mut sorted: Vec<usize> = (first..first + width).collect();
        sorted.sort_by(|a, b| energies[*b].total_cmp(&energies[*a]).then(a.cmp(b)));
        for (i, channel) in sorted.into_iter().enumerate() {
            let (turn, at) = (i / groups, i % groups);
            let group = if turn % 2 == 0 { at } else { groups - 1 - at };
            order[first + group * size + turn] = channel as u32;
        }
    }
    order
}

/// Orders the members of each group, and the groups of each segment: what a group keeps does not depend on it.
fn tidy(order: &mut [u32], size: usize, width: usize) {
    for segment in order.chunks_mut(width) {
        segment.chunks_mut(size).for_each(<[u32]>::sort_unstable);
        let mut groups: Vec<Vec<u32>> = segment.chunks(size).map(<[u32]>::to_vec).collect();
        groups.sort_unstable();
        segment.copy_from_slice(&groups.concat());
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Groups in random pairs within their segment; one that is left over is paired with itself.
    fn matching(&mut self, groups: usize, segments: usize) -> Vec<u32> {
        let mut pairs = Vec::with_capacity(groups + segments);
        for segment in 0..segments {
            let (first, end) = (segment * groups / segments, (segment + 1) * groups / segments);
            let mut order: Vec<u32> = (first as u32..end as u32).collect();
            for i in (1..order.len()).rev() {
                order.swap(i, (self.next() % (i as u64 + 1)) as usize);
            }
            if order.len() % 2 == 1 {
                order.push(order[order.len() - 1]);
            }
            pairs.extend(order);
        }
        pairs
    }
}

impl InputStatistics {
    /// The same for inputs in another order.
    pub fn permuted(self, gpu: &Gpu, order: &[u32]) -> Result<Self, PruneError> {
        let ids = upload(gpu, "order", order)?;
        let square = |matrix: PanelMatrix| -> Result<PanelMatrix, PruneError> {
            let out = matrix.empty_like(gpu, "permuted")?;
            let mut recording = Recording::new();
            dense::permute(&mut recording, &ids, &matrix, &out);
            gpu.submit(recording)?;
            Ok(out)
        };
        let row = |tensor: &Tensor| -> Result<Tensor, PruneError> {
            let values = tensor.fetch(gpu)?;
            let values: Vec<f32> = order.iter().map(|i| values[*i as usize]).collect();
            Ok(Tensor::upload(gpu, tensor.label(), 1, values.len(), &values)?)
        };
        self.reordered(square, row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_move_together() {
        let channels = Channels {
            segments: 2,
            copies: 2,
            width: 2,
        };
        assert_eq!(channels.inputs(&[1, 0, 2, 3]), [1, 0, 3, 2, 4, 5, 6, 7]);
    }

    #[test]
    fn dealt_back_and_forth() {
        let energies = [1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0];
        assert_eq!(deal(&energies, 4, Channels::all(8)), [1, 7, 6, 0, 3, 5, 4, 2]);
    }

    #[test]
    fn every_group_has_one_partner() {
        let mut random = Random(1);
        for (groups, segments) in [(1, 1), (7, 1), (8, 1), (12, 4), (6, 2)] {
            let pairs = random.matching(groups, segments);
            let mut seen: Vec<u32> = pairs.clone();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen, (0..groups as u32).collect::<Vec<_>>());
            let width = (groups / segments) as u32;
            assert!(pairs.chunks(2).all(|p| p[0] / width == p[1] / width), "{pairs:?}");
        }
    }
}
