"""Does loading take time and memory at most linear in the size of the files?

Each family of files is written for two sizes, of which one is twice the other, and loaded by
lenet_measure_loading in a process of its own with a limited address space. Work is counted in basic
blocks, where the program was built with -DLENET_COUNT_BLOCKS=ON (preset asan-ubsan), and in bytes
allocated: not in seconds.
"""

import fnmatch
import json
import re
import resource
import struct
import subprocess
import tempfile
from functools import partial, reduce
from itertools import pairwise
from math import isqrt
from pathlib import Path
from typing import NamedTuple

from tools.hostile import models
from tools.hostile.models import Pir, Program, field, fields, ones, onnx_graph, record

MOST_GROWTH = 2.3  # what twice the file may cost
# docs/hostile-models.md states these.
FREE_BYTES = 1 << 28
ADDRESS_SPACE = 1 << 31
SECONDS = 120


class Family(NamedTuple):
    """Files of one shape."""

    size: int
    write: object  # takes a folder and a size; returns what is to be loaded
    result: str = "loaded"  # or the name of an error; some may say either
    int8: bool = False
    bytes_of_a_byte: int = 128  # memory for each byte of the files


FAMILIES = {}


def family(name, *of, **more):
    assert name not in FAMILIES
    FAMILIES[name] = Family(*of, **more)


# ---- .onnx


def onnx(name, size, graph, result="loaded", image=lambda _: (1, 4, 4)):
    """Add a family of graphs, each as text or bytes, that begin with x."""

    def write(folder, size):
        made = graph(size)
        made = onnx_graph(made) if isinstance(made, str) else made
        return models.write_onnx(folder, made, image(size))

    family(f"onnx {name}", size, write, result)


def chain(nodes, count, first="x"):
    """Repeat nodes: {i} is the number, {a} what those before gave, {b} what these give, then y."""
    names = [first, *(f"v{i}" for i in range(1, count)), "y"]
    steps = enumerate(pairwise(names))
    return "".join(f"{nodes}\n".format(i=i, j=i + 1, a=a, b=b) for i, (a, b) in steps)


def graphs_in_graphs(size):
    graph = b""
    for _ in range(size):
        graph = field(1, field(4, "If") + field(5, field(1, "b") + field(6, graph)) + b"\x0a\x01c")
    return graph * 20 + onnx_graph("y = If x")


def external(name, size, place, *result):
    """Add a family of constants whose places are in another file."""

    def write(folder, size):
        (folder / "values.bin").write_bytes(ones(100 * size))
        tensors = (models.external_tensor(f"k{i}", [50 * size], *place(i)) for i in range(size))
        return models.write_onnx(folder, fields(5, tensors) + RELU)

    family(f"onnx constants {name}", size, write, *result)


RELU = onnx_graph("y = Relu x")


# ---- .json and .pdmodel: functions that add to a program of a size and return its output


def paddle(name, size, make, *result, kinds=(Pir, Program), **more):
    for kind in kinds:

        def write(folder, size, kind=kind):
            program = kind()
            return program.write(folder, make(program, size))

        family(f"{kind.name} {name}", size, write, *result, **more)


def repeated(first, count, step):
    """Return what the last of some steps gives, of which each takes what the one before gave."""
    return reduce(lambda last, _: step(last), range(count), first)


def added(p, size, *, to_first):
    first = p.rounded(p.input)
    return repeated(
        first, size, lambda x: p.rounded(p.relu(p.sum(p.conv(x), first if to_first else x)))
    )


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
    more = {"value": value, "dtype": {"#": "1.a_dtype", "D": "int64"}, "place": models.PLACE}
    shape = program.operator("1.full_int_array", [], models.value_type([3], "i64"), **more)
    for _ in range(size):
        bias = program.operator("1.reshape", [bias, shape], [size, 1, 1])
    return program.write(folder, program.sum(program.input, bias))


def small_model(folder, more=b""):
    program = Program(more=more)
    return program.write(folder, program.relu(program.input))


def repeated_variable(folder, size):
    program = Program()
    for _ in range(size):
        program.variable("w", [100 * size], kept=True)
    (folder / "w0").write_bytes(record([1, 1, 1, 1]))
    (folder / "w").write_bytes(record([100 * size]))
    (folder / "__model__").write_bytes(program.bytes(program.relu(program.input)))
    return folder


