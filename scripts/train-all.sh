#!/usr/bin/env bash
# Trains the checkpoints of data/models/ anew, each by the very commands that made it, and makes their
# INT8 and INT4 files (scripts/quantize-all.sh); tiny-tinystories has none.
#
# Needs the real texts (scripts/fetch-data.sh, or ITERA_DATA_DIR). On two cores this takes about a day.
# Equal texts and an equal build give equal files; the build is named in each record. The first runs of the
# micro models and of tiny-tinystories are of earlier builds, so this build makes others: since then initial weights, order of
# documents and dropout draw from random streams of their own, and the gradient of a document's last token was mended.
# Models may be named; without arguments all are made.
# `TRAIN=/path/to/itera-train` uses a program that is built already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/programs.sh

# Threads that share a batch, and its documents: parts of what a run is, like its seed.
replicas=1
batch=32

fit() {
    train fit --batch "$batch" --length 128 --replicas "$replicas" "$@"
}

# For models four times as large, so that they do not learn their text by heart.
regular=(--optimizer muon --weight-decay 0.1 --dropout 0.1)

# for_integers PRECISION MODEL INIT [OPTION...]: trains on from INIT while the weights are drawn to integers, with the model in
# floats as the teacher.
for_integers() {
    local precision=$1 model=$2 init=$3
    shift 3
    fit --init "$init" --teacher "data/models/$model.safetensors" --distill 0.9 --quantize "$precision" \
        --evaluate-every 0 --output "runs/$model-$precision.safetensors" "$@"
}

# to_int4 MODEL [OPTION...]
to_int4() {
    for_integers int4 "$1" "data/models/$1.safetensors" --warmup 20 "${@:2}"
}

# to_int8 MODEL BYTES [OPTION...]: from the best rounding within so many bytes, whose scales stay.
to_int8() {
    train quantize --checkpoint "data/models/$1.safetensors" --precision int8 --bytes "$2" \
        --output "runs/$1-packed.safetensors"
    for_integers int8 "$1" "runs/$1-packed.safetensors" --warmup 50 --learning-rate 1e-2 --steps 4500 "${@:3}"
}

mkdir -p runs data/models/teacher

tiny-tinystories() {
    # What sizes are compared with. The first, the teacher of an ablation, learnt its text by heart; the second has dropout
    # and more decay.
    fit --preset tiny --dataset tinystories --tokenizer bpe --vocab-size 1920 --seed 1 \
        --optimizer muon --learning-rate 2e-2 --warmup 300 --steps 7000 --evaluate-every 700 \
        --output runs/tiny-tinystories-1.safetensors
    fit --preset tiny --size routing=chosen --dataset tinystories --blank-lines 0.5 --tokenizer bpe --vocab-size 2048 \
        --seed 41 "${regular[@]}" --learning-rate 2e-2 --warmup 300 --steps 12500 --evaluate-every 1250 \
        --output data/models/teacher/tiny-tinystories.safetensors
}

