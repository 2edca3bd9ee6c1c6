#!/usr/bin/env bash
# Holds what itera-serve tells Prometheus against Prometheus' own reader and its rules for names and units: `promtool
# check metrics` on a server that has answered, refused, scored, learnt and divided requests.
#
#   scripts/serve-metrics.sh [BINARY]
#
# Needs promtool of Prometheus, which is fetched below the target directory where Debian's packages can be had.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/serving.sh

find_server "$@"
promtool=$(command -v promtool || true)
if [[ -z $promtool ]]; then
    folder=$target/prometheus
    promtool=$folder/usr/bin/promtool
    if [[ ! -x $promtool ]]; then
        mkdir -p "$folder"
        if ! (cd "$folder" && apt-get download prometheus && dpkg -x prometheus_*.deb .) &>/dev/null; then
            echo "SKIPPED: promtool cannot be had here"
            exit 0
        fi
    fi
fi

start_server --checkpoint micro-tinystories --checkpoint nano-tinystories --adapt-settings '{"steps":2,"batch":2,"length":32}' ||
    exit 2
send() { curl -s "$url$1" -H 'Content-Type: application/json' -d "$2"; }
id=$(send /infer '{"input_text": "Once upon a time", "max_length": 8}' | python3 -c 'import json, sys; print(json.load(sys.stdin)["feedback_id"])')
send /feedback "{\"feedback_id\": \"$id\", \"correction\": \" there was a dog.\"}" >/dev/null
send /adapt '{}' >/dev/null
send /experiments '{"id": "one", "arms": [{"name": "a"}, {"name": "b", "temperature": 0.5}]}' >/dev/null
send /infer '{"input_text": "Once upon a time", "max_length": 8}' >/dev/null
send /v1/score '{"input": "Once", "model": "nano-tinystories"}' >/dev/null
send /v1/sessions '{"prompt": "Once"}' >/dev/null
send /infer '{"max_length": 0}' >/dev/null
curl -s "$url/metrics" >"$work/metrics"
"$promtool" check metrics <"$work/metrics"
for metric in itera_adaptations_total itera_guard_loss itera_database_errors_total itera_sessions itera_arm_seconds_count; do
    grep -q "^$metric" "$work/metrics" || { echo "there is no $metric"; exit 1; }
done
echo "promtool takes $(grep -c '^# TYPE' "$work/metrics") metrics"
