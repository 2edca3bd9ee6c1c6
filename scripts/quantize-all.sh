#!/usr/bin/env bash
# Makes the INT8 and INT4 files beside the checkpoints of data/models/ anew from what scripts/train-all.sh has trained for
# integers, and a record of each under results/. To be run after a checkpoint has changed.
#
# Needs the real texts (scripts/fetch-data.sh, or ITERA_DATA_DIR): each model is measured on the validation split of its
# text. Models may be named; without arguments all of them are made. On two cores this takes some minutes.
# `TRAIN=/path/to/itera-train` uses a program that is built already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/programs.sh

models=("$@")
if [[ ${#models[@]} -eq 0 ]]; then
    models=(micro-tinystories micro-wikitext2 micro-tinystories-char nano-tinystories)
fi

for model in "${models[@]}"; do
    for precision in int8 int4; do
        tuned=runs/$model-$precision.safetensors
        output=data/models/$model.$precision.safetensors
        if [[ -f $tuned ]]; then
            # Its weights are integers times their scales already, which the search finds.
            train quantize --checkpoint "$tuned" --of "data/models/$model.safetensors" --precision "$precision" \
                --method search --calibration-tokens 0 --output "$output" \
                --validate --report "results/quantization-$model-$precision.json"
        else
            echo "$output stays as it is: $tuned is missing, which \`scripts/train-all.sh $model\` makes" >&2
        fi
    done
done
