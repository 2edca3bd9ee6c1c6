#!/usr/bin/env bash
# Static programs for Linux on this processor with their models and licences, as an archive that has the same bytes
# each time it is made of a commit.
#
#   scripts/release-binaries.sh FOLDER [TAG]
#
# TAG must be v and the version of the programs.
#
# Needs musl-tools (Debian) and the Rust target for musl of this processor.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=${1:?give the folder for the archive}
mkdir -p "$out"
readonly PROGRAMS=(itera-serve itera-validate itera-zip itera-train)
musl=$(uname -m)-unknown-linux-musl
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
[[ ${2:-v$version} == "v$version" ]] || { echo "the tag is $2 and the version of the programs $version"; exit 1; }
name=itera-lite-$version-$(uname -m)-linux
rustup target add "$musl" >/dev/null 2>&1 || true
cargo build --locked --profile dist --target "$musl" -p itera-train -p itera-validate -p itera-zip
scripts/build-server.sh --target "$musl"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/$name/models"
for program in "${PROGRAMS[@]}"; do
    cp "${CARGO_TARGET_DIR:-target}/$musl/dist/$program" "$work/$name/$program"
    "$work/$name/$program" --version
done
cp data/models/*.safetensors "$work/$name/models/"
cp LICENSE-* README.md CHANGELOG.md "$work/$name/"
tar --create --directory "$work" --sort=name --owner=0 --group=0 --numeric-owner --mode=u+w,go-w,a+rX \
    --mtime="@$(git log -1 --format=%ct)" "$name" | gzip --no-name -9 >"$out/$name.tar.gz"
ls -l "$out/$name.tar.gz"
