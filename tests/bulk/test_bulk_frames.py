"""BatchPredictor in Dask and in Daft."""

import numpy as np
import pytest
from cluster_cases import logits, one_process, write_table

from lenet_cpp import BatchPredictor

pytestmark = [pytest.mark.nightly, pytest.mark.filterwarnings("ignore")]  # those of the packages
WHY = "pip install 'dask[dataframe]' daft: 150 MB that only these two tests need"


@pytest.fixture
def table(tmp_path, root):
    return write_table(tmp_path, root)


def test_dask(table, tmp_path):
    """Two processes, parquet in and out."""
    pytest.importorskip("dask.dataframe", reason=WHY)
    import dask
    import dask.dataframe as frames

    predictor = BatchPredictor(outputs=["class_id", "logits"])
    meta = {"id": "int64", "class_id": "int32", "logits": "object"}
    with dask.config.set(scheduler="processes", num_workers=2):
        frame = frames.read_parquet(table, split_row_groups=10)
        assert frame.npartitions == 5
        results = frame.map_partitions(predictor, meta=meta)
        results.to_parquet(tmp_path / "out", schema=None)
    assert np.array_equal(logits(tmp_path / "out"), one_process(table, tmp_path))


def test_daft(table, tmp_path):
    """A function of batches, parquet in and out."""
    daft = pytest.importorskip("daft", reason=WHY)

    predictor = BatchPredictor(outputs=["logits"])

    @daft.func.batch(return_dtype=daft.DataType.list(daft.DataType.float32()), batch_size=256)
    def predict(images):
        return [*predictor.columns(images)["logits"]]

    frame = daft.read_parquet(str(table))
    frame = frame.with_column("logits", predict(frame["image"])).exclude("image")
    frame.write_parquet(str(tmp_path / "out"))
    assert np.array_equal(logits(tmp_path / "out"), one_process(table, tmp_path))
