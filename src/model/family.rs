//! A family file (`models/*.toml`): what a family calls its sizes and modules, and which switches it sets.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::ModelError;
use crate::checkpoint::HfConfig;

/// Name and text of every file `models/*.toml`, compiled into the program.
const FAMILIES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/families.rs"));

/// The place of a linear in a decoder layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Query projection.
    Q,
    /// Key projection.
    K,
    /// Value projection.
    V,
    /// Query, key and value projections in one tensor.
    Qkv,
    /// Attention output projection.
    O,
    /// MLP gate projection.
    Gate,
    /// MLP up projection (the only one before the activation in an ungated MLP).
    Up,
    /// Gate and up projections in one tensor.
    GateUp,
    /// MLP down projection.
    Down,
}

impl Role {
    /// Whether it is a linear of the second half of a layer.
    pub fn in_mlp(self) -> bool {
        matches!(self, Role::Gate | Role::Up | Role::GateUp | Role::Down)
    }

    /// Name in family files and reports.
    pub fn name(self) -> &'static str {
        match self {
            Role::Q => "q",
            Role::K => "k",
            Role::V => "v",
            Role::Qkv => "qkv",
            Role::O => "o",
            Role::Gate => "gate",
            Role::Up => "up",
            Role::GateUp => "gate_up",
            Role::Down => "down",
        }
    }
}

/// The place of a norm in a decoder layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// Before attention.
    Attention,
    /// On the attention's output, before it joins the residual stream.
    AttentionOut,
    /// Before the MLP.
    Mlp,
    /// On the MLP's output, before it joins the residual stream.
    MlpOut,
    /// On the queries.
    Q,
    /// On the keys.
    K,
}

/// How a norm works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormKind {
    /// Root mean square, weight only.
    #[default]
    Rms,
    /// Mean and variance, weight and bias.
    Layer,
}

/// What the norms of queries and keys span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QkNorm {
    /// There are none.
    #[default]
    None,
    /// Each head by itself.
    Head,
    /// All heads together.
    All,
}

/// How queries, keys and values share a fused tensor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Fused {
    /// All queries, then all keys, then all values.
    #[default]
    Blocks,
    /// Head by head: its query, key and value.
    Heads,
}

/// How a token's position enters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Positions {
    /// Rotary embedding of queries and keys.
    #[default]
    Rope,
    /// A learned vector per position, added to the embedding.
    Learned,
}

/// Which decoder layers attend to a sliding window only, where `layer_types` in `config.json` does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WindowLayers {
    /// None.
    #[default]
    None,
    /// All, if `sliding_window` is set.
    All,
    /// Layer 0, 2, 4, ...
    Even,
    /// All but every `sliding_window_pattern`-th.
    Pattern,
    /// From layer `max_window_layers` on, if `use_sliding_window`.
    #[serde(rename = "from_max_window_layers")]
    FromLayer,
}

/// What the loaders of a family take the width of a head to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum HeadDim {
    /// The hidden size over the number of heads, whatever `head_dim` says.
    #[default]
    Derived,
    /// What `head_dim` says, but transformers wants the heads to divide the hidden size all the same.
    Divides,
    /// What `head_dim` says.
    Free,
    /// What `head_dim` says, in transformers and llama.cpp; the hidden size over the heads in others.
    Transformers,
}

/// A number that scales something.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum Scale {
    /// This number.
    Fixed(f64),
    /// A rule (`sqrt_hidden`) or a key of `config.json`.
    Named(String),
}

/// True or false, or as a key of `config.json` says (absent is false).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum Flag {
    /// In every checkpoint of the family.
    Fixed(bool),
    /// The key to ask.
    Key(String),
}

impl Default for Flag {
    fn default() -> Self {
        Flag::Fixed(false)
    }
}

impl Flag {
    pub(super) fn get(&self, config: &HfConfig) -> Result<bool, ModelError> {
        match self {
            Flag::Fixed(value) => Ok(*value),
            Flag::Key(key) => Ok(config.bool_or(key, false)?),
        }
    }
}

/// Switches of a family; each is described in `models/README.md`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Switches {
    pub(super) norm: NormKind,
    pub(super) norm_offset: f64,
    pub(super) qk_norm: QkNorm,
    pub(super) positions: Positions,
    pub(super) position_offset: usize,
    pub(super) parallel_residual: Flag,
    pub(super) fused: Fused,
    pub(super) conv1d: bool,
    pub(super) head_dim: HeadDim,
    pub(super) window_layers: WindowLayers,
    pub(super) local_rope: bool,
    pub(super) attention_scale: Option<Scale>,
    pub(super) attention_cap: bool,
    pub(super) embedding_scale: Option<Scale>,
    pub(super) residual_scale: Option<Scale>,
    pub(super) logits_divisor: Option<Scale>,
    pub(super) bos: bool,
}

/// Modules outside the decoder layers, without the prefix and without `.weight`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Modules {
    pub(super) embedding: String,
    pub(super) positions: Option<String>,
    pub(super) final_norm: String,
    /// Never prefixed.
    pub(super) head: String,
    /// A decoder layer, with `{layer}`.
    pub(super) layer: String,
}

/// Mixture of experts.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Experts {
    /// Module of the router.
    pub(super) router: String,
    /// Module of an expert, with `{expert}`.
    pub(super) expert: String,
    /// Linears of an expert.
    pub(super) linears: BTreeMap<Role, String>,
    /// Keys of the number of experts; the first that is there holds.
    pub(super) count: Vec<String>,
    /// Key of the width of an expert.
    pub(super) width: String,
    /// Whether the weights of the chosen experts are scaled to a sum of one.
    pub(super) renormalise: Flag,
}

