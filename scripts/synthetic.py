#!/usr/bin/env python3
"""Writes a random checkpoint of any Llama shape, with a tokenizer of words and a text, to measure time and memory with.

Needs only the standard library. The weights repeat a random block, so the files are written as fast as the disk takes
them; they are of the right size for a forward pass that neither dies out nor overflows.

    python3 scripts/synthetic.py DIR --hidden 4096 --ffn 14336 --heads 32 --kv-heads 8 --layers 2 --vocabulary 32000
"""

import argparse
import json
import random
import struct
from pathlib import Path

BLOCK = 1 << 19  # elements


def block(scale, rng):
    """Random bf16 elements, uniform in +-scale."""
    values = (rng.uniform(-scale, scale) for _ in range(BLOCK))
    return b"".join(struct.pack("<f", v)[2:] for v in values)


def tensors(a):
    """Name and shape of every tensor, in the order of the file."""
    kv = a.hidden // a.heads * a.kv_heads
    yield "model.embed_tokens.weight", [a.vocabulary, a.hidden]
    for i in range(a.layers):
        layer = f"model.layers.{i}."
        for name, shape in [
            ("self_attn.q_proj", [a.hidden, a.hidden]),
            ("self_attn.k_proj", [kv, a.hidden]),
            ("self_attn.v_proj", [kv, a.hidden]),
            ("self_attn.o_proj", [a.hidden, a.hidden]),
            ("mlp.gate_proj", [a.ffn, a.hidden]),
            ("mlp.up_proj", [a.ffn, a.hidden]),
            ("mlp.down_proj", [a.hidden, a.ffn]),
            ("input_layernorm", [a.hidden]),
            ("post_attention_layernorm", [a.hidden]),
        ]:
            yield f"{layer}{name}.weight", shape
    yield "model.norm.weight", [a.hidden]
    yield "lm_head.weight", [a.vocabulary, a.hidden]


def elements(shape):
    count = 1
    for n in shape:
        count *= n
    return count


def write_weights(a, path):
    rng = random.Random(a.seed)
    # A uniform distribution of this half width has variance 1 / hidden.
    linear = block((3.0 / a.hidden) ** 0.5, rng)
    embedding = block(1.0, rng)
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in tensors(a):
        end = offset + 2 * elements(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in tensors(a):
            source = embedding if "embed" in name else linear
            if len(shape) == 1:
                source = struct.pack("<f", 1.0)[2:] * shape[0]
            left, start = 2 * elements(shape), 2 * rng.randrange(BLOCK) if len(shape) > 1 else 0
            while left > 0:
                piece = source[start : start + left]
                file.write(piece)
                left, start = left - len(piece), 0


def write_rest(a, out):
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": a.vocabulary,
        "hidden_size": a.hidden,
        "intermediate_size": a.ffn,
        "num_hidden_layers": a.layers,
        "num_attention_heads": a.heads,
        "num_key_value_heads": a.kv_heads,
        "hidden_act": "silu",
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    (out / "config.json").write_text(json.dumps(config, indent=2))
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {"?" if i == 0 else f"w{i}": i for i in range(a.vocabulary)},
            "unk_token": "?",
        },
    }
    (out / "tokenizer.json").write_text(json.dumps(tokenizer))
    rng = random.Random(a.seed + 1)
    words = (f"w{1 + int((a.vocabulary - 1) * rng.random() ** 3)}" for _ in range(a.words))
    (out / "text.txt").write_text(" ".join(words) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dir", type=Path)
    for name, default in [
        ("hidden", 1024),
        ("ffn", 3584),
        ("heads", 16),
        ("kv-heads", 4),
        ("layers", 2),
        ("vocabulary", 8192),
        ("words", 40000),
        ("seed", 0),
    ]:
        parser.add_argument(f"--{name}", type=int, default=default)
    a = parser.parse_args()
    a.dir.mkdir(parents=True, exist_ok=True)
    write_rest(a, a.dir)
    write_weights(a, a.dir / "model.safetensors")


if __name__ == "__main__":
    main()
