#!/usr/bin/env python3
"""Train the demo model from scratch on one text file, on a CPU, and sample its texts.

    export MALLOC_MMAP_MAX_=0 OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=0   # optional: faster, above all on a busy machine
    python train.py tokenizer --text books.txt.xz
    python train.py train     --text books.txt.xz --minutes 45   # or --steps N
    python train.py sample
    python train.py card      --titles books.titles.txt

The model files go to --out (this script's directory by default), caches and
measurements to --work.  Needs torch, transformers, tokenizers, safetensors, numpy.

Schedule: short warm-up, constant learning rate, linear decay to zero over the last part
(--decay).  With --minutes N the schedule is a function of elapsed wall-clock time, so that
the run ends on time on a shared machine, but the result depends on the machine's speed.
With --steps N it is a function of the step, and the run is repeatable for a given
torch build.
"""
import argparse
import json
import lzma
import math
import multiprocessing
import re
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

if not torch.cuda.is_available():
    # transformers asks this on every forward; a CUDA build of torch without a driver crashes on it.
    torch.cuda.is_current_stream_capturing = lambda: False

import transformers.models.llama.modeling_llama as llama_code
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM

WINDOW = 256
VOCAB = 3072
HELD_OUT = 0.01
CONFIG = dict(
    vocab_size=VOCAB, hidden_size=256, intermediate_size=640, num_hidden_layers=4,
    num_attention_heads=8, num_key_value_heads=4, head_dim=32, hidden_act="silu",
    max_position_embeddings=512, rms_norm_eps=1e-5, tie_word_embeddings=True,
    attention_bias=False, mlp_bias=False, attention_dropout=0.0, initializer_range=0.02,
    bos_token_id=None, eos_token_id=None, pad_token_id=None,
)
ROPE_THETA = 10000.0


# ---------------------------------------------------------------- data

def read_text(path):
    raw = Path(path).read_bytes()
    return (lzma.decompress(raw) if str(path).endswith(".xz") else raw).decode("utf-8")


def split(text):
    """Documents (cut at '# Title:' lines, else one), with the tail of every eighth long
    one held out, about HELD_OUT of the text in all."""
    cuts = [m.start() for m in re.finditer(r"^# Title:", text, re.M)]
    cuts = sorted({0, *cuts}) + [len(text)]
    docs = [text[a:b] for a, b in zip(cuts, cuts[1:]) if b > a]
    long = [i for i, d in enumerate(docs) if len(d) >= 200_000] or [max(range(len(docs)), key=lambda i: len(docs[i]))]
    chosen = long[::8]
    tail = int(len(text) * HELD_OUT / len(chosen))
    held = [docs[i][-tail:] for i in chosen]
    for i in chosen:
        docs[i] = docs[i][:-tail]
    return docs, held


