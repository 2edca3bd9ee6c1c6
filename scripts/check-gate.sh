#!/usr/bin/env bash
# Shows what the gate of itera-power is worth: how often it gives an alarm where a build is compared with itself, and
# how often it finds a build that is slower on purpose (cargo feature slow-demo) by 5, 10, 15 and 20 %. Both builds
# are measured in turns, as for a pull request. The records of two runs are held against each other by `itera-report
# --compare` too: of one build, and of one that is slower by 10 %.
#
#   scripts/check-gate.sh [ARGUMENTS OF itera-power]   [default: --checkpoint micro-tinystories]
#
#   REPEATS         comparisons of the build with itself [default: 20]
#   SLOWED_REPEATS  comparisons for each slower build [default: 5]
#   OUTPUT          the record [default: results/gate-check.json]
#
# Takes about twenty minutes. Exit status 0 if at most one comparison in twenty was an alarm, every build slower by
# 20 % was found, and itera-report found nothing between two records of one build but the slower one; 1 if not, 2 if it
# could not run. Needs python3.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

repeats=${REPEATS:-20} slowed_repeats=${SLOWED_REPEATS:-5}
readonly SLOWER=(5 10 15 20)
arguments=("$@")
((${#arguments[@]})) || arguments=(--checkpoint micro-tinystories)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# build NAME [CARGO ARGUMENTS]: the program as $work/NAME.
build() {
    cargo build --locked --release --quiet -p itera-power "${@:2}"
    local target
    target=$(cargo metadata --no-deps --format-version 1 | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
    cp "$target/release/itera-power" "$work/$1"
}

# gate PERCENT NUMBER: compares a build that is slower by so much with the other; its status goes to a file beside
# its record. The build that can be slowed is compared at 0 % too, so that nothing else differs.
gate() {
    local status=0
    ITERA_SLOW_PERCENT=$1 "$work/slowed" "${arguments[@]}" --baseline "$work/same" --output "$work/$1-$2.json" \
        >/dev/null 2>"$work/$1-$2.log" || status=$?
    echo "$status" >"$work/$1-$2.status"
    echo "slower by $1 %, run $2: exit status $status" >&2
    if ((status > 1)); then
        cat "$work/$1-$2.log" >&2
        exit 2
    fi
}

# compared OLD NEW: status of itera-report for the record of one run after that of another. Each run is a folder of
# results with nothing else.
compared() {
    local run status=0
    for run in "$1" "$2"; do
        mkdir -p "$work/results-$run"
        cp "$work/$run.json" "$work/results-$run/power.json"
    done
    "$report" --results "$work/results-$2" --models "$work" --out "$work/reports" --compare "$work/results-$1" \
        --fail-on-regression 2 >"$work/compare-$1-$2.txt" 2>&1 || status=$?
    cat "$work/compare-$1-$2.txt" >&2
    ((status < 2)) || exit 2
    echo "$status"
}

build slowed --features slow-demo
build same
cargo build --locked --release --quiet -p itera-report
report=$(cargo metadata --no-deps --format-version 1 | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')/release/itera-report
for ((i = 1; i <= repeats; i++)); do gate 0 "$i"; done
for percent in "${SLOWER[@]}"; do
    for ((i = 1; i <= slowed_repeats; i++)); do gate "$percent" "$i"; done
done

same_status=$(compared 0-1 0-2)
slower_status=$(compared 0-1 10-1)

python3 - "$work" "$repeats" "$slowed_repeats" "${SLOWER[*]}" "${OUTPUT:-results/gate-check.json}" "$same_status" \
    "$slower_status" "${arguments[@]}" <<'PYTHON'
import json, pathlib, sys

work, repeats, slowed_repeats = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
slower, output = [int(percent) for percent in sys.argv[4].split()], pathlib.Path(sys.argv[5])
report = {"same_build": int(sys.argv[6]), "slower_by_10_percent": int(sys.argv[7])}
arguments = sys.argv[8:]


def run(percent, number):
    record = json.loads((work / f"{percent}-{number}.json").read_text())
    noisy = [c for c in record["gate"]["comparisons"] if c["p_value"] is not None]
    changes = sorted(c["change_percent"] for c in noisy)
    return record, {
        "slowed_by_percent": percent,
        "exit_status": int((work / f"{percent}-{number}.status").read_text()),
        "comparisons": len(noisy),
        "regressions": sum(c["verdict"] == "regression" for c in noisy),
        "least_change_percent": round(changes[0], 2),
        "median_change_percent": round(changes[len(changes) // 2], 2),
        "greatest_change_percent": round(changes[-1], 2),
        "busy_share": record["idle_busy_share"],
    }


numbered = [(0, i + 1) for i in range(repeats)] + [(p, i + 1) for p in slower for i in range(slowed_repeats)]
records, runs = zip(*(run(*which) for which in numbered))
failed = lambda percent: sum(r["exit_status"] == 1 for r in runs if r["slowed_by_percent"] == percent)
limit = records[0]["gate"]["max_regression_percent"]
slowed = [{"slowed_by_percent": p, "runs": slowed_repeats, "found": failed(p)} for p in slower]
holds = 20 * failed(0) <= repeats and all(s["found"] == s["runs"] for s in slowed if s["slowed_by_percent"] >= 2 * limit)
holds = holds and report == {"same_build": 0, "slower_by_10_percent": 1}
result = {
    "schema": "itera.gate-check/2",
    "created_at": records[-1]["created_at"],
    "tool": records[-1]["tool"],
    "host": records[-1]["host"],
    "arguments": arguments,
    "protocol": records[-1]["protocol"],
    "max_regression_percent": limit,
    "same_build_runs": repeats,
    "same_build_alarms": failed(0),
    "slowed_builds": slowed,
    "report_compare_status": report,
    "holds": holds,
}
text = json.dumps(result, indent=2)[:-2] + ',\n  "runs": [\n'
text += ",\n".join("    " + json.dumps(r) for r in runs) + "\n  ]\n}\n"
output.parent.mkdir(exist_ok=True)
output.write_text(text)
print(f"same build: {failed(0)} alarms in {repeats}; " + ", ".join(f"slower by {s['slowed_by_percent']} %: {s['found']} of {s['runs']} found" for s in slowed))
sys.exit(0 if holds else 1)
PYTHON
