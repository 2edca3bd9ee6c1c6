#!/usr/bin/env bash
# Checks that the C of `itera-export c` computes what the native engine computes, to the last bit, with every compiler
# and processor that can be had here, and that it is small enough for a controller; then lets it write a story on one.
#
#   scripts/check-c.sh [CHECKPOINT]   [default: micro-tinystories]
#
#   INSTALL=1   permits to install compilers and emulators by apt-get
#   ITERA_BIN   folder of a built itera-export [default: builds it]
#   OUTPUT      file for the figures as JSON, for example results/c-export.json [default: none]
#   STORY       tokens of the story [default: 100]
#   M4_TOKENS   tokens on the Cortex-M4: 100, 1000 or 10000 [default: 1000]
#
# The header has digests of the native engine's logits after 100, 1,000 and 10,000 tokens. On this machine and on an
# emulated aarch64 the C must reach the last one, on an emulated Cortex-M4 that of M4_TOKENS, and with floats in software,
# of which a token takes several times as many instructions, the first. All must draw the same tokens too.
#
# Exit status 0 all passed, 1 something differs or is too large, 2 could not run. What was not checked is said in a line
# that begins with SKIPPED.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly CHECKPOINT=${1:-micro-tinystories} STORY=${STORY:-100} M4_TOKENS=${M4_TOKENS:-1000}
readonly CHECK=crates/itera-export/tests/c/check.c
readonly FLAGS=(-std=c99 -ffp-contract=off -Wall -Wextra -Werror -pedantic)
# Flash is at most 1.15 times the bytes of integers, scales and floats, which the checkpoint's file packs and constant
# arrays do not; state and scratch memory are at most 64 kB.
readonly FLASH_PERCENT=115 RAM_BYTES=64000
# Cycles for an instruction: the projection's only assumption.
readonly CYCLES=1.5

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
status=0

# have PROGRAM PACKAGE...: whether a program is there; installs it where that is permitted.
have() {
    local program=$1
    shift
    command -v "$program" >/dev/null && return
    if [[ -z ${INSTALL:-} ]]; then
        printf 'SKIPPED: there is no %s; run with INSTALL=1 to install %s\n' "$program" "$*" >&2
        return 1
    fi
    local root=()
    if ((EUID)); then root=(sudo); fi
    if ! "${root[@]}" apt-get install -qy --no-install-recommends "$@" >&2; then
        printf 'SKIPPED: apt-get cannot install %s here\n' "$*" >&2
        return 1
    fi
}

if ! have cc gcc libc6-dev; then exit 0; fi
if [[ -z ${ITERA_BIN:-} ]]; then
    cargo build --locked --release --quiet -p itera-export
    ITERA_BIN=${CARGO_TARGET_DIR:-target}/release
fi

# reference PRECISION TOKENS DRAWN: what every machine must print; its digest of logits is the native engine's.
reference() {
    local name=$folder/$1.$2.$3
    if ! [[ -e $name ]]; then
        cc "${FLAGS[@]}" -O2 "-I$folder/$1" "-DTOKENS=$2" "-DDRAWN=$3" "$CHECK" -o "$name.elf"
        "$name.elf" >"$name"
        local digest
        digest=$(sed -n "s/#define MODEL_DIGEST_$2 UINT64_C(\(.*\))/\1/p" "$folder/$1/model.h")
        if [[ $(head -n 1 "$name") != "logits $digest" ]]; then
            printf 'FAILED: %s: the native engine has the digest %s, C has %s\n' "$1" "$digest" "$(head -n 1 "$name")" >&2
            exit 1
        fi
    fi
    printf '%s\n' "$name"
}

# compare PRECISION WHERE TOKENS DRAWN COMMAND...: whether a command prints what it must.
compare() {
    local precision=$1 where=$2 expected
    expected=$(reference "$precision" "$3" "$4")
    if timeout 1800 "${@:5}" </dev/null | diff "$expected" - >&2; then
        printf 'equal: %s, %s, %s tokens\n' "$precision" "$where" "$3"
        equal+=("$precision|$where|$3")
    else
        printf 'FAILED: %s, %s differs from the native engine\n' "$precision" "$where" >&2
        status=1
    fi
}

