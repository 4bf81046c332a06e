"""A graph of ONNX's own nodes that grows node by node.

A layer of such a network is a node. ``op`` is ONNX's operator, and ``attributes`` are the node's,
besides these:

- ``constants``, from the place of an input to a constant (``Graph.add`` has the forms)
- ``outputs``, how many the node has, and ``take``, which of them the layer's value is
- ``drawn``, the number by which the layer's constants are drawn where that is another one
- ``rounded``, the scale by which the input of a product is rounded to int8

The package onnx infers the shapes, for two numbers of images, so that nothing here has to know the
operators. The axis whose size differs between the two is that of the images.
"""

import math

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

from tools.hostile.networks import InvalidNetworkError, Layer, Network

COUNTS = (1009, 1013)  # of images: primes that are no other size of a graph
MOST_VALUES = 1 << 12  # of one image
NODES_ONLY = ("constants", "outputs", "take", "drawn", "rounded")
# Since this operator set an attribute is an input, at this place.
INPUTS = {
    ("Squeeze", "axes"): (13, 1),
    ("Unsqueeze", "axes"): (13, 1),
    ("Split", "split"): (13, 1),
    ("ReduceSum", "axes"): (13, 1),
    **{
        (f"Reduce{name}", "axes"): (18, 1)
        for name in ("Mean", "Max", "Min", "Prod", "L1", "L2", "LogSum", "LogSumExp", "SumSquare")
    },
}
# Of these the package onnx infers no shape; another operator gives the same.
SHAPE_OF = {"LessOrEqual": "Less", "GreaterOrEqual": "Greater"}


class Graph:
    """A network that grows; a node that does not fit raises ValueError.

    A value has a number, as in ``Layer.inputs``. ``shapes`` has the shapes of each for both COUNTS,
    and ``kinds`` the type of its elements.
    """

    def __init__(self, d, shape, **options):
        self.d = d
        self.network = Network("onnx", shape, [], [0], d.randrange(2**31), options)
        self.layers = self.network.layers
        self.opset = options["opset"]
        self.shapes = [tuple([count, *shape] for count in COUNTS)]
        self.kinds = [TensorProto.FLOAT]

    def shape(self, x):
        """Return the shape of a value, of COUNTS[0] images."""
        return self.shapes[x][0]

    def axis(self, x):
        """Return the axis of the images."""
        return images_axis(*self.shapes[x])

    def entries(self, x):
        """Return how many entries an image has on the axis of the images."""
        return self.shape(x)[self.axis(x)] // COUNTS[0]

    def others(self, x):
        """Return the axes that do not hold the images."""
        axis = self.axis(x)
        return [i for i in range(len(self.shape(x))) if i != axis]

    def is_float(self, x):
        return self.kinds[x] == TensorProto.FLOAT

    def values(self, fits=lambda x: True):
        """Return the numbers of the values that fit."""
        return [x for x in range(len(self.shapes)) if fits(x)]

    def add(self, op, *inputs, **attributes):
        """Add a node; return the number of its value.

        An input is a value's number or a constant, which is a dictionary with one of these:

        - ``shape`` of numbers that are drawn, with ``scale`` or, to be positive, ``least``; those
          of a mask have ``mask``, the number that hides.
        - ``ints`` or ``floats``, nested lists of numbers; {"images": n} is n times the number of
          images. With ``bools`` they are truth values. ``expand`` is the axis of the images of the
          first input, along which the constant is repeated for them.
        - ``none``, for an input that is left out.
        """
        constants = {}
        for name, (since, place) in ((k[1], v) for k, v in INPUTS.items() if k[0] == op):
            if name in attributes and self.opset >= since:
                inputs = [*inputs[:place], {"ints": attributes.pop(name)}]
        places = [each for each in inputs if not isinstance(each, dict)]
        constants = {str(i): each for i, each in enumerate(inputs) if isinstance(each, dict)}
        if constants:
            attributes["constants"] = constants
        layer = Layer(op, places, attributes)
        found = [
            inferred(layer, [(self.shapes[i][k], self.kinds[i]) for i in places], self.opset, count)
            for k, count in enumerate(COUNTS)
        ]
        shapes = tuple(shape for shape, _ in found)
        size = math.prod(shapes[0]) // COUNTS[0]
        images_axis(*shapes)
        if len(shapes[0]) > 6 or size > MOST_VALUES:
            raise ValueError("too large, or of too high a rank")
        self.layers.append(layer)
        self.shapes.append(shapes)
        self.kinds.append(found[0][1])
        return len(self.layers)

    def drop(self, count):
        """Drop all nodes but the first ``count``."""
        del self.layers[count:], self.shapes[count + 1 :], self.kinds[count + 1 :]

    def attempt(self, draw, *arguments):
        """Return what a function gives that adds nodes; nothing where they do not fit."""
        before = len(self.layers)
        try:
            return draw(self, *arguments)
        except (ValueError, IndexError, ZeroDivisionError):
            self.drop(before)
            return None


