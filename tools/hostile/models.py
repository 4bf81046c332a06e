"""Models written byte by byte, without Paddle and without onnx: also such as neither would write.

A model has an image as its input, by default of 1 x 4 x 4. A program is also read, as a tree of
fields to change.
"""

import json
import math
import struct
from dataclasses import dataclass

IMAGE = (-1, 1, 4, 4)
FILTER = (1, 1, 3, 3)
PLACE = {"#": "1.a_place", "D": [0, 0, ""]}
MESSAGES = {
    "Program": {1: "Block", 4: "Version", 5: "OpVersionMap"},
    "Block": {3: "Var", 4: "Op"},
    "Var": {2: "VarType"},
    "VarType": {3: "DenseTensor"},
    "DenseTensor": {1: "TensorDesc"},
    "Op": {1: "OpVar", 2: "OpVar", 4: "Attr"},
    "OpVersionMap": {1: "OpVersionPair"},
    "OpVersionPair": {2: "Version"},
    "OnnxModel": {7: "OnnxGraph", 8: "OnnxOpset"},
    "OnnxGraph": {1: "OnnxNode", 5: "OnnxTensor", **dict.fromkeys((11, 12, 13), "OnnxValue")},
    "OnnxNode": {5: "OnnxAttribute"},
    "OnnxAttribute": {5: "OnnxTensor"},
    "OnnxValue": {2: "OnnxType"},
    "OnnxType": {1: "OnnxTensorType"},
    "OnnxTensorType": {2: "OnnxShape"},
    "OnnxShape": {1: "OnnxDimension"},
}
"""The fields of framework.proto and onnx.proto that are messages, by the message they are in. A
.pdmodel is a ``Program``, an .onnx an ``OnnxModel``."""


def varint(value):
    """Encode a number; a negative one as 64 bits."""
    value &= (1 << 64) - 1
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)


def read_varint(data, at):
    """Read the number at a place; return it and the place after it."""
    end = next(i for i in range(at, len(data)) if data[i] < 0x80) + 1
    return sum((data[i] & 0x7F) << 7 * (i - at) for i in range(at, end)), end


def field(number, value):
    """Write one field: an integer, a float32, or text, bytes or a message."""
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def fields(number, values):
    """Write a repeated field."""
    return b"".join(field(number, value) for value in values)


@dataclass
class Node:
    """One field of a message: a number, bytes, or the fields of a message within.

    ``length`` is where it says its length, from and to, and the length.
    """

    number: int
    wire: int
    value: int | bytes | list
    kind: str = ""
    length: tuple[int, int, int] = (0, 0, 0)


def parse_message(data, kind, at=0, end=None):
    """Parse an undamaged message of a kind of ``MESSAGES``, or a part of one, into its fields."""
    nodes, end = [], len(data) if end is None else end
    while at < end:
        key, at = read_varint(data, at)
        node = Node(key >> 3, key & 7, b"")
        if node.wire == 0:
            node.value, at = read_varint(data, at)
        else:
            size, start = read_varint(data, at) if node.wire == 2 else ({1: 8, 5: 4}[node.wire], at)
            node.length, at = (at, start, size), start + size
            node.value = data[start:at]
            if node.wire == 2 and node.number in MESSAGES.get(kind, {}):
                node.kind = MESSAGES[kind][node.number]
                node.value = parse_message(data, node.kind, start, at)
        nodes.append(node)
    return nodes


def serialize(nodes):
    """Write fields as a message."""
    result = bytearray()
    for node in nodes:
        value = serialize(node.value) if isinstance(node.value, list) else node.value
        if isinstance(value, int):
            value = varint(value)
        elif node.wire == 2:
            value = varint(len(value)) + value
        result += varint(node.number << 3 | node.wire) + value
    return bytes(result)


def ones(count):
    """Return float32 values of 1."""
    return struct.pack("<f", 1) * count


# ---- .onnx


def onnx_graph(text):
    """Write constants and nodes, each described in a line.

    ``NAME : SHAPE`` is a constant of float32 ones, ``NAME : int64 VALUES`` one of integers; as
    ``floats SHAPE`` and ``list VALUES`` they are written as lists of numbers, not as raw bytes. A
    node is ``OUTPUTS = KIND INPUTS NAME=ATTRIBUTE...``, where ``_`` is an input that is left out.
    An attribute is an integer, a number with a point, a text, or integers with commas.
    """
    written = b""
    for line in filter(None, map(str.strip, text.splitlines())):
        constant, _, rest = line.partition(" : ")
        written += _onnx_constant(constant, rest.split()) if rest else _onnx_node(line)
    return written


def _onnx_constant(name, words):
    kind, *rest = words
    if kind in ("int64", "list"):
        values = [*map(int, rest)]
        raw = field(9, struct.pack(f"<{len(values)}q", *values))
        listed = field(7, b"".join(map(varint, values)))
        return field(5, onnx_tensor(name, [len(values)], raw if kind == "int64" else listed, 7))
    shape = [int(size) for size in words if size.isdigit()]
    data = field(4 if kind == "floats" else 9, ones(math.prod(shape)))
    return field(5, onnx_tensor(name, shape, data))


