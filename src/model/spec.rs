//! What a model is: sizes from `config.json`, names and order from the family file.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::ModelError;
use super::rope::Rope;
use crate::checkpoint::Checkpoint;

const FAMILIES: &[&str] = &[include_str!("../../models/llama.toml")];

/// The place of a linear in a decoder layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Query projection.
    Q,
    /// Key projection.
    K,
    /// Value projection.
    V,
    /// Attention output projection.
    O,
    /// MLP gate projection.
    Gate,
    /// MLP up projection.
    Up,
    /// MLP down projection.
    Down,
}

impl Role {
    /// All roles in the order of a forward pass.
    pub const ALL: [Role; 7] = [Role::Q, Role::K, Role::V, Role::O, Role::Gate, Role::Up, Role::Down];
}

/// A point inside a decoder layer whose activations can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tap {
    /// Normalised input of q, k and v.
    AttentionInput,
    /// Input of o.
    AttentionOutput,
    /// Normalised input of gate and up.
    MlpInput,
    /// Input of down.
    MlpHidden,
    /// The layer's output (residual stream).
    Output,
}

/// Linears that read the same activations.
#[derive(Clone, Debug, Deserialize)]
pub struct Group {
    /// Where their input is.
    pub input: Tap,
    /// Which linears, in the order of pruning.
    pub linears: Vec<Role>,
}

#[derive(Clone, Debug, Deserialize)]
struct Names {
    embedding: String,
    final_norm: String,
    head: String,
    attention_norm: String,
    mlp_norm: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Family {
    family: String,
    model_types: Vec<String>,
    architectures: Vec<String>,
    tensors: Names,
    linears: BTreeMap<Role, String>,
    groups: Vec<Group>,
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
    /// Rotary embedding.
    pub rope: Rope,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Groups in the order of pruning.
    pub groups: Vec<Group>,
    names: Names,
    linears: BTreeMap<Role, String>,
}

impl Spec {
    /// Finds the family of a checkpoint and reads its sizes.
    pub fn of(checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        let config = checkpoint.config();
        let file = checkpoint.dir().join("config.json").display().to_string();
        let family = find_family(config.str_or("model_type", "")?, &config.architectures(), &file)?;
        let unsupported = |key: &str, found: String, supported: &str| ModelError::UnsupportedSetting {
            file: file.clone(),
            key: key.to_string(),
            found,
            supported: supported.to_string(),
        };
        for key in ["attention_bias", "mlp_bias"] {
            if config.bool_or(key, false)? {
                return Err(unsupported(key, "true".to_string(), "only false"));
            }
        }
        if let Some(act) = config
            .value("hidden_act")
            .and_then(|v| v.as_str())
            .filter(|a| *a != "silu")
        {
            return Err(unsupported("hidden_act", act.to_string(), "only \"silu\""));
        }
        let (hidden, heads) = (config.usize("hidden_size")?, config.usize("num_attention_heads")?);
        if heads == 0 || hidden == 0 {
            return Err(ModelError::BadSize {
                file,
                message: format!("{heads} heads of hidden size {hidden}"),
            });
        }
        let head_dim = config.usize_or("head_dim", hidden / heads)?;
        let kv_heads = config.usize_or("num_key_value_heads", heads)?;
        if kv_heads == 0 || heads % kv_heads != 0 || head_dim == 0 || head_dim % 2 != 0 {
            let message = format!("{heads} query heads, {kv_heads} key/value heads of head_dim {head_dim} do not fit");
            return Err(ModelError::BadSize { file, message });
        }
        let spec = Spec {
            family: family.family,
            layers: config.usize("num_hidden_layers")?,
            hidden,
            ffn: config.usize("intermediate_size")?,
            heads,
            kv_heads,
            head_dim,
            vocabulary: config.usize("vocab_size")?,
            max_positions: config.usize_or("max_position_embeddings", 2048)?,
            norm_eps: config.f64_or("rms_norm_eps", 1e-6)? as f32,
            rope: Rope::from_config(config, &file, head_dim)?,
            tied: config.bool_or("tie_word_embeddings", false)? || !checkpoint.contains(&family.tensors.head),
            groups: family.groups,
            names: family.tensors,
            linears: family.linears,
        };
        spec.check_tensors(checkpoint)?;
        Ok(spec)
    }

