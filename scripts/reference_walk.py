#!/usr/bin/env python3
"""A plain torch walk over a whole model in the order of the published code of SparseGPT, Wanda and ALPS, to hold
quality and speed of `secateur prune` against.

    scripts/reference_walk.py MODEL OUTPUT --method sparsegpt|wanda|alps|magnitude --calibration FILE.jsonl
        [--pattern 2:4 | --sparsity 0.5] [--within layer|linear] [--samples 16] [--length 1024] [--seed 0]
        [--bos ID] [--threads 2] [--json FILE]
    scripts/reference_walk.py --compare A B [--json FILE]

Samples are drawn by SparseGPT's rule; `secateur prune` has the same hash for the same tokens. A decoder layer runs on
what the pruned ones before it give. All its linears are pruned on its dense inputs (`--within layer`, as published), or
q,k,v, o, gate,up and down in turn, on inputs from those pruned before (`--within linear`). Weights are rounded to the
checkpoint's type at once. `--bos` replaces each sample's first token (Gemma: 2). `--compare` prints the share of
elements that are zero in both checkpoints or in neither. Needs blake3 too; Llama and Gemma 3 names only.
"""

import argparse
import json
import random
import resource
import shutil
import time
from contextlib import suppress
from pathlib import Path
STARTED = time.perf_counter()  # the imports below take seconds
import numpy as np
import torch
from blake3 import blake3
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

torch.cuda.is_current_stream_capturing = lambda: False  # no CUDA here, and asking may need its libraries
GROUPS = [["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], ["self_attn.o_proj"],
          ["mlp.gate_proj", "mlp.up_proj"], ["mlp.down_proj"]]  # of one input each, in running order


def draw(args):
    """Stretches of random documents of more than `length` tokens, as get_c4 of SparseGPT draws them; and their hash."""
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    tokenizer.no_truncation()
    texts = [json.loads(line)["text"] for line in args.calibration.open(encoding="utf-8")]
    dice, rows, hasher = random.Random(args.seed), [], blake3(args.samples.to_bytes(8, "little"))
    while len(rows) < args.samples:
        ids = tokenizer.encode(texts[dice.randint(0, len(texts) - 1)]).ids
        if len(ids) > args.length:
            start = dice.randint(0, len(ids) - args.length - 1)
            rows.append(ids[start:start + args.length])
            rows[-1][0] = rows[-1][0] if args.bos is None else args.bos
            hasher.update(args.length.to_bytes(8, "little") + np.array(rows[-1], "<u4").tobytes())
    return rows, hasher.hexdigest()


def keep(scores, target):
    """The mask of the largest scores: N of every M (of equal ones the first), or all but a share of the matrix."""
    if isinstance(target, float):
        least = round(scores.numel() * target)
        order = torch.from_numpy(np.argpartition(scores.flatten().numpy(), least))
        return torch.ones(len(order), dtype=torch.bool).scatter_(0, order[:least], False).view(scores.shape)
    n, m = target
    columns = [column.contiguous() for column in scores.unflatten(1, (-1, m)).unbind(2)]
    larger = torch.zeros(m, *columns[0].shape, dtype=torch.int8)  # how many of the group come before this one
    for j in range(m):
        for i in range(j):
            later = columns[j] > columns[i]
            larger[i] += later
            larger[j] += ~later
    return (larger < n).permute(1, 2, 0).reshape(scores.shape)


def wanda(weight, squares, target):
    scores = weight.abs() * squares.sqrt()
    if isinstance(target, float):
        return weight.scatter(1, scores.argsort(dim=1, stable=True)[:, :int(scores.shape[1] * target)], 0.0)
    return weight * keep(scores, target)


def inverse_factor(gram):
    """Which inputs are always zero, and the upper Cholesky factor of the damped inverse."""
    dead = gram.diagonal() == 0
    gram += torch.diag(dead.float())
    gram.diagonal().add_(0.01 * gram.diagonal().mean())
    return dead, torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(gram)), upper=True)


