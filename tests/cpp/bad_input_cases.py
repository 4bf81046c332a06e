"""The table of bad input: one row for each thing that can be wrong, and what it gives.

A row says what is handed over and what comes of it, through each of three routes: the C++ library
("cpp", by the little program lenet_api_call), the command line program ("program") and the Python
package ("python"). Where a route is left out, the row says why. Nothing here knows how the routes
are opened: that is in test_bad_input.py.

The boundaries where files are cut short come from the formats' definitions, not from our readers.
"""

import gzip
import os
import shutil
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROUTES = ("cpp", "program", "python")
OK = "ok"

NO_FILES_OUT = "the Python package returns an array and writes no file"
NO_READER = "the Python package takes arrays and reads only IDX files"
NO_STRIDES = "TensorView is row-major, a .npy file C or Fortran order: there is no such thing"
NO_FLAGS = "the C++ and Python options have no such form: the compiler or Python itself refuses it"
NO_POOL = "the program has no pool"


@dataclass(frozen=True)
class Request:
    """One call, in terms that each route can express."""

    model: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, object] = field(default_factory=dict)
    input: Path | None = None  # a file
    labels: Path | None = None
    output: Path | None = None
    pool: int | None = None
    flags: tuple[str, ...] = ()  # of the program alone


@dataclass(frozen=True)
class Case:
    """One row."""

    name: str
    gives: (
        str | Mapping[str, str]
    )  # an error of design section 5, or OK; by route where they differ
    words: str  # in the message; of the file or argument concerned
    prepare: Callable[[Path], Request]  # given a folder that holds "model", a copy of the model
    routes: tuple[str, ...] = ROUTES
    why: str = ""  # some routes are left out
    usage: bool = False  # the program takes it for wrong usage (exit code 2)
    array: Callable[[], Any] | None = None  # what Python is given; saved as .npy for the others
    answer: Callable[[], Any] | None = None  # the images as the model takes them, float, where OK
    repeats: int = 1  # the answer's rows come over again so many times
    unprivileged: bool = False  # root may read everything: it runs without that privilege
    address_space: int | None = None  # bytes that the process may add to its own
    file_size: int | None = None  # bytes that a file may have
    small_disk: bool = False  # "disk" in the folder is a file system of 16 KiB
    peak_mib: int | None = None  # resident memory that the process must stay below
    keeps: bytes | None = None  # what the output file holds, before and after

    def expected(self, route):
        return self.gives if isinstance(self.gives, str) else self.gives[route]


CASES = []


def row(name, gives, words, **rest):
    """Decorate the function that prepares the row's files."""

    def add(prepare):
        assert name not in {case.name for case in CASES}, name
        CASES.append(Case(name, gives, words, prepare, **rest))

    return add


def by_dir(folder, **rest):
    return Request({"model_dir": folder / "model"}, **rest)


def by_file(folder, name="lenet.pdmodel", **rest):
    return Request({"model_file": folder / "model" / name}, **rest)


def unhashed(folder):
    (folder / "model" / "SHA256SUMS").unlink()
    return folder / "model"


# --- The model's files: where they are -------------------------------------------------------


def models(gives, *rows, **rest):
    """Rows of a name, words, the model in the folder, and what is done to the model's folder."""
    for name, words, given, *changes in rows:

        def prepare(folder, given=given, changes=changes):
            for change in changes:
                change(folder / "model")
            if isinstance(given, str):
                given = {"model_file": f"model/{given}"}
            return Request({key: folder / path for key, path in given.items()})

        row(name, gives, words, **rest)(prepare)


PROGRAM, PARAMS = "model/lenet.pdmodel", "model/lenet.pdiparams"


def relink(path):
    path.unlink()
    path.symlink_to("gone")


def copy_model(model):
    for suffix in ("pdmodel", "pdiparams"):
        shutil.copy(model / f"lenet.{suffix}", model / f"other.{suffix}")


