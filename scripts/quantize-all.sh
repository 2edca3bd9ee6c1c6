#!/usr/bin/env bash
# Makes the INT8 and INT4 files beside the checkpoints of data/models/ anew, and a record of each
# under results/. To be run after a checkpoint has changed.
#
# Needs the real texts (scripts/fetch-data.sh, or ITERA_DATA_DIR): each model is calibrated with the
# beginning of the text that it was trained on, and measured on the validation split of that.
# Models may be named; without arguments all of them are made. On two cores this takes some minutes.
# `TRAIN=/path/to/itera-train` uses a program that is built already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/programs.sh

# quantize MODEL PRECISION OPTION...
quantize() {
    local model=$1 precision=$2
    shift 2
    train quantize --precision "$precision" --validate \
        --report "results/quantization-$model-$precision.json" "$@"
}

models=("$@")
if [[ ${#models[@]} -eq 0 ]]; then
    models=(micro-tinystories micro-wikitext2 micro-tinystories-char nano-tinystories)
fi

for model in "${models[@]}"; do
    source=data/models/$model.safetensors
    bytes=190000
    [[ $model == nano-* ]] && bytes=80000
    quantize "$model" int8 --checkpoint "$source" --bytes "$bytes"
    tuned=runs/$model-int4.safetensors
    output=data/models/$model.int4.safetensors
    if [[ -f $tuned ]]; then
        # Its weights are integers times their scales already, which the search finds.
        quantize "$model" int4 --checkpoint "$tuned" --of "$source" --method search --calibration-tokens 0 \
            --output "$output"
    else
        echo "$output stays as it is: $tuned is missing, which \`scripts/train-all.sh $model\` makes" >&2
    fi
done