def onnx_tensor(name, shape, data, dtype=1):
    """Write a tensor with fields of data, without the number of the field that it is in."""
    return fields(1, shape) + field(2, dtype) + field(8, name) + data


def _onnx_node(line):
    outputs, _, rest = line.partition(" = ")
    kind, *words = rest.split()
    inputs = ["" if word == "_" else word for word in words if "=" not in word]
    node = fields(1, inputs) + fields(2, outputs.split()) + field(4, kind)
    for name, _, value in (word.partition("=") for word in words if "=" in word):
        node += field(5, field(1, name) + _onnx_attribute(value))
    return field(1, node)


def _onnx_attribute(value):
    if "," in value:
        return fields(8, map(int, filter(None, value.split(",")))) + field(20, 7)
    if value.lstrip("-").isdigit():
        return field(3, int(value)) + field(20, 2)
    if value[0].isalpha():
        return field(4, value) + field(20, 3)
    return field(2, float(value)) + field(20, 1)


def external_tensor(name, shape, location, offset=0):
    """Write a float32 tensor whose values are in another file."""
    entries = {"location": location, "offset": str(offset)}
    data = fields(13, (field(1, key) + field(2, value) for key, value in entries.items()))
    return onnx_tensor(name, shape, data + field(14, 1))


def _onnx_value(number, name, shape):
    described = field(1, 1)
    if shape is not None:
        sizes = (field(1, field(1 if isinstance(size, int) else 2, size)) for size in shape)
        described += field(2, b"".join(sizes))
    return field(number, field(1, name) + field(2, field(1, described)))


def onnx_model(graph, shape, opset=17, x="input", y=()):
    """Write a model of nodes and constants from an input to y, whose shape may be told."""
    graph += _onnx_value(11, x, shape)
    graph += _onnx_value(12, "y", ["N", *y] if y else None)
    return field(1, 8) + field(7, graph) + field(8, field(2, opset))


def write_onnx(folder, graph, sizes=IMAGE[1:]):
    """Write a model whose nodes begin with x, which is a convolution of the input."""
    first = onnx_graph(f"w0 : {sizes[0]} 1 1 1\nx = Conv input w0 group={sizes[0]}")
    path = folder / "model.onnx"
    path.write_bytes(onnx_model(first + graph, [1, *sizes]))
    return path


# ---- Paddle's formats


def record(shape, values=b"", kind=5):
    """Write one tensor of a .pdiparams file: of float32 ones when no values are given."""
    described = field(1, kind) + fields(2, shape)
    values = values or ones(math.prod(shape))
    return bytes(16) + struct.pack("<i", len(described)) + described + values


def value_type(shape, kind="f32"):
    """Return the type of a tensor in a .json."""
    return {"#": "0.t_dtensor", "D": [{"#": f"0.t_{kind}"}, [*shape], "NCHW", [], 0]}


def _pir_attribute(value):
    """Return an attribute of a .json; a dictionary is one already."""
    if isinstance(value, list):
        return {"#": "0.a_array", "D": [_pir_attribute(each) for each in value]}
    kinds = {bool: "0.a_bool", int: "0.a_i32", str: "0.a_str", float: "0.a_f32"}
    return {"#": kinds[type(value)], "D": value} if type(value) in kinds else value