# on_host PRECISION WHERE RUNNER -- COMPILER OPTION...: compiles the check and runs it for 10,000 tokens.
on_host() {
    local precision=$1 where=$2 runner=()
    shift 2
    while [[ $1 != -- ]]; do
        runner+=("$1")
        shift
    done
    "${@:2}" "${FLAGS[@]}" "-I$folder/$precision" -DTOKENS=10000 -DDRAWN=500 "$CHECK" \
        -o "$folder/check"
    compare "$precision" "$where" 10000 500 "${runner[@]}" "$folder/check"
}

# emulate MACHINE PROGRAM: runs a program for a controller.
emulate() {
    qemu-system-arm -M "$1" -icount shift=0 -display none -monitor none -serial none -chardev stdio,id=console \
        -semihosting-config enable=on,target=native,chardev=console -kernel "$2"
}
export -f emulate

# on_controller PRECISION CORE MACHINE TOKENS: checks a controller, and lets it write a story.
on_controller() {
    local precision=$1 core=$2 machine=$3 tokens=$4
    examples/cortex-m/build.sh "$folder/$precision" "$core" "$CHECK" "$folder/check.elf" -DWHOLE \
        "-DTOKENS=$tokens" -DDRAWN=20
    compare "$precision" "$core under qemu -M $machine" "$tokens" 20 bash -c 'emulate "$@"' - "$machine" \
        "$folder/check.elf"
    examples/cortex-m/build.sh "$folder/$precision" "$core" examples/cortex-m/story.c "$folder/story.elf" \
        "-DTOKENS=$STORY"
    emulate "$machine" "$folder/story.elf" </dev/null | tee "$folder/story"
    local step draw
    step=$(sed -n 's/^instructions per step //p' "$folder/story")
    draw=$(sed -n 's/^instructions per draw //p' "$folder/story")
    instructions+=("$precision,$core,$step,$draw")
}

# sizes PRECISION: flash and RAM against their limits.
sizes() {
    local header=$folder/$1/model.h file weights flash state scratch limit
    file=$(awk '$1 == "checkpoint" { print $3 }' "$folder/$1/table")
    weights=$(awk '$1 == "weights" { print $3 }' "$folder/$1/table")
    state=$(sed -n 's/#define MODEL_STATE_BYTES //p' "$header")
    scratch=$(sed -n 's/#define MODEL_SCRATCH_BYTES //p' "$header")
    limit=$((weights * FLASH_PERCENT / 100))
    # With all functions, also those that a program may leave out.
    arm-none-eabi-gcc -mthumb -mcpu=cortex-m4 -mfloat-abi=hard -mfpu=fpv4-sp-d16 -O2 "${FLAGS[@]}" \
        -c "$folder/$1/model.c" -o "$folder/model.o"
    flash=$(arm-none-eabi-size "$folder/model.o" | awk 'NR == 2 { print $1 + $2 }')
    printf '%s: %s bytes of flash (weights %s, limit %s, packed file %s), %s of RAM (state %s, scratch %s, limit %s)\n' \
        "$1" "$flash" "$weights" "$limit" "$file" $((state + scratch)) "$state" "$scratch" "$RAM_BYTES"
    if ((flash > limit || state + scratch > RAM_BYTES)); then
        printf 'FAILED: %s does not keep these limits\n' "$1" >&2
        status=1
    fi
    bytes+=("$1,$file,$weights,$flash,$limit,$state,$scratch")
}

equal=() instructions=() bytes=()
has_clang=1 has_arm=1 has_aarch64=1
have clang clang libclang-rt-dev || has_clang=
have arm-none-eabi-gcc gcc-arm-none-eabi libnewlib-arm-none-eabi && have qemu-system-arm qemu-system-arm || has_arm=
have aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu libc6-dev-arm64-cross && have qemu-aarch64 qemu-user || has_aarch64=

for precision in int4 int8; do
    mkdir "$folder/$precision"
    "$ITERA_BIN/itera-export" c --checkpoint "$CHECKPOINT" --precision "$precision" --name model \
        --output "$folder/$precision" >"$folder/$precision/table"
    on_host "$precision" "$(uname -m), gcc -O2" -- cc -O2
    # Neither fused operations where the processor has them, nor vectors, nor undefined behaviour.
    if [[ $(uname -m) == x86_64 ]] && grep -qw avx2 /proc/cpuinfo; then
        on_host "$precision" "x86_64 with FMA, gcc -O3" -- cc -O3 -march=haswell
    fi
    on_host "$precision" "$(uname -m), gcc with ASan and UBSan" -- \
        cc -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
    if [[ $has_clang ]]; then
        on_host "$precision" "$(uname -m), clang -O2" -- clang -O2
        if printf 'int main(void) { return 0; }' |
            clang -x c - -fsanitize=address,undefined -o "$folder/empty" 2>/dev/null; then
            on_host "$precision" "$(uname -m), clang with ASan and UBSan" -- \
                clang -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
        else
            printf 'SKIPPED: clang has no sanitizers here; libclang-rt-dev has them\n' >&2
        fi
    fi
    if [[ $has_aarch64 ]]; then
        on_host "$precision" "aarch64 under qemu, gcc -O2" qemu-aarch64 -L /usr/aarch64-linux-gnu -- \
            aarch64-linux-gnu-gcc -O2
    fi
    if [[ $has_arm ]]; then
        sizes "$precision"
        on_controller "$precision" cortex-m4 mps2-an386 "$M4_TOKENS"
        # The emulator has no M0+; an M3 runs the same instructions.
        on_controller "$precision" cortex-m0plus mps2-an385 100
    fi
