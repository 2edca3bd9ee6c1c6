#!/usr/bin/env bash
# Runs itera-core on processors of other kinds, under emulation: the kernels' tests, the digests of exact inference, and
# the file formats on a machine that stores numbers the other way round. Scores a text on aarch64: each document needs
# the very nats that it needs here. What itera-zip compresses on either is restored on the other. On a controller without
# std, examples/firmware writes the story that is written here.
#
#   scripts/check-targets.sh
#
#   ITERA_BIN  folder of this machine's itera-train, itera-validate and itera-zip [default: builds them]
#
# Debian's packages are needed: an emulator, a C compiler and library for each target, and Rust's standard library as
# source where the toolchain has none for it. INSTALL=1 installs them. What cannot be had is said in a line.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target/targets"
target=$(cd "$target" && pwd)
files=$(mktemp -d)
trap 'rm -r "$files"' EXIT
if [[ -z ${ITERA_BIN:-} ]]; then
    cargo build --locked --release -p itera-train -p itera-validate -p itera-zip
    ITERA_BIN=$target/release
fi

as_root() { if ((EUID)); then sudo "$@"; else "$@"; fi; }

# have PACKAGE...: whether they are installed, or can be.
have() {
    dpkg -s "$@" &>/dev/null && return
    [[ ${INSTALL:-} == 1 ]] || return 1
    as_root apt-get install -qy --no-install-recommends "$@" &>/dev/null
}

# compiler_for TRIPLE LIBRARIES: puts into `cargo` what builds for a target; LIBRARIES are built where there are none for it.
compiler_for() {
    cargo=(cargo)
    { command -v rustup && timeout 60 rustup target add "$1"; } &>/dev/null && return
    if ! have rustc-web cargo-web rust-web-src; then
        echo "SKIPPED: there is no standard library for $1, and no source of it (rust-web-src)"
        return 1
    fi
    cargo=(env RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 /usr/bin/cargo "-Zbuild-std=$2")
}

# prepare TRIPLE EMULATOR C-LIBRARY LIBRARY-PACKAGE: sets what `build_for` needs for a target that is emulated.
prepare() {
    triple=$1
    local compiler=${triple%%-*}-linux-gnu-gcc
    if ! have "gcc-${triple%%-*}-linux-gnu" "$4" qemu-user; then
        echo "SKIPPED: $triple needs gcc-${triple%%-*}-linux-gnu, $4 and qemu-user"
        return 1
    fi
    local name=${triple^^}
    export "CARGO_TARGET_${name//-/_}_LINKER=$compiler" "CARGO_TARGET_${name//-/_}_RUNNER=$2 -L $3"
    export "CC_${triple//-/_}=$compiler"
    compiler_for "$triple" std,panic_unwind || return
    echo "== $triple"
}

# build_for COMMAND ARGUMENT...: cargo for the target. Emulated, so fewer cases of the property tests.
build_for() {
    PROPTEST_CASES=16 CARGO_TARGET_DIR=$target/targets "${cargo[@]}" "$1" --locked --quiet --target "$triple" "${@:2}"
}

# there PROGRAM ARGUMENT...: a program of the target, as this repository builds it for tests.
there() { qemu-aarch64 -L /usr/aarch64-linux-gnu "$target/targets/$triple/debug/$1" "${@:2}"; }
here() { "$ITERA_BIN/$1" "${@:2}"; }

# score_sample PLACE PRECISION: a row for each document of the sample.
score_sample() {
    "$1" itera-validate score - --checkpoint micro-tinystories --precision "$2" --threads 1 < "$files/sample.txt"
}

if prepare aarch64-unknown-linux-gnu qemu-aarch64 /usr/aarch64-linux-gnu libc6-dev-arm64-cross; then
    build_for test -p itera-core --lib --test exact
    build_for build -p itera-validate -p itera-zip
    head -c 20000 data/samples/tinystories-sample.txt > "$files/sample.txt"
    for precision in int8 int4; do
        for place in here there; do score_sample "$place" "$precision" > "$files/rows-$place.jsonl"; done
        diff "$files"/rows-{here,there}.jsonl
        echo "itera-validate score writes the same $(wc -l < "$files/rows-there.jsonl") rows at $precision"
    done
    for place in here there; do "$place" itera-zip compress < "$files/sample.txt" > "$files/$place.itz"; done
    cmp "$files"/{here,there}.itz
    here itera-zip restore < "$files/there.itz" | cmp - "$files/sample.txt"
    there itera-zip restore < "$files/here.itz" | cmp - "$files/sample.txt"
    echo "itera-zip compresses to the same $(stat -c %s "$files/there.itz") bytes, and each restores the other's"
fi
if prepare s390x-unknown-linux-gnu qemu-s390x /usr/s390x-linux-gnu libc6-dev-s390x-cross; then
    build_for test -p itera-core --lib --test exact --test checkpoint_format --test container
fi

triple=thumbv7em-none-eabihf
if ! have qemu-system-arm; then
    echo "SKIPPED: $triple needs qemu-system-arm"
elif compiler_for "$triple" core,alloc; then
    echo "== $triple, without std"
    build_for build --release --manifest-path examples/firmware/Cargo.toml
    # The emulator ends with the program's status.
    timeout 300 qemu-system-arm -M mps2-an386 -display none -semihosting-config enable=on,target=native \
        -kernel "$target/targets/$triple/release/firmware" > "$files/story-there.txt"
    "$ITERA_BIN/itera-train" sample --checkpoint data/models/micro-tinystories.int4.safetensors \
        --prompt "Once upon a time" --max-tokens 20 --temperature 0.8 --top-k 40 --seed 1 \
        > "$files/story-here.txt"
    diff "$files"/story-{here,there}.txt
    echo "the story is the same: $(< "$files/story-there.txt")"
fi