models(
    "FileNotFound",
    ("model_file is missing", "nothing.pdmodel", "nothing.pdmodel"),
    ("model_dir is missing", "nowhere", {"model_dir": "nowhere"}),
    ("the parameters are missing", "lenet.pdiparams", "lenet.json",
     lambda model: (model / "lenet.pdiparams").unlink()),
    ("params_file is missing", "none.bin", {"model_file": PROGRAM, "params_file": "none.bin"}),
    ("model_file lies below a file", "Not a directory", "lenet.json/lenet.json"),
    ("model_file is a folder", "it is a folder", {"model_file": "model"}),
    ("params_file is a folder", "it is a folder", {"model_file": PROGRAM, "params_file": "model"}),
    ("model_dir is a file", "is not a folder", {"model_dir": "model/lenet.json"}),
    ("model_file is a link to itself", "loop.pdmodel", "loop.pdmodel",
     lambda model: (model / "loop.pdmodel").symlink_to("loop.pdmodel")),
    ("model_dir is a link to itself", "loop", {"model_dir": "model/loop"},
     lambda model: (model / "loop").symlink_to("loop")),
    ("the parameters are a link to nothing", "lenet.pdiparams", "lenet.pdmodel",
     lambda model: relink(model / "lenet.pdiparams")),
    ("model_file is a pipe", "not a regular file", "pipe.pdmodel",
     lambda model: os.mkfifo(model / "pipe.pdmodel")),
    ("model_file is /dev/null", "'/dev/null': it is not a regular file",
     {"model_file": "/dev/null", "params_file": PARAMS}),
    ("params_file is /dev/zero", "'/dev/zero': it is not a regular file",
     {"model_file": "model/lenet.json", "params_file": "/dev/zero"}),
    ("a name longer than file names can be", "File name too long", "x" * 5000),
    ("a name with line feeds", "no?such?file.pdmodel", "no\nsuch\rfile.pdmodel"),
    ("a name in letters of every kind", "модель-模型-é.pdmodel", "модель-模型-é.pdmodel"),
    ("SHA256SUMS is a folder", "it is a folder", "lenet.pdmodel",
     lambda model: (model / "SHA256SUMS").unlink(), lambda model: (model / "SHA256SUMS").mkdir()),
    ("SHA256SUMS is a pipe", "not a regular file", "lenet.pdmodel",
     lambda model: (model / "SHA256SUMS").unlink(), lambda model: os.mkfifo(model / "SHA256SUMS")),
)  # fmt: skip
models(
    "FileNotFound",
    ("model_file may not be read", "Permission denied", "lenet.pdmodel",
     lambda model: (model / "lenet.pdmodel").chmod(0)),
    ("the parameters may not be read", "Permission denied", "lenet.pdmodel",
     lambda model: (model / "lenet.pdiparams").chmod(0)),
    ("SHA256SUMS may not be read", "Permission denied", "lenet.pdmodel",
     lambda model: (model / "SHA256SUMS").chmod(0)),
    unprivileged=True,
)  # fmt: skip
models(
    "BadModel",
    ("a folder without a model", "holds no model", {"model_dir": "model/empty"},
     lambda model: (model / "empty").mkdir()),
    ("a folder with two models", "holds several models", {"model_dir": "model"}, copy_model),
    ("SHA256SUMS of other files", "SHA-256", "lenet.pdmodel",
     lambda model: (model / "SHA256SUMS").write_text(
         "".join(f"{'0' * 64}  {name}\n" for name in MODEL_FILES))),
    ("SHA256SUMS is no list of sums", "is not a list of SHA-256 sums", "lenet.pdmodel",
     lambda model: (model / "SHA256SUMS").write_text("lenet.pdmodel is fine\n")),
    ("parameters given as the program", "lenet.pdiparams",
     {"model_file": PARAMS, "params_file": PARAMS}),
    ("a state dict given as the program", "lenet-cpp export", "lenet.pdparams"),
    ("PyTorch's file given as the program", "lenet-cpp import", "net.pt"),
    ("a state dict given as the parameters", "lenet-cpp export",
     {"model_file": PROGRAM, "params_file": "model/lenet.pdparams"}),
    ("the program given as the parameters", "lenet.pdmodel",
     {"model_file": PROGRAM, "params_file": PROGRAM}),
)  # fmt: skip
models(
    "BadInput",
    ("model_dir and model_file", "model_dir", {"model_dir": "model", "model_file": PROGRAM}),
    ("model_dir and params_file", "model_dir", {"model_dir": "model", "params_file": PARAMS}),
    ("params_file without model_file", "model_file", {"params_file": PARAMS}),
    usage=True,
)
models(
    OK,
    ("manifest.json is damaged: it is not needed to run", "", "lenet.pdmodel",
     lambda model: (model / "manifest.json").write_bytes(b'{"models": ')),
)  # fmt: skip


