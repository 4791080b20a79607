//! What a model is: sizes from `config.json`, names and switches from the family file, resolved for one checkpoint.

use std::collections::BTreeSet;

use super::family::{Family, Norm, NormKind, Positions, QkNorm, Role, Scale, WindowLayers};
use super::linear_spec::{LinearId, LinearSpec, Part};
use super::rope::Rope;
use super::{Group, ModelError, Tap};
use crate::checkpoint::{Checkpoint, HfConfig};
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
    biases: Vec<Role>,
    names: Family,
    prefix: String,
    head: String,
}

impl Spec {
    /// Finds the family of a checkpoint and reads its sizes.
    pub fn of(checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        Self::with_family(checkpoint, Family::find(checkpoint.config())?)
    }

    /// Reads the checkpoint's sizes as `family` names them and checks that every tensor is there with its shape.
    pub fn with_family(checkpoint: &Checkpoint, family: Family) -> Result<Self, ModelError> {
        let config = &checkpoint.config().seen_by(&family.config, &family.defaults);
        let file = checkpoint.dir().join("config.json").display().to_string();
        check_requirements(config, &family, &file)?;
        let prefix = find_prefix(checkpoint, &family);
        let (hidden, heads) = (config.usize("hidden_size")?, config.usize("num_attention_heads")?);
        let bad = |message: String| ModelError::BadSize {
            file: file.clone(),
            message,
        };
        if heads == 0 || hidden == 0 {
            return Err(bad(format!("{heads} heads of hidden size {hidden}")));
        }
        let head_dim = config.usize_or("head_dim", hidden / heads)?;
        let kv_heads = config.usize_or("num_key_value_heads", heads)?;
        if kv_heads == 0 || heads % kv_heads != 0 || head_dim == 0 {
            let message = format!("{heads} query heads, {kv_heads} key/value heads of head_dim {head_dim} do not fit");
            return Err(bad(message));
        }
        let switches = &family.switches;
        let head = [
            format!("{}{}.weight", prefix, family.modules.head),
            format!("{}.weight", family.modules.head),
        ]
        .into_iter()
        .find(|name| checkpoint.contains(name));
        let learned = switches.positions == Positions::Learned;
        let scale = |scale: &Option<Scale>, default: f64| -> Result<f32, ModelError> {
            Ok(match scale {
                None => default,
                Some(Scale::Fixed(value)) => *value,
                Some(Scale::Named(rule)) if rule == "sqrt_hidden" => (hidden as f64).sqrt(),
                Some(Scale::Named(key)) => config.f64_or(key, default)?,
            } as f32)
        };
        let cap = |key: &str| -> Result<Option<f32>, ModelError> {
            Ok(Some(config.f64_or(key, 0.0)? as f32).filter(|cap| *cap > 0.0))
        };
        // Named alone it is the key of a number whose inverse root is the factor, or of the factor itself.
        let attention_scale = match &switches.attention_scale {
            Some(Scale::Named(key)) if key == "query_pre_attn_scalar" => {
                config.f64_or(key, head_dim as f64)?.sqrt().recip() as f32
            }
            other => scale(other, (head_dim as f64).sqrt().recip())?,
        };
        let tied = head.is_none() || config.bool_or("tie_word_embeddings", false)?;
        let mut spec = Spec {
            family: family.family.clone(),
            layers: config.usize("num_hidden_layers")?,
            hidden,
            ffn: config.usize_or("intermediate_size", 4 * hidden)?,
            heads,
            kv_heads,
            head_dim,
            vocabulary: config.usize("vocab_size")?,
            max_positions: config.usize_or("max_position_embeddings", 2048)?,
            norm_eps: config.f64_or("rms_norm_eps", 1e-6)? as f32,
            norm: switches.norm,
            norm_offset: switches.norm_offset as f32,
            qk_norm: switches.qk_norm,
            ropes: Vec::new(),
            position_offset: learned.then_some(switches.position_offset),
            activation: activation(config, &file)?,
            parallel: switches.parallel_residual.get(config)?,
            attention_scale,
            attention_cap: cap("attn_logit_softcapping")?.filter(|_| switches.attention_cap),
            logits_cap: cap("final_logit_softcapping")?,
            embedding_scale: scale(&switches.embedding_scale, 1.0)?,
            residual_scale: scale(&switches.residual_scale, 1.0)?,
            logits_scale: 1.0 / scale(&switches.logits_divisor, 1.0)?,
            tied,
            needs_bos: switches.bos,
            bos: config
                .value("bos_token_id")
                .and_then(|v| v.as_u64())
                .map(|id| id as u32),
            experts: experts(config, &family)?,
            kinds: Vec::new(),
            biases: Vec::new(),
            head: head.unwrap_or_default(),
            prefix,
            names: family,
        };
        for (key, size) in [
            ("num_hidden_layers", spec.layers),
            ("intermediate_size", spec.ffn),
            ("vocab_size", spec.vocabulary),
        ] {
            if size == 0 {
                return Err(bad(format!("`{}` is 0: there is nothing to run", config.own_key(key))));
            }
        }
        for (role, flag) in &spec.names.biases {
            if flag.get(config)? {
                spec.biases.push(*role);
            }
        }
        spec.check_outside(checkpoint)?;
        // A layer beyond the last tensor is found before a list of them is made: the number may be damaged.
        checkpoint.tensor(&spec.linears(spec.layers - 1, LayerKind::default())?[0].tensor)?;
        spec.kinds = kinds(config, &spec, &file)?;
        spec.check_layers(checkpoint)?;
        // Only now: a table for the sizes of a damaged config could exceed all memory.
        if !learned {
            spec.ropes = Rope::all(config, &file, &spec)?;
        }
        Ok(spec)
    }

