#!/usr/bin/env bash
# Builds itera-serve as images and archives have it: what answers requests is optimised for size, and the whole is linked
# for speed. (Cargo takes the level of linking from the package itera-serve, and forgets `strip` where a package has a level
# of its own.) To be built apart from other programs, or it has what they need of Burn, too.
#
#   scripts/build-server.sh [OPTION OF CARGO...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo rustc --locked --profile dist -p itera-serve --bin itera-serve --features pg-tls "$@" -- -C opt-level=3 -C strip=symbols
