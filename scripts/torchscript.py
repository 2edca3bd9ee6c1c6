#!/usr/bin/env python3
"""Rebuilds a checkpoint in PyTorch, checks its logits, writes it as TorchScript and times it.

    scripts/torchscript.py [--checkpoint NAME] [--seq-len 128] [--samples 50] [--threads 1]
                           [--output results/torchscript.json] [--model FILE.pt]

Needs the package torch (`python3 -m pip install torch`) and cargo, or `ITERA_BIN`, a folder of built programs. The
logits are held against those that `itera-export logits` writes, to 1e-4. Exit status 0 done, 1 the logits differ, 2 could not run.
"""
import argparse
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import List

from provenance import provenance

try:
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn
except ImportError as error:
    print(f"error: {error}; run `python3 -m pip install torch`", file=sys.stderr)
    sys.exit(2)

ROOT = Path(__file__).resolve().parent.parent
TOLERANCE = 1e-4
WARM_UP = 20


def load(path):
    """Config and tensors of an fp32 checkpoint."""
    data = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    metadata = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] != "F32":
            raise SystemExit(f"error: tensor {name} is {entry['dtype']}; give the fp32 checkpoint")
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        values = torch.frombuffer(bytearray(data[start:end]), dtype=torch.float32)
        tensors[name] = values.reshape(entry["shape"])
    return json.loads(metadata["itera.config"]), tensors


class RmsNorm(nn.Module):
    def __init__(self, gain: Tensor, eps: float):
        super().__init__()
        self.gain = nn.Parameter(gain)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.gain


class Mixer(nn.Module):
    """Mamba-2's SSD in chunks (Dao & Gu 2024, section 6)."""

    def __init__(self, c, w):
        super().__init__()
        self.d_inner: int = c["d_inner"]
        self.d_state: int = c["d_state"]
        self.head_dim: int = c["head_dim"]
        self.heads: int = self.d_inner // self.head_dim
        self.chunk: int = c["chunk"]
        self.taps: int = c["d_conv"]
        self.in_proj = nn.Parameter(w["mixer.in_proj.weight"])
        self.conv = nn.Parameter(w["mixer.conv.weight"].unsqueeze(1))
        self.conv_bias = nn.Parameter(w["mixer.conv.bias"])
        self.dt_bias = nn.Parameter(w["mixer.dt_bias"])
        self.a = nn.Parameter(-w["mixer.a_log"].exp())
        self.d = nn.Parameter(w["mixer.d"])
        self.norm = RmsNorm(w["mixer.norm.weight"], c["norm_eps"])
        self.out_proj = nn.Parameter(w["mixer.out_proj.weight"])

    def forward(self, u: Tensor) -> Tensor:
        batch, seq = u.shape[0], u.shape[1]
        channels = self.d_inner + 2 * self.d_state
        zxbcdt = F.linear(u, self.in_proj)
        z, xbc, dt = zxbcdt.split([self.d_inner, channels, self.heads], dim=-1)
        xbc = F.pad(xbc.transpose(1, 2), [self.taps - 1, 0])
        xbc = F.silu(F.conv1d(xbc, self.conv, self.conv_bias, groups=channels)).transpose(1, 2)
        dt = F.softplus(dt + self.dt_bias)
        missing = (-seq) % self.chunk
        xbc, dt = F.pad(xbc, [0, 0, 0, missing]), F.pad(dt, [0, 0, 0, missing])
        chunks = (seq + missing) // self.chunk
        x, b, c = xbc.split([self.d_inner, self.d_state, self.d_state], dim=-1)
        x = x.reshape(batch, chunks, self.chunk, self.heads, self.head_dim).transpose(2, 3)
        b = b.reshape(batch, chunks, 1, self.chunk, self.d_state)
        c = c.reshape(batch, chunks, 1, self.chunk, self.d_state)
        dt = dt.reshape(batch, chunks, self.chunk, self.heads).transpose(2, 3)
        sums = (dt * self.a[:, None]).cumsum(-1)  # [batch, chunks, heads, chunk]
        causal = torch.ones(self.chunk, self.chunk, dtype=torch.bool, device=u.device).tril()
        between = (sums[..., :, None] - sums[..., None, :]).masked_fill(~causal, -math.inf).exp()
        dt_x = x * dt[..., None]
        y = (between * (c @ b.transpose(-1, -2))) @ dt_x
        added = (dt_x * (sums[..., -1:] - sums).exp()[..., None]).transpose(-1, -2) @ b
        whole = sums[..., -1].exp()
        state = torch.zeros_like(added[:, 0])
        entering: List[Tensor] = []
        for i in range(chunks):
            entering.append(state)
            state = state * whole[:, i, :, None, None] + added[:, i]
        past = c @ torch.stack(entering, 1).transpose(-1, -2)
        y = y + past * sums.exp()[..., None] + x * self.d[:, None, None]
        y = y.transpose(2, 3).reshape(batch, seq + missing, self.d_inner)[:, :seq]
        return F.linear(self.norm(y * F.silu(z)), self.out_proj)


