"""Compares `secateur eval --dump-logits FILE` with transformers on the same token ids.

usage: parity.py MODELDIR FILE
Needs torch, transformers and safetensors. Prints the relative error (norm of the difference over norm) of the logits
after removing each row's mean, which no probability depends on, and the largest difference; in float32.
"""

import json
import sys

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

model, file = sys.argv[1:]
ours = load_file(file)
ids = ours["ids"].to(torch.int64)[None]
network = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
with torch.no_grad():
    theirs = network(ids).logits[0].double()
found = ours["logits"].double()
raw = ((found - theirs).norm() / theirs.norm()).item()
largest = (found - theirs).abs().max().item()
found, theirs = (x - x.mean(1, keepdim=True) for x in (found, theirs))
centred = ((found - theirs).norm() / theirs.norm()).item()
print(json.dumps({"tokens": ids.shape[1], "relative_error": raw, "centred_relative_error": centred, "largest": largest}))
