#!/usr/bin/env bash
# Other ways to make micro-tinystories smaller than those that ship, for the chart of quality against
# size: with a fifth and a third fewer parameters, at mixed precision, and without training for them in 4 bits and in
# 150,000 bytes. The files go to runs/, their scores and that of tiny-tinystories to results/compression.json.
#
# Needs the real texts (scripts/fetch-data.sh, or ITERA_DATA_DIR). On two cores this takes some minutes.
# `TRAIN=/path/to/itera-train` and `VALIDATE=/path/to/itera-validate` use programs that are built already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/programs.sh

mkdir -p runs
model=data/models/micro-tinystories.safetensors

# prune NAME OPTION...: takes the parts away, then trains what is left with the whole model as teacher.
prune() {
    local name=micro-tinystories-$1
    shift
    train prune --checkpoint "$model" "$@" --output "runs/$name-cut.safetensors"
    train fit --init "runs/$name-cut.safetensors" --dataset tinystories --seed 3 \
        --teacher "$model" --distill 0.5 --batch 32 --length 128 --replicas 2 \
        --optimizer muon --learning-rate 5e-3 --warmup 50 --steps 1500 --evaluate-every 0 \
        --output "runs/$name.safetensors"
}

# mixed BITS: at most so many bits a weight.
mixed() {
    train quantize --checkpoint "$model" --mixed --target-bits "$1" \
        --output "runs/micro-tinystories-mixed-$1.safetensors"
}

prune pruned-20 --heads 6 --d-state 16 --d-expert 16
prune pruned-33 --heads 4 --d-state 16 --d-expert 8
mixed 6
mixed 7
train quantize --checkpoint "$model" --precision int4 --output runs/micro-tinystories-gptq.safetensors
train quantize --checkpoint "$model" --precision int8 --bytes 150000 --output runs/micro-tinystories-150k.safetensors

validate --output results/compression.json \
    --checkpoint runs/micro-tinystories-pruned-20.safetensors \
    --checkpoint runs/micro-tinystories-pruned-33.safetensors \
    --checkpoint runs/micro-tinystories-mixed-6.safetensors \
    --checkpoint runs/micro-tinystories-mixed-7.safetensors \
    --checkpoint runs/micro-tinystories-gptq.safetensors \
    --checkpoint runs/micro-tinystories-150k.safetensors \
    --checkpoint data/models/teacher/tiny-tinystories.safetensors
