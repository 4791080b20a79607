#!/usr/bin/env python3
"""Writes the fixtures of tests/golden: tiny random Llama checkpoints, and what transformers computes on them.

    python3 scripts/golden.py [OUTPUT FOLDER]      (default: tests/golden/data)

Written with torch 2.15.0, transformers 5.23.0, safetensors 0.8.0; other versions of torch may draw other weights.

Per variant: config.json and the weights as `save_pretrained` writes them, and expected.safetensors with the token ids,
the residual stream after the embedding and after every decoder layer (before the final norm), and the logits. They are
computed in float64 from the stored weights and rounded to float32 once, so that a test's bound covers our rounding
only. Rotary angles are the exception: transformers computes them in float32 whatever the model's type.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama import modeling_llama

SEQUENCES, LENGTH = 2, 37

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}

# name -> (dtype, standard deviation of the embedding, shard size, config)
VARIANTS = {
    "tied_gqa_bf16": (
        torch.bfloat16, 1.0, None,
        dict(vocab_size=67, hidden_size=32, intermediate_size=56, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, tie_word_embeddings=True, rms_norm_eps=1e-5),
    ),
    "untied_mha_f32": (
        torch.float32, 1.0, None,
        dict(vocab_size=53, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
             num_key_value_heads=2, rms_norm_eps=1e-5),
    ),
    # Small embeddings make the first norm feel its epsilon.
    "odd_sizes_f16": (
        torch.float16, 0.004, None,
        dict(vocab_size=61, hidden_size=40, intermediate_size=52, num_hidden_layers=1, num_attention_heads=5,
             num_key_value_heads=1, head_dim=6, rms_norm_eps=1e-6),
    ),
    # Wavelengths 6.3 (kept), 32 (between) and longer (stretched).
    "rope_llama3": (
        torch.bfloat16, 1.0, None,
        dict(vocab_size=41, hidden_size=24, intermediate_size=40, num_hidden_layers=1, num_attention_heads=2,
             num_key_value_heads=1, head_dim=16, max_position_embeddings=512, rope_parameters=LLAMA3),
    ),
    "rope_linear_sharded": (
        torch.bfloat16, 1.0, "8KB",
        dict(vocab_size=47, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3,
             num_key_value_heads=1, rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}),
    ),
}


def norm_in_own_type(self, x):
    """LlamaRMSNorm without its excursion to float32."""
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def randomise(model, embedding_std, generator):
    """Weights that keep activations near unit size, scores far from uniform, and norms apart from one."""
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if p.ndim == 1:
            p.data = 1 + 0.3 * noise
        elif "embed_tokens" in name:
            p.data = embedding_std * noise
        else:
            gain = 1.5 if any(part in name for part in ("q_proj", "k_proj", "gate_proj", "lm_head")) else 1.0
            p.data = gain * noise / p.shape[1] ** 0.5


@torch.no_grad()
def forward(model, ids):
    """Embedding, output of every layer, logits: `[rows, columns]` each."""
    seen = {}

    def keep(name):
        def hook(_module, _inputs, output):
            value = output[0] if isinstance(output, tuple) else output
            seen[name] = value.reshape(-1, value.shape[-1])

        return hook

    hooks = [model.model.embed_tokens.register_forward_hook(keep("embedding"))]
    for i, layer in enumerate(model.model.layers):
        hooks.append(layer.register_forward_hook(keep(f"layers.{i}")))
    logits = model(input_ids=ids, use_cache=False).logits
    seen["logits"] = logits.reshape(-1, logits.shape[-1])
    for hook in hooks:
        hook.remove()
    return seen


def in_float64(folder, ids):
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()
    plain = forward(model, ids)
    original = modeling_llama.LlamaRMSNorm.forward
    modeling_llama.LlamaRMSNorm.forward = norm_in_own_type
    try:
        exact = forward(model.double(), ids)
    finally:
        modeling_llama.LlamaRMSNorm.forward = original
    for name, value in exact.items():
        assert value.dtype == torch.float64
        error = (plain[name].double() - value).norm() / value.norm()
        assert error < 3e-6, f"{folder.name} {name}: float32 and float64 differ by {error:.1e}"
        print(f"{folder.name:22} {name:10} rms {value.pow(2).mean().sqrt():8.4f}   float32 differs by {error:.1e}")
    return {name: value.float().contiguous() for name, value in exact.items()}


def old_spelling(folder):
    """config_old.json as transformers 4 wrote it, sizes left out where a default says them; means the same."""
    new = LlamaConfig.from_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    block = config.pop("rope_parameters")
    config["rope_theta"] = block.pop("rope_theta")
    if block["rope_type"] == "linear":
        block["type"] = block.pop("rope_type")
    config["rope_scaling"] = None if block == {"rope_type": "default"} else block
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.46.0"
    if config["head_dim"] * config["num_attention_heads"] == config["hidden_size"]:
        del config["head_dim"]
    if config["num_key_value_heads"] == config["num_attention_heads"]:
        del config["num_key_value_heads"]
    path = folder / "config_old.json"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    old = LlamaConfig.from_pretrained(path)
    old.rope_parameters.pop("type", None)
    for key in ("rope_parameters", "head_dim", "num_key_value_heads", "tie_word_embeddings"):
        assert getattr(old, key) == getattr(new, key), f"{folder.name}: {key}"


def main():
    out = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent / "tests/golden/data")
    for seed, (name, (dtype, embedding_std, shard, config)) in enumerate(VARIANTS.items()):
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        generator = torch.Generator().manual_seed(seed)
        model = LlamaForCausalLM(LlamaConfig(**config))
        randomise(model, embedding_std, generator)
        model.tie_weights()
        model.to(dtype).save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
        (folder / "generation_config.json").unlink(missing_ok=True)
        old_spelling(folder)
        vocabulary = config["vocab_size"]
        ids = torch.randint(vocabulary, (SEQUENCES, LENGTH), generator=generator)
        ids[0, 0], ids[1, -1] = 0, vocabulary - 1
        save_file({"ids": ids.int(), **in_float64(folder, ids)}, folder / "expected.safetensors")


if __name__ == "__main__":
    main()
