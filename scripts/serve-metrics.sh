#!/usr/bin/env bash
# Holds what itera-serve tells Prometheus against Prometheus' own reader and its rules for names and units: `promtool
# check metrics` on a server that has answered, refused, scored, learnt and divided requests. Then deploy/monitoring: its
# rules and their tests by promtool, and for 20 seconds a Prometheus on loopback that reads the server by its
# configuration; after them every rule has worked and every panel of the dashboard has something to show.
#
#   scripts/serve-metrics.sh [BINARY]
#
# Needs Prometheus with promtool, which is fetched below the target directory where Debian's packages can be had.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/serving.sh

find_server "$@"
has_prometheus() { command -v promtool && command -v prometheus; } >/dev/null
if ! has_prometheus; then
    folder=$target/prometheus
    PATH=$folder/usr/bin:$PATH
    if ! has_prometheus; then
        mkdir -p "$folder"
        if ! (cd "$folder" && apt-get download prometheus && dpkg -x prometheus_*.deb .) &>/dev/null; then
            echo "SKIPPED: Prometheus cannot be had here"
            exit 0
        fi
    fi
fi

start_server --checkpoint micro-tinystories --checkpoint nano-tinystories --adapt-settings '{"steps":2,"batch":2,"length":32}' ||
    exit 2
send() { curl -s "$url$1" -H 'Content-Type: application/json' -d "$2"; }
# correct: an answer, and what it should have been.
correct() {
    local id
    id=$(send /infer '{"input_text": "Once upon a time", "max_length": 8}' | python3 -c 'import json, sys; print(json.load(sys.stdin)["feedback_id"])')
    send /feedback "{\"feedback_id\": \"$id\", \"correction\": \" there was a dog.\"}" >/dev/null
}
correct
send /adapt '{}' >/dev/null
send /experiments '{"id": "one", "arms": [{"name": "a"}, {"name": "b", "temperature": 0.5}]}' >/dev/null
send /infer '{"input_text": "Once upon a time", "max_length": 8}' >/dev/null
send /v1/score '{"input": "Once", "model": "nano-tinystories"}' >/dev/null
send /v1/sessions '{"prompt": "Once"}' >/dev/null
send /infer '{"max_length": 0}' >/dev/null
curl -s "$url/metrics" >"$work/metrics"
promtool check metrics <"$work/metrics"
for metric in itera_adaptations_total itera_guard_loss itera_database_errors_total itera_sessions itera_arm_seconds_count; do
    grep -q "^$metric" "$work/metrics" || { echo "there is no $metric"; exit 1; }
done
echo "promtool takes $(grep -c '^# TYPE' "$work/metrics") metrics"

rules=deploy/monitoring
promtool check rules $rules/rules.yaml >/dev/null
promtool test rules $rules/rules-test.yaml >/dev/null
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cp $rules/rules.yaml "$work/"
sed "s/15s/1s\n  evaluation_interval: 1s/; s/127.0.0.1:8000/${url#http://}/" $rules/prometheus.yaml >"$work/prometheus.yaml"
promtool check config "$work/prometheus.yaml" >/dev/null
prometheus --config.file "$work/prometheus.yaml" --storage.tsdb.path "$work/tsdb" --log.level error \
    --web.listen-address "127.0.0.1:$port" &
prometheus=$!
trap 'kill $prometheus 2>/dev/null; stop_server' EXIT
for _ in $(seq 20); do
    correct
    send /infer '{"max_length": 0}' >/dev/null
    sleep 1
done
python3 scripts/serve-panels.py "http://127.0.0.1:$port" $rules/dashboard.json
