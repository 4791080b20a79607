//! Permuting the inputs of a linear: which may be, by what order, and the linears that have to follow.
//!
//! Inputs of `down` are outputs of `gate` and `up` (or of the first linear of a plain MLP), each expert by itself; inputs
//! of `o` are outputs of `v`, where heads stay together and query heads move with their key/value head. All between is
//! elementwise or a mean over tokens, so outputs in the order of the inputs compute the same. Everything else reads the
//! residual stream, whose one order all layers share: it stays. Only what is written is permuted, the device goes on with
//! the linears in their own order.

use super::solve::Solver;
use crate::checkpoint::{Checkpoint, CheckpointWriter};
use crate::model::{ActivationSite, Group, LinearSpec, Part, Role, Spec};
use crate::prune::{Pattern, Permutation, Permute};
use crate::report::LinearRecord;
use crate::run::RunError;
use crate::run::options::PruneOptions;
use crate::run::order::channels;

/// The parts of a linear whose outputs are the inputs at an activation site, if it has any.
fn producers(linear: &LinearSpec, site: ActivationSite) -> impl Iterator<Item = &Part> {
    let (roles, expert): (&[Role], _) = match site {
        ActivationSite::MlpHidden => (&[Role::Gate, Role::Up], None),
        ActivationSite::ExpertHidden(expert) => (&[Role::Gate, Role::Up], Some(expert)),
        ActivationSite::AttentionOutput => (&[Role::V], None),
        _ => (&[], None),
    };
    let same = linear.id.expert == expert;
    linear
        .parts
        .iter()
        .filter(move |part| same && roles.contains(&part.role))
}

impl Solver<'_> {
    /// The order in which the inputs of a group suit the pattern best, if they may change places and that gains.
    pub(in crate::run) fn permutation(&self, group: &Group) -> Result<Option<Permutation>, RunError> {
        let options = &self.plan.options;
        let Some(channels) = channels(&self.plan.spec, group.input).filter(|_| options.permutes()) else {
            return Ok(None);
        };
        let [linear] = &group.linears[..] else {
            unreachable!("one linear reads what another wrote")
        };
        let view = (self.checkpoint).tensor_of_shape(&linear.tensor, &linear.stored_shape())?;
        let stored = linear.rows(view.bytes, view.dtype);
        let [outputs, inputs] = linear.shape;
        // Where not all outputs are solved together, as many as can be speak for all.
        let step = outputs.div_ceil(self.plan.solver_rows(self.gpu, linear.shape));
        let rows = stored.chunks_exact(inputs * view.dtype.size()).step_by(step);
        let weight: Vec<f32> = rows.flat_map(|row| view.dtype.decode(row)).collect();
        self.checkpoint.release_all();
        let shape = [outputs.div_ceil(step), inputs];
        let target = (options.pattern, channels);
        Ok(Permutation::find(self.gpu, self.inputs, shape, &weight, target)?)
    }
}

/// Puts the outputs of all linears that write the inputs at an activation site, as written so far, in the order of those inputs.
pub(in crate::run) fn follow(
    writer: &mut CheckpointWriter<'_>,
    checkpoint: &Checkpoint,
    linears: &[LinearSpec],
    site: ActivationSite,
    order: &[u32],
) -> Result<(), RunError> {
    for linear in linears {
        let parts: Vec<&Part> = producers(linear, site).collect();
        if parts.is_empty() {
            continue;
        }
        let view = checkpoint.tensor_of_shape(&linear.tensor, &linear.stored_shape())?;
        let written = writer.current(&linear.tensor)?;
        let mut rows = linear.rows(&written, view.dtype).into_owned();
        drop(written);
        reorder(&mut rows, linear.shape[1] * view.dtype.size(), &parts, order);
        writer.put(&linear.tensor, &linear.stored(&rows, view.dtype))?;
        if let Some(name) = &linear.bias {
            let size = checkpoint.tensor_of_shape(name, &[linear.shape[0]])?.dtype.size();
            let mut bias = writer.current(name)?;
            reorder(&mut bias, size, &parts, order);
            writer.put(name, &bias)?;
        }
    }
    Ok(())
}

/// Says that what followed the permuted linears was written before a resume.
pub(in crate::run) fn mark_followers(
    writer: &mut CheckpointWriter<'_>,
    spec: &Spec,
    records: &[LinearRecord],
) -> Result<(), RunError> {
    for record in records.iter().filter(|record| record.permuted) {
        let groups = spec.groups(record.layer)?;
        let holds = |group: &&Group| group.linears.iter().any(|l| l.tensor == record.tensor);
        let Some(group) = groups.iter().find(holds) else {
            continue;
        };
        for linear in spec.linears_of(record.layer)? {
            if producers(&linear, group.input).next().is_some() {
                let names = std::iter::once(&linear.tensor).chain(&linear.bias);
                names.into_iter().try_for_each(|name| writer.mark_written(name))?;
            }
        }
    }
    Ok(())
}

/// Rows of `width` bytes: those of each part in another order.
fn reorder(rows: &mut [u8], width: usize, parts: &[&Part], order: &[u32]) {
    for part in parts {
        let places: Vec<usize> = part.rows.iter().cloned().flatten().collect();
        assert_eq!(places.len(), order.len(), "outputs of a part");
        let row = |place: usize| places[place] * width..(places[place] + 1) * width;
        let old: Vec<u8> = (0..places.len()).flat_map(|i| &rows[row(i)]).copied().collect();
        for (i, from) in order.iter().enumerate() {
            rows[row(i)].copy_from_slice(&old[*from as usize * width..][..width]);
        }
    }
}

/// Elements of `size` bytes, in rows of permuted inputs, as the device has them: in their own order.
pub(in crate::run) fn unpermuted(rows: Vec<u8>, size: usize, order: Option<&[u32]>) -> Vec<u8> {
    let Some(order) = order else { return rows };
    let mut out = vec![0; rows.len()];
    let width = order.len() * size;
    for (to, from) in out.chunks_exact_mut(width).zip(rows.chunks_exact(width)) {
        for (element, input) in from.chunks_exact(size).zip(order) {
            to[*input as usize * size..][..size].copy_from_slice(element);
        }
    }
    out
}

/// Says where inputs could not be permuted though that was to be.
pub(in crate::run) fn warn_of_order(options: &PruneOptions, spec: &Spec) -> Option<String> {
    match options.pattern {
        Pattern::NM { m, .. } if options.permutes() && !spec.head_dim.is_multiple_of(m) => Some(format!(
            "the inputs of o were not permuted: heads of {} do not hold whole groups of {m}",
            spec.head_dim
        )),
        Pattern::Unstructured { .. } if options.permute == Permute::On => Some(format!(
            "nothing was permuted: a pattern of {} has no groups (`permute` is for N:M)",
            options.pattern
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_part_change_places() {
        let part = Part {
            role: Role::V,
            rows: vec![1..2, 3..5],
        };
        let mut rows: Vec<u8> = vec![0, 0, 1, 1, 2, 2, 3, 3, 4, 4];
        reorder(&mut rows, 2, &[&part], &[2, 0, 1]);
        assert_eq!(rows, [0, 0, 4, 4, 2, 2, 1, 1, 3, 3]);
    }

    #[test]
    fn the_device_keeps_its_order() {
        let order = [2, 0, 1];
        let own = vec![1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6];
        let permuted: Vec<u8> = own
            .chunks(6)
            .flat_map(|row| order.iter().flat_map(|i| &row[2 * *i as usize..][..2]))
            .copied()
            .collect();
        assert_eq!(unpermuted(permuted, 2, Some(&order)), own);
    }
}
