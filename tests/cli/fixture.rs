//! A random Llama of some twenty thousand weights, with a tokenizer of words and a text to go with it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::{Value, json};

pub(super) const HIDDEN: usize = 32;
pub(super) const FFN: usize = 48;
pub(super) const LAYERS: usize = 2;
pub(super) const VOCABULARY: usize = 64;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;

/// The linears of a layer and their shapes, as the checkpoint names them.
pub(super) const LINEARS: [(&str, [usize; 2]); 7] = [
    ("self_attn.q_proj", [HIDDEN, HIDDEN]),
    ("self_attn.k_proj", [HIDDEN / 2, HIDDEN]),
    ("self_attn.v_proj", [HIDDEN / 2, HIDDEN]),
    ("self_attn.o_proj", [HIDDEN, HIDDEN]),
    ("mlp.gate_proj", [FFN, HIDDEN]),
    ("mlp.up_proj", [FFN, HIDDEN]),
    ("mlp.down_proj", [HIDDEN, FFN]),
];

/// Name of the shard with number `i` of `n`, from 0.
pub(super) fn shard_name(i: usize, n: usize) -> String {
    format!("model-{:05}-of-{n:05}.safetensors", i + 1)
}

/// One tensor as stored.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) bytes: Vec<u8>,
}

impl Stored {
    pub(super) fn from_view(name: &str, view: &TensorView<'_>) -> Self {
        Stored {
            name: name.into(),
            dtype: view.dtype(),
            shape: view.shape().to_vec(),
            bytes: view.data().to_vec(),
        }
    }

    pub(super) fn view(&self) -> TensorView<'_> {
        TensorView::new(self.dtype, self.shape.clone(), &self.bytes).unwrap()
    }

    /// Uniform in ±`scale` but never nearer to zero than a tenth of it.
    fn random(name: &str, shape: &[usize], scale: f32, random: &mut Random) -> Self {
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|_| random.away_from_zero() * scale)
            .collect();
        let mut stored = Stored {
            name: name.into(),
            dtype: Dtype::F32,
            shape: shape.to_vec(),
            bytes: Vec::new(),
        };
        stored.set(&values);
        stored
    }

    pub(super) fn values(&self) -> Vec<f32> {
        let pair = |b: &[u8]| [b[0], b[1]];
        match self.dtype {
            Dtype::F32 => self
                .bytes
                .chunks(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect(),
            Dtype::F16 => self
                .bytes
                .chunks(2)
                .map(|b| f16::from_le_bytes(pair(b)).to_f32())
                .collect(),
            Dtype::BF16 => self
                .bytes
                .chunks(2)
                .map(|b| bf16::from_le_bytes(pair(b)).to_f32())
                .collect(),
            other => panic!("{other} is not read here"),
        }
    }

    pub(super) fn set(&mut self, values: &[f32]) {
        self.bytes = match self.dtype {
            Dtype::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Dtype::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
            Dtype::BF16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
            other => panic!("{other} is not written here"),
        };
    }

    pub(super) fn store_as(&mut self, dtype: Dtype) {
        let values = self.values();
        self.dtype = dtype;
        self.set(&values);
    }

    pub(super) fn is_linear(&self) -> bool {
        self.name.contains("_proj.")
    }
}

/// A checkpoint before it is written; tests spoil it as they like.
#[derive(Clone)]
pub(super) struct Model {
    pub(super) config: Value,
    pub(super) tensors: Vec<Stored>,
    pub(super) shards: usize,
}

impl Model {
    /// Of two layers in bf16, in one file, with a head of its own.
    pub(super) fn small() -> Self {
        Self::of_layers(LAYERS)
    }

    pub(super) fn of_layers(layers: usize) -> Self {
        Self::of_sizes(layers, 1)
    }

