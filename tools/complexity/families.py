"""Families of files that grow: each is written for a size, and for twice that size.

The files are written byte by byte, without Paddle and without onnx: most of them are files that
neither would write.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

__all__ = ["FAMILIES", "Family"]

Json = Any


@dataclass(frozen=True)
class Family:
    """Files of one shape."""

    write: Callable[[Path, int], Path]  # into a folder, of a size; returns what is to be loaded
    size: int
    result: str  # what loading says: "loaded" or the name of an error; some may say either
    int8: bool = False
    bytes_of_a_byte: int = 100  # memory for each byte of the files


FAMILIES: dict[str, Family] = {}


def family(
    name: str, size: int, result: str = "loaded", **options: Any
) -> Callable[[Callable[[Path, int], Path]], Callable[[Path, int], Path]]:
    def add(write: Callable[[Path, int], Path]) -> Callable[[Path, int], Path]:
        assert name not in FAMILIES
        FAMILIES[name] = Family(write, size, result, **options)
        return write

    return add


# ---- the encoding of protocol buffers


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, value: float | str | bytes) -> bytes:
    """One field: an integer, a float32, or text, bytes or a message."""
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def fields(number: int, values: Iterable[int | float | str | bytes]) -> bytes:
    return b"".join(field(number, value) for value in values)


# ---- .onnx


def onnx_node(kind: str, inputs: str, output: str, **attributes: int | list[int]) -> bytes:
    made = fields(1, inputs.split()) + field(2, output) + field(4, kind)
    for name, value in attributes.items():
        if isinstance(value, list):
            made += field(5, field(1, name) + fields(8, value) + field(20, 7))
        else:
            made += field(5, field(1, name) + field(3, value) + field(20, 2))
    return field(1, made)


def onnx_constant(name: str, shape: list[int], raw: bytes, dtype: int = 1) -> bytes:
    return field(5, fields(1, shape) + field(2, dtype) + field(8, name) + field(9, raw))


def external_constant(name: str, shape: list[int], location: str, offset: int) -> bytes:
    entries = {"location": location, "offset": str(offset)}
    data = b"".join(field(13, field(1, key) + field(2, value)) for key, value in entries.items())
    return field(5, fields(1, shape) + field(2, 1) + field(8, name) + data + field(14, 1))


def onnx_value(number: int, name: str, shape: list[int]) -> bytes:
    dims = b"".join(field(1, field(1, size)) for size in shape)
    return field(number, field(1, name) + field(2, field(1, field(1, 1) + field(2, dims))))


def onnx(folder: Path, graph: bytes, sizes: list[int] | None = None) -> Path:
    """Write a model of nodes from x, an image of 1 x 4 x 4 unless other sizes are given, to y."""
    sizes = sizes or [1, 4, 4]
    first = onnx_constant("w0", [sizes[0], 1, 1, 1], ones(sizes[0]))
    first += onnx_node("Conv", "input w0", "x", group=sizes[0])
    ends = onnx_value(11, "input", [1, *sizes])
    ends += field(12, field(1, "y") + field(2, field(1, field(1, 1))))
    path = folder / "model.onnx"
    path.write_bytes(field(1, 8) + field(7, first + graph + ends) + field(8, field(2, 17)))
    return path


def ones(count: int) -> bytes:
    return struct.pack("<f", 1) * count


def names(size: int) -> list[str]:
    """x, then the names of `size` values, the last of which is y."""
    return ["x", *(f"v{i}" for i in range(1, size)), "y"]


def chain(size: int, kind: str, others: str = "", **attributes: int | list[int]) -> bytes:
    values = names(size)
    return b"".join(
        onnx_node(kind, f"{one} {others}", other, **attributes) for one, other in pairwise(values)
    )


FILTER = onnx_constant("w", [1, 1, 3, 3], ones(9))
PADDED = [1, 1, 1, 1]


@family("onnx convolutions that share a filter, in a chain", 500)
def _(folder: Path, size: int) -> Path:
    return onnx(folder, FILTER + chain(size, "Conv", "w", pads=PADDED))


@family("onnx sums, in a chain", 2000)
def _(folder: Path, size: int) -> Path:
    values = names(size)
    nodes = [onnx_node("Add", f"{one} {one}", to) for one, to in pairwise(values)]
    return onnx(folder, b"".join(nodes))


@family("onnx relus, in a chain", 2000)
def _(folder: Path, size: int) -> Path:
    return onnx(folder, chain(size, "Relu"))


@family("onnx convolutions side by side", 500)
def _(folder: Path, size: int) -> Path:
    nodes = [onnx_node("Conv", "x w", f"c{i}", pads=PADDED) for i in range(size)]
    joined = onnx_node("Concat", " ".join(f"c{i}" for i in range(size)), "y", axis=1)
    return onnx(folder, FILTER + b"".join(nodes) + joined)


@family("onnx convolutions, each added to the first", 500)
def _(folder: Path, size: int) -> Path:
    values = names(size)
    nodes = [
        onnx_node("Conv", f"{one} w", f"c{i}", pads=PADDED) + onnx_node("Add", f"c{i} x", to)
        for i, (one, to) in enumerate(pairwise(values))
    ]
    return onnx(folder, FILTER + b"".join(nodes))


@family("onnx tensors that are joined with the first, again and again", 60)
def _(folder: Path, size: int) -> Path:
    values = names(size)
    nodes = [
        onnx_node("Concat", f"{one} x", f"j{i}", axis=1)
        + onnx_node("Relu", f"j{i}", f"r{i}")
        + onnx_node("Conv", f"r{i} w", to)
        for i, (one, to) in enumerate(pairwise(values))
    ]
    return onnx(folder, onnx_constant("w", [1, 2, 1, 1], ones(2)) + b"".join(nodes))


@family("onnx products that share a matrix", 3000, "Unsupported")
def _(folder: Path, size: int) -> Path:
    side = int((10 * size) ** 0.5)
    graph = onnx_constant("w", [side, side], ones(side * side)) + onnx_node("Flatten", "x", "f")
    values = ["f", *names(size)[1:]]
    graph += b"".join(onnx_node("Gemm", f"{a} w", b) for a, b in pairwise(values))
    return onnx(folder, graph, [side, 1, 1])


@family("onnx factors after a large convolution", 2000)
def _(folder: Path, size: int) -> Path:
    graph = onnx_constant("w", [1, 1, size, 1], ones(size)) + onnx_constant("k", [], ones(1))
    graph += onnx_node("Conv", "x w", "v0")
    values = ["v0", *names(size)[1:]]
    graph += b"".join(onnx_node("Mul", f"{a} k", b) for a, b in pairwise(values))
    return onnx(folder, graph, [1, size, 1])


@family("onnx changes of one constant's shape", 2000)
def _(folder: Path, size: int) -> Path:
    graph = onnx_constant("k0", [size], ones(size))
    graph += onnx_constant("s", [3], struct.pack("<qqq", -1, 1, 1), 7)
    graph += b"".join(onnx_node("Reshape", f"k{i} s", f"k{i + 1}") for i in range(size))
    return onnx(folder, graph + onnx_node("Add", f"x k{size}", "y"), [size, 1, 1])


@family("onnx parts of one list", 2000, "Unsupported")
def _(folder: Path, size: int) -> Path:
    graph = onnx_constant("k0", [size], bytes(8 * size), 7)
    for name, value in {"zero": 0, "size": size}.items():
        graph += onnx_constant(name, [1], struct.pack("<q", value), 7)
    graph += b"".join(onnx_node("Slice", f"k{i} zero size", f"k{i + 1}") for i in range(size))
    return onnx(folder, graph + onnx_node("Reshape", f"x k{size}", "y"))


@family("onnx shapes of many dimensions", 2000, "Unsupported")
def _(folder: Path, size: int) -> Path:
    graph = onnx_constant("s", [size], struct.pack("<q", 1) * size, 7)
    return onnx(folder, graph + chain(size, "Reshape", "s"), [1, 1, 1])


def external(folder: Path, size: int, place: Callable[[int], tuple[str, int]]) -> Path:
    (folder / "values.bin").write_bytes(ones(100 * size))
    graph = b"".join(external_constant(f"k{i}", [50 * size], *place(i)) for i in range(size))
    return onnx(folder, graph + onnx_node("Relu", "x", "y"))


@family("onnx constants at one place of another file", 200)
def _(folder: Path, size: int) -> Path:
    return external(folder, size, lambda _: ("values.bin", 0))


@family("onnx constants that overlap in another file", 200, "BadModel")
def _(folder: Path, size: int) -> Path:
    return external(folder, size, lambda i: ("values.bin", 4 * i))


@family("onnx constants in one file by many names", 100)
def _(folder: Path, size: int) -> Path:
    def name(i: int) -> str:
        return "".join("./" if i >> bit & 1 else ".//" for bit in range(16)) + "values.bin"

    return external(folder, size, lambda i: (name(i), 0))


@family("onnx one convolution of many groups", 2000)
def _(folder: Path, size: int) -> Path:
    graph = onnx_constant("w", [size, 1, 1, 1], ones(size))
    return onnx(folder, graph + onnx_node("Conv", "x w", "y", group=size), [size, 1, 1])


@family("onnx a tensor joined with itself", 2000)
def _(folder: Path, size: int) -> Path:
    return onnx(folder, onnx_node("Concat", " ".join(["x"] * size), "y", axis=1), [1, 1, 1])


@family("onnx long names", 2)
def _(folder: Path, size: int) -> Path:
    values = ["x", *(f"{'v' * 10_000 * size}{i}" for i in range(9)), "y"]
    return onnx(folder, b"".join(onnx_node("Relu", a, b) for a, b in pairwise(values)))


@family("onnx many attributes", 2000, "Unsupported")
def _(folder: Path, size: int) -> Path:
    attributes = {f"a{i}": i for i in range(size)}
    return onnx(folder, onnx_node("Relu", "x", "y", **attributes))


@family("onnx short attributes", 5000, "Unsupported")
def _(folder: Path, size: int) -> Path:
    attributes = fields(5, (field(1, f"{i:x}") for i in range(size)))
    node = field(1, field(1, "x") + field(2, "y") + field(4, "Relu") + attributes)
    return onnx(folder, node)


@family("onnx long attributes", 2000, "Unsupported")
def _(folder: Path, size: int) -> Path:
    node = onnx_node("MaxPool", "x", "y", kernel_shape=[1] * size, strides=[1] * size)
    return onnx(folder, node)


@family("onnx empty nodes", 150_000, "BadModel")
def _(folder: Path, size: int) -> Path:
    return onnx(folder, onnx_node("Relu", "x", "y") + field(1, b"") * size)


@family("onnx empty constants", 150_000, "BadModel")
def _(folder: Path, size: int) -> Path:
    return onnx(folder, field(5, b"") * size + onnx_node("Relu", "x", "y"))


@family("onnx graphs in graphs", 20, "Unsupported")
def _(folder: Path, size: int) -> Path:
    graph = b""
    for _ in range(size):
        graph = field(1, field(4, "If") + field(5, field(1, "b") + field(6, graph)) + b"\x0a\x01c")
    return onnx(folder, graph * 20 + onnx_node("If", "x", "y"))


# ---- .json

PLACE = {"#": "1.a_place", "D": [0, 0, ""]}


def dtype(name: str) -> Json:
    return {"#": "1.a_dtype", "D": name}


def value_type(shape: list[int]) -> Json:
    return {"#": "0.t_dtensor", "D": [{"#": "0.t_f32"}, shape, "NCHW", [], 0]}


def text(value: str) -> Json:
    return {"#": "0.a_str", "D": value}


def truth(value: bool) -> Json:
    return {"#": "0.a_bool", "D": value}


def array(kind: str, values: list[int]) -> Json:
    return {"#": "0.a_array", "D": [{"#": kind, "D": value} for value in values]}


class Pir:
    """A program of an image [N, 1, 4, 4], unless another shape is given."""

    def __init__(self, shape: list[int] | None = None) -> None:
        self.shape = shape or [-1, 1, 4, 4]
        self.operators: list[Json] = []
        self.parameters: dict[str, list[int]] = {}
        self.next = 1
        shape_of_input = {"#": "1.a_intarray", "D": self.shape}
        image = self.add(
            "1.data", [], self.shape,
            name=text("x"), shape=shape_of_input, dtype=dtype("float32"), place=PLACE,
        )  # fmt: skip
        channels = self.shape[1]
        first = self.parameter("w0", [channels, 1, 1, 1])
        self.input = self.convolution(image, first, 0, channels)

    def parameter(self, name: str, shape: list[int]) -> int:
        made = {"%": self.next, "TT": value_type(shape)}
        self.operators.append(
            {"#": "p", "A": [0, 1, 1, name], "DA": [], "O": made, "OA": [1, 0, 1], "QA": []}
        )
        self.parameters[name] = shape
        self.next += 1
        return self.next - 1

    def add(self, kind: str, inputs: list[int], to: list[int] | Json, **attributes: Json) -> int:
        made = {"%": self.next, "TT": value_type(to) if isinstance(to, list) else to}
        self.operators.append(
            {
                "#": kind,
                "A": [{"AT": value, "N": name} for name, value in attributes.items()],
                "I": [{"%": one} for one in inputs],
                "O": [made],
                "OA": [],
            }
        )
        self.next += 1
        return self.next - 1

    def convolution(self, image: int, weights: int, padding: int = 1, groups: int = 1) -> int:
        ints = {"strides": 1, "paddings": padding, "dilations": 1}
        return self.add(
            "1.conv2d", [image, weights], self.shape,
            **{name: array("0.a_i32", [value, value]) for name, value in ints.items()},
            padding_algorithm=text("EXPLICIT"), groups={"#": "0.a_i32", "D": groups},
            data_format=text("NCHW"),
        )  # fmt: skip

    def write(self, folder: Path, output: int, shape: list[int] | None = None) -> Path:
        column = {"#": "0.a_i32", "D": 0}
        self.add("1.fetch", [output], shape or self.shape, name=text("y"), col=column)
        block = {"#": "block_0", "args": [], "ops": self.operators}
        program = {
            "base_code": {"magic": "pir", "trainable": True, "version": 4},
            "program": {"regions": [{"#": "region_0", "blocks": [block]}]},
        }
        return write_paddle(folder, "model.json", json.dumps(program).encode(), self.parameters)


def record(shape: list[int], values: bytes, kind: int = 5) -> bytes:
    """One tensor of a .pdiparams file."""
    described = field(1, kind) + fields(2, shape)
    return bytes(16) + struct.pack("<i", len(described)) + described + values


def write_paddle(folder: Path, name: str, program: bytes, parameters: dict[str, list[int]]) -> Path:
    path = folder / name
    path.write_bytes(program)
    params = b""
    for parameter in sorted(parameters):
        count = 1
        for size in parameters[parameter]:
            count *= size
        params += record(parameters[parameter], bytes(4) if parameter == "zero" else ones(count))
    path.with_suffix(".pdiparams").write_bytes(params)
    return path


@family("json relus, in a chain", 1000)
def _(folder: Path, size: int) -> Path:
    program = Pir()
    last = program.input
    for _ in range(size):
        last = program.add("1.relu", [last], program.shape)
    return program.write(folder, last)


@family("json convolutions that share a filter, in a chain", 300)
def _(folder: Path, size: int) -> Path:
    program = Pir()
    weights = program.parameter("w", [1, 1, 3, 3])
    last = program.input
    for _ in range(size):
        last = program.convolution(last, weights)
    return program.write(folder, last)


@family("json convolutions, each added to the first", 300)
def _(folder: Path, size: int) -> Path:
    program = Pir()
    weights = program.parameter("w", [1, 1, 3, 3])
    last = program.input
    for _ in range(size):
        made = program.convolution(last, weights)
        last = program.add("1.add", [made, program.input], program.shape)
    return program.write(folder, last)


@family("json lists that many operators read", 1000, "BadModel")
def _(folder: Path, size: int) -> Path:
    program = Pir()
    types = {"#": "0.t_vec", "D": [value_type(program.shape)] * size}
    joined = program.add("0.combine", [program.input] * size, types)
    for _ in range(size):
        program.add("1.relu", [joined], program.shape)
    return program.write(folder, program.input)


@family("json parameters", 500)
def _(folder: Path, size: int) -> Path:
    program = Pir()
    last = program.input
    for i in range(size):
        last = program.add("1.add", [last, program.parameter(f"b{i}", [1, 1, 1])], program.shape)
    return program.write(folder, last)


@family("json changes of one parameter's shape", 500)
def _(folder: Path, size: int) -> Path:
    program = Pir([-1, size, 1, 1])
    bias = program.parameter("b", [size])
    shape = program.add(
        "1.full_int_array", [], {"#": "0.t_dtensor", "D": [{"#": "0.t_i64"}, [3], "NCHW", [], 0]},
        value=array("0.a_i64", [-1, 1, 1]), dtype=dtype("int64"), place=PLACE,
    )  # fmt: skip
    for _ in range(size):
        bias = program.add("1.reshape", [bias, shape], [size, 1, 1])
    return program.write(folder, program.add("1.add", [program.input, bias], program.shape))


@family("json nested lists", 2_000_000, "BadModel", bytes_of_a_byte=4)
def _(folder: Path, size: int) -> Path:
    return write_paddle(folder, "model.json", b"[" * size + b"]" * size, {})


@family("json many members", 5000, "BadModel")
def _(folder: Path, size: int) -> Path:
    document = {f"member {i}": {} for i in range(size)}
    return write_paddle(folder, "model.json", json.dumps(document).encode(), {})


@family("json many attributes", 1000, "BadModel or loaded")
def _(folder: Path, size: int) -> Path:
    program = Pir()
    attributes = {f"a{i}": truth(True) for i in range(size)}
    return program.write(
        folder, program.add("1.relu", [program.input], program.shape, **attributes)
    )


@family("json long texts", 2, "BadModel or loaded")
def _(folder: Path, size: int) -> Path:
    program = Pir()
    name = text("\\u0000" * 5000 * size)
    return program.write(folder, program.add("1.relu", [program.input], program.shape, name=name))


# ---- .pdmodel

ATTRIBUTE_TYPES = {"int": 0, "float": 1, "str": 2, "ints": 3, "bool": 6}
ATTRIBUTE_FIELDS = {"int": 3, "float": 4, "str": 5, "ints": 6, "bool": 10}


class Program:
    """A program before PIR, of an image [N, 1, 4, 4]."""

    shape = (-1, 1, 4, 4)

    def __init__(self) -> None:
        self.variables = b""
        self.operators = b""
        self.parameters: dict[str, list[int]] = {}
        self.declared = 0
        self.variable("feed", kind=9)
        self.variable("fetch", kind=10)
        self.add("feed", {"X": ["feed"]}, {"Out": self.variable("x")}, {"col": ("int", 0)})
        self.input = self.convolution("x", self.parameter("w0", [1, 1, 1, 1]), 0)

    def variable(
        self, name: str = "", shape: Iterable[int] = shape, kind: int = 7, kept: bool = False
    ) -> str:
        name = name or f"v{self.declared}"
        self.declared += 1
        described = field(1, kind)
        if kind == 7:
            described += field(3, field(1, field(1, 5) + fields(2, shape)))
        self.variables += field(3, field(1, name) + field(2, described) + field(3, int(kept)))
        return name

    def parameter(self, name: str, shape: list[int]) -> str:
        self.parameters[name] = shape
        return self.variable(name, shape, kept=True)

    def add(
        self,
        kind: str,
        inputs: dict[str, list[str]],
        outputs: dict[str, str],
        attributes: dict[str, tuple[str, Any]] | None = None,
    ) -> None:
        made = field(3, kind)
        for name, arguments in inputs.items():
            made += field(1, field(1, name) + fields(2, arguments))
        for name, argument in outputs.items():
            made += field(2, field(1, name) + field(2, argument))
        for name, (of, value) in (attributes or {}).items():
            values = value if isinstance(value, list) else [value]
            made += field(
                4,
                field(1, name)
                + field(2, ATTRIBUTE_TYPES[of])
                + fields(ATTRIBUTE_FIELDS[of], values),
            )
        self.operators += field(4, made)

    def unary(self, kind: str, value: str, **attributes: tuple[str, Any]) -> str:
        to = self.variable()
        self.add(kind, {"X": [value]}, {"Out": to}, attributes)
        return to

    def convolution(self, image: str, weights: str, padding: int = 1) -> str:
        to = self.variable()
        pair = ("ints", [1, 1])
        self.add(
            "conv2d",
            {"Input": [image], "Filter": [weights]},
            {"Output": to},
            {
                "strides": pair,
                "paddings": ("ints", [padding, padding]),
                "dilations": pair,
                "padding_algorithm": ("str", "EXPLICIT"),
                "groups": ("int", 1),
                "data_format": ("str", "NCHW"),
            },
        )
        return to

    def sum(self, one: str, other: str) -> str:
        to = self.variable()
        self.add("elementwise_add", {"X": [one], "Y": [other]}, {"Out": to}, {"axis": ("int", -1)})
        return to

    def pool(self, image: str) -> str:
        pair = ("ints", [1, 1])
        names = ("ceil_mode", "exclusive", "global_pooling", "adaptive")
        return self.unary(
            "pool2d", image, ksize=pair, strides=pair, paddings=("ints", [0, 0]),
            **dict.fromkeys(names, ("bool", 0)), data_format=("str", "NCHW"),
            pooling_type=("str", "max"), padding_algorithm=("str", "EXPLICIT"),
        )  # fmt: skip

    def rounded(self, value: str, scale: str, zero: str) -> str:
        """Quantized and dequantized."""
        attributes = {"bit_length": ("int", 8), "quant_axis": ("int", -1)}
        for kind in ("quantize_linear", "dequantize_linear"):
            to = self.variable()
            inputs = {"X": [value], "Scale": [scale], "ZeroPoint": [zero]}
            self.add(kind, inputs, {"Y": to}, attributes)
            value = to
        return value

    def bytes(self, output: str, more: bytes = b"") -> bytes:
        self.add("fetch", {"X": [output]}, {"Out": "fetch"}, {"col": ("int", 0)})
        return field(1, field(1, 0) + field(2, -1) + self.variables + self.operators) + more

    def write(self, folder: Path, output: str, more: bytes = b"") -> Path:
        return write_paddle(folder, "model.pdmodel", self.bytes(output, more), self.parameters)


@family("pdmodel relus, in a chain", 1000)
def _(folder: Path, size: int) -> Path:
    program = Program()
    last = program.input
    for _ in range(size):
        last = program.unary("relu", last)
    return program.write(folder, last)


@family("pdmodel convolutions that share a filter, each added to the first", 300)
def _(folder: Path, size: int) -> Path:
    program = Program()
    weights = program.parameter("w", [1, 1, 3, 3])
    last = program.input
    for _ in range(size):
        last = program.sum(program.convolution(last, weights), program.input)
    return program.write(folder, last)


@family("pdmodel variables that nothing reads", 5000)
def _(folder: Path, size: int) -> Path:
    program = Program()
    for _ in range(size):
        program.variable()
    return program.write(folder, program.unary("relu", program.input))


@family("pdmodel many attributes", 2000, "BadModel or loaded")
def _(folder: Path, size: int) -> Path:
    program = Program()
    attributes = {f"a{i}": ("int", i) for i in range(size)}
    return program.write(folder, program.unary("relu", program.input, **attributes))


@family("pdmodel long attributes", 5000, "BadModel")
def _(folder: Path, size: int) -> Path:
    program = Program()
    return program.write(folder, program.unary("relu", program.input, op_role=("ints", [1] * size)))


@family("pdmodel versions of operators", 2000)
def _(folder: Path, size: int) -> Path:
    program = Program()
    pairs = (field(1, f"op{i}") + field(2, field(1, 1)) for i in range(size))
    return program.write(folder, program.unary("relu", program.input), field(5, fields(1, pairs)))


def rounded_convolutions(folder: Path, size: int, *, from_first: bool) -> Path:
    program = Program()
    weights = program.parameter("w", [1, 1, 3, 3])
    scale, zero = program.parameter("scale", [1]), program.parameter("zero", [1])
    last = first = program.rounded(program.input, scale, zero)
    for _ in range(size):
        made = program.sum(program.convolution(last, weights), first if from_first else last)
        last = program.rounded(program.unary("relu", made), scale, zero)
    return program.write(folder, last)


@family("pdmodel rounded convolutions, each added to its input", 200, int8=True)
def _(folder: Path, size: int) -> Path:
    return rounded_convolutions(folder, size, from_first=False)


@family("pdmodel rounded convolutions, each added to the first", 200, "Unsupported", int8=True)
def _(folder: Path, size: int) -> Path:
    return rounded_convolutions(folder, size, from_first=True)


@family("pdmodel pools whose last result is rounded", 150, "Unsupported", int8=True)
def _(folder: Path, size: int) -> Path:
    program = Program()
    scale, zero = program.parameter("scale", [1]), program.parameter("zero", [1])
    last = program.input
    for _ in range(size):
        last = program.pool(last)
    return program.write(folder, program.rounded(last, scale, zero))


@family("separate files: one variable, declared again and again", 500, "BadModel")
def _(folder: Path, size: int) -> Path:
    program = Program()
    for _ in range(size):
        program.parameter("w", [100 * size])
    (folder / "w0").write_bytes(record([1, 1, 1, 1], ones(1)))
    last = program.unary("relu", program.input)
    (folder / "w").write_bytes(record([100 * size], ones(100 * size)))
    (folder / "__model__").write_bytes(program.bytes(last))
    return folder


# ---- .pdiparams, and what is beside a model


def small_model(folder: Path) -> Path:
    program = Program()
    return program.write(folder, program.unary("relu", program.input))


@family("pdiparams: many tensors", 2000, "BadModel")
def _(folder: Path, size: int) -> Path:
    path = small_model(folder)
    path.with_suffix(".pdiparams").write_bytes(record([1], ones(1)) * size)
    return path


@family("pdiparams: a tensor of many dimensions", 10_000, "BadModel")
def _(folder: Path, size: int) -> Path:
    path = small_model(folder)
    path.with_suffix(".pdiparams").write_bytes(record([1] * size, ones(1)))
    return path


@family("pdiparams: many levels", 10_000, "BadModel")
def _(folder: Path, size: int) -> Path:
    path = small_model(folder)
    levels = bytes(4) + struct.pack("<Q", size) + bytes(8 * size)
    path.with_suffix(".pdiparams").write_bytes(levels + record([1], ones(1))[12:])
    return path


@family("SHA256SUMS: many lines", 2000)
def _(folder: Path, size: int) -> Path:
    lines = (f"{i:064x}  file{i}\n" for i in range(size))
    (folder / "SHA256SUMS").write_text("".join(lines))
    return small_model(folder)


@family("SHA256SUMS: a long name", 100_000)
def _(folder: Path, size: int) -> Path:
    (folder / "SHA256SUMS").write_text(f"{0:064x}  {'n' * size}\n")
    return small_model(folder)


def write_description(folder: Path, steps: str, more: str = "") -> Path:
    path = folder / "preprocess.json"
    path.write_text(f'{{"format_version": 1, "mode": "L", "steps": [{steps}]{more}}}')
    return path


LAST_STEPS = '{"type": "Normalize", "scale": 1, "mean": [0], "std": [1]}, {"type": "ToCHW"}'


@family("preprocess.json: many steps", 1000)
def _(folder: Path, size: int) -> Path:
    return write_description(folder, '{"type": "CenterCrop", "size": [1, 1]}, ' * size + LAST_STEPS)


@family("preprocess.json: many means", 3000, "BadModel")
def _(folder: Path, size: int) -> Path:
    step = {"type": "Normalize", "scale": 1, "mean": [0] * size, "std": [1] * size}
    return write_description(folder, json.dumps(step) + ', {"type": "ToCHW"}')


@family("preprocess.json: nested lists", 2_000_000, "BadModel", bytes_of_a_byte=4)
def _(folder: Path, size: int) -> Path:
    return write_description(folder, "[" * size + "]" * size)


@family("preprocess.json: many members", 5000, "BadModel")
def _(folder: Path, size: int) -> Path:
    members = "".join(f', "member {i}": 0' for i in range(size))
    return write_description(folder, LAST_STEPS, members)


@family("manifest.json: many classes", 5000)
def _(folder: Path, size: int) -> Path:
    manifest = {
        "format_version": 1,
        "models": {"model.pdmodel": {}},
        "softmax": False,
        "classes": [f"class {i}" for i in range(size)],
    }
    path = folder / "manifest.json"
    path.write_text(json.dumps(manifest))
    return path