@row("a name that is not UTF-8", "FileNotFound", "no-?-such.pdmodel")
def _(folder):
    return Request({"model_file": os.fsencode(folder) + b"/no-\xff-such.pdmodel"})


@row("a model in a folder named in another script", OK, "", answer=lambda: np.zeros((1, 28, 28)))
def _(folder):
    shutil.move(folder / "model", folder / "модель 模型")
    return Request({"model_dir": folder / "модель 模型"})


# --- The model's files: what is in them ------------------------------------------------------

MODEL_FILES = ("lenet.pdmodel", "lenet.json", "lenet.pdiparams")


def program_of(name):
    return "lenet.json" if name == "lenet.json" else "lenet.pdmodel"


def replaced(name, content):
    """The file with another content, without the hashes, which would see it too."""

    def prepare(folder):
        (unhashed(folder) / name).write_bytes(content(folder / "model"))
        return by_file(folder, program_of(name))

    return prepare


for _name in MODEL_FILES:
    for _what, _content in (
        ("empty", b""),
        ("zeros", bytes(4096)),
        ("random bytes", np.random.default_rng(1).bytes(50_000)),
        ("text", b"This is no model.\n" * 100),
    ):
        row(f"{_name} holds {_what}", "BadModel", _name)(
            replaced(_name, lambda _, content=_content: content)
        )


def head(name, size):
    return replaced(name, lambda model: (model / name).read_bytes()[:size])


# ProgramDesc is a sequence of fields: the first is a block, tag 0x0a, then a varint of its length.
for _size in (1, 2, 3, 4, 100, -1):
    row(f"lenet.pdmodel cut to {_size} bytes", "BadModel", "lenet.pdmodel")(
        head("lenet.pdmodel", _size)
    )
for _size in (1, 20, 5000, -1):
    row(f"lenet.json cut to {_size} bytes", "BadModel", "lenet.json")(head("lenet.json", _size))
# A tensor: version (4), levels of detail (8), tensor version (4), size of the description (4), the
# description, the values.
for _size, _where in (
    (2, "in the version"),
    (4, "after the version"),
    (12, "after the levels"),
    (16, "after the tensor's version"),
    (18, "in the size of the description"),
    (20, "before the description"),
    (24, "in the description"),
    (60, "in the values"),
    (-1, "before the last byte"),
    (-400, "in the last tensor"),
):
    row(f"lenet.pdiparams cut {_where}", "BadModel", "lenet.pdiparams")(
        head("lenet.pdiparams", _size)
    )


@row("lenet.pdiparams with bytes after its end", "BadModel", "lenet.pdiparams")
def _(folder):
    with (unhashed(folder) / "lenet.pdiparams").open("ab") as file:
        file.write(bytes(10))
    return by_file(folder)


@row("the size of a description set to 2 GiB", "BadModel", "lenet.pdiparams")
def _(folder):
    params = unhashed(folder) / "lenet.pdiparams"
    content = bytearray(params.read_bytes())
    struct.pack_into("<i", content, 16, 2**31 - 1)
    params.write_bytes(content)
    return by_file(folder)


@row("the number of levels set to 2^64 - 1", "BadModel", "lenet.pdiparams")
def _(folder):
    params = unhashed(folder) / "lenet.pdiparams"
    content = bytearray(params.read_bytes())
    struct.pack_into("<Q", content, 4, 2**64 - 1)
    params.write_bytes(content)
    return by_file(folder, "lenet.json")


def swap(folder):
    model = unhashed(folder)
    (model / "lenet.pdmodel").rename(model / "lenet.tmp")
    (model / "lenet.json").rename(model / "lenet.pdmodel")
    (model / "lenet.tmp").rename(model / "lenet.json")
    return folder


@row(".json under the name of .pdmodel", "BadModel", "lenet.pdmodel")
def _(folder):
    return by_file(swap(folder), "lenet.pdmodel")


@row(".pdmodel under the name of .json", "BadModel", "lenet.json")
def _(folder):
    return by_file(swap(folder), "lenet.json")


