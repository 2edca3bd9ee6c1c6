#!/usr/bin/env bash
# Exports every shipped model at every precision and checks the files: in tract, in ONNX Runtime and by
# onnx.checker, the last two where scripts/setup-onnxruntime.sh can install them. Leaves the checkout as it
# was, but for .runtimes/, which git ignores.
#
#   scripts/check-export.sh [MODEL...]      [default: every shipped model]
#
# Exit status 0 all passed, 1 a file failed, 2 could not run. What was not checked is said in a line that
# begins with NOT CHECKED.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

runtime=all
if ! scripts/setup-onnxruntime.sh --onnx >/dev/null; then
    printf 'NOT CHECKED: ONNX Runtime cannot be had here; files are run in tract only\n' >&2
    runtime=tract
fi

checkpoints=()
for model in "$@"; do checkpoints+=(--checkpoint "$model"); done
cargo build --locked --release --quiet -p itera-export
export_() { cargo run --locked --release --quiet -p itera-export -- "$@"; }

export_ onnx ${checkpoints[@]+"${checkpoints[@]}"} --output "$folder/onnx"
export_ verify --runtime "$runtime" --output "$folder/onnx-export.json" "$folder"/onnx/*.onnx
if [[ $runtime == all ]]; then
    "${ITERA_PYTHON:-python3}" scripts/check-onnx.py "$folder"/onnx/*.onnx
else
    printf 'NOT CHECKED: onnx.checker\n' >&2
fi
