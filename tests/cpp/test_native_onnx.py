"""The native engine on .onnx models, against onnxruntime: what the exporters write, what is
refused, and damaged files. tools/differential draws networks of every operator.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import lenet_cpp

onnx = pytest.importorskip("onnx", reason="the models of these tests are made with it")
onnxruntime = pytest.importorskip("onnxruntime", reason="the answers are compared with its own")

# Where there is no onnx, the lines above skip this file; importing it first would fail.
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Array = Any
COUNTS = (1, 3, 20)


# ---- small models


@dataclass
class Model:
    """Nodes that are added one by one, each to what the last one gave."""

    opset: int = 17
    batch: int | str = "N"
    shape: tuple[int, int, int] = (3, 9, 10)
    seed: int = 0
    constants_as_nodes: bool = False
    as_lists: bool = False  # of numbers, instead of raw bytes
    nodes: list[Any] = field(default_factory=list)
    tensors: list[Any] = field(default_factory=list)
    last: str = "x"

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def floats(self, *shape: int) -> Array:
        return self.random.standard_normal(shape).astype(np.float32)

    def weights(self, *shape: int, inputs: int) -> str:
        """So that what is computed with them stays about as large."""
        return self.constant(self.floats(*shape) / np.float32(math.sqrt(inputs)))

    def constant(self, values: Array) -> str:
        name = f"k{len(self.tensors) + len(self.nodes)}"
        tensor = numpy_helper.from_array(values, name)
        if self.as_lists:
            kind = helper.np_dtype_to_tensor_dtype(values.dtype)
            tensor = helper.make_tensor(name, kind, values.shape, values.ravel().tolist())
        if self.constants_as_nodes:
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            self.tensors.append(tensor)
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def node(self, kind: str, *others: str, first: str | None = None, **attributes: Any) -> str:
        """Add an operator on the last output, with the other inputs."""
        output = f"{kind.lower()}{len(self.nodes)}"
        inputs = [self.last if first is None else first, *others]
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        self.last = output
        return output

    def axes(self, kind: str, values: list[int], since: int, **attributes: Any) -> str:
        if self.opset < since:
            return self.node(kind, axes=values, **attributes)
        return self.node(kind, self.integers(*values), **attributes)

    def conv(self, inputs: int, outputs: int, kernel: tuple[int, int] = (1, 1), **more: Any) -> str:
        group = more.get("group", 1)
        shape = (outputs, inputs // group, *kernel)
        weight = self.weights(*shape, inputs=math.prod(shape[1:]))
        bias = [self.constant(self.floats(outputs))] if more.pop("bias", True) else []
        return self.node("Conv", weight, *bias, **more)

    def proto(self) -> Any:
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [self.batch, *self.shape])],
            [helper.make_tensor_value_info(self.last, TensorProto.FLOAT, None)],
            self.tensors,
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8
        )

    def write(self, path: Path) -> Path:
        path.write_bytes(self.proto().SerializeToString())
        return path


def reference(path: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: images})
    return output


def agrees(path: Path, seed: int = 0, counts: tuple[int, ...] = COUNTS) -> NDArray[np.float32]:
    """Compare both engines, for several batch sizes."""
    with lenet_cpp.Predictor(path, engine="native") as predictor:
        assert predictor.options["engine"] == "native"
        shape = predictor.input_spec.shape[1:]
        images = np.random.default_rng(seed).standard_normal((max(counts), *shape)).astype("f4")
        outputs = [predictor.run(images[:count]) for count in counts]
        spec = predictor.output_spec
    fixed = predictor.input_spec.shape[0]
    pieces = np.split(images, len(images) // fixed) if fixed > 0 else [images]
    expected = np.concatenate([reference(path, piece) for piece in pieces])
    assert spec.shape[1:] == expected.shape[1:]
    assert np.isfinite(expected).all()
    for count, output in zip(counts, outputs, strict=True):
        assert output.shape == (count, *expected.shape[1:])
        allowed = 1e-5 * np.maximum(1, np.abs(expected[:count]))
        assert (np.abs(output - expected[:count]) <= allowed).all()
    return expected


def pooled(kind: str, opset: int, shape: tuple[int, int, int], **window: Any) -> Model:
    model = Model(opset=opset, shape=shape)
    model.conv(shape[0], 2)
    model.node(kind, **window)
    return model


@pytest.mark.parametrize("opset", [10, 19, 21])
@pytest.mark.parametrize("counted", [None, 0, 1])
def test_the_last_window(counted: int | None, opset: int, tmp_path: Path) -> None:
    """It may reach beyond the padding; one that would begin there is left out."""
    kind = "MaxPool" if counted is None else "AveragePool"
    more = {} if counted is None else {"count_include_pad": counted}
    for size, kernel, stride, pad in ((6, 3, 2, 0), (6, 3, 2, 1), (5, 2, 3, 1), (7, 2, 3, 1)):
        window = {
            "kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4,
            "ceil_mode": 1, **more,
        }  # fmt: skip
        agrees(pooled(kind, opset, (1, size, size), **window).write(tmp_path / "model.onnx"))


def test_clip_without_bounds_and_values_of_constants(tmp_path: Path) -> None:
    model = Model(opset=13)
    model.nodes.append(helper.make_node("Constant", [], ["low"], value_float=0.0))
    model.nodes.append(
        helper.make_node("Constant", [], ["most"], value_float=3.4028234663852886e38)
    )
    model.nodes.append(helper.make_node("Constant", [], ["scale"], value_floats=[0.5]))
    model.nodes.append(helper.make_node("Constant", [], ["rows"], value_ints=[0, -1]))
    model.conv(3, 2)
    model.node("Clip")
    model.node("Clip", "", "most")
    model.node("Mul", "scale")
    model.node("Clip", "low")
    model.node("Reshape", "rows")
    expected = agrees(model.write(tmp_path / "model.onnx"))
    assert expected.min() == 0
    assert expected.max() > 0


def test_constants_among_the_inputs(tmp_path: Path) -> None:
    """As before 2019."""
    model = Model(opset=9)
    model.conv(3, 2)
    proto = model.proto()
    for tensor in model.tensors:
        value = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        proto.graph.input.append(value)
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    agrees(path)


@pytest.mark.parametrize("batch", [1, 3])
def test_a_fixed_number_of_images(batch: int, tmp_path: Path) -> None:
    """As with the engine onnxruntime: multiples of it."""
    model = Model(batch=batch)
    model.conv(3, 2)
    model.node("Reshape", model.integers(batch, -1))
    path = model.write(tmp_path / "model.onnx")
    agrees(path, counts=(3, 6, 21))
    with lenet_cpp.Predictor(path, engine="native") as predictor:
        assert predictor.input_spec.shape == (batch, 3, 9, 10)
        if batch > 1:
            with pytest.raises(lenet_cpp.BadInput, match="a multiple of 3 images"):
                predictor.run(np.zeros((4, 3, 9, 10), np.float32))


# ---- what the exporters write


@pytest.mark.parametrize("exporter", ["dynamo", "legacy"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_resnet18_from_torch(exporter: str, tmp_path: Path) -> None:
    """As torch.onnx.export writes it: dynamo keeps weights in a file beside the model."""
    torch = pytest.importorskip("torch", reason="the exporters are torch's")
    pytest.importorskip("onnxscript", reason="the dynamo exporter needs it")
    from lenet_cpp.interchange.torch import models as torch_models

    torch.manual_seed(0)
    net = torch_models.create_network("resnet18").eval()
    path = tmp_path / "model.onnx"
    if exporter == "dynamo":
        free: dict[str, Any] = {"dynamic_shapes": ({0: torch.export.Dim("N")},)}
    else:
        free = {"input_names": ["x"], "dynamic_axes": {"x": {0: "N"}}}
    sample = torch.zeros(2, 3, 64, 64)
    torch.onnx.export(net, (sample,), path, dynamo=exporter == "dynamo", verbose=False, **free)
    expected = agrees(path, counts=(1, 3))
    images = np.random.default_rng(0).standard_normal((3, 3, 64, 64)).astype("f4")
    with torch.inference_mode():
        assert np.abs(net(torch.from_numpy(images)).numpy() - expected).max() <= 1e-5
    values = tmp_path / "model.onnx.data"
    assert values.exists() == (exporter == "dynamo")
    if values.exists():
        with values.open("r+b") as file:
            file.truncate(1000)
        with pytest.raises(lenet_cpp.BadModel, match=r"model\.onnx\.data.*only 1000 bytes"):
            lenet_cpp.Predictor(path, engine="native")


def test_resnet18_vd_from_paddle(tmp_path: Path) -> None:
    pytest.importorskip("paddle2onnx", reason="the exporter is its own")
    code = """
