"""The real harness on a task file of ours finds our figures."""

import json
import math

import pytest

from itera_lite import Model

pytest.importorskip("lm_eval")

STORIES = ["Tim had a red ball.\nHe was happy.", "Sue saw a big dog. The dog ran away."]

TASK = """task: stories
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list:
  - metric: bits_per_byte
"""

CHOICES = """task: choices
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{query}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{label}}}}"
metric_list:
  - metric: acc
"""


@pytest.fixture
def evaluate(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    from itera_lite.lm_eval import IteraLM

    def run(task, rows):
        data = tmp_path / "data.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tmp_path / "task.yaml").write_text(task.format(data=data))
        name = task.split()[1]
        manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
        lm = IteraLM(model="nano-tinystories", precision="int8")
        return simple_evaluate(lm, tasks=[name], task_manager=manager, bootstrap_iters=0)["results"][name]

    return run


def test_bits_per_byte_are_ours(evaluate):
    found = evaluate(TASK, [{"text": text} for text in STORIES])
    scores = Model.load("nano-tinystories", "int8").score(STORIES)
    bits = sum(score.nats for score in scores) / math.log(2) / sum(score.bytes for score in scores)
    assert abs(found["bits_per_byte,none"] - bits) < 1e-9


def test_the_likelier_choice_is_chosen(evaluate):
    rows = [
        {"query": "Once upon a", "choices": [" time", " xylophone"], "label": 0},
        {"query": "Tim was very", "choices": [" qqqq", " happy"], "label": 1},
    ]
    assert evaluate(CHOICES, rows)["acc,none"] == 1.0


def test_text_is_written_until_its_end():
    from lm_eval.api.instance import Instance

    from itera_lite.lm_eval import IteraLM

    lm = IteraLM(model="nano-tinystories", precision="int8")
    request = Instance("generate_until", {}, ("Once upon a time", {"until": ["."], "max_gen_toks": 60}), 0)
    [text] = lm.generate_until([request])
    assert text and "." not in text