def file(name, size, content, *result, **more):
    """Add a family of a file, whose name begins the family's."""
    path = re.split(r"[: ]", name)[0]
    path = {"json": "model.json", "pdiparams": "model.pdiparams"}.get(path, path)

    def write(folder, size):
        model = small_model(folder)
        made = content(size)
        (folder / path).write_bytes(made.encode() if isinstance(made, str) else made)
        return folder / path if path.endswith((".json", ".yml")) else model

    family(name, size, write, *result, **more)


def nested_lists(size):
    return "[" * size + "]" * size


def members(size):
    return {f"member {i}": {} for i in range(size)}


def preprocess(crops=0, means=1, **more):
    crop = {"type": "CenterCrop", "size": [1, 1]}
    normalize = {"type": "Normalize", "scale": 1, "mean": [0] * means, "std": [1] * means}
    steps = [crop] * crops + [normalize, {"type": "ToCHW"}]
    return json.dumps({"format_version": 1, "mode": "L", "steps": steps, **more})


class Cost(NamedTuple):
    """What one load took."""

    message: str
    file_bytes: int
    result: str
    blocks: int = 0
    allocated: int = 0
    peak: int = 0
    seconds: float = 0  # of the processor


def measure(program, family, size, *, limited):
    """Load one file of a family.

    ``limited``: with a limited address space, which a program with AddressSanitizer cannot have.
    """
    how = {"capture_output": True, "text": True, "errors": "replace", "timeout": SECONDS}
    if limited:
        limit = (ADDRESS_SPACE, ADDRESS_SPACE)
        how["preexec_fn"] = partial(resource.setrlimit, resource.RLIMIT_AS, limit)
    with tempfile.TemporaryDirectory() as name:
        path = family.write(Path(name), size)
        file_bytes = sum(file.stat().st_size for file in Path(name).iterdir())
        try:
            command = [program, "int8" if family.int8 else "fp32", path]
            run = subprocess.run(command, check=False, **how)
        except subprocess.TimeoutExpired as error:
            return Cost(str(error), file_bytes, "too-slow")
    if run.returncode != 0:
        return Cost(run.stderr[-2000:], file_bytes, f"ended with {run.returncode}")
    numbers, _, message = run.stdout.partition("\n")
    result, *counts, seconds = numbers.split()
    counts = [int(count) for count in counts]
    return Cost(message.strip(), file_bytes, result, *counts, float(seconds))


def measure_twice(program, name, scale=1, *, limited):
    """Return the costs of a file and of one twice as large, and what is wrong with them."""
    family = FAMILIES[name]
    size = int(family.size * scale)
    one, two = (measure(program, family, n, limited=limited) for n in (size, 2 * size))
    problems = []
    # What is refused at once needs no memory beside the files.
    free = FREE_BYTES if family.bytes_of_a_byte > 4 else 0
    for cost in (one, two):
        if cost.result not in family.result.split(" or "):
            problems.append(f"{cost.result} instead of {family.result}: {cost.message}")
        if cost.peak > free + family.bytes_of_a_byte * cost.file_bytes:
            problems.append(f"{cost.peak:,} bytes of memory for {cost.file_bytes:,} of files")
    files = two.file_bytes / one.file_bytes
    for what in ("blocks", "allocated"):
        before, after = getattr(one, what), getattr(two, what)
        if after > MOST_GROWTH * max(files / 2, 1) * before:
            problems.append(f"{what}: {before:,}, and {after:,} for {files:.2f} times the file")
    return one, two, problems


def run_growth(options):
    """Measure the families whose names fit a pattern, and print what each takes."""
    wrong = False
    for name in fnmatch.filter(FAMILIES, options.family):
        how = {"scale": options.scale, "limited": not options.unlimited}
        one, two, problems = measure_twice(options.program, name, **how)
        grows = [
            f"{b / max(a, 1):.2f}" for a, b in zip(one, two, strict=True) if isinstance(a, int)
        ]
        took = f"{two.file_bytes:,} bytes, {two.peak:,} at most, {two.seconds:.2f} s"
        print(f"{name}: {took}; grows", *grows, *(f"\n  {problem}" for problem in problems))
        wrong |= bool(problems)
    return int(wrong)


# fmt: off
# The table: a family is a line or two, of which ruff's format would make up to eight.
EITHER = "Unsupported or loaded"
FILTER = "w : 1 1 3 3\n"
onnx("convolutions that share a filter, in a chain", 500,
     lambda n: FILTER + chain("{b} = Conv {a} w pads=1,1,1,1", n))
onnx("transposed convolutions that share a filter, in a chain", 500,
     lambda n: FILTER + chain("{b} = ConvTranspose {a} w pads=1,1,1,1", n))