# --- A model whose files do not belong together ----------------------------------------------


def negate_last_weights(folder):
    """The same shapes, other values: as another model of this topology has."""
    params = folder / "model" / "lenet.pdiparams"
    content = bytearray(params.read_bytes())
    last = -np.frombuffer(content, "<f4", 840, len(content) - 3360)
    content[-3360:] = last.tobytes()
    params.write_bytes(content)


@row("another model's parameters of the same shapes", "BadModel", "SHA-256")
def _(folder):
    negate_last_weights(folder)
    return by_file(folder)


# Nothing in the two files tells: Paddle would run it too. Hence SHA256SUMS beside every export.
@row("the same without SHA256SUMS: runs as that model", OK, "")
def _(folder):
    unhashed(folder)
    negate_last_weights(folder)
    return by_file(folder)


@row("the same with check_hashes off: runs as that model", OK, "")
def _(folder):
    negate_last_weights(folder)
    return by_file(folder, options={"check_hashes": "false"})


def tensor(*shape):
    """A record of .pdiparams: float32 zeros."""
    desc = b"\x08\x05"
    for size in shape:
        desc += b"\x10" + (bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7]))
    return struct.pack("<IQIi", 0, 0, 0, len(desc)) + desc + bytes(4 * int(np.prod(shape)))


row("parameters of another topology", "BadModel", "not of one model")(
    replaced("lenet.pdiparams", lambda _: tensor(784, 100) + tensor(100) + tensor(100, 10))
)
row("parameters with one tensor more", "BadModel", "holds 11 parameters")(
    replaced("lenet.pdiparams", lambda m: (m / "lenet.pdiparams").read_bytes() + tensor(10))
)


def spoil_a_bias(folder, value):
    """The first of conv2d_0.b_0, by the layout of the file: a header and then its six numbers."""
    params = unhashed(folder) / "lenet.pdiparams"
    content = bytearray(params.read_bytes())
    header = tensor(6)[:-24]
    start = content.index(header) + len(header)
    content[start : start + 4] = struct.pack("<f", value)
    params.write_bytes(content)


for bad in (float("nan"), float("-inf")):

    @row(f"a parameter of {bad}", "BadModel", "NaN or infinity in the parameter 'conv2d_0.b_0'")
    def _(folder, bad=bad):
        spoil_a_bias(folder, bad)
        return by_file(folder, "lenet.json")


@row("a parameter of NaN with check_finite off", OK, "")
def _(folder):
    spoil_a_bias(folder, float("nan"))
    return by_file(folder, options={"check_finite": "false"})


# --- Images: what they are -------------------------------------------------------------------


def digits(count):
    """Values that float16 holds exactly."""
    pixels = np.random.default_rng(0).integers(0, 2048, (count, 1, 28, 28))
    return pixels.astype(np.float32) / np.float32(2048)


def arrays(name, gives, words, array, **rest):
    def prepare(folder):
        options = rest.get("options", {})
        return by_file(folder, options={"accelerator": "plain", **options})

    others = {key: value for key, value in rest.items() if key != "options"}
    row(name, gives, words, array=array, **others)(prepare)


def taken_by_python(words=""):
    """The program and the C++ reader refuse the file; Python converts the array."""
    return {
        "gives": {"cpp": "BadInput", "program": "BadInput", "python": OK},
        "words": words,
        "answer": lambda: digits(3),
    }


arrays("float64", array=lambda: digits(3).astype(np.float64), **taken_by_python("<f8"))
arrays("float16", array=lambda: digits(3).astype(np.float16), **taken_by_python("<f2"))
arrays("byte-swapped", array=lambda: digits(3).astype(">f4"), **taken_by_python(">f4"))
arrays(
    "Fortran order", array=lambda: np.asfortranarray(digits(3)), **taken_by_python("Fortran order")
)
for _dtype, _words in (
    (np.int64, "i"),
    (np.int8, "i1"),
    (np.uint16, "u2"),
    (np.bool_, "b"),
    (np.complex64, "c"),
    ("U1", "U1"),
    ("S3", "S3"),
    ("M8[s]", "M8"),
):
    _kind = np.dtype(_dtype)
    arrays(
        f"{_kind} images",
        "BadInput",
        {"b": "bool", "c": "complex64"}.get(_words, ""),
        lambda kind=_kind: np.zeros((1, 28, 28), kind),
        routes=("python",) if _words in {"b", "c"} else ROUTES,
        why="the other routes name it |b1 and <c8" if _words in {"b", "c"} else "",
    )
