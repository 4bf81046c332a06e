"""Families of files that grow: each is written for a size, and for twice that size."""

import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tools.hostile import models
from tools.hostile.models import Pir, Program, ones, onnx_graph, record
from tools.hostile.wire import field, fields


@dataclass(frozen=True)
class Family:
    """Files of one shape."""

    size: int
    write: Callable[[Path, int], Path]  # into a folder, of a size; returns what is to be loaded
    result: str = "loaded"  # or the name of an error; some may say either
    int8: bool = False
    bytes_of_a_byte: int = 128  # memory for each byte of the files


FAMILIES = {}


def family(name, *of, **more):
    assert name not in FAMILIES
    FAMILIES[name] = Family(*of, **more)


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


def expanded(lines, size):
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


def write_onnx(folder, size, lines):
    text = expanded(lines, size)
    image, _, rest = text.partition("\n") if text.startswith("image") else ("image 1 4 4", "", text)
    return models.write_onnx(folder, onnx_graph(rest), [*map(int, image.split()[1:])])


for _entry in re.split(r"\n(?! )", ONNX.strip()):
    _head, *_lines = map(str.strip, _entry.splitlines())
    _name, _, _rest = _head.rpartition(": ")
    _size, _result = _rest.split()
    family(
        f"onnx {_name}", int(_size), lambda to, n, lines=_lines: write_onnx(to, n, lines), _result
    )


def onnx(name, size, result, graph):
    """Add a family of graphs that other bytes than those of nodes make large."""
    family(f"onnx {name}", size, lambda to, n: models.write_onnx(to, graph(n)), result)


def short_attributes(size):
    attributes = fields(5, (field(1, f"{i:x}") for i in range(size)))
    return field(1, field(1, "x") + field(2, "y") + field(4, "Relu") + attributes)


def graphs_in_graphs(size):
    graph = b""
    for _ in range(size):
        graph = field(1, field(4, "If") + field(5, field(1, "b") + field(6, graph)) + b"\x0a\x01c")
    return graph * 20 + onnx_graph("y = If x")


RELU = onnx_graph("y = Relu x")
TEN = expanded(["* {b} = Relu {a}"], 10)
onnx("long names", 2, "loaded", lambda n: onnx_graph(TEN.replace("v", "v" * 10_000 * n)))
onnx("short attributes", 5000, "Unsupported", short_attributes)
onnx("empty nodes", 150_000, "BadModel", lambda n: RELU + field(1, b"") * n)
onnx("empty constants", 150_000, "BadModel", lambda n: field(5, b"") * n + RELU)
onnx("graphs in graphs", 20, "Unsupported", graphs_in_graphs)


def long_path(i):
    """Return one of many names of the same file."""
    return "".join("./" if i >> bit & 1 else ".//" for bit in range(16)) + "values.bin"


def external(name, size, result, place):
    def write(folder, size):
        (folder / "values.bin").write_bytes(ones(100 * size))
        tensors = (models.external_tensor(f"k{i}", [50 * size], *place(i)) for i in range(size))
        return models.write_onnx(folder, fields(5, tensors) + RELU)

    family(f"onnx constants {name}", size, write, result)


external("at one place of another file", 200, "loaded", lambda _: ("values.bin", 0))
external("that overlap in another file", 200, "BadModel", lambda i: ("values.bin", 4 * i))
external("in one file by many names", 100, "loaded", lambda i: (long_path(i), 0))


# ---- .json and .pdmodel: functions that add to a program of a size and return its output


def paddle(name, size, make, *result, kinds=(Pir, Program), **more):
    for kind in kinds:

        def write(folder, size, kind=kind):
            program = kind()
            return program.write(folder, make(program, size))

        family(f"{kind.name} {name}", size, write, *result, **more)


def chain(first, size, step):
    for _ in range(size):
        first = step(first)
    return first


def added(program, size, *, to_first):
    first = program.rounded(program.input)

    def add(x):
        other = first if to_first else x
        return program.rounded(program.relu(program.sum(program.conv(x), other)))

    return chain(first, size, add)


def read_list(program, size):
    types = {"#": "0.t_vec", "D": [models.value_type(program.shape)] * size}
    joined = program.operator("0.combine", [program.input] * size, types)
    for _ in range(size):
        program.relu(joined)
    return program.input


def changed_shapes(folder, size):
    program = Pir([-1, size, 1, 1])
    bias = program.parameter("b", [size])
    value = {"#": "0.a_array", "D": [{"#": "0.a_i64", "D": each} for each in (-1, 1, 1)]}
    shape = program.operator(
        "1.full_int_array", [], models.value_type([3], "i64"),
        value=value, dtype=models.data_type("int64"), place=models.PLACE,
    )  # fmt: skip
    for _ in range(size):
        bias = program.operator("1.reshape", [bias, shape], [size, 1, 1])
    return program.write(folder, program.sum(program.input, bias))