def cmd_tokenizer(a):
    docs, held = split(read_text(a.text))
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(docs, trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=[], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    assert tok.get_vocab_size() == VOCAB, tok.get_vocab_size()
    a.out.mkdir(parents=True, exist_ok=True)
    tok.save(str(a.out / "tokenizer.json"))
    dump(a.out / "tokenizer_config.json", dict(
        tokenizer_class="PreTrainedTokenizerFast", model_max_length=512,
        clean_up_tokenization_spaces=False, add_prefix_space=False,
        bos_token=None, eos_token=None, pad_token=None, unk_token=None))
    a.work.mkdir(parents=True, exist_ok=True)
    sizes = {}
    for name, part in (("train", docs), ("held", held)):
        ids = np.concatenate([np.array(tok.encode(d).ids, dtype=np.uint16) for d in part])
        np.save(a.work / f"{name}.npy", ids)
        sizes[name] = dict(tokens=len(ids), bytes=sum(len(d.encode()) for d in part), parts=len(part))
        print(name, sizes[name], flush=True)
    dump(a.work / "data.json", sizes)


# ---------------------------------------------------------------- training

_masks = {}


def block_attention(module, q, k, v, attention_mask=None, scaling=None, block=128, **_):
    """Causal attention as plain batched matmuls, row block by row block: on a CPU its backward
    pass is several times faster than that of the fused kernel.  Training only."""
    b, h, t, d = q.shape
    n = k.shape[1]
    g = h // n
    q = (q * scaling).reshape(b * n, g, t, d)
    k, v = k.reshape(b * n, t, d), v.reshape(b * n, t, d)
    out = []
    for i in range(0, t, block):
        j = min(i + block, t)
        if (i, j) not in _masks:
            _masks[i, j] = torch.full((j - i, j), -1e9).triu(1 + i).to(q.dtype).repeat(g, 1)
        s = torch.baddbmm(_masks[i, j].expand(b * n, -1, -1),
                          q[:, :, i:j].reshape(b * n, g * (j - i), d), k[:, :j].transpose(1, 2))
        out.append(torch.bmm(s.softmax(-1), v[:, :j]).view(b * n, g, j - i, d))
    return torch.cat(out, 2).view(b, h, t, d).transpose(1, 2).contiguous(), None


AttentionInterface.register("block", block_attention)


class LinearCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy of h @ w.T against y, with both gradients, chunk by chunk."""

    @staticmethod
    def forward(ctx, h, w, y, chunk=512):
        n, dh, dw, total = len(y), torch.empty_like(h), torch.zeros(w.shape), torch.zeros(())
        for i in range(0, n, chunk):
            hc, yc = h[i:i + chunk], y[i:i + chunk]
            p = (hc @ w.t()).float()
            p -= p.logsumexp(-1, keepdim=True)
            total -= p.gather(1, yc[:, None]).sum()
            p.exp_()
            p[torch.arange(len(yc)), yc] -= 1
            p = p.to(h.dtype)
            dh[i:i + chunk] = p @ w
            dw += p.t() @ hc
        ctx.save_for_backward(dh / n, dw / n)
        return total / n

    @staticmethod
    def backward(ctx, grad):
        dh, dw = ctx.saved_tensors
        return dh * grad, (dw * grad).to(dh.dtype), None, None


def save_model(model, masters, folder):
    """config.json and model.safetensors (bf16, tied head left out), as Hugging Face writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    keep = {k: v for k, v in CONFIG.items()}
    dump(folder / "config.json", dict(
        architectures=["LlamaForCausalLM"], model_type="llama", **keep, rope_theta=ROPE_THETA,
        rope_scaling=None, torch_dtype="bfloat16", use_cache=True))
    save_file({n: p.detach().to(torch.bfloat16).contiguous() for n, p in masters.items()},
              str(folder / "model.safetensors"), metadata={"format": "pt"})


def cmd_train(a):
    assert (a.minutes is None) != (a.steps is None), "give --minutes or --steps"
    torch.manual_seed(a.seed)
    rng = np.random.default_rng(a.seed + a.done)
    data = np.load(a.work / "train.npy")
    held = windows(np.load(a.work / "held.npy"))[::4]
    cfg = LlamaConfig(**CONFIG, rope_parameters=dict(rope_type="default", rope_theta=ROPE_THETA),
                      use_cache=False, attn_implementation="block")
    llama_code.LlamaRMSNorm.forward = lambda s, x: F.rms_norm(x, x.shape[-1:], s.weight, s.variance_epsilon)
    model = LlamaForCausalLM(cfg)
    with torch.no_grad():
        for n, p in model.named_parameters():
            if n.endswith(("o_proj.weight", "down_proj.weight")):
                p.mul_(1 / math.sqrt(2 * cfg.num_hidden_layers))
    if a.init:
        model.load_state_dict(load_file(str(a.init / "model.safetensors")), strict=False)
    # bf16 forward and backward, float32 master weights and optimiser state.
    masters = {n: p.detach().clone().float().requires_grad_() for n, p in model.named_parameters()}
    model = model.to(torch.bfloat16)
    params = dict(model.named_parameters())
    opt = torch.optim.AdamW([
        dict(params=[p for p in masters.values() if p.ndim > 1], weight_decay=0.1),
        dict(params=[p for p in masters.values() if p.ndim == 1], weight_decay=0.0)],
        lr=a.lr, betas=(0.9, a.beta2), eps=1e-8, fused=True)

    def loss_of(x):
        x = torch.as_tensor(x.astype(np.int64))
        h = model.model(x[:, :-1]).last_hidden_state.flatten(0, 1)
        return LinearCrossEntropy.apply(h, model.lm_head.weight, x[:, 1:].flatten())

    def evaluate():
        with torch.no_grad():
            return float(np.mean([loss_of(held[i:i + 16]).item() for i in range(0, len(held) - 15, 16)]))

    start, step, snap, log, recent = time.monotonic(), 0, 0, [], []
    while True:
        elapsed = (time.monotonic() - start) / 60
        progress = step / a.steps if a.steps else elapsed / a.minutes
        if progress >= 1:
            break
        lr = a.lr * min(1, (step + 1) / a.warmup, (1 - progress) / max(a.decay, 1e-9))
        for group in opt.param_groups:
            group["lr"] = lr
        offsets = rng.integers(0, len(data) - WINDOW, a.batch)
        x = np.stack([data[o:o + WINDOW + 1] for o in offsets])
        for m in masters.values():
            m.grad = torch.zeros_like(m)
        for i in range(0, a.batch, a.micro):
            part = x[i:i + a.micro]
            loss = loss_of(part)
            loss.backward()
            recent.append(loss.item())
            for n, p in params.items():
                masters[n].grad.add_(p.grad.float(), alpha=len(part) / a.batch)
                p.grad = None
        norm = torch.nn.utils.clip_grad_norm_(masters.values(), 1.0)
        opt.step()
        with torch.no_grad():
            for n, p in params.items():
                p.copy_(masters[n])
        step += 1
        if step % 50 == 0:
            minutes = (time.monotonic() - start) / 60
            row = dict(step=step, minutes=round(minutes, 2), loss=round(float(np.mean(recent)), 4), lr=lr,
                       grad_norm=round(float(norm), 3), tokens_per_s=round(step * a.batch * WINDOW / minutes / 60))
            recent = []
            if minutes > (snap + 1) * a.snapshot_minutes:
                snap += 1
                row["held_out"] = round(evaluate(), 4)
                save_model(model, masters, a.work / "snapshot")
            log.append(row)
            print(json.dumps(row), flush=True)
    minutes = (time.monotonic() - start) / 60
    save_model(model, masters, a.out)
    dump(a.work / "train.json", dict(
        steps=step + a.done, done=a.done, minutes=minutes, tokens=a.done_tokens + step * a.batch * WINDOW, beta2=a.beta2, batch=a.batch, lr=a.lr, warmup=a.warmup,
        decay=a.decay, seed=a.seed, limit=a.minutes, threads=a.threads, held_out_bf16=evaluate(), log=log))


# ---------------------------------------------------------------- sampling and measuring

def windows(ids):
    return ids[:len(ids) // WINDOW * WINDOW].reshape(-1, WINDOW)


@torch.no_grad()
def score(model, ids):
    """Per window: mean NLL and mean conditional entropy over its 255 targets (float32)."""
    nll, ent = [], []
    for i in range(0, len(ids), 16):
        x = torch.as_tensor(np.asarray(ids[i:i + 16], dtype=np.int64))
        lp = model(x).logits[:, :-1].float().log_softmax(-1)
        nll.append(-lp.gather(2, x[:, 1:, None])[..., 0].mean(1))
        ent.append(-(lp.exp() * lp).sum(-1).mean(1))
    return torch.cat(nll).double().numpy(), torch.cat(ent).double().numpy()


_worker = {}


def start_worker(folder, unigram):
    torch.set_num_threads(1)
    _worker.update(tok=Tokenizer.from_file(str(folder / "tokenizer.json")), unigram=unigram,
                   model=LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval())


def encode(text):
    return _worker["tok"].encode(text, add_special_tokens=False).ids


def decode(ids):
    return _worker["tok"].decode(ids, skip_special_tokens=False)


@torch.no_grad()
def propose(seed, batch=128, every=24, slack=16, check=True):
    """Sample `batch` windows; return those that round-trip.  A window whose text already fails to,
    well before its last tokens, would be rejected at the end: it is dropped on the way."""
    model, gen = _worker["model"], torch.Generator().manual_seed(seed)
    x = torch.multinomial(_worker["unigram"], batch, replacement=True, generator=gen)[:, None]
    cache, last = None, x
    for n in range(1, WINDOW):
        out = model(last, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        last = torch.multinomial(out.logits[:, -1].float().softmax(-1), 1, generator=gen)
        x = torch.cat([x, last], 1)
        if check and n % every == 0 and n > slack:
            keep = [i for i, w in enumerate(x.tolist()) if encode(decode(w))[:n - slack] == w[:n - slack]]
            if not keep:
                return []
            if len(keep) < len(x):
                keep = torch.tensor(keep)
                x, last = x[keep], last[keep]
                cache.batch_select_indices(keep)
    return [w for w in x.tolist() if not check or encode(decode(w)) == w]


def score_worker(ids):
    return score(_worker["model"], ids)


def cmd_sample(a):
    counts = np.bincount(np.load(a.work / "train.npy"), minlength=VOCAB)
    unigram = torch.tensor(counts / counts.sum())
    start_worker(a.out, unigram)
    pool = ProcessPoolExecutor(a.threads, multiprocessing.get_context("spawn"), start_worker, (a.out, unigram))
    seed = a.seed * 1000
    res = dict(params=sum(p.numel() for p in _worker["model"].parameters()), proposed=0, stable=0, unused=0)
    queue = []
    for name in ("calibration", "evaluation"):
        ids, text = [], ""
        while True:
            found = True
            while found and len(ids) < a.windows * WINDOW:
                found = False
                for w in queue:  # oldest first: a window that does not fit here may fit later
                    if encode(text + decode(w)) == ids + w:
                        ids, text, found = ids + w, text + decode(w), True
                        queue.remove(w)
                        break
            if len(ids) == a.windows * WINDOW:
                break
            for wins in pool.map(propose, range(seed, seed + a.threads)):
                queue += wins
                res["proposed"] += 128
                res["stable"] += len(wins)
            seed += a.threads
            print(name, len(ids) // WINDOW, "windows;", res["stable"], "stable of", res["proposed"], flush=True)
        path = a.out / f"{name}.txt"
        with open(path, "w", encoding="utf-8", newline="") as f:
            f.write(text)
        with open(path, encoding="utf-8", newline="") as f:
            assert encode(f.read()) == ids and len(ids) == a.windows * WINDOW
        nll, ent = score(_worker["model"], windows(np.array(ids)))
        d = nll - ent
        res[name] = dict(tokens=len(ids), bytes=path.stat().st_size, nll=nll.mean(), entropy=ent.mean(),
                         ppl=math.exp(nll.mean()), exp_entropy=math.exp(ent.mean()),
                         difference=d.mean(), standard_error=d.std(ddof=1) / math.sqrt(len(d)))
        print(name, res[name], flush=True)
    nll, ent = score(_worker["model"], np.array(propose(a.seed, check=False)))
    d = nll - ent
    res["unchecked"] = dict(difference=d.mean(), standard_error=d.std(ddof=1) / math.sqrt(len(d)), windows=len(d))
    res["unused"] = len(queue)
    res["acceptance"] = res["stable"] / res["proposed"]
    held, data = windows(np.load(a.work / "held.npy"))[::a.held_every], json.loads((a.work / "data.json").read_text())["held"]
    nll = np.concatenate([n for n, _ in pool.map(score_worker, np.array_split(held, a.threads))])
    p = (counts + 1) / (counts + 1).sum()
    res["held"] = dict(nll=nll.mean(), bits_per_byte=nll.mean() * data["tokens"] / data["bytes"] / math.log(2),
                       unigram=-np.log(p[held[:, 1:]]).mean(), windows=len(held), every=a.held_every)
    res["bytes"] = (a.out / "model.safetensors").stat().st_size
    dump(a.work / "sample.json", res)
    print(json.dumps(res, indent=1))
    pool.shutdown()


# ---------------------------------------------------------------- model card

def recipe(a, t):
    """The runs behind the weights: those noted in phases.json (interrupted ones), then the last."""
    noted = a.work / "phases.json"
    runs = json.loads(noted.read_text()) if noted.exists() else []
    runs.append({**t, "steps": t["steps"] - sum(r["steps"] for r in runs), "micro": min(16, t["batch"]),
                 "tokens": t["tokens"] - sum(r["tokens"] for r in runs)})
    cmd = ["python train.py tokenizer --text books.txt.xz"]
    rows = ["| run | steps | windows per step | peak learning rate | warm-up steps | decay to 0 over the last | beta2 |",
            "| --- | --- | --- | --- | --- | --- | --- |"]
    steps = tokens = 0
    for i, r in enumerate(runs, 1):
        line = (f"python train.py train --steps {r['steps']} --batch {r['batch']} --micro {r['micro']} --lr {r['lr']} "
                f"--warmup {r['warmup']} --decay {r['decay']} --beta2 {r['beta2']}")
        line += f" --init demo-work/{i - 1} --done {steps} --done-tokens {tokens}" if i > 1 else ""
        cmd.append(line + (f" --out demo-work/{i}" if i < len(runs) else ""))
        rows.append(f"| {i} | {r['steps']} | {r['batch']} | {r['lr']} | {r['warmup']} | {100 * r['decay']:.0f} % | {r['beta2']} |")
        steps, tokens = steps + r["steps"], tokens + r["tokens"]
    cmd += ["python train.py sample", "python train.py card --titles books.titles.txt"]
    return dict(steps=steps, minutes=sum(r["minutes"] for r in runs), cmd="\n".join(cmd), table="\n".join(rows),
                runs="" if len(runs) == 1 else f"In {len(runs)} runs, the later ones from the weights of the "
                "one before, with a fresh optimiser state; the earlier ones were cut short:")


def cmd_card(a):
    s, t, d = (json.loads((a.work / f"{n}.json").read_text()) for n in ("sample", "train", "data"))
    authors = {}
    for line in Path(a.titles).read_text(encoding="utf-8").splitlines():
        if line.strip():
            author, title = line.split("/", 1)
            authors.setdefault(author.strip(), []).append(title.strip())
    books = "\n".join(f"- {x}: {'; '.join(y)}" for x, y in authors.items())
    tok = Tokenizer.from_file(str(a.out / "tokenizer.json"))
    with open(a.out / "evaluation.txt", encoding="utf-8", newline="") as f:
        excerpt = tok.decode(windows(np.array(tok.encode(f.read()).ids))[a.excerpt].tolist())
    c, e, h = s["calibration"], s["evaluation"], s["held"]
    epochs, nats = t["tokens"] / d["train"]["tokens"], -math.log(s["acceptance"])
    card = CARD.format(
        u=s["unchecked"], s=s, t=t, d=d, c=c, e=e, h=h, books=books, n=sum(map(len, authors.values())), v=VOCAB,
        mt=t["tokens"] / 1e6, epochs=epochs, mtrain=d["train"]["tokens"] / 1e6, hppl=math.exp(h["nll"]),
        bpt=d["held"]["bytes"] / d["held"]["tokens"], acc=100 * s["acceptance"], klw=nats, klt=nats / (WINDOW - 1),
        excerpt="\n".join(("> " + x).rstrip() for x in excerpt.strip().splitlines() if x.strip()), **recipe(a, t))
    (a.out / "README.md").write_text(card, encoding="utf-8")


CARD = """# Demo model

A very small Llama language model, trained from scratch for trying and testing a pruner.
It writes old-novel prose made mostly of real words, and is of no other use.

| | |
| --- | --- |
| architecture | `LlamaForCausalLM`: hidden 256, intermediate 640, 4 layers, 8 heads, 4 key/value heads of size 32, tied embeddings, RoPE theta 10000 |
| parameters | {s[params]:,} |
| weights | `model.safetensors`, bf16, {s[bytes]:,} bytes |
| tokenizer | byte-level BPE, {v} tokens, no special tokens, nothing added when encoding |
| context | trained on windows of 256 tokens (`max_position_embeddings` is 512) |

There is no BOS token. Training windows start at random offsets, so any window of up to
256 tokens is in distribution as it is.

## Figures

| measure | value |
| --- | --- |
| held-out loss | {h[nll]:.4f} nats per token ({h[bits_per_byte]:.4f} bits per byte, perplexity {hppl:.2f}) |
| unigram baseline on the same tokens | {h[unigram]:.4f} nats per token |
| `evaluation.txt`: perplexity | {e[ppl]:.3f} ({e[nll]:.4f} nats per token) |
| `evaluation.txt`: exp of the mean conditional entropy | {e[exp_entropy]:.3f} ({e[entropy]:.4f} nats per token) |
| difference, with its standard error | {e[difference]:+.4f} ± {e[standard_error]:.4f} nats per token |
| `calibration.txt`: perplexity, exp of entropy | {c[ppl]:.3f}, {c[exp_entropy]:.3f} |

All are computed in float32 from the saved bf16 weights, on disjoint windows of 256 tokens
with all 255 targets of each window scored. The held-out text is {h[windows]} windows
({bpt:.2f} bytes per token), from the tails of {d[held][parts]} books; neither the tokenizer nor the model saw it.

## Sampled texts

`calibration.txt` ({c[bytes]:,} bytes) and `evaluation.txt` ({e[bytes]:,} bytes) were written by
the model itself, at temperature 1 over the full vocabulary: 64 windows of 256 tokens each. The first
token of a window is drawn from the training text's unigram distribution and is never scored; the
other 255 are sampled given the window's earlier tokens only.

On such text the dense model's perplexity is the exponential of its own entropy, no smaller
expected cross-entropy is possible (but for the bias below), and what a pruned model adds to the cross-entropy estimates the
KL divergence from the dense model, in nats per token.

Encoding the whole file gives back exactly the sampled tokens, so that cutting it into
consecutive windows of 256 tokens recovers the windows. Windows that do not round-trip (an invented
word that the tokenizer would spell with other tokens, a split character) were rejected and drawn again:
{s[stable]} of {s[proposed]} passed ({acc:.1f} %), and of these a window was placed where it also fits the end of the one
before it. This makes the sample a little different from the model, with fewer invented words: its KL divergence
from the model is ln(1 / acceptance) = {klw:.2f} nats per window, {klt:.4f} per token (the fitting aside), and no other model's expected
cross-entropy on it can be lower than the dense model's by more than that. The "difference" row above, zero in
expectation without rejection, shows the effect on the perplexity: over {u[windows]} windows kept unchecked it is
{u[difference]:+.4f} ± {u[standard_error]:.4f}. Read the files without newline
translation: the books, and so the samples, hold CR LF line ends.

One window of `evaluation.txt`:

{excerpt}

## Training

{steps} steps of AdamW (beta1 0.9, weight decay 0.1 on matrices, gradient clip 1.0) on windows of 256 tokens,
{mt:.1f} million tokens ({epochs:.2f} passes over {mtrain:.1f} million training tokens), {minutes:.0f} minutes at the lowest
priority on {t[threads]} busy CPU cores; bf16 forward and backward, float32 master weights. {runs}

{table}

Commands that repeat this by steps, given one text file of the books below, each opened by a line `# Title: ...`
(the published run followed the clock, so they repeat the recipe, not every bit of the weights):

```
{cmd}
```

On an idle machine, one longer run (`python train.py train --minutes 45`, no `--init`) should give a better model.

## Data

{n} works of English fiction and verse, all in the public domain, about 1 % held out:

{books}

## Licence

The weights were trained on public-domain books only. They and the sampled texts may be used under the
project's licence, and no further rights are claimed in them: treat them as public domain (CC0).
"""


def dump(path, obj):
    path.write_text(json.dumps(obj, indent=2) + "\n", encoding="utf-8")


def main():
    here = Path(__file__).resolve().parent
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("command", choices=["tokenizer", "train", "sample", "card"])
    ap.add_argument("--text", help="training text, plain or .xz (UTF-8)")
    ap.add_argument("--titles", help="list of 'Author/Title' lines, for the card")
    ap.add_argument("--out", type=Path, default=here)
    ap.add_argument("--work", type=Path, default=Path("demo-work"))
    ap.add_argument("--seed", type=int, default=20260)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--minutes", type=float, help="wall-clock schedule")
    ap.add_argument("--steps", type=int, help="schedule by steps")
    ap.add_argument("--init", type=Path, help="continue from this snapshot's weights (fresh optimiser state)")
    ap.add_argument("--done", type=int, default=0, help="steps already in --init")
    ap.add_argument("--done-tokens", type=int, default=0, help="tokens already in --init")
    ap.add_argument("--beta2", type=float, default=0.95)
    ap.add_argument("--batch", type=int, default=32, help="windows per step")
    ap.add_argument("--micro", type=int, default=16, help="windows per backward pass")
    ap.add_argument("--lr", type=float, default=3e-3)
    ap.add_argument("--warmup", type=int, default=100)
    ap.add_argument("--decay", type=float, default=0.3)
    ap.add_argument("--snapshot-minutes", type=float, default=5)
    ap.add_argument("--windows", type=int, default=64, help="windows per sampled text")
    ap.add_argument("--held-every", type=int, default=1, help="score every n-th held-out window only")
    ap.add_argument("--excerpt", type=int, default=0, help="window of evaluation.txt shown in the card")
    a = ap.parse_args()
    torch.set_num_threads(a.threads)
    {"tokenizer": cmd_tokenizer, "train": cmd_train, "sample": cmd_sample, "card": cmd_card}[a.command](a)


if __name__ == "__main__":
    main()
