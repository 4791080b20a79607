use secateur::checkpoint::Checkpoint;
use secateur::gpu::Gpu;
use secateur::model::{Decoder, Spec};
use secateur::tensor::DType;
use tempfile::TempDir;

use super::plain::Plain;
use super::scores::{check_divergence, check_losses};
use super::{Stored, bound, f64s, logits_bound, perturbed, values, write};
use crate::common::{Data, assert_close, devices, open};

/// Two full tiles of the vocabulary and an odd rest; no size suits a window.
const VOCABULARY: usize = 9001;
const HIDDEN: usize = 201;
const FFN: usize = 210;
/// Every matrix of 201 x 210 is larger than this, every activation smaller.
const SMALL_BINDING: u64 = 64 << 10;

const CONFIG: &str = r#"{
  "architectures": ["LlamaForCausalLM"], "model_type": "llama",
  "vocab_size": 9001, "hidden_size": 201, "intermediate_size": 210, "num_hidden_layers": 1,
  "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "rms_norm_eps": 1e-5
}"#;

pub(super) fn model(dtype: DType) -> TempDir {
    let mut data = Data::new(3);
    let mut matrix = |name: &str, rows: usize, cols: usize| -> Stored {
        let scale = (cols as f32).sqrt().recip();
        let values = data.normal(rows * cols).iter().map(|v| v * scale).collect();
        (name.to_string(), dtype, vec![rows, cols], values)
    };
    let layer = "model.layers.0";
    let mut tensors = vec![
        matrix("model.embed_tokens.weight", VOCABULARY, HIDDEN),
        matrix("lm_head.weight", VOCABULARY, HIDDEN),
        matrix(&format!("{layer}.self_attn.q_proj.weight"), 16, HIDDEN),
        matrix(&format!("{layer}.self_attn.k_proj.weight"), 8, HIDDEN),
        matrix(&format!("{layer}.self_attn.v_proj.weight"), 8, HIDDEN),
        matrix(&format!("{layer}.self_attn.o_proj.weight"), HIDDEN, 16),
        matrix(&format!("{layer}.mlp.gate_proj.weight"), FFN, HIDDEN),
        matrix(&format!("{layer}.mlp.up_proj.weight"), FFN, HIDDEN),
        matrix(&format!("{layer}.mlp.down_proj.weight"), HIDDEN, FFN),
    ];
    for name in [
        "model.norm",
        &format!("{layer}.input_layernorm"),
        &format!("{layer}.post_attention_layernorm"),
    ] {
        let values = data.uniform(HIDDEN).iter().map(|v| 1.0 + 0.5 * v).collect();
        tensors.push((format!("{name}.weight"), dtype, vec![HIDDEN], values));
    }
    write(CONFIG.as_bytes(), &tensors)
}

/// Everything the walk and the evaluations ask of a model whose matrices come in pieces.
fn check(gpu: &Gpu, what: &str, checkpoint: &Checkpoint, other: &Checkpoint, ids: &[Vec<u32>]) {
    let spec = Spec::of(checkpoint).unwrap();
    let sequence = ids[0].len();
    let plain = Plain {
        checkpoint,
        spec: &spec,
        sequence,
    };
    let embedded = plain.embed(ids);
    let (_, hidden) = plain.layer(0, &embedded).pop().unwrap();
    let wanted = plain.logits(&hidden);

    let decoder = Decoder::new(gpu, checkpoint, &spec, sequence).unwrap();
    let mut activations = decoder.embed(ids).unwrap();
    assert_close(&format!("{what}: embedding"), &values(&activations), &embedded, 0.0);
    decoder.advance(&mut activations, &decoder.layer(0).unwrap()).unwrap();
    assert_close(
        &format!("{what}: layer"),
        &values(&activations),
        &hidden,
        bound(&spec, 1),
    );
    let logits = decoder.all_logits(&activations, 0).unwrap();
    assert_close(&format!("{what}: logits"), &logits, &wanted, logits_bound(&spec));
    let losses = decoder.losses(&activations, ids).unwrap();
    check_losses(what, &losses, ids, &wanted, logits_bound(&spec));

    let copy = Decoder::new(gpu, other, &spec, sequence).unwrap();
    let others = copy.run(ids, |_| {}).unwrap();
    let (p, q) = (f64s(&logits), f64s(&copy.all_logits(&others, 0).unwrap()));
    check_divergence(
        what,
        &decoder.divergence(&activations, &copy, &others).unwrap(),
        &p,
        &q,
        VOCABULARY,
    );
}

#[test]
fn large_vocabularies_and_small_bindings() {
    let mut ids = Data::new(4).below(VOCABULARY as u32, 22);
    // Borders of the tiles of 4096 columns.
    ids.extend([0, 4095, 4096, 8191, 8192, 9000]);
    let ids: Vec<Vec<u32>> = ids.chunks(14).map(<[u32]>::to_vec).collect();
    let small: Vec<Gpu> = devices().iter().map(smaller).collect();
    for dtype in [DType::F32, DType::BF16] {
        let dir = model(dtype);
        let checkpoint = Checkpoint::open(dir.path()).unwrap();
        let other = perturbed(&checkpoint, 0.3);
        let other = Checkpoint::open(other.path()).unwrap();
        for gpu in devices().iter().chain(&small) {
            let what = format!("{dtype:?} on {}, bindings of {}", gpu.name(), gpu.limits().binding);
            check(gpu, &what, &checkpoint, &other, &ids);
        }
    }
}

/// The same device with small bindings.
pub(super) fn smaller(gpu: &Gpu) -> Gpu {
    open(if gpu.is_host() { "cpu" } else { gpu.name() }, Some(SMALL_BINDING))
}