def sparsegpt(weight, factor, target, width=128):
    dead, u = factor
    w = weight.T.contiguous()  # the sweep goes by columns
    w[dead] = 0
    step = width if isinstance(target, float) else target[1]  # columns whose zeros are chosen at once
    for first in range(0, len(w), width):
        block, corner = w[first:first + width], u[first:first + width, first:first + width]
        diagonal, errors = corner.diagonal()[:, None], torch.empty_like(block)
        for j in range(len(block)):
            if j % step == 0:
                scores = (block[j:j + step] / diagonal[j:j + step]).square()
                if isinstance(target, float):
                    pruned = scores <= scores.flatten().kthvalue(int(scores.numel() * target) + 1).values
                else:
                    least = scores.topk(step - target[0], dim=0, largest=False).indices
                    pruned = torch.zeros_like(scores, dtype=torch.bool).scatter_(0, least, True)
            torch.mul(block[j], pruned[j % step] / diagonal[j], out=errors[j])
            block[j].masked_fill_(pruned[j % step], 0)
            block[j + 1:] -= torch.outer(corner[j, j + 1:], errors[j])
        w[first + width:] -= u[first:first + width, first + width:].T @ errors
    return w.T


def eigensystem(gram):
    """The damped Gram with its diagonal scaled to 1, the scale, and its eigendecomposition."""
    gram.diagonal().add_(0.01 * gram.diagonal().mean())
    scale = gram.diagonal().rsqrt()
    h = gram * scale[:, None] * scale
    return h, scale, *torch.linalg.eigh(h)


def alps(weight, system, target):
    h, scale, values, vectors = system
    w = weight / scale
    b, mask = w @ h, keep(w.abs(), target)
    size, d, u, rho, moved_ever = mask.sum().item(), w * mask, torch.zeros_like(w), 0.1, False
    for taken in range(3, 303, 3):
        older = mask
        inverse = (vectors / (values + rho)) @ vectors.T
        for _ in range(3):
            z = ((b - u).add_(d, alpha=rho) @ inverse).add_(u, alpha=1 / rho)
            mask = keep(z.abs(), target)
            d = z * mask
            u = (z - d).mul_(rho)
        moved = (mask ^ older).sum().item()
        if (taken >= 30 and moved / size < 3e-4) or (moved == 0 and moved_ever):
            break
        moved_ever |= moved > 0
        rho *= 0.2 if moved == 0 else 1.3 if moved >= 0.1 * size else 1.2 if moved >= 0.005 * size else 1.1
    p = r = (b - d @ h) * mask  # ten steps of conjugate gradients, each row with its own lengths
    rr = r.square().sum(1, keepdim=True)
    for _ in range(10):
        hp = p @ h
        alpha = (rr / (p * hp).sum(1, keepdim=True)).nan_to_num()
        d, r, before = d + alpha * p, (r - alpha * hp) * mask, rr
        rr = r.square().sum(1, keepdim=True)
        p = r + (rr / before).nan_to_num() * p
    return d * scale


# What is summed over the tokens of an input, what the input's linears share, and the solve.
METHODS = {"wanda": (lambda x: x.square().sum(0), lambda squares: squares, wanda),
           "sparsegpt": (lambda x: x.T @ x, inverse_factor, sparsegpt), "alps": (lambda x: x.T @ x, eigensystem, alps),
           "magnitude": (None, lambda nothing: nothing, lambda weight, _, target: weight * keep(weight.abs(), target))}


def embed(model, rows):
    """The first layer's input for each sample, and each layer's other arguments, which are the same for all samples."""
    others = {layer: {} for layer in model.model.layers}
    for layer in others:
        layer.forward = lambda x, layer=layer, **arguments: (others[layer].update(arguments), x)[1]
    for row in rows[:1]:
        model.model(torch.tensor([row]), use_cache=False)
    for layer in others:
        del layer.forward
    return [model.model.embed_tokens(torch.tensor([row])) for row in rows], others


