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

# integers_of MODEL PRECISION: how the weights of a file that was trained for integers are stored, as options of `fit`
# and `quantize`.
integers_of() {
    case "$1 $2" in
        'micro-tinystories int4')
            # It loses most after the embedding (quantize --validate shows each tensor alone).
            echo --tensor layers.0.mixer.in_proj.weight=int8
            ;;
        'nano-tinystories int4')
            # An eighth of the weights, which lose most for their bytes (quantize --mixed --target-bits 5.3).
            echo --tensor layers.0.mixer.in_proj.weight=int8 --tensor layers.0.mixer.out_proj.weight=int8 \
                --tensor layers.1.mixer.out_proj.weight=int8
            ;;
    esac
}
