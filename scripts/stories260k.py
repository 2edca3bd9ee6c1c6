#!/usr/bin/env python3
"""Scores a text with stories260K, the model of llama2.c of about the size of ours, by the protocol
`document` of itera-validate, so that the two compare. `scripts/stories260k.py --help` says how.

The weights (`stories260K.bin`) and the tokenizer (`tok512.bin`) are at
https://huggingface.co/karpathy/tinyllamas/tree/main/stories260K; fetch them and give their paths.
Needs Python 3.9 or newer and numpy. The record is read by `itera-report` and `itera-validate compare`.
"""

import argparse
import hashlib
import json
import math
import os
import pathlib
import re
import struct
import subprocess
import sys
import time

from provenance import provenance

ROOT = pathlib.Path(__file__).resolve().parent.parent
SEPARATOR = b"<|endoftext|>"
BEGIN_OF_TEXT = 1
FIRST_BYTE = 3  # <0x00>
FIRST_PIECE = 259
PARAMETERS = 260_032
# Texts that are known by their digest, as itera-validate names them.
KNOWN = {
    "805df41e8dd6acdb73715cd4f677e6cf36cf7eb3700ef2492ef9eba47532e402": (
        "tinystories-head",
        "official TinyStories V1 validation split, rows 0 to 218, by its digest",
    ),
    "ace5ae488323262f7c09f03c1b83bd07482960bdc0d36c3da85180a9cc06f592": ("tinystories-dev", "selection of 1,558 stories; not the official split"),
}


def fail(message):
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


try:
    import numpy as np
except ImportError:
    fail("numpy is missing; install it with `pip install numpy`")


class Tokenizer:
    """Byte pair encoding with a score for each piece, the best merge first, as in llama2.c."""

    def __init__(self, data, size):
        self.pieces, self.scores, at = [], [], 4
        for _ in range(size):
            score, length = struct.unpack_from("<fi", data, at)
            self.pieces.append(data[at + 8 : at + 8 + length])
            self.scores.append(score)
            at += 8 + length
        self.ids = {piece: i for i, piece in reversed(list(enumerate(self.pieces)))}
        # No piece goes on behind a space, so that words can be encoded one by one.
        assert all(b" " not in piece[1:] for piece in self.pieces[FIRST_PIECE:])
        self.words = {}

    def encode(self, text):
        # The encoder puts a space before the text.
        words = re.findall(rb" [^ ]*|[^ ]+", b" " + text)
        return [token for word in words for token in self.word(word)]

    def word(self, word):
        if word not in self.words:
            self.words[word] = self.merged(word)
        return self.words[word]

    def merged(self, word):
        tokens = []
        for char in word.decode():
            char = char.encode()
            known = self.ids.get(char)
            tokens += [FIRST_BYTE + byte for byte in char] if known is None else [known]
        while True:
            pairs = zip(tokens, tokens[1:])
            joined = [self.ids.get(self.pieces[a] + self.pieces[b]) for a, b in pairs]
            merges = [(-self.scores[new], i, new) for i, new in enumerate(joined) if new is not None]
            if not merges:
                return tokens
            _, i, new = min(merges)
            tokens[i : i + 2] = [new]