class Experts(nn.Module):
    def __init__(self, c, w):
        super().__init__()
        self.experts: int = c["n_experts"]
        self.top_k: int = c["top_k"]
        self.width: int = c["d_expert"]
        self.has_shared: bool = c["d_shared"] > 0
        self.sums_to_one: bool = c.get("routing") == "chosen"
        d_model = c["d_model"]
        router = w.get("moe.router.weight", torch.zeros(1, d_model))
        self.router = nn.Parameter(router)
        # The gates of all experts, then their ups, as one product.
        w_in = w["moe.w_in"].reshape(self.experts, 2, self.width, d_model).transpose(0, 1)
        self.w_in = nn.Parameter(w_in.reshape(-1, d_model))
        self.w_out = nn.Parameter(w["moe.w_out"].transpose(0, 1).reshape(d_model, -1))
        self.shared_in = nn.Parameter(w.get("moe.shared.w_in", torch.zeros(2, d_model)))
        self.shared_out = nn.Parameter(w.get("moe.shared.w_out", torch.zeros(d_model, 1)))

    def forward(self, u: Tensor) -> Tensor:
        gate, up = F.linear(u, self.w_in).chunk(2, -1)
        active = F.silu(gate) * up
        if self.experts > 1:
            p = F.linear(u, self.router).softmax(-1)
            # A stable sort: of equal probabilities the lower index comes first.
            order = torch.sort(p, stable=True, dim=-1, descending=True)[1][..., : self.top_k]
            weights = torch.zeros_like(p).scatter(-1, order, p.gather(-1, order))
            if self.sums_to_one:
                weights = weights / weights.sum(-1, keepdim=True)
            active = active * weights.repeat_interleave(self.width, -1)
        out = F.linear(active, self.w_out)
        if self.has_shared:
            gate, up = F.linear(u, self.shared_in).chunk(2, -1)
            out = out + F.linear(F.silu(gate) * up, self.shared_out)
        return out


class Block(nn.Module):
    def __init__(self, c, w):
        super().__init__()
        self.mixer_norm = RmsNorm(w["mixer_norm.weight"], c["norm_eps"])
        self.mixer = Mixer(c, w)
        self.moe_norm = RmsNorm(w["moe_norm.weight"], c["norm_eps"])
        self.experts = Experts(c, w)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.mixer_norm(x))
        return x + self.experts(self.moe_norm(x))


class Model(nn.Module):
    def __init__(self, c, tensors):
        super().__init__()
        layer = lambda i: {
            name.removeprefix(f"layers.{i}."): value
            for name, value in tensors.items()
            if name.startswith(f"layers.{i}.")
        }
        self.embedding = nn.Parameter(tensors["embedding.weight"])
        self.blocks = nn.ModuleList(Block(c, layer(i)) for i in range(c["n_layers"]))
        self.norm = RmsNorm(tensors["final_norm.weight"], c["norm_eps"])

    def forward(self, tokens: Tensor) -> Tensor:
        """`tokens [batch, seq]` to logits `[batch, seq, vocab_size]`, from a fresh state."""
        x = F.embedding(tokens, self.embedding)
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.embedding)


def native_logits(args, folder):
    """Tokens and logits of the native engine."""
    path = Path(folder) / "logits.json"
    folder = os.environ.get("ITERA_BIN")
    program = [f"{folder}/itera-export"] if folder else ["cargo", "run", "--release", "--quiet", "-p", "itera-export", "--"]
    command = [*program, "logits"]
    command += ["--checkpoint", args.checkpoint, "--seq-len", str(args.seq_len), "--output", path]
    if subprocess.run(command, cwd=ROOT).returncode != 0:
        raise SystemExit(2)
    return json.loads(path.read_text())


def measure(model, tokens, samples):
    """Seconds of each sample."""
    seconds = []
    for i in range(WARM_UP + samples):
        started = time.perf_counter()
        model(tokens)
        if i >= WARM_UP:
            seconds.append(time.perf_counter() - started)
    return seconds


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", default="micro-tinystories")
    parser.add_argument("--seq-len", type=int, default=128)
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=ROOT / "results" / "torchscript.json")
    parser.add_argument("--model", type=Path, default=ROOT / "runs" / "itera_lite_micro_torchscript.pt")
    args = parser.parse_args()
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.model.parent.mkdir(parents=True, exist_ok=True)
    return args


@torch.inference_mode()
def main():
    args = arguments()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        native = native_logits(args, folder)
    if native["path"] is None:
        raise SystemExit("error: the checkpoint is compiled in and no file; give the path of one")
    config, tensors = load(native["path"])
    scripted = torch.jit.freeze(torch.jit.script(Model(config, tensors).eval()))
    part = args.model.with_suffix(".part")
    scripted.save(str(part))
    part.replace(args.model)
    scripted = torch.jit.load(str(args.model))
    tokens = torch.tensor([native["tokens"]])
    difference = (scripted(tokens)[0] - torch.tensor(native["logits"])).abs().max().item()
    # Shorter texts, so that chunks are filled up, must say the same of the same tokens.
    for length in {1, 2, config["chunk"] + 1, args.seq_len - 1} & set(range(1, args.seq_len)):
        expected = torch.tensor(native["logits"][:length])
        shorter = scripted(tokens[:, :length])[0] - expected
        difference = max(difference, shorter.abs().max().item())
    print(f"largest difference of a logit from the native engine: {difference:.2e}")
    if not difference <= TOLERANCE:
        print(f"FAILED: expected at most {TOLERANCE:.0e}")
        return 1
    seconds = measure(scripted, tokens, args.samples)
    result = {
        "schema": "itera.torchscript/1",
        **provenance(),
        "version": torch.__version__,
        "checkpoint": native["checkpoint"],
        "checkpoint_sha256": native["checkpoint_sha256"],
        "seq_len": args.seq_len,
        "threads": args.threads,
        "max_abs_difference": difference,
        "file_bytes": args.model.stat().st_size,
        "sample_seconds": seconds,
    }
    part = args.output.with_suffix(".part")
    part.write_text(json.dumps(result, indent=2) + "\n")
    part.replace(args.output)
    median = sorted(seconds)[len(seconds) // 2]
    print(f"median of {args.samples} samples: {median * 1e3:.2f} ms, {args.seq_len / median:.0f} tokens/s")
    print(f"wrote {args.model} and {args.output}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
