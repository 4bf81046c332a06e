"""What the contenders of the benchmark compute: in which precision, and how near to float64."""

import json
import os
import re
import sys

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp.errors import BackendFailure
from processor import HAS_VNNI
from snippets import printed_by
from tools.benchmark import cpp_engines, engines, subject
from tools.benchmark.contenders import (
    CONTENDERS,
    IN_PEERS,
    PEERS,
    choose,
)
from tools.benchmark.lenet import activations, read_weights, write_onnx
from tools.benchmark.making import make_in_peers
from tools.benchmark.subject import lenet_subject, prepare
from tools.benchmark.turns import Task, take_turn
from tools.survey.summary import assess


@pytest.fixture(scope="module")
def prepared(model_dir, program, tmp_path_factory):
    """The int8 models of all engines that are there, made from the bundled model."""
    digits = lenet_subject(model_dir, (1,), tmp_path_factory.mktemp("int8"))
    files, absent = prepare(choose(["*/int8", "onnxruntime", "litert"]), digits, program)
    assert "refused" not in {one["status"] for one in absent.values()}
    return digits, files


def engine_model(prepared, kind, precision="fp32"):
    """What the factory of a contender gets."""
    digits, files = prepared
    of = {"accelerator": "onednn", "precision": precision, "threads": 1}
    return {**of, "cache": str(digits.folder), **files[kind]}


def skip_without(name):
    reason = next(one for one in CONTENDERS if one.name == name).missing()
    if reason is not None:
        # A contender is another project's package, or needs instructions that this processor lacks.
        pytest.skip(reason)


PRIMITIVE = re.compile(
    r"onednn_verbose,(?:v1,)?(?:primitive,)?exec,cpu,(?:convolution|inner_product|matmul),"
    r"[^,]*,[^,]*,src[_:](\w+?):\S* wei[_:](\w+?):"
)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("kind", "precision", "weights"),
    [
        ("quantized", "int8", ["s8"] * 5),
        # Paddle leaves the first convolution of a .pdmodel in float32.
        ("pdmodel", "bf16", ["f32", *["bf16"] * 4]),
        ("json", "bf16", ["bf16"] * 5),
    ],
)
def test_paddle_computes_in_that_precision(prepared, kind, precision, weights):
    """By oneDNN's own record."""
    if precision == "bf16":
        skip_without("paddle.inference/pdmodel/onednn/bf16")
    code = (
        "import sys, json, numpy; from tools.benchmark import engines;"
        "engines.paddle_inference(json.loads(sys.argv[1]))(numpy.zeros((1, 1, 28, 28), 'float32'))"
    )
    model = json.dumps(engine_model(prepared, kind, precision))
    command = (sys.executable, "-W", "ignore", "-c", code, model)
    said = printed_by(*command, env=os.environ | {"ONEDNN_VERBOSE": "1"}, timeout=120)
    found = PRIMITIVE.findall(said)
    assert [weight for _, weight in found] == weights
    for source, weight in found:
        assert source in ({"u8", "s8"} if precision == "int8" else {weight})


@pytest.mark.nightly
def test_onnxruntime_computes_in_int8(prepared, tmp_path):
    skip_without("onnxruntime/int8")
    import onnx
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 3
    source = prepared[1]["onnx_int8"]["onnx"]
    InferenceSession(source, options, providers=["CPUExecutionProvider"])
    found = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert (found.count("QLinearConv"), found.count("QGemm")) == (2, 3)
    assert not {"Conv", "FusedConv", "Gemm", "MatMul"} & set(found)


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("kind", "precision", "types"),
    [
        ("onnx_int8", "int8", {"u8", "i8"}),
        ("pdmodel", "bf16", {"bf16"}),
        ("pdmodel", "fp32", {"f32"}),
    ],
)
def test_openvino_computes_in_that_precision(prepared, kind, precision, types):
    """By what the compiled model says of its layers with weights."""
    skip_without("openvino" if precision == "fp32" else f"openvino/{precision}")
    compiled = engines.compile_openvino(engine_model(prepared, kind, precision))
    layers = [op.get_rt_info() for op in compiled.get_runtime_model().get_ops()]
    found = [
        info["runtimePrecision"].astype(str)
        for info in layers
        if info["layerType"].astype(str) in {"Convolution", "FullyConnected"}
    ]
    assert len(found) == 5
    assert set(found) <= types


@pytest.mark.nightly
def test_litert_computes_in_int8(prepared):
    skip_without("litert/int8")
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=prepared[1]["tflite_int8"]["tflite"])
    types = {one["index"]: one["dtype"] for one in interpreter.get_tensor_details()}
    heavy = [
        [types[i] for i in one["inputs"]]
        for one in interpreter._get_ops_details()
        if one["op_name"] in {"CONV_2D", "FULLY_CONNECTED"}
    ]
    assert heavy == [[np.int8, np.int8, np.int32]] * 5


