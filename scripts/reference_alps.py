#!/usr/bin/env python3
"""Layer errors of ALPS in float64, to hold `secateur prune --method alps --statistics` against.

    scripts/reference_alps.py MODEL STATISTICS REPORT.json

Reads the Grams that `secateur calibrate` saved and the weights, solves each linear of the report of such a prune by the
algorithm of arXiv 2406.07831 (eigendecomposition, penalty by the movement of the support, ten conjugate-gradient steps,
settings of the published code), and prints both relative errors. Needs numpy and safetensors; Llama names only.
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors import safe_open

INPUTS = {"q": "attention_input", "k": "attention_input", "v": "attention_input", "o": "attention_output",
          "gate": "mlp_input", "up": "mlp_input", "down": "mlp_hidden"}


def project(z, pattern, sparsity):
    """The mask of the largest |z| in the pattern."""
    if ":" not in pattern:
        keep = z.size - round(z.size * sparsity)
        mask = np.zeros(z.size, bool)
        mask[np.argpartition(-np.abs(z).ravel(), keep - 1)[:keep]] = True
        return mask.reshape(z.shape)
    n, m = map(int, pattern.split(":"))
    groups = np.abs(z).reshape(z.shape[0], -1, m)
    order = np.argsort(-groups, axis=2, kind="stable")
    mask = np.zeros_like(groups, bool)
    np.put_along_axis(mask, order[:, :, :n], True, axis=2)
    return mask.reshape(z.shape)


def conjugate_gradients(h, b, v, mask, steps):
    r = (b - v @ h) * mask
    p, rr = r.copy(), (r * r).sum(1)
    for _ in range(steps):
        hp = p @ h
        curvature = (p * hp).sum(1)
        alpha = np.divide(rr, curvature, out=np.zeros_like(rr), where=curvature > 0)[:, None]
        v, r = v + alpha * p, (r - alpha * hp) * mask
        new = (r * r).sum(1)
        p = r + np.divide(new, rr, out=np.zeros_like(rr), where=rr > 0)[:, None] * p
        rr = new
    return v


def alps(weight, gram, pattern, sparsity):
    """Relative error of ALPS for weight [m, n] and gram [n, n]."""
    damped = gram + 0.01 * np.diag(gram).mean() * np.eye(len(gram))
    scale = 1 / np.sqrt(np.diag(damped))
    h, w = damped * np.outer(scale, scale), weight / scale
    b = w @ h
    values, vectors = np.linalg.eigh(h)
    rho, moved_ever, taken = 0.1, False, 0
    mask = project(w, pattern, sparsity)
    size, d, u, older = mask.sum(), w * mask, np.zeros_like(w), mask
    while taken < 300:
        inverse = (vectors / (values + rho)) @ vectors.T
        for _ in range(3):
            v = (b - u + rho * d) @ inverse
            z = v + u / rho
            mask = project(z, pattern, sparsity)
            d = z * mask
            u = u + rho * (v - d)
        taken += 3
        moved = np.logical_xor(mask, older).sum()
        older = mask
        if (taken >= 30 and moved / size < 3e-4) or (moved == 0 and moved_ever):
            break
        if moved == 0:
            rho /= 5
            continue
        moved_ever = True
        rho *= 1.3 if moved >= 0.1 * size else 1.2 if moved >= 0.005 * size else 1.1
    difference = conjugate_gradients(h, b, d, mask, 10) * scale - weight
    return np.sum((difference @ gram) * difference) / np.sum((weight @ gram) * weight)


def main():
    model, statistics, report = map(Path, sys.argv[1:4])
    report = json.loads(report.read_text())
    pattern, sparsity = report["settings"]["pattern"], report["settings"]["sparsity"]
    names = {}
    for file in sorted(model.glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            names |= {name: file for name in tensors.keys()}
    print(f"{'linear':<40} {report['settings']['method']:>10} {'f64 ALPS':>10} {'ratio':>7}   {pattern}")
    for linear in report["linears"]:
        if linear["role"] not in {"q", "o", "gate", "down"}:
            continue
        with safe_open(names[linear["tensor"]], "pt") as tensors:
            weight = tensors.get_tensor(linear["tensor"]).double().numpy()
        file = statistics / f"layer-{linear['layer']:05}.safetensors"
        with safe_open(file, "np") as tensors:
            gram = tensors.get_tensor(INPUTS[linear["role"]] + ".gram").astype(np.float64)
        wanted, found = alps(weight, gram / linear["tokens"], pattern, sparsity), linear["error_after"]
        print(f"{linear['tensor']:<40} {found:10.6f} {wanted:10.6f} {found / wanted:7.4f}", flush=True)


if __name__ == "__main__":
    main()