micro-tinystories() {
    # Three layers instead of the preset's five and longer tokens; the form of the block is that of Granite, which
    # llama.cpp and transformers know (results/ablations-form.json). Each run goes on with the model of the one before;
    # the fifth was stopped before its rate fell. From the third on, half of the stories have blank lines between
    # their paragraphs, as the official text has. The seventh run gained little on validation (0.7720 to 0.7702): with so
    # little text, more steps alone do not help. So the last two learn from the mean of all models since the sixth.
    local form=(--preset micro --size routing=chosen --size n_layers=3 --size d_inner=128)
    local rate=(--optimizer muon --warmup 50)
    replicas=12 batch=48 fit "${form[@]}" --dataset tinystories --tokenizer bpe --vocab-size 2048 --seed 1 \
        --optimizer muon --learning-rate 2e-2 --warmup 300 --steps 10324 --evaluate-every 2000 \
        --output runs/micro-tinystories-1.safetensors
    replicas=16 batch=64 fit --dataset tinystories --init runs/micro-tinystories-1.safetensors --seed 2 "${rate[@]}" \
        --learning-rate 1e-2 --steps 1603 --evaluate-every 0 --output runs/micro-tinystories-2.safetensors
    local replicas=2
    local text=(--dataset tinystories --blank-lines 0.5 --evaluate-every 0)
    fit "${text[@]}" --init runs/micro-tinystories-2.safetensors --seed 3 "${rate[@]}" --learning-rate 6e-3 --steps 3000 \
        --output runs/micro-tinystories-3.safetensors
    fit "${text[@]}" --init runs/micro-tinystories-3.safetensors --seed 4 --optimizer muon --warmup 100 \
        --learning-rate 1.2e-2 --steps 14000 --output runs/micro-tinystories-4.safetensors
    fit "${text[@]}" --init runs/micro-tinystories-4.safetensors --seed 5 --optimizer muon --warmup 100 \
        --learning-rate 1.2e-2 --steps 26000 --stop-after 6479 --output runs/micro-tinystories-5.safetensors
    rm -f runs/micro-tinystories-5.resume
    fit "${text[@]}" --init runs/micro-tinystories-5.safetensors --seed 7 "${rate[@]}" --learning-rate 1.1e-2 --steps 10000 \
        --output runs/micro-tinystories-6.safetensors
    replicas=1
    fit --dataset tinystories --blank-lines 0.5 --init runs/micro-tinystories-6.safetensors --seed 10 --optimizer muon \
        --warmup 100 --weight-decay 0.1 --learning-rate 1.2e-2 --steps 36000 --evaluate-every 6000 \
        --output runs/micro-tinystories-7.safetensors
    local sixth=runs/micro-tinystories-6.safetensors seventh=runs/micro-tinystories-7.safetensors
    local eighth=runs/micro-tinystories-8.safetensors
    fit "${text[@]}" --init "$seventh" --teacher "$seventh" --teacher "$sixth" --distill 0.7 --seed 11 "${rate[@]}" \
        --learning-rate 5e-3 --steps 3000 --output "$eighth"
    fit "${text[@]}" --init "$eighth" --teacher "$sixth" --teacher "$seventh" --teacher "$eighth" --distill 0.7 --seed 12 \
        "${rate[@]}" --learning-rate 8e-3 --steps 15000 --output data/models/micro-tinystories.safetensors
    to_int8 micro-tinystories 189800 --dataset tinystories --blank-lines 0.5 --seed 21
    to_int4 micro-tinystories --dataset tinystories --blank-lines 0.5 --seed 9 --learning-rate 3e-2 --steps 3500
    scripts/quantize-all.sh micro-tinystories
}

