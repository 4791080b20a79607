//! Linears of the forward pass and the stored tensors they are part of: q, k and v may lie in one, experts in another.

use std::borrow::Cow;

use crate::checkpoint::{Checkpoint, Encoded};
use crate::gpu::Gpu;
use crate::model::{LinearId, LinearSpec, ModelError, Part};
use crate::report::LinearRecord;
use crate::run::RunError;
use crate::tensor::{DType, Tensor};

/// A linear of the forward pass, cut out of a stored one.
pub(in crate::run) struct LinearSlice<'l> {
    pub(in crate::run) linear: &'l LinearSpec,
    pub(in crate::run) id: LinearId,
    pub(in crate::run) part: &'l Part,
}

impl LinearSlice<'_> {
    /// Its rows of a stored weight, as f32 on the device.
    pub(in crate::run) fn weight(&self, gpu: &Gpu, checkpoint: &Checkpoint) -> Result<(Tensor, DType), RunError> {
        let (values, dtype) = self.values(checkpoint)?;
        let cols = self.linear.shape[1];
        let weight = Tensor::upload(gpu, "weight", values.len() / cols, cols, &values)?;
        Ok((weight, dtype))
    }

    /// Outputs and inputs.
    pub(in crate::run) fn shape(&self) -> [usize; 2] {
        [self.part.rows.iter().map(|r| r.len()).sum(), self.linear.shape[1]]
    }

    /// Its rows of a stored weight.
    pub(in crate::run) fn values(&self, checkpoint: &Checkpoint) -> Result<(Vec<f32>, DType), ModelError> {
        let linear = self.linear;
        let view = checkpoint.tensor_of_shape(&linear.tensor, &linear.stored_shape())?;
        let stored = linear.rows(view.bytes, view.dtype);
        let width = linear.shape[1] * view.dtype.size();
        let ranges = self.part.rows.iter();
        let values = ranges.flat_map(|range| view.dtype.decode(&stored[range.start * width..range.end * width]));
        let values = values.collect();
        checkpoint.release(&linear.tensor);
        Ok((values, view.dtype))
    }
}

/// The linears of the forward pass in stored ones.
pub(in crate::run) fn pieces(linears: &[LinearSpec]) -> impl Iterator<Item = LinearSlice<'_>> {
    linears.iter().flat_map(|linear| {
        linear
            .ids()
            .zip(&linear.parts)
            .map(move |(id, part)| LinearSlice { linear, id, part })
    })
}

/// Fails on a linear that a device cannot bind as a whole, as its costs by the curvature are.
pub(in crate::run) fn check_binding(gpu: &Gpu, linear: &LinearSpec, advice: &str) -> Result<(), RunError> {
    for piece in pieces(std::slice::from_ref(linear)) {
        let [rows, cols] = piece.shape();
        let (needed, most) = (4 * (rows * cols) as u64, gpu.limits().binding);
        if needed > most {
            return Err(RunError::OverBudget {
                what: format!("the largest binding of {}", gpu.name()),
                budget: most,
                needed,
                advice: format!("{} is weighed as a whole: {advice}", linear.tensor),
            });
        }
    }
    Ok(())
}

/// A linear as it will be stored, filled piece by piece.
pub(in crate::run) struct Stored {
    /// `[outputs, inputs]` elements.
    bytes: Vec<u8>,
    dtype: DType,
    width: usize,
    zeros: usize,
    raised: usize,
    saturated: usize,
    lost: f64,
    energy: f64,
}

impl Stored {
    pub(in crate::run) fn of(linear: &LinearSpec, checkpoint: &Checkpoint) -> Result<Self, RunError> {
        let view = checkpoint.tensor_of_shape(&linear.tensor, &linear.stored_shape())?;
        Ok(Stored {
            bytes: vec![0; view.bytes.len()],
            dtype: view.dtype,
            width: linear.shape[1] * view.dtype.size(),
            zeros: 0,
            raised: 0,
            saturated: 0,
            lost: 0.0,
            energy: 0.0,
        })
    }

    pub(in crate::run) fn put(&mut self, part: &Part, encoded: &Encoded, [lost, energy]: [f64; 2]) {
        let mut from = 0;
        for range in &part.rows {
            let bytes = range.len() * self.width;
            self.bytes[range.start * self.width..][..bytes].copy_from_slice(&encoded.bytes[from..from + bytes]);
            from += bytes;
        }
        self.zeros += encoded.zeros;
        self.raised += encoded.raised;
        self.saturated += encoded.saturated;
        self.lost += lost;
        self.energy += energy;
    }

    /// What the file holds.
    pub(in crate::run) fn stored<'b>(&'b self, linear: &LinearSpec) -> Cow<'b, [u8]> {
        linear.stored(&self.bytes, self.dtype)
    }

    /// Notes what is in it.
    pub(in crate::run) fn close(&self, record: &mut LinearRecord) {
        let [rows, cols] = record.shape;
        record.zeros = self.zeros;
        record.raised = self.raised;
        record.saturated = self.saturated;
        record.sparsity = self.zeros as f64 / (rows * cols) as f64;
        // A weight of zeros has no energy to lose.
        record.error_after = Some(if self.energy > 0.0 {
            self.lost / self.energy
        } else {
            0.0
        });
        record.error_before = record.error_after;
    }
}