for _dtype, _words in ((np.bool_, "|b1"), (np.complex64, "<c8")):
    _kind = np.dtype(_dtype)
    arrays(
        f"{_kind} images in a file",
        "BadInput",
        _words,
        lambda kind=_kind: np.zeros((1, 28, 28), kind),
        routes=("cpp", "program"),
        why="Python names it as NumPy does",
    )
arrays("object array", "BadInput", "", lambda: np.zeros((1, 28, 28), object))
arrays("structured array", "BadInput", "", lambda: np.zeros((1, 28, 28), [("a", "f4")]))
for _shape in (
    (784,),
    (2, 784),
    (27, 28),
    (1, 27, 28),
    (1, 3, 28, 28),
    (1, 28, 28, 1),
    (1, 1, 1, 28, 28),
    (0, 32, 32),
):
    arrays(
        f"shape {list(_shape)}",
        "BadInput",
        ", ".join(map(str, _shape[-2:])),
        lambda shape=_shape: np.zeros(shape, np.float32),
    )
arrays("no dimensions", "BadInput", "[]", lambda: np.float32(0.5).reshape(()))
arrays(
    "no images",
    OK,
    "",
    lambda: np.zeros((0, 1, 28, 28), np.float32),
    answer=lambda: np.zeros((0, 28, 28)),
)
arrays(
    "8-bit pixels",
    OK,
    "",
    lambda: np.arange(784, dtype=np.uint8).reshape(1, 28, 28),
    answer=lambda: np.arange(784).astype(np.uint8).reshape(1, 28, 28) / 255,
)
arrays(
    "100,000 images",
    OK,
    "",
    lambda: np.tile((digits(8) * 255).astype(np.uint8), (12_500, 1, 1, 1)),
    answer=lambda: (digits(8) * 255).astype(np.uint8) / 255,
    repeats=12_500,
    peak_mib=1000,  # the first layer's output alone, of all at once, is 1,800 MiB
    options={"accelerator": "openvino"},
)
for _value in (np.nan, np.inf, -np.inf):
    arrays(
        f"a pixel of {_value}",
        "BadInput",
        "NaN or infinity",
        lambda value=_value: np.where(np.arange(784) == 783, value, 0)
        .astype(np.float32)
        .reshape(1, 28, 28),
    )
arrays(
    "a pixel of NaN with check_finite off",
    OK,
    "",
    lambda: np.where(np.arange(784) == 9, np.nan, 0).astype(np.float32).reshape(1, 28, 28),
    options={"check_finite": "false"},
)


# Python alone.


def only_python(name, gives, words, array, count=0, why=""):
    answer = (lambda: digits(count)) if count else None
    arrays(name, gives, words, array, answer=answer, routes=("python",), why=why or NO_STRIDES)


def read_only():
    x = digits(3)
    x.flags.writeable = False
    return x


def unaligned():
    x = digits(3)
    place = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    place[...] = x
    return place


only_python("every other image", OK, "", lambda: np.repeat(digits(3), 2, axis=0)[::2], 3)
only_python("negative strides", OK, "", lambda: digits(3)[:, :, ::-1].copy()[:, :, ::-1], 3)
only_python("zero strides", OK, "", lambda: np.broadcast_to(digits(1)[0, 0], (1, 28, 28)), 1)
only_python("read-only", OK, "", read_only, 3)
only_python("unaligned", OK, "", unaligned, 3)

