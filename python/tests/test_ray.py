"""The example on a local Ray of two workers."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray")

EXAMPLE = Path(__file__).parents[2] / "examples" / "ray_score.py"


def test_rows_get_the_scores_of_one_process(tmp_path):
    import pyarrow
    import pyarrow.parquet as parquet

    from itera_lite import Model

    texts = [f"Tim had {number} cats. They ran." for number in range(500)]
    (tmp_path / "in").mkdir()
    for at in range(2):
        table = pyarrow.table({"key": range(at, 500, 2), "text": texts[at::2]})
        parquet.write_table(table, tmp_path / "in" / f"{at}.parquet")
    arguments = [str(EXAMPLE), str(tmp_path / "in"), "--output", str(tmp_path / "out"), "--model", "nano-tinystories"]
    # Two workers and the tasks that read need four cores in Ray's books, whatever the machine has.
    code = f"import ray, runpy, sys; sys.argv = {arguments!r}; ray.init(num_cpus=4); runpy.run_path(sys.argv[0], run_name='__main__')"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    rows = parquet.read_table(tmp_path / "out").to_pylist()
    found = {row["key"]: (row["nats"], row["bytes"], row["tokens"]) for row in rows}
    expected = Model.load("nano-tinystories").score(texts)
    assert found == {key: tuple(score) for key, score in enumerate(expected)}
