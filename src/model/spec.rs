//! What a model is: sizes, switches and tensor names of one checkpoint, as `resolve` found them.

use std::collections::BTreeSet;

use super::family::{Family, Norm, NormKind, QkNorm, Role};
use super::linear_spec::{LinearId, LinearSpec, Part};
use super::rope::Rope;
use super::{ActivationSite, Group, ModelError};
use crate::ops::nn::Activation;

/// What differs between the decoder layers of one model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerKind {
    /// Positions a token sees, itself included, if not all before it.
    pub window: Option<usize>,
    /// Whether the rotary table of local layers holds.
    pub local_rope: bool,
    /// Whether the MLP is a mixture of experts.
    pub sparse: bool,
}

/// Mixture of experts, resolved.
#[derive(Clone, Copy, Debug)]
pub struct ExpertSpec {
    /// Number of experts of a layer.
    pub count: usize,
    /// Experts a token goes through.
    pub per_token: usize,
    /// Width of an expert.
    pub ffn: usize,
    /// Whether the chosen experts' weights are scaled to a sum of one.
    pub renormalise: bool,
}

/// Sizes, switches and names of one checkpoint.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Family name.
    pub family: String,
    /// Decoder layers.
    pub layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the MLP.
    pub ffn: usize,
    /// Query heads.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Rows of the embedding.
    pub vocabulary: usize,
    /// Longest context the model was made for.
    pub max_positions: usize,
    /// Epsilon of the norms.
    pub norm_eps: f32,
    /// How norms work.
    pub norm: NormKind,
    /// Added to the weights of RMS norms (1 for Gemma).
    pub norm_offset: f32,
    /// Norms of queries and keys.
    pub qk_norm: QkNorm,
    /// Rotary embeddings: of all layers, and of local ones where they differ. None with learned positions.
    pub ropes: Vec<Rope>,
    /// First row of the learned positions, where there are any.
    pub position_offset: Option<usize>,
    /// Non-linearity of the MLP.
    pub activation: Activation,
    /// Whether attention and MLP read the same residual stream.
    pub parallel: bool,
    /// Factor of the attention scores.
    pub attention_scale: f32,
    /// Soft cap of the attention scores.
    pub attention_cap: Option<f32>,
    /// Soft cap of the logits.
    pub logits_cap: Option<f32>,
    /// Factor of the embedding.
    pub embedding_scale: f32,
    /// Factor of what attention and MLP add to the residual stream.
    pub residual_scale: f32,
    /// Factor of the logits.
    pub logits_scale: f32,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Whether a text without the BOS token is nonsense to it.
    pub needs_bos: bool,
    /// Id of the BOS token.
    pub bos: Option<u32>,
    /// Mixture of experts.
    pub experts: Option<ExpertSpec>,
    /// Each decoder layer's own switches.
    pub kinds: Vec<LayerKind>,
    pub(super) biases: Vec<Role>,
    pub(super) names: Family,
    pub(super) prefix: String,
    pub(super) head: String,
}

impl Spec {
    /// BLAKE3, as hex, of all of it: models that compute otherwise, say by another family file, differ here.
    pub fn fingerprint(&self) -> String {
        // Every field is in it by itself; within a version of the program it stays the same.
        blake3::hash(format!("{self:?}").as_bytes()).to_string()
    }

    /// The prunable linears of a layer, in the order of a forward pass.
    pub fn linears_of(&self, layer: usize) -> Result<Vec<LinearSpec>, ModelError> {
        self.linears(layer, self.kinds[layer])
    }

    pub(super) fn linears(&self, layer: usize, kind: LayerKind) -> Result<Vec<LinearSpec>, ModelError> {
        let module = |path: &str| format!("{}{}", self.layer_path(layer), path);
        let mut linears = Vec::new();
        let is_mlp = |role: &Role| matches!(role, Role::Gate | Role::Up | Role::GateUp | Role::Down);
        for (role, path) in &self.names.linears {
            if !(kind.sparse && is_mlp(role)) {
                linears.push(self.linear(LinearId::of(*role), &module(path), self.ffn));
            }
        }
        if let (true, Some(names), Some(experts)) = (kind.sparse, &self.names.experts, self.experts) {
            for expert in 0..experts.count {
                let path = names.expert.replace("{expert}", &expert.to_string());
                for (role, name) in &names.linears {
                    let id = LinearId {
                        role: *role,
                        expert: Some(expert),
                    };
                    linears.push(self.linear(id, &module(&format!("{path}{name}")), experts.ffn));
                }
            }
        }
        if linears.iter().any(|l| l.shape.contains(&0)) || linears.len() < 3 {
            let message = format!(
                "layer {layer} of family `{}` has no MLP: [linears] lacks it",
                self.family
            );
            return Err(ModelError::BadFamily {
                file: "family file".into(),
                message,
            });
        }
        Ok(linears)
    }

    fn linear(&self, id: LinearId, module: &str, ffn: usize) -> LinearSpec {
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let shape = match id.role {
            Role::Q => [q, self.hidden],
            Role::K | Role::V => [kv, self.hidden],
            Role::Qkv => [q + 2 * kv, self.hidden],
            Role::O => [self.hidden, q],
            Role::Gate | Role::Up => [ffn, self.hidden],
            Role::GateUp => [2 * ffn, self.hidden],
            Role::Down => [self.hidden, ffn],
        };
        let parts = match id.role {
            Role::Qkv => Part::qkv(self.names.switches.fused, [self.heads, self.kv_heads], self.head_dim),
            Role::GateUp => Part::blocks(&[(Role::Gate, ffn), (Role::Up, ffn)]),
            role => Part::blocks(&[(role, shape[0])]),
        };
        LinearSpec {
            id,
            tensor: format!("{module}.weight"),
            bias: self.biases.contains(&id.role).then(|| format!("{module}.bias")),
            shape,
            transposed: self.names.switches.conv1d,
            parts,
        }
    }

