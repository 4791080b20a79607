//! One layer of a shot: its units removed, what remains updated and gathered.

use std::time::Instant;

use super::measure::{Present, reads_units};
use super::moments::LayerMoments;
use crate::checkpoint::{CheckpointWriter, encode};
use crate::model::{Group, LinearSpec, Part, Spec};
use crate::prune::Score;
use crate::prune::surgeon::{KroneckerFactor, LayerCut, remove_columns, remove_rows};
use crate::report::LinearRecord;
use crate::run::RunError;
use crate::run::curvature::factors::LayerFactors;
use crate::run::curvature::piece::{LinearSlice, pieces};
use crate::tensor::{DType, Tensor};

/// Which of the lines of a matrix stay, a number of them for each unit, one unit after the other.
#[derive(Clone, Copy)]
struct KeptLines<'c> {
    units: usize,
    /// Ascending.
    removed: &'c [usize],
    /// Units afterwards; zeros fill up what is missing.
    room: usize,
}

impl KeptLines<'_> {
    fn kept(&self) -> impl Iterator<Item = usize> {
        (0..self.units).filter(|unit| self.removed.binary_search(unit).is_err())
    }

    /// Numbers of the lines that go, of `lines` in all.
    fn gone(&self, lines: usize) -> Vec<usize> {
        let stride = lines / self.units;
        let of = |unit: &usize| unit * stride..(unit + 1) * stride;
        self.removed.iter().flat_map(of).collect()
    }

    /// The rows of `width` elements that stay, then zeros.
    fn rows(&self, values: &[f32], width: usize) -> Vec<f32> {
        let each = values.len() / self.units;
        debug_assert_eq!(each % width, 0);
        let mut out: Vec<f32> = self
            .kept()
            .flat_map(|u| &values[u * each..(u + 1) * each])
            .copied()
            .collect();
        assert!(out.len() <= self.room * each, "more units stay than there is room for");
        out.resize(self.room * each, 0.0);
        out
    }

    /// The same of the columns of a matrix of `width` columns.
    fn cols(&self, values: &[f32], width: usize) -> Vec<f32> {
        values.chunks(width).flat_map(|row| self.rows(row, 1)).collect()
    }
}

/// What the cut of a layer reads.
pub(in crate::run) struct Surgery<'s> {
    pub(in crate::run) present: &'s Present<'s>,
    /// The model afterwards.
    pub(in crate::run) to: &'s Spec,
}

impl Surgery<'_> {
    /// Removes the units of `cut` of a layer, by its number before and after, and writes the linears that change; the factors
    /// are used up.
    pub(in crate::run) fn layer(
        &self,
        [layer, new]: [usize; 2],
        cut: &LayerCut,
        (factors, moments): (Option<&mut LayerFactors>, Option<&LayerMoments>),
        writer: &mut CheckpointWriter<'_>,
    ) -> Result<Vec<LinearRecord>, RunError> {
        let (present, mut factors) = (self.present, factors);
        let (mut records, after) = (Vec::new(), self.to.groups(new)?);
        for (number, group) in present.touched(layer)? {
            let lines = self.lines(&group, cut);
            let linears = group.linears.iter().zip(&after[number].linears);
            for (linear, to) in linears {
                let clock = Instant::now();
                let mut job = Job::begin(self, [linear, to], lines, [layer, new])?;
                if reads_units(group.input) {
                    let means = moments.map(|m| m.mean(group.input));
                    job.columns(number, factors.as_deref_mut(), means)?;
                } else {
                    job.rows(factors.as_deref_mut())?;
                }
                let mut record = job.write(writer)?;
                record.seconds = clock.elapsed().as_secs_f64();
                records.push(record);
            }
        }
        Ok(records)
    }

    fn lines<'c>(&self, group: &Group, cut: &'c LayerCut) -> KeptLines<'c> {
        let (spec, to) = (self.present.spec, self.to);
        if group.input.in_mlp() {
            KeptLines {
                units: spec.ffn,
                removed: &cut.neurons,
                room: to.ffn,
            }
        } else {
            KeptLines {
                units: spec.kv_heads,
                removed: &cut.groups,
                room: to.kv_heads,
            }
        }
    }
}

