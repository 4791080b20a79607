//! Attention; F16 stands for what its blocks are kept in.

use super::super::case::{Accuracy, Case, error_of, rounding};
use super::super::data::{Data, poisoned, sample};
use super::super::spec::Spec;
use crate::gpu::{Gpu, GpuError, Recording};
use crate::ops::nn::{self, AttentionShape};
use crate::reference::nn::attention as twin;
use crate::tensor::DType;

/// One sequence, causal, every head.
pub(super) fn attention(gpu: &Gpu, spec: &Spec, seed: u64) -> Result<Case, GpuError> {
    let ([seq, width, head_dim], kv_heads) = (spec.size, spec.more);
    let heads = width / head_dim;
    let mut data = Data::new(seed);
    let (q, queries) = data.tensor(gpu, seq, width)?;
    let (k, keys) = data.tensor(gpu, seq, kv_heads * head_dim)?;
    let (v, values) = data.tensor(gpu, seq, kv_heads * head_dim)?;
    let out = poisoned(gpu, seq, width)?;
    let shape = AttentionShape {
        seq,
        heads,
        kv_heads,
        head_dim,
        scale: 1.0 / (head_dim as f32).sqrt(),
        window: None,
        soft_cap: None,
    };
    let half = spec.dtype == DType::F16;
    let kernel = if half { &nn::ATTENTION_HALF } else { &nn::ATTENTION };
    let result = out.clone();
    let record = move |recording: &mut Recording, gpu: &Gpu| {
        let limit = gpu.dispatch_flops() as f64;
        nn::attention_with(recording, (kernel, limit), [&q, &k, &v], &out, shape);
        Ok(())
    };
    let look = move |gpu: &Gpu| {
        let found = result.fetch(gpu)?;
        let few = if seq * seq * width <= super::ALL { heads } else { 2 };
        let sampled = sample(heads, few);
        let one = twin::Shape {
            seq,
            heads: 1,
            kv_heads: 1,
            head_dim,
            scale: f64::from(shape.scale),
            window: None,
            soft_cap: None,
        };
        let column = |values: &[f32], width: usize, head: usize| -> Vec<f64> {
            let rows = values.chunks(width);
            rows.flat_map(|row| row[head * head_dim..][..head_dim].iter().map(|v| f64::from(*v)))
                .collect()
        };
        let mut error = 0.0f64;
        for head in &sampled {
            let kv = head / (heads / kv_heads);
            let inputs = [(&keys, kv), (&values, kv)].map(|(x, head)| column(x, kv_heads * head_dim, head));
            let mut wanted = vec![0.0; seq * head_dim];
            twin::attention(
                one,
                &column(&queries, width, *head),
                &inputs[0],
                &inputs[1],
                &mut wanted,
            );
            let found: Vec<f32> = column(&found, width, *head).into_iter().map(|v| v as f32).collect();
            error = error.max(error_of(&found, &wanted));
        }
        // Of q and k in a score of at most sqrt(head_dim), and of v.
        let halves = if half {
            2f64.powi(-10) * (1.0 + 4.0 * (head_dim as f64).sqrt())
        } else {
            0.0
        };
        let bound = rounding(seq + head_dim) + halves;
        Ok(Accuracy::new(error, bound, sampled.len() * seq * head_dim, seq * width))
    };
    let (tokens, columns, narrow) = (seq as f64, width as f64, (kv_heads * head_dim) as f64);
    let flops = 2.0 * tokens * (tokens + 1.0) * columns;
    Ok(Case::recorded([flops, 8.0 * tokens * (columns + narrow)], record, look))
}
