#!/usr/bin/env python3
"""Holds llama.cpp and transformers against the native engine, on one checkpoint.

    check.py CHECKPOINT [--runtime llama.cpp|transformers|all] [--tokens 4096]

Writes the checkpoint for both (`itera-export gguf` and `hf`), at f32, and compares: the logits after every
token, read at once and in pieces; the bits per byte of the sample text; 200 tokens of greedy text; the ids of the
tokenizer; and the weights that `itera-export import` makes of the files. Lower precisions of llama.cpp are run,
and their bits per byte printed. Exit status 0 all agree, 1 something differs, 2 could not run.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

import engines

# Largest difference of a logit, by the largest logit.
LOGITS = 1e-4
BITS = 0.0005
# llama.cpp rounds what it multiplies by integers to 8 bits in blocks of its own.
ROUNDED_BITS = 0.002
GREEDY = 200
LENGTHS = [1, 2, 3, 31, 32, 33, 127, 128, 129, 1000]


class Checks:
    """What was compared, and whether all of it agreed."""

    def __init__(self):
        self.failed = 0

    def hold(self, what, is_so, figure=""):
        print(f"{'ok    ' if is_so else 'FAILED'}  {what}  {figure}".rstrip())
        self.failed += not is_so


def vocabulary(checkpoint_folder):
    """Bytes of each token of a folder of transformers."""
    tokenizer = json.loads((checkpoint_folder / "tokenizer.json").read_text())
    if tokenizer["model"]["type"] != "BPE":
        return {i: name.encode() for name, i in tokenizer["model"]["vocab"].items()}
    # GPT-2's stand-ins: printable bytes stand for themselves, the others count up from U+0100.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    stand_ins = {chr(byte): byte for byte in printable}
    stand_ins |= {chr(256 + at): byte for at, byte in enumerate(others)}
    end = {added["id"] for added in tokenizer["added_tokens"]}
    return {
        i: b"" if i in end else bytes(stand_ins[char] for char in name)
        for name, i in tokenizer["model"]["vocab"].items()
    }


def largest_difference(ours, theirs):
    return float(np.abs(ours - theirs).max() / max(1.0, np.abs(ours).max()))


def compare(checks, engine, native, vocab, end, text):
    """One runtime at f32 against the native engine."""
    tokens, logits = native["tokens"], native["logits"]
    for length in [*[length for length in LENGTHS if length < len(tokens)], len(tokens)]:
        difference = largest_difference(logits[:length], engines.at_once(engine, tokens[:length]))
        checks.hold(f"{engine.name}: {length} tokens at once", difference <= LOGITS, f"{difference:.1e}")
    ways = [("one by one", [1] * 64), ("in pieces", [1, 2, 3, 40, 1, 100])]
    if engine.name == "transformers":
        # Its cache takes single tokens only after the first piece.
        ways = [("one by one", [1] * 64), ("after a first piece", [100] + [1] * 28)]
    for way, sizes in ways:
        fed = tokens[: sum(sizes)]
        difference = largest_difference(logits[: len(fed)], engines.in_pieces(engine, fed, sizes))
        checks.hold(f"{engine.name}: {len(fed)} tokens {way}", difference <= LOGITS, f"{difference:.1e}")
    ours, theirs = (bits(rows, tokens, vocab) for rows in (logits, engines.at_once(engine, tokens)))
    difference = abs(ours - theirs)
    figure = f"{theirs:.5f}, native {ours:.5f}"
    checks.hold(f"{engine.name}: bits/byte of the sample text", difference <= BITS, figure)
    written = engines.greedy(engine, [end], GREEDY, end)
    same = b"".join(vocab[token] for token in written).strip() == text.strip()
    checks.hold(f"{engine.name}: greedy text of {len(written)} tokens", same)
    story = tokens[1 : tokens.index(end, 1)] if end in tokens[1:] else tokens[1:]
    said = b"".join(vocab[token] for token in story)
    checks.hold(f"{engine.name}: ids of its tokenizer", list(engine.tokenize(said)) == list(story))


def bits(logits, tokens, vocab):
    """Bits per byte of `tokens`, the first of which is not predicted."""
    size = sum(len(vocab[token]) for token in tokens[1:])
    return engines.nats(logits, np.array(tokens)) / np.log(2) / size


def round_trip(checks, checkpoint, source, folder):
    """Writes what was imported for transformers again: the weights must be the same."""
    back, again = folder / "back.safetensors", folder / "again"
    engines.itera("itera-export", "import", source, "--output", back)
    engines.itera("itera-export", "hf", "--checkpoint", back, "--output", again)
    from safetensors.numpy import load_file

    ours = load_file(folder / "hf" / "model.safetensors")
    theirs = load_file(again / "model.safetensors")
    # GGUF holds -exp(A_log), whose logarithm is rounded.
    limit = {name: 1e-6 if name.endswith("A_log") else 0.0 for name in ours}
    same = ours.keys() == theirs.keys() and all(
        np.all(np.abs(ours[name] - theirs[name]) <= limit[name]) for name in ours
    )
    checks.hold(f"import of {source.name}: the weights of {Path(checkpoint).name}", same)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint")
    parser.add_argument("--runtime", choices=["llama.cpp", "transformers", "all"], default="all")
    parser.add_argument("--tokens", type=int, default=4096)
    args = parser.parse_args()
    checks = Checks()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        native = engines.native(args.checkpoint, args.tokens, folder)
        engines.itera("itera-export", "hf", "--checkpoint", args.checkpoint, "--output", folder / "hf")
        text = engines.itera(
            "itera-train", "sample", "--checkpoint", args.checkpoint, "--temperature", 0,
            "--max-tokens", GREEDY,
        )
        vocab = vocabulary(folder / "hf")
        end = native["tokens"][0]
        context = args.tokens + GREEDY
        if args.runtime != "transformers":
            for precision in ["f32", "f16", "int8", "int4"]:
                path = folder / f"{precision}.gguf"
                engines.itera(
                    "itera-export", "gguf", "--checkpoint", args.checkpoint,
                    "--precision", precision, "--output", path,
                )
                engine = engines.LlamaCpp(path, context, threads=2)
                if precision == "f32":
                    compare(checks, engine, native, vocab, end, text)
                    round_trip(checks, args.checkpoint, path, folder)
                    continue
                # With the very weights of the file: what rounding them costs is no matter of the runtime.
                own = folder / f"{precision}.safetensors"
                engines.itera("itera-export", "import", path, "--output", own)
                ours = bits(engines.native(own, args.tokens, folder)["logits"], native["tokens"], vocab)
                theirs = bits(engines.at_once(engine, native["tokens"]), native["tokens"], vocab)
                limit = BITS if precision == "f16" else ROUNDED_BITS
                figure = f"{theirs:.5f}, native {ours:.5f}"
                checks.hold(f"llama.cpp at {precision}: bits/byte", abs(theirs - ours) <= limit, figure)
        if args.runtime != "llama.cpp":
            compare(checks, engines.Transformers(folder / "hf", context, 2), native, vocab, end, text)
            round_trip(checks, args.checkpoint, folder / "hf", folder)
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
