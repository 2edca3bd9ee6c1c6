#!/usr/bin/env bash
# Trains some steps on an NVIDIA card and compares them with the same steps on the processor, then two longer
# runs that share the card, one of them with a teacher; writes results/cuda-check.json. Exits with 1 if a loss
# differs by more than 0.005 nats/token, about ten times what the rounding of the card's matrix
# products (TF32) came to.
#
# Needs a card, its driver, NVRTC (of the CUDA toolkit) and the training text of TinyStories.
# `TRAIN=/path/to/itera-train` uses a program that is built already, with the feature `cuda`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ -z ${TRAIN:-} ]]; then
    cargo build --release --locked -p itera-train --features cuda
    TRAIN=${CARGO_TARGET_DIR:-target}/release/itera-train
fi

out=$(mktemp -d)
trap 'rm -r "$out"' EXIT

# fit NAME OPTION...
fit() {
    local name=$1
    shift
    "$TRAIN" fit --dataset tinystories --init data/models/micro-tinystories.safetensors --length 128 \
        --optimizer muon --learning-rate 1e-2 --warmup 5 --evaluate-every 0 --quiet \
        --output "$out/$name.safetensors" "$@"
}

short=(--seed 3 --batch 32 --replicas 1 --steps 40)
fit processor "${short[@]}"
fit card "${short[@]}" --backend cuda
large=(--seed 4 --batch 128 --steps 100 --backend cuda)
fit large "${large[@]}" &
fit taught "${large[@]}" --teacher data/models/teacher/tiny-tinystories.safetensors --distill 0.5 &
wait -n
wait -n

card=$(nvidia-smi --query-gpu=name --format=csv,noheader -i 0)
scripts/cuda-check.py "$card" "$out" > results/cuda-check.json.part
mv results/cuda-check.json.part results/cuda-check.json
cat results/cuda-check.json
python3 -c 'import json, sys; sys.exit(not json.load(open("results/cuda-check.json"))["passed"])'
