#!/usr/bin/env bash
# Builds a program for a Cortex-M with a model that `itera-export c --name model` wrote.
#
#   examples/cortex-m/build.sh FOLDER CORE PROGRAM.c OUTPUT.elf [OPTION...]
#
#   FOLDER    has model.h and model.c
#   CORE      cortex-m0plus, cortex-m3 (floats in software) or cortex-m4 (with its FPU)
#   PROGRAM   story.c, for example; one that includes model.c itself is compiled with -DSEMIHOSTING -DWHOLE
#   OPTION    given to the compiler, such as -DTOKENS=20
#
# Run it with
#
#   qemu-system-arm -M mps2-an386 -icount shift=0 -display none -semihosting-config enable=on,target=native \
#       -kernel OUTPUT.elf
#
# (mps2-an385 for other cores than the M4).
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")

folder=$1 core=$2 program=$3 output=$4
shift 4
options=(-mthumb "-mcpu=$core")
if [[ $core == cortex-m4 ]]; then options+=(-mfloat-abi=hard -mfpu=fpv4-sp-d16); fi
sources=("$program" "$here/start.c")
if [[ " $* " != *" -DWHOLE "* ]]; then sources+=("$folder/model.c"); fi
arm-none-eabi-gcc "${options[@]}" -std=c99 -O2 -ffp-contract=off -ffunction-sections -fdata-sections \
    -Wall -Wextra -Werror -pedantic -DSEMIHOSTING "-I$folder" "-I$here" "$@" "${sources[@]}" \
    -nostartfiles --specs=nano.specs -T "$here/cortex-m.ld" -Wl,--gc-sections -o "$output"