    fn check_outside(&self, checkpoint: &Checkpoint) -> Result<(), ModelError> {
        checkpoint.tensor_of_shape(&self.embedding(), &[self.vocabulary, self.hidden])?;
        checkpoint.tensor_of_shape(&self.head(), &[self.vocabulary, self.hidden])?;
        for name in self.norm_tensors(&self.final_norm()) {
            checkpoint.tensor_of_shape(&name, &[self.hidden])?;
        }
        if let Some(name) = self.positions() {
            let rows = self.max_positions + self.position_offset.unwrap_or(0);
            checkpoint.tensor_of_shape(&name, &[rows, self.hidden])?;
        }
        Ok(())
    }

    /// Fails early, before any work, if a tensor is missing or has another shape.
    fn check_layers(&self, checkpoint: &Checkpoint) -> Result<(), ModelError> {
        for layer in 0..self.layers {
            for norm in self.norms() {
                for name in self.norm_tensors(&self.norm_module(layer, norm)) {
                    checkpoint.tensor_of_shape(&name, &[self.norm_width(norm)])?;
                }
            }
            for linear in self.linears_of(layer)? {
                checkpoint.tensor_of_shape(&linear.tensor, &linear.stored_shape())?;
                if let Some(bias) = &linear.bias {
                    checkpoint.tensor_of_shape(bias, &[linear.shape[0]])?;
                }
            }
            if let (Some(experts), true) = (self.experts, self.kinds[layer].sparse) {
                let router = self.router(layer).expect("a sparse layer has a router");
                checkpoint.tensor_of_shape(&router, &[experts.count, self.hidden])?;
            }
        }
        Ok(())
    }

    /// The prunable linears of a layer, in the order of a forward pass.
    pub fn linears_of(&self, layer: usize) -> Result<Vec<LinearSpec>, ModelError> {
        self.linears(layer, self.kinds[layer])
    }

