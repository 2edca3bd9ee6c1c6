#!/usr/bin/env bash
# Asks itera-serve by lm-evaluation-harness (`lm_eval --model local-completions`), with tokens and with texts as prompts, one
# at a time and several: the likelihoods of texts must be those of itera-validate, and the right choices must be found.
#
#   scripts/serve-lm-eval.sh [SERVER [VALIDATE]]
#
# Needs python3 with venv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/serving.sh

find_server "${@:1:1}"
validate=${2:-}
if [[ -z $validate ]]; then
    cargo build --locked --release -p itera-validate
    validate=$target/release/itera-validate
fi
tools=$HOME/.cache/itera-lite/venv-lm-eval
[[ -x $tools/bin/python ]] || python3 -m venv "$tools"
"$tools/bin/pip" install -q 'lm_eval>=0.4.9' aiohttp requests tenacity tqdm

start_server
export URL=$url HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 HF_HOME=$work/hf
cat > "$work/texts.jsonl" <<'JSON'
{"text": "Tim had a red ball. He was happy.\n\nThen it rolled away, and he ran after it."}
{"text": "Sue saw a big dog. The dog ran away."}
{"text": "“Été,” said the cat. It was cold."}
JSON
cat > "$work/choices.jsonl" <<'JSON'
{"query": "Once upon a", "choices": [" time", " carburettor"], "label": 0}
{"query": "The little girl was very", "choices": [" isotope", " happy"], "label": 1}
JSON
cat > "$work/texts.yaml" <<YAML
task: texts
dataset_path: json
dataset_kwargs: {data_files: {test: $work/texts.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: bits_per_byte}]
YAML
cat > "$work/choices.yaml" <<YAML
task: choices
dataset_path: json
dataset_kwargs: {data_files: {test: $work/choices.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{query}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{label}}"
metric_list: [{metric: acc}]
YAML
"$validate" --checkpoint micro-tinystories --precision fp32 --dataset "$work/texts.jsonl" --no-baselines --json \
    > "$work/own.json" 2>/dev/null
"$tools/bin/python" - <<'PYTHON'
import json
import os
import pathlib

from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

work = pathlib.Path(os.environ["work"])
own = json.loads((work / "own.json").read_text())["rows"][0]["bits_per_byte"]
tasks = TaskManager(include_path=str(work), include_defaults=False)
for tokenized, batch in [(True, 1), (True, 4), (False, 1), (False, 4)]:
    arguments = f"model=fp32,base_url={os.environ['URL']}/v1/completions,tokenized_requests={tokenized}"
    found = simple_evaluate(
        "local-completions", model_args=arguments, batch_size=batch, tasks=["texts", "choices"],
        task_manager=tasks, bootstrap_iters=0,
    )["results"]
    bits = found["texts"]["bits_per_byte,none"]
    assert abs(bits - own) < 1e-6, (tokenized, batch, bits, own)
    assert found["choices"]["acc,none"] == 1.0, found
    print(f"ok      tokenized_requests={tokenized}, batches of {batch}: {bits:.7f} bits/byte, native {own:.7f}")
PYTHON
