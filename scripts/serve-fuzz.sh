#!/usr/bin/env bash
# Runs schemathesis, a fuzzer that reads the OpenAPI document, against a server on loopback. Bounded: so
# many examples for each operation.
#
#   scripts/serve-fuzz.sh [BINARY] [EXAMPLES]
#
# Needs python3 with venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/serving.sh

find_server "$@"
tools=$target/fuzz-tools
[[ -x $tools/bin/python ]] || python3 -m venv "$tools"
"$tools/bin/pip" install -q "schemathesis>=4,<5"

start_server
cd "$work"
"$tools/bin/schemathesis" run "$url/openapi.json" --max-examples "${2:-100}" --seed 1 \
    --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance
grep -i panicked "$work/log" && { echo "the server panicked"; exit 1; }
curl -sf "$url/health" >/dev/null && echo "the server still answers"
