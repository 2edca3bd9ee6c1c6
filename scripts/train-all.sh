#!/usr/bin/env bash
# Trains the checkpoints of data/models/ anew, each by the very commands that made it.
#
# Needs the real texts (scripts/fetch-data.sh, or ITERA_DATA_DIR). On two cores this takes about
# 40 minutes. Equal texts and an equal build give equal files.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

train() { cargo run --locked --release -p itera-train -- fit --preset micro --seed 1 --batch 8 --length 256 "$@"; }

train --dataset tinystories --tokenizer bpe --vocab-size 512 --learning-rate 1e-2 --warmup 200 \
    --steps 12000 --output data/models/micro-tinystories.safetensors
train --dataset wikitext2 --tokenizer bpe --vocab-size 512 --learning-rate 1e-2 --warmup 200 \
    --steps 6500 --output data/models/micro-wikitext2.safetensors
train --dataset tinystories --tokenizer char --learning-rate 1e-2 --warmup 200 \
    --steps 5000 --output data/models/micro-tinystories-char.safetensors
