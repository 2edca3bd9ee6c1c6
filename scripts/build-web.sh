#!/usr/bin/env bash
# Builds the model for browsers and Node, and the folder of the page for any static host.
#
#   scripts/build-web.sh [OUTPUT]   the folder [default: web in the target directory]
#   INSTALL=1                       as root on Debian: installs what is missing
#   SIMD=0                          without vectors, for runtimes that have none
#
# OUTPUT/package is the npm package. It has vectors of 128 bits: every browser has had them since 2023, and without them
# the model is several times slower. Its results are the same either way.
#
# The standard library is compiled too, without the texts of panics, which nobody would see. So the compiler needs its
# source: rustup component add rust-src, or Debian's packages rustc-web, cargo-web, rust-web-src and lld. wasm-opt (package
# binaryen), where it is there, takes off some more. Ends with status 3 if there is no such compiler.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly TARGET=wasm32-unknown-unknown
readonly DEBIAN=(rustc-web cargo-web rust-web-src lld binaryen)
readonly MODELS=({micro,nano}-tinystories.{int4,int8})

target=${CARGO_TARGET_DIR:-target}
output=${1:-$target/web}
if [[ ${SIMD:-1} == 0 ]]; then
    feature=-simd128 vectors=--disable-simd built=$target/wasm-scalar
else
    feature=+simd128 vectors=--enable-simd built=$target/wasm
fi

# has_source RUSTC: whether it has the source of its standard library.
has_source() { [[ -d $("$1" --print sysroot 2> /dev/null)/lib/rustlib/src/rust/library ]]; }

if command -v rustup > /dev/null && ! has_source rustc; then timeout 60 rustup component add rust-src &> /dev/null || true; fi
if ! has_source rustc && ! has_source /usr/bin/rustc && [[ ${INSTALL:-} == 1 ]]; then
    apt-get install -qy --no-install-recommends "${DEBIAN[@]}" > /dev/null
fi
if ! command -v wasm-opt > /dev/null && [[ ${INSTALL:-} == 1 ]] && command -v apt-get > /dev/null; then
    apt-get install -qy --no-install-recommends binaryen > /dev/null
fi
if has_source rustc; then
    cargo=cargo
elif has_source /usr/bin/rustc; then
    cargo=/usr/bin/cargo
    export RUSTC=/usr/bin/rustc CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld
else
    echo "no compiler for $TARGET: rustup component add rust-src, or on Debian apt-get install ${DEBIAN[*]}" >&2
    exit 3
fi

# The engine is fast, the rest small: it reads a checkpoint, once. What the last crate is optimised for also holds for what
# is done when all are linked, and only there are loops vectorised, as that of sampling.
RUSTC_BOOTSTRAP=1 RUSTFLAGS="-C target-feature=$feature -Zunstable-options -Cpanic=immediate-abort -Cllvm-args=--inline-threshold=5" \
    "$cargo" rustc --quiet --locked --release -p itera-web --crate-type cdylib --target "$TARGET" --target-dir "$built" \
    -Zbuild-std=std -Zbuild-std-features=optimize_for_size \
    --config 'profile.release.package."*".opt-level="s"' --config 'profile.release.package.itera-web.opt-level=3' \
    --config 'profile.release.package.itera-core.opt-level=3' --config 'profile.release.lto="fat"' \
    --config 'profile.release.codegen-units=1' --config 'profile.release.strip=true'

rm -rf "$output"
mkdir -p "$output/models"
cp -r web/. "$output/"
rm "$output/package/test.mjs"
wasm=$output/package/itera_web.wasm
cp "$built/$TARGET/release/itera_web.wasm" "$wasm"
if command -v wasm-opt > /dev/null; then
    wasm-opt -O2 "$vectors" --enable-bulk-memory --enable-nontrapping-float-to-int --enable-sign-ext \
        --enable-mutable-globals "$wasm" -o "$wasm"
fi
for model in "${MODELS[@]}"; do cp "data/models/$model.safetensors" "$output/models/"; done
echo "$output: the WebAssembly has $(stat -c %s "$wasm") bytes, $(gzip -9 -c "$wasm" | wc -c) packed"
