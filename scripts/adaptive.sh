#!/usr/bin/env bash
# Scores models that learn from the official texts while they read them, each way under a protocol of its own, and writes
# results/adaptive-*.json: weights that move (dynamic evaluation), n-grams that are mixed in, and both.
#
# Needs the real texts (scripts/fetch-data.sh, or ITERA_DATA_DIR). Moving weights takes some minutes.
# `VALIDATE=/path/to/itera-validate` uses a program that is built already, with the feature `burn`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

validate() {
    if [[ -n ${VALIDATE:-} ]]; then
        "$VALIDATE" "$@"
    else
        cargo run --release --locked -p itera-validate --features burn -- "$@"
    fi
}

# score NAME OPTION...: the articles, in the order in which they stand.
score() {
    local name=$1
    shift
    validate --checkpoint micro-wikitext2 --dataset wikitext2 --split test --no-baselines "$@" \
        --output "results/adaptive-$name.json"
}

validate --checkpoint micro-wikitext2 --checkpoint micro-tinystories --checkpoint nano-tinystories --mix --no-baselines \
    --output results/adaptive-mix.json
score weights --adapt
score documents --adapt --adapt-per-document
score both --adapt --mix
