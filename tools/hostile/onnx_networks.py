"""Networks of ONNX's operators: written as .onnx of each operator set, run in onnxruntime."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from tools.hostile.networks import InvalidNetworkError, Layer, Network

if TYPE_CHECKING:
    from pathlib import Path

onnxruntime.set_default_logger_severity(4)


class Writer:
    """The nodes of a network, in the form that its operator set asks for.

    ``dtype`` is that of all numbers: float64 for the judge.
    """

    def __init__(self, network: Network, shapes: list[Any], dtype: type = np.float32) -> None:
        self.network = network
        self.shapes = shapes
        self.dtype = dtype
        self.opset: int = network.options["opset"]
        self.nodes: list[Any] = []
        self.tensors: dict[str, Any] = {}
        self.at = 0
        self.owner = 0

    def node(
        self, kind: str, inputs: list[str], output: str | None = None, **attributes: Any
    ) -> str:
        output = output or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, values: np.ndarray, name: str | None = None) -> str:
        name = name or f"c{len(self.nodes)}_{len(self.tensors)}"
        if name in self.tensors:
            return name
        if values.dtype == np.float32:
            values = values.astype(self.dtype)
        if self.network.options.get("as_lists"):
            kind = helper.np_dtype_to_tensor_dtype(values.dtype)
            tensor = helper.make_tensor(name, kind, values.shape, values.ravel().tolist())
        else:
            tensor = numpy_helper.from_array(values, name)
        self.tensors[name] = tensor
        if self.network.options.get("constants_as_nodes"):
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def parameter(
        self, place: int, shape: Any, scale: float = 1, least: float | None = None
    ) -> str:
        values = self.network.values(self.owner, place, tuple(shape), scale)
        if least is not None:
            values = np.abs(values) + np.float32(least)
        # Layers that are alike take one and the same; of another shape it is another.
        return self.constant(values, f"p{self.owner}_{place}_" + "x".join(map(str, shape)))

    def axes(
        self, kind: str, x: str, axes: list[int], since: int, output: str, **more: Any
    ) -> None:
        if self.opset < since:
            self.node(kind, [x], output, axes=axes, **more)
        else:
            self.node(kind, [x, self.integers(*axes)], output, **more)

    def write(self, layer: Layer) -> None:
        """Add a layer's nodes."""
        attributes = dict(layer.attributes)
        self.owner = attributes.pop("like", self.at)
        inputs = [f"v{i}" for i in layer.inputs]
        output = f"v{self.at}"
        method = getattr(self, layer.op.lower(), None)
        if method is None:
            self.node(layer.op, inputs, output, **attributes)
        else:
            method(inputs, self.shapes[layer.inputs[0]], output, **attributes)

    def conv(
        self,
        x: list[str],
        s: Any,
        output: str,
        out: int,
        kernel: list[int],
        bias: bool = True,
        **more: Any,
    ) -> None:
        shape = [out, s[1] // more.get("group", 1), *kernel]
        weight = self.parameter(0, shape, 1 / math.sqrt(math.prod(shape[1:])))
        self.node(
            "Conv", [*x, weight, *([self.parameter(1, [out])] if bias else [])], output, **more
        )

    def batchnormalization(self, x: list[str], s: Any, output: str, **more: Any) -> None:
        parts = [self.parameter(i, [s[1]], least=0.5 if i == 3 else None) for i in range(4)]
        self.node("BatchNormalization", [*x, *parts], output, **more)

    def constant_of(
        self, x: list[str], s: Any, output: str, of: str, shape: list[int], first: bool = False
    ) -> None:
        sizes = [size or s[len(s) - len(shape) + i] for i, size in enumerate(shape)]
        inputs = [*x, self.parameter(0, sizes)]
        self.node(of, inputs[::-1] if first else inputs, output)

    def clip(self, x: list[str], s: Any, output: str, **bounds: float) -> None:
        if self.opset < 11:
            self.node("Clip", x, output, **bounds)
            return
        parts = [
            self.constant(np.array(bounds[k], np.float32)) if k in bounds else ""
            for k in ("min", "max")
        ]
        self.node("Clip", [*x, *parts] if "max" in bounds else [*x, *parts[:1]], output)

    def reducemean(self, x: list[str], s: Any, output: str, axes: list[int], **more: Any) -> None:
        self.axes("ReduceMean", x[0], axes, 18, output, **more)

    def squeeze(self, x: list[str], s: Any, output: str, axes: list[int]) -> None:
        if max(axes) >= len(s):
            raise InvalidNetworkError("an axis outside the tensor, which onnxruntime takes")
        self.axes("Squeeze", x[0], axes, 13, output)

    def unsqueeze(self, x: list[str], s: Any, output: str, axes: list[int]) -> None:
        self.axes("Unsqueeze", x[0], axes, 13, output)

    def reshape(self, x: list[str], s: Any, output: str, shape: list[int]) -> None:
        self.node("Reshape", [*x, self.integers(*shape)], output)

    def cast(self, x: list[str], s: Any, output: str) -> None:
        self.node(
            "Cast",
            x,
            output,
            to=TensorProto.FLOAT if self.dtype is np.float32 else TensorProto.DOUBLE,
        )

    def view(
        self, x: list[str], s: Any, output: str, gather: bool = False, cast: bool = False
    ) -> None:
        """x.view(x.size(0), -1), as exporters write it."""
        shape = self.node("Shape", x)
        if gather:
            one = self.node("Gather", [shape, self.constant(np.array(0, np.int64))], axis=0)
            images = f"n{len(self.nodes)}u"
            self.axes("Unsqueeze", one, [0], 13, images)
        elif self.opset < 10:
            images = self.node("Slice", [shape], starts=[0], ends=[1], axes=[0])
        else:
            images = self.node(
                "Slice", [shape, self.integers(0), self.integers(1), self.integers(0)]
            )
        both = self.node("Concat", [images, self.integers(-1)], axis=0)
        if cast:
            both = self.node("Cast", [both], to=TensorProto.INT64)
        self.node("Reshape", [*x, both], output)

    def matmul(
        self, x: list[str], s: Any, output: str, out: int, bias: list[int] | None = None
    ) -> None:
        weight = self.parameter(0, [s[-1], out], 1 / math.sqrt(s[-1]))
        if bias is None:
            self.node("MatMul", [*x, weight], output)
            return
        product = self.node("MatMul", [*x, weight])
        self.node("Add", [product, self.parameter(1, [size or out for size in bias])], output)

    def gemm(
        self,
        x: list[str],
        s: Any,
        output: str,
        out: int,
        bias: list[int] | None = None,
        **more: Any,
    ) -> None:
        inputs = s[0 if more.get("transA") else -1]
        shape = (out, inputs) if more.get("transB") else (inputs, out)
        weight = self.parameter(0, shape, 1 / math.sqrt(inputs))
        parts = [] if bias is None else [self.parameter(1, [size or out for size in bias])]
        self.node("Gemm", [*x, weight, *parts], output, **more)

    def proto(self, outputs: list[int]) -> Any:
        """Return the model that gives those values."""
        options, network = self.network.options, self.network
        for i, layer in enumerate(network.layers, 1):
            self.at = i
            if self.at < len(self.shapes) or self.at == len(network.layers):
                self.write(layer)
        kind = TensorProto.FLOAT if self.dtype is np.float32 else TensorProto.DOUBLE
        shape = [options.get("batch", "N"), *network.shape]
        initializers = [] if options.get("constants_as_nodes") else list(self.tensors.values())
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info("v0", kind, shape)],
            [helper.make_tensor_value_info(f"v{i}", kind, None) for i in outputs],
            initializers,
        )
        imports = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=imports, ir_version=8)