onnx("sums, in a chain", 2000, lambda n: chain("{b} = Add {a} {a}", n))
onnx("relus, in a chain", 2000, lambda n: chain("{b} = Relu {a}", n))
onnx("convolutions side by side", 500,
     lambda n: FILTER + chain("c{i} = Conv x w pads=1,1,1,1", n)
     + f"y = Concat {' '.join(f'c{i}' for i in range(n))} axis=1")
onnx("convolutions, each added to the first", 500,
     lambda n: FILTER + chain("c{i} = Conv {a} w pads=1,1,1,1\n{b} = Add c{i} x", n))
onnx("tensors that are joined with the first, again and again", 60,
     lambda n: "w : 1 2 1 1\n"
     + chain("j{i} = Concat {a} x axis=1\nr{i} = Relu j{i}\n{b} = Conv r{i} w", n))
onnx("products that share a matrix", 3000,
     lambda n: "w : {0} {0}\nf = Flatten x\n".format(isqrt(10 * n))
     + chain("{b} = Gemm {a} w", n, "f"), "Unsupported", lambda n: (isqrt(10 * n), 1, 1))
onnx("factors after a large convolution", 2000,
     lambda n: f"w : 1 1 {n} 1\nk : []\nc = Conv x w\n" + chain("{b} = Mul {a} k", n, "c"),
     image=lambda n: (1, n, 1))
onnx("changes of one constant's shape", 2000,
     lambda n: f"k0 : {n}\ns : int64 -1 1 1\n" + chain("k{j} = Reshape k{i} s", n)
     + f"y = Add x k{n}", image=lambda n: (n, 1, 1))
onnx("sums of one constant", 3000,
     lambda n: f"k : {10 * n}\n" + chain("s{i} = ReduceSum k keepdims=0\n{b} = Add {a} s{i}", n),
     "Unsupported")
onnx("products of one constant", 1000,
     lambda n: "k : {0} {0}\n".format(isqrt(10 * n))
     + chain("p{i} = MatMul k k\n{b} = Add {a} p{i}", n), "Unsupported",
     lambda n: (1, isqrt(10 * n), isqrt(10 * n)))
onnx("parts of one list", 2000,
     lambda n: f"k0 : int64 {'0 ' * n}\nzero : int64 0\nsize : int64 {n}\n"
     + chain("k{j} = Slice k{i} zero size", n) + f"y = Reshape x k{n}", "Unsupported")
onnx("sums so far, in a chain", 1000,
     lambda n: "axis : int64 2\n" + chain("{b} = CumSum {a} axis", n))
onnx("the largest values, in a chain", 1000,
     lambda n: "k : int64 4\n" + chain("{b} p{i} = TopK {a} k", n))
onnx("gathers that share indices", 3000,
     lambda n: f"i : int64 {'0 ' * 3 * n}\ns : int64 {n} 3\nj = Reshape i s\n"
     "t = Transpose x perm=1,2,3,0\nf = GatherND t j\n"
     + chain("g{i} = GatherND t j\n{b} = Add {a} g{i}", n, "f"), EITHER)
onnx("shapes of many dimensions", 2000,
     lambda n: f"s : int64 {'1 ' * n}\n" + chain("{b} = Reshape {a} s", n),
     "Unsupported", lambda _: (1, 1, 1))
onnx("one convolution of many groups", 2000,
     lambda n: f"w : {n} 1 1 1\ny = Conv x w group={n}", image=lambda n: (n, 1, 1))
onnx("a tensor joined with itself", 2000, lambda n: f"y = Concat {'x ' * n} axis=1",
     image=lambda _: (1, 1, 1))
onnx("many attributes", 2000,
     lambda n: "y = Relu x " + " ".join(f"a{i}={i}" for i in range(n)), "Unsupported")
onnx("long attributes", 2000,
     lambda n: f"y = MaxPool x kernel_shape={'1,' * n} strides={'1,' * n}", "BadModel")
onnx("long names", 2, lambda n: chain("{b} = Relu {a}", 10).replace("v", "v" * 10_000 * n))
onnx("short attributes", 5000, lambda n: field(1, field(1, "x") + field(2, "y") + field(4, "Relu")
     + fields(5, (field(1, f"{i:x}") for i in range(n)))), "Unsupported")
