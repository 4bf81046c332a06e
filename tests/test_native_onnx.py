"""The native engine on .onnx models, against onnxruntime: operators with all they may be asked,
what the exporters write, what is refused, and damaged files.
"""

from __future__ import annotations

import hashlib
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import lenet_cpp

onnx = pytest.importorskip("onnx", reason="the models of these tests are made with it")
onnxruntime = pytest.importorskip("onnxruntime", reason="the answers are compared with its own")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402 - after the check

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Array = Any
COUNTS = (1, 3, 20)
OPSETS = range(7, 22)


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


PROPERTY = settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Drawn:
    """A model that is drawn block by block, with what onnxruntime knows of its shapes."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.channels = self.pick([1, 3, 4])
        image = (self.pick(range(1, 15)), self.pick(range(1, 15)))
        self.image = list(image)
        self.model = Model(
            opset=self.pick(OPSETS),
            batch=self.pick(["N", "N", 1]),
            shape=(self.channels, *image),
            seed=self.pick(range(1000)),
            constants_as_nodes=self.chance(),
            as_lists=self.chance(),
        )

    def pick(self, values: Any) -> Any:
        return self.draw(st.sampled_from(list(values)))

    def chance(self) -> bool:
        return bool(self.draw(st.booleans()))

    def windows(self, kernel: list[int], *, pool: bool) -> dict[str, Any]:
        """Strides, padding and dilations; what is the default is now and then left out."""
        mode = self.pick(["NOTSET", "NOTSET", None, "SAME_UPPER", "SAME_LOWER", "VALID"])
        strides = [self.pick([1, 1, 2, 3]) for _ in range(2)]
        dilations, pads, ceil = [1, 1], [0, 0, 0, 0], False
        if mode in ("NOTSET", None):
            most = kernel if pool else [4, 4]
            pads = [self.pick(range(min(size, 4))) for size in (*most, *most)]
            ceil = pool and self.model.opset >= 10 and self.chance()
            if not pool:
                dilations = [self.pick([1, 1, 2]) for _ in range(2)]
        rooms: dict[int, int] = {}
        for i in range(2):
            extent = (kernel[i] - 1) * dilations[i] + 1
            if mode not in ("SAME_UPPER", "SAME_LOWER"):
                while self.image[i] + pads[i] + pads[i + 2] < extent:
                    kernel[i] -= 1
                    extent = (kernel[i] - 1) * dilations[i] + 1
                    if pool:
                        pads[i], pads[i + 2] = (min(pad, kernel[i] - 1) for pad in pads[i::2])
            if mode in ("SAME_UPPER", "SAME_LOWER"):
                # onnxruntime has no pools that leave gaps there.
                strides[i] = min(strides[i], kernel[i]) if pool else strides[i]
                self.image[i] = -(-self.image[i] // strides[i])
                continue
            room = self.image[i] + pads[i] + pads[i + 2] - extent
            # A window that begins in the padding is test_the_last_window's.
            ceil &= -(-room // strides[i]) * strides[i] < self.image[i] + pads[i]
            rooms[i] = room
        for i, room in rooms.items():
            self.image[i] = (-(-room // strides[i]) if ceil else room // strides[i]) + 1
        attributes: dict[str, Any] = {} if mode is None else {"auto_pad": mode}
        if self.chance() or strides != [1, 1]:
            attributes["strides"] = strides
        if any(pads):
            attributes["pads"] = pads
        if dilations != [1, 1]:
            attributes["dilations"] = dilations
        if ceil:
            attributes["ceil_mode"] = 1
        return attributes

    def conv(self) -> None:
        kernel = [self.pick(range(1, 5)) for _ in range(2)]
        group = self.pick([1, 1, self.channels])
        outputs = group * self.pick([1, 2, 5] if group == 1 else [1, 2])
        attributes = self.windows(kernel, pool=False)
        if self.chance():
            attributes["kernel_shape"] = kernel
        if group > 1 or self.chance():
            attributes["group"] = group
        self.model.conv(self.channels, outputs, tuple(kernel), bias=self.chance(), **attributes)
        self.channels = outputs

    def pool(self) -> None:
        kernel = [self.pick(range(1, 4)) for _ in range(2)]
        attributes = self.windows(kernel, pool=True)
        kind = self.pick(["MaxPool", "AveragePool"])
        if kind == "AveragePool" and self.chance():
            attributes["count_include_pad"] = 1
        if kind == "MaxPool" and self.model.opset >= 8 and self.chance():
            attributes["storage_order"] = self.pick([0, 1])
        if kind == "MaxPool" and self.model.opset >= 10 and self.chance():
            attributes["dilations"] = [1, 1]
        self.model.node(kind, kernel_shape=kernel, **attributes)

    def normalize(self) -> None:
        model = self.model
        parts = [model.constant(model.floats(self.channels)) for _ in range(3)]
        variance = model.constant(np.abs(model.floats(self.channels)) + np.float32(0.5))
        epsilon = {"epsilon": 0.01} if self.chance() else {}
        model.node("BatchNormalization", *parts, variance, **epsilon)

    def constant(self) -> None:
        shape = self.pick([(self.channels, 1, 1), (1, self.channels, 1, 1), (1,), (1, 1), ()])
        name, before = self.model.constant(self.model.floats(*shape)), self.model.last
        kind = self.pick(["Add", "Mul"])
        if self.chance():
            self.model.node(kind, name)
        else:
            self.model.node(kind, before, first=name)

    def activate(self) -> None:
        kind = self.pick(["Relu", "Clip", "Identity", "Dropout", "Cast"])
        if kind == "Clip":
            if self.model.opset < 11:
                self.model.node("Clip", min=0.0)
            else:
                self.model.node("Clip", self.model.constant(np.array(0, np.float32)))
        elif kind == "Cast":
            self.model.node("Cast", to=TensorProto.FLOAT)
        else:
            self.model.node(kind)

    def branch(self) -> None:
        model, kind, start = self.model, self.pick(["Add", "Concat"]), self.model.last
        outputs = self.channels if kind == "Add" else self.pick([1, 3])
        model.conv(self.channels, outputs)
        if self.chance():
            model.node("Relu")
        if kind == "Add":
            model.node("Add", start)
        else:
            model.node("Concat", start, axis=self.pick([1, -3]) if model.opset >= 11 else 1)
            self.channels += outputs

    def flatten(self) -> int:
        """To a vector of each image, of that many values."""
        model = self.model
        kind = self.pick(["mean", "average", "max", "flatten", "reshape", "view"])
        values = self.channels * math.prod(self.image)
        if kind == "flatten":
            axis = {"axis": -3} if model.opset >= 11 and self.chance() else {}
            model.node("Flatten", **(axis or self.pick([{}, {"axis": 1}])))
        elif kind == "reshape":
            first = model.batch if isinstance(model.batch, int) else 0
            shape = self.pick([(0, -1), (-1, values), (0, values), (first, -1), (0, 0, -1)])
            model.node("Reshape", model.integers(*shape))
            if len(shape) == 3:
                model.node("Reshape", model.integers(0, -1))
        elif kind == "view":
            self.view()
        else:
            values = self.channels
            if kind == "mean":
                keep = self.chance()
                model.axes("ReduceMean", self.pick([[2, 3], [3, 2]]), 18, keepdims=int(keep))
                if not keep:
                    return values
            else:
                model.node("GlobalAveragePool" if kind == "average" else "GlobalMaxPool")
            if self.chance():
                model.axes("Squeeze", [2, 3], 13)
                model.axes("Unsqueeze", [2], 13)
            model.node("Flatten")
        return values

    def view(self) -> None:
        """x.view(x.size(0), -1), as the exporters write it."""
        model, image = self.model, self.model.last
        shape = model.node("Shape")
        if self.chance():
            model.node("Gather", model.constant(np.array(0, np.int64)), axis=0)
            images = model.axes("Unsqueeze", [0], 13)
        elif model.opset < 10:
            images = model.node("Slice", first=shape, starts=[0], ends=[1], axes=[0])
        else:
            images = model.node("Slice", model.integers(0), model.integers(1), model.integers(0))
        model.node("Concat", model.integers(-1), first=images, axis=0)
        if self.chance():
            model.node("Cast", to=TensorProto.INT64)
        model.node("Reshape", model.last, first=image)

    def linear(self, values: int) -> int:
        model, classes = self.model, self.pick([1, 4, 17])
        if self.chance():
            model.node("MatMul", model.weights(values, classes, inputs=values))
            if self.chance():
                shape = self.pick([(classes,), (1, classes), (1,)])
                model.node("Add", model.constant(model.floats(*shape)))
            return classes
        turned = self.chance()
        shape = (classes, values) if turned else (values, classes)
        attributes: dict[str, Any] = {"transB": 1} if turned else {}
        if self.chance():
            attributes |= {"alpha": 0.5, "beta": -2.0}
        bias = []
        if model.opset < 11 or self.chance():
            of = self.pick([(classes,), (1, classes), (1,), ()])
            bias = [model.constant(model.floats(*of))]
        model.node("Gemm", model.weights(*shape, inputs=values), *bias, **attributes)
        return classes


@PROPERTY
@given(data=st.data())
def test_random_networks(data: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    drawn = Drawn(data.draw)
    drawn.conv()
    blocks = [drawn.conv, drawn.pool, drawn.normalize, drawn.constant, drawn.activate, drawn.branch]
    for _ in range(drawn.pick(range(5))):
        drawn.pick(blocks)()
    values = drawn.flatten()
    if drawn.chance():
        values = drawn.linear(values)
        if drawn.chance():
            drawn.model.node("Relu")
            values = drawn.linear(values)
    if drawn.pick([True, False, False]) and drawn.model.nodes[-1].op_type in ("Gemm", "Add"):
        drawn.model.node("Softmax", **drawn.pick([{}, {"axis": 1}]))
    path = drawn.model.write(tmp_path_factory.mktemp("random") / "model.onnx")
    agrees(path, drawn.model.seed)