def images_axis(first, second):
    """Return the axis of the images from the shapes of two numbers of images."""
    axes = [i for i, sizes in enumerate(zip(first, second, strict=True)) if sizes[0] != sizes[1]]
    if len(axes) != 1 or first[axes[0]] % COUNTS[0]:
        raise ValueError("the same for all images, or the images are on several axes")
    return axes[0]


def whole(numbers, count, else_=None):
    """Return numbers with those that depend on the number of images filled in, or ``else_``."""
    if isinstance(numbers, dict):
        return numbers["images"] * count if else_ is None else else_
    if isinstance(numbers, list):
        return [whole(each, count, else_) for each in numbers]
    return numbers


def listed(spec, count, else_=None):
    """Return the array of a constant whose numbers are listed."""
    if "floats" in spec:
        return np.array(spec["floats"], np.float32)
    return np.array(whole(spec["ints"], count, else_), bool if spec.get("bools") else np.int64)


def inferred(layer, inputs, opset, count):
    """Return the shape and the type of a layer's value, from those of the values that it reads."""
    attributes = {k: v for k, v in layer.attributes.items() if k not in NODES_ONLY}
    if layer.op == "Cast":
        attributes["to"] = TensorProto.FLOAT
    constants = layer.attributes.get("constants", {})
    types, data, names = {}, {}, []
    given = iter(inputs)
    for place in range(len(inputs) + len(constants)):
        spec, name = constants.get(str(place)), f"i{place}"
        names.append("" if spec is not None and "none" in spec else name)
        if spec is None:
            shape, kind = next(given)
        elif "none" in spec:
            continue
        elif "ints" in spec or "floats" in spec:
            values = listed(spec, count)
            shape, kind = [*values.shape], helper.np_dtype_to_tensor_dtype(values.dtype)
            if "expand" in spec:
                shape[spec["expand"]] = inputs[0][0][spec["expand"]]
            else:
                data[name] = numpy_helper.from_array(values, name)
        else:
            shape, kind = spec["shape"], TensorProto.FLOAT
        types[name] = helper.make_tensor_type_proto(kind, shape)
    outputs = [f"o{i}" for i in range(layer.attributes.get("outputs", 1))]
    if layer.op == "GroupNormalization":  # the package onnx infers no shape
        return inputs[0]
    try:
        onnx.defs.get_schema(layer.op, opset, "")  # the set has the operator
        op = SHAPE_OF.get(layer.op, layer.op)
        node = helper.make_node(op, names, outputs, **attributes)
        schema = onnx.defs.get_schema(op, opset, "")
        imports = [helper.make_opsetid("", opset)]
        found = shape_inference.infer_node_outputs(
            schema, node, types, data, opset_imports=imports, ir_version=8
        )
        tensor = found[outputs[layer.attributes.get("take", 0)]].tensor_type
        sizes = [dim.dim_value for dim in tensor.shape.dim if dim.HasField("dim_value")]
        if len(sizes) != len(tensor.shape.dim) or not tensor.HasField("shape"):
            raise ValueError("the shape is not known")
    except (
        onnx.defs.SchemaError,
        onnx.checker.ValidationError,
        shape_inference.InferenceError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:
        raise ValueError(str(error)) from error
    return sizes, tensor.elem_type


def known(network, count=2):
    """Return the shape and the type of each value, for a number of images."""
    found = [([count, *network.shape], TensorProto.FLOAT)]
    try:
        for layer in network.layers:
            inputs = [found[i] for i in layer.inputs]
            found.append(inferred(layer, inputs, network.options["opset"], count))
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise InvalidNetworkError(f"{layer.op} {layer.attributes}: {error!r}") from error
    return found