import paddle, paddle2onnx
from lenet_cpp import models
paddle.seed(0)
net = models.build("ResNet18_vd", 10)
net.eval()
spec = paddle.static.InputSpec([None, 3, 64, 64], "float32", "x")
paddle.jit.save(net, "inference", input_spec=[spec])
files = ["inference.json", "inference.pdiparams", "inference.onnx"]
# Its optimization would install packages.
paddle2onnx.export(*files, opset_version=9, optimize_tool="none")
"""
    command = [sys.executable, "-c", code]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    path = tmp_path / "inference.onnx"
    expected = agrees(path, counts=(1, 3))
    images = np.random.default_rng(0).standard_normal((3, 3, 64, 64)).astype("f4")
    with lenet_cpp.Predictor(tmp_path / "inference.json", engine="native") as predictor:
        difference = np.abs(predictor.run(images) - expected)
    assert (difference <= 1e-5 * np.maximum(1, np.abs(expected))).all()


# ---- which engine


def test_engines_of_an_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """auto is native where it is the fastest and supports the options, else onnxruntime."""
    model = Model()
    model.conv(3, 2)
    path = model.write(tmp_path / "model.onnx")
    with lenet_cpp.Predictor(path) as predictor:
        assert predictor.options["engine"] == "native"
    for options in ({"ir_optim": False}, {"memory_optim": True}, {"accelerator": "plain"}):
        with lenet_cpp.Predictor(path, **options) as predictor:
            assert predictor.options["engine"] == "onnxruntime"
    large = Model(shape=(3, 200, 200))
    large.conv(3, 16)
    model.node("Sigmoid")
    for name, slower in (("large", large), ("sigmoid", model)):
        (tmp_path / name).mkdir()
        with lenet_cpp.Predictor(slower.write(tmp_path / name / "model.onnx")) as predictor:
            assert predictor.options["engine"] == "onnxruntime"
    with lenet_cpp.Predictor(model_dir=tmp_path, engine="native") as predictor:
        assert predictor.model_file == path
        assert predictor.quantized is False
        with pytest.raises(lenet_cpp.Unsupported, match="cannot show each"):
            predictor.run_layers(np.zeros((1, 3, 9, 10), np.float32))
    sums = tmp_path / "SHA256SUMS"
    sums.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  model.onnx\n")
    lenet_cpp.Predictor(path, engine="native")
    path.write_bytes(path.read_bytes() + b"\x10\x00")
    with pytest.raises(lenet_cpp.BadModel, match=r"model\.onnx' has SHA-256"):
        lenet_cpp.Predictor(path, engine="native")
    lenet_cpp.Predictor(path, engine="native", check_hashes=False)


def test_why_a_slower_engine_is_taken_is_said(tmp_path: Path, program: Path) -> None:
    large = Model(shape=(3, 200, 200))
    large.conv(3, 16)
    path = large.write(tmp_path / "model.onnx")
    command = [program, f"--model_file={path}", "--explain", "--repeats=1"]
    environment = {"LENET_ONNXRUNTIME_LIBRARY": "/no/such/library.so"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    reason = r"engine native \(auto: .* \(engine onnxruntime: there is no onnxruntime library"
    assert re.search(reason, done.stdout.splitlines()[0])


def test_a_program_without_onnxruntime(tmp_path: Path, program: Path) -> None:
    """lenet_infer_native takes native unasked."""
    model = Model()
    model.conv(3, 2)
    path = model.write(tmp_path / "model.onnx")
    command = [program.with_name("lenet_infer_native"), f"--model_file={path}", "--format=json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={})
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["engine"] == "native"
    command.append("--engine=onnxruntime")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={})
    assert done.returncode == 6
    assert "no engine onnxruntime" in done.stderr


# ---- what it cannot do


def refused(*nodes: Any, opset: int = 17, **more: Any) -> Model:
    """The nodes give y, after a convolution that gives c."""
    model = Model(opset=opset, **more)
    model.tensors.append(numpy_helper.from_array(model.floats(2, 3, 1, 1), "w"))
    model.nodes += [helper.make_node("Conv", ["x", "w"], ["c"]), *nodes]
    model.last = "y"
    for name, values in {
        "perm": [0, 1], "per_row": [1.0] * 9, "matrix": [[1.0, 2.0]], "six": 6.0, "zero": 0.0,
        "two": [2], "channels": [[[1.0]], [[2.0]], [[3.0]]],
    }.items():  # fmt: skip
        dtype = np.int64 if name in ("perm", "two") else np.float32
        model.tensors.append(numpy_helper.from_array(np.array(values, dtype), name))
    return model


node = helper.make_node
REFUSED = {
    "Sigmoid": (refused(node("Sigmoid", ["c"], ["y"])), r"Sigmoid, which gives 'y'"),
    "Transpose": (refused(node("Transpose", ["c"], ["y"])), r"Transpose, which gives 'y'"),
    "a domain": (refused(node("Relu", ["c"], ["y"], domain="my")), r"domain my \(Relu"),
    "relu6": (refused(node("Clip", ["c", "zero", "six"], ["y"])), r"such bounds \(Clip"),
    "squeeze and excitation": (refused(node("Mul", ["c", "c"], ["y"])), r"no float32 constant"),
    "one for each row": (refused(node("Add", ["c", "per_row"], ["y"])), r"each channel \(Add"),
    "more channels": (
        refused(node("GlobalMaxPool", ["x"], ["g"]), node("ReduceMean", ["g"], ["y"], axes=[1])),
        r"mean but over height and width",
    ),
    "broadcasting": (
        refused(node("GlobalMaxPool", ["c"], ["g"]), node("Add", ["c", "g"], ["y"])),
        r"sum of different shapes",
    ),
    "dilated pool": (
        refused(node("MaxPool", ["c"], ["y"], kernel_shape=[2, 2], dilations=[2, 2])),
        r"such dilations \(MaxPool",
    ),
    "ceil_mode and auto_pad": (
        refused(node("MaxPool", ["c"], ["y"], kernel_shape=[2, 2], auto_pad="VALID", ceil_mode=1)),
        r"ceil_mode with auto_pad",
    ),
    "dilated SAME": (
        refused(node("Conv", ["c", "v"], ["y"], auto_pad="SAME_UPPER", dilations=[2, 2])),
        r"such dilations \(Conv",
    ),
    "softmax over columns": (refused(node("Softmax", ["c"], ["y"])), r"softmax but over the"),
    "softmax before": (
        refused(
            node("GlobalMaxPool", ["c"], ["g"]),
            node("Softmax", ["g"], ["s"], axis=1),
            node("Relu", ["s"], ["y"]),
        ),
        r"softmax as the last layer",
    ),
    "concat of rows": (refused(node("Concat", ["c", "c"], ["y"], axis=2)), r"concat but of chan"),
    "a filter that is computed": (refused(node("Conv", ["c", "c"], ["y"])), r"filter is no float"),
    "product of images": (refused(node("MatMul", ["c", "matrix"], ["y"])), r"kernel but for vec"),
    "batches that mix": (refused(node("Reshape", ["c", "perm"], ["y"])), r"but of each image"),
    "flatten of all": (refused(node("Flatten", ["c"], ["y"], axis=0)), r"flattening but of each"),
    "training": (
        refused(node("BatchNormalization", ["c", *["v2"] * 4], ["y"], training_mode=1), opset=15),
        r"no training",
    ),
    "an old operator set": (refused(node("Relu", ["c"], ["y"]), opset=6), r"operator set 6; .*7 t"),
    "free height": (
        refused(node("Relu", ["c"], ["y"]), shape=(3, "H", 9)),
        r"\[N, channels, height, width\]",
    ),
    "an image as it is": (refused(node("Relu", ["x"], ["y"])), r"relu of the image itself"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_kernel_is_named(name: str, tmp_path: Path) -> None:
    model, words = REFUSED[name]
    model.tensors.append(numpy_helper.from_array(model.floats(1, 2, 2, 2), "v"))
    model.tensors.append(numpy_helper.from_array(np.ones(2, np.float32), "v2"))
    path = model.write(tmp_path / "model.onnx")
    with pytest.raises(lenet_cpp.Unsupported) as raised:
        lenet_cpp.Predictor(path, engine="native")
    assert re.search(words, str(raised.value))
    assert "onnxruntime" in str(raised.value) or "engine paddle" in str(raised.value)


def test_damaged_models_give_a_typed_error_or_the_right_answer(tmp_path: Path) -> None:
    """400 models with some bytes changed or cut short; in one process."""
    drawn = Model(opset=13, shape=(1, 8, 8))
    drawn.conv(1, 3, (3, 3), pads=[1, 0, 1, 0], strides=[1, 2])
    drawn.node("BatchNormalization", *[drawn.constant(np.full(3, 0.5, np.float32))] * 4)
    drawn.node("MaxPool", kernel_shape=[2, 2], ceil_mode=1, strides=[2, 2])
    image, shape = drawn.last, drawn.node("Shape")
    images = drawn.node("Slice", *(drawn.integers(i) for i in (0, 1, 0)), first=shape)
    drawn.node("Concat", drawn.integers(-1), first=images, axis=0)
    drawn.node("Reshape", drawn.last, first=image)
    drawn.node("Gemm", drawn.constant(drawn.floats(5, 24)), transB=1)
    whole = drawn.write(tmp_path / "model.onnx").read_bytes()
    agrees(tmp_path / "model.onnx")
    generator = np.random.default_rng(0)
    batch = generator.standard_normal((2, 1, 8, 8)).astype(np.float32)
    outcomes = {"refused": 0, "same": 0, "of ours alone": 0}
    path = tmp_path / "damaged.onnx"
    for i in range(400):
        damaged = bytearray(whole)
        for at in generator.integers(0, len(whole), generator.integers(1, 3)):
            damaged[at] = generator.integers(256)
        path.write_bytes(
            bytes(damaged[: generator.integers(len(whole))] if i % 8 == 0 else damaged)
        )
        try:
            with lenet_cpp.Predictor(path, engine="native") as predictor:
                found = predictor.run(batch)
        except (lenet_cpp.BadModel, lenet_cpp.Unsupported, lenet_cpp.BadInput) as error:
            outcomes["refused"] += "\n" not in str(error)
            continue
        try:
            expected = reference(path, batch)
        # onnxruntime's errors derive from Exception and from nothing else that they share.
        except Exception:  # noqa: BLE001
            outcomes["of ours alone"] += 1
            continue
        # Weights that became huge cancel each other out.
        if np.abs(expected).max() < 1e4:
            assert np.allclose(found, expected, rtol=1e-4, atol=1e-4)
            outcomes["same"] += 1
    assert outcomes["refused"] > 200
    assert outcomes["same"] > 50
    assert outcomes["of ours alone"] < 5
