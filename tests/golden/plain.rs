//! A Llama forward pass in f64 on the twins: what the model room should compute, without its batches and windows.

use secateur::checkpoint::Checkpoint;
use secateur::model::{ActivationSite, LinearId, Norm, Role, Spec};
use secateur::reference::dense::gemm::{Target, View, gemm};
use secateur::reference::nn::activation::silu;
use secateur::reference::nn::attention::{Shape, attention};
use secateur::reference::nn::gate::gate as gated;
use secateur::reference::nn::rms_norm::rms_norm;
use secateur::reference::nn::rope::rope;

use super::f64s;

/// A model whose weights are decoded to f64 when asked for.
pub(crate) struct Plain<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) spec: &'a Spec,
    pub(crate) sequence: usize,
}

impl Plain<'_> {
    fn weight(&self, name: &str) -> Vec<f64> {
        f64s(&self.checkpoint.tensor(name).unwrap().to_f32())
    }

    /// Rows of the embedding.
    pub(crate) fn embed(&self, ids: &[Vec<u32>]) -> Vec<f64> {
        let (table, hidden) = (self.weight(&self.spec.embedding()), self.spec.hidden);
        ids.iter()
            .flatten()
            .flat_map(|id| table[*id as usize * hidden..][..hidden].to_vec())
            .collect()
    }

    /// Activations of `layer` at every activation site, for the residual stream `x`.
    pub(crate) fn layer(&self, layer: usize, x: &[f64]) -> Vec<(ActivationSite, Vec<f64>)> {
        let spec = self.spec;
        let normed = self.norm(x, &spec.norm_module(layer, Norm::Attention));
        let [mut q, mut k, v] = [Role::Q, Role::K, Role::V].map(|role| self.linear(layer, role, &normed));
        self.rotate(&mut q, spec.heads);
        self.rotate(&mut k, spec.kv_heads);
        let shape = Shape {
            seq: self.sequence,
            heads: spec.heads,
            kv_heads: spec.kv_heads,
            head_dim: spec.head_dim,
            scale: (spec.head_dim as f64).sqrt().recip(),
            window: None,
            soft_cap: None,
        };
        let mut mixed = vec![f64::NAN; q.len()];
        attention(shape, &q, &k, &v, &mut mixed);
        let middle = sum(x, &self.linear(layer, Role::O, &mixed));
        let mlp_input = self.norm(&middle, &spec.norm_module(layer, Norm::Mlp));
        let mut gate = self.linear(layer, Role::Gate, &mlp_input);
        gated(silu, &self.linear(layer, Role::Up, &mlp_input), &mut gate);
        let output = sum(&middle, &self.linear(layer, Role::Down, &gate));
        vec![
            (ActivationSite::AttentionInput, normed),
            (ActivationSite::AttentionOutput, mixed),
            (ActivationSite::MlpInput, mlp_input),
            (ActivationSite::MlpHidden, gate),
            (ActivationSite::Output, output),
        ]
    }

    /// Logits of the last residual stream `x`.
    pub(crate) fn logits(&self, x: &[f64]) -> Vec<f64> {
        product(
            &self.norm(x, &self.spec.final_norm()),
            &self.weight(&self.spec.head()),
            self.spec.hidden,
        )
    }

    fn norm(&self, x: &[f64], module: &str) -> Vec<f64> {
        let name = &format!("{module}.weight");
        let mut out = vec![f64::NAN; x.len()];
        rms_norm(x, &self.weight(name), f64::from(self.spec.norm_eps), &mut out);
        out
    }

    fn linear(&self, layer: usize, role: Role, x: &[f64]) -> Vec<f64> {
        let linears = self.spec.linears_of(layer).unwrap();
        let linear = linears.iter().find(|l| l.id == LinearId::of(role)).unwrap();
        product(x, &self.weight(&linear.tensor), linear.shape[1])
    }

    fn rotate(&self, x: &mut [f64], heads: usize) {
        let dim = self.spec.head_dim;
        let table = f64s(&self.spec.ropes[0].table(self.sequence));
        for (row, x) in x.chunks_mut(heads * dim).enumerate() {
            rope(dim, &table[row % self.sequence * dim..][..dim], x);
        }
    }
}

/// `x Wᵀ` with x `[rows, inner]` and W `[outputs, inner]`.
fn product(x: &[f64], weight: &[f64], inner: usize) -> Vec<f64> {
    let (rows, outputs) = (x.len() / inner, weight.len() / inner);
    let mut out = vec![f64::NAN; rows * outputs];
    let target = Target {
        start: 0,
        stride: outputs,
        alpha: 1.0,
        beta: 0.0,
    };
    gemm(
        [rows, outputs, inner],
        View::row_major(x, inner),
        View::transposed(weight, inner),
        target,
        &mut out,
    );
    out
}

fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}
