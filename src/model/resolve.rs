//! From a checkpoint and a family file to a [`Spec`]: reads `config.json`, finds the prefix, checks every tensor.

use super::ModelError;
use super::family::{Family, Positions, Scale, Switches, WindowLayers};
use super::rope::Rope;
use super::spec::{ExpertSpec, LayerKind, Spec};
use crate::checkpoint::{Checkpoint, HfConfig};
use crate::ops::nn::Activation;

impl Spec {
    /// Finds the family of a checkpoint and reads its sizes.
    pub fn of(checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        Self::with_family(checkpoint, Family::find(checkpoint.config())?)
    }

    /// Reads the checkpoint's sizes as `family` names them and checks that every tensor is there with its shape.
    pub fn with_family(checkpoint: &Checkpoint, family: Family) -> Result<Self, ModelError> {
        let config = checkpoint.config().seen_by(&family.config, &family.defaults);
        let reader = Reader {
            config: &config,
            file: checkpoint.dir().join("config.json").display().to_string(),
            switches: family.switches.clone(),
        };
        reader.check_requirements(&family)?;
        let mut spec = reader.spec(checkpoint, family)?;
        spec.check_outside(checkpoint)?;
        // A layer beyond the last tensor is found before a list of them is made: the number may be damaged.
        checkpoint.tensor(&spec.linears(spec.layers - 1, LayerKind::default())?[0].tensor)?;
        spec.kinds = reader.kinds(spec.layers, spec.experts)?;
        spec.check_layers(checkpoint)?;
        // Only now: a table for the sizes of a damaged config could exceed all memory.
        if spec.position_offset.is_none() {
            let local = spec.kinds.iter().any(|kind| kind.local_rope);
            spec.ropes = Rope::all(&config, &reader.file, spec.head_dim, local)?;
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
            if let (Some(experts), Some(router)) = (self.experts, self.router(layer)) {
                checkpoint.tensor_of_shape(&router, &[experts.count, self.hidden])?;
            }
        }
        Ok(())
    }
}

/// `config.json` as a family sees it.
struct Reader<'a> {
    config: &'a HfConfig,
    /// Its path, for messages.
    file: String,
    switches: Switches,
}

/// Sizes of attention.
struct Heads {
    hidden: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Reader<'_> {
    fn bad(&self, message: String) -> ModelError {
        let file = self.file.clone();
        ModelError::BadSize { file, message }
    }

    fn unsupported(&self, key: &str, found: String, supported: String) -> ModelError {
        ModelError::UnsupportedSetting {
            file: self.file.clone(),
            key: self.config.own_key(key).to_string(),
            found,
            supported,
        }
    }

    fn check_requirements(&self, family: &Family) -> Result<(), ModelError> {
        for (key, accepted) in &family.requires {
            let Some(found) = self.config.value(key) else { continue };
            let accepted = accepted.as_array().cloned().unwrap_or_else(|| vec![accepted.clone()]);
            // The key of another size means "the same as that size".
            let same = |value: &serde_json::Value| {
                value == found
                    || value
                        .as_str()
                        .is_some_and(|other| self.config.value(other) == Some(found))
            };
            if !accepted.iter().any(same) {
                let list: Vec<String> = accepted.iter().map(ToString::to_string).collect();
                return Err(self.unsupported(key, found.to_string(), format!("only {}", list.join(" or "))));
            }
        }
        Ok(())
    }

    /// Everything but the layers' kinds and the rotary tables.
    fn spec(&self, checkpoint: &Checkpoint, family: Family) -> Result<Spec, ModelError> {
        let (config, switches) = (self.config, &self.switches);
        let sizes = self.heads()?;
        let prefix = find_prefix(checkpoint, &family);
        let head = find_head(checkpoint, &family, &prefix);
        let Heads {
            hidden,
            heads,
            kv_heads,
            head_dim,
        } = sizes;
        let learned = switches.positions == Positions::Learned;
        let embedding = format!("{prefix}{}.weight", family.modules.embedding);
        Ok(Spec {
            family: family.family.clone(),
            layers: self.above_zero("num_hidden_layers", None)?,
            hidden,
            ffn: self.above_zero("intermediate_size", Some(4 * hidden))?,
            heads,
            kv_heads,
            head_dim,
            vocabulary: self.above_zero("vocab_size", None)?,
            max_positions: config.usize_or("max_position_embeddings", 2048)?,
            norm_eps: config.f64_or("rms_norm_eps", 1e-6)? as f32,
            norm: switches.norm,
            norm_offset: switches.norm_offset as f32,
            qk_norm: switches.qk_norm,
            ropes: Vec::new(),
            position_offset: learned.then_some(switches.position_offset),
            activation: self.activation()?,
            parallel: switches.parallel_residual.get(config)?,
            attention_scale: self.attention_scale(head_dim)?,
            attention_cap: self.cap("attn_logit_softcapping")?.filter(|_| switches.attention_cap),
            logits_cap: self.cap("final_logit_softcapping")?,
            embedding_scale: self.scale(&switches.embedding_scale, hidden, 1.0)?,
            residual_scale: self.scale(&switches.residual_scale, hidden, 1.0)?,
            logits_scale: 1.0 / self.scale(&switches.logits_divisor, hidden, 1.0)?,
            tied: self.is_tied(checkpoint, head.as_deref(), &embedding)?,
            needs_bos: switches.bos,
            bos: config
                .value("bos_token_id")
                .and_then(serde_json::Value::as_u64)
                .map(|id| id as u32),
            experts: self.experts(&family)?,
            kinds: Vec::new(),
            biases: self.biases(&family)?,
            head: head.unwrap_or_default(),
            prefix,
            names: family,
        })
    }

