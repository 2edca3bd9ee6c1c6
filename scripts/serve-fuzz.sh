#!/usr/bin/env bash
# Runs schemathesis, a fuzzer that reads the OpenAPI document, against a server on loopback. Bounded: so
# many examples for each operation.
#
#   scripts/serve-fuzz.sh [BINARY] [EXAMPLES]
#
# Needs python3 with venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
binary=${1:-}
if [[ -z $binary ]]; then
    cargo build --locked --release -p itera-serve
    binary=$target/release/itera-serve
fi
tools=$target/fuzz-tools
[[ -x $tools/bin/python ]] || python3 -m venv "$tools"
"$tools/bin/pip" install -q "schemathesis>=4,<5"

work=$(mktemp -d)
touch "$work/log"
"$binary" --port 0 --rate-limit 0 --database "$work/fuzz.db" 2>"$work/log" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
for _ in $(seq 200); do
    url=$(sed -n 's/.* on \(http:.*\)/\1/p' "$work/log")
    [[ -n $url ]] && break
    sleep 0.1
done
[[ -n $url ]] || { cat "$work/log" >&2; exit 2; }
cd "$work"
"$tools/bin/schemathesis" run "$url/openapi.json" --max-examples "${2:-100}" --seed 1 \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance
grep -i panicked "$work/log" && { echo "the server panicked"; exit 1; }
curl -sf "$url/health" >/dev/null && echo "the server still answers"
