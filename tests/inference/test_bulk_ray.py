"""lenet-cpp predict --on ray, with real nodes on this machine."""

import threading
import time

import numpy as np
import psutil
import pyarrow as pa
import pytest
from pyarrow import parquet

from lenet_cpp import BadInput, BatchPredictor, predict
from lenet_cpp.cli import main
from lenet_cpp.data.mnist import read_idx
from lenet_cpp.inference.bulk import predict_all

ray = pytest.importorskip(
    "ray", reason="pip install 'lenet-cpp[ray]': Ray takes 200 MB, and has no wheel of new Pythons"
)
pytestmark = pytest.mark.filterwarnings("ignore")  # those of Ray


@pytest.fixture(autouse=True)
def without_token(monkeypatch):
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_raylet_start_wait_time_s", "240")  # of a busy machine


@pytest.fixture
def table(tmp_path, root):
    """A .parquet of 2,000 digits, and the pixels."""
    images = read_idx(root / "data/mnist_sample/train-images-idx3-ubyte.gz")[:2000]
    columns = {"id": np.arange(2000), "image": pa.array([row.tobytes() for row in images])}
    parquet.write_table(pa.table(columns), tmp_path / "in.parquet", row_group_size=40)
    return tmp_path / "in.parquet", images


def check(target, expected):
    """Each row once, with the bits of one process."""
    found = parquet.read_table(target)
    assert found["id"].to_pylist() == list(range(2000))
    assert np.array_equal(np.array(found["logits"].to_pylist(), np.float32), expected)


def test_command(table, tmp_path, capfd):
    path, images = table
    common = ["predict", str(path), "--keep=id", "--logits", "--part-rows=400", "--output"]
    assert main([*common, str(tmp_path / "one.parquet"), "--workers=1"]) == 0
    assert main([*common, str(tmp_path / "ray.parquet"), "--on=ray"]) == 0
    expected = np.array(parquet.read_table(tmp_path / "one.parquet")["logits"].to_pylist())
    check(tmp_path / "ray.parquet", expected.astype(np.float32))
    assert np.abs(expected - predict(images)).max() < 1e-4


class Slow(BatchPredictor):
    """Takes as long as a node needs to die in the middle; Ray pickles it by value."""

    def columns(self, images, *, names=None):
        time.sleep(0.2)
        return super().columns(images, names=names)


@pytest.mark.nightly
@pytest.mark.parametrize("death", ["none", "node", "process"])
def test_two_nodes(table, tmp_path, death):
    """Both compute; a node or process that dies in the middle costs nothing."""
    from ray import cloudpickle
    from ray.cluster_utils import Cluster

    cloudpickle.register_pickle_by_value(__import__(Slow.__module__))
    path, _ = table
    target = tmp_path / "out.parquet"
    options = {"keep": ["id"], "outputs": ["class_id", "logits"], "part_rows": 40}
    predict_all(BatchPredictor(), [path], tmp_path / "one.parquet", workers=1, **options)
    expected = np.array(parquet.read_table(tmp_path / "one.parquet")["logits"].to_pylist())
    local = {"num_cpus": 2, "node_ip_address": "127.0.0.1"}
    cluster = Cluster()
    try:
        cluster.add_node(**local, include_dashboard=False)
        node = cluster.add_node(**local)
        ray.init(address=cluster.address)
        seen = []

        def kill():
            folder = tmp_path / "out.parquet.parts"
            while not folder.is_dir() or len(list(folder.glob("part-*"))) < 5:
                time.sleep(0.01)
            seen.append(len(list(folder.glob("part-*"))))
            if death == "node":
                cluster.remove_node(node, allow_graceful=False)
            else:
                tasks = [
                    process
                    for process in psutil.process_iter(["cmdline"])
                    if "ray::_on_node" in " ".join(process.info["cmdline"] or ())
                ]
                seen.extend(tasks[:1])
                tasks[0].kill()

        thread = threading.Thread(target=kill, daemon=True)
        if death != "none":
            thread.start()
        total = predict_all(Slow(), [path], target, on="ray", **options)
        if death != "none":
            thread.join(10)
            assert 5 <= seen[0] < 50  # it was the middle
            assert death == "node" or len(seen) == 2
        check(target, expected.astype(np.float32))
        nodes = {worker.partition(":")[0] for worker in total.workers}
        assert len(nodes) == 2
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.nightly
def test_bad_row(tmp_path):
    """It stops the job with its name, or is recorded."""
    table = pa.table(
        {"id": np.arange(2000), "image": [bytes(784)] * 1234 + [b"?"] + [bytes(784)] * 765}
    )
    parquet.write_table(table, tmp_path / "in.parquet", row_group_size=100)
    arguments = ([tmp_path / "in.parquet"], tmp_path / "out.parquet")
    options = {"on": "ray", "part_rows": 100, "keep": ["id"]}
    with pytest.raises(BadInput, match=r"in.parquet\[1234\]"):
        predict_all(BatchPredictor(), *arguments, **options)
    total = predict_all(BatchPredictor(), *arguments, skip_errors=True, **options)
    assert (total.rows, total.skipped) == (2000, 1)
    rows = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["id"] for row in rows] == list(range(2000))
    assert [row["row"] for row in rows if row["error"]] == [1234]