class PaddleModel:
    """A program and its parameters; what a value is depends on the format.

    It begins with the input and a convolution of it, ``input``.
    """

    def __init__(self, shape=IMAGE):
        self.shape = shape
        self.parameters = {}
        self.input = self.conv(self._feed(), "w0", [shape[1], 1, 1, 1], shape[1])

    def parameter(self, name, shape):
        """Return the parameter of a name, declared when it is new."""
        if name not in self.parameters:
            self.parameters[name] = self._declare(name, shape), shape
        return self.parameters[name][0]

    def conv(self, x, w="w", shape=FILTER, groups=1):
        """Add a convolution by a filter, which has the size of the image padded likewise."""
        inputs = {"Input": [x], "Filter": [self.parameter(w, [*shape])]}
        window = {"strides": [1, 1], "paddings": [shape[2] // 2] * 2, "dilations": [1, 1]}
        more = {"groups": groups, "padding_algorithm": "EXPLICIT", "data_format": "NCHW"}
        return self.add("conv2d", inputs, "Output", **window, **more)

    def relu(self, x, **attributes):
        return self.add("relu", {"X": [x]}, **attributes)

    def sum(self, x, y):
        return self.add("elementwise_add", {"X": [x], "Y": [y]}, axis=-1)

    def write(self, folder, output):
        """Write the model with an output; the parameter named "zero" is a zero."""
        path = folder / f"model.{self.name}"
        path.write_bytes(self.bytes(output))
        shapes = {name: self.parameters[name][1] for name in sorted(self.parameters)}
        records = [record(shapes[name], bytes(4) * (name == "zero")) for name in shapes]
        path.with_suffix(".pdiparams").write_bytes(b"".join(records))
        return path


class Pir(PaddleModel):
    """A program of a .json, whose values are numbers."""

    name = "json"

    def __init__(self, shape=IMAGE):
        self.operators = []
        super().__init__(shape)

    def _feed(self):
        shape, dtype = {"#": "1.a_intarray", "D": [*self.shape]}, {"#": "1.a_dtype", "D": "float32"}
        return self.operator("1.data", [], name="x", dtype=dtype, place=PLACE, shape=shape)

    def _declare(self, name, shape):
        made = {"%": len(self.operators) + 1, "TT": value_type(shape)}
        made = {"A": [0, 1, 1, name], "DA": [], "O": made, "OA": [1, 0, 1], "QA": []}
        self.operators.append({"#": "p", **made})
        return len(self.operators)

    def operator(self, kind, inputs, to=None, **attributes):
        """Add an operator; its result has the shape of the image, or another shape or type."""
        type_ = to if isinstance(to, dict) else value_type(to or self.shape)
        made = [{"%": len(self.operators) + 1, "TT": type_}]
        taken = [{"%": one} for one in inputs]
        given = [{"AT": _pir_attribute(value), "N": at} for at, value in attributes.items()]
        self.operators.append({"#": kind, "A": given, "I": taken, "O": made, "OA": []})
        return len(self.operators)

    def add(self, kind, inputs, _to="Out", axis=None, **attributes):
        """Add an operator as a .pdmodel has it; sums have no axis here."""
        values = [value for each in inputs.values() for value in each]
        return self.operator(f"1.{kind.removeprefix('elementwise_')}", values, **attributes)

    def bytes(self, output):
        self.operator("1.fetch", [output], name="y", col=0)
        block = {"#": "block_0", "args": [], "ops": self.operators}
        base = {"magic": "pir", "trainable": True, "version": 4}
        program = {"regions": [{"#": "region_0", "blocks": [block]}]}
        return json.dumps({"base_code": base, "program": program}).encode()


class Program(PaddleModel):
    """A program of a .pdmodel, whose values are names; ``more`` are fields after its block."""

    name = "pdmodel"

    def __init__(self, shape=IMAGE, more=b""):
        self.variables, self.operators = bytearray(), bytearray()
        self.declared = 0
        self.more = more
        super().__init__(shape)

    def _feed(self):
        self.variable("feed", kind=9)
        self.variable("fetch", kind=10)
        return self.add("feed", {"X": ["feed"]}, col=0)

    def _declare(self, name, shape):
        return self.variable(name, shape, kept=True)

    def variable(self, name="", shape=None, kind=7, kept=False):
        """Declare a variable, of a tensor of the image's shape unless another is given."""
        name = name or f"v{self.declared}"
        self.declared += 1
        described = field(1, kind)
        if kind == 7:
            described += field(3, field(1, field(1, 5) + fields(2, shape or self.shape)))
        self.variables += field(3, field(1, name) + field(2, described) + field(3, int(kept)))
        return name

    def add(self, kind, inputs, to="Out", result="", **attributes):
        """Add an operator with one output, which is declared unless it is named."""
        result = result or self.variable()
        made = b"".join(field(1, field(1, at) + fields(2, names)) for at, names in inputs.items())
        made = field(3, kind) + made + field(2, field(1, to) + field(2, result))
        types = {int: (0, 3), float: (1, 4), str: (2, 5), list: (3, 6), bool: (6, 10)}
        for name, value in attributes.items():
            number, place = types[type(value)]
            values = value if isinstance(value, list) else [value]
            made += field(4, field(1, name) + field(2, number) + fields(place, values))
        self.operators += field(4, made)
        return result

    def pool(self, x):
        """Add a maximum of windows of one value."""
        window = {"ksize": [1, 1], "strides": [1, 1], "paddings": [0, 0]}
        flags = dict.fromkeys(("ceil_mode", "exclusive", "global_pooling", "adaptive"), False)
        kind = {"data_format": "NCHW", "pooling_type": "max", "padding_algorithm": "EXPLICIT"}
        return self.add("pool2d", {"X": [x]}, **window, **flags, **kind)

    def rounded(self, x):
        scale, zero = self.parameter("scale", [1]), self.parameter("zero", [1])
        inputs = {"Scale": [scale], "ZeroPoint": [zero]}
        for kind in ("quantize_linear", "dequantize_linear"):
            x = self.add(kind, {"X": [x], **inputs}, "Y", bit_length=8, quant_axis=-1)
        return x

    def bytes(self, output):
        self.add("fetch", {"X": [output]}, result="fetch", col=0)
        return field(1, field(1, 0) + field(2, -1) + self.variables + self.operators) + self.more
