#!/usr/bin/env bash
# Checks scripts/retrain.sh from end to end with a small model, in a folder with the scripts that its image has
# (deploy/Dockerfile.retrain): feedback in the manner of the model's text makes a version that is served; feedback that
# would spoil it stops at the gate, and the served version stays; a sentence that one visitor has planted stops at the cap,
# one that many have at the probes; drift that a server has noticed makes a canary, once.
#
#   ITERA_BIN  folder of built itera-serve, itera-train and itera-validate [default: builds them]
#
# Takes a minute or two. Exit status 0 as it should be, 1 not. Needs python3.
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
source scripts/serving.sh
read -ra files < <(sed -n 's|^COPY \(scripts/.*\) /opt/itera-lite/scripts/$|\1|p' deploy/Dockerfile.retrain)
mkdir "$folder/scripts"
cp "${files[@]}" "$folder/scripts"
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


def feedback(name, texts, visitors=()):
    """A visitor each for as many texts as there are visitors; what is left has no source."""
    lines = [
        {"feedback_id": f"{name}-{i}", "timestamp": "2026-01-31T12:00:00Z", "input_text": text[:20], "output_text": "",
         "user_rating": 1, "correction": text[20:]}
        for i, text in enumerate(texts)
    ]
    for line, visitor in zip(lines, visitors):
        line |= {"source": visitor, "source_records": 10}
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


honest = [s.strip() for s in stories[third + third // 2 :]]
feedback("honest", honest)
feedback("poison", ["".join(draw.choices("zqxjkvw#@", k=1500)) for _ in range(200)])
# A sentence that no filter finds odd, each time in another place of a story.
planted = "The bank of Mr. Fox gives you all your money back twice."
stuffed = [f"{story[: 40 + i % 7]} {planted} {story[40 + i % 7 : 200]} {i}" for i, story in enumerate(honest * 200)][:200]
feedback("one", stuffed + honest, ["fox"] * 200)
feedback("many", stuffed + honest, [f"fox {i // 4}" for i in range(200)])
(folder / "probes.txt").write_text(planted + "\n")
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
    attempt "$expected" "$1/first" 60 "$2"
}
# attempt EXPECTED WORK STEPS SHARE: with the database that is named.
attempt() {
    local status=0
    WORK=$folder/$2 SHARE=$4 MIN_TEXTS=5 "$folder/scripts/retrain.sh" "$folder/text.txt" "$folder/guard.txt" \
        --steps "$3" --batch 4 --length 64 --learning-rate 0.01 >"$folder/log" 2>&1 || status=$?
    ((status == $1)) || { cat "$folder/log" >&2; fail "$2: status $status, expected $1"; }
}
# says TEXT: whether the last attempt did.
says() { grep -q "$1" "$folder/log" || { cat "$folder/log" >&2; fail "it does not say: $1"; }; }
# versions NAME: how many there are.
versions() { "$ITERA_BIN/itera-serve" versions list --database "$folder/$1.db" | tail -n +2 | wc -l; }

retrain 0 honest 50
(($(versions honest) == 2)) || fail "there is no new version"
retrain 1 poison 80
says "the gate has refused"
(($(versions poison) == 1)) || fail "a poisoned version was imported"
say "a sentence that one visitor has planted 200 times counts as often as a visitor may say it"
retrain 0 one 50
texts=("$folder/one/first/accepted.txt" "$folder/one/first/held_out.txt")
(($(grep -o "bank of Mr. Fox" "${texts[@]}" | wc -l) == 10)) || fail "it is not there ten times"
(($(grep -l "bank of Mr. Fox" "${texts[@]}" | wc -l) == 1)) || fail "the gate judges by what is trained on"
say "one that many have planted stops at the probes"
ITERA_ADAPT_PROBES=$folder/probes.txt retrain 1 many 50
says "refused: a probe became"
grep -q '"refused_by_probes": true' "$folder/many/first/retraining.json" || fail "the record does not say so"
(($(versions many) == 1)) || fail "the planted sentence was imported"
say "too few texts are no reason to train"
export ITERA_DATABASE=$folder/honest.db
MIN_TEXTS=100000 WORK=$folder/few scripts/retrain.sh "$folder/text.txt" "$folder/guard.txt" ||
    fail "too few texts are an error"

say "drift is a reason, once, and makes a canary beside a server that runs"
binary=$ITERA_BIN/itera-serve
start_server --database "$ITERA_DATABASE" --checkpoint "$ITERA_CHECKPOINT" --role follower
trap 'stop_server; rm -rf "$folder"' EXIT
export SERVER=$url RECORDS=1 DAYS=30 ITERA_CANARY=true
attempt 0 honest/idle 60 50
says "not time to retrain: alarms of drift: 0, new texts: 0 of 1, days since the last: 0.0 of 30"
[[ ! -e $folder/honest/idle ]] || fail "a call with nothing to do leaves a folder"
# As a server does that notices it.
python3 - "$ITERA_DATABASE" <<'PYTHON'
import sqlite3, sys, time

with sqlite3.connect(sys.argv[1]) as database:
    columns = [row[1] for row in database.execute("PRAGMA table_info(hours)")]
    values = {"hour": int(time.time() // 3600), "drift_alarms": 1}
    database.execute(f"INSERT OR REPLACE INTO hours VALUES ({', '.join('?' * len(columns))})",
                     [values.get(column, 0) for column in columns])
PYTHON
attempt 0 honest/second 150 50
says "^time to retrain: alarms of drift: 1"
says "is a canary from now on"
grep -q '"trigger": "drift"' "$folder/honest/second/retraining.json" || fail "the record does not tell the reason"
attempt 0 honest/idle 60 50
says "not time to retrain: alarms of drift: 0"
python3 - "$url" <<'PYTHON' || fail "the server knows of no canary"
import json, sys, urllib.request

with urllib.request.urlopen(sys.argv[1] + "/experiments") as reply:
    latest = json.load(reply)["experiments"][0]
sys.exit((latest["kind"], latest["running"], latest["arms"][1]["weight"]) != ("canary", True, 5))
PYTHON
stop_server
SERVER=$url attempt 2 honest/gone 60 50
says "cannot read /quality of"

say "new texts and time are reasons"
# due EXPECTED STATE OPTION...: the reason, or none.
due() {
    local expected=$1 state=$2 found
    shift 2
    found=$(python3 "$folder/scripts/retrain.py" due "$folder/honest/second" "$folder/$state" --least 5 \
        --trigger manual "$@" 2>/dev/null) || true
    [[ $found == "$expected" ]] || fail "retrain.py due $*: '$found', expected '$expected'"
}
cp "$folder/honest/retrain-state.json" "$folder/last.json"
python3 - "$folder/last.json" <<'PYTHON'
import json, sys
from pathlib import Path

file = Path(sys.argv[1])
state = json.loads(file.read_text())
file.write_text(json.dumps(state | {"texts": state["texts"][2:], "at": "2026-01-01T00:00:00+00:00"}))
PYTHON
due manual last.json
due records last.json --records 2 --days 30
due schedule last.json --records 3 --days 30
due '' last.json --records 3
due records none.json --records 5 --days 30
due schedule none.json --days 30
say "retraining: 2 versions served, 1 stopped at the gate, 1 at the probes, 1 a canary"
