#!/usr/bin/env bash
# Builds the wheel `itera-lite` and tests it: alone in an empty environment, then in lm-evaluation-harness,
# datatrove and Ray where those can be had.
#
#   scripts/check-python.sh [MODULE...]   tests with these modules only (lm_eval, datatrove, ray) [default: all]
#
#   ITERA_VALIDATE   the program whose scores the wheel must have [default: builds it]
#   ITERA_PYTHON     the interpreter, 3.10 or later [default: python3]
#   WHEELS           folder for the wheel [default: a temporary one]
#
# Exit status 0 all passed, 1 a test failed, 2 could not run. What was not tested is said in a line that begins with
# SKIPPED.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly PYTHON=${ITERA_PYTHON:-python3} CACHE=$HOME/.cache/itera-lite
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$CACHE/target}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
wheels=${WHEELS:-$folder}

if ! "$PYTHON" -c 'import sys, venv; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    printf 'SKIPPED: there is no %s of 3.10 or later with venv\n' "$PYTHON" >&2
    exit 0
fi
readonly TOOLS=$CACHE/venv-maturin-zig
if ! [[ -x $TOOLS/bin/maturin ]]; then
    if ! { "$PYTHON" -m venv "$TOOLS" && "$TOOLS/bin/pip" install --quiet 'maturin>=1.9,<2' 'ziglang<1' >&2; }; then
        rm -rf "$TOOLS"
        printf 'SKIPPED: pip cannot install maturin and ziglang here\n' >&2
        exit 0
    fi
fi
# Linked by zig against glibc 2.17, the wheel runs on every Linux since 2014.
platform=()
if [[ $(uname -s) == Linux ]]; then platform=(--zig --compatibility manylinux2014); fi

# The models that ship go into the wheel.
rm -rf python/itera_lite/models
mkdir python/itera_lite/models
cp data/models/*.safetensors python/itera_lite/models/
PATH=$TOOLS/bin:$PATH "$TOOLS/bin/maturin" build --quiet --release "${platform[@]}" --manifest-path python/Cargo.toml \
    --target-dir "$CARGO_TARGET_DIR/python" --out "$wheels"
rm -rf python/itera_lite/models
wheel=$(ls "$wheels"/itera_lite-*.whl)

if [[ -z ${ITERA_VALIDATE:-} ]]; then
    cargo build --locked --release --quiet -p itera-validate
    ITERA_VALIDATE=$CARGO_TARGET_DIR/release/itera-validate
fi
export ITERA_VALIDATE

# environment NAME PACKAGE...: an environment with these packages and the wheel; fails where pip cannot install them.
environment() {
    local name=$1
    shift
    if ! [[ -e $CACHE/$name/ready ]]; then
        rm -rf "${CACHE:?}/$name"
        "$PYTHON" -m venv "$CACHE/$name"
        "$CACHE/$name/bin/pip" install --quiet pytest "$@" >&2 || return 1
        touch "$CACHE/$name/ready"
    fi
    "$CACHE/$name/bin/pip" install --quiet --force-reinstall --no-deps "$wheel" >&2
}

# Nothing is looked up at a hub. The package is the installed one, not the folder with its source.
export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1
tests() { (cd python/tests && "$CACHE/$1/bin/python" -m pytest -q -p no:cacheprovider "${@:2}"); }

wanted() { [[ $# -gt 1 ]] || return 0; local module=$1; shift; [[ " $* " == *" $module "* ]]; }

environment venv-wheel || { printf 'SKIPPED: pip cannot install pytest here\n' >&2; exit 0; }
tests venv-wheel test_model.py

if wanted lm_eval "$@"; then
    if environment venv-lm-eval 'lm_eval>=0.4.9' numpy; then tests venv-lm-eval test_model.py test_lm_eval.py
    else printf 'SKIPPED: pip cannot install lm_eval here\n' >&2; fi
fi
if wanted datatrove "$@"; then
    if environment venv-datatrove 'datatrove[io]' orjson tldextract regex tokenizers; then tests venv-datatrove test_datatrove.py
    else printf 'SKIPPED: pip cannot install datatrove here\n' >&2; fi
fi
if wanted ray "$@"; then
    if environment venv-ray 'ray[data]' pyarrow numpy pandas; then tests venv-ray test_ray.py
    else printf 'SKIPPED: pip cannot install ray here\n' >&2; fi
fi
