#!/usr/bin/env bash
# Opens reports/index.html in a headless Chromium: sorts tables, looks at light, dark and a phone, and takes
# pictures of each.
#
#   scripts/report-page.sh [PAGE.html]
#
# Needs node, npm and Chromium (Debian: apt-get install nodejs npm chromium); says SKIPPED without them.
# PICTURES names the folder for the pictures.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

CHROMIUM=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
if [[ -z $CHROMIUM ]] || ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    echo "SKIPPED: the page was not opened; node, npm or Chromium is missing"
    exit 0
fi
target=${CARGO_TARGET_DIR:-$PWD/target}
PICTURES=${PICTURES:-$target/report-page}
tools=$target/report-page-tools
mkdir -p "$PICTURES" "$tools"
if [[ ! -d $tools/node_modules/puppeteer-core ]] &&
    ! npm install --prefix "$tools" --no-audit --no-fund --silent puppeteer-core@24; then
    echo "SKIPPED: the page was not opened; puppeteer-core cannot be installed"
    exit 0
fi
cp scripts/report-page.mjs "$tools/"
PAGE=$(realpath "${1:-reports/index.html}")
export PAGE CHROMIUM PICTURES
node "$tools/report-page.mjs"
echo "pictures are in $PICTURES"
