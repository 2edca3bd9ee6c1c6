#!/usr/bin/env bash
# The quality gate: scores the models that ship on the sample texts and compares with the scores that
# were committed.
#
#   scripts/check-quality.sh            status 1 if a model needs more bits for a text by more than 0.1 %
#   scripts/check-quality.sh --update   commit other scores, for models that are meant to be others
#
# A score is exact but for the last bits, which differ between kernels; so the limit is no matter of noise.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly COMMITTED=data/samples/scores.json LIMIT=0.1

validate() { cargo run --locked --release --quiet -p itera-validate -- "$@"; }
score() { validate --dataset sample --precision all --no-baselines --output "$1" >/dev/null; }

case ${1:-} in
    --update) score "$COMMITTED" ;;
    '')
        folder=$(mktemp -d)
        trap 'rm -rf -- "$folder"' EXIT
        score "$folder/scores.json"
        validate compare "$COMMITTED" "$folder/scores.json" --fail-if-worse "$LIMIT"
        ;;
    *)
        echo "check-quality: unknown argument \`$1\`; there is --update only" >&2
        exit 2
        ;;
esac