/// A family file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Family {
    /// Name in reports.
    pub family: String,
    /// Values of `model_type` that select it, when `architectures` is empty.
    #[serde(default)]
    pub model_types: Vec<String>,
    /// Values of `architectures` that select it.
    pub architectures: Vec<String>,
    /// What may stand before the names of modules; the first under which the embedding is found holds.
    #[serde(default = "no_prefix")]
    pub(super) prefixes: Vec<String>,
    /// Usual key of `config.json` to the family's own.
    #[serde(default)]
    pub(super) config: BTreeMap<String, String>,
    /// What an absent key means.
    #[serde(default)]
    pub(super) defaults: Map<String, Value>,
    /// Settings that must have this value, for the maths of others is not here.
    #[serde(default)]
    pub(super) requires: Map<String, Value>,
    #[serde(default)]
    pub(super) switches: Switches,
    pub(super) modules: Modules,
    pub(super) norms: BTreeMap<Norm, String>,
    pub(super) linears: BTreeMap<Role, String>,
    #[serde(default)]
    pub(super) biases: BTreeMap<Role, Flag>,
    pub(super) experts: Option<Experts>,
}

fn no_prefix() -> Vec<String> {
    vec![String::new()]
}

impl Family {
    /// Reads a family file; errors name the place in it.
    pub fn parse(text: &str, file: &str) -> Result<Self, ModelError> {
        let bad = |message: String| ModelError::BadFamily {
            file: file.to_string(),
            message,
        };
        let family: Family = toml::from_str(text).map_err(|e| {
            let line = e
                .span()
                .map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            bad(format!("line {line}: {}", e.message().replace('\n', " ")))
        })?;
        family.check().map_err(bad)?;
        Ok(family)
    }

    /// Reads a user's family file.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| ModelError::BadFamily {
            file: file.clone(),
            message: format!("cannot read it: {e}"),
        })?;
        Self::parse(&text, &file)
    }

    /// The built-in family of a checkpoint.
    pub fn find(config: &HfConfig) -> Result<Self, ModelError> {
        let architectures = config.architectures();
        let model_type = config.str_or("model_type", "")?;
        let found = Self::builtin().find(|f| {
            f.architectures.iter().any(|a| architectures.contains(&a.as_str()))
                || (architectures.is_empty() && f.model_types.iter().any(|t| t == model_type))
        });
        found.ok_or_else(|| ModelError::UnknownArchitecture {
            file: config.file().display().to_string(),
            found: format!("{architectures:?} (model_type `{model_type}`)"),
            supported: Self::builtin()
                .flat_map(|f| f.architectures)
                .collect::<Vec<_>>()
                .join(", "),
        })
    }

    /// All built-in families.
    pub fn builtin() -> impl Iterator<Item = Family> {
        FAMILIES
            .iter()
            .map(|(name, text)| Self::parse(text, name).expect("built-in family files are tested"))
    }

    /// What is missing or contradicts itself.
    fn check(&self) -> Result<(), String> {
        let has = |role: Role| self.linears.contains_key(&role);
        let mlp = |linears: &BTreeMap<Role, String>, place: &str| {
            let has = |role: &Role| linears.contains_key(role);
            if !has(&Role::Down) || !(has(&Role::Up) || has(&Role::GateUp)) {
                return Err(format!("{place} needs `down`, and `up` or `gate_up`"));
            }
            if has(&Role::GateUp) && (has(&Role::Up) || has(&Role::Gate)) {
                return Err(format!("{place} has `gate_up` and one of its parts"));
            }
            Ok(())
        };
        let separate = [Role::Q, Role::K, Role::V].map(has);
        if !(has(Role::Qkv) && separate == [false; 3] || !has(Role::Qkv) && separate == [true; 3]) {
            return Err("[linears] needs either `q`, `k` and `v`, or `qkv`".into());
        }
        if !has(Role::O) {
            return Err("[linears] lacks `o`, the attention's output projection".into());
        }
        match &self.experts {
            // Families of experts may have dense layers too.
            Some(experts) => mlp(&experts.linears, "[experts.linears]")?,
            None => mlp(&self.linears, "[linears]")?,
        }
        for place in [Norm::Q, Norm::K] {
            if self.norms.contains_key(&place) != (self.switches.qk_norm != QkNorm::None) {
                return Err("[norms] `q` and `k` and the switch `qk_norm` belong together".into());
            }
        }
        for (places, what) in [
            ([Norm::Attention, Norm::AttentionOut], "attention"),
            ([Norm::Mlp, Norm::MlpOut], "MLP"),
        ] {
            if !places.iter().any(|n| self.norms.contains_key(n)) {
                return Err(format!("[norms] has no norm before or after the {what}"));
            }
        }
        if (self.switches.positions == Positions::Learned) != self.modules.positions.is_some() {
            return Err("[modules] `positions` and the switch `positions = \"learned\"` belong together".into());
        }
        if !self.modules.layer.contains("{layer}") {
            return Err("[modules] `layer` must contain {layer}".into());
        }
        if self.biases.keys().any(|role| !has(*role)) {
            return Err("[biases] names a linear that [linears] lacks".into());
        }
        Ok(())
    }
}
