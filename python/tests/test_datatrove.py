"""Steps in the real pipeline, on its local executor."""

import json

import pytest

pytest.importorskip("datatrove")


def test_a_filter_keeps_what_the_model_knows(tmp_path):
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter

    from itera_lite import Model, bits_per_byte
    from itera_lite.datatrove import IteraPerplexityFilter

    stories = ["Once upon a time there was a little girl. She was happy."] * 3
    noise = ["xkcd 7781 %% lorem zzz", ""]
    (tmp_path / "in").mkdir()
    rows = "".join(json.dumps({"text": text, "id": str(at)}) + "\n" for at, text in enumerate(stories + noise))
    (tmp_path / "in" / "a.jsonl").write_text(rows)
    LocalPipelineExecutor(
        pipeline=[
            JsonlReader(str(tmp_path / "in")),
            IteraPerplexityFilter(maximum=2.0, model="nano-tinystories"),
            JsonlWriter(str(tmp_path / "out"), compression=None),
        ],
        tasks=1,
        logging_dir=str(tmp_path / "logs"),
    ).run()
    kept = [json.loads(line) for line in (tmp_path / "out" / "00000.jsonl").read_text().splitlines()]
    assert [row["text"] for row in kept] == stories
    [score] = Model.load("nano-tinystories").score(stories[:1])
    assert kept[0]["metadata"]["itera_bits_per_byte"] == bits_per_byte(score.nats, score.bytes)


def test_statistics_are_of_bits_per_byte(tmp_path):
    pytest.importorskip("tldextract")
    from datatrove.data import Document

    from itera_lite.datatrove import IteraStats

    step = IteraStats(str(tmp_path), model="nano-tinystories", groups_to_compute=["summary"])
    documents = [Document(text=text, id=str(at)) for at, text in enumerate(["Tim ran.", "Sue ran.", ""])]
    list(step.run(iter(documents)))
    found = json.loads((tmp_path / "summary" / "itera_bits_per_byte" / "00000.json").read_text())
    assert found["summary"]["n"] == 2
