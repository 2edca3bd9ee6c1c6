#!/usr/bin/env bash
# Runs the tests of the kernels, the only unsafe code of itera-core, under AddressSanitizer.
#
# Miri knows few vector instructions, and valgrind no AVX-512; the sanitizer runs the very
# instructions that ship. It comes with the stable toolchain but behind a gate, hence
# RUSTC_BOOTSTRAP. Linux on x86-64 and ARM64.
#
#   CARGO_TARGET_DIR  where to build; a folder `sanitizer` is made in it [default: target]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=$(rustc -vV | sed -n 's/^host: //p')
case $target in
*-linux-gnu) ;;
*)
    echo "AddressSanitizer is set up for Linux with glibc here, not for $target" >&2
    exit 2
    ;;
esac

export RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" ASAN_OPTIONS=detect_leaks=1
exec cargo test --locked -p itera-core --target "$target" \
    --target-dir "${CARGO_TARGET_DIR:-target}/sanitizer" --lib -- kernels
