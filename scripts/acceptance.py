#!/usr/bin/env python3
"""Prunes the fixtures of tests/golden with a `secateur` binary and opens what it wrote in transformers.

    python3 scripts/acceptance.py [--secateur FILE] [--methods fista,wanda] [--adapter NAME] [--old] [VARIANT...]

Needs torch 2.15.0, transformers 5.23.0, safetensors. A VARIANT is a folder, or the name of one in tests/golden/data
(default: all of them). --old takes config_old.json as the configuration where there is one.

Per fixture: `secateur inspect`, then `prune` to 50 % and to 2:4 with each method. Every output must open without a
missing, unexpected or mismatched key and without a warning that the fixture itself does not cause; have the names,
shapes and types of the fixture and the same bytes outside the pruned matrices; have exactly half of each matrix zero,
and under 2:4 two zeros in every four weights along the inputs; and give the same logits in transformers as in
`secateur eval --dump-logits`, in float32. Prints a table; the exit code is 1 if a row is red.
"""

import argparse
import json
import logging
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

assert torch.__version__.split("+")[0] == "2.15.0", f"torch is {torch.__version__}, this was written for 2.15.0"
assert transformers.__version__ == "5.23.0", f"transformers is {transformers.__version__}, this was written for 5.23.0"
transformers.utils.logging.disable_progress_bar()
torch.cuda.is_current_stream_capturing = lambda: False  # no CUDA here, and asking may need its libraries

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests/golden/data"
SAMPLES, LENGTH = 4, 32
# Two float32 computations of a few layers differ by some 1e-6; a wrong formula by 1e-4 (a GELU) or far more.
LARGEST_ERROR = 1e-5
TARGETS = {"50 %": ["--sparsity", "0.5"], "2:4": ["--pattern", "2:4"]}


class Red(Exception):
    """Why a check failed, in one line."""


class Messages(logging.Handler):
    """What transformers and Python warn of."""

    def __enter__(self):
        self.lines = set()
        self.catcher = warnings.catch_warnings(record=True)
        self.caught = self.catcher.__enter__()
        warnings.simplefilter("always")
        logging.getLogger("transformers").addHandler(self)
        return self

    def emit(self, record):
        if record.levelno >= logging.WARNING:
            self.lines.add(record.getMessage())

    def __exit__(self, *error):
        logging.getLogger("transformers").removeHandler(self)
        self.catcher.__exit__(*error)
        self.lines |= {str(entry.message) for entry in self.caught}