onnx("empty nodes", 300_000, lambda n: RELU + field(1, b"") * n, "BadModel or loaded")  # >1,000,000
onnx("empty constants", 150_000, lambda n: field(5, b"") * n + RELU, "BadModel")
onnx("graphs in graphs", 20, graphs_in_graphs, "Unsupported or BadModel")
external("at one place of another file", 200, lambda _: ("values.bin", 0))
external("that overlap in another file", 200, lambda i: ("values.bin", 4 * i), "BadModel")
external("in one file by many names", 100, lambda i: (
    "".join("./" if i >> bit & 1 else ".//" for bit in range(16)) + "values.bin", 0))
INT8 = {"kinds": [Program], "int8": True}
paddle("relus, in a chain", 1000, lambda p, n: repeated(p.input, n, p.relu))
paddle("convolutions that share a filter, in a chain", 150,
       lambda p, n: repeated(p.input, n, p.conv))
paddle("convolutions that share a filter, each added to the first", 150,
       lambda p, n: repeated(p.input, n, lambda x: p.sum(p.conv(x), p.input)))
paddle("many attributes", 2000, lambda p, n: p.relu(p.input, **{f"a{i}": i for i in range(n)}),
       EITHER)
paddle("long texts", 2, lambda p, n: p.relu(p.input, name="\\u0000" * 5000 * n), EITHER)
paddle("pools whose last result is rounded", 300,
       lambda p, n: p.rounded(repeated(p.input, n, p.pool)), **INT8)
paddle("rounded convolutions, each added to its input", 200,
       lambda p, n: added(p, n, to_first=False), **INT8)
paddle("rounded convolutions, each added to the first", 400,
       lambda p, n: added(p, n, to_first=True), **INT8)
paddle("long attributes", 10_000, lambda p, n: p.relu(p.input, op_role=[1] * n), "BadModel",
       kinds=[Program])
paddle("variables that nothing reads", 2000, kinds=[Program],
       make=lambda p, n: [p.variable() for _ in range(n)] and p.relu(p.input))
paddle("lists that many operators read", 2000, read_list, "BadModel", kinds=[Pir])
paddle("parameters", 300, kinds=[Pir], make=lambda p, n: repeated(
    p.input, n, lambda x: p.sum(x, p.parameter(f"b{len(p.parameters)}", [1, 1, 1]))))
family("json changes of one parameter's shape", 500, changed_shapes)
family("pdmodel versions of operators", 2000, lambda to, n: small_model(to, field(5, fields(
    1, (field(1, f"op{i}") + field(2, field(1, 1)) for i in range(n))))))
family("separate files: one variable, declared again and again", 500, repeated_variable, "BadModel")
file("json nested lists", 2_000_000, nested_lists, "BadModel", False, 4)
file("json a program of nested lists", 2_000_000, lambda n: f'{{"program": {nested_lists(n)}}}',
     "Unsupported", False, 4)
file("json many members", 5000, lambda n: json.dumps(members(n)), "Unsupported")
file("pdiparams: many tensors", 2000, lambda n: record([1]) * n, "BadModel")
file("pdiparams: a tensor of many dimensions", 10_000, lambda n: record([1] * n), "BadModel")
file("pdiparams: many levels", 10_000, lambda n: (
    bytes(4) + struct.pack("<Q", n) + bytes(8 * n) + record([1])[12:]), "BadModel")
file("SHA256SUMS: many lines", 2000, lambda n: "".join(f"{i:064x}  file{i}\n" for i in range(n)))
file("SHA256SUMS: a long name", 100_000, lambda n: f"{0:064x}  {'n' * n}\n")
file("preprocess.json: many steps", 1000, lambda n: preprocess(crops=n))
file("preprocess.json: many means", 3000, lambda n: preprocess(means=n), "BadModel")
file("preprocess.json: nested lists", 2_000_000, nested_lists, "BadModel", False, 4)
file("preprocess.json: many members", 5000, lambda n: preprocess(**members(n)), "BadModel")
# The larger ones are refused for their size.
file("inference.yml: nested lists", 1_000_000, nested_lists, "BadModel or Unsupported", False, 4)
file("inference.yml: many members", 20_000, lambda n: (
    "".join(f"member{i}: {{}}\n" for i in range(n))), "Unsupported")
file("inference.yml: many labels", 10_000, lambda n: (
    "PreProcess:\n  transform_ops:\n  - NormalizeImage: {order: ''}\n  - ToCHWImage:\n"
    f"PostProcess:\n  Topk: {{label_list: [{', '.join(f'class {i}' for i in range(n))}]}}\n"))
file("manifest.json: many classes", 5000, lambda n: json.dumps({
    "format_version": 1, "models": {"model.pdmodel": {}}, "softmax": False,
    "classes": [f"class {i}" for i in range(n)]}))
# fmt: on
