import json
import math
import os
import subprocess
import threading
import time

import pytest

from itera_lite import Model, Score, State, bits_per_byte, models

TEXTS = ["Once upon a time there was a cat.", "", "Été: 🦀 !", "qwertz uiop\n\n", "one " * 3000]


@pytest.fixture(scope="module")
def model():
    return Model.load("nano-tinystories", "int8")


def test_models_are_inside():
    assert {"micro-tinystories", "nano-tinystories", "micro-wikitext2"} <= set(models())
    for name in models():
        assert Model.load(name).name == name


def test_precisions_have_weights_of_their_own():
    texts = TEXTS[:1]
    nats = [Model.load("micro-tinystories", precision).score(texts)[0].nats for precision in ("fp32", "int8", "int4")]
    assert len(set(nats)) == 3 and max(nats) - min(nats) < 0.1 * nats[0]


def test_a_score_is_one_of_the_text_alone(model):
    together = model.score(TEXTS)
    assert together == [model.score([text])[0] for text in TEXTS]
    assert together[1] == Score(0.0, 0, 0) and math.isnan(bits_per_byte(0.0, 0))
    assert [score.bytes for score in together] == [len(text.encode()) for text in TEXTS]
    assert model.score([b"\xff\xfe raw"])[0].bytes == 6
    assert model.score(iter([])) == []


def test_scores_are_those_of_the_program(model, tmp_path):
    program = os.environ.get("ITERA_VALIDATE")
    if not program:
        pytest.skip("ITERA_VALIDATE names no program")
    lines = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS * 50)
    (tmp_path / "in.jsonl").write_text(lines)
    command = [program, "score", "in.jsonl", "--checkpoint", "nano-tinystories", "--precision", "int8"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    rows = [json.loads(row) for row in done.stdout.splitlines()]
    assert [row["nll_nats"] for row in rows] == [score.nats for score in model.score(TEXTS * 50)]


def test_arrays_are_the_same(model):
    numpy = pytest.importorskip("numpy")
    arrays = model.score_arrays(TEXTS)
    scores = model.score(TEXTS)
    assert arrays["nats"].tolist() == [score.nats for score in scores]
    assert arrays["tokens"].dtype == numpy.uint64
    assert arrays["tokens"].tolist() == [score.tokens for score in scores]
    pyarrow = pytest.importorskip("pyarrow")
    assert pyarrow.table(arrays).num_rows == len(TEXTS)


def test_tokens_join_to_the_text_and_their_scores_to_its_score(model):
    for text in TEXTS:
        tokens = model.token_scores(text)
        assert b"".join(token.text for token in tokens) == text.encode()
        assert [token.token for token in tokens] == model.tokenize(text)
        assert model.detokenize(model.tokenize(text)) == text.encode()
        total = 0.0
        for token in tokens:
            total += token.nats
        assert total == model.score([text])[0].nats
        assert all(1 <= token.rank <= model.vocab_size for token in tokens)
    ids = model.tokenize(TEXTS[0])
    assert model.scores_of_tokens(ids[5:], context=ids[:5]) == model.token_scores(TEXTS[0])[5:]
    with pytest.raises(ValueError, match="outside the vocabulary"):
        model.scores_of_tokens([model.vocab_size])


def test_equal_seeds_write_equal_texts_and_a_state_is_what_was_read(model):
    text = "".join(model.generate("Once upon a time", max_tokens=40, seed=3))
    assert text and text == "".join(model.generate("Once upon a time", max_tokens=40, seed=3))
    assert text != "".join(model.generate("Once upon a time", max_tokens=40, seed=4))
    state = model.state("Once upon")
    state.read(" a time")
    before = state.save()
    assert "".join(model.generate(state, max_tokens=40, seed=3)) == text
    assert state.save() == before, "generating leaves the state as it was"
    restored = model.restore(before)
    assert isinstance(restored, State)
    assert "".join(model.generate(restored, max_tokens=40, seed=3)) == text
    greedy = list(model.generate("Once", max_tokens=10, temperature=0))
    assert greedy == list(model.generate("Once", max_tokens=10, temperature=0, seed=9))


def test_what_is_wrong_is_a_value_error(model):
    with pytest.raises(ValueError, match="no-such"):
        Model.load("no-such-model")
    with pytest.raises(ValueError, match="int5"):
        Model.load("nano-tinystories", "int5")
    with pytest.raises(ValueError, match="temperature"):
        list(model.generate("a", temperature=-1))
    saved = model.state("a").save()
    for broken in (b"", saved[:-1], saved + b"0123", b"x" + saved):
        with pytest.raises(ValueError, match="no state of this model"):
            model.restore(broken)
    with pytest.raises(ValueError, match="no state of this model"):
        Model.load("micro-tinystories").restore(saved)
    with pytest.raises(TypeError):
        model.score([None])


def test_other_threads_run_meanwhile(model):
    ticks, done = [], threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.monotonic())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    began = time.monotonic()
    model.score(TEXTS[-1:] * 20)
    ended = time.monotonic()
    done.set()
    thread.join()
    assert sum(began < at < ended for at in ticks) > 5
