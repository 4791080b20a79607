//! Targets drawn from the model's own distribution. With them the mean of `g gᵀ` is the Fisher information itself; with the
//! tokens of the text, the empirical Fisher. Host code on logits of the device: one pass for the softmax of every row, one
//! for the place where the cumulated probabilities pass a random number. The number hangs on seed, sequence and position
//! alone.

use std::ops::Range;

use crate::gpu::Recording;
use crate::model::head::portions;
use crate::model::{Activations, Decoder, ModelError};
use crate::ops::nn;

/// Token of one position on its way.
struct Draw {
    /// Largest logit.
    largest: f32,
    /// What is left of the random number, times the sum of `exp(logit − largest)`.
    left: f64,
    /// The last token of any probability so far, for when rounding leaves something over.
    last: u32,
    token: Option<u32>,
}

impl Draw {
    /// Takes the logits of the tokens from `first` on.
    fn pass(&mut self, first: usize, logits: &[f32]) {
        if self.token.is_some() {
            return;
        }
        for (i, logit) in logits.iter().enumerate() {
            let weight = f64::from((logit - self.largest).exp());
            if weight > 0.0 {
                self.last = (first + i) as u32;
            }
            self.left -= weight;
            if self.left < 0.0 {
                self.token = Some(self.last);
                return;
            }
        }
    }
}

impl Decoder<'_> {
    /// A target for every position but the last of each sequence, drawn from the distribution that `leaving`, the stream
    /// that leaves the last layer, gives its next token. The same `seed` draws the same, whatever the batches. Where logits are
    /// not finite the token means nothing; [`Decoder::loss_gradient`] skips such a sequence.
    pub fn sample_targets(&self, leaving: &Activations, seed: u64) -> Result<Vec<Vec<u32>>, ModelError> {
        let mut out = Vec::new();
        for portion in portions(self.gpu, leaving) {
            self.sample_portion(leaving, portion, seed, &mut out)?;
        }
        Ok(out)
    }

    fn sample_portion(
        &self,
        leaving: &Activations,
        portion: Range<usize>,
        seed: u64,
        out: &mut Vec<Vec<u32>>,
    ) -> Result<(), ModelError> {
        let rows = self.prepare(leaving, portion, 4)?;
        // No targets yet: only the softmax is wanted.
        let most = rows.iter().map(|row| row.hidden.rows()).max().unwrap_or(0);
        let nothing = self
            .gpu
            .upload("target ids", bytemuck::cast_slice(&vec![u32::MAX; most]))?;
        self.for_each_tile(&rows, |first, weight| {
            for row in &rows {
                let mut recording = Recording::new();
                let logits = self.logits(&mut recording, row, weight)?;
                nn::cross_entropy(
                    &mut recording,
                    &logits,
                    &nothing.window(0, 4 * row.hidden.rows() as u64),
                    first,
                    &row.state,
                );
                self.gpu.submit(recording)?;
            }
            Ok(())
        })?;
        let sequence = leaving.sequence;
        let mut position = out.len() * sequence;
        let mut draws = Vec::with_capacity(rows.len());
        for row in &rows {
            let state = row.state.fetch(self.gpu)?;
            let draw = |(i, s): (usize, &[f32])| Draw {
                largest: s[0],
                left: uniform(seed, (position + i) as u64) * f64::from(s[1]),
                last: 0,
                token: None,
            };
            draws.push(state.chunks(4).enumerate().map(draw).collect::<Vec<_>>());
            position += row.hidden.rows();
        }
        self.for_each_tile(&rows, |first, weight| {
            for (row, draws) in rows.iter().zip(&mut draws) {
                let mut recording = Recording::new();
                let logits = self.logits(&mut recording, row, weight)?;
                let id = recording.read(&logits.slice());
                let values = self.gpu.submit(recording)?.floats(id)?;
                let lines = values.chunks(weight.outputs());
                draws
                    .iter_mut()
                    .zip(lines)
                    .for_each(|(draw, logits)| draw.pass(first, logits));
            }
            Ok(())
        })?;
        out.extend(targets(&draws, sequence));
        Ok(())
    }
}

/// Batches of draws as sequences of targets.
fn targets(batches: &[Vec<Draw>], length: usize) -> impl Iterator<Item = Vec<u32>> {
    let target = move |(i, draw): (usize, &Draw)| match i + 1 == length {
        true => u32::MAX,
        false => draw.token.unwrap_or(draw.last),
    };
    let sequences = batches.iter().flat_map(move |batch| batch.chunks(length));
    sequences.map(move |draws| draws.iter().enumerate().map(target).collect())
}

/// A number in 0..1 for a position: two rounds of SplitMix64 (Steele et al. 2014).
fn uniform(seed: u64, position: u64) -> f64 {
    let mixed = mix(mix(seed).wrapping_add(position.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frequencies of what is drawn, over two tiles, against the probabilities: within five standard deviations.
    #[test]
    fn tokens_come_up_as_often_as_they_are_likely() {
        let logits = [0.5_f32, -1.0, 2.0, f32::NEG_INFINITY, 0.0, 1.5, -3.0];
        let sum: f64 = logits.iter().map(|l| f64::from((l - 2.0).exp())).sum();
        let (count, mut found) = (40_000, [0_u32; 7]);
        for position in 0..count {
            let mut draw = Draw {
                largest: 2.0,
                left: uniform(3, position) * sum,
                last: 0,
                token: None,
            };
            draw.pass(0, &logits[..4]);
            draw.pass(4, &logits[4..]);
            found[draw.token.unwrap_or(draw.last) as usize] += 1;
        }
        for (logit, found) in logits.iter().zip(found) {
            let p = f64::from((logit - 2.0).exp()) / sum;
            let deviation = (count as f64 * p * (1.0 - p)).sqrt();
            let off = f64::from(found) - count as f64 * p;
            assert!(off.abs() <= 5.0 * deviation, "{logit}: {found}, {off} off");
        }
    }

    /// Rounding may leave something over: the last token that can come up is taken.
    #[test]
    fn what_is_left_over() {
        let mut draw = Draw {
            largest: 0.0,
            left: 2.5,
            last: 0,
            token: None,
        };
        draw.pass(0, &[0.0, f32::NEG_INFINITY]);
        draw.pass(2, &[0.0, f32::NEG_INFINITY]);
        assert_eq!((draw.token, draw.last), (None, 2));
    }

    #[test]
    fn numbers_differ_by_seed_and_position() {
        let of = |seed| (0..100).map(|i| uniform(seed, i)).collect::<Vec<f64>>();
        assert_ne!(of(0), of(1));
        let mean = of(0).iter().sum::<f64>() / 100.0;
        assert!((mean - 0.5).abs() < 0.15, "{mean}");
    }
}
