//! Residual streams of all sequences between layers: in memory up to a budget, in a temporary file beyond it.
//!
//! A stream is written once per layer and read a few times, in order, a batch of whole sequences at a time; so the
//! first batches stay in memory and the others in the file, whichever batch is in use.

mod ahead;
mod saved;
mod spill;

use std::path::PathBuf;

use rayon::prelude::*;

use super::ModelError;
use super::lanes::lanes;
use crate::gpu::Gpu;
use crate::tensor::{DType, Tensor};
pub use ahead::Ahead;
pub use spill::ActivationError;
use spill::SpillFile;

/// Rows of activations that go through a layer at once: enough for a fast product, few enough for a small GPU.
const BATCH_ROWS: usize = 2048;
/// Values that one thread encodes or decodes at a time.
const PIECE: usize = 1 << 16;

/// How activations are kept between layers.
#[derive(Clone, Debug)]
pub struct ActivationOptions {
    /// Element type they are rounded to; half types take half the memory and leave 8 (bf16) or 11 (f16) bits of precision.
    pub dtype: DType,
    /// Bytes kept in memory at most; `None` keeps all there.
    pub ram_budget: Option<u64>,
    /// Where the temporary file for the rest goes; needed only if there is a rest. Best on a disk, not in memory.
    pub spill_dir: PathBuf,
    /// Rows of a batch at most, but a batch always has at least one sequence; see [`batch_rows`].
    pub rows: usize,
}

impl Default for ActivationOptions {
    fn default() -> Self {
        ActivationOptions {
            dtype: DType::F32,
            ram_budget: None,
            spill_dir: std::env::temp_dir(),
            rows: BATCH_ROWS,
        }
    }
}

impl ActivationOptions {
    /// Sequences per batch for sequences of `sequence` tokens.
    pub fn sequences_per_batch(&self, sequence: usize) -> usize {
        (self.rows / sequence.max(1)).max(1)
    }
}

/// Rows of a batch: whole sequences of `sequence` tokens, at most `wanted` rows, and so few that its widest activation
/// (rows x `widest` x 4 bytes, `widest` = max(ffn, hidden, heads x head_dim)) fits a binding of `binding` bytes.
///
/// At least one sequence, also where that alone is too much: then the device's own error says so.
pub fn batch_rows(widest: usize, sequence: usize, binding: u64, wanted: usize) -> usize {
    let fitting = usize::try_from(binding / (4 * widest.max(1) as u64)).unwrap_or(usize::MAX);
    let sequence = sequence.max(1);
    (fitting.min(wanted) / sequence).max(1) * sequence
}

/// Where a batch is.
pub(crate) enum Place {
    Memory(Vec<u8>),
    /// Byte in the spill file.
    File(u64),
}

/// Residual streams of sequences of equal length, `[rows, hidden]` per batch of whole sequences.
pub struct Activations {
    pub(crate) batches: Vec<Place>,
    /// Tokens per sequence.
    pub sequence: usize,
    /// Width of a row.
    pub hidden: usize,
    sequences: usize,
    options: ActivationOptions,
    spill: Option<SpillFile>,
    saturated: u64,
}

impl Activations {
    /// Zeros for `sequences` sequences of `sequence` tokens; memory and disk are taken as batches are written.
    pub fn new(
        sequences: usize,
        sequence: usize,
        hidden: usize,
        options: &ActivationOptions,
    ) -> Result<Self, ActivationError> {
        let mut out = Activations {
            batches: Vec::new(),
            sequence,
            hidden,
            sequences,
            options: options.clone(),
            spill: None,
            saturated: 0,
        };
        let (mut memory, mut file) = (0, 0);
        for batch in 0..sequences.div_ceil(out.per_batch()) {
            let bytes = out.batch_bytes(batch);
            // Once one batch is in the file all later ones are: the file is then read from end to end.
            let fits = options.ram_budget.is_none_or(|budget| memory + bytes as u64 <= budget);
            out.batches.push(if fits && file == 0 {
                memory += bytes as u64;
                Place::Memory(vec![0; bytes])
            } else {
                file += bytes as u64;
                Place::File(file - bytes as u64)
            });
        }
        if file > 0 {
            out.spill = Some(SpillFile::create(&options.spill_dir, file)?);
        }
        Ok(out)
    }

    /// Zeros of the same sizes, kept in the same way; with a budget of memory of their own.
    pub fn empty_like(&self) -> Result<Self, ActivationError> {
        Self::new(self.sequences, self.sequence, self.hidden, &self.options)
    }

    /// Sequences per batch for sequences of `sequence` tokens, under the default limit of rows.
    pub fn sequences_per_batch(sequence: usize) -> usize {
        ActivationOptions::default().sequences_per_batch(sequence)
    }

    /// Sequences of every batch but the last, which may have fewer.
    pub fn per_batch(&self) -> usize {
        self.options.sequences_per_batch(self.sequence)
    }

    /// Number of batches.
    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    /// Rows of a batch.
    pub fn rows(&self, batch: usize) -> usize {
        self.per_batch().min(self.sequences - batch * self.per_batch()) * self.sequence
    }

    /// Tokens in all.
    pub fn tokens(&self) -> usize {
        self.sequences * self.sequence
    }

    /// How they are kept.
    pub fn options(&self) -> &ActivationOptions {
        &self.options
    }

    /// How often a finite value was beyond the element type's range and was stored as its largest number, so far.
    pub fn saturated(&self) -> u64 {
        self.saturated
    }

    /// Bytes in memory.
    pub fn ram_bytes(&self) -> u64 {
        self.total_bytes() - self.file_bytes()
    }

