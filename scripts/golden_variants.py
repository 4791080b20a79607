"""The fixtures of golden.py: one entry per family and per switch of a family's configuration."""

from dataclasses import dataclass
from zlib import crc32

import torch

BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32


@dataclass
class Variant:
    """A tiny checkpoint. `config` goes to the configuration class of `model_type`."""

    model_type: str
    dtype: torch.dtype
    config: dict
    embedding_std: float = 1.0
    shard_size: str | None = None
    seed: int | None = None
    # Tensors as published files have them where `save_pretrained` writes others.
    hub_names: bool = False

    def first_seed(self, name):
        return crc32(name.encode()) if self.seed is None else self.seed


def sizes(vocabulary, hidden, ffn, layers, heads, kv_heads=None, **more):
    """The sizes as most configurations spell them."""
    kv = {} if kv_heads is None else {"num_key_value_heads": kv_heads}
    return dict(vocab_size=vocabulary, hidden_size=hidden, intermediate_size=ffn, num_hidden_layers=layers,
                num_attention_heads=heads, **kv, **more)


SMALL_IDS = dict(bos_token_id=1, eos_token_id=2, pad_token_id=None)
UNSCALED = {"rope_type": "default", "rope_theta": 10000.0}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "partial_rotary_factor": 0.75,
    "short_factor": [1.0, 1.1, 1.5],
    "long_factor": [1.2, 3.0, 6.5],
}


def phi3_longrope(original):
    block = {**LONGROPE, "original_max_position_embeddings": original}
    return Variant("phi3", BF16, sizes(
        47, 32, 44, 2, 4, 2, max_position_embeddings=256, original_max_position_embeddings=original,
        rope_parameters=block, **SMALL_IDS))


def gpt2(positions, **more):
    config = dict(vocab_size=53, n_embd=24, n_layer=2, n_head=3, n_positions=positions, bos_token_id=1, eos_token_id=2)
    return Variant("gpt2", F32, config, embedding_std=0.7, **more)


def qwen3_moe(norm_topk_prob, dtype, **layers):
    return Variant("qwen3_moe", dtype, sizes(
        43, 24, 36, 3, 3, 1, head_dim=12, num_experts=5, num_experts_per_tok=2, moe_intermediate_size=16,
        norm_topk_prob=norm_topk_prob, **layers))