    fn linears(&self, layer: usize, kind: LayerKind) -> Result<Vec<LinearSpec>, ModelError> {
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
                (Role::Q | Role::K | Role::V | Role::Qkv, _) => Tap::AttentionInput,
                (Role::O, _) => Tap::AttentionOutput,
                (Role::Down, None) => Tap::MlpHidden,
                (Role::Down, Some(expert)) => Tap::ExpertHidden(expert),
                (_, None) => Tap::MlpInput,
                (_, Some(expert)) => Tap::ExpertInput(expert),
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

    /// Width of the activations at a tap of a layer.
    pub fn width(&self, tap: Tap) -> usize {
        match tap {
            Tap::AttentionInput | Tap::MlpInput | Tap::ExpertInput(_) | Tap::Output => self.hidden,
            Tap::AttentionOutput => self.heads * self.head_dim,
            Tap::MlpHidden => self.ffn,
            Tap::ExpertHidden(_) => self.experts.map_or(0, |e| e.ffn),
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

    fn layer_path(&self, layer: usize) -> String {
        format!(
            "{}{}",
            self.prefix,
            self.names.modules.layer.replace("{layer}", &layer.to_string())
        )
    }

    /// Tensor name of a layer's router.
    pub fn router(&self, layer: usize) -> Option<String> {
        let experts = self.names.experts.as_ref()?;
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
            names.extend(self.router(layer).filter(|_| self.kinds[layer].sparse));
        }
        Ok(names)
    }
}

/// The first prefix under which the embedding is found; the first of all if none is (the error then names it).
fn find_prefix(checkpoint: &Checkpoint, family: &Family) -> String {
    let with = |prefix: &&String| checkpoint.contains(&format!("{prefix}{}.weight", family.modules.embedding));
    let found = family.prefixes.iter().find(with).or(family.prefixes.first());
    found.cloned().unwrap_or_default()
}

fn check_requirements(config: &HfConfig, family: &Family, file: &str) -> Result<(), ModelError> {
    for (key, accepted) in &family.requires {
        let Some(found) = config.value(key) else { continue };
        let accepted = accepted.as_array().cloned().unwrap_or_else(|| vec![accepted.clone()]);
        // The key of another size means "the same as that size".
        let same = |value: &serde_json::Value| {
            value == found || value.as_str().is_some_and(|other| config.value(other) == Some(found))
        };
        if !accepted.iter().any(same) {
            let list: Vec<String> = accepted.iter().map(ToString::to_string).collect();
            return Err(ModelError::UnsupportedSetting {
                file: file.to_string(),
                key: config.own_key(key).to_string(),
                found: found.to_string(),
                supported: format!("only {}", list.join(" or ")),
            });
        }
    }
    Ok(())
}

fn activation(config: &HfConfig, file: &str) -> Result<Activation, ModelError> {
    let name = config.str_or("hidden_act", "silu")?;
    Ok(match name {
        "silu" | "swish" => Activation::Silu,
        "gelu" => Activation::GeluErf,
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Activation::GeluTanh,
        "relu" => Activation::Relu,
        "quick_gelu" => Activation::QuickGelu,
        other => {
            return Err(ModelError::UnsupportedSetting {
                file: file.to_string(),
                key: config.own_key("hidden_act").to_string(),
                found: format!("\"{other}\""),
                supported: "silu, gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, relu, quick_gelu".to_string(),
            });
        }
    })
}

fn experts(config: &HfConfig, family: &Family) -> Result<Option<ExpertSpec>, ModelError> {
    let Some(names) = &family.experts else { return Ok(None) };
    let count = names
        .count
        .iter()
        .find(|key| config.value(key).is_some())
        .or(names.count.first());
    let count = count.map_or("num_experts", String::as_str);
    Ok(Some(ExpertSpec {
        count: config.usize(count)?,
        per_token: config.usize("num_experts_per_tok")?,
        ffn: config.usize(&names.width)?,
        renormalise: names.renormalise.get(config)?,
    }))
}

/// Switches of every layer: `layer_types` as newer configs list them, or the family's rule.
fn kinds(config: &HfConfig, spec: &Spec, file: &str) -> Result<Vec<LayerKind>, ModelError> {
    let switches = &spec.names.switches;
    let types = config.value("layer_types").and_then(|v| v.as_array());
    if let Some(types) = types.filter(|t| t.len() != spec.layers) {
        let message = format!("`layer_types` lists {} layers of {}", types.len(), spec.layers);
        return Err(ModelError::BadSize {
            file: file.to_string(),
            message,
        });
    }
    let window = match config.usize_or("sliding_window", 0)? {
        0 => None,
        window => Some(window),
    };
    let pattern = config.usize_or("sliding_window_pattern", 6)?.max(1);
    let (used, from) = (
        config.bool_or("use_sliding_window", false)?,
        config.usize_or("max_window_layers", 0)?,
    );
    let dense_layers: Vec<usize> = config
        .value("mlp_only_layers")
        .and_then(|v| v.as_array())
        .map_or_else(Vec::new, |list| {
            list.iter().filter_map(|v| v.as_u64()).map(|v| v as usize).collect()
        });
    let step = config.usize_or("decoder_sparse_step", 1)?.max(1);
    let kind = |layer: usize| {
        let slides = match switches.window_layers {
            WindowLayers::None => Ok(false),
            rule => match types.map(|t| t[layer].as_str().unwrap_or("")) {
                Some("sliding_attention") => Ok(true),
                Some("full_attention") => Ok(false),
                Some(other) => Err(ModelError::UnsupportedSetting {
                    file: file.to_string(),
                    key: "layer_types".into(),
                    found: format!("\"{other}\""),
                    supported: "full_attention, sliding_attention".into(),
                }),
                None => Ok(match rule {
                    WindowLayers::None => false,
                    WindowLayers::All => true,
                    WindowLayers::Even => layer % 2 == 0,
                    WindowLayers::Pattern => (layer + 1) % pattern != 0,
                    WindowLayers::FromMaxWindowLayers => used && layer >= from,
                }),
            },
        }?;
        Ok(LayerKind {
            window: window.filter(|_| slides),
            local_rope: slides && switches.local_rope,
            sparse: spec.experts.is_some_and(|e| e.count > 0)
                && !dense_layers.contains(&layer)
                && (layer + 1) % step == 0,
        })
    };
    (0..spec.layers).map(kind).collect()
}