micro-wikitext2() {
    # The first run was stopped before the end of its schedule; the second lets the rate fall from there. The
    # third does the same with the second as its teacher, and the fourth goes on from the third with that as its
    # teacher, since of a text so short much is learnt by heart: without a teacher, more steps only made it worse
    # on validation. The fifth begins anew, in the form of Granite's block and with the fourth as its teacher; the next
    # two learn from the mean of all since the fourth. The eighth learns from a model four times as large; then teacher and
    # model get the 128 tokens more that the budget permits, and the last run learns from the teacher with these.
    local text=(--dataset wikitext2 --tokenizer bpe --vocab-size 1920)
    local rate=(--optimizer muon --warmup 50)
    fit --preset micro --size n_layers=3 "${text[@]}" --seed 1 --optimizer muon --learning-rate 2e-2 \
        --warmup 300 --steps 24000 --evaluate-every 1200 --stop-after 14986 \
        --output runs/micro-wikitext2-1.safetensors
    # Nothing goes on with the stopped run itself, and while its file is there no other may begin.
    rm -f runs/micro-wikitext2-1.resume
    local fall=(--preset micro --size n_layers=3 "${text[@]}" --seed 2 --init runs/micro-wikitext2-1.safetensors \
        "${rate[@]}" --learning-rate 8e-3 --steps 6500)
    fit "${fall[@]}" --evaluate-every 500 --output runs/micro-wikitext2-2.safetensors
    fit "${fall[@]}" --evaluate-every 1000 --teacher runs/micro-wikitext2-2.safetensors --distill 0.5 \
        --output runs/micro-wikitext2-3.safetensors
    local fourth=runs/micro-wikitext2-4.safetensors fifth=runs/micro-wikitext2-5.safetensors
    local sixth=runs/micro-wikitext2-6.safetensors
    fit --dataset wikitext2 --init runs/micro-wikitext2-3.safetensors --seed 4 \
        --teacher runs/micro-wikitext2-3.safetensors --distill 0.5 \
        "${rate[@]}" --learning-rate 8e-3 --steps 6500 --evaluate-every 1000 --output "$fourth"
    fit --preset micro --size routing=chosen --size n_layers=3 --size d_inner=128 "${text[@]}" --seed 5 \
        --teacher "$fourth" --distill 0.5 --optimizer muon --weight-decay 0.1 --learning-rate 2e-2 --warmup 300 \
        --steps 26000 --evaluate-every 2600 --output "$fifth"
    local long=(--dataset wikitext2 --distill 0.7 "${rate[@]}" --weight-decay 0.1)
    local seventh=runs/micro-wikitext2-7.safetensors eighth=runs/micro-wikitext2-8.safetensors
    fit "${long[@]}" --init "$fifth" --teacher "$fourth" --teacher "$fifth" --seed 6 --learning-rate 8e-3 --steps 8000 \
        --evaluate-every 2000 --output "$sixth"
    fit "${long[@]}" --init "$sixth" --teacher "$fourth" --teacher "$fifth" --teacher "$sixth" --seed 7 \
        --learning-rate 1e-2 --steps 8500 --evaluate-every 0 --output "$seventh"
    local small=runs/tiny-wikitext2-1.safetensors large=runs/tiny-wikitext2-2.safetensors
    fit --preset tiny --size routing=chosen "${text[@]}" --seed 31 "${regular[@]}" --learning-rate 2e-2 --warmup 300 \
        --steps 14000 --evaluate-every 1400 --output "$small"
    fit --dataset wikitext2 --init "$small" --vocab-size 2048 --seed 33 "${regular[@]}" --learning-rate 6e-3 --warmup 50 \
        --steps 3500 --evaluate-every 3500 --output "$large"
    local from_large=(--dataset wikitext2 --distill 0.8 "${rate[@]}" --weight-decay 0.1 --learning-rate 1.2e-2 --steps 15000)
    fit "${from_large[@]}" --init "$seventh" --teacher "$small" --seed 8 --evaluate-every 3000 --output "$eighth"
    fit "${from_large[@]}" --init "$eighth" --vocab-size 2048 --teacher "$large" --seed 15 --evaluate-every 5000 \
        --output data/models/micro-wikitext2.safetensors
    to_int8 micro-wikitext2 189200 --dataset wikitext2 --seed 21
    to_int4 micro-wikitext2 --dataset wikitext2 --seed 3 --learning-rate 5e-2 --steps 4000
    scripts/quantize-all.sh micro-wikitext2
}

micro-tinystories-char() {
    # The preset's five layers, as a mixer twice as wide as the model: what a small alphabet leaves of the budget is deep.
    # Documents are read 256 characters at a time.
    train fit --preset micro --size routing=chosen --size n_layers=5 --size d_expert=32 --size d_inner=128 \
        --dataset tinystories --blank-lines 0.5 --tokenizer char --seed 4 --optimizer muon --learning-rate 2e-2 \
        --warmup 300 --batch 16 --length 256 --replicas 1 --steps 38000 --evaluate-every 3800 \
        --output data/models/micro-tinystories-char.safetensors
    # Training changes how often each integer occurs, so that the file ends some 1,000 bytes larger than it began.
    to_int8 micro-tinystories-char 188500 --dataset tinystories --blank-lines 0.5 --seed 21
    # Of the deeper model more weights settle where they should not at a higher rate.
    to_int4 micro-tinystories-char --dataset tinystories --blank-lines 0.5 --seed 2 --learning-rate 3e-2 --steps 3500
    scripts/quantize-all.sh micro-tinystories-char
}

nano-tinystories() {
    # Narrower and deeper than the preset, for a vocabulary of 1,792 entries; of the form of Granite too.
    fit --preset nano --size routing=chosen --size n_layers=3 --size d_model=32 --size d_inner=64 \
        --dataset tinystories --blank-lines 0.5 --tokenizer bpe --vocab-size 1792 --seed 1 \
        --optimizer muon --learning-rate 3e-2 --warmup 300 --steps 40000 --evaluate-every 8000 \
        --output data/models/nano-tinystories.safetensors
    to_int8 nano-tinystories 79800 --dataset tinystories --blank-lines 0.5 --seed 21
    to_int4 nano-tinystories --dataset tinystories --blank-lines 0.5 --seed 2 --learning-rate 1e-1 --steps 2000
    scripts/quantize-all.sh nano-tinystories
}

models=("$@")
if [[ ${#models[@]} -eq 0 ]]; then
    models=(tiny-tinystories micro-tinystories micro-wikitext2 micro-tinystories-char nano-tinystories)
fi
for model in "${models[@]}"; do
    "$model"
done
