#!/usr/bin/env python3
"""Reason, texts and record of scripts/retrain.sh, which calls this.

retrain.py due WORK STATE     prints why WORK/accepted.txt is to be trained on, and writes WORK/state.json, which is to
                              become STATE when that is done; exit status 3 if there is no reason
retrain.py texts WORK TEXT    writes WORK/training.txt: TEXT, and WORK/accepted.txt so often that it has its share
retrain.py record WORK TEXT GUARD    writes WORK/retraining.json
"""
import argparse
import hashlib
import json
import os
import sys
import urllib.request
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NoReturn

from provenance import provenance

SEPARATOR = "<|endoftext|>\n"
MOST_REPEATS = 100
# The server keeps no older hours.
MOST_DAYS = 400


def documents(file: Path) -> list[str]:
    return [document for document in file.read_text().split(SEPARATOR) if document.strip()]


def write_reason(arguments: argparse.Namespace) -> int:
    accepted, held_out = (documents(arguments.work / name) for name in ("accepted.txt", "held_out.txt"))
    texts = [hashlib.sha256(document.encode()).hexdigest()[:16] for document in accepted + held_out]
    if len(texts) < arguments.least:
        say(f"{len(texts)} accepted texts, fewer than {arguments.least}: nothing is done")
        return 3
    if not accepted:
        say("all accepted texts are of one visitor, or of one key with `feedback_records`: nothing is done")
        return 3
    last = read_state(arguments.state)
    now = datetime.now(timezone.utc)
    # By hour, so that neither a restart of a server nor an hour that goes on counts one twice.
    alarms = drift_alarms(arguments.server) if arguments.server else last["drift_alarms"]
    state = {"at": now.isoformat(), "texts": texts, "drift_alarms": alarms}
    write(arguments.work / "state.json", json.dumps(state) + "\n")

    new_alarms = sum(max(0, count - last["drift_alarms"].get(hour, 0)) for hour, count in alarms.items())
    new_texts = len(set(texts) - set(last["texts"]))
    age = now - datetime.fromisoformat(last["at"]) if last["at"] else None
    conditions = []
    if arguments.server:
        conditions.append(("drift", new_alarms > 0, f"alarms of drift: {new_alarms}"))
    if arguments.records is not None:
        conditions.append(("records", new_texts >= arguments.records, f"new texts: {new_texts} of {arguments.records}"))
    if arguments.days is not None:
        days = f"{age / timedelta(days=1):.1f} of {arguments.days:g}" if age else "none before"
        is_old = age is None or age >= timedelta(days=arguments.days)
        conditions.append(("schedule", is_old, f"days since the last: {days}"))
    if not conditions:
        print(arguments.trigger)
        return 0
    for trigger, holds, why in conditions:
        if holds:
            say(f"time to retrain: {why}")
            print(trigger)
            return 0
    say("not time to retrain: " + ", ".join(why for _, _, why in conditions))
    return 3


def read_state(file: Path) -> dict:
    """What the last retraining knew."""
    if not file.exists():
        return {"at": None, "texts": [], "drift_alarms": {}}
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        fail(f"cannot use {file}: {error}; without it, this is the first retraining")


def drift_alarms(server: str) -> dict[str, int]:
    """Hours with alarms of drift on any server of the database."""
    token = os.environ.get("ITERA_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        request = urllib.request.Request(f"{server.rstrip('/')}/quality?days={MOST_DAYS}", headers=headers)
        with urllib.request.urlopen(request, timeout=30) as reply:
            hours = json.load(reply)["hours"]
            return {hour["hour"]: round(hour["drift_alarms"]) for hour in hours if hour["drift_alarms"]}
    except (OSError, ValueError, KeyError) as error:
        fail(
            f"cannot read /quality of {server}: {error}; SERVER is the URL of a server with a database, ITERA_TOKEN "
            "its key if it wants one from all"
        )


def write_texts(arguments: argparse.Namespace) -> int:
    feedback = (arguments.work / "accepted.txt").read_text()
    text = arguments.text.read_text().rstrip("\n") + "\n"
    wanted = len(text) * arguments.share / (100 - arguments.share)
    repeats = max(1, min(MOST_REPEATS, round(wanted / len(feedback))))
    if not text.endswith(SEPARATOR):
        text += SEPARATOR
    write(arguments.work / "training.txt", text + repeats * feedback)
    accepted, held_out = (len(documents(arguments.work / name)) for name in ("accepted.txt", "held_out.txt"))
    say(f"trained on: {arguments.text} and {accepted} accepted texts, {repeats} times; held out: {held_out}")
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
        "refused_by_probes": False,
    }
    write(work / "retraining.json", json.dumps(record, indent=2) + "\n")
    return 0


def write_refusal(arguments: argparse.Namespace) -> int:
    file = arguments.work / "retraining.json"
    record = json.loads(file.read_text()) | {"refused_by_probes": True}
    write(file, json.dumps(record, indent=2) + "\n")
    return 0


def say(text: str) -> None:
    print(text, file=sys.stderr)


def fail(text: str) -> NoReturn:
    say(f"error: {text}")
    sys.exit(2)


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True)
    due = commands.add_parser("due")
    due.set_defaults(run=write_reason)
    due.add_argument("work", type=Path)
    due.add_argument("state", type=Path)
    due.add_argument("--least", type=int, required=True)
    due.add_argument("--trigger", choices=["manual", "schedule"], required=True)
    due.add_argument("--server")
    due.add_argument("--records", type=int)
    due.add_argument("--days", type=float)
    texts = commands.add_parser("texts")
    texts.set_defaults(run=write_texts)
    texts.add_argument("--share", type=float, required=True)
    record = commands.add_parser("record")
    record.set_defaults(run=write_record)
    refused = commands.add_parser("refused")
    refused.set_defaults(run=write_refusal)
    refused.add_argument("work", type=Path)
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