def tokenizer(vocabulary):
    """A tokenizer.json whose word `t7` is token 7."""
    model = {"type": "WordLevel", "vocab": {f"t{i}": i for i in range(vocabulary)}, "unk_token": "t0"}
    parts = ("truncation", "padding", "normalizer", "post_processor", "decoder")
    blocks = {"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "WhitespaceSplit"}, "model": model}
    return json.dumps({**dict.fromkeys(parts), **blocks})


def words(ids):
    return " ".join(f"t{i}" for i in ids) + "\n"


def prepare(fixture, folder, old):
    """The fixture as a model folder with a tokenizer; returns it and its configuration."""
    folder.mkdir()
    for file in fixture.glob("model*"):
        shutil.copy(file, folder)
    config = fixture / "config_old.json"
    shutil.copy(config if old and config.exists() else fixture / "config.json", folder / "config.json")
    config = json.loads((folder / "config.json").read_text())
    (folder / "tokenizer.json").write_text(tokenizer(config["vocab_size"]))
    return config


def secateur(options, *arguments):
    command = [options.secateur, "--quiet", "--adapter", options.adapter, *map(str, arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired:
        raise Red(f"{arguments[0]} took more than 10 minutes") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        raise Red(f"{arguments[0]} exit {done.returncode}: {lines[0]}")
    return done.stdout


def tensors(folder):
    """Every tensor of a checkpoint; one that two shards have is an error."""
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        for name, value in load_file(file).items():
            if name in found:
                raise Red(f"{name} is in two files")
            found[name] = value
    return found


def prunable(name, value):
    """Whether a tensor is a linear layer of a decoder layer; routers are not pruned."""
    inside = re.search(r"(^|\.)(layers|h)\.\d+\.", name)
    router = re.search(r"(mlp|block_sparse_moe)\.gate\.weight$", name)
    return bool(inside and value.ndim == 2 and name.endswith(".weight") and not router)


def inputs_last(config, value):
    """The matrix as `[outputs, inputs]`: GPT-2 stores `[inputs, outputs]`."""
    return value.t() if config["model_type"] == "gpt2" else value


def widths_fit(config, found):
    return all(inputs_last(config, v).shape[1] % 4 == 0 for n, v in found.items() if prunable(n, v))


def check_file(config, before, after, pattern):
    """Names, shapes, types, untouched bytes, zeros."""
    if before.keys() != after.keys():
        raise Red(f"tensors differ: {sorted(before.keys() ^ after.keys())[:3]}")
    for name, was in before.items():
        now = after[name]
        if (was.shape, was.dtype) != (now.shape, now.dtype):
            raise Red(f"{name} is {now.dtype} {list(now.shape)}, was {was.dtype} {list(was.shape)}")
        if not prunable(name, was):
            if not torch.equal(was, now):
                raise Red(f"{name} is no linear layer and has changed")
            continue
        if not now.isfinite().all():
            raise Red(f"{name} has weights that are not finite")
        zero = inputs_last(config, now) == 0
        zeros, half = int(zero.sum()), zero.numel() / 2
        if abs(zeros - half) >= 1:
            raise Red(f"{name} has {zeros} zeros of {zero.numel()}")
        if pattern == "2:4" and int(zero.reshape(zero.shape[0], -1, 4).sum(-1).min()) < 2:
            raise Red(f"{name} has a group of four with less than two zeros")


def open_in_transformers(folder):
    """The model in float32, and the warnings without the folder's name in them."""
    with Messages() as messages:
        model, info = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    for kind, names in info.items():
        if names:
            raise Red(f"transformers: {kind} {sorted(map(str, names))[:3]}")
    return model.eval(), {line.replace(str(folder), "") for line in messages.lines}


@torch.no_grad()
def logits_error(options, model, folder, ids):
    """Relative difference of the logits of one sequence: norm of the difference over norm."""
    text, file = folder.parent / f"{folder.name}.txt", folder.parent / f"{folder.name}.logits"
    text.write_text(words(ids.tolist()))
    secateur(options, "eval", folder, "--text", text, "--context", len(ids), "--windows", 1, "--bos", "none", "--dump-logits", file)
    ours = load_file(file)
    if ours["ids"].tolist() != ids.tolist():
        raise Red("eval tokenized the text into other ids")
    theirs = model(input_ids=ids[None], use_cache=False).logits[0].double()
    error = ((ours["logits"].double() - theirs).norm() / theirs.norm()).item()
    if not error <= LARGEST_ERROR:
        raise Red(f"logits differ by {error:.1e}")
    return error


def accept(options, work, model, setup, method, target):
    """Prunes and checks one output; returns the error of its logits."""
    config, ids, before, known = setup
    output = work / f"{method}-{target.replace(' %', '').replace(':', '-')}"
    secateur(options, "prune", model, "--output", output, "--calibration", work / "calibration.txt", "--method", method,
             "--samples", SAMPLES, "--length", LENGTH, *TARGETS[target])
    check_file(config, before, tensors(output), target)
    network, new = open_in_transformers(output)
    if new - known:
        raise Red(f"transformers warns: {sorted(new - known)[0]}")
    return logits_error(options, network, output, ids[list(TARGETS).index(target)])


def refused(options, work, model):
    """A matrix whose inputs are no multiple of 4 cannot be 2:4: secateur must say so and write nothing."""
    output = work / "refused"
    try:
        secateur(options, "prune", model, "--output", output, "--calibration", work / "calibration.txt",
                 "--samples", SAMPLES, "--length", LENGTH, *TARGETS["2:4"])
    except Red as error:
        if "divisible by 4" in str(error) and not output.exists():
            return "width"
        raise
    raise Red("2:4 taken although inputs are no multiple of 4")


def row(options, fixture, work):
    """Cells of the table, and what went wrong."""
    cells, errors, reds = {}, [], []
    model = work / "model"
    config = prepare(fixture, model, options.old)
    shuffled = random.Random(fixture.name).choices(range(config["vocab_size"]), k=4 * SAMPLES * LENGTH)
    (work / "calibration.txt").write_text(words(shuffled))

    def attempt(cell, what, check):
        try:
            result = check()
            cells[cell] = cells.get(cell) or (result if result == "width" else "ok")
            return result
        except Exception as error:  # any failure is a red row, and the next row still counts
            cells[cell] = "FAIL"
            line = str(error) if isinstance(error, Red) else f"{type(error).__name__}: {error}".splitlines()[0]
            reds.append(f"{fixture.name} {what}: {line}")
            return None

    attempt("inspect", "inspect", lambda: secateur(options, "inspect", model))
    ids = load_file(fixture / "expected.safetensors")["ids"].long()
    before = attempt("original", "fixture", lambda: tensors(model))
    opened = attempt("original", "fixture", lambda: open_in_transformers(model))
    if opened is None:
        return config, cells, errors, reds
    for target in TARGETS:
        if target == "2:4" and not widths_fit(config, before):
            attempt(target, target, lambda: refused(options, work, model))
            continue
        for method in options.methods.split(","):
            setup = (config, ids, before, opened[1])
            check = lambda: accept(options, work, model, setup, method, target)  # noqa: E731 (called at once)
            error = attempt(target, f"{method} {target}", check)
            errors += [error] if isinstance(error, float) else []
    return config, cells, errors, reds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--secateur", default=str(ROOT / "target/release/secateur"))
    parser.add_argument("--methods", default="fista,wanda")
    parser.add_argument("--adapter", default=os.environ.get("SECATEUR_ADAPTER", "auto"))
    parser.add_argument("--old", action="store_true")
    parser.add_argument("variants", nargs="*")
    options = parser.parse_args()
    fixtures = [path if path.is_dir() else DATA / path for path in map(Path, options.variants)]
    fixtures = fixtures or sorted(path for path in DATA.iterdir() if path.is_dir())
    wide = max(len(fixture.name) for fixture in fixtures)
    print(f"{'family':12} {'variant':{wide}} inspect  50 %  2:4    logits   verdict")
    red = []
    for fixture in fixtures:
        with tempfile.TemporaryDirectory() as work:
            config, cells, errors, reds = row(options, fixture, Path(work))
        marks = [cells.get(cell, "-") for cell in ("inspect", "50 %", "2:4")]
        error = f"{max(errors):.1e}" if errors else "-"
        verdict = "RED" if reds else "ok"
        line = f"{config['model_type']:12} {fixture.name:{wide}} {marks[0]:7}  {marks[1]:4}  {marks[2]:5}"
        print(f"{line}  {error:7}  {verdict}", flush=True)
        red += reds
    print("logits: largest relative difference; width: some inputs are no multiple of 4, and 2:4 was refused")
    for line in red:
        print(line)
    print(f"{len(fixtures)} fixtures, {len({line.split()[0] for line in red})} red")
    sys.exit(1 if red else 0)


if __name__ == "__main__":
    main()