ONLY_OBJECTS = "a Python object"
only_python("a memoryview", OK, "", lambda: memoryview(digits(3)), 3, ONLY_OBJECTS)
only_python("nested lists", OK, "", lambda: digits(2).tolist(), 2, ONLY_OBJECTS)
for _name, _array, _words in (
    ("a list of int", lambda: [[0] * 28] * 28, "got int64"),
    ("a ragged list", lambda: [[0.0] * 28, [0.0]], "inhomogeneous"),
    ("an empty list", list, "got [0]"),
    ("a string", lambda: "digit.png", "got a string"),
    ("a long string", lambda: "x" * 10_000_000, "got a string"),
    ("bytes", lambda: b"\0" * 784, "got a string"),
    ("a bytearray", lambda: bytearray(784), "got [784]"),
    ("a flat memoryview", lambda: memoryview(b"\0" * 784), "got [784]"),
    ("a float", lambda: 0.5, "got []"),
    ("an int", lambda: 7, "got int64"),
    ("None", lambda: None, "object"),
    ("a dict", dict, "object"),
    ("a generator", lambda: (x for x in range(3)), "object"),
    ("a masked array", lambda: np.ma.masked_equal(digits(1), 0), "masked"),
    ("a path", lambda: Path("digit.png"), "object"),
):
    only_python(_name, "BadInput", _words, _array, why=ONLY_OBJECTS)


# --- Images: files ---------------------------------------------------------------------------


def npy(array, version=(1, 0)):
    import io

    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version)
    return file.getvalue()


def npy_header(text, values=b"", version=1):
    header = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(header)) + header + values


def idx(shape, content, kind=8):
    return struct.pack(f">HBB{len(shape)}I", 0, kind, len(shape), *shape) + content


def files(name, content, words="images.bin", gives="BadInput"):
    is_idx = content[:2] == b"\0\0"

    def prepare(folder):
        (folder / "images.bin").write_bytes(content)
        return by_file(folder, options={"accelerator": "plain"}, input=folder / "images.bin")

    routes = ROUTES if is_idx else ("cpp", "program")
    row(name, gives, words, routes=routes, why="" if is_idx else NO_READER)(prepare)


_NPY = npy(np.zeros((2, 28, 28), np.float32))
_NPY2 = npy(np.zeros((2, 28, 28), np.float32), (2, 0))
_IDX = idx((2, 28, 28), bytes(2 * 784))
_PGM = b"P5\n28 28\n255\n" + bytes(784)
for _content, _cuts, _kind in (
    (_NPY, (3, 6, 7, 8, 9, 10, 60, 128, 1000, -1), ".npy"),
    (_NPY2, (8, 10, 12, 60, 128), ".npy of version 2"),
    (_IDX, (2, 3, 4, 6, 8, 12, 14, 16, 500, -1), "IDX"),
    (_PGM, (1, 2, 3, 5, 6, 8, 9, 12, 13, 400, -1), "PGM"),
):
    for _cut in _cuts:
        files(f"{_kind} cut to {_cut} bytes", _content[:_cut])
files("an empty file", b"", "empty")
files("a gzip file", gzip.compress(_NPY), "gunzip")
files("random bytes", np.random.default_rng(2).bytes(5000))
files("a PNG", b"\x89PNG\r\n\x1a\n" + bytes(100), "neither .npy, IDX nor PGM")
files("a PGM in ASCII", b"P2\n28 28\n255\n" + b"0 " * 784, "neither .npy, IDX nor PGM")
files("a PGM of 16 bits", b"P5\n28 28\n65535\n" + bytes(2 * 784), "65535")
files("a PGM without width", b"P5\n0 28\n255\n", "bad PGM header")
files("a PGM as large as can be said", b"P5\n9223372036854775807 9223372036854775807\n255\n")
files("a PGM with a number too large", b"P5\n99999999999999999999 28\n255\n", "bad PGM header")
_HEADER = "{{'descr': '<f4', 'fortran_order': False, 'shape': {}, }}"
files(".npy that claims 10^15 images", npy_header(_HEADER.format("(1000000000000000, 28, 28)")))
files(".npy whose shape overflows", npy_header(_HEADER.format("(4294967296, 4294967296, 28)")))
files(".npy with a negative size", npy_header(_HEADER.format("(-1, 28, 28)")), "bad shape")
files(".npy with a size of text", npy_header(_HEADER.format("(x, 28, 28)")), "bad shape")
files(".npy without a shape", npy_header("{'descr': '<f4', 'fortran_order': False, }"), "shape")
files(".npy of version 9", npy_header(_HEADER.format("(1, 28, 28)"), version=9), "version")
files(".npy with line feeds in its header", npy_header("{'descr': '<\nf\r4', 'fortran_order': F"))
files(".npy with bytes after its end", _NPY + b"\0")
files("IDX of floats", idx((1, 28, 28), bytes(4 * 784), 0x0D))
files("IDX without dimensions", struct.pack(">I", 0x00000800))
files("IDX as large as can be said", idx((2**32 - 1,) * 3, bytes(100)))
files("IDX with bytes after its end", _IDX + b"\0")


