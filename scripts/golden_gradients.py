#!/usr/bin/env python3
"""Writes gradients.safetensors beside the fixtures of golden.py: what autograd makes of the loss of each tiny checkpoint.

    python3 scripts/golden_gradients.py [FOLDER [VARIANT...]]      (default: tests/golden/data, all)

Needs what golden.py needs, and its fixtures, which stay as they are.

The loss is the sum over the sequences of the mean cross entropy of their next tokens. Computed in float64 like the forward
fixtures, and rounded to float32 once. Whole gradients of all weights would be megabytes, so each, [outputs, inputs], is
multiplied by a fixed vector from either side: a wrong element anywhere changes both products.

    losses                 mean cross entropy of each sequence
    entering               gradient of the stream that enters layer 0, [tokens, hidden], times direction(hidden)
    NAME.outputs           gradient of the linear weight NAME times direction(inputs), [outputs]
    NAME.inputs            its transpose times direction(outputs), [inputs]

NAME is the tensor's name in the checkpoint.
"""

import re
import sys
from pathlib import Path

import torch
from golden import StayInFloat64, layers_of
from golden_variants import VARIANTS
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM


def direction(n):
    """Numbers between -1/2 and 1/2 without a pattern, the same in the test."""
    return ((torch.arange(n) * 7919 + 13) % 1009).double() / 1009 - 0.5


def stored_names(folder):
    """Matrices of the decoder layers as the checkpoint's files name them, routers left out."""
    shapes = {}
    for file in folder.glob("model*.safetensors"):
        shapes.update({name: tensor.shape for name, tensor in load_file(file).items()})
    for name in sorted(shapes):
        router = name.endswith(("mlp.gate.weight", "block_sparse_moe.gate.weight"))
        in_layer = re.search(r"(^|\.)(layers|h)\.\d+\.", name)
        if in_layer and name.endswith("weight") and len(shapes[name]) == 2 and not router:
            yield name, shapes[name]


def gradient(model, name, shape):
    """Gradient [outputs, inputs] of a stored matrix."""
    parameters = dict(model.named_parameters())
    for prefix in ("", "model.", "transformer.", "gpt_neox."):
        if prefix + name in parameters:
            found = parameters[prefix + name].grad
            transposed = model.config.model_type == "gpt2"
            assert found.shape == shape, name
            return found.T if transposed else found
    # Experts: the files hold a matrix each, transformers one tensor of all.
    path, expert, part = re.fullmatch(r"(.*)\.experts\.(\d+)\.(\w+)\.weight", name).groups()
    path = path.replace("block_sparse_moe", "mlp")
    if part in ("w2", "down_proj"):
        return parameters[f"{path}.experts.down_proj"].grad[int(expert)]
    gate, up = parameters[f"{path}.experts.gate_up_proj"].grad[int(expert)].chunk(2)
    return gate if part in ("w1", "gate_proj") else up


def backward(model, folder, ids):
    """The fixture's tensors, in the model's arithmetic."""
    seen = {}

    def entering(_module, args, kwargs):
        seen["entering"] = args[0] if args else kwargs["hidden_states"]
        seen["entering"].retain_grad()

    hook = layers_of(model)[0].register_forward_pre_hook(entering, with_kwargs=True)
    model.zero_grad()
    logits = model(input_ids=ids, use_cache=False).logits
    hook.remove()
    losses = [torch.nn.functional.cross_entropy(l[:-1], i[1:]) for l, i in zip(logits, ids)]
    sum(losses).backward()
    stream = seen["entering"].grad
    found = {
        "losses": torch.stack(losses).detach(),
        "entering": stream.reshape(-1, stream.shape[-1]) @ direction(stream.shape[-1]).to(stream.dtype),
    }
    for name, shape in stored_names(folder):
        grad = gradient(model, name, shape)
        outputs, inputs = (direction(n).to(grad.dtype) for n in grad.shape)
        found[f"{name}.outputs"], found[f"{name}.inputs"] = grad @ inputs, grad.T @ outputs
    return found


def make(folder):
    """Writes one fixture and prints how far float32 is from it."""
    ids = load_file(folder / "expected.safetensors")["ids"].long()
    attention = "eager" if folder.name.startswith("gemma2") else "sdpa"
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation=attention, experts_implementation="eager").eval()
    plain = backward(model, folder, ids)
    model.double()
    with StayInFloat64(model):
        exact = backward(model, folder, ids)
    worst, where = 0.0, ""
    for name, value in exact.items():
        assert value.dtype == torch.float64 and value.isfinite().all(), name
        error = ((plain[name].double() - value).norm() / value.norm()).item()
        worst, where = max((worst, where), (error, name))
    save_file({name: value.float().contiguous() for name, value in exact.items()}, folder / "gradients.safetensors")
    size = (folder / "gradients.safetensors").stat().st_size
    print(f"{folder.name:22} {len(exact):4} tensors {size / 1024:6.1f} KiB  float32 differs by {worst:.1e} ({where})")


def main():
    out, *names = sys.argv[1:] or [Path(__file__).parent.parent / "tests/golden/data"]
    for name in names or VARIANTS:
        make(Path(out) / name)


if __name__ == "__main__":
    main()
