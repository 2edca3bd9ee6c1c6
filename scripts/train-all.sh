#!/usr/bin/env bash
# Trains the checkpoints of data/models/ anew, each by the very commands that made it.
#
# Needs the real texts (scripts/fetch-data.sh, or ITERA_DATA_DIR). On two cores this takes about
# 40 minutes. Equal texts and an equal build give equal files.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

train() { cargo run --locked --release -p itera-train -- fit --preset micro "$@"; }

mkdir -p runs

train --dataset tinystories --tokenizer bpe --vocab-size 512 --seed 1 --batch 8 --length 256 \
    --learning-rate 1e-2 --warmup 200 --steps 12000 --output data/models/micro-tinystories.safetensors

# Two passes: the second, with more articles side by side, starts from where the first ended.
train --dataset wikitext2 --tokenizer bpe --vocab-size 512 --seed 1 --batch 8 --length 256 \
    --learning-rate 1e-2 --warmup 200 --steps 6500 --output runs/micro-wikitext2-1.safetensors
train --dataset wikitext2 --tokenizer bpe --vocab-size 512 --seed 2 --batch 16 --length 128 \
    --init runs/micro-wikitext2-1.safetensors --learning-rate 4e-3 --warmup 100 --steps 3500 \
    --output data/models/micro-wikitext2.safetensors

train --dataset tinystories --tokenizer char --seed 1 --batch 16 --length 128 \
    --learning-rate 1e-2 --warmup 200 --steps 4800 --output data/models/micro-tinystories-char.safetensors