    /// Whether the head is the embedding: not if the checkpoint has one with other values, whatever its config says, as
    /// transformers 5 has it.
    fn is_tied(&self, checkpoint: &Checkpoint, head: Option<&str>, embedding: &str) -> Result<bool, ModelError> {
        match head {
            None => Ok(true),
            Some(head) => {
                Ok(self.config.bool_or("tie_word_embeddings", false)? && same_values(checkpoint, [head, embedding])?)
            }
        }
    }

    fn heads(&self) -> Result<Heads, ModelError> {
        let config = self.config;
        let (hidden, heads) = (config.usize("hidden_size")?, config.usize("num_attention_heads")?);
        if heads == 0 || hidden == 0 {
            return Err(self.bad(format!("{heads} heads of hidden size {hidden}")));
        }
        let head_dim = config.usize_or("head_dim", hidden / heads)?;
        let kv_heads = config.usize_or("num_key_value_heads", heads)?;
        if kv_heads == 0 || heads % kv_heads != 0 || head_dim == 0 {
            let message = format!("{heads} query heads, {kv_heads} key/value heads of head_dim {head_dim} do not fit");
            return Err(self.bad(message));
        }
        Ok(Heads {
            hidden,
            heads,
            kv_heads,
            head_dim,
        })
    }

    fn above_zero(&self, key: &str, default: Option<usize>) -> Result<usize, ModelError> {
        let value = match default {
            Some(default) => self.config.usize_or(key, default)?,
            None => self.config.usize(key)?,
        };
        if value == 0 {
            let message = format!("`{}` is 0: there is nothing to run", self.config.own_key(key));
            return Err(self.bad(message));
        }
        Ok(value)
    }

    fn scale(&self, scale: &Option<Scale>, hidden: usize, default: f64) -> Result<f32, ModelError> {
        Ok(match scale {
            None => default,
            Some(Scale::Fixed(value)) => *value,
            Some(Scale::Named(rule)) if rule == "sqrt_hidden" => (hidden as f64).sqrt(),
            Some(Scale::Named(key)) => self.config.f64_or(key, default)?,
        } as f32)
    }

    /// The key `query_pre_attn_scalar` holds a number whose inverse root is the factor, others the factor itself.
    fn attention_scale(&self, head_dim: usize) -> Result<f32, ModelError> {
        match &self.switches.attention_scale {
            Some(Scale::Named(key)) if key == "query_pre_attn_scalar" => {
                Ok(self.config.f64_or(key, head_dim as f64)?.sqrt().recip() as f32)
            }
            other => self.scale(other, 0, (head_dim as f64).sqrt().recip()),
        }
    }

    fn cap(&self, key: &str) -> Result<Option<f32>, ModelError> {
        Ok(Some(self.config.f64_or(key, 0.0)? as f32).filter(|cap| *cap > 0.0))
    }

    fn activation(&self) -> Result<Activation, ModelError> {
        Ok(match self.config.str_or("hidden_act", "silu")? {
            "silu" | "swish" => Activation::Silu,
            "gelu" => Activation::GeluErf,
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            "quick_gelu" => Activation::QuickGelu,
            other => {
                let supported = "silu, gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, relu, quick_gelu";
                return Err(self.unsupported("hidden_act", format!("\"{other}\""), supported.into()));
            }
        })
    }

    fn experts(&self, family: &Family) -> Result<Option<ExpertSpec>, ModelError> {
        let Some(names) = &family.experts else { return Ok(None) };
        let is_there = |key: &&String| self.config.value(key).is_some();
        let count = names.count.iter().find(is_there).or(names.count.first());
        Ok(Some(ExpertSpec {
            count: self.config.usize(count.map_or("num_experts", String::as_str))?,
            per_token: self.config.usize("num_experts_per_tok")?,
            ffn: self.config.usize(&names.width)?,
            renormalise: names.renormalise.get(self.config)?,
        }))
    }

