#!/usr/bin/env bash
# Drives the page of itera-serve in a headless Chromium and takes pictures of it.
#
#   scripts/serve-page.sh [BINARY]
#
# Needs node, npm and Chromium (Debian: apt-get install nodejs npm chromium). puppeteer-core is installed
# below the target directory, without a browser of its own. PICTURES names the folder for the pictures.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/serving.sh

find_server "$@"
CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome)}
PICTURES=${PICTURES:-$target/serve-page}
mkdir -p "$PICTURES"
tools=$target/serve-page-tools
if [[ ! -d $tools/node_modules/puppeteer-core ]]; then
    mkdir -p "$tools"
    npm install --prefix "$tools" --no-audit --no-fund --silent puppeteer-core@24
fi
cp scripts/serve-page.mjs "$tools/"

# Learns in seconds, in a build for tests too; one that does not learn takes no settings.
quick=(--adapt-settings '{"steps":4,"batch":2,"length":64}')
if "$binary" --database /dev/null/none --adapt-settings '{' 2>&1 | grep -q "does not learn"; then quick=(); fi
KEY=$(printf 'key-of-this-test-%s' "$$")
start_server --poll-ms 100 --max-tokens 16384 --token "$KEY" --token-for-all "${quick[@]}"
LEARNS=$(curl -s "$url/health" | grep -q '"learns":true' && echo 1 || echo 0)
export URL=$url KEY CHROMIUM PICTURES LEARNS
node "$tools/serve-page.mjs"
echo "pictures are in $PICTURES"
