"""What the tests of Ray and Spark share: a job slow enough to be killed in the middle."""

import importlib
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
from pyarrow import parquet

from lenet_cpp import BadInput, BatchPredictor
from lenet_cpp.bulk.parts import predict_all
from lenet_cpp.cli import main
from lenet_cpp.data.mnist import read_idx

ROWS, PARTS = 2000, 50
OPTIONS = {"keep": ["id"], "outputs": ["class_id", "logits"], "part_rows": ROWS // PARTS}


class Slow(BatchPredictor):
    """Writes down where it computed how many rows: the node of Ray, or the executor's folder."""

    def __init__(self, seen, **arguments):
        super().__init__(**arguments)
        self._seen = Path(seen)

    def columns(self, images, *, names=None):
        time.sleep(0.2)
        place = Path.cwd().name
        if "ray" in sys.modules and sys.modules["ray"].is_initialized():
            place = sys.modules["ray"].get_runtime_context().get_node_id()
        results = super().columns(images, names=names)
        with (self._seen / place).open("a") as file:
            file.write("." * len(images))
        return results


def by_value(cloudpickle):
    """Let the workers do without this module."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])


def rows_by_place(seen):
    """Return how many rows each node or executor computed."""
    return {path.name: path.stat().st_size for path in seen.iterdir()}


def batches_in(seen):
    """Return what counts the batches of 40 rows that are computed."""
    return lambda: sum(rows_by_place(seen).values()) // 40


def write_table(folder, root, bad=None):
    """Write a .parquet of 2,000 digits."""
    images = read_idx(root / "data/mnist_sample/train-images-idx3-ubyte.gz")[:ROWS]
    pixels = [row.tobytes() for row in images]
    if bad is not None:
        pixels[bad] = b"?"
    table = pa.table({"id": np.arange(ROWS), "image": pixels})
    parquet.write_table(table, folder / "in.parquet", row_group_size=ROWS // PARTS)
    return folder / "in.parquet"


def logits(path):
    """Return [N, 10], in the order of ``id``, of which there must be each once."""
    table = parquet.read_table(path).sort_by("id")
    assert table["id"].to_pylist() == list(range(ROWS))
    return np.array(table["logits"].to_pylist(), np.float32)


def one_process(path, folder):
    """Return the logits that one process gives."""
    predict_all(BatchPredictor(), [path], folder / "one.parquet", workers=1, **OPTIONS)
    return logits(folder / "one.parquet")


def parts_of(target):
    """Return what counts the parts that are written."""
    folder = target.with_name(f"{target.name}.parts")
    return lambda: len(list(folder.glob("part-*")))


def in_the_middle(count, kill):
    """Call ``kill`` once ``count()`` is 5 or more; return what waits for that.

    That gives what ``count()`` was just after.
    """
    seen = []

    def work():
        while count() < 5:
            time.sleep(0.01)
        kill()
        seen.append(count())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()

    def finish():
        thread.join(10)
        return seen[0]

    return finish


def kill_one(word):
    """Kill a process whose command has this word."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if word in " ".join(process.cmdline()):
                process.kill()
                return
    raise AssertionError(f"no process of {word}")


def drive(on, path, target, seen):
    """Predict on a cluster; this is what a killed driver does."""
    package = "ray" if on.startswith("ray") else "pyspark"
    by_value(importlib.import_module(f"{package}.cloudpickle"))
    total = predict_all(Slow(seen), [Path(path)], Path(target), on=on, **OPTIONS)
    print("resumed", total.resumed)


def check_command(table, folder, *on):
    """The command gives the logits of one process."""
    target = folder / "out.parquet"
    options = ("--keep=id", "--logits", "--part-rows=400", "--output", str(target))
    assert main(["predict-many", "--bundled", str(table), *options, *on]) == 0
    assert np.array_equal(logits(target), one_process(table, folder))


def check_job(on, table, seen, kill=None):
    """A job ends well, also when ``kill`` ends something in it; return the rows by place."""
    target = table.with_name("out.parquet")
    finish = None if kill is None else in_the_middle(parts_of(target), kill)
    total = predict_all(Slow(seen), [table], target, on=on, **OPTIONS)
    if finish is not None:
        assert 5 <= finish() < PARTS
    assert (total.rows, total.skipped, total.resumed) == (ROWS, 0, 0)
    assert np.array_equal(logits(target), one_process(table, table.parent))
    computed = rows_by_place(seen)
    assert sum(computed.values()) >= ROWS
    return computed


def check_driver(on, path, seen):
    """Kill a driver in the middle, and let another one finish."""
    target = path.with_name("out.parquet")
    code = f"import cluster_cases; cluster_cases.drive({on!r}, {str(path)!r}, {str(target)!r}, "
    command = [sys.executable, "-c", f"{code}{str(seen)!r})"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(command, env=environment) as driver:
        finish = in_the_middle(parts_of(target), driver.kill)
        driver.wait(300)
        assert 5 <= finish() < PARTS
    assert driver.returncode == -9
    assert not target.exists()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout.rpartition("resumed")[2]) < ROWS
    assert np.array_equal(logits(target), one_process(path, path.parent))


def check_bad_row(on, folder, root):
    """A bad row stops the job with its name, or is recorded; return the table."""
    table, target = write_table(folder, root, bad=1234), folder / "out.parquet"
    with pytest.raises(BadInput, match=r"in.parquet\[1234\]"):
        predict_all(BatchPredictor(), [table], target, on=on, **OPTIONS)
    total = predict_all(BatchPredictor(), [table], target, on=on, skip_errors=True, **OPTIONS)
    assert (total.rows, total.skipped) == (ROWS, 1)
    found = parquet.read_table(target).to_pylist()
    assert [row["id"] for row in found] == list(range(ROWS))
    assert [row["row"] for row in found if row["error"]] == [1234]
    return table
