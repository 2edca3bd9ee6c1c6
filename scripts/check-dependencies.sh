#!/usr/bin/env bash
# Licences, sources and known faults of all crates, by cargo-deny and deny.toml.
#
#   scripts/check-dependencies.sh
#
# Needs cargo-deny; INSTALL=1 installs it. Known faults are left out where the list of RustSec cannot be fetched.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! cargo deny --version &>/dev/null; then
    if [[ ${INSTALL:-} != 1 ]]; then
        echo "SKIPPED: scripts/check-dependencies.sh needs cargo-deny; INSTALL=1 installs it"
        exit 0
    fi
    if ! env -u CARGO_TARGET_DIR cargo install --locked --quiet cargo-deny; then
        echo "SKIPPED: scripts/check-dependencies.sh; cargo-deny cannot be built here"
        exit 0
    fi
fi
cargo deny --locked check bans licenses sources
if cargo deny --locked fetch db; then
    cargo deny --locked check advisories
else
    echo "SKIPPED: the list of known faults cannot be fetched here"
fi
