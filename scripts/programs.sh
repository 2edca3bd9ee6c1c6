# shellcheck shell=bash
# For other scripts to source: the programs that they call, built from this checkout.
# `TRAIN=/path/to/itera-train` and `VALIDATE=/path/to/itera-validate` are used where they are given.

train() {
    if [[ -n ${TRAIN:-} ]]; then
        "$TRAIN" "$@"
    else
        cargo run --locked --release -p itera-train -- "$@"
    fi
}

validate() {
    if [[ -n ${VALIDATE:-} ]]; then
        "$VALIDATE" "$@"
    else
        cargo run --locked --release -p itera-validate -- "$@"
    fi
}
