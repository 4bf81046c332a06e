"""Families of files that grow: each is written for a size, and for twice that size."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from tools.hostile import models
from tools.hostile.models import Pir, Program, ones, onnx_graph, record
from tools.hostile.wire import field, fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Family:
    """Files of one shape."""

    write: Callable[[Path, int], Path]  # into a folder, of a size; returns what is to be loaded
    size: int
    result: str  # what loading says: "loaded" or the name of an error; some may say either
    int8: bool = False
    bytes_of_a_byte: int = 128  # memory for each byte of the files


FAMILIES: dict[str, Family] = {}


def family(
    name: str, size: int, write: Callable[[Path, int], Path], result: str = "loaded", **more: Any
) -> None:
    assert name not in FAMILIES
    FAMILIES[name] = Family(write, size, result, **more)


# ---- .onnx

# Name, size and result; the sizes of the image, where they are not 1 4 4; constants and nodes, of
# which those with a star are repeated. {n} is the size, {i} and {j} are i and i + 1; {a} is what
# the nodes before gave and {b} what these give, which is y in the end.
ONNX = """
convolutions that share a filter, in a chain: 500 loaded
    w : 1 1 3 3
    * {b} = Conv {a} w pads=1,1,1,1
sums, in a chain: 2000 loaded
    * {b} = Add {a} {a}
relus, in a chain: 2000 loaded
    * {b} = Relu {a}
convolutions side by side: 500 loaded
    w : 1 1 3 3
    * c{i} = Conv x w pads=1,1,1,1
    y = Concat {every_c} axis=1
convolutions, each added to the first: 500 loaded
    w : 1 1 3 3
    * c{i} = Conv {a} w pads=1,1,1,1
    * {b} = Add c{i} x
tensors that are joined with the first, again and again: 60 loaded
    w : 1 2 1 1
    * j{i} = Concat {a} x axis=1
    * r{i} = Relu j{i}
    * {b} = Conv r{i} w
products that share a matrix: 3000 Unsupported
    image {root} 1 1
    w : {root} {root}
    f = Flatten x
    * {b} = Gemm {a} w
factors after a large convolution: 2000 loaded
    image 1 {n} 1
    w : 1 1 {n} 1
    k : []
    c = Conv x w
    * {b} = Mul {a} k
changes of one constant's shape: 2000 loaded
    image {n} 1 1
    k0 : {n}
    s : int64 -1 1 1
    * k{j} = Reshape k{i} s
    y = Add x k{n}
parts of one list: 2000 Unsupported
    k0 : int64 {zeros}
    zero : int64 0
    size : int64 {n}
    * k{j} = Slice k{i} zero size
    y = Reshape x k{n}
shapes of many dimensions: 2000 Unsupported
    image 1 1 1
    s : int64 {ones}
    * {b} = Reshape {a} s
one convolution of many groups: 2000 loaded
    image {n} 1 1
    w : {n} 1 1 1
    y = Conv x w group={n}
a tensor joined with itself: 2000 loaded
    image 1 1 1
    y = Concat {every_x} axis=1
many attributes: 2000 Unsupported
    y = Relu x {attributes}
long attributes: 2000 Unsupported
    y = MaxPool x kernel_shape={list} strides={list}