    /// Groups of linears that read the same activations, in the order of pruning.
    pub fn groups(&self, layer: usize) -> Result<Vec<Group>, ModelError> {
        let linears = self.linears_of(layer)?;
        let mut groups: Vec<Group> = Vec::new();
        for linear in linears {
            let input = match (linear.id.role, linear.id.expert) {
                (Role::Q | Role::K | Role::V | Role::Qkv, _) => ActivationSite::AttentionInput,
                (Role::O, _) => ActivationSite::AttentionOutput,
                (Role::Down, None) => ActivationSite::MlpHidden,
                (Role::Down, Some(expert)) => ActivationSite::ExpertHidden(expert),
                (_, None) => ActivationSite::MlpInput,
                (_, Some(expert)) => ActivationSite::ExpertInput(expert),
            };
            match groups.last_mut().filter(|g| g.input == input) {
                Some(group) => group.linears.push(linear),
                None => groups.push(Group {
                    input,
                    linears: vec![linear],
                }),
            }
        }
        Ok(groups)
    }

    /// Width of the activations at an activation site of a layer.
    pub fn width(&self, site: ActivationSite) -> usize {
        match site {
            ActivationSite::AttentionInput
            | ActivationSite::MlpInput
            | ActivationSite::ExpertInput(_)
            | ActivationSite::Output => self.hidden,
            ActivationSite::AttentionOutput => self.heads * self.head_dim,
            ActivationSite::MlpHidden => self.ffn,
            ActivationSite::ExpertHidden(_) => self.experts.map_or(0, |e| e.ffn),
        }
    }

    /// Weights in the prunable linears of one decoder layer.
    pub fn layer_weights(&self, layer: usize) -> Result<usize, ModelError> {
        Ok(self.linears_of(layer)?.iter().map(|l| l.shape[0] * l.shape[1]).sum())
    }

    /// Norms of a decoder layer.
    pub fn norms(&self) -> impl Iterator<Item = Norm> {
        self.names.norms.keys().copied()
    }

    /// Whether a decoder layer has this norm.
    pub fn has_norm(&self, norm: Norm) -> bool {
        self.names.norms.contains_key(&norm)
    }

    /// Module of a layer's norm.
    pub fn norm_module(&self, layer: usize, norm: Norm) -> String {
        format!("{}{}", self.layer_path(layer), self.names.norms[&norm])
    }

    /// Elements of a norm's weight.
    pub fn norm_width(&self, norm: Norm) -> usize {
        match (norm, self.qk_norm) {
            (Norm::Q | Norm::K, QkNorm::Head) => self.head_dim,
            (Norm::Q, _) => self.heads * self.head_dim,
            (Norm::K, _) => self.kv_heads * self.head_dim,
            _ => self.hidden,
        }
    }

    /// Tensors of a norm's module: its weight and, for layer norms, its bias.
    pub fn norm_tensors(&self, module: &str) -> Vec<String> {
        let mut tensors = vec![format!("{module}.weight")];
        if self.norm == NormKind::Layer {
            tensors.push(format!("{module}.bias"));
        }
        tensors
    }

    pub(super) fn layer_path(&self, layer: usize) -> String {
        format!(
            "{}{}",
            self.prefix,
            self.names.modules.layer.replace("{layer}", &layer.to_string())
        )
    }

    /// Tensor name of a layer's router, if its MLP is a mixture of experts.
    pub fn router(&self, layer: usize) -> Option<String> {
        let experts = self.names.experts.as_ref().filter(|_| self.kinds[layer].sparse)?;
        Some(format!("{}{}.weight", self.layer_path(layer), experts.router))
    }

    /// Tensor name of the embedding.
    pub fn embedding(&self) -> String {
        format!("{}{}.weight", self.prefix, self.names.modules.embedding)
    }

    /// Tensor name of the learned positions.
    pub fn positions(&self) -> Option<String> {
        let module = self.names.modules.positions.as_ref()?;
        Some(format!("{}{module}.weight", self.prefix))
    }

    /// Module of the last norm.
    pub fn final_norm(&self) -> String {
        format!("{}{}", self.prefix, self.names.modules.final_norm)
    }

    /// Tensor name of the head: the embedding if tied.
    pub fn head(&self) -> String {
        if self.tied { self.embedding() } else { self.head.clone() }
    }

    /// Names of all tensors the family knows in this checkpoint.
    pub fn tensors(&self) -> Result<BTreeSet<String>, ModelError> {
        let mut names = BTreeSet::from([self.embedding(), self.head()]);
        names.extend(self.positions());
        names.extend(self.norm_tensors(&self.final_norm()));
        for layer in 0..self.layers {
            for norm in self.norms() {
                names.extend(self.norm_tensors(&self.norm_module(layer, norm)));
            }
            for linear in self.linears_of(layer)? {
                names.extend([linear.tensor]);
                names.extend(linear.bias);
            }
            names.extend(self.router(layer));
        }
        Ok(names)
    }
}
