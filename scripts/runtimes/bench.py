#!/usr/bin/env python3
"""Times llama.cpp and transformers, in turns, on the tokens of `itera-export bench`.

    bench.py [--checkpoint NAME] [--seq-len 128] [--samples 50] [--threads 1] [--output results/runtimes.json]

Each sample reads the tokens from a fresh state and makes the logits after every token, as the other runtimes of the
bench do. A `bench` after it adds the rows where checkpoint, tokens and threads are the same. One token at a time is
timed too, which is what writing a text takes. Exit status 0 done, 1 the logits differ, 2 could not run.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import engines
from check import LOGITS, largest_difference

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from provenance import provenance  # noqa: E402  (beside the folder of this script)

WARM_UP = 5
# Precisions of files for llama.cpp, and their names in the record.
PRECISIONS = {"f32": "fp32", "f16": "fp16", "int8": "int8", "int4": "int4"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--checkpoint", default="micro-tinystories")
    parser.add_argument("--seq-len", type=int, default=128)
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=engines.ROOT / "results" / "runtimes.json")
    return parser.parse_args()


def cases(args, folder):
    """Name of the precision, bytes of the file and runtime of each case."""
    for name, precision in PRECISIONS.items():
        path = folder / f"{name}.gguf"
        engines.itera(
            "itera-export", "gguf", "--checkpoint", args.checkpoint, "--precision", name, "--output", path
        )
        yield precision, path.stat().st_size, engines.LlamaCpp(path, args.seq_len + 1, args.threads)
    path = folder / "hf"
    engines.itera("itera-export", "hf", "--checkpoint", args.checkpoint, "--output", path)
    size = (path / "model.safetensors").stat().st_size
    yield "fp32", size, engines.Transformers(path, args.seq_len, args.threads)


def seconds(run):
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def one_by_one(engine, tokens):
    engine.start()
    for token in tokens:
        engine.feed([token])


def main():
    args = arguments()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        native = engines.native(args.checkpoint, args.seq_len, folder)
        tokens = native["tokens"]
        measured = []
        for precision, size, engine in cases(args, folder):
            difference = largest_difference(native["logits"], engines.at_once(engine, tokens))
            if precision == "fp32" and difference > LOGITS:
                print(f"FAILED: {engine.name} differs by {difference:.1e}, expected at most {LOGITS:.0e}")
                return 1
            row = {"runtime": engine.name, "version": engine.version, "precision": precision}
            row |= {"file_bytes": size, "sample_seconds": [], "decode_seconds": []}
            measured.append((engine, row))
        for turn in range(WARM_UP + args.samples):
            for engine, row in measured:
                engines.at_once(engine, tokens)
                at_once = seconds(lambda: engines.at_once(engine, tokens))
                decode = seconds(lambda: one_by_one(engine, tokens))
                if turn >= WARM_UP:
                    row["sample_seconds"].append(at_once)
                    row["decode_seconds"].append(decode)
    result = {
        "schema": "itera.runtimes/1",
        **provenance(),
        "checkpoint": native["checkpoint"],
        "checkpoint_sha256": native["checkpoint_sha256"],
        "seq_len": args.seq_len,
        "threads": args.threads,
        "rows": [row for _, row in measured],
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    part = args.output.with_suffix(".part")
    part.write_text(json.dumps(result, indent=2) + "\n")
    part.replace(args.output)
    for row in result["rows"]:
        middle = {key: sorted(row[key])[args.samples // 2] for key in ("sample_seconds", "decode_seconds")}
        print(
            f"{row['runtime']} {row['precision']}: {args.seq_len / middle['sample_seconds']:.0f} tokens/s read, "
            f"{args.seq_len / middle['decode_seconds']:.0f} tokens/s one by one"
        )
    print(f"wrote {args.output}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
