#!/usr/bin/env python3
"""Holds lm-evaluation-harness, which reads the folder of transformers, against `itera-validate`.

    harness.py CHECKPOINT

The task is the sample text: likelihoods of whole stories. Needs the package lm_eval. Exit status 0 the bits per byte
agree, 1 they differ, 2 could not run.
"""

import json
import sys
import tempfile
from pathlib import Path

import lm_eval
from lm_eval.tasks import TaskManager

import engines
from check import BITS

STORIES = 20
SEPARATOR = "\n<|endoftext|>\n"
SAMPLE = engines.ROOT / "data" / "samples" / "tinystories-sample.txt"
TASK = """
task: itera_stories
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list:
  - metric: bits_per_byte
"""


def main(checkpoint):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        stories = [story.strip() for story in SAMPLE.read_text().split("<|endoftext|>")]
        stories = [story for story in stories if story][:STORIES]
        data = folder / "stories.jsonl"
        data.write_text("".join(json.dumps({"text": story}) + "\n" for story in stories))
        (folder / "stories.txt").write_text(SEPARATOR.join(stories) + "\n")
        (folder / "task.yaml").write_text(TASK.format(data=data))
        engines.itera("itera-export", "hf", "--checkpoint", checkpoint, "--output", folder / "hf")
        result = lm_eval.simple_evaluate(
            # The harness puts end-of-text in front itself; that of the tokenizer would be a second one.
            model="hf", model_args=f"pretrained={folder / 'hf'},add_bos_token=False",
            tasks=["itera_stories"], device="cpu",
            task_manager=TaskManager(include_path=str(folder)), bootstrap_iters=0,
        )
        theirs = result["results"]["itera_stories"]["bits_per_byte,none"]
        record = folder / "validation.json"
        engines.itera(
            "itera-validate", "--checkpoint", checkpoint, "--dataset", folder / "stories.txt",
            "--precision", "fp32", "--output", record,
        )
        ours = json.loads(record.read_text())["rows"][0]["bits_per_byte"]
    agree = abs(ours - theirs) <= BITS
    print(f"{'ok    ' if agree else 'FAILED'}  lm_eval: bits/byte of {len(stories)} stories  "
          f"{theirs:.5f}, native {ours:.5f}")
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
