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

# integers_of MODEL PRECISION: how the weights of a file are stored, as options of `quantize` and, where it was trained
# for integers, of `fit`.
integers_of() {
    case "$1 $2" in
        'nano-tinystories int8') echo --bytes 65000 ;;
        *' int8') echo --bytes 190000 ;;
        'nano-tinystories int4')
            # An eighth of the weights, which lose most for their bytes (quantize --mixed --target-bits 5.3).
            echo --tensor layers.0.mixer.in_proj.weight=int8 --tensor layers.0.mixer.out_proj.weight=int8 \
                --tensor layers.1.mixer.out_proj.weight=int8
            ;;
    esac
}