@row("input is missing", "FileNotFound", "none.npy", routes=("cpp", "program"), why=NO_READER)
def _(folder):
    return by_file(folder, input=folder / "none.npy")


@row("input is a pipe", "FileNotFound", "regular file", routes=("cpp", "program"), why=NO_READER)
def _(folder):
    os.mkfifo(folder / "pipe.npy")
    return by_file(folder, input=folder / "pipe.npy")


@row(
    "input may not be read",
    "FileNotFound",
    "Permission denied",
    routes=("cpp", "program"),
    why=NO_READER,
    unprivileged=True,
)
def _(folder):
    (folder / "secret.npy").write_bytes(_NPY)
    (folder / "secret.npy").chmod(0)
    return by_file(folder, input=folder / "secret.npy")


def with_labels(array):
    def prepare(folder):
        np.save(folder / "images.npy", np.zeros((3, 28, 28), np.float32))
        np.save(folder / "labels.npy", array)
        return by_file(
            folder,
            options={"accelerator": "plain"},
            input=folder / "images.npy",
            labels=folder / "labels.npy",
        )

    return prepare


for _name, _array, _words, _routes in (
    ("labels of float", np.zeros(3, np.float32), "<f4", ("cpp", "program")),
    ("labels of two dimensions", np.zeros((3, 1), np.uint8), "one dimension", ("cpp", "program")),
    ("more labels than images", np.zeros(4, np.uint8), "4 labels for 3 images", ("program",)),
    ("no labels", np.zeros(0, np.uint8), "0 labels for 3 images", ("program",)),
):
    row(
        _name,
        "BadInput",
        _words,
        routes=_routes,
        why=NO_READER + "; in C++ the caller counts labels itself",
    )(with_labels(_array))


# --- Options ---------------------------------------------------------------------------------


def options(name, gives, words, given, **rest):
    row(name, gives, words, **rest)(lambda folder: by_dir(folder, options=given))


NO_INTEGER = "std::stoi of the little program would fail, not the library"
options("threads is 0", "BadInput", "threads", {"threads": 0}, usage=True)
options("threads is -1", "BadInput", "threads", {"threads": -1}, usage=True)
options("threads is 1025", "BadInput", "threads is 1025", {"threads": 1025})
for _value in ("many", "", "1.5", "2x", "99999999999999999999", "0x10"):
    options(
        f"threads is '{_value}'",
        "BadInput",
        "threads",
        {"threads": _value},
        usage=True,
        routes=("program", "python"),
        why=NO_INTEGER,
    )
options("accelerator is cuda", "BadInput", "'cuda'", {"accelerator": "cuda"}, usage=True)
options("accelerator is empty", "BadInput", "''", {"accelerator": ""}, usage=True)
options("accelerator has a line feed", "BadInput", "'on?e'", {"accelerator": "on\ne"}, usage=True)
options("engine is abacus", "Unsupported", "'abacus'", {"engine": "abacus"})
options("precision is int4", "Unsupported", "'int4'", {"precision": "int4"})
options("precision is int8, the model float", "Unsupported", "not quantized", {"precision": "int8"})
options(
    "precision is bf16 with plain kernels",
    "BadInput",
    "to plain",
    {"precision": "bf16", "accelerator": "plain"},
)
options("max_batch_size is -1", "BadInput", "max_batch_size", {"max_batch_size": -1}, usage=True)
options(
    "an unknown option",
    "BadInput",
    "nonsense",
    {"nonsense": "1"},
    usage=True,
    routes=("program", "python"),
    why=NO_FLAGS,
)


@row("OpenVINO on a .json", "Unsupported", "OpenVINO")
def _(folder):
    return by_file(folder, "lenet.json", options={"accelerator": "openvino"})


@row(
    "no model named",
    "BadInput",
    "model_file",
    usage=True,
    routes=("cpp", "program"),
    why="Python takes the bundled model",
)
def _(folder):
    return Request()


