"""From an ONNX classifier to the steps of a Paddle network.

Whatever wrote the file, the graph is reduced to a few functions of Paddle by a table of operators
(:mod:`lenet_cpp.interchange.onnx.rules`). What depends on no pixel is computed beforehand, a fixed
number of images is made free, paddings and sizes are written out, and every name is ours: no name,
text or operator of the file is left.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp.errors import BadInput, BadModel, Unsupported
from lenet_cpp.interchange.onnx.files import OnnxSession, describe_onnx
from lenet_cpp.interchange.onnx.rules import RULES
from lenet_cpp.interchange.onnx.steps import INPUT, Node, Steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx
    from numpy.typing import NDArray

_OLDEST = 7  # before, operators did not broadcast as NumPy does
_BATCHES = (2, 3)
_MOST_PIXELS = 2**25


def to_steps(
    model: onnx.ModelProto, *, input_shape: Sequence[int] | None = None, output: str | None = None
) -> Steps:
    """Reduce a classifier that is :func:`upgraded` to steps, see the module.

    They go from ``x``, float32 [N, ...] for any N, to float32 [N, classes].

    Raises:
        Unsupported: An operator cannot be converted, which is named; or the model is no classifier
            of one float32 input.
        BadInput: The shape of one image or the output has to be named, or is wrong.
    """
    image, wanted = _shape_and_output(model, input_shape, output)
    info = describe_onnx(model)
    nodes = _nodes(model, info.opset)
    depends = _dependent(nodes, info.inputs[0].name, wanted)
    kinds = {node.kind for node in nodes if set(node.outputs) & depends}
    if unknown := sorted(kinds - RULES.keys()):
        raise Unsupported(
            f"the ONNX operator{'s' * (len(unknown) > 1)} {', '.join(unknown)} cannot be converted;"
            f" known are {', '.join(sorted(RULES))}"
        )
    shapes, known = _measure(_freed(model, image, nodes, depends), nodes, depends, image)
    steps = Steps(image, shapes, known, {info.inputs[0].name: INPUT})
    for node in nodes:
        if set(node.outputs) & depends:
            RULES[node.kind](steps, node)
    _finish(steps, wanted)
    return steps


def _shape_and_output(
    model: onnx.ModelProto, input_shape: Sequence[int] | None, output: str | None
) -> tuple[tuple[int, ...], str]:
    """The shape of one image, and the name of the output."""
    info = describe_onnx(model)
    if len(info.inputs) != 1:
        raise Unsupported(f"the ONNX model has {len(info.inputs)} inputs; models with one only")
    spec = info.inputs[0]
    if spec.dtype != "float32" or len(spec.shape) < 2:
        raise Unsupported(
            f"the input of the ONNX model is {spec.dtype}{list(spec.shape)}; models that take"
            " float32 [N, ...] are supported"
        )
    image = spec.shape[1:]
    if input_shape is not None:
        given = tuple(input_shape)
        if len(given) != len(image) or any(
            a < 1 or b not in {-1, a} for a, b in zip(given, image, strict=True)
        ):
            raise BadInput(f"the ONNX model takes images {list(image)}, not {list(given)}")
        image = given
    if -1 in image:
        raise BadInput(
            f"the ONNX model takes images of any size, {list(image)}: say which (--input_shape)"
        )
    if math.prod(image) > _MOST_PIXELS:
        raise Unsupported(f"images {list(image)} are larger than this takes")
    names = [one.name for one in info.outputs]
    if output is None and len(names) > 1:
        shown = ", ".join(map(ascii, names[:10]))
        raise BadInput(f"the ONNX model has several outputs: say which (--output_name): {shown}")
    if output is not None and output not in names:
        raise BadInput(f"the ONNX model has no output {output!r}")
    return image, output or names[0]


def upgraded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model, with a newer operator set when it has one that onnxruntime cannot run.

    Raises:
        Unsupported: onnx cannot convert it.
    """
    from onnx import version_converter

    opset = describe_onnx(model).opset
    if opset >= _OLDEST:
        return model
    try:
        return version_converter.convert_version(model, _OLDEST)
    except Exception as error:
        raise Unsupported(
            f"the ONNX model is of operator set {opset} and cannot be brought to {_OLDEST}:"
            f" {' '.join(str(error).split())[:200]}"
        ) from error


def _nodes(model: onnx.ModelProto, opset: int) -> list[Node]:
    from onnx import AttributeProto, helper, numpy_helper

    found = []
    for node in model.graph.node:
        attributes: dict[str, Any] = {}
        for attribute in node.attribute:
            if attribute.type in {AttributeProto.GRAPH, AttributeProto.GRAPHS}:
                raise Unsupported(f"the ONNX operator {_kind(node)} has a graph inside")
            value = helper.get_attribute_value(attribute)
            if attribute.type == AttributeProto.TENSOR:
                value = numpy_helper.to_array(value)
            elif isinstance(value, bytes):
                value = value.decode("utf-8", "replace")
            attributes[attribute.name] = value
        found.append(Node(_kind(node), tuple(node.input), tuple(node.output), attributes, opset))
    return found