class Model:
    """The transformer of llama2.c: rotary positions, grouped queries, SwiGLU, RMS norms."""

    def __init__(self, data):
        header = struct.unpack_from("<7i", data)
        dim, hidden, layers, self.heads, self.kv_heads, vocab, self.context = header
        self.vocab, self.head_size = abs(vocab), dim // self.heads
        floats, at = np.frombuffer(data, "<f4", offset=28), 0

        def take(*shape):
            nonlocal at
            at += math.prod(shape)
            return floats[at - math.prod(shape) : at].reshape(shape)

        kv = self.kv_heads * self.head_size
        self.embedding = take(self.vocab, dim)
        attention_norm = take(layers, dim)
        attention = [take(layers, n, dim) for n in (dim, kv, kv, dim)]
        ffn_norm = take(layers, dim)
        ffn = [take(layers, hidden, dim), take(layers, dim, hidden), take(layers, hidden, dim)]
        self.norm = take(dim)
        take(2, self.context, self.head_size // 2)  # Tables that are computed here.
        self.head = self.embedding if vocab > 0 else take(self.vocab, dim)
        self.layers = list(zip(attention_norm, *attention, ffn_norm, *ffn))

    def nats(self, tokens):
        """Negative log-likelihood of each token after the beginning of a text."""
        length = len(tokens)
        x = self.embedding[[BEGIN_OF_TEXT, *tokens[:-1]]]
        frequencies = 10_000.0 ** (-np.arange(0, self.head_size, 2) / self.head_size)
        angles = np.arange(length)[:, None, None] * frequencies
        cos, sin = np.cos(angles).astype("f4"), np.sin(angles).astype("f4")
        future = np.triu(np.full((length, length), -np.inf, "f4"), 1)

        def rotated(vectors):
            even, odd = vectors[..., 0::2], vectors[..., 1::2]
            turned = np.empty_like(vectors)
            turned[..., 0::2] = even * cos - odd * sin
            turned[..., 1::2] = even * sin + odd * cos
            return turned

        for norm_1, wq, wk, wv, wo, norm_2, w1, w2, w3 in self.layers:
            y = rms(x, norm_1)
            q, k, v = ((y @ w.T).reshape(length, -1, self.head_size) for w in (wq, wk, wv))
            q, k = rotated(q), rotated(k)
            k, v = (np.repeat(of, self.heads // self.kv_heads, 1) for of in (k, v))
            q, k, v = (of.transpose(1, 0, 2) for of in (q, k, v))
            scores = q @ k.transpose(0, 2, 1) / np.sqrt(np.float32(self.head_size)) + future
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            mixed = scores / scores.sum(-1, keepdims=True) @ v
            x = x + mixed.transpose(1, 0, 2).reshape(length, -1) @ wo.T
            y = rms(x, norm_2)
            gate = y @ w1.T
            x = x + (gate / (1 + np.exp(-gate)) * (y @ w3.T)) @ w2.T
        logits = (rms(x, self.norm) @ self.head.T).astype("f8")
        logits -= logits.max(-1, keepdims=True)
        return np.log(np.exp(logits).sum(-1)) - logits[np.arange(length), tokens]


def rms(x, gain):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * gain


def document_nats(model, tokens):
    """A text beyond the context of the model, of which the beginning of text is a part, goes on in
    a new one; this costs it something that a model with a state does not pay."""
    length = model.context - 1
    parts = range(0, len(tokens), length)
    return math.fsum(model.nats(tokens[at : at + length]).sum() for at in parts)


def documents_of(text):
    """What lies between separators, by the rule of itera-validate."""
    stories = re.split(rb"\r?\n?^[ \t]*" + re.escape(SEPARATOR) + rb"[ \t]*(?:\r?\n|\Z)", text, flags=re.M)
    return [story for story in stories if story.strip()]


def read(path):
    try:
        return pathlib.Path(path).read_bytes()
    except OSError as error:
        fail(f"cannot read `{path}`: {error.strerror}; see `{sys.argv[0]} --help` for where it is from")


def default_dataset():
    folder = os.environ.get("ITERA_DATA_DIR") or ROOT / "data"
    return pathlib.Path(folder) / "tinystories/official-head.txt"


def commit():
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def record(arguments, weights, text, model, documents, tokens, nats, seconds):
    size = sum(map(len, documents))
    count = sum(map(len, tokens))
    total = 0.0
    for value in nats:  # In this order, as readers check it.
        total += value
    bits = total / math.log(2) / size
    used = np.bincount(np.concatenate([np.asarray(of) for of in tokens]))
    shares = used[used > 0] / count
    uniform = math.log2(model.vocab) * count / size
    digest = hashlib.sha256(text).hexdigest()
    unknown = f"unknown text of {len(text):,} bytes; figures compare only at equal sha256"
    name, verdict = KNOWN.get(digest, (str(arguments.dataset), unknown))
    chars = sum(len(of.decode(errors="replace")) for of in documents)
    words = sum(len(of.split()) for of in documents)
    coded = math.ceil(total / math.log(2) / 8)
    files = len(weights) + os.path.getsize(arguments.tokenizer)
    protocol = {
        "name": "document",
        "window_tokens": None,
        "stride_tokens": None,
        "context_start": "end_of_text",
        "separators_scored": False,
        "max_tokens": None,
        "limit_documents": None,
        "bootstrap": {"draws": 2000, "seed": 0},
    }
    about = {
        "name": "stories260K",
        "file_sha256": hashlib.sha256(weights).hexdigest(),
        "params": PARAMETERS,
        "active_params": PARAMETERS,
        "precision": "fp32",
        "bytes": 4 * PARAMETERS,
        "bits_per_weight": 32.0,
    }
    row = {
        "model": about,
        "dataset": name,
        "split": "valid" if digest in KNOWN else "all",
        "dataset_sha256": digest,
        "dataset_verdict": verdict,
        "documents": len(documents),
        "bytes": size,
        "chars": chars,
        "words": words,
        "tokens": count,
        "unknown_tokens": 0,
        "nll_nats": total,
        "bits_per_byte": bits,
        "byte_perplexity": 2**bits,
        "char_perplexity": math.exp(total / chars),
        "word_perplexity": math.exp(total / words),
        "token_perplexity": math.exp(total / count),
        # Follows from the documents; itera-report computes it.
        "bits_per_byte_ci95": None,
        "baselines": {
            "uniform_bits_per_byte": uniform,
            "unigram_bits_per_byte": float(-(shares * np.log2(shares)).sum()) * count / size,
            "zstd_bits_per_byte": None,
            "worse_than_uniform": bits > uniform,
        },
        "code_length": {
            "text_bytes": coded,
            "model_file_bytes": files,
            "total_bytes": coded + files,
        },
        "precision": "fp32",
        "engine": "numpy",
        "protocol": protocol,
        "seconds": seconds,
        "tokens_per_s": count / seconds,
        "bytes_scored_fraction": 1.0,
        "dataset_bytes": size,
        "shard": None,
        "document_indices": list(range(len(documents))),
        "document_bytes": [len(of) for of in documents],
        "document_nll_nats": nats,
    }
    return {
        "schema": "itera.validation/1",
        **provenance(),
        "tool": {"name": "scripts/stories260k.py", "version": f"numpy {np.__version__}", "commit": commit()},
        "model": about,
        "protocol": protocol,
        "rows": [row],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, metavar="PATH", help="stories260K.bin")
    parser.add_argument("--tokenizer", required=True, metavar="PATH", help="tok512.bin")
    parser.add_argument(
        "--dataset",
        metavar="PATH",
        default=default_dataset(),
        help="text to score [default: tinystories/official-head.txt in the data folder, which "
        "`scripts/fetch-data.sh --only tinystories-head` fetches]",
    )
    parser.add_argument("--output", metavar="FILE", default=ROOT / "results/stories260k.json", help="[default: results/stories260k.json]")
    arguments = parser.parse_args()
    weights, text = read(arguments.weights), read(arguments.dataset)
    try:
        model = Model(weights)
        tokenizer = Tokenizer(read(arguments.tokenizer), model.vocab)
    except (ArithmeticError, AssertionError, ValueError, struct.error):
        fail("the files are not stories260K.bin and tok512.bin of llama2.c; fetch them again")
    documents = documents_of(text)
    if not documents:
        fail(f"`{arguments.dataset}` holds no document; expected text")
    started = time.monotonic()
    try:
        tokens = [tokenizer.encode(document) for document in documents]
    except UnicodeDecodeError:
        fail(f"`{arguments.dataset}` is not UTF-8, which this tokenizer needs")
    nats = [document_nats(model, of) for of in tokens]
    seconds = time.monotonic() - started
    result = record(arguments, weights, text, model, documents, tokens, nats, seconds)
    output = pathlib.Path(arguments.output)
    part = output.with_name(output.name + ".part")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(result, indent=2) + "\n")
        os.replace(part, output)
    except OSError as error:
        fail(f"cannot write `{output}`: {error.strerror}; give another `--output`")
    row = result["rows"][0]
    print(f"stories260K on {row['dataset']}: {row['bits_per_byte']:.4f} bits/byte over {row['documents']} documents")
    print(f"wrote {output}", file=sys.stderr)


if __name__ == "__main__":
    main()