for _size in (0, -1):

    @row(
        f"a pool of {_size}",
        "BadInput",
        "at least one" if _size == 0 else "size",
        routes=("cpp", "python") if _size == 0 else ("python",),
        why=NO_POOL + "; in C++ the size is unsigned",
    )
    def _(folder, size=_size):
        return by_dir(folder, pool=size)


for _flags, _words in (
    (("--nonsense",), "--nonsense"),
    (("--nonsense=1",), "--nonsense"),
    (("stray",), "'stray'"),
    (("--input",), "--input needs a value"),
    (("--batch_size=0",), "--batch_size is '0'"),
    (("--repeats=-1",), "--repeats is '-1'"),
    (("--warmup=-1",), "--warmup is '-1'"),
    (("--repeats=3000000000",), "--repeats"),
    (("--ir_optim=maybe",), "--ir_optim is 'maybe'"),
    (("--format=xml",), "'xml'"),
    (("--help=me",), "--help"),
    (("--labels=l",), "--labels needs"),
    (("--no\nsense",), "--no?sense"),
):
    row(
        f"the flag {' '.join(_flags)!r}",
        "BadInput",
        _words,
        usage=True,
        routes=("program",),
        why=NO_FLAGS,
    )(lambda folder, flags=_flags: by_dir(folder, flags=flags))


# --- Where the output goes -------------------------------------------------------------------


def outputs(name, gives, words, output, change=lambda _: None, **rest):
    """A row of 20,000 bytes of output to a place in the folder, after something is done to that."""

    def prepare(folder):
        change(folder)
        np.save(folder / "images.npy", np.zeros((500, 28, 28), np.uint8))
        how = {"options": {"accelerator": "plain"}, "input": folder / "images.npy"}
        return by_file(folder, **how, output=folder / output)

    row(name, gives, words, routes=("cpp", "program"), why=NO_FILES_OUT, **rest)(prepare)


outputs(
    "the output's folder is missing", "FileNotFound", "missing/logits.npy", "missing/logits.npy"
)
outputs("the output is a folder", "FileNotFound", "model", "model")
outputs("the output is a link to itself", "FileNotFound", "loop.npy", "loop.npy",
        lambda folder: (folder / "loop.npy").symlink_to("loop.npy"))  # fmt: skip
outputs("the output's name is too long", "FileNotFound", "xxx", "x" * 5000)
outputs("the output's folder may not be written", "FileNotFound", "closed/l", "closed/logits.npy",
        lambda folder: (folder / "closed").mkdir(mode=0o500), unprivileged=True)  # fmt: skip
outputs("the output is /dev/full", "BackendFailure", "No space left", "/dev/full")
outputs("the disk is full", "BackendFailure", "disk/logits.npy", "disk/logits.npy",
        small_disk=True, keeps=b"before")  # fmt: skip
outputs("a file may not grow that large", "BackendFailure", "too large", "out/logits.npy",
        lambda folder: (folder / "out").mkdir(), file_size=4096, keeps=b"before")  # fmt: skip


# --- Memory ----------------------------------------------------------------------------------

# Of each kind: no room for Paddle's library, for the libraries it opens, for OpenVINO's model.
for _mib, _accelerator in ((100, "plain"), (300, "plain"), (500, "plain"), (500, "openvino")):
    row(
        f"{_mib} MiB of address space, {_accelerator}",
        "BackendFailure",
        "",
        address_space=_mib << 20,
    )(lambda folder, name=_accelerator: by_file(folder, options={"accelerator": name}))


@row("a model file of 8 TiB", "BackendFailure", "not enough memory to read")
def _(folder):
    return by_file(sparse(folder, unhashed(folder) / "lenet.pdmodel"))


@row(
    "an input file of 8 TiB",
    "BackendFailure",
    "not enough memory to read",
    routes=("cpp", "program"),
    why=NO_READER,
)
def _(folder):
    (folder / "images.npy").write_bytes(_NPY)
    return by_file(sparse(folder, folder / "images.npy"), input=folder / "images.npy")


def sparse(folder, path):
    """Make the file long without using the disk."""
    os.truncate(path, 8 << 40)
    return folder


def each():
    """Every row with every route that it has."""
    for case in CASES:
        assert case.routes == ROUTES or case.why, case.name
        for route in case.routes:
            yield case, route
