#!/usr/bin/env bash
# Checks that llama.cpp and transformers compute what the native engine computes, on the files that
# `itera-export gguf` and `itera-export hf` write, and that these come back as the same checkpoint.
#
#   scripts/check-runtimes.sh [CHECKPOINT]
#                     [default: a small model that is trained here for some seconds]
#
#   ITERA_RUNTIMES    folder of the Python environment with the runtimes; made where it is missing, which
#                     downloads some gigabytes and builds llama.cpp: set INSTALL=1 to permit that
#                     [default: ~/.cache/itera-lite/venv-runtimes]
#   ITERA_BIN         folder of built itera-export, itera-train and itera-validate [default: builds them]
#
# Exit status 0 all agree, 1 something differs, 2 could not run. What was not checked is said in a line that begins
# with SKIPPED.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly VENV=${ITERA_RUNTIMES:-$HOME/.cache/itera-lite/venv-runtimes}
readonly PYTHON=${ITERA_PYTHON:-python3}
# Nothing is looked up at a hub.
export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1
# What this was tried with.
readonly LLAMA=(llama-cpp-python==0.3.36 numpy) TRANSFORMERS=(transformers torch numpy)

# has MODULE: whether the environment has it.
has() { [[ -x $VENV/bin/python ]] && "$VENV/bin/python" -c "import $1" >/dev/null 2>&1; }

# get MODULE PACKAGE...: installs packages unless the module is there; fails where that is not permitted or possible.
get() {
    local module=$1
    shift
    has "$module" && return
    if [[ -z ${INSTALL:-} ]]; then
        printf 'SKIPPED: %s is not in %s; run with INSTALL=1 to install it\n' "$module" "$VENV" >&2
        return 1
    fi
    if ! { [[ -x $VENV/bin/python ]] || "$PYTHON" -m venv "$VENV"; } ||
        ! nice -n 10 "$VENV/bin/python" -m pip install --quiet "$@" >&2; then
        printf 'SKIPPED: pip cannot install %s here\n' "$*" >&2
        return 1
    fi
}

runtimes=()
if get llama_cpp "${LLAMA[@]}"; then runtimes+=(llama.cpp); fi
if get transformers "${TRANSFORMERS[@]}"; then runtimes+=(transformers); fi
((${#runtimes[@]})) || exit 0

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
checkpoint=${1:-$folder/small.safetensors}
if [[ -z ${ITERA_BIN:-} ]]; then
    cargo build --locked --release --quiet -p itera-export -p itera-train -p itera-validate
    ITERA_BIN=${CARGO_TARGET_DIR:-target}/release
fi
export ITERA_BIN
if [[ $# -eq 0 ]]; then
    # Of the form that the runtimes have, with rows of 32 and tokens of several bytes.
    "$ITERA_BIN/itera-train" fit --dataset sample --preset micro --size n_layers=2 --size d_inner=128 \
        --size routing=chosen --tokenizer bpe --vocab-size 512 --steps 40 --batch 4 --length 64 --seed 1 \
        --output "$checkpoint" >&2
fi

status=0
for runtime in "${runtimes[@]}"; do
    "$VENV/bin/python" scripts/runtimes/check.py "$checkpoint" --runtime "$runtime" || status=$?
done
if [[ " ${runtimes[*]} " == *" transformers "* ]]; then
    if get accelerate 'lm_eval[hf]'; then
        "$VENV/bin/python" scripts/runtimes/harness.py "$checkpoint" || status=$?
    fi
fi
exit "$status"