/// One stored linear on its way to its new shape.
struct Job<'j> {
    surgery: &'j Surgery<'j>,
    linear: &'j LinearSpec,
    to: &'j LinearSpec,
    lines: KeptLines<'j>,
    dtype: DType,
    /// `[outputs, inputs]` elements of the new shape.
    values: Vec<f32>,
    bias: Option<(Vec<f32>, DType)>,
    /// Where it was, for errors.
    place: String,
    record: LinearRecord,
}

impl<'j> Job<'j> {
    fn begin(
        surgery: &'j Surgery<'j>,
        [linear, to]: [&'j LinearSpec; 2],
        lines: KeptLines<'j>,
        [layer, new]: [usize; 2],
    ) -> Result<Self, RunError> {
        let current = surgery.present.current;
        let view = current.tensor_of_shape(&linear.tensor, &linear.stored_shape())?;
        let (dtype, input_zeros) = (view.dtype, view.dtype.count_zeros(view.bytes));
        current.release(&linear.tensor);
        let bias = match &linear.bias {
            None => None,
            Some(name) => {
                let view = current.tensor_of_shape(name, &[linear.shape[0]])?;
                Some((view.to_f32(), view.dtype))
            }
        };
        Ok(Job {
            surgery,
            linear,
            to,
            lines,
            dtype,
            values: vec![0.0; to.shape[0] * to.shape[1]],
            bias,
            place: format!("layer {layer}"),
            record: LinearRecord {
                layer: new,
                role: linear.id.role.name().to_string(),
                tensor: to.tensor.clone(),
                shape: to.shape,
                input_zeros,
                row_blocks: 1,
                ..Default::default()
            },
        })
    }

    fn noted(&mut self, side: &KroneckerFactor) {
        self.record.tokens = side.tokens();
        self.record.damping_raised += side.escalations();
    }

    /// Part by part: rows go, those that stay make up for them if gradients say how, with their biases.
    fn rows(&mut self, mut factors: Option<&mut LayerFactors>) -> Result<(), RunError> {
        let present = self.surgery.present;
        let (base, gpu) = (&present.plan.base, present.gpu);
        let bias = self.bias.take();
        let mut new_bias = vec![0.0; self.to.shape[0]];
        for (piece, to) in pieces(std::slice::from_ref(self.linear)).zip(&self.to.parts) {
            let (weight, _) = piece.weight(gpu, present.current)?;
            let mut width = weight.cols();
            let mut values = weight.fetch(gpu)?;
            if let Some((bias, _)) = &bias {
                (values, width) = (with_column(&values, width, &of_part(bias, piece.part)), width + 1);
            }
            let gone = self.lines.gone(weight.rows());
            if let Some(factors) = factors.as_deref_mut().filter(|_| present.plan.structure.updates_rows()) {
                let place = format!("{}, {}", self.place, piece.id.name());
                let outputs = factors.take_outputs(gpu, piece.id, base.damping()[1], &place)?;
                let whole = Tensor::upload(gpu, "weight and bias", weight.rows(), width, &values)?;
                remove_rows(gpu, &outputs, &whole, &gone)?;
                values = whole.fetch(gpu)?;
                self.noted(&outputs);
            }
            let mut left = self.lines.rows(&values, width);
            if bias.is_some() {
                let column: Vec<f32> = left.chunks(width).map(|row| row[width - 1]).collect();
                put_part(&mut new_bias, &column, to, 1);
                left = left.chunks(width).flat_map(|row| &row[..width - 1]).copied().collect();
            }
            put_part(&mut self.values, &left, to, weight.cols());
        }
        self.bias = bias.map(|(_, dtype)| (new_bias, dtype));
        Ok(())
    }

    /// Columns go; those that stay, or the bias, make up for them as the score has it.
    fn columns(
        &mut self,
        group: usize,
        factors: Option<&mut LayerFactors>,
        means: Option<Vec<f64>>,
    ) -> Result<(), RunError> {
        let present = self.surgery.present;
        let (base, gpu) = (&present.plan.base, present.gpu);
        let piece: LinearSlice<'_> = pieces(std::slice::from_ref(self.linear))
            .next()
            .expect("o and down are not fused");
        let (weight, _) = piece.weight(gpu, present.current)?;
        let gone = self.lines.gone(weight.cols());
        if let Some(factors) = factors.filter(|_| present.plan.structure.updates_columns()) {
            let place = format!("{}, {}", self.place, piece.id.name());
            let inputs = factors.take_inputs(gpu, group, base.damping()[0], &place)?;
            remove_columns(gpu, &inputs, &weight, &gone)?;
            self.record.dead_inputs = inputs.dead();
            self.noted(&inputs);
        }
        let (values, width) = (weight.fetch(gpu)?, weight.cols());
        if let (Score::Flap, Some(means), Some((bias, _))) = (present.plan.structure.score, means, &mut self.bias) {
            for (bias, row) in bias.iter_mut().zip(values.chunks(width)) {
                let lost: f64 = gone.iter().map(|j| f64::from(row[*j]) * means[*j]).sum();
                *bias += lost as f32;
            }
        }
        self.values = self.lines.cols(&values, width);
        Ok(())
    }

    fn write(mut self, writer: &mut CheckpointWriter<'_>) -> Result<LinearRecord, RunError> {
        let encoded = exact(&self.values, self.dtype);
        // The writer knows tensors by their old names.
        writer.put(&self.linear.tensor, &self.to.stored(&encoded.bytes, self.dtype))?;
        if let (Some(name), Some((bias, dtype))) = (&self.linear.bias, &self.bias) {
            writer.put(name, &exact(bias, *dtype).bytes)?;
        }
        let record = &mut self.record;
        record.zeros = encoded.zeros;
        record.raised = encoded.raised;
        record.saturated = encoded.saturated;
        record.sparsity = encoded.zeros as f64 / self.values.len() as f64;
        Ok(self.record)
    }
}

/// Encodes values of which the zeros are meant.
fn exact(values: &[f32], dtype: DType) -> crate::checkpoint::Encoded {
    let support: Vec<f32> = values.iter().map(|v| if *v == 0.0 { 0.0 } else { 1.0 }).collect();
    encode(values, &support, dtype)
}

fn with_column(values: &[f32], width: usize, column: &[f32]) -> Vec<f32> {
    let rows = values.chunks(width).zip(column);
    rows.flat_map(|(row, last)| row.iter().chain(std::iter::once(last)))
        .copied()
        .collect()
}

/// The elements of a vector that belong to a part.
fn of_part(values: &[f32], part: &Part) -> Vec<f32> {
    part.rows
        .iter()
        .flat_map(|rows| &values[rows.clone()])
        .copied()
        .collect()
}

/// Puts rows of `width` elements where a part has them.
fn put_part(out: &mut [f32], rows: &[f32], part: &Part, width: usize) {
    let mut from = 0;
    for range in &part.rows {
        let len = range.len() * width;
        out[range.start * width..][..len].copy_from_slice(&rows[from..from + len]);
        from += len;
    }
    assert_eq!(from, rows.len(), "rows of a part");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_and_zeros_fill_up() {
        let lines = KeptLines {
            units: 3,
            removed: &[1],
            room: 3,
        };
        assert_eq!(lines.gone(6), [2, 3]);
        let values: Vec<f32> = (1..=12).map(|v| v as f32).collect();
        let wanted = [1.0, 2.0, 3.0, 4.0, 9.0, 10.0, 11.0, 12.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(lines.rows(&values, 2), wanted);
        let wanted = [1.0, 2.0, 5.0, 6.0, 0.0, 0.0, 7.0, 8.0, 11.0, 12.0, 0.0, 0.0];
        assert_eq!(lines.cols(&values, 6), wanted);
        let lines = KeptLines { room: 2, ..lines };
        assert_eq!(lines.cols(&values, 6), [1.0, 2.0, 5.0, 6.0, 7.0, 8.0, 11.0, 12.0]);
    }
}
