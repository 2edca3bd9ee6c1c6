"""The runtimes that people already have, each as one class, and what the native engine computes.

Needs numpy, and llama_cpp or torch and transformers for the class that is used.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent


def itera(program, *arguments):
    """Runs a program of this checkout and gives its standard output.

    `ITERA_BIN` names a folder of built programs; without it cargo builds them.
    """
    if folder := os.environ.get("ITERA_BIN"):
        command = [str(Path(folder) / program)]
    else:
        command = ["cargo", "run", "--locked", "--release", "--quiet", "-p", program, "--"]
    command += [str(argument) for argument in arguments]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout


def native(checkpoint, tokens, folder):
    """The record of `itera-export logits`: `tokens` of the sample text, and `logits [tokens, vocab_size]`."""
    path = Path(folder) / "logits.json"
    itera("itera-export", "logits", "--checkpoint", checkpoint, "--seq-len", tokens, "--output", path)
    record = json.loads(path.read_text())
    record["logits"] = np.array(record["logits"], dtype=np.float32)
    return record


class LlamaCpp:
    """A GGUF file in llama.cpp."""

    name = "llama.cpp"

    def __init__(self, path, context, threads=1):
        import llama_cpp

        self.version = llama_cpp.__version__
        self.model = llama_cpp.Llama(
            str(path), n_ctx=context, n_batch=512, n_ubatch=512, n_threads=threads,
            n_threads_batch=threads, logits_all=True, verbose=False,
        )

    def start(self):
        self.model.reset()
        self.model._ctx.kv_cache_clear()

    def feed(self, tokens):
        """Logits after each of `tokens`, which go on where the last call ended."""
        self.model.eval(tokens)
        end = self.model.n_tokens
        return self.model.scores[end - len(tokens) : end]

    def tokenize(self, text):
        return self.model.tokenize(text, add_bos=False, special=False)


class Transformers:
    """A folder in transformers, without code of its own."""

    name = "transformers"

    def __init__(self, path, context, threads=1):
        import torch
        import transformers

        torch.set_num_threads(threads)
        self.torch = torch
        self.version = transformers.__version__
        self.model = transformers.AutoModelForCausalLM.from_pretrained(path).eval()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(path)
        self.cache = None

    def start(self):
        self.cache = None

    def feed(self, tokens):
        """Logits after each of `tokens`, which go on where the last call ended."""
        with self.torch.inference_mode():
            out = self.model(
                self.torch.tensor([tokens]), past_key_values=self.cache, use_cache=True
            )
        self.cache = out.past_key_values
        return out.logits[0].numpy()

    def tokenize(self, text):
        return self.tokenizer(text.decode(), add_special_tokens=False)["input_ids"]


def at_once(engine, tokens):
    """Logits after each token, `[tokens, vocab_size]`, from a fresh state."""
    engine.start()
    return np.array(engine.feed(list(tokens)))


def in_pieces(engine, tokens, sizes):
    """The same, fed in pieces of these sizes and then the rest."""
    engine.start()
    rows, at = [], 0
    for size in [*sizes, len(tokens)]:
        piece = list(tokens[at : at + size])
        if piece:
            rows.append(np.array(engine.feed(piece)))
        at += size
    return np.concatenate(rows)


def greedy(engine, start, tokens, end):
    """The most probable token each time, until `end` or `tokens` of them."""
    engine.start()
    written, piece = [], list(start)
    while len(written) < tokens:
        token = int(np.argmax(engine.feed(piece)[-1]))
        if token == end:
            break
        written.append(token)
        piece = [token]
    return written


def nats(logits, tokens):
    """Negative log-likelihood of `tokens[1:]`, in float64; `logits` are those after each of `tokens`."""
    logits = logits[: len(tokens) - 1].astype(np.float64)
    largest = logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(logits - largest).sum(axis=1)) + largest[:, 0]
    return float((total - logits[np.arange(len(tokens) - 1), tokens[1:]]).sum())