def _kind(node: onnx.NodeProto) -> str:
    standard = node.domain in {"", "ai.onnx"}
    name = node.op_type if standard else f"{node.domain}.{node.op_type}"
    return name if name.isidentifier() else ascii(name[:60])


def _dependent(nodes: Sequence[Node], input_name: str, output: str) -> set[str]:
    """The tensors between the image and the output, by value and not by shape alone."""
    after = {input_name}
    for node in nodes:
        if node.kind not in {"Shape", "Size"} and after & set(node.inputs):
            after |= set(filter(None, node.outputs))
    if output not in after:
        raise BadModel("the output of the ONNX model does not depend on its input")
    before = {output}
    for node in reversed(nodes):
        if before & set(node.outputs):
            before |= set(node.inputs)
    return after & before


def _freed(
    model: onnx.ModelProto, image: Sequence[int], nodes: Sequence[Node], depends: set[str]
) -> onnx.ModelProto:
    """A copy that takes any number of images, and gives every tensor that is asked for."""
    import onnx
    from onnx import helper, numpy_helper

    info = describe_onnx(model)
    fixed, name = info.batch, info.inputs[0].name
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ir_version = max(copy.ir_version, 4)  # weights need not be inputs from there on
    graph = copy.graph
    del graph.input[:], graph.value_info[:], graph.output[:]
    graph.input.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", *image]))
    asked = {
        one
        for node in nodes
        if set(node.outputs) & depends
        for one in (*node.inputs, *(set(node.outputs) & depends))
    }
    made = {one for node in nodes for one in node.outputs}
    graph.output.extend(onnx.ValueInfoProto(name=one) for one in sorted(asked & made))
    if fixed > 0:  # a shape that was written for so many images
        arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        arrays |= {
            node.outputs[0]: node.attributes["value"]
            for node in nodes
            if node.kind == "Constant" and "value" in node.attributes
        }
        for index, node in enumerate(graph.node):
            if node.op_type != "Reshape" or node.input[0] not in depends:
                continue
            shape = arrays.get(node.input[1])
            if shape is not None and shape.size and shape.flat[0] == fixed:
                free = f"lenet_cpp_shape_{index}"
                rest = [int(size) for size in shape.flat[1:]]
                images = 0 if -1 in rest else -1  # as many as before, or whatever remains
                graph.initializer.append(
                    numpy_helper.from_array(np.array([images, *rest], np.int64), free)
                )
                kept = [one for one in node.attribute if one.name != "allowzero"]
                del node.attribute[:]
                node.attribute.extend(kept)
                node.input[1] = free
    return copy


def _measure(
    model: onnx.ModelProto, nodes: Sequence[Node], depends: set[str], image: Sequence[int]
) -> tuple[dict[str, tuple[int, ...]], dict[str, NDArray[Any]]]:
    """Run the model to see the shapes of all tensors, and what depends on no pixel."""
    from onnx import numpy_helper

    session = OnnxSession(model)
    names = [output.name for output in model.graph.output]
    random = np.random.default_rng(0)
    found: dict[str, list[tuple[int, ...]]] = {name: [] for name in names}
    constants: dict[str, list[NDArray[Any]]] = {name: [] for name in names if name not in depends}
    for count in _BATCHES:
        for name, value in zip(
            names, session.run(random.random((count, *image), np.float32)), strict=True
        ):
            found[name].append(value.shape)
            if name in constants:
                constants[name].append(value)
            elif value.dtype != np.float32:
                kind = next(node.kind for node in nodes if name in node.outputs)
                raise Unsupported(
                    f"the ONNX operator {kind} gives {value.dtype}: classifiers that compute in"
                    " float32 are supported"
                )
    shapes = {model.graph.input[0].name: (-1, *image)}
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for name, (one, other) in found.items():
        if len(one) != len(other) or (name in constants and one != other):
            raise Unsupported("the ONNX model gives other dimensions for other numbers of images")
        if name in constants:
            first, second = constants[name]
            known[name] = np.where(first == second, first, -1).astype(first.dtype)
        else:
            shapes[name] = tuple(a if a == b else -1 for a, b in zip(one, other, strict=True))
    return shapes, known


def _finish(steps: Steps, wanted: str) -> None:
    """Name the output, and give it the shape [N, classes]."""
    shape, last = steps.shapes[wanted], steps.names[wanted]
    if last in steps.padding:
        raise Unsupported("the ONNX operator Pad at the end of a model cannot be converted")
    if len(shape) < 2 or shape[0] != -1 or shape[1] < 1 or any(size != 1 for size in shape[2:]):
        raise Unsupported(
            f"the output of the ONNX model is {list(shape)}: a classifier gives [N, classes]"
        )
    steps.output = last if len(shape) == 2 else steps.reshape(last, (-1, shape[1]))
    steps.classes = shape[1]
    if not steps.steps:
        raise Unsupported("the ONNX model does nothing to its input")