    /// Fails early, before any work, if a tensor is missing or has another shape.
    fn check_tensors(&self, checkpoint: &Checkpoint) -> Result<(), ModelError> {
        checkpoint.tensor_of_shape(self.embedding(), &[self.vocabulary, self.hidden])?;
        checkpoint.tensor_of_shape(self.final_norm(), &[self.hidden])?;
        checkpoint.tensor_of_shape(self.head(), &[self.vocabulary, self.hidden])?;
        for layer in 0..self.layers {
            for norm in [self.attention_norm(layer), self.mlp_norm(layer)] {
                checkpoint.tensor_of_shape(&norm, &[self.hidden])?;
            }
            for role in Role::ALL {
                checkpoint.tensor_of_shape(&self.linear(layer, role), &self.shape(role))?;
            }
        }
        Ok(())
    }

    /// `[outputs, inputs]` of a linear.
    pub fn shape(&self, role: Role) -> [usize; 2] {
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        match role {
            Role::Q => [q, self.hidden],
            Role::K | Role::V => [kv, self.hidden],
            Role::O => [self.hidden, q],
            Role::Gate | Role::Up => [self.ffn, self.hidden],
            Role::Down => [self.hidden, self.ffn],
        }
    }

    /// Width of the activations at a tap.
    pub fn width(&self, tap: Tap) -> usize {
        match tap {
            Tap::AttentionInput | Tap::MlpInput | Tap::Output => self.hidden,
            Tap::AttentionOutput => self.heads * self.head_dim,
            Tap::MlpHidden => self.ffn,
        }
    }

    /// Weights in the linears of one decoder layer.
    pub fn layer_weights(&self) -> usize {
        Role::ALL.iter().map(|r| self.shape(*r).iter().product::<usize>()).sum()
    }

    /// Tensor name of a linear.
    pub fn linear(&self, layer: usize, role: Role) -> String {
        at(&self.linears[&role], layer)
    }

    /// Tensor name of the norm before attention.
    pub fn attention_norm(&self, layer: usize) -> String {
        at(&self.names.attention_norm, layer)
    }

    /// Tensor name of the norm before the MLP.
    pub fn mlp_norm(&self, layer: usize) -> String {
        at(&self.names.mlp_norm, layer)
    }

    /// Tensor name of the embedding.
    pub fn embedding(&self) -> &str {
        &self.names.embedding
    }

    /// Tensor name of the last norm.
    pub fn final_norm(&self) -> &str {
        &self.names.final_norm
    }

    /// Tensor name of the head: the embedding if tied.
    pub fn head(&self) -> &str {
        if self.tied {
            &self.names.embedding
        } else {
            &self.names.head
        }
    }
}

fn at(template: &str, layer: usize) -> String {
    template.replace("{layer}", &layer.to_string())
}

fn find_family(model_type: &str, architectures: &[&str], file: &str) -> Result<Family, ModelError> {
    let families: Vec<Family> = FAMILIES
        .iter()
        .map(|text| toml::from_str(text).expect("family files are tested"))
        .collect();
    let supported = families
        .iter()
        .flat_map(|f| f.architectures.clone())
        .collect::<Vec<_>>()
        .join(", ");
    let found = families.into_iter().find(|f| {
        f.architectures.iter().any(|a| architectures.contains(&a.as_str()))
            || (architectures.is_empty() && f.model_types.iter().any(|t| t == model_type))
    });
    found.ok_or_else(|| ModelError::UnknownArchitecture {
        file: file.to_string(),
        found: format!("{architectures:?} (model_type `{model_type}`)"),
        supported,
    })
}