    /// All sizes but the vocabulary `times` as large.
    pub(super) fn of_sizes(layers: usize, times: usize) -> Self {
        let (mut random, hidden) = (Random(1), times * HIDDEN);
        let mut tensors = vec![
            Stored::random("model.embed_tokens.weight", &[VOCABULARY, hidden], 1.0, &mut random),
            Stored::random("lm_head.weight", &[VOCABULARY, hidden], 0.3, &mut random),
            Stored::random("model.norm.weight", &[hidden], 1.0, &mut random),
        ];
        for layer in 0..layers {
            for (name, shape) in LINEARS {
                let shape = shape.map(|n| times * n);
                tensors.push(Stored::random(&linear(layer, name), &shape, 0.3, &mut random));
            }
            for norm in ["input_layernorm", "post_attention_layernorm"] {
                let name = format!("model.layers.{layer}.{norm}.weight");
                tensors.push(Stored::random(&name, &[hidden], 1.0, &mut random));
            }
        }
        let mut model = Model {
            config: config(layers, times),
            tensors,
            shards: 1,
        };
        model.store_as(Dtype::BF16);
        model
    }

    pub(super) fn store_as(&mut self, dtype: Dtype) {
        self.tensors.iter_mut().for_each(|tensor| tensor.store_as(dtype));
    }

    pub(super) fn tensor(&mut self, name: &str) -> &mut Stored {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).unwrap()
    }

    /// Writes config, tokenizer, weights and, for several shards, their index into a new folder.
    pub(super) fn write(&self, folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        fs::write(
            folder.join("config.json"),
            serde_json::to_string_pretty(&self.config).unwrap(),
        )
        .unwrap();
        fs::write(folder.join("tokenizer.json"), tokenizer()).unwrap();
        let metadata = HashMap::from([("format".to_string(), "pt".to_string()), ("note".into(), "kept".into())]);
        let per_shard = self.tensors.len().div_ceil(self.shards);
        let mut map = serde_json::Map::new();
        for (i, tensors) in self.tensors.chunks(per_shard).enumerate() {
            let name = if self.shards == 1 {
                "model.safetensors".into()
            } else {
                shard_name(i, self.shards)
            };
            let views: Vec<_> = tensors.iter().map(|t| (t.name.clone(), t.view())).collect();
            serialize_to_file(views, Some(metadata.clone()), &folder.join(&name)).unwrap();
            map.extend(tensors.iter().map(|t| (t.name.clone(), Value::from(name.clone()))));
        }
        if self.shards > 1 {
            let index = json!({ "metadata": { "total_size": 0 }, "weight_map": map });
            fs::write(folder.join("model.safetensors.index.json"), index.to_string()).unwrap();
        }
    }
}

/// Tensor name of a linear.
pub(super) fn linear(layer: usize, name: &str) -> String {
    format!("model.layers.{layer}.{name}.weight")
}

fn config(layers: usize, times: usize) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": times * HIDDEN,
        "intermediate_size": times * FFN,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "hidden_act": "silu",
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": false,
        "rope_theta": 10000.0,
    })
}

/// Words `w1`, `w2`, ... are the tokens 1, 2, ...; anything else is 0.
fn tokenizer() -> String {
    let vocabulary: serde_json::Map<_, _> = (0..VOCABULARY)
        .map(|i| (if i == 0 { "?".into() } else { format!("w{i}") }, i.into()))
        .collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": { "type": "WhitespaceSplit" }, "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": "?" },
    })
    .to_string()
}

/// A text of so many words, ten a line; the word after `w` is more often than not one of few.
pub(super) fn text(words: usize) -> String {
    let (mut random, mut word, mut text) = (Random(7), 1, String::new());
    for i in 1..=words {
        let jump = if random.next() % 4 == 0 {
            random.next() as usize
        } else {
            random.next() as usize % 3
        };
        word = 1 + (word * 5 + jump) % (VOCABULARY - 1);
        text += &format!("w{word}{}", if i % 10 == 0 { '\n' } else { ' ' });
    }
    text
}

/// A 64-bit linear congruential generator's high half (Knuth's MMIX constants).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 32) as u32
    }

    /// Uniform in -1..-0.1 and 0.1..1.
    fn away_from_zero(&mut self) -> f32 {
        let drawn = self.next();
        let size = 0.1 + 0.9 * (drawn >> 8) as f32 / (1u32 << 24) as f32;
        if drawn & 1 == 0 { size } else { -size }
    }
}
