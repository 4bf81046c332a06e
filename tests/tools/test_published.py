"""tools/versions/published: what packages run is recorded, and compared with the native engine."""

import numpy as np
import onnx
import onnx.parser
import onnxruntime
import pytest

from tools.versions import published
from tools.versions.published import PACKAGES, beside
from tools.versions.published_worker import CLASSIFIERS, Recorder
from tools.versions.tables import published as table

NETWORK = """<ir_version: 8, opset_import: ["" : 17]> network (float[N,3] x) => (float[N,3] y)
{ y = Relu(x) }"""
INPUT = np.array([[-1, 2, 1], [3, 0, -5]], "float32")
OUTPUT = np.maximum(INPUT, 0)


@pytest.fixture
def network(tmp_path, monkeypatch):
    """A network in a file, which is timed for a moment."""
    monkeypatch.setattr(published, "SECONDS", 1e-4)
    onnx.save(onnx.parser.parse_model(NETWORK), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def test_classes_and_outputs_are_compared_with_the_recorded_ones(network):
    other = OUTPUT + np.array([[0, 0, 3], [0, 0, 0]], "float32")
    found = beside(network, [{"x": INPUT, "y": OUTPUT}, {"x": INPUT, "y": other}])
    assert (found["same_class"], found["classes"]) == (3, 4)
    assert found["error"] == pytest.approx(3 / 4)
    share = found["native"]["median_us"] / found["onnxruntime"]["median_us"]
    ratio = found["ratio"]
    assert ratio["low"] / 2 < share < ratio["high"] * 2


def test_sessions_record_what_they_run(network, monkeypatch):
    """A package opens its network by the path or with the bytes of the file."""
    monkeypatch.setattr(onnxruntime, "InferenceSession", onnxruntime.InferenceSession)
    recorder = Recorder()
    recorder.watch_onnx()
    for source in (str(network), network.read_bytes()):
        session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
        recorder.runs.clear()
        x = INPUT.copy()
        session.run(["y"], {"x": x})
        x[:] = 0  # as a package does that uses the array again
        ((recorded, *arrays),) = recorder.runs
        assert recorded == source
        np.testing.assert_array_equal(arrays, [INPUT, OUTPUT])


def test_each_classifier_is_of_a_pinned_package():
    pinned = {package.partition("==")[0] for package in PACKAGES}
    assert {name.partition(",")[0] for name in CLASSIFIERS} <= pinned


def test_the_table_has_a_row_for_each_classifier():
    times = {"median_us": 1234.0, "spread_between_turns": 0.026}
    row = {"package": "age, gender", "from": "ONNX", "pictures": "faces", "answers": ["a", "b"]}
    row |= {"same_class": 1, "classes": 2, "error": 2e-5, "native": times}
    slow = {"median_us": 2e3, "spread_between_turns": 0.11}
    row |= {"onnxruntime": slow, "ratio": {"median": 0.617, "p99": 0.7}}
    _, _, line = table({"packages": {"age": "2.0"}, "rows": [row]}).splitlines()
    assert line == (
        "| age 2.0, gender | ONNX | 2 faces | 1 of 2 | 2e-05"
        " | 1.23 (3 %) | 2 (11 %) | ~0.62 | ~0.70 |"
    )
