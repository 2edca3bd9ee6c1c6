#!/usr/bin/env bash
# How much memory `itera-train fit` takes for each byte of its text, at its peak.
#
# Trains one step on a small and on a large made-up text of stories and compares the peaks of resident
# memory: the difference is what the text costs. Exit status 1 if that is more than 1.3 bytes a byte.
#
#   ITERA_TRAIN       the program [default: `cargo run --release -p itera-train`'s]
#   CARGO_TARGET_DIR  where to build [default: target]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ -z ${ITERA_TRAIN:-} ]]; then
    cargo build --locked --release -p itera-train
    ITERA_TRAIN=${CARGO_TARGET_DIR:-target}/release/itera-train
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 - "$ITERA_TRAIN" "$folder" <<'PYTHON'
import json, os, random, subprocess, sys

SMALL, LARGE, MOST = 50_000_000, 250_000_000, 1.3
program, folder = sys.argv[1:]

draw = random.Random(0)
letters = "etaoinshrdlucmfwypvbgk"
words = ["".join(draw.choices(letters, range(22, 0, -1), k=draw.randint(1, 9))) for _ in range(5000)]
chosen = range(5000, 0, -1)


def story():
    return " ".join(draw.choices(words, chosen, k=draw.randint(60, 260))) + ".\n<|endoftext|>\n"


def peak(size):
    """The size of a text of at least `size` bytes, and the bytes of resident memory at the peak of a run over it: the least of
    three, since the allocator keeps pages for a while, now more, now fewer."""
    path = os.path.join(folder, f"{size}.txt")
    stories = "".join(story() for _ in range(4000))
    with open(path, "w") as file:
        while file.tell() < size:
            file.write(stories)
    length = os.path.getsize(path)
    command = [program, "fit", "--dataset", path, "--preset", "test", "--vocab-size", "2048"]
    command += ["--steps", "1", "--batch", "2", "--length", "32", "--evaluate-every", "0", "--quiet"]
    command += ["--output", os.path.join(folder, f"{size}.safetensors")]
    return length, min(peak_of(command) for _ in range(3))


def peak_of(command):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(2)
    return usage.ru_maxrss * 1024


(small, base), (large, most) = peak(SMALL), peak(LARGE)
share = (most - base) / (large - small)
print(json.dumps({"text_bytes": [small, large], "peak_bytes": [base, most], "bytes_per_byte": round(share, 3)}))
sys.exit(0 if share <= MOST else 1)
PYTHON