def capture(layer, names, hidden, arguments, moment):
    """Sums over the inputs of some linears, named in running order; the layer runs no further than to the last."""
    sums = dict.fromkeys(names, 0)

    def take(name, x):
        sums[name] += moment(x.flatten(0, -2))
        if name == names[-1]:
            raise StopIteration

    linears = [(name, layer.get_submodule(name)) for name in names]
    hooks = [linear.register_forward_pre_hook(lambda _, x, name=name: take(name, x[0])) for name, linear in linears]
    for x in hidden:
        with suppress(StopIteration):
            layer(x, **arguments)
    for hook in hooks:
        hook.remove()
    return sums


def opened(folder):
    files = [safe_open(path, "pt") for path in folder.glob("*.safetensors")]
    assert files, f"no safetensors in {folder}"
    return {name: file for file in files for name in file.keys()}


@torch.no_grad()
def prune(args):
    seconds, pruned = {}, {}

    def done(phase):
        seconds[phase] = seconds.get(phase, 0.0) + time.perf_counter() - STARTED - sum(seconds.values())

    shutil.copytree(args.model, args.output, ignore=shutil.ignore_patterns("*.safetensors"))
    moment, share, solve = METHODS[args.method]
    done("import")
    files = opened(args.model)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    done("load")
    rows, token_hash = draw(args) if moment else ([], None)
    hidden, others = embed(model, rows)
    done("tokens")
    for number, layer in enumerate(others):
        for stage in [GROUPS] if args.within == "layer" else [[group] for group in GROUPS]:
            sums = capture(layer, [group[0] for group in stage], hidden, others[layer], moment)
            done("capture")
            for group in stage:
                shared = share(sums[group[0]] * (2 / args.samples))  # scaled as SparseGPT's Hessian
                for linear in group:
                    weight, name = layer.get_submodule(linear).weight, f"model.layers.{number}.{linear}.weight"
                    pruned[name] = solve(weight, shared, args.target).contiguous().type_as(files[name].get_tensor(name))
                    weight.copy_(pruned[name])
            done("solve")
        hidden = [layer(x, **others[layer]) for x in hidden if number + 1 < len(others)]
        done("outputs")
        print(f"layer {number} at {sum(seconds.values()):.1f} s", flush=True)
    for file in args.model.glob("*.safetensors"):
        tensors = {name: pruned.get(name, tensor) for name, tensor in load_file(file).items()}
        save_file(tensors, args.output / file.name, safe_open(file, "pt").metadata())
    done("write")
    return {"settings": {name: str(value) for name, value in vars(args).items()}, "token_hash": token_hash,
            "seconds": seconds, "wall": sum(seconds.values()),
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def compare(a, b):
    ours, theirs, report = opened(a), opened(b), {}
    for name in ours:
        number, _, linear = name.removeprefix("model.layers.").removesuffix(".weight").partition(".")
        if linear in sum(GROUPS, []):
            same = (ours[name].get_tensor(name) == 0) == (theirs[name].get_tensor(name) == 0)
            report.setdefault(int(number), {})[linear.split(".")[1]] = same.float().mean().item()
    for number, shares in (report := dict(sorted(report.items()))).items():
        shares["mean"] = sum(shares.values()) / len(shares)
        print(f"layer {number:<2}", *(f" {name} {share:.5f}" for name, share in shares.items()))
    return report


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    for name in "model", "output", "--calibration", "--json":
        parser.add_argument(name, type=Path)
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--method", choices=METHODS, default="sparsegpt")
    parser.add_argument("--pattern", dest="target", type=lambda text: tuple(map(int, text.split(":"))), default=(2, 4))
    parser.add_argument("--sparsity", dest="target", type=float, default=(2, 4))
    parser.add_argument("--within", choices=["layer", "linear"], default="layer")
    for name, default in ("samples", 16), ("length", 1024), ("seed", 0), ("bos", None), ("threads", 2):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    report = json.dumps(compare(args.model, args.output) if args.compare else prune(args), indent=1)
    print(report, file=args.json.open("w") if args.json else None)


if __name__ == "__main__":
    main()
