"""self_check: a predictor compares itself with the plain program when it is loaded."""

import json
import sys

import numpy as np
import pytest

import lenet_cpp
from slow_loads import environment, put_model
from snippets import run_command

BACKEND_FAILURE = lenet_cpp.BackendFailure.exit_code
MODEL = """
g (float[N,2,6,6] x) => (float[N,3] y) <float[2,3] w = {0.5, -1, 2, 1, 0.25, -3}>
{ p = GlobalMaxPool(x) f = Flatten(p) y = MatMul(f, w) }
"""


@pytest.fixture
def model(tmp_path):
    """A model that the native engine, onnxruntime and the plain program run."""
    onnx = pytest.importorskip("onnx", reason="the model is made with it")
    graph = onnx.parser.parse_graph(MODEL)
    opsets = [onnx.helper.make_opsetid("", 13)]
    path = tmp_path / "m" / "m.onnx"
    path.parent.mkdir()
    onnx.save(onnx.helper.make_model(graph, ir_version=8, opset_imports=opsets), path)
    return path


@pytest.fixture(scope="module")
def wrong(tmp_path_factory):
    """Variables with which onnxruntime gives wrong outputs, and none of them fails."""
    return environment(tmp_path_factory.mktemp("wrong")) | {"ONNXRUNTIME_IS_WRONG": "1"}


@pytest.mark.parametrize("engine", ["auto", "native", "onnxruntime"])
def test_engines_that_are_right(engine, model):
    if engine == "onnxruntime":
        pytest.importorskip("onnxruntime", reason="the engine needs its library")
    images = np.random.default_rng(0).random((3, 2, 6, 6), np.float32)
    expected = lenet_cpp.Predictor(model, engine=engine).run(images)
    with lenet_cpp.Predictor(model, engine=engine, self_check=True) as predictor:
        assert predictor.options["self_check"] is True
        assert predictor.run(images).tobytes() == expected.tobytes()
    assert lenet_cpp.Predictor(model).options["self_check"] is False
    made = lenet_cpp.Predictor.from_bytes(model.read_bytes(), engine=engine, self_check=True)
    assert made.run(images).tobytes() == expected.tobytes()
    pool = lenet_cpp.PredictorPool(model, size=2, engine=engine, self_check=True)
    assert pool.run(images).tobytes() == expected.tobytes()


LOAD = """
import json, sys
import lenet_cpp
said = []
for check in (False, True):
    try:
        lenet_cpp.Predictor(sys.argv[1], engine="onnxruntime", self_check=check)
        said.append("loaded")
    except lenet_cpp.Error as error:
        said.append(f"{type(error).__name__}: {error}")
print(json.dumps(said))
"""


def test_an_engine_that_is_wrong(model, wrong):
    done = run_command(sys.executable, "-c", LOAD, model, env=wrong)
    assert done.returncode == 0, done.stderr
    unchecked, checked = json.loads(done.stdout)
    assert unchecked == "loaded"
    assert checked.startswith(f"BackendFailure: '{model}': self_check: the onnxruntime engine")
    assert "the output 'y' otherwise than the plain program for 3 images" in checked
    assert "the largest difference is 1, " in checked
    assert "use another engine" in checked


def test_the_program_with_an_engine_that_is_wrong(built, model, wrong, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 2, 6, 6), np.float32))
    command = [built("lenet_infer_test"), f"--model_file={model}", "--engine=onnxruntime"]
    command.append(f"--input={tmp_path / 'x.npy'}")
    assert run_command(*command, env=wrong).returncode == 0
    done = run_command(*command, "--self_check=true", env=wrong)
    assert done.returncode == BACKEND_FAILURE
    assert "self_check: the onnxruntime engine computes the output 'y' otherwise" in done.stderr


def test_a_model_that_the_plain_program_does_not_run(tmp_path):
    pytest.importorskip("onnxruntime", reason="it runs the operator")
    path = put_model(tmp_path / "eye.onnx")
    lenet_cpp.Predictor(path, engine="onnxruntime")
    with pytest.raises(lenet_cpp.Unsupported, match=r"self_check is not possible: .*EyeLike"):
        lenet_cpp.Predictor(path, engine="onnxruntime", self_check=True)
