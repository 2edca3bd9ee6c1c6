#!/usr/bin/env python3
"""Sums up the runs of scripts/check-cuda.sh: cuda-check.py CARD FOLDER."""

import csv
import json
import statistics
import sys
from pathlib import Path

# Losses are means over thousands of tokens, in nats per token.
TOLERANCE = 0.005
# Steps in which kernels are still compiled.
COMPILING = 10


def read(folder: Path, name: str) -> tuple[dict, list[dict]]:
    record = json.loads((folder / f"{name}.training.json").read_text())
    with (folder / f"{name}.metrics.csv").open() as file:
        return record, list(csv.DictReader(file))


def speed(folder: Path, name: str) -> dict:
    record, rows = read(folder, name)
    speeds = [float(row["tokens_per_s"]) for row in rows[COMPILING:]]
    return {
        "run": name,
        "backend": record["protocol"]["backend"],
        "batch": record["protocol"]["batch"],
        "length": record["protocol"]["length"],
        "teacher": bool(record["protocol"].get("teacher_sha256")),
        "steps": record["steps"],
        "tokens_per_s_median": statistics.median(speeds),
        "tokens_per_s_max": max(speeds),
        "seconds_until_compiled": float(rows[COMPILING - 1]["seconds"]),
    }


def main() -> None:
    card, folder = sys.argv[1], Path(sys.argv[2])
    record, processor = read(folder, "processor")
    _, on_card = read(folder, "card")
    losses = [
        (float(a["train_nats_per_token"]), float(b["train_nats_per_token"]))
        for a, b in zip(processor, on_card, strict=True)
    ]
    difference = max(abs(a - b) for a, b in losses)
    summary = {
        "schema": "itera.cuda-check/1",
        "command": "scripts/check-cuda.sh",
        "created_at": record["created_at"],
        "model": record["protocol"]["init_sha256"],
        "host": record["host"],
        "card": card,
        "passed": difference <= TOLERANCE,
        "largest_difference_nats_per_token": difference,
        "losses": losses,
        "speeds": [speed(folder, name) for name in ("processor", "card", "large", "taught")],
    }
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