def shapes(network: Network) -> list[Any]:
    """Return the shapes of all values, for two images or the fixed number, by onnxruntime.

    Raises:
        InvalidNetworkError: onnxruntime refuses it.
    """
    batch = network.options.get("batch", "N")
    run = np.zeros((2 if batch == "N" else batch, *network.shape), np.float32)
    known = [run.shape]
    for count in range(1, len(network.layers) + 1):
        key = dump_key(network, count)
        if key not in _SHAPES and len(known[-1]) < 2:
            raise InvalidNetworkError("a vector")
        if key not in _SHAPES:
            part = Network(
                "onnx",
                network.shape,
                network.layers[:count],
                [count],
                network.seed,
                network.options,
            )
            proto = Writer(part, known).proto([count])
            found = run_onnx(proto.SerializeToString(), run)
            if found.dtype != np.float32:
                raise InvalidNetworkError("another type than float32")
            if 0 in found.shape:
                raise InvalidNetworkError("an empty tensor")
            _SHAPES[key] = found.shape
        known.append(_SHAPES[key])
    return known


_SHAPES: dict[str, Any] = {}


def dump_key(network: Network, count: int) -> str:
    """Return what tells the first layers of a network from others."""
    return repr((network.shape, network.layers[:count], network.options))


def run_onnx(model: bytes, images: np.ndarray) -> np.ndarray:
    """Return the first output of onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # Its errors derive from Exception and from nothing else that they share.
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        fixed = session.get_inputs()[0].shape[0]
        parts = np.split(images, len(images) // fixed) if isinstance(fixed, int) else [images]
        found = [session.run(None, {"v0": part})[0] for part in parts]
    except Exception as error:
        raise InvalidNetworkError(f"{type(error).__name__}: {str(error)[:300]}") from error
    inferred = session.get_outputs()[0].shape
    sizes = zip(inferred, found[0].shape, strict=False)
    if any(isinstance(size, int) and size != given for size, given in sizes):
        raise InvalidNetworkError("onnxruntime gives another shape than it infers")
    return np.concatenate(found) if found[0].ndim else found[0]


def export(network: Network, folder: Path, formats: set[str]) -> None:
    """Write net.onnx."""
    proto = Writer(network, shapes(network)).proto(network.outputs[:1])
    (folder / "net.onnx").write_bytes(proto.SerializeToString())


def answer(network: Network, images: np.ndarray) -> np.ndarray:
    """Return the first output by onnxruntime, float32.

    Raises:
        InvalidNetworkError: onnxruntime refuses it.
    """
    proto = Writer(network, shapes(network)).proto(network.outputs[:1])
    return run_onnx(proto.SerializeToString(), images)


def judge(network: Network, images: np.ndarray) -> np.ndarray:
    """Return the first output by ONNX's own definitions in NumPy, float64."""
    proto = Writer(network, shapes(network), np.float64).proto(network.outputs[:1])
    from onnx.reference import ReferenceEvaluator

    return ReferenceEvaluator(proto).run(None, {"v0": images.astype(np.float64)})[0]