VARIANTS = {
    "tied_gqa_bf16": Variant("llama", BF16, sizes(67, 32, 56, 2, 4, 2, tie_word_embeddings=True, rms_norm_eps=1e-5),
                             seed=0),
    "untied_mha_f32": Variant("llama", F32, sizes(53, 16, 32, 2, 2, 2, rms_norm_eps=1e-5), seed=1),
    # Small embeddings make the first norm feel its epsilon.
    "odd_sizes_f16": Variant("llama", F16, sizes(61, 40, 52, 1, 5, 1, head_dim=6, rms_norm_eps=1e-6),
                             embedding_std=0.004, seed=2),
    # Wavelengths 6.3 (kept), 32 (between) and longer (stretched).
    "rope_llama3": Variant("llama", BF16, sizes(41, 24, 40, 1, 2, 1, head_dim=16, max_position_embeddings=512,
                                                rope_parameters=LLAMA3), seed=3),
    "rope_linear_sharded": Variant("llama", BF16, sizes(
        47, 24, 40, 2, 3, 1, rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}),
        shard_size="8KB", seed=4),
    "llama_biases": Variant("llama", F32, sizes(47, 24, 36, 2, 3, 1, attention_bias=True, mlp_bias=True)),
    "llama_yarn": Variant("llama", BF16, sizes(43, 32, 40, 2, 2, 1, max_position_embeddings=256,
                                               rope_parameters=YARN)),
    "llama_yarn_betas": Variant("llama", BF16, sizes(
        43, 32, 40, 2, 2, 1, max_position_embeddings=256,
        rope_parameters={**YARN, "beta_fast": 6.0, "beta_slow": 0.7, "attention_factor": 0.9, "truncate": False})),
    "mistral_window": Variant("mistral", BF16, sizes(51, 32, 44, 3, 4, 2, sliding_window=8)),
    # Layers before max_window_layers see everything.
    "qwen2": Variant("qwen2", BF16, sizes(
        59, 24, 40, 3, 3, 1, tie_word_embeddings=True, use_sliding_window=True, sliding_window=8, max_window_layers=1,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0}, **SMALL_IDS)),
    "qwen3": Variant("qwen3", BF16, sizes(57, 24, 40, 2, 4, 2, head_dim=10, tie_word_embeddings=True)),
    "qwen3_yarn": Variant("qwen3", BF16, sizes(
        41, 24, 36, 2, 2, 2, head_dim=16, max_position_embeddings=256,
        rope_parameters={**YARN, "mscale": 0.8, "mscale_all_dim": 0.5})),
    "gemma2": Variant("gemma2", BF16, sizes(
        53, 24, 36, 3, 4, 2, head_dim=10, sliding_window=8, query_pre_attn_scalar=14, attn_logit_softcapping=1.5,
        final_logit_softcapping=3.0), embedding_std=0.4),
    # Local, local, global, local.
    "gemma3": Variant("gemma3_text", BF16, sizes(
        49, 24, 36, 4, 4, 2, head_dim=10, sliding_window=8, query_pre_attn_scalar=14, max_position_embeddings=512,
        layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters={
            "full_attention": {"rope_type": "linear", "rope_theta": 1000000.0, "factor": 8.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        }), embedding_std=0.4),
    "phi3": Variant("phi3", BF16, sizes(
        47, 32, 44, 2, 4, 2, sliding_window=8, rope_parameters={**UNSCALED, "partial_rotary_factor": 0.5},
        **SMALL_IDS)),
    # The sequences have 37 tokens: shorter than the original context, and longer.
    "phi3_longrope_short": phi3_longrope(64),
    "phi3_longrope_long": phi3_longrope(16),
    "olmo2": Variant("olmo2", BF16, sizes(47, 24, 40, 2, 3, 1, **SMALL_IDS)),
    "opt": Variant("opt", F16, dict(
        vocab_size=61, hidden_size=24, ffn_dim=44, num_hidden_layers=2, num_attention_heads=3,
        max_position_embeddings=64), embedding_std=0.7),
    "gpt_neox": Variant("gpt_neox", F16, sizes(
        53, 32, 44, 2, 2, rope_parameters={**UNSCALED, "partial_rotary_factor": 0.25}, hidden_act="gelu")),
    "gpt_neox_sequential": Variant("gpt_neox", F32, sizes(
        43, 24, 36, 2, 3, rope_parameters={**UNSCALED, "partial_rotary_factor": 0.5}, use_parallel_residual=False,
        attention_bias=False)),
    "gpt_neox_hub_names": Variant("gpt_neox", F16, sizes(
        41, 24, 36, 2, 3, rope_parameters={**UNSCALED, "partial_rotary_factor": 0.5}), hub_names=True),
    "gpt2": gpt2(64),
    "gpt2_hub_names": gpt2(40, hub_names=True),
    "starcoder2": Variant("starcoder2", BF16, sizes(
        51, 24, 44, 2, 3, 1, sliding_window=8, bos_token_id=0, eos_token_id=0)),
    "granite": Variant("granite", BF16, sizes(
        45, 24, 40, 2, 3, 1, tie_word_embeddings=True, embedding_multiplier=2.5, attention_multiplier=0.15,
        residual_multiplier=0.6, logits_scaling=3.0), embedding_std=0.5),
    "mixtral": Variant("mixtral", BF16, sizes(47, 24, 28, 2, 3, 1, num_local_experts=4, num_experts_per_tok=2)),
    "qwen3_moe": qwen3_moe(True, BF16, mlp_only_layers=[1]),
    # Layers 0 and 2 are dense, and the weights of the chosen experts sum to less than one.
    "qwen3_moe_raw_weights": qwen3_moe(False, BF16, decoder_sparse_step=2),
    "stablelm": Variant("stablelm", BF16, sizes(
        47, 32, 44, 2, 2, 1, use_qkv_bias=True, bos_token_id=0, eos_token_id=0,
        rope_parameters={**UNSCALED, "partial_rotary_factor": 0.25})),
}