    /// Bytes in the spill file.
    pub fn file_bytes(&self) -> u64 {
        self.spill.as_ref().map_or(0, SpillFile::bytes)
    }

    /// The values of a batch as they were rounded, row-major.
    pub fn read(&self, batch: usize) -> Result<Vec<f32>, ActivationError> {
        let dtype = self.options.dtype;
        self.with_bytes(batch, |bytes| decode(dtype, bytes))
    }

    /// Rounds and keeps the values of a batch. Panics on a wrong number of them.
    pub fn write(&mut self, batch: usize, values: &[f32]) -> Result<(), ActivationError> {
        self.write_parts(batch, &[values])
    }

    /// The same where the values come in parts, one after another.
    pub(super) fn write_parts(&mut self, batch: usize, parts: &[impl AsRef<[f32]>]) -> Result<(), ActivationError> {
        let count: usize = parts.iter().map(|part| part.as_ref().len()).sum();
        assert_eq!(count, self.rows(batch) * self.hidden, "values of batch {batch}");
        let dtype = self.options.dtype;
        let mut at = 0;
        for values in parts.iter().map(AsRef::as_ref) {
            let size = values.len() * dtype.size();
            match &mut self.batches[batch] {
                Place::Memory(bytes) => self.saturated += encode(dtype, values, &mut bytes[at..at + size]),
                Place::File(offset) => {
                    let mut bytes = vec![0; size];
                    self.saturated += encode(dtype, values, &mut bytes);
                    let spill = self.spill.as_ref().expect("a batch in the file has a file");
                    spill.write(*offset + at as u64, &bytes)?;
                }
            }
            at += size;
        }
        Ok(())
    }

    /// One batch on the device, `[rows, hidden]` f32.
    pub fn upload(&self, gpu: &Gpu, batch: usize) -> Result<Tensor, ModelError> {
        let (label, rows, cols) = ("residual stream", self.rows(batch), self.hidden);
        let tensor = match self.options.dtype {
            DType::F32 => {
                let upload = |bytes: &[u8]| Tensor::upload_stored(gpu, label, [rows, cols], DType::F32, bytes);
                self.with_bytes(batch, upload)?
            }
            _ => Tensor::upload(gpu, label, rows, cols, &self.read(batch)?),
        };
        Ok(tensor?)
    }

    /// One batch in parts of whole sequences, `[rows, hidden]` f32 each, that can go through a layer at the same time.
    pub(crate) fn upload_parts(&self, gpu: &Gpu, batch: usize) -> Result<Vec<Tensor>, ModelError> {
        let sequences = self.rows(batch) / self.sequence;
        let parts = lanes(gpu, sequences);
        if parts == 1 {
            return Ok(vec![self.upload(gpu, batch)?]);
        }
        let dtype = self.options.dtype;
        let rows = sequences.div_ceil(parts) * self.sequence;
        let upload = |bytes: &[u8]| {
            let [rows, cols] = [bytes.len() / dtype.size() / self.hidden, self.hidden];
            match dtype {
                DType::F32 => Tensor::upload_stored(gpu, "residual stream", [rows, cols], dtype, bytes),
                _ => Tensor::upload(gpu, "residual stream", rows, cols, &decode(dtype, bytes)),
            }
        };
        let parts = |bytes: &[u8]| bytes.chunks(rows * self.hidden * dtype.size()).map(upload).collect();
        let tensors: Result<Vec<_>, _> = self.with_bytes(batch, parts)?;
        Ok(tensors?)
    }

    fn total_bytes(&self) -> u64 {
        (self.tokens() * self.hidden * self.options.dtype.size()) as u64
    }

    fn batch_bytes(&self, batch: usize) -> usize {
        self.rows(batch) * self.hidden * self.options.dtype.size()
    }

    fn with_bytes<T>(&self, batch: usize, work: impl FnOnce(&[u8]) -> T) -> Result<T, ActivationError> {
        match &self.batches[batch] {
            Place::Memory(bytes) => Ok(work(bytes)),
            Place::File(offset) => {
                let mut bytes = vec![0; self.batch_bytes(batch)];
                let spill = self.spill.as_ref().expect("a batch in the file has a file");
                spill.read(*offset, &mut bytes)?;
                Ok(work(&bytes))
            }
        }
    }
}

/// Values of `bytes`, on all threads.
fn decode(dtype: DType, bytes: &[u8]) -> Vec<f32> {
    let mut values = vec![0.0; bytes.len() / dtype.size()];
    let pieces = values.par_chunks_mut(PIECE).zip(bytes.par_chunks(PIECE * dtype.size()));
    pieces.for_each(|(values, bytes)| values.copy_from_slice(&dtype.decode(bytes)));
    values
}

/// Encodes to `out`; finite values beyond the type's range become its largest number and are counted.
fn encode(dtype: DType, values: &[f32], out: &mut [u8]) -> u64 {
    let largest = match dtype {
        DType::F32 => f32::MAX,
        DType::F16 => half::f16::MAX.to_f32(),
        DType::BF16 => half::bf16::MAX.to_f32(),
    };
    let pieces = out.par_chunks_mut(PIECE * dtype.size()).zip(values.par_chunks(PIECE));
    let encode = |(out, values): (&mut [u8], &[f32])| {
        let beyond = |v: &f32| v.is_finite() && v.abs() > largest;
        let count = values.iter().filter(|v| beyond(v)).count();
        if count == 0 {
            out.copy_from_slice(&dtype.encode(values));
        } else {
            let clamp = |v: &f32| if beyond(v) { largest.copysign(*v) } else { *v };
            out.copy_from_slice(&dtype.encode(&values.iter().map(clamp).collect::<Vec<_>>()));
        }
        count as u64
    };
    pieces.map(encode).sum()
}
