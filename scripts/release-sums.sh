#!/usr/bin/env bash
# Completes a release: what it was built of (CycloneDX, one file for each program), and the digests of all files.
#
#   scripts/release-sums.sh FOLDER
#
# Needs cargo-cyclonedx; INSTALL=1 installs it.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=$(realpath "${1:?give the folder of the release}")
if ! cargo cyclonedx --version &>/dev/null && [[ ${INSTALL:-} == 1 ]]; then
    env -u CARGO_TARGET_DIR cargo install --locked --quiet cargo-cyclonedx
fi
for program in itera-serve itera-validate itera-zip itera-train; do
    cargo cyclonedx --quiet --format json --all --target all --manifest-path "crates/$program/Cargo.toml" \
        --override-filename "$program.cdx"
    mv "crates/$program/$program.cdx.json" "$out/"
    find crates -name "$program.cdx.json" -delete
done
cd "$out"
rm -f SHA256SUMS
sha256sum -- * >SHA256SUMS
cat SHA256SUMS
