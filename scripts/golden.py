#!/usr/bin/env python3
"""Writes the fixtures of tests/golden: tiny random checkpoints, and what transformers computes on them.

    python3 scripts/golden.py [OUTPUT FOLDER [VARIANT...]]      (default: tests/golden/data, all)

Needs torch 2.15.0 and transformers 5.23.0 (other versions may draw other weights or write other files), safetensors.

Per variant: config.json and the weights as `save_pretrained` writes them, and expected.safetensors with the token ids,
the residual stream that enters layer 0 and the one after every decoder layer (before the final norm), and the logits.
They are computed in float64 from the stored weights and rounded to float32 once, so that a test's bound covers our
rounding only. Rotary angles are the exception: transformers computes them in float32 whatever the model's type.
"""

import sys
from pathlib import Path

import torch
import transformers
from golden_old_config import write as write_old_config
from golden_variants import VARIANTS
from safetensors.torch import load_file, save_file
from torch.overrides import TorchFunctionMode
from transformers import AutoConfig, AutoModelForCausalLM

assert torch.__version__.split("+")[0] == "2.15.0", f"torch is {torch.__version__}, the fixtures are of 2.15.0"
assert transformers.__version__ == "5.23.0", f"transformers is {transformers.__version__}, the fixtures are of 5.23.0"
transformers.utils.logging.disable_progress_bar()
torch.cuda.is_current_stream_capturing = lambda: False  # no CUDA here, and asking may need its libraries

SEQUENCES, LENGTH = 2, 37
# A router that is this undecided between two experts may choose otherwise in other arithmetic.
CLEAR_CHOICE = 1e-3
# Of float32 and float64: four times what the worst variant shows.
AGREEMENT = 3e-6


class StayInFloat64(TorchFunctionMode):
    """Casts of float64 tensors to float32 leave them as they are, but for those within the rotary embeddings."""

    def __init__(self, model):
        super().__init__()
        self.rotary = 0
        for name, module in model.named_modules():
            if name.endswith("rotary_emb"):
                module.register_forward_pre_hook(lambda *_: self.enter(1))
                module.register_forward_hook(lambda *_: self.enter(-1))

    def enter(self, step):
        self.rotary += step

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        double = bool(args) and isinstance(args[0], torch.Tensor) and args[0].dtype == torch.float64
        if double and not self.rotary:
            if function is torch.Tensor.float:
                return args[0]
            if kwargs.get("dtype") == torch.float32:
                kwargs = {**kwargs, "dtype": torch.float64}
            args = tuple(torch.float64 if arg is torch.float32 else arg for arg in args)
        result = function(*args, **kwargs)
        rounded = isinstance(result, torch.Tensor) and result.dtype == torch.float32
        assert self.rotary or not double or not rounded, f"{function} rounds to float32"
        return result


def layers_of(model):
    """The decoder layers, whatever the family calls them."""
    lists = (m for m in model.modules() if isinstance(m, torch.nn.ModuleList))
    return next(m for m in lists if len(m) == model.config.num_hidden_layers)


def gain(name):
    """Standard deviation of a projection's output for an input of unit size: scores and gates far from uniform."""
    if name.endswith(("mlp.gate.weight", "block_sparse_moe.gate.weight")):
        return 2.0
    sharp = ("q_proj", "k_proj", "gate_proj", "lm_head", "qkv_proj", "query_key_value", "c_attn", "gate_up_proj",
             "embed_out")
    return 1.5 if any(part in name for part in sharp) else 1.0


def randomise(model, variant, generator):
    """Weights that keep activations near unit size, norms apart from one, and biases that matter."""
    transposed = {id(m.weight) for m in model.modules() if type(m).__name__ == "Conv1D"}
    tables = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if name.endswith("bias"):
            p.data = 0.2 * noise
        elif p.ndim == 1:
            centre = 0.0 if variant.model_type.startswith("gemma") else 1.0
            p.data = centre + 0.3 * noise
        elif id(p) in tables:
            p.data = variant.embedding_std * noise
        else:
            inputs = p.shape[0] if id(p) in transposed else p.shape[-1]
            p.data = gain(name) * noise / inputs**0.5


