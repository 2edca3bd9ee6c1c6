#!/usr/bin/env bash
# Makes the INT8 and INT4 files beside the checkpoints of data/models/ anew, and a record of each
# under results/. To be run after a checkpoint has changed.
#
# Needs the real texts (scripts/fetch-data.sh, or ITERA_DATA_DIR): each model is calibrated with the
# beginning of the text that it was trained on, and measured on the validation split of that.
# Models may be named; without arguments all of them are made. On two cores this takes some minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# `TRAIN=/path/to/itera-train` uses a program that is built already.
train() {
    if [[ -n ${TRAIN:-} ]]; then
        "$TRAIN" "$@"
    else
        cargo run --locked --release -p itera-train -- "$@"
    fi
}

models=("$@")
if [[ ${#models[@]} -eq 0 ]]; then
    models=(micro-tinystories micro-wikitext2 micro-tinystories-char)
fi

for model in "${models[@]}"; do
    for precision in int8 int4; do
        train quantize --checkpoint "data/models/$model.safetensors" --precision "$precision" \
            --validate --report "results/quantization-$model-$precision.json"
    done
done
