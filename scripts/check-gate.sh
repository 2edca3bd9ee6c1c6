#!/usr/bin/env bash
# Shows that the gate of itera-power is worth its name: twenty runs of the same build pass it, and a build
# that is slowed by 20 % on purpose (cargo feature slow-demo) fails it.
#
#   scripts/check-gate.sh [ARGUMENTS OF itera-power]   [default: --checkpoint micro-tinystories]
#
#   REPEATS         runs of the same build [default: 20]
#   SLOWED_REPEATS  runs of the slowed build [default: 5]
#
# Takes about six minutes. Writes results/gate-check.json. Exit status 0 if both is so, 1 if not. Needs
# python3.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

repeats=${REPEATS:-20} slowed_repeats=${SLOWED_REPEATS:-5}
arguments=("$@")
((${#arguments[@]})) || arguments=(--checkpoint micro-tinystories)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# build NAME [CARGO ARGUMENTS]: the program as $work/NAME.
build() {
    cargo build --release --quiet -p itera-power "${@:2}"
    local target
    target=$(cargo metadata --no-deps --format-version 1 | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
    cp "$target/release/itera-power" "$work/$1"
}

# gate BUILD NUMBER: one run against the baseline; its status goes to a file beside its record.
gate() {
    local status=0
    "$work/$1" "${arguments[@]}" --baseline "$work/baseline.json" --output "$work/$1-$2.json" >/dev/null 2>&1 || status=$?
    echo "$status" >"$work/$1-$2.status"
    echo "$1 $2: exit status $status" >&2
}

build slowed --features slow-demo
build same
"$work/same" "${arguments[@]}" --output "$work/baseline.json" >/dev/null
for ((i = 1; i <= repeats; i++)); do gate same "$i"; done
for ((i = 1; i <= slowed_repeats; i++)); do gate slowed "$i"; done

python3 - "$work" "$repeats" "$slowed_repeats" "${arguments[@]}" <<'PYTHON'
import json, pathlib, sys

work, repeats, slowed, arguments = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
baseline = json.loads((work / "baseline.json").read_text())


def run(build, number):
    status = int((work / f"{build}-{number}.status").read_text())
    if status == 2:
        sys.exit(f"{build} {number} could not run; try it by hand: itera-power {' '.join(arguments)}")
    record = json.loads((work / f"{build}-{number}.json").read_text())
    noisy = [c for c in record["gate"]["comparisons"] if c["p_value"] is not None]
    changes = sorted(c["change_percent"] for c in noisy)
    return {
        "build": build,
        "exit_status": status,
        "comparisons": len(noisy),
        "regressions": sum(c["verdict"] == "regression" for c in noisy),
        "least_change_percent": round(changes[0], 2),
        "median_change_percent": round(changes[len(changes) // 2], 2),
        "greatest_change_percent": round(changes[-1], 2),
        "measured_again": sum("measured again" in note for note in record["notes"]),
    }


runs = [run("same", i + 1) for i in range(repeats)] + [run("slowed", i + 1) for i in range(slowed)]
passed = sum(r["exit_status"] == 0 for r in runs if r["build"] == "same")
failed = sum(r["exit_status"] == 1 for r in runs if r["build"] == "slowed")
holds = passed == repeats and failed == slowed
result = {
    "schema": "itera.gate-check/1",
    "created_at": baseline["created_at"],
    "tool": baseline["tool"],
    "host": baseline["host"],
    "arguments": arguments,
    "max_regression_percent": 10,
    "slowed_by_percent": 20,
    "same_build_passed": passed,
    "same_build_runs": repeats,
    "slowed_build_failed": failed,
    "slowed_build_runs": slowed,
    "holds": holds,
    "runs": runs,
}
head = {k: v for k, v in result.items() if k != "runs"}
text = json.dumps(head, indent=2)[:-2] + ',\n  "runs": [\n'
text += ",\n".join("    " + json.dumps(r) for r in runs) + "\n  ]\n}\n"
pathlib.Path("results").mkdir(exist_ok=True)
pathlib.Path("results/gate-check.json").write_text(text)
print(f"same build: {passed} of {repeats} passed; slowed by 20 %: {failed} of {slowed} failed")
sys.exit(0 if holds else 1)
PYTHON
