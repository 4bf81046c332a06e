"""From an ONNX classifier to the steps of a Paddle network.

Whatever wrote the file, the graph is reduced to a few functions of Paddle by a table of operators
(:mod:`lenet_cpp.interchange.onnx.rules`). What depends on no pixel is computed beforehand, a fixed
number of images is made free, paddings and sizes are written out, and every name is ours: no name,
text or operator of the file is left.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_cpp._base.frameworks import onnx
from lenet_cpp.errors import BadInput, BadModel, Unsupported
from lenet_cpp.formats.tensor_spec import TensorSpec, fix_image
from lenet_cpp.interchange.onnx.files import OnnxInfo, OnnxSession, describe_onnx, one_line
from lenet_cpp.interchange.onnx.rules import RULES
from lenet_cpp.interchange.onnx.steps import INPUT, Node, Steps

_OLDEST = 7  # the first operator set whose operators broadcast as NumPy does
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
    info = describe_onnx(model)
    image, wanted = _shape_and_output(info, input_shape, output)
    steps = Steps(image, names={info.inputs[0].name: INPUT})
    nodes = _nodes(model, info.opset, steps)
    depends = _dependent(nodes, info.inputs[0].name, wanted)
    computed = [node for node in nodes if depends & set(node.outputs)]
    if unknown := sorted({node.kind for node in computed} - RULES.keys()):
        raise Unsupported(
            f"the ONNX operator{'s' * (len(unknown) > 1)} {', '.join(unknown)} cannot be converted;"
            f" known are {', '.join(sorted(RULES))}"
        )
    _measure(model, computed, depends, steps)
    for node in computed:
        found = RULES[node.kind](node)
        steps.names |= zip(node.outputs, [found] if isinstance(found, str) else found, strict=False)
    _finish(steps, wanted)
    return steps


def only_input(info: OnnxInfo) -> TensorSpec:
    """Return the input of images, float32; Unsupported when it is not the only one, or another."""
    if len(info.inputs) != 1:
        raise Unsupported(f"the ONNX model has {len(info.inputs)} inputs; models with one only")
    spec = info.inputs[0]
    if spec.dtype != "float32" or len(spec.shape) < 2:
        raise Unsupported(
            f"the input of the ONNX model is {spec.dtype}{list(spec.shape)}; models that take"
            " float32 [N, ...] are supported"
        )
    return spec


def _shape_and_output(
    info: OnnxInfo, input_shape: Sequence[int] | None, output: str | None
) -> tuple[tuple[int, ...], str]:
    """Return the shape of one image, and the name of the output."""
    image = only_input(info).shape[1:]
    if input_shape is not None:
        image = fix_image("the ONNX model", image, input_shape)
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
    """Return the model, with a newer operator set when onnxruntime cannot run that of the model.

    Raises:
        Unsupported: The model cannot be brought to the newer operator set.
    """
    opset = describe_onnx(model).opset
    if opset >= _OLDEST:
        return model
    try:
        return onnx.version_converter.convert_version(model, _OLDEST)
    except Exception as error:
        raise Unsupported(
            f"the ONNX model is of operator set {opset} and cannot be brought to {_OLDEST}:"
            f" {one_line(error)}"
        ) from error


def _nodes(model: onnx.ModelProto, opset: int, steps: Steps) -> list[Node]:
    return [
        Node(
            steps,
            kind=_kind(node),
            inputs=tuple(node.input),
            outputs=tuple(node.output),
            attributes={
                attribute.name: _attribute(node, attribute) for attribute in node.attribute
            },
            opset=opset,
        )
        for node in model.graph.node
    ]


def _attribute(node: onnx.NodeProto, attribute: onnx.AttributeProto) -> Any:
    """Return the value of an attribute, with text as ``str`` and a tensor as an array."""
    if attribute.type in {onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS}:
        raise Unsupported(f"the ONNX operator {_kind(node)} has a graph inside")
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.type == onnx.AttributeProto.TENSOR:
        return onnx.numpy_helper.to_array(value)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _kind(node: onnx.NodeProto) -> str:
    standard = node.domain in {"", "ai.onnx"}
    name = node.op_type if standard else f"{node.domain}.{node.op_type}"
    return name if name.isidentifier() else ascii(name[:60])


def _dependent(nodes: Sequence[Node], input_name: str, output: str) -> set[str]:
    """Return the tensors between the image and the output, by value and not by shape alone."""
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


def _measure(
    model: onnx.ModelProto, computed: Sequence[Node], depends: set[str], steps: Steps
) -> None:
    """Run the model to see the shapes of all tensors, and what depends on no pixel."""
    info = describe_onnx(model)
    steps.shapes[info.inputs[0].name] = (-1, *steps.image)
    for tensor in model.graph.initializer:
        steps.known[tensor.name] = onnx.numpy_helper.to_array(tensor)
    asked = depends.union(*(node.inputs for node in computed))
    made = {name for node in model.graph.node for name in node.output if name}
    # When the number of images is free, what differs between the runs depends on that number.
    counts = (2, 3) if info.batch < 0 else (info.batch, info.batch)
    random = np.random.default_rng(0)
    batches = (random.random((count, *steps.image), np.float32) for count in counts)
    names = sorted(asked & made)
    for name, one, other in zip(names, *_tensors(model, names, batches), strict=True):
        if one.ndim != other.ndim or (name not in depends and one.shape != other.shape):
            raise Unsupported("the ONNX model gives other dimensions for other numbers of images")
        if name in depends:
            _check_float32(computed, name, one.dtype)
            steps.shapes[name] = _shape_of_any_batch(one.shape, other.shape, info.batch)
        else:
            steps.known[name] = np.where(one == other, one, -1).astype(one.dtype)


def _tensors(
    model: onnx.ModelProto, names: Sequence[str], batches: Iterable[NDArray[np.float32]]
) -> list[list[NDArray[Any]]]:
    """Return the named tensors of the model for each batch, also those inside of the graph."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.value_info[:], copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = OnnxSession(copy)
    return [session.run(batch) for batch in batches]


def _check_float32(nodes: Sequence[Node], name: str, dtype: np.dtype[Any]) -> None:
    """Refuse a tensor of another type, and name the operator that computes it."""
    if dtype != np.float32:
        kind = next(node.kind for node in nodes if name in node.outputs)
        raise Unsupported(
            f"the ONNX operator {kind} gives {dtype}: classifiers that compute in float32 are"
            " supported"
        )


def _shape_of_any_batch(
    one: tuple[int, ...], other: tuple[int, ...], fixed_batch: int
) -> tuple[int, ...]:
    """Return a tensor's shape from two runs; -1 stands for the number of images."""
    shape = [a if a == b else -1 for a, b in zip(one, other, strict=True)]
    if shape[:1] == [fixed_batch]:  # the file is for so many images
        shape[0] = -1
    return tuple(shape)


def _finish(steps: Steps, wanted: str) -> None:
    """Name the output, and give it the shape [N, classes]."""
    shape, last = steps.shapes[wanted], steps.names[wanted]
    if last in steps.padding:
        raise Unsupported("the ONNX operator Pad at the end of a model cannot be converted")
    if len(shape) < 2 or shape[0] != -1 or shape[1] < 1 or any(size != 1 for size in shape[2:]):
        raise Unsupported(
            f"the output of the ONNX model is {list(shape)}: a classifier gives [N, classes]"
        )
    steps.output = last if len(shape) == 2 else steps.add("reshape", last, shape=[-1, shape[1]])
    steps.classes = shape[1]
    if not steps.steps:
        raise Unsupported("the ONNX model does nothing to its input")