@pytest.mark.nightly
def test_other_engines_are_right_in_float_and_rounded_in_int8(prepared):
    """In batches of any size, and the same model gives both readers of ONNX the same answers."""
    digits, _ = prepared
    outputs = {}
    precisions = ["fp32", "int8"] if HAS_VNNI else ["fp32"]
    for one in choose(["onnxruntime", "openvino", "litert"], precisions=precisions):
        if one.missing():
            continue
        run = getattr(engines, one.group)(engine_model(prepared, one.reads, one.precision))
        outputs[one.name] = np.array(run(digits.images))
        for part in (slice(0, 1), slice(5, 8)):
            rest = {"rtol": 1e-5, "atol": 1e-4} if one.precision == "fp32" else {"rtol": 0}
            found = np.array(run(digits.images[part]))
            np.testing.assert_allclose(found, outputs[one.name][part], **rest)
        of = {"name": one.name, "precision": one.precision}
        found = assess(digits.expected, outputs[one.name], digits.labels, **of)
        assert found.wrong is None
        if one.precision == "int8":
            # About one of 1,000 digits goes beyond what calibration saw; the others are rounded:
            # a step of 8 bits is 0.36 for the last layer.
            assert 0.05 < np.abs(outputs[one.name] - digits.expected).mean() < 0.5
    if {"onnxruntime/int8", "openvino/int8"} <= outputs.keys():
        assert np.abs(outputs["onnxruntime/int8"] - outputs["openvino/int8"]).max() < 1


def test_openvino_from_cpp(digits, tmp_path):
    """It gives the values that Python gets, times of runs, and an error that says what is wrong."""
    skip_without("openvino/c++")
    file = tmp_path / "lenet.onnx"
    write_onnx(read_weights(lenet_cpp.bundled_model_dir() / "lenet.pdiparams"), file)
    model = {"onnx": str(file), "cache": str(tmp_path), "threads": 1, "precision": "fp32"}
    model["classes"] = 10
    peer = cpp_engines.openvino(model)
    for size in (1, 3):
        batch = np.ascontiguousarray(digits[:size])
        np.testing.assert_array_equal(peer(batch), engines.openvino(model)(batch))
        times = peer.block(batch, 0.01, 0)
        assert len(times) >= 3
        assert min(times) > 0
    with pytest.raises(RuntimeError, match="another size"):
        cpp_engines.openvino({**model, "classes": 9})(batch)
    with pytest.raises(RuntimeError, match=r"core\.cpp"):
        cpp_engines.openvino({**model, "onnx": str(tmp_path / "none.onnx")})


@pytest.mark.nightly
def test_peers_compute_what_float64_says(digits, tmp_path):
    """All of them, on LeNet and on batches of two sizes; what bf16 rounds is near."""
    if PEERS.find() is None:
        # They are peers to compare with, 2 GB that no machine without a network can install.
        pytest.skip(f"2 GB of other projects' packages: {choose(['mnn'])[0].missing()}")
    file = tmp_path / "lenet.onnx"
    weights = read_weights(lenet_cpp.bundled_model_dir() / "lenet.pdiparams")
    write_onnx(weights, file)
    images = tmp_path / "images.npy"
    np.save(images, digits[:6])
    make_in_peers("double", tmp_path, onnx=file, images=images, target=tmp_path)
    expected = np.load(tmp_path / "expected.npy")
    assert expected.dtype == np.float64
    np.testing.assert_allclose(expected, activations(weights, digits[:6])["linear3"], atol=1e-9)
    for one in choose([f"{group}*" for group in IN_PEERS]):
        if one.missing() is not None:
            continue  # bf16 where the processor lacks it, and C++ libraries that are not built
        cache = tmp_path / one.name.replace("/", "-")
        cache.mkdir()
        model = {"onnx": str(file), "cache": str(cache), "threads": 1, "precision": one.precision}
        model |= {"classes": 10, "library": str((one.libraries / one.group).absolute())}
        task = Task(one.name, one.factory, PEERS.find(), model, images)
        for size in (1, 3):
            turn = take_turn(task, size, count=6)
            found = assess(expected, turn.outputs, None, name=one.name, precision=one.precision)
            assert found.wrong is None
            assert found.error < (1e-4 if one.precision == "fp32" else 0.05)
            assert turn.busy_threads in {None, 1}  # a run of microseconds is not seen


def test_peers_have_the_torch_of_the_project(root):
    tomllib = pytest.importorskip("tomllib", reason="Python has it from 3.11 on")
    group = tomllib.loads((root / "pyproject.toml").read_text())["dependency-groups"]["torch-cpu"]
    assert {*group} & {*PEERS.requirements} == {"torch==2.13.0+cpu"}


@pytest.mark.parametrize(("made", "reference"), [(True, "PyTorch in float64"), (False, "onnx")])
def test_the_reference_of_a_file(made, reference, tmp_path, monkeypatch):
    """It is that of pnnx and PyTorch, or where these fail onnxruntime's."""
    file = tmp_path / "lenet.onnx"
    write_onnx(read_weights(lenet_cpp.bundled_model_dir() / "lenet.pdiparams"), file)

    def convert(what, folder, **_):
        if not made:
            raise BackendFailure("pnnx cannot convert it")
        np.save(folder / "expected.npy", np.zeros((8, 10)))

    monkeypatch.setattr(subject, "make_in_peers", convert)
    monkeypatch.setattr(type(PEERS), "find", lambda _: file)
    found = subject.file_subject(str(file), None, (1,), tmp_path)
    assert found.reference.startswith(reference)
    assert found.expected.any() != made