def published_names(folder, variant):
    """Weights as the first files of GPT-2 and Pythia have them: other names, and buffers among the weights."""
    file = folder / "model.safetensors"
    tensors = {name.removeprefix("transformer."): value for name, value in load_file(file).items()}
    layers = sorted({name.split(".attn.")[0] for name in tensors if ".attn." in name})
    for layer in layers:
        mask = torch.ones(variant.config["n_positions"], variant.config["n_positions"]).tril()
        tensors[f"{layer}.attn.bias"] = mask[None, None]
    layers = sorted({name.split(".attention.")[0] for name in tensors if ".attention." in name})
    for layer in layers:
        mask = torch.ones(LENGTH, LENGTH).tril()
        tensors[f"{layer}.attention.bias"] = mask[None, None].bool()
        tensors[f"{layer}.attention.masked_bias"] = torch.tensor(-1e4, dtype=variant.dtype)
        tensors[f"{layer}.attention.rotary_emb.inv_freq"] = torch.ones(2)
    save_file(tensors, file, metadata={"format": "pt"})


@torch.no_grad()
def forward(model, ids):
    """Residual stream, logits `[rows, columns]` each, and the smallest gap at a router's choice."""
    seen, gaps = {}, [1.0]

    def flat(value):
        return value.reshape(-1, value.shape[-1])

    def keep(name):
        def hook(_module, _inputs, output):
            seen[name] = flat(output[0] if isinstance(output, tuple) else output)

        return hook

    def entering(_module, args, kwargs):
        seen["embedding"] = flat(args[0] if args else kwargs["hidden_states"])

    def choice(module, _inputs, output):
        ranked = output[0].double().softmax(-1).sort(-1, descending=True).values
        gaps.append((ranked[:, module.top_k - 1] - ranked[:, module.top_k]).min().item())

    layers = layers_of(model)
    hooks = [layers[0].register_forward_pre_hook(entering, with_kwargs=True)]
    hooks += [layer.register_forward_hook(keep(f"layers.{i}")) for i, layer in enumerate(layers)]
    hooks += [m.register_forward_hook(choice) for m in model.modules() if type(m).__name__.endswith("TopKRouter")]
    seen["logits"] = flat(model(input_ids=ids, use_cache=False).logits)
    for hook in hooks:
        hook.remove()
    order = ["embedding", *(f"layers.{i}" for i in range(len(layers))), "logits"]
    return {name: seen[name] for name in order}, min(gaps)


def in_float64(folder, ids):
    """What float64 makes of the checkpoint; nothing if a router hesitates."""
    # Soft caps on scores are only in the plain attention.
    attention = "eager" if folder.name.startswith("gemma2") else "sdpa"
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=attention, experts_implementation="eager").eval()
    plain, _ = forward(model, ids)
    model.double()
    with StayInFloat64(model):
        exact, gap = forward(model, ids)
    if gap < CLEAR_CHOICE:
        return None
    worst = 0.0
    for name, value in exact.items():
        assert value.dtype == torch.float64, f"{folder.name} {name}: {value.dtype}"
        error = ((plain[name].double() - value).norm() / value.norm()).item()
        assert error < AGREEMENT, f"{folder.name} {name}: float32 and float64 differ by {error:.1e}"
        worst = max(worst, error)
    last = exact[f"layers.{len(exact) - 3}"]
    scales = "  ".join(f"{x.pow(2).mean().sqrt():7.3f}" for x in (exact["embedding"], last, exact["logits"]))
    choice = f"  router gap {gap:.4f}" if gap < 1 else ""
    size = sum(file.stat().st_size for file in folder.iterdir())
    scales = f"rms in, out, logits {scales}"
    print(f"{folder.name:22} {scales}  float32 differs by {worst:.1e}  {size // 1024:3} KiB{choice}")
    return {name: value.float().contiguous() for name, value in exact.items()}


def make(folder, variant, seed):
    """Writes the fixture; nothing comes of it if a router hesitates."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    generator = torch.Generator().manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(variant.model_type, **variant.config))
    randomise(model, variant, generator)
    model.tie_weights()
    shards = {"max_shard_size": variant.shard_size} if variant.shard_size else {}
    model.to(variant.dtype).save_pretrained(folder, **shards)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if variant.hub_names:
        published_names(folder, variant)
    write_old_config(folder)
    vocabulary = variant.config["vocab_size"]
    ids = torch.randint(vocabulary, (SEQUENCES, LENGTH), generator=generator)
    ids[0, 0], ids[1, -1] = 0, vocabulary - 1
    expected = in_float64(folder, ids)
    if expected is None:
        return False
    save_file({"ids": ids.int(), **expected}, folder / "expected.safetensors")
    return True


def main():
    out, *names = sys.argv[1:] or [Path(__file__).parent.parent / "tests/golden/data"]
    for name in names or VARIANTS:
        seed = VARIANTS[name].first_seed(name)
        while not make(Path(out) / name, VARIANTS[name], seed):
            seed += 1


if __name__ == "__main__":
    main()