    fn biases(&self, family: &Family) -> Result<Vec<super::Role>, ModelError> {
        let mut biases = Vec::new();
        for (role, flag) in &family.biases {
            if flag.get(self.config)? {
                biases.push(*role);
            }
        }
        Ok(biases)
    }

    /// Switches of every layer: `layer_types` as newer configs list them, or the family's rule.
    fn kinds(&self, layers: usize, experts: Option<ExpertSpec>) -> Result<Vec<LayerKind>, ModelError> {
        let config = self.config;
        let types = config.value("layer_types").and_then(|v| v.as_array());
        if let Some(types) = types.filter(|t| t.len() != layers) {
            return Err(self.bad(format!("`layer_types` lists {} layers of {layers}", types.len())));
        }
        let window = Some(config.usize_or("sliding_window", 0)?).filter(|window| *window > 0);
        let list = config.value("mlp_only_layers").and_then(|v| v.as_array());
        let dense: Vec<u64> = list.into_iter().flatten().filter_map(|v| v.as_u64()).collect();
        let step = config.usize_or("decoder_sparse_step", 1)?.max(1);
        (0..layers)
            .map(|layer| {
                let slides = match types {
                    Some(types) => self.slides_by_type(types[layer].as_str().unwrap_or(""))?,
                    None => self.slides_by_rule(layer)?,
                };
                let is_dense = dense.contains(&(layer as u64)) || !(layer + 1).is_multiple_of(step);
                Ok(LayerKind {
                    window: window.filter(|_| slides),
                    local_rope: slides && self.switches.local_rope,
                    sparse: experts.is_some_and(|e| e.count > 0) && !is_dense,
                })
            })
            .collect()
    }

    fn slides_by_type(&self, name: &str) -> Result<bool, ModelError> {
        match name {
            "sliding_attention" => Ok(self.switches.window_layers != WindowLayers::None),
            "full_attention" => Ok(false),
            other => {
                let supported = "full_attention, sliding_attention".to_string();
                Err(self.unsupported("layer_types", format!("\"{other}\""), supported))
            }
        }
    }

    fn slides_by_rule(&self, layer: usize) -> Result<bool, ModelError> {
        let config = self.config;
        Ok(match self.switches.window_layers {
            WindowLayers::None => false,
            WindowLayers::All => true,
            WindowLayers::Even => layer.is_multiple_of(2),
            WindowLayers::Pattern => {
                let pattern = config.usize_or("sliding_window_pattern", 6)?.max(1);
                !(layer + 1).is_multiple_of(pattern)
            }
            WindowLayers::FromLayer => {
                config.bool_or("use_sliding_window", false)? && layer >= config.usize_or("max_window_layers", 0)?
            }
        })
    }
}

/// Whether two tensors are the same in type, shape and every byte.
fn same_values(checkpoint: &Checkpoint, names: [&str; 2]) -> Result<bool, ModelError> {
    const PIECE: usize = 16 << 20;
    let [Ok(a), Ok(b)] = names.map(|name| checkpoint.tensor(name)) else {
        // Whatever is missing or damaged is named where it is needed.
        return Ok(true);
    };
    if (a.dtype, a.shape) != (b.dtype, b.shape) {
        return Ok(false);
    }
    let same = a.bytes.chunks(PIECE).zip(b.bytes.chunks(PIECE)).all(|(a, b)| {
        let same = a == b;
        names.iter().for_each(|name| checkpoint.release(name));
        same
    });
    Ok(same)
}

/// The first prefix under which the embedding is found; the first of all if none is (the error then names it).
fn find_prefix(checkpoint: &Checkpoint, family: &Family) -> String {
    let with = |prefix: &&String| checkpoint.contains(&format!("{prefix}{}.weight", family.modules.embedding));
    let found = family.prefixes.iter().find(with).or(family.prefixes.first());
    found.cloned().unwrap_or_default()
}

/// The head's tensor, if the checkpoint has one.
fn find_head(checkpoint: &Checkpoint, family: &Family, prefix: &str) -> Option<String> {
    let module = &family.modules.head;
    // A multimodal checkpoint may keep the head beside its language model.
    let parent = prefix.strip_suffix("model.").unwrap_or(prefix);
    [
        format!("{module}.weight"),
        format!("{prefix}{module}.weight"),
        format!("{parent}{module}.weight"),
    ]
    .into_iter()
    .find(|name| checkpoint.contains(name))
}