"""


def expanded(lines: list[str], size: int) -> str:
    """Return the lines of a graph of a size."""
    values = {
        "n": size,
        "root": int((10 * size) ** 0.5),
        "zeros": "0 " * size,
        "ones": "1 " * size,
        "list": "1," * size,
        "every_x": "x " * size,
        "every_c": " ".join(f"c{i}" for i in range(size)),
        "attributes": " ".join(f"a{i}={i}" for i in range(size)),
    }
    last, text = "x", []
    for starred, group in groupby(lines, key=lambda line: line.startswith("* ")):
        nodes = "\n".join(line.removeprefix("* ") for line in group)
        if not starred:
            text.append(nodes.format(**values))
            last = nodes.splitlines()[-1].partition(" = ")[0] if " = " in nodes else last
            continue
        names = [last, *(f"v{i}" for i in range(1, size)), "y"]
        text += [
            nodes.format(a=names[i], b=names[i + 1], i=i, j=i + 1, n=size) for i in range(size)
        ]
    return "\n".join(text)


def write_onnx(folder: Path, size: int, lines: list[str]) -> Path:
    text = expanded(lines, size)
    image, _, rest = text.partition("\n") if text.startswith("image") else ("image 1 4 4", "", text)
    return models.write_onnx(folder, onnx_graph(rest), [*map(int, image.split()[1:])])


def onnx_families() -> Iterator[tuple[str, list[str]]]:
    """Yield the heads and the lines of the table above."""
    head, lines = "", []
    for line in ONNX.strip().splitlines():
        if line.startswith(" "):
            lines.append(line.strip())
            continue
        if head:
            yield head, lines
        head, lines = line, []
    yield head, lines


for _head, _lines in onnx_families():
    _name, _, _rest = _head.rpartition(": ")
    _size, _result = _rest.split()
    family(
        f"onnx {_name}", int(_size), lambda to, n, lines=_lines: write_onnx(to, n, lines), _result
    )


def onnx(name: str, size: int, graph: Callable[[int], bytes], result: str) -> None:
    """Add a family of graphs that other bytes than those of nodes make large."""
    family(f"onnx {name}", size, lambda to, n: models.write_onnx(to, graph(n)), result)


def long_names(size: int) -> bytes:
    return onnx_graph(expanded(["* {b} = Relu {a}"], 10).replace("v", "v" * 10_000 * size))


def short_attributes(size: int) -> bytes:
    attributes = fields(5, (field(1, f"{i:x}") for i in range(size)))
    return field(1, field(1, "x") + field(2, "y") + field(4, "Relu") + attributes)


def graphs_in_graphs(size: int) -> bytes:
    graph = b""
    for _ in range(size):
        graph = field(1, field(4, "If") + field(5, field(1, "b") + field(6, graph)) + b"\x0a\x01c")
    return graph * 20 + onnx_graph("y = If x")


RELU = onnx_graph("y = Relu x")
onnx("long names", 2, long_names, "loaded")
onnx("short attributes", 5000, short_attributes, "Unsupported")
onnx("empty nodes", 150_000, lambda n: RELU + field(1, b"") * n, "BadModel")
onnx("empty constants", 150_000, lambda n: field(5, b"") * n + RELU, "BadModel")
onnx("graphs in graphs", 20, graphs_in_graphs, "Unsupported")


def long_path(i: int) -> str:
    """Return one of many names of the same file."""
    return "".join("./" if i >> bit & 1 else ".//" for bit in range(16)) + "values.bin"


def external(name: str, size: int, place: Callable[[int], tuple[str, int]], result: str) -> None:
    def write(folder: Path, size: int) -> Path:
        (folder / "values.bin").write_bytes(ones(100 * size))
        where = (place(i) for i in range(size))
        tensors = (models.external_tensor(f"k{i}", [50 * size], *at) for i, at in enumerate(where))
        return models.write_onnx(folder, fields(5, tensors) + RELU)

    family(f"onnx constants {name}", size, write, result)


external("at one place of another file", 200, lambda _: ("values.bin", 0), "loaded")
external("that overlap in another file", 200, lambda i: ("values.bin", 4 * i), "BadModel")
external("in one file by many names", 100, lambda i: (long_path(i), 0), "loaded")


# ---- .json and .pdmodel: functions that make a program of a size and return its output

AnyProgram = Any


def paddle(
    name: str, size: int, result: str = "loaded", formats: str = "json pdmodel", **options: Any
) -> Callable[[Callable[[AnyProgram, int], Any]], None]:
    def add(make: Callable[[AnyProgram, int], Any]) -> None:
        for kind in (Pir, Program):

            def write(folder: Path, size: int, kind: Any = kind) -> Path:
                program = kind()
                path: Path = program.write(folder, make(program, size))
                return path

            if kind.name in formats:
                family(f"{kind.name} {name}", size, write, result, **options)

    return add


def chain(first: Any, size: int, step: Callable[[Any], Any]) -> Any:
    for _ in range(size):
        first = step(first)
    return first


paddle("relus, in a chain", 1000)(lambda p, n: chain(p.input, n, p.relu))
paddle("convolutions that share a filter, in a chain", 150)(lambda p, n: chain(p.input, n, p.conv))
paddle("convolutions that share a filter, each added to the first", 150)(
    lambda p, n: chain(p.input, n, lambda x: p.sum(p.conv(x), p.input))
)
paddle("many attributes", 2000, "BadModel or loaded")(
    lambda p, n: p.relu(p.input, **{f"a{i}": i for i in range(n)})
)
paddle("long texts", 2, "BadModel or loaded")(
    lambda p, n: p.relu(p.input, name="\\u0000" * 5000 * n)
)
paddle("pools whose last result is rounded", 150, "Unsupported", "pdmodel", int8=True)(
    lambda p, n: p.rounded(chain(p.input, n, p.pool))
)
paddle("rounded convolutions, each added to its input", 200, formats="pdmodel", int8=True)(
    lambda p, n: chain(p.rounded(p.input), n, lambda x: p.rounded(p.relu(p.sum(p.conv(x), x))))
)
paddle("long attributes", 5000, "BadModel", "pdmodel")(
    lambda p, n: p.relu(p.input, op_role=[1] * n)
)


@paddle("rounded convolutions, each added to the first", 200, "Unsupported", "pdmodel", int8=True)
def _(program: Program, size: int) -> str:
    first = program.rounded(program.input)

    def add(last: str) -> str:
        return program.rounded(program.relu(program.sum(program.conv(last), first)))

    return chain(first, size, add)


@paddle("parameters", 300, formats="json")
def _(program: Pir, size: int) -> int:
    last = program.input
    for i in range(size):
        last = program.sum(last, program.parameter(f"b{i}", [1, 1, 1]))
    return last


@paddle("lists that many operators read", 1000, "BadModel", "json")
def _(program: Pir, size: int) -> int:
    types = {"#": "0.t_vec", "D": [models.value_type(program.shape)] * size}
    joined = program.add("0.combine", [program.input] * size, types)
    for _ in range(size):
        program.relu(joined)
    return program.input


def changed_shapes(folder: Path, size: int) -> Path:
    program = Pir([-1, size, 1, 1])
    bias = program.parameter("b", [size])
    value = {"#": "0.a_array", "D": [{"#": "0.a_i64", "D": each} for each in (-1, 1, 1)]}
    shape = program.add(
        "1.full_int_array", [], models.value_type([3], "i64"),
        value=value, dtype=models.data_type("int64"), place=models.PLACE,
    )  # fmt: skip
    for _ in range(size):
        bias = program.add("1.reshape", [bias, shape], [size, 1, 1])
    return program.write(folder, program.sum(program.input, bias))


family("json changes of one parameter's shape", 500, changed_shapes)


@paddle("variables that nothing reads", 2000, formats="pdmodel")
def _(program: Program, size: int) -> str:
    for _ in range(size):
        program.variable()
    return program.relu(program.input)


def small_model(folder: Path, more: bytes = b"") -> Path:
    program = Program()
    return program.write(folder, program.relu(program.input), more)


def versions(folder: Path, size: int) -> Path:
    pairs = (field(1, f"op{i}") + field(2, field(1, 1)) for i in range(size))
    return small_model(folder, field(5, fields(1, pairs)))


def repeated_variable(folder: Path, size: int) -> Path:
    program = Program()
    for _ in range(size):
        program.variable("w", [100 * size], kept=True)
    (folder / "w0").write_bytes(record([1, 1, 1, 1]))
    (folder / "w").write_bytes(record([100 * size]))
    (folder / "__model__").write_bytes(program.bytes(program.relu(program.input)))
    return folder


family("pdmodel versions of operators", 2000, versions)
family("separate files: one variable, declared again and again", 500, repeated_variable, "BadModel")


# ---- files that grow beside a small model, or in its place


def file(
    name: str, size: int, path: str, content: Callable[[int], str | bytes], result: str, **more: Any
) -> None:
    def write(folder: Path, size: int) -> Path:
        model = small_model(folder)
        made = content(size)
        (folder / path).write_bytes(made.encode() if isinstance(made, str) else made)
        read_by_itself = path in ("model.json", "preprocess.json", "manifest.json")
        return folder / path if read_by_itself else model

    family(name, size, write, result, **more)


def members(size: int) -> str:
    return json.dumps({f"member {i}": {} for i in range(size)})


def levels(size: int) -> bytes:
    return bytes(4) + struct.pack("<Q", size) + bytes(8 * size) + record([1])[12:]


def preprocess(size: int, crops: int = 0, means: int = 1, more: int = 0) -> str:
    """Write a description of so many times the size of crops, means and members."""
    crop = {"type": "CenterCrop", "size": [1, 1]}
    count = max(1, means * size)
    normalize = {"type": "Normalize", "scale": 1, "mean": [0] * count, "std": [1] * count}
    steps = [crop] * (crops * size) + [normalize, {"type": "ToCHW"}]
    others = {f"member {i}": 0 for i in range(more * size)}
    return json.dumps({"format_version": 1, "mode": "L", "steps": steps, **others})


def manifest(size: int) -> str:
    model: dict[str, Any] = {"format_version": 1, "models": {"model.pdmodel": {}}, "softmax": False}
    return json.dumps({**model, "classes": [f"class {i}" for i in range(size)]})


def sums(size: int) -> str:
    return "".join(f"{i:064x}  file{i}\n" for i in range(size))


def brackets(size: int) -> str:
    return "[" * size + "]" * size


NESTED = {"size": 2_000_000, "content": brackets, "result": "BadModel", "bytes_of_a_byte": 4}
file("json nested lists", path="model.json", **NESTED)
file("json many members", 5000, "model.json", members, "BadModel")
file("pdiparams: many tensors", 2000, "model.pdiparams", lambda n: record([1]) * n, "BadModel")
file(
    "pdiparams: a tensor of many dimensions", 10_000, "model.pdiparams",
    lambda n: record([1] * n), "BadModel",
)  # fmt: skip
file("pdiparams: many levels", 10_000, "model.pdiparams", levels, "BadModel")
file("SHA256SUMS: many lines", 2000, "SHA256SUMS", sums, "loaded")
file("SHA256SUMS: a long name", 100_000, "SHA256SUMS", lambda n: f"{0:064x}  {'n' * n}\n", "loaded")
file("preprocess.json: many steps", 1000, "preprocess.json",
     lambda n: preprocess(n, crops=1, means=0), "loaded")  # fmt: skip
file("preprocess.json: many means", 3000, "preprocess.json", preprocess, "BadModel")
file("preprocess.json: nested lists", path="preprocess.json", **NESTED)
file("preprocess.json: many members", 5000, "preprocess.json",
     lambda n: preprocess(n, means=0, more=1), "BadModel")  # fmt: skip
file("manifest.json: many classes", 5000, "manifest.json", manifest, "loaded")
