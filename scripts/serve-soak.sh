#!/usr/bin/env bash
# Mixed load on a server of its own, on loopback, for so many seconds: right and odd requests to every endpoint. No
# answer may be a 5xx that is not a 503, and memory and open files stay as they are.
#
#   scripts/serve-soak.sh [BINARY] [SECONDS]
#
# Needs python3.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/serving.sh

find_server "${1:-}"
start_server --adapt-after 0 --keep-answers 1000
URL=$url SERVER=$server SECONDS_OF_LOAD=${2:-60} python3 scripts/serve-abuse.py soak
grep -i panicked "$work/log" && { echo "the server panicked"; exit 1; }
echo "the server held"