EITHER, INT8 = "BadModel or loaded", {"kinds": [Program], "int8": True}
paddle("relus, in a chain", 1000, lambda p, n: chain(p.input, n, p.relu))
paddle("convolutions that share a filter, in a chain", 150, lambda p, n: chain(p.input, n, p.conv))
paddle("convolutions that share a filter, each added to the first", 150,
       lambda p, n: chain(p.input, n, lambda x: p.sum(p.conv(x), p.input)))  # fmt: skip
paddle("many attributes", 2000, lambda p, n: p.relu(p.input, **{f"a{i}": i for i in range(n)}),
       EITHER)  # fmt: skip
paddle("long texts", 2, lambda p, n: p.relu(p.input, name="\\u0000" * 5000 * n), EITHER)
paddle("pools whose last result is rounded", 150,
       lambda p, n: p.rounded(chain(p.input, n, p.pool)), "Unsupported", **INT8)  # fmt: skip
paddle("rounded convolutions, each added to its input", 200,
       lambda p, n: added(p, n, to_first=False), **INT8)  # fmt: skip
paddle("rounded convolutions, each added to the first", 200,
       lambda p, n: added(p, n, to_first=True), "Unsupported", **INT8)  # fmt: skip
paddle("long attributes", 5000, lambda p, n: p.relu(p.input, op_role=[1] * n), "BadModel",
       kinds=[Program])  # fmt: skip
paddle("variables that nothing reads", 2000, kinds=[Program],
       make=lambda p, n: [p.variable() for _ in range(n)] and p.relu(p.input))  # fmt: skip
paddle("lists that many operators read", 1000, read_list, "BadModel", kinds=[Pir])
paddle("parameters", 300, lambda p, n: chain(
           p.input, n, lambda x: p.sum(x, p.parameter(f"b{len(p.parameters)}", [1, 1, 1]))),
       kinds=[Pir])  # fmt: skip
family("json changes of one parameter's shape", 500, changed_shapes)


def small_model(folder, more=b""):
    program = Program(more=more)
    return program.write(folder, program.relu(program.input))


def versions(folder, size):
    pairs = (field(1, f"op{i}") + field(2, field(1, 1)) for i in range(size))
    return small_model(folder, field(5, fields(1, pairs)))


def repeated_variable(folder, size):
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


def file(name, size, content, *result, **more):
    """Add a family of a file, whose name begins the family's."""
    path = re.split(r"[: ]", name)[0]
    path = {"json": "model.json", "pdiparams": "model.pdiparams"}.get(path, path)

    def write(folder, size):
        model = small_model(folder)
        made = content(size)
        (folder / path).write_bytes(made.encode() if isinstance(made, str) else made)
        return folder / path if path.endswith(".json") else model

    family(name, size, write, *result, **more)


def members(size):
    return {f"member {i}": {} for i in range(size)}


def levels(size):
    return bytes(4) + struct.pack("<Q", size) + bytes(8 * size) + record([1])[12:]


def preprocess(crops=0, means=1, **more):
    crop = {"type": "CenterCrop", "size": [1, 1]}
    normalize = {"type": "Normalize", "scale": 1, "mean": [0] * means, "std": [1] * means}
    steps = [crop] * crops + [normalize, {"type": "ToCHW"}]
    return json.dumps({"format_version": 1, "mode": "L", "steps": steps, **more})


def manifest(size):
    model = {"format_version": 1, "models": {"model.pdmodel": {}}, "softmax": False}
    return json.dumps({**model, "classes": [f"class {i}" for i in range(size)]})


def sums(size):
    return "".join(f"{i:064x}  file{i}\n" for i in range(size))


NESTED = (2_000_000, lambda n: "[" * n + "]" * n, "BadModel", False, 4)
file("json nested lists", *NESTED)
file("json many members", 5000, lambda n: json.dumps(members(n)), "BadModel")
file("pdiparams: many tensors", 2000, lambda n: record([1]) * n, "BadModel")
file("pdiparams: a tensor of many dimensions", 10_000, lambda n: record([1] * n), "BadModel")
file("pdiparams: many levels", 10_000, levels, "BadModel")
file("SHA256SUMS: many lines", 2000, sums)
file("SHA256SUMS: a long name", 100_000, lambda n: f"{0:064x}  {'n' * n}\n")
file("preprocess.json: many steps", 1000, lambda n: preprocess(crops=n))
file("preprocess.json: many means", 3000, lambda n: preprocess(means=n), "BadModel")
file("preprocess.json: nested lists", *NESTED)
file("preprocess.json: many members", 5000, lambda n: preprocess(**members(n)), "BadModel")
file("manifest.json: many classes", 5000, manifest)
