#!/usr/bin/env python3
"""How much memory `itera-validate score` takes at its peak, by the shape of its input.

    scripts/check-score-memory.py [--megabytes N] [--program FILE] [--output FILE]

`nano-tinystories` in int4 scores N megabytes of stories, one document of N megabytes, 10,000 N documents of one word,
and of a tenth as much stories with their text as Parquet and the tokens of one document. The inputs are made in a
temporary folder from the sample stories. Exit status 1 if a peak is above 200 MB.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from provenance import provenance

ROOT = Path(__file__).resolve().parent.parent
MOST = 200_000_000  # bytes
SEPARATOR = "<|endoftext|>"
# What is in the input, its share of the size, the file of rows, and options.
SHAPES = {
    "stories": ("stories", 1.0, "rows.jsonl", []),
    "one document": ("document", 1.0, "rows.jsonl", ["--document-rule", "whole"]),
    "documents of one word": ("words", 1.0, "rows.jsonl", ["--document-rule", "line"]),
    "stories with their text as Parquet": ("stories", 0.1, "rows.parquet", ["--keep-text"]),
    "tokens of one document": ("document", 0.1, "rows.csv.zst", ["--document-rule", "whole", "--tokens"]),
}


def stories() -> str:
    """A megabyte of stories of 8 to 600 words."""
    words = (ROOT / "data/samples/tinystories-sample.txt").read_text().replace(SEPARATOR, "").split()
    draw, texts, size = random.Random(0), [], 0
    while size < 1_000_000:
        start = draw.randrange(len(words))
        texts.append(" ".join((words[start:] + words)[: draw.randrange(8, 600)]))
        size += len(texts[-1])
    return f"\n{SEPARATOR}\n".join(texts) + f"\n{SEPARATOR}\n"


def write(path: Path, what: str, megabytes: int) -> int:
    """Makes an input; its documents."""
    block = stories()
    if what == "document":
        block = block.replace(SEPARATOR, "")
    elif what == "words":
        block = "\n".join(["cat", "dogs", "ran", "sunny", "red"] * 2000) + "\n"
    with path.open("w") as file:
        for _ in range(megabytes):
            file.write(block)
    return {"stories": block.count(SEPARATOR) * megabytes, "document": 1, "words": block.count("\n") * megabytes}[what]


def run(command: list[str]) -> tuple[float, int]:
    """Seconds and peak resident bytes of a process, watched until it ends.

    What the system gives with the exit status may be of this interpreter, before it became the program.
    """
    began, peak = time.monotonic(), 0
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    while process.poll() is None:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except OSError:
            break
        peak = max([peak, *(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))])
        time.sleep(0.02)
    if process.wait():
        sys.exit(f"{' '.join(command)}: {process.stderr.read().decode()}")
    return time.monotonic() - began, peak * 1024


def measure(program: str, folder: Path, shape: str, megabytes: int) -> dict:
    what, share, rows, options = SHAPES[shape]
    text, rows = folder / "text.txt", folder / rows
    documents = write(text, what, max(1, int(share * megabytes)))
    options = ["--checkpoint", "nano-tinystories", "--precision", "int4", *options]
    seconds, peak = run([program, "score", str(text), "--output", str(rows), *options])
    totals = json.loads(Path(f"{rows}.summary.json").read_text())["totals"]
    if totals["documents"] != documents:
        sys.exit(f"{shape}: {totals['documents']} documents were scored, {documents} are there")
    row = {"shape": shape, "bytes": text.stat().st_size, "documents": documents}
    return row | {"peak_resident_bytes": peak, "seconds": round(seconds, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--program", default=None, help="[default: what cargo has built for release]")
    parser.add_argument("--output", type=Path, default=None, help="file for the record")
    arguments = parser.parse_args()
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    program = arguments.program or str(target / "release/itera-validate")
    rows = []
    for shape in SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(program, Path(folder), shape, arguments.megabytes))
        size, peak = rows[-1]["bytes"] / 1e6, rows[-1]["peak_resident_bytes"] / 1e6
        print(f"{shape:34} {size:7.1f} MB  {rows[-1]['documents']:9} documents  peak {peak:.1f} MB", flush=True)
    if arguments.output:
        record = {
            "schema": "itera.score-memory/1",
            **provenance(),
            "command": f"scripts/check-score-memory.py --megabytes {arguments.megabytes}",
            "commit": subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip(),
            "checkpoint": "nano-tinystories int4",
            "threads": os.cpu_count(),
            "rows": rows,
        }
        arguments.output.write_text(json.dumps(record, indent=2) + "\n")
    if max(row["peak_resident_bytes"] for row in rows) > MOST:
        sys.exit(f"a peak is above {MOST / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
