#!/usr/bin/env bash
# The model in WebAssembly: its size, the package in Node against the native engine, with and without vectors, the page in
# a headless Chromium. What cannot be had here is SKIPPED in a line that says why.
#
#   scripts/check-web.sh
#
#   OUTPUT    file for sizes and speeds in Node and Chromium, for example results/web.json [default: none]
#   PICTURES  folder for the pictures of the page [default: web-page in the target directory]
#
# Needs a compiler for WebAssembly (scripts/build-web.sh), node and npm, and Chromium for the page. puppeteer-core is
# installed below the target directory, without a browser of its own. Speeds are those of the page's worker; measure them
# on a quiet machine.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The WebAssembly without a model, packed by gzip.
readonly MOST_BYTES=150000

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
skip() { echo "SKIPPED: $*" >&2; exit 0; }

command -v node > /dev/null || skip "scripts/check-web.sh needs node"
output=$target/web
status=0
scripts/build-web.sh "$output" || status=$?
((status != 3)) || skip "scripts/check-web.sh needs a compiler for WebAssembly"
((status == 0)) || exit "$status"

bytes=$(gzip -9 -c "$output/package/itera_web.wasm" | wc -c)
echo "the WebAssembly has $bytes bytes packed, at most $MOST_BYTES are allowed"
((bytes <= MOST_BYTES))

node web/package/test.mjs "$output" simd128
SIMD=0 scripts/build-web.sh "$output-scalar"
node web/package/test.mjs "$output-scalar" scalar

CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
[[ -n $CHROMIUM ]] && command -v npm > /dev/null || skip "the page needs npm and Chromium"
tools=$target/serve-page-tools
if [[ ! -d $tools/node_modules/puppeteer-core ]]; then
    mkdir -p "$tools"
    npm install --prefix "$tools" --no-audit --no-fund --silent puppeteer-core@24 || skip "puppeteer-core cannot be had here"
fi
cp scripts/{check-web,web-bench,web-server}.mjs "$tools/"
PICTURES=${PICTURES:-$target/web-page}
mkdir -p "$PICTURES"
export CHROMIUM PICTURES
node "$tools/check-web.mjs" "$output"
echo "pictures are in $PICTURES"
if [[ -n ${OUTPUT:-} ]]; then node "$tools/web-bench.mjs" "$output" "$OUTPUT"; fi
