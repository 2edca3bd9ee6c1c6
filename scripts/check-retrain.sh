#!/usr/bin/env bash
# Checks scripts/retrain.sh from end to end with a small model: feedback in the manner of the model's text makes a version
# that is served; feedback that would spoil it stops at the gate, and the served version stays.
#
#   ITERA_BIN  folder of built itera-serve, itera-train and itera-validate [default: builds them]
#
# Takes a minute. Exit status 0 as it should be, 1 not. Needs python3.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ -z ${ITERA_BIN:-} ]]; then
    cargo build --locked --release --quiet -p itera-serve -p itera-train -p itera-validate
    ITERA_BIN=${CARGO_TARGET_DIR:-target}/release
fi
ITERA_BIN=$(cd "$ITERA_BIN" && pwd)
export ITERA_BIN
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
say() { printf '== %s\n' "$*" >&2; }
fail() { say "FAILED: $*"; exit 1; }

# Text of the model, text that guards it, and two kinds of feedback.
python3 - data/samples/tinystories-sample.txt "$folder" <<'PYTHON'
import json, random, sys
from pathlib import Path

SEPARATOR = "<|endoftext|>\n"
folder = Path(sys.argv[2])
stories = [s for s in Path(sys.argv[1]).read_text().split(SEPARATOR) if s.strip()]
third = len(stories) // 3
write = lambda name, part: (folder / name).write_text("".join(s.rstrip("\n") + "\n" + SEPARATOR for s in part))
write("text.txt", stories[:third])
write("guard.txt", stories[third : third + third // 2])
draw = random.Random(1)


def feedback(name, texts):
    lines = (
        {"feedback_id": f"{name}-{i}", "timestamp": "2026-01-31T12:00:00Z", "input_text": text[:20], "output_text": "",
         "user_rating": 1, "correction": text[20:]}
        for i, text in enumerate(texts)
    )
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


feedback("honest", [s.strip() for s in stories[third + third // 2 :]])
feedback("poison", ["".join(draw.choices("zqxjkvw#@", k=1500)) for _ in range(200)])
PYTHON

say "a model of the preset test"
"$ITERA_BIN/itera-train" fit --dataset "$folder/text.txt" --valid "$folder/guard.txt" --preset test --tokenizer bytes \
    --steps 100 --batch 4 --length 64 --seed 1 --output "$folder/base.safetensors" >/dev/null 2>"$folder/log" ||
    { cat "$folder/log" >&2; exit 1; }

# retrain EXPECTED NAME SHARE: with one kind of feedback in a database of its own, to this status.
retrain() {
    local expected=$1 status=0
    shift
    export ITERA_DATABASE=$folder/$1.db ITERA_CHECKPOINT=$folder/base.safetensors
    "$ITERA_BIN/itera-serve" feedback import "$folder/$1.jsonl"
    # As a server does that starts with it.
    "$ITERA_BIN/itera-serve" versions import "$folder/base.safetensors"
    WORK=$folder/$1 SHARE=$2 MIN_TEXTS=5 scripts/retrain.sh "$folder/text.txt" "$folder/guard.txt" \
        --steps 60 --batch 4 --length 64 --learning-rate 0.01 >"$folder/log" 2>&1 || status=$?
    ((status == expected)) || { cat "$folder/log" >&2; fail "$1 feedback: status $status, expected $expected"; }
}
# versions NAME: how many there are.
versions() { "$ITERA_BIN/itera-serve" versions list --database "$folder/$1.db" | tail -n +2 | wc -l; }

retrain 0 honest 50
(($(versions honest) == 2)) || fail "there is no new version"
retrain 1 poison 80
grep -q "the gate has refused" "$folder/log" || fail "the poison was stopped by something else than the gate"
(($(versions poison) == 1)) || fail "a poisoned version was imported"
say "too few texts are no reason to train"
MIN_TEXTS=100000 WORK=$folder/few ITERA_DATABASE=$folder/honest.db scripts/retrain.sh "$folder/text.txt" "$folder/guard.txt" ||
    fail "too few texts are an error"
say "retraining: 1 version served, 1 stopped at the gate"
