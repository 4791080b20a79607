//! `secateur inspect`: what a checkpoint is, without a device.

use std::collections::BTreeMap;

use super::args::{Common, InspectArgs};
use super::exit::CliError;
use super::{print, spec};
use crate::checkpoint::Checkpoint;
use crate::model::{LinearSpec, ModelError, Spec};
use crate::report::{InspectRecord, LinearKind, inspect_table};
use crate::tensor::DType;

pub(super) fn run(common: &Common, args: &InspectArgs) -> Result<(), CliError> {
    let checkpoint = Checkpoint::open(&args.model)?;
    let spec = spec(common, &checkpoint)?;
    let record = inspect(&checkpoint, &spec)?;
    print(common, &record, || inspect_table(&record))?;
    Ok(())
}

fn inspect(checkpoint: &Checkpoint, spec: &Spec) -> Result<InspectRecord, ModelError> {
    let known = spec.tensors()?;
    let mut sliding = spec.kinds.iter().filter_map(|k| k.window);
    let window = sliding.next();
    Ok(InspectRecord {
        model: checkpoint.dir().display().to_string(),
        fingerprint: checkpoint.fingerprint(),
        family: spec.family.clone(),
        layers: spec.layers,
        hidden: spec.hidden,
        ffn: spec.ffn,
        heads: spec.heads,
        kv_heads: spec.kv_heads,
        head_dim: spec.head_dim,
        vocabulary: spec.vocabulary,
        max_positions: spec.max_positions,
        experts: spec.experts.map(|e| [e.count, e.per_token]),
        sliding: window.map(|w| [1 + sliding.count(), w]),
        tied: spec.tied,
        needs_bos: spec.needs_bos,
        parameters: checkpoint.parameters(),
        bytes: checkpoint.total_bytes(),
        shards: checkpoint.shards(),
        linears: linears(checkpoint, spec)?,
        extra_tensors: checkpoint
            .names()
            .filter(|n| !known.contains(*n))
            .map(str::to_string)
            .collect(),
    })
}

/// Columns of zeros, found row by row.
fn zero_inputs(linear: &LinearSpec, bytes: &[u8], dtype: DType) -> usize {
    let mut unread = vec![true; linear.shape[1]];
    for row in linear.rows(bytes, dtype).chunks(linear.shape[1] * dtype.size()) {
        let values = dtype.decode(row);
        unread
            .iter_mut()
            .zip(values)
            .for_each(|(unread, v)| *unread &= v == 0.0);
    }
    unread.into_iter().filter(|unread| *unread).count()
}

/// Linears by role and shape, in the order of a forward pass.
fn linears(checkpoint: &Checkpoint, spec: &Spec) -> Result<Vec<LinearKind>, ModelError> {
    let mut kinds = BTreeMap::new();
    for layer in 0..spec.layers {
        for linear in spec.linears_of(layer)? {
            let view = checkpoint.tensor(&linear.tensor)?;
            let kind = kinds
                .entry((linear.id.role, linear.shape))
                .or_insert_with(|| LinearKind {
                    role: linear.id.role.name().to_string(),
                    shape: linear.shape,
                    count: 0,
                    dtypes: Vec::new(),
                    bias: linear.bias.is_some(),
                    weights: 0,
                    zeros: 0,
                    zero_inputs: 0,
                    pattern_m: 1 << linear.shape[1].trailing_zeros().min(4),
                });
            let dtype = view.dtype.name().to_string();
            if !kind.dtypes.contains(&dtype) {
                kind.dtypes.push(dtype);
            }
            kind.count += 1;
            kind.weights += view.elements();
            let zeros = view.dtype.count_zeros(view.bytes);
            kind.zeros += zeros;
            if zeros >= linear.shape[0] {
                kind.zero_inputs += zero_inputs(&linear, view.bytes, view.dtype);
            }
            checkpoint.release(&linear.tensor);
        }
    }
    Ok(kinds.into_values().collect())
}