done

if [[ -n ${OUTPUT:-} && -z $has_arm ]]; then
    printf 'SKIPPED: %s is not written, since it is about controllers\n' "$OUTPUT" >&2
elif [[ -n ${OUTPUT:-} && $status == 0 ]]; then
    printf '%s\n' "${equal[@]}" >"$folder/equal"
    printf '%s\n' "${instructions[@]}" >"$folder/instructions"
    printf '%s\n' "${bytes[@]}" >"$folder/bytes"
    python3 - "$folder" "$CHECKPOINT" "$CYCLES" "$OUTPUT" "$M4_TOKENS" <<'PYTHON'
import json, pathlib, re, subprocess, sys

sys.path.insert(0, "scripts")
from provenance import provenance

folder, model, cycles, output, m4_tokens = pathlib.Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), *sys.argv[4:]


def lines(name):
    return [line for line in (folder / name).read_text().splitlines() if line]


def first(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]


# Board, the core whose instructions are counted, clock in MHz.
BOARDS = [
    ("nRF52840", "cortex-m4", 64),
    ("ESP32-S3", "cortex-m4", 240),
    ("RP2040", "cortex-m0plus", 133),
]
precisions = []
for line in lines("bytes"):
    precision, file, weights, flash, limit, state, scratch = line.split(",")
    about = (folder / precision / "model.h").read_text()
    cores, boards = [], []
    for counted in lines("instructions"):
        of, core, step, draw = counted.split(",")
        if of != precision:
            continue
        cores.append({"core": core, "instructions_per_step": int(step), "instructions_per_draw": int(draw)})
        for board, like, mhz in BOARDS:
            if like == core:
                tokens = mhz * 1e6 / ((int(step) + int(draw)) * cycles)
                boards.append(
                    {"board": board, "clock_mhz": mhz, "instructions_of": core, "tokens_per_s": round(tokens, 1)}
                )
    precisions.append({
        "precision": precision,
        "checkpoint_sha256": re.search(r"SHA-256 of the checkpoint: ([0-9a-f]{64})", about)[1],
        "file_bytes": int(file),
        "weight_bytes": int(weights),
        "flash_bytes": int(flash),
        "flash_limit_bytes": int(limit),
        "state_bytes": int(state),
        "scratch_bytes": int(scratch),
        "ram_bytes": int(state) + int(scratch),
        "cores": cores,
        "projections": boards,
    })
record = {
    "schema": "itera.c-export/1",
    **provenance(),
    "command": f"OUTPUT={output} M4_TOKENS={m4_tokens} scripts/check-c.sh {model}",
    "commit": first("git", "rev-parse", "HEAD"),
    "compilers": {name: first(name, "--version") for name in ("cc", "arm-none-eabi-gcc", "qemu-system-arm")},
    "model": model,
    "method": "Instructions are counted by SysTick under qemu-system-arm -icount shift=0: the mean over a story of which "
    "each token is read and the next drawn (temperature 0.8, top-k 40). Tokens per second are projected: the clock over "
    f"{cycles} cycles for an instruction times the instructions of a step and a draw. ESP32-S3, of another architecture, "
    "is taken to need as many as Cortex-M4.",
    "cycles_per_instruction": cycles,
    "equal": [
        {"precision": precision, "where": where, "tokens": int(tokens)}
        for precision, where, tokens in (line.split("|") for line in lines("equal"))
    ],
    "precisions": precisions,
}
pathlib.Path(output).write_text(json.dumps(record, indent=2) + "\n")
PYTHON
    printf 'wrote %s\n' "$OUTPUT" >&2
fi
exit "$status"
