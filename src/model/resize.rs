//! The same model with narrower or fewer layers: its sizes, its `config.json`, and which sizes a family's loaders can take.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::family::{HeadDim, QkNorm};
use super::{ModelError, Spec};
use crate::checkpoint::{Checkpoint, HfConfig};

/// Keys of `config.json` that list something for each layer; the first says what a layer attends to.
const LAYER_LISTS: [&str; 4] = ["layer_types", "mlp_layer_types", "no_rope_layers", "layers_block_type"];

/// What the loaders of a family make of fewer heads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FewerHeads {
    /// Any of these numbers of key/value heads, with all their query heads.
    Can {
        /// Ascending, the present one last.
        kv_heads: Vec<usize>,
        /// Loaders that take the width of a head to be `hidden_size / num_attention_heads` all the same.
        not_in: Option<&'static str>,
    },
    /// Why not.
    Cannot(String),
}

impl Spec {
    /// Reads another checkpoint of the same family file.
    pub fn of_same_family(&self, checkpoint: &Checkpoint) -> Result<Spec, ModelError> {
        Spec::with_family(checkpoint, self.names.clone())
    }

    /// The same model with an MLP of `ffn` neurons and `kv_heads` key/value heads, each with as many query heads as before.
    pub fn resized(&self, ffn: usize, kv_heads: usize) -> Spec {
        Spec {
            ffn,
            kv_heads,
            heads: kv_heads * self.queries_per_group(),
            ..self.clone()
        }
    }

    /// The same model with these of its layers, in their order.
    pub fn keeping(&self, layers: &[usize]) -> Spec {
        Spec {
            layers: layers.len(),
            kinds: layers.iter().map(|layer| self.kinds[*layer]).collect(),
            ..self.clone()
        }
    }

    /// What the names of all tensors of a layer begin with.
    pub fn layer_prefix(&self, layer: usize) -> String {
        self.layer_path(layer)
    }

    /// Query heads of a key/value head.
    pub fn queries_per_group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Whether any layer has a mixture of experts.
    pub fn has_experts(&self) -> bool {
        self.experts.is_some() && self.kinds.iter().any(|kind| kind.sparse)
    }

    /// `config.json` of this model with the sizes of `to`, whose layers are these of its own. Where heads go, the width of
    /// a head is written out; where layers go of a model whose layers see different windows, so is the kind of each.
    pub fn resized_config(&self, config: &HfConfig, to: &Spec, layers: &[usize]) -> Vec<u8> {
        let key = |usual: &'static str| self.names.config.get(usual).map_or(usual, String::as_str);
        let mut values = Vec::new();
        if to.ffn != self.ffn {
            values.push((key("intermediate_size"), json!(to.ffn)));
        }
        if to.kv_heads != self.kv_heads {
            values.push((key("num_attention_heads"), json!(to.heads)));
            values.push((key("num_key_value_heads"), json!(to.kv_heads)));
            values.push((key("head_dim"), json!(to.head_dim)));
        }
        if to.layers != self.layers {
            values.push((key("num_hidden_layers"), json!(to.layers)));
            values.extend(self.layer_lists(config, layers));
        }
        config.edited(&values)
    }

    /// Lists with an entry for each layer, of those that stay.
    fn layer_lists(&self, config: &HfConfig, layers: &[usize]) -> Vec<(&'static str, Value)> {
        let mut lists = Vec::new();
        for key in LAYER_LISTS {
            let list = config.value(key).and_then(Value::as_array);
            if let Some(list) = list.filter(|list| list.len() == self.layers) {
                lists.push((key, layers.iter().map(|layer| list[*layer].clone()).collect()));
            }
        }
        let differ = self.kinds.iter().any(|kind| kind.window != self.kinds[0].window);
        if differ && !lists.iter().any(|(key, _)| *key == LAYER_LISTS[0]) {
            let kind = |layer: &usize| match self.kinds[*layer].window {
                Some(_) => "sliding_attention",
                None => "full_attention",
            };
            lists.push((LAYER_LISTS[0], layers.iter().map(kind).collect()));
        }
        lists
    }

    /// Whether the family's loaders open a model with fewer heads of the same width.
    pub fn fewer_heads(&self, config: &HfConfig) -> FewerHeads {
        let cannot = |reason: &str| FewerHeads::Cannot(format!("family `{}`: {reason}", self.family));
        let all = 1..=self.kv_heads;
        let can = |kv_heads, not_in| FewerHeads::Can { kv_heads, not_in };
        if self.qk_norm == QkNorm::All {
            return cannot("its norms span all heads, which would all change");
        }
        if longrope(config) {
            return cannot("transformers checks its longrope factors against hidden_size / num_attention_heads");
        }
        match self.names.switches.head_dim {
            HeadDim::Derived => cannot(
                "its loaders take the width of a head to be hidden_size / num_attention_heads, which would change",
            ),
            HeadDim::Free => can(all.collect(), None),
            HeadDim::Transformers => can(
                all.collect(),
                Some("mlx-lm, candle and older vLLM take the width of a head to be hidden_size / num_attention_heads"),
            ),
            HeadDim::Divides => can(self.dividing(all), None),
        }
    }

    /// Numbers of key/value heads whose query heads divide the hidden size, and the present one.
    fn dividing(&self, all: RangeInclusive<usize>) -> Vec<usize> {
        let per_group = self.queries_per_group();
        all.filter(|groups| self.hidden.is_multiple_of(groups * per_group) || *groups == self.kv_heads)
            .collect()
    }
}

fn longrope(config: &HfConfig) -> bool {
    ["rope_scaling", "rope_parameters"].iter().any(|key| {
        let block = config.value(key);
        let named = |name| block.and_then(|b| b.get(name)).and_then(|v| v.as_str());
        let kinds = [named("rope_type"), named("type")];
        // The first configs of Phi-3 call it `su`.
        ["longrope", "su"].iter().any(|kind| kinds.contains(&Some(kind)))
    })
}
