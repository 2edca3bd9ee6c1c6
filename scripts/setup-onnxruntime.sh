#!/usr/bin/env bash
# Installs ONNX Runtime for itera-export into .runtimes/ of this checkout, which git ignores. Nothing
# else on the machine is changed; remove the folder to undo it.
#
#   scripts/setup-onnxruntime.sh [--onnx]
#
#   --onnx            the package onnx too, for scripts/check-onnx.py
#   ONNXRUNTIME       version to install [default: 1.32.0, what this project was measured with]
#   ITERA_PYTHON      the Python whose pip installs it [default: python3]
#
# itera-export finds the library there by itself. For other programs the path is printed.
# Exit status 2: it cannot be had here, with the reason.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly VERSION=${ONNXRUNTIME:-1.32.0}
readonly PYTHON=${ITERA_PYTHON:-python3}
readonly FOLDER=$PWD/.runtimes/python

fail() { printf 'error: %s\n' "$*" >&2; exit 2; }

packages=("onnxruntime==$VERSION")
for argument in "$@"; do
    case $argument in
        --onnx) packages+=(onnx) ;;
        *) fail "unknown argument $argument; usage: scripts/setup-onnxruntime.sh [--onnx]" ;;
    esac
done

library() { find "$FOLDER/onnxruntime/capi" -name 'libonnxruntime.*' 2>/dev/null | sort | tail -n 1; }
is_complete() {
    [[ -n $(library) && -d $FOLDER/onnxruntime-$VERSION.dist-info ]] || return 1
    [[ ${#packages[@]} -eq 1 || -d $FOLDER/onnx ]]
}

if is_complete; then
    printf 'ONNX Runtime %s is there already\n' "$VERSION" >&2
else
    command -v "$PYTHON" >/dev/null || fail "$PYTHON is missing; install Python 3, or set ORT_DYLIB_PATH to a libonnxruntime of 1.19 or newer"
    "$PYTHON" -m pip --version >/dev/null 2>&1 || fail "$PYTHON has no pip; install it (Debian: apt-get install python3-pip), or set ORT_DYLIB_PATH to a libonnxruntime of 1.19 or newer"
    # Into a folder of its own first, so that a download that breaks off leaves nothing half.
    mkdir -p .runtimes
    part=$(mktemp -d .runtimes/part.XXXXXX)
    trap 'rm -rf "$part"' EXIT
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --no-cache-dir \
        --target "$part" "${packages[@]}" >&2 ||
        fail "pip cannot install ${packages[*]}; is there a network, and a wheel for this system and Python?"
    rm -rf "$FOLDER"
    mv "$part" "$FOLDER"
    trap - EXIT
fi
path=$(library)
[[ -n $path ]] || fail "the package onnxruntime $VERSION has no shared library in $FOLDER/onnxruntime/capi"
printf 'itera-export finds it by itself; for other programs: export ORT_DYLIB_PATH=%s\n' "$path" >&2
printf '%s\n' "$path"
