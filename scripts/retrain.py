#!/usr/bin/env python3
"""The texts and the record of scripts/retrain.sh, which calls this.

retrain.py texts WORK TEXT    divides WORK/feedback.txt into what is trained on and every tenth document, which is not;
                              exit status 3 if there are too few
retrain.py record WORK TEXT GUARD    writes WORK/retraining.json
"""
import argparse
import hashlib
import json
import sys
from pathlib import Path

from provenance import provenance

SEPARATOR = "<|endoftext|>\n"
HELD_OUT = 10
MOST_REPEATS = 100


def write_texts(arguments: argparse.Namespace) -> int:
    documents = (arguments.work / "feedback.txt").read_text().split(SEPARATOR)
    # What people have accepted twice counts once.
    documents = list(dict.fromkeys(document for document in documents if document.strip()))
    if len(documents) < arguments.least:
        print(f"{len(documents)} accepted texts, fewer than {arguments.least}: nothing is done", file=sys.stderr)
        return 3
    held_out = documents[::HELD_OUT]
    accepted = [document for i, document in enumerate(documents) if i % HELD_OUT]
    feedback = "".join(document + SEPARATOR for document in accepted)
    text = arguments.text.read_text().rstrip("\n") + "\n"
    wanted = len(text) * arguments.share / (100 - arguments.share)
    repeats = max(1, min(MOST_REPEATS, round(wanted / len(feedback))))
    if not text.endswith(SEPARATOR):
        text += SEPARATOR
    write(arguments.work / "accepted.txt", feedback)
    write(arguments.work / "held_out.txt", "".join(document + SEPARATOR for document in held_out))
    write(arguments.work / "training.txt", text + repeats * feedback)
    print(
        f"trained on: {arguments.text} and {len(accepted)} accepted texts, {repeats} times; "
        f"held out: {len(held_out)}",
        file=sys.stderr,
    )
    return 0


def write_record(arguments: argparse.Namespace) -> int:
    work = arguments.work
    training_file = work / "candidate.training.json"
    training = json.loads(training_file.read_text())
    gate = []
    for text, worse in (("guard", arguments.worse), ("held_out", 0.0)):
        served, candidate = (json.loads((work / f"{text}-{side}.json").read_text())["rows"][0] for side in ("served", "candidate"))
        gate.append(
            {
                "text": text,
                "precision": candidate["precision"],
                "bits_per_byte_before": served["bits_per_byte"],
                "bits_per_byte_after": candidate["bits_per_byte"],
                "may_be_worse_percent": worse,
            }
        )
    record = {name: training[name] for name in ("tool", "host", "model")}
    record |= {
        "schema": "itera.retraining/1",
        "created_at": provenance()["created_at"],
        "trigger": arguments.trigger,
        "served": json.loads((work / "guard-served.json").read_text())["rows"][0]["model"],
        "base_sha256": training["protocol"]["init_sha256"],
        "training_sha256": digest(training_file),
        "texts": [
            {"name": name, "sha256": digest(path), "bytes": path.stat().st_size}
            for name, path in (
                ("training", arguments.text),
                ("accepted", work / "accepted.txt"),
                ("held_out", work / "held_out.txt"),
                ("guard", arguments.guard),
            )
        ],
        "gate": gate,
        "passed": arguments.passed == 1,
    }
    write(work / "retraining.json", json.dumps(record, indent=2) + "\n")
    return 0


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    texts = commands.add_parser("texts")
    texts.set_defaults(run=write_texts)
    texts.add_argument("--least", type=int, required=True)
    texts.add_argument("--share", type=float, required=True)
    record = commands.add_parser("record")
    record.set_defaults(run=write_record)
    for command in (texts, record):
        command.add_argument("work", type=Path)
        command.add_argument("text", type=Path)
    record.add_argument("guard", type=Path)
    record.add_argument("--trigger", choices=["manual", "schedule", "records", "drift"], required=True)
    record.add_argument("--worse", type=float, required=True)
    record.add_argument("--passed", type=int, choices=[0, 1], required=True)
    arguments = parser.parse_args()
    return arguments.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
