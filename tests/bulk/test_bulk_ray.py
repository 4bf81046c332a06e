"""lenet-cpp predict-many --on ray, and BatchPredictor in Ray Data, with real nodes here."""

import os

import numpy as np
import pytest
from cluster_cases import (
    PARTS,
    Slow,
    batches_in,
    by_value,
    check_bad_row,
    check_command,
    check_driver,
    check_job,
    in_the_middle,
    kill_one,
    logits,
    one_process,
    rows_by_place,
    write_table,
)

from lenet_cpp import BatchPredictor

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # when it is imported: nodes on 127.0.0.1
ray = pytest.importorskip(
    "ray", reason="pip install '.[ray]': Ray takes 200 MB, and has no wheel of new Pythons"
)
pytestmark = pytest.mark.filterwarnings("ignore")  # those of Ray
NODE = {"num_cpus": 2, "object_store_memory": 100_000_000, "resources": {"one of a node": 1}}


@pytest.fixture(autouse=True, scope="module")
def settings():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_raylet_start_wait_time_s", "240")  # of a busy machine
        patch.setenv("RAY_worker_niceness", "0")  # else they wait for all others of that machine
        yield


@pytest.fixture
def table(tmp_path, root):
    return write_table(tmp_path, root)


@pytest.fixture
def seen(tmp_path):
    folder = tmp_path / "seen"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def cluster(settings):
    """Two nodes on 127.0.0.1; the second one may be killed, and is there again."""
    from ray import cloudpickle
    from ray.cluster_utils import Cluster

    by_value(cloudpickle)
    cluster = Cluster()
    try:
        cluster.add_node(**NODE, include_dashboard=False)
        cluster.add_node(**NODE)
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture
def nodes(cluster):
    """This process as a driver of both."""
    if len(cluster.worker_nodes) == 0:
        cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.wait_for_min_actors_s = 300  # else the first one may have done it all before
    yield cluster
    ray.shutdown()


def test_command(table, tmp_path):
    """One node, which the command begins."""
    check_command(table, tmp_path, "--on=ray")
    assert not ray.is_initialized()


@pytest.mark.nightly
@pytest.mark.parametrize("death", ["none", "process", "node"])
def test_two_nodes(nodes, table, seen, death):
    """Both compute; a process or a node that dies in the middle costs nothing."""
    kills = {
        "none": None,
        "process": lambda: kill_one("ray::_call"),
        "node": lambda: nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False),
    }
    computed = check_job("ray", table, seen, kills[death])
    assert len(computed) == 2
    assert min(computed.values()) > 0


@pytest.mark.nightly
def test_driver(cluster, table, seen):
    check_driver(f"ray://{cluster.address}", table, seen)


@pytest.mark.nightly
@pytest.mark.parametrize("death", ["none", "actor"])
def test_ray_data(nodes, table, tmp_path, seen, death):
    """Actors on both nodes, parquet in and out; one dies in the middle."""
    rows = ray.data.read_parquet(str(table)).repartition(20)
    results = rows.map_batches(
        Slow,
        fn_constructor_kwargs={"seen": seen, "outputs": ["logits"]},
        compute=ray.data.ActorPoolStrategy(size=2),
        num_cpus=1,  # the other one of each node reads
        resources={"one of a node": 1},
        batch_size=40,
    )
    finish = None
    if death == "actor":
        finish = in_the_middle(batches_in(seen), lambda: kill_one("ray::MapWorker"))
    results.write_parquet(str(tmp_path / "out"))
    if finish is not None:
        assert 5 <= finish() < PARTS
    assert np.array_equal(logits(tmp_path / "out"), one_process(table, tmp_path))
    assert len(rows_by_place(seen)) == 2


@pytest.mark.nightly
def test_bad_row(nodes, tmp_path, root):
    """It stops the job with its name, or is recorded."""
    table = check_bad_row("ray", tmp_path, root)
    rows = ray.data.read_parquet(str(table)).map_batches(BatchPredictor(errors="error"))
    assert [row["id"] for row in rows.take_all() if row["error"]] == [1234]
