"""config_old.json of golden.py: a configuration as transformers 4 wrote it, which means the same."""

import json

from transformers import AutoConfig

# Written by transformers 5 only: transformers 4 said the same by other fields, or by its code.
LAYER_TYPES = {
    "qwen2": {},
    "gemma2": {},
    "gemma3_text": {"sliding_window_pattern": 3},
}


def spell_rope(config):
    """`rope_parameters` as the fields of transformers 4."""
    block = config.pop("rope_parameters")
    if "full_attention" in block:
        config["rope_local_base_freq"] = block["sliding_attention"]["rope_theta"]
        block = block["full_attention"]
    base, share = block.pop("rope_theta"), block.pop("partial_rotary_factor", None)
    if config["model_type"] == "gpt_neox":
        config["rotary_emb_base"], config["rotary_pct"] = base, share
    else:
        config["rope_theta"] = base
        if share is not None:
            config["partial_rotary_factor"] = share
    if "original_max_position_embeddings" in config:
        block.pop("original_max_position_embeddings", None)
    if block["rope_type"] in ("linear", "longrope") and config["model_type"] != "gemma3_text":
        block["type"] = block.pop("rope_type")
    config["rope_scaling"] = None if block == {"rope_type": "default"} else block


def drop_defaults(config):
    """Sizes left out where a default says them, as older files do."""
    heads = config["num_attention_heads"]
    if config.get("head_dim", 0) in (None, config["hidden_size"] / heads):
        config.pop("head_dim", None)
    if config["model_type"] == "llama" and config["num_key_value_heads"] == heads:  # elsewhere the default is a number
        del config["num_key_value_heads"]


def meaning(config):
    """What must not change with the spelling."""
    fields = config.to_dict()
    for key in ("transformers_version", "architectures", "_name_or_path", "sliding_window_pattern",
                "_sliding_window_pattern", "head_dim", "original_max_position_embeddings",
                "partial_rotary_factor"):
        fields.pop(key, None)
    blocks = fields["rope_parameters"]
    for block in (blocks, *blocks.values()):
        if isinstance(block, dict):
            block.pop("type", None)
    fields["head_dim"] = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return fields


def write(folder):
    """Writes config_old.json unless both versions spell this family alike."""
    config = json.loads((folder / "config.json").read_text())
    if "rope_parameters" not in config:
        return
    spell_rope(config)
    drop_defaults(config)
    if config["model_type"] in LAYER_TYPES:
        del config["layer_types"]
        config.pop("_sliding_window_pattern", None)
        config.update(LAYER_TYPES[config["model_type"]])
    if "num_local_experts" in config and config["model_type"] == "qwen3_moe":
        config["num_experts"] = config.pop("num_local_experts")
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.46.0"
    path = folder / "config_old.json"
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    old, new = meaning(AutoConfig.from_pretrained(path)), meaning(AutoConfig.from_pretrained(folder))
    differences = {key: (old.get(key), new.get(key)) for key in old | new if old.get(key) != new.get(key)}
    assert not differences, f"{folder.name}: {differences}"
