#!/usr/bin/env bash
# Runs itera-core on processors of other kinds, under emulation: the kernels' tests, the digests of exact inference, and
# the file formats on a machine that stores numbers the other way round. Builds it without std for a controller.
#
#   scripts/check-targets.sh
#
# Debian's packages are needed: an emulator, a C compiler and library for each target, and Rust's standard library as
# source where the toolchain has none for it. INSTALL=1 installs them. What cannot be had is said in a line.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${CARGO_TARGET_DIR:-target}
mkdir -p "$target"
target=$(cd "$target" && pwd)

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

# check TRIPLE EMULATOR C-LIBRARY LIBRARY-PACKAGE TEST-ARGUMENTS...: the tests of itera-core for a target.
check() {
    local triple=$1 emulator=$2 root=$3 package=$4
    shift 4
    local compiler=${triple%%-*}-linux-gnu-gcc
    if ! have "gcc-${triple%%-*}-linux-gnu" "$package" qemu-user; then
        echo "SKIPPED: $triple needs gcc-${triple%%-*}-linux-gnu, $package and qemu-user"
        return
    fi
    local name=${triple^^}
    export "CARGO_TARGET_${name//-/_}_LINKER=$compiler" "CARGO_TARGET_${name//-/_}_RUNNER=$emulator -L $root"
    export "CC_${triple//-/_}=$compiler"
    compiler_for "$triple" std,panic_unwind || return 0
    echo "== $triple"
    # Emulated, so fewer cases of the property tests.
    PROPTEST_CASES=16 CARGO_TARGET_DIR=$target/targets "${cargo[@]}" test --locked --quiet -p itera-core --target "$triple" "$@"
}

check aarch64-unknown-linux-gnu qemu-aarch64 /usr/aarch64-linux-gnu libc6-dev-arm64-cross --lib --test exact
check s390x-unknown-linux-gnu qemu-s390x /usr/s390x-linux-gnu libc6-dev-s390x-cross \
    --lib --test exact --test checkpoint_format --test container

readonly CONTROLLER=thumbv7em-none-eabihf
if compiler_for "$CONTROLLER" core,alloc; then
    echo "== $CONTROLLER, without std"
    CARGO_TARGET_DIR=$target/targets "${cargo[@]}" build --locked --quiet -p itera-core --lib --no-default-features \
        --target "$CONTROLLER"
fi
