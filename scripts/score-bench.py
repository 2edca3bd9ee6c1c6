#!/usr/bin/env python3
"""Measures the speed of `itera-validate score` by model and precision, in turns.

    scripts/score-bench.py [--program FILE] [--against FILE] [--turns N] [--megabytes N] [--output FILE]

--against names another build, which is measured in the same turns. --kenlm ARPA adds KenLM (PyPI `kenlm`) on the token
ids of micro-tinystories, with a model that was trained on such ids. The text is made here: stories of 40 to 3,000 bytes.
The record is results/score-bench.json unless --output says otherwise.
"""

import argparse
import hashlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from provenance import provenance

ROOT = Path(__file__).resolve().parent.parent
MODELS = [("micro-tinystories", "fp32"), ("micro-tinystories", "int8"), ("micro-tinystories", "int4")]
MODELS += [("nano-tinystories", "fp32"), ("nano-tinystories", "int8"), ("nano-tinystories", "int4")]


def stories(size: int) -> str:
    """So many bytes of documents of different lengths, from the sample that is part of the project."""
    sample = (ROOT / "data/samples/tinystories-sample.txt").read_text().split("\n<|endoftext|>\n")
    words = " ".join(sample).split()
    draw, texts, total = random.Random(0), [], 0
    while total < size:
        start = draw.randrange(len(words))
        count = draw.randrange(8, 600)
        text = " ".join((words[start:] + words)[:count])
        texts.append(text)
        total += len(text.encode()) + 16
    return "\n<|endoftext|>\n".join(texts) + "\n"


def run(program: str, arguments: list) -> float:
    """Wall time in seconds of one run."""
    began = time.perf_counter()
    done = subprocess.run([program, "score", *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"score {arguments}: {done.stderr.decode()}")
    return seconds


def kenlm_seconds(arpa: str, text: str) -> float:
    import kenlm  # PyPI kenlm

    from itera_lite import Model  # the wheel of this project

    model, tokenizer = kenlm.Model(arpa), Model.load(str(ROOT / "data/models/micro-tinystories.safetensors"))
    ids = [" ".join(map(str, tokenizer.tokenize(story))) for story in text.split("\n<|endoftext|>\n")]
    began = time.perf_counter()
    for story in ids:
        model.score(story)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=None)
    parser.add_argument("--against", default=None)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--megabytes", type=float, default=2.0)
    parser.add_argument("--kenlm", default=None, metavar="ARPA")
    parser.add_argument("--output", type=Path, default=ROOT / "results/score-bench.json")
    arguments = parser.parse_args()
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    program = arguments.program or str(target / "release/itera-validate")
    programs = {"this": program} | ({"against": arguments.against} if arguments.against else {})

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        text = stories(int(arguments.megabytes * 1e6))
        path = folder / "stories.txt"
        path.write_text(text)
        size = path.stat().st_size
        seconds = {(name, *model): [] for name in programs for model in MODELS}
        for turn in range(arguments.turns):
            for model, precision in MODELS:
                for name, build in programs.items():
                    options = [path, "--checkpoint", model, "--precision", precision]
                    seconds[name, model, precision].append(run(build, options))
            print(f"turn {turn + 1} of {arguments.turns}", file=sys.stderr)
        rows = []
        for (name, model, precision), times in seconds.items():
            rates = [size / 1e6 / value for value in times]
            row = {"build": name, "model": model, "precision": precision, "mb_per_s": statistics.median(rates)}
            rows.append(row | {"samples_mb_per_s": rates})

        record = {
            "schema": "itera.score-bench/1",
            **provenance(),
            "command": "scripts/score-bench.py",
            "commit": subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip(),
            "text": {"bytes": size, "documents": text.count("<|endoftext|>") + 1, "sha256": hashlib.sha256(text.encode()).hexdigest()},
            "threads": os.cpu_count(),
            "rows": rows,
        }
        if arguments.kenlm:
            times = [kenlm_seconds(arguments.kenlm, text) for _ in range(arguments.turns)]
            record["kenlm_mb_per_s_one_core"] = size / 1e6 / statistics.median(times)
    arguments.output.write_text(json.dumps(record, indent=2) + "\n")
    for row in rows:
        print(f"{row['build']:8} {row['model']:18} {row['precision']:5} {row['mb_per_s']:.3f} MB/s")


if __name__ == "__main__":
    main()
