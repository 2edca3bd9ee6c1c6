#!/usr/bin/env bash
# Shows that an estimate of energy does not depend on how many cores the program may use: itera-power on one core
# and on all, in turns.
#
#   scripts/check-energy-cores.sh [ITERA-POWER]   [default: a release build]
#
#   TURNS        runs of either kind [default: 5]
#   MAX_PERCENT  difference of the medians that is noise [default: 15]
#
# Exit status 0 if every estimate on one core is that on all, within the noise; 1 if not. Needs python3 and taskset,
# and at least two cores. Takes half a minute.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if (($# > 0)); then
    program=$1
else
    cargo build --locked --release --quiet -p itera-power
    target=$(cargo metadata --no-deps --format-version 1 | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
    program=$target/release/itera-power
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

arguments=(--checkpoint micro-tinystories --precision int4 --mode decode --platform "desktop,laptop,embedded" --processes 3)
for ((turn = 1; turn <= ${TURNS:-5}; turn++)); do
    "$program" "${arguments[@]}" --output "$work/all-$turn.json" >/dev/null
    taskset -c 0 "$program" "${arguments[@]}" --output "$work/one-$turn.json" >/dev/null
done 2>/dev/null

python3 - "$work" "${MAX_PERCENT:-15}" <<'PYTHON'
import json, pathlib, statistics, sys

work, limit = pathlib.Path(sys.argv[1]), float(sys.argv[2])


def energies(kind):
    """Medians over the turns, by platform."""
    found = {}
    for path in work.glob(f"{kind}-*.json"):
        record = json.loads(path.read_text())
        if kind == "one" and record["host"]["cores"] != 1:
            sys.exit("the program does not see how many cores it may use")
        for figure in record["rows"][0]["energy"]:
            if figure["source"].startswith("tdp:"):
                found.setdefault(figure["source"], []).append(1e6 * figure["gross_joules_per_token"]["nominal"])
    return {source: statistics.median(values) for source, values in found.items()}


everything, one = energies("all"), energies("one")
holds = True
for source, before in everything.items():
    change = 100 * (one[source] / before - 1)
    holds &= abs(change) <= limit
    print(f"{source}: {before:.4g} uJ/token on all cores, {one[source]:.4g} on one ({change:+.1f} %)")
sys.exit(0 if holds else 1)
PYTHON
