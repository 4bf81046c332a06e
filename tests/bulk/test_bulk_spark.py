"""lenet-cpp predict-many --on spark, and predict_batch_udf, with two executors."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
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
from pyarrow import parquet

from lenet_cpp import BatchPredictor
from lenet_cpp.cli import main

pyspark = pytest.importorskip(
    "pyspark", reason="pip install '.[spark]': Spark takes 450 MB and Java, for nox alone"
)
pytestmark = [pytest.mark.nightly, pytest.mark.filterwarnings("ignore")]  # those of Spark

FIELDS = "class_id int, label string, probability float, logits array<float>, error string"


@pytest.fixture
def table(tmp_path, root):
    return write_table(tmp_path, root)


@pytest.fixture
def seen(tmp_path):
    folder = tmp_path / "seen"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def master(tmp_path_factory):
    """A master and two workers on 127.0.0.1, of one core each."""
    folder = tmp_path_factory.mktemp("spark")
    home = Path(pyspark.__file__).parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        patch.setenv("SPARK_WORKER_DIR", str(folder))
        patch.setenv("SPARK_CONF_DIR", str(folder))
        (folder / "spark-defaults.conf").write_text(
            "spark.driver.host 127.0.0.1\nspark.driver.bindAddress 127.0.0.1\n"
            "spark.ui.enabled false\nspark.driver.memory 512m\nspark.executor.memory 512m\n"
            "spark.executor.cores 1\nspark.log.level ERROR\n"
        )
        started = []

        def start(name, *arguments):
            """Start a daemon; return the port that its log has."""
            log = folder / f"{name}-{len(started)}.log"
            command = [home / "bin" / "spark-class", f"org.apache.spark.deploy.{name}"]
            with log.open("w") as file:
                started.append(subprocess.Popen([*command, *arguments], stderr=file, stdout=file))
            for _ in range(1200):
                for line in log.read_text().splitlines():
                    if "on port" in line and "Successfully started service 'spark" in line:
                        return line.split("on port ")[1].strip(" .")
                time.sleep(0.1)
            raise AssertionError(log.read_text())

        try:
            port = start("master.Master", "--host", "127.0.0.1", "--port", "0", "--webui-port", "0")
            for _ in range(2):
                ports = ("--host", "127.0.0.1", "--webui-port", "0")
                one = ("--cores", "1", "--memory", "600m", *ports)
                start("worker.Worker", *one, f"spark://127.0.0.1:{port}")
            yield f"spark://127.0.0.1:{port}"
        finally:
            if (gateway := pyspark.SparkContext._gateway) is not None:
                pyspark.SparkContext._gateway = pyspark.SparkContext._jvm = None
                gateway.shutdown()
                started.append(gateway.proc)
            for process in started:
                for each in psutil.Process(process.pid).children(recursive=True):
                    each.kill()
                process.kill()
                process.wait()


@pytest.fixture
def session(master):
    """A session of both executors, which are there."""
    from pyspark import cloudpickle
    from pyspark.sql import SparkSession

    by_value(cloudpickle)
    session = SparkSession.builder.master(master).getOrCreate()
    executors = session.sparkContext._jsc.sc().getExecutorMemoryStatus
    while executors().size() < 3:  # with the driver
        time.sleep(0.1)
    yield session
    session.stop()


def test_command(master, table, tmp_path):
    check_command(table, tmp_path, "--on", master)


def struct(fields):
    """Return the type: a string would be no struct for predict_batch_udf."""
    from pyspark.sql.types import StructType

    return StructType.fromDDL(fields)


def kill():
    kill_one("CoarseGrainedExecutorBackend")


@pytest.mark.parametrize("death", ["none", "executor"])
def test_two_executors(session, table, seen, death):
    """Both compute; one that dies in the middle costs nothing."""
    computed = check_job("spark", table, seen, kill if death == "executor" else None)
    assert len(computed) == 2 if death == "none" else len(computed) >= 2


def test_driver(master, table, seen):
    check_driver(master, table, seen)


@pytest.mark.parametrize("death", ["none", "executor"])
def test_predict_batch_udf(session, table, tmp_path, seen, death):
    """Parquet in and out; an executor dies in the middle."""
    from pyspark.ml.functions import predict_batch_udf

    outputs = ("class_id", "label", "probability", "logits")
    predictor = Slow(seen, outputs=outputs, errors="error")
    predict = predict_batch_udf(
        predictor.predict_batch_fn(), return_type=struct(FIELDS), batch_size=40
    )
    rows = session.read.parquet(str(table)).repartition(20)
    results = rows.select("id", predict("image").alias("found")).select("id", "found.*")
    finish = None
    if death == "executor":
        finish = in_the_middle(batches_in(seen), kill)
    results.write.parquet(str(tmp_path / "out"))
    if finish is not None:
        assert 5 <= finish() < PARTS
    expected = one_process(table, tmp_path)
    assert np.array_equal(logits(tmp_path / "out"), expected)
    found = parquet.read_table(tmp_path / "out").sort_by("id")
    assert found["class_id"].to_pylist() == expected.argmax(axis=1).tolist()
    assert found["label"].to_pylist() == list(map(str, expected.argmax(axis=1)))
    assert set(found["error"].to_pylist()) == {None}
    assert len(rows_by_place(seen)) >= 2


def test_bad_row(session, tmp_path, root):
    """It stops the job with its name, or is recorded."""
    from pyspark.ml.functions import predict_batch_udf

    table = check_bad_row("spark", tmp_path, root)
    predictor = BatchPredictor(outputs=["class_id"], errors="error")
    kinds = "class_id int, error string"
    predict = predict_batch_udf(
        predictor.predict_batch_fn(), return_type=struct(kinds), batch_size=512
    )
    images = session.read.parquet(str(table)).select("id", predict("image").alias("found"))
    wrong = images.where("found.error is not null").collect()
    assert [(row.id, row.found.class_id) for row in wrong] == [(1234, -1)]
    # Spark has no bytes without sign: what was uint8 arrives as arrays of smallint.
    tensors = images.sparkSession.createDataFrame([([0] * 784,), ([300] * 784,)], "x array<short>")
    predict = predict_batch_udf(
        predictor.predict_batch_fn(),
        return_type=struct(kinds),
        batch_size=512,
        input_tensor_shapes=[[784]],
    )
    row = tensors.select(predict("x").alias("found")).collect()
    assert [each.found.error is None for each in row] == [True, False]


def test_without_java(table, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    many = ["predict-many", "--bundled", str(table), "--on=spark", "-o", str(tmp_path / "o.csv")]
    assert main(many) == 6
    assert "Spark needs Java: apt-get install" in capsys.readouterr().err
