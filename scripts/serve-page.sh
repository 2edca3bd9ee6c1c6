#!/usr/bin/env bash
# Drives the page of itera-serve in a headless Chromium and takes pictures of it.
#
#   scripts/serve-page.sh [BINARY]
#
# Needs node, npm and Chromium (Debian: apt-get install nodejs npm chromium). puppeteer-core is installed
# below the target directory, without a browser of its own. PICTURES names the folder for the pictures.
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
CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome)}
PICTURES=${PICTURES:-$target/serve-page}
mkdir -p "$PICTURES"
tools=$target/serve-page-tools
if [[ ! -d $tools/node_modules/puppeteer-core ]]; then
    mkdir -p "$tools"
    npm install --prefix "$tools" --no-audit --no-fund --silent puppeteer-core@24
fi
cp scripts/serve-page.mjs "$tools/"

work=$(mktemp -d)
touch "$work/log"
"$binary" --port 0 --rate-limit 0 --poll-ms 100 --database "$work/page.db" 2>"$work/log" &
server=$!
trap 'kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; rm -rf "$work"' EXIT
for _ in $(seq 200); do
    URL=$(sed -n 's/.* on \(http:.*\)/\1/p' "$work/log")
    [[ -n $URL ]] && break
    sleep 0.1
done
[[ -n $URL ]] || { cat "$work/log" >&2; exit 2; }
LEARNS=$(curl -s "$URL/health" | grep -q '"learns":true' && echo 1 || echo 0)
export URL CHROMIUM PICTURES LEARNS
node "$tools/serve-page.mjs"
echo "pictures are in $PICTURES"
