"""The table of bad input: one row for each thing that can be wrong, and what it gives.

A row says what is handed over and what comes of it, through each of three routes: the C++ library
("cpp", by the little program lenet_api_call), the command line program ("program") and the Python
package ("python"). Where a route is left out, the row says why. Nothing here knows how the routes
are opened: that is in test_bad_input.py.

The program and the package call the same library: every row runs on the first of its routes, and
on another one if it is the first of its kind there. tests/inference/test_arrays.py has the arrays
that Python itself checks and converts.
"""

import gzip
import io
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROUTES = ("cpp", "program", "python")
OK = "ok"

NO_FILES_OUT = "the Python package returns an array and writes no file"
NO_READER = "the Python package takes arrays and reads only IDX files"
NO_FLAGS = "the C++ and Python options have no such form: the compiler or Python itself refuses it"
NO_POOL = "the program has no pool"
NO_LIMITS = "tests/inference/test_isolated.py has Python with little memory"


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
    gives: str  # an error of design section 5, or OK
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

    @property
    def alone(self):
        """Needs a process of its own, with limits on it."""
        limits = (self.address_space, self.file_size, self.peak_mib)
        return self.unprivileged or limits != (None,) * 3


CASES = []


def row(name, gives, words, prepare, routes=ROUTES, why="", **rest):
    assert name not in {case.name for case in CASES}, name
    assert routes == ROUTES or why, name
    CASES.append(Case(name, gives, words, prepare, routes, why, **rest))


def by_dir(folder, **rest):
    return Request({"model_dir": folder / "model"}, **rest)


def by_file(folder, name="lenet.pdmodel", **rest):
    return Request({"model_file": folder / "model" / name}, **rest)


def unhashed(folder):
    (folder / "model" / "SHA256SUMS").unlink()
    return folder / "model"


def models(gives, *rows, **rest):
    """Rows of a name, words, the model in the folder, and what is done to the model's folder."""
    for name, words, given, *changes in rows:

        def prepare(folder, given=given, changes=changes):
            for change in changes:
                change(folder / "model")
            if isinstance(given, str):
                given = {"model_file": f"model/{given}"}
            return Request({key: folder / path for key, path in given.items()})

        row(name, gives, words, prepare, **rest)


MODEL_FILES = ("lenet.pdmodel", "lenet.json", "lenet.pdiparams")
JSON = "lenet.json"
PROGRAM, PARAMS = "model/lenet.pdmodel", "model/lenet.pdiparams"


def at(name, change, *arguments):
    """What changes one file of the model's folder."""
    return lambda model: change(model / name, *arguments)


def instead(path, make, *arguments):
    path.unlink()
    make(path, *arguments)


def copy_model(model):
    for suffix in ("pdmodel", "pdiparams"):
        shutil.copy(model / f"lenet.{suffix}", model / f"other.{suffix}")


def changed(name, change, program=None, **rest):
    """A file with another content, without the hashes, which would see it too."""

    def prepare(folder):
        path = unhashed(folder) / name
        path.write_bytes(change(path.read_bytes()))
        return by_file(folder, program or (JSON if name == JSON else "lenet.pdmodel"), **rest)

    return prepare


def packed(code, at, value):
    """What writes a number into the content of a file."""
    number = struct.pack(code, value)
    return lambda content: content[:at] + number + content[at + len(number) :]


def swap(name):
    def prepare(folder):
        model = unhashed(folder)
        (model / "lenet.pdmodel").rename(model / "lenet.tmp")
        (model / "lenet.json").rename(model / "lenet.pdmodel")
        (model / "lenet.tmp").rename(model / "lenet.json")
        return by_file(folder, name)

    return prepare


def negate_last_weights(folder):
    """The same shapes, other values: as another model of this topology has."""
    params = folder / "model" / "lenet.pdiparams"
    content = bytearray(params.read_bytes())
    last = -np.frombuffer(content, "<f4", 840, len(content) - 3360)
    content[-3360:] = last.tobytes()
    params.write_bytes(content)


def foreign(*changes, **options):
    def prepare(folder):
        for change in (*changes, negate_last_weights):
            change(folder)
        return by_file(folder, options=options)

    return prepare


def tensor(*shape):
    """A record of .pdiparams: float32 zeros."""
    desc = b"\x08\x05"
    for size in shape:
        desc += b"\x10" + (bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7]))
    return struct.pack("<IQIi", 0, 0, 0, len(desc)) + desc + bytes(4 * int(np.prod(shape)))


def spoiled(value, **rest):
    """The first of conv2d_0.b_0, by the layout of the file: a header and then its six numbers."""
    header = tensor(6)[:-24]
    return changed(
        "lenet.pdiparams",
        **rest,
        change=lambda file: packed("<f", file.index(header) + len(header), value)(file),
    )


def digits(count):
    """Values that float16 holds exactly."""
    pixels = np.random.default_rng(0).integers(0, 2048, (count, 1, 28, 28))
    return pixels.astype(np.float32) / np.float32(2048)


def arrays(name, gives, words, array, options=None, **rest):
    options = {"accelerator": "plain", **(options or {})}
    row(name, gives, words, lambda folder: by_file(folder, options=options), array=array, **rest)


def zeros(kind, *shape):
    return lambda: np.zeros(shape or (1, 28, 28), kind)


def pixel(value, at=783):
    return lambda: np.where(np.arange(784) == at, value, 0).astype("<f4").reshape(1, 28, 28)


def only_python(name, gives, words, array, **rest):
    arrays(name, gives, words, array, routes=("python",), why="a Python object", **rest)


def npy(array, version=(1, 0)):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=version)
    return file.getvalue()


def picture(kind):
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, kind)
    return file.getvalue()


def zipped(name):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, b"content")
    return file.getvalue()


def npy_header(text, values=b"", version=1):
    header = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H", len(header)) + header + values


def idx(shape, content, kind=8):
    return struct.pack(f">HBB{len(shape)}I", 0, kind, len(shape), *shape) + content


def files(name, content, words="images.bin"):
    is_idx = content[:2] == b"\0\0"

    def prepare(folder):
        (folder / "images.bin").write_bytes(content)
        return by_file(folder, options={"accelerator": "plain"}, input=folder / "images.bin")

    row(name, "BadInput", words, prepare, **({} if is_idx else FILES_ONLY))


def inputs(name, gives, words, path, make=lambda _: None, **rest):
    def prepare(folder):
        make(folder / path)
        return by_file(folder, input=folder / path)

    row(name, gives, words, prepare, **FILES_ONLY, **rest)


_NPY = npy(np.zeros((2, 28, 28), np.float32))


def secret(path):
    path.write_bytes(_NPY)
    path.chmod(0)


def large(path, content=_NPY):
    """Make the file long without using the disk."""
    path.write_bytes(content)
    os.truncate(path, 8 << 40)


def labels(name, words, array, routes):
    def prepare(folder):
        named = {"input": folder / "images.npy", "labels": folder / "labels.npy"}
        np.save(named["input"], np.zeros((3, 28, 28), np.float32))
        np.save(named["labels"], array)
        return by_file(folder, options={"accelerator": "plain"}, **named)

    why = NO_READER + "; in C++ the caller counts labels itself"
    row(name, "BadInput", words, prepare, routes, why)


def options(name, gives, words, given, **rest):
    row(name, gives, words, lambda folder: by_dir(folder, options=given), **rest)


def outputs(name, gives, words, output, change=lambda _: None, **rest):
    """A row of 20,000 bytes of output to a place in the folder, after something is done to that."""

    def prepare(folder):
        change(folder)
        np.save(folder / "images.npy", np.zeros((500, 28, 28), np.uint8))
        how = {"options": {"accelerator": "plain"}, "input": folder / "images.npy"}
        return by_file(folder, **how, output=folder / output)

    row(name, gives, words, prepare, ("cpp", "program"), NO_FILES_OUT, **rest)


def large_model(folder):
    os.truncate(unhashed(folder) / "lenet.pdmodel", 8 << 40)
    return by_file(folder)


def each():
    """Every row with the routes that it runs on."""
    chosen, kinds = [], set()
    for case in CASES:
        for route in case.routes:
            # What prepares a row says what is wrong with it: the model, the images, the output.
            kind = (route, case.prepare.__qualname__, case.gives)
            if route == case.routes[0] or kind not in kinds:
                chosen.append((case, route))
            kinds.add(kind)
    return chosen


# fmt: off
# The table: a row is a line or two, of which ruff's format would make up to eight.

# --- The model's files: where they are -------------------------------------------------------
models(
    "FileNotFound",
    ("model_file is missing", "nothing.pdmodel", "nothing.pdmodel"),
    ("model_dir is missing", "nowhere", {"model_dir": "nowhere"}),
    ("the parameters are missing", "lenet.pdiparams", "lenet.json",
     at("lenet.pdiparams", Path.unlink)),
    ("params_file is missing", "none.bin", {"model_file": PROGRAM, "params_file": "none.bin"}),
    ("model_file lies below a file", "Not a directory", "lenet.json/lenet.json"),
    ("params_file is a folder", "it is a folder", {"model_file": PROGRAM, "params_file": "model"}),
    ("model_file is a link to itself", "loop.pdmodel", "loop.pdmodel",
     at("loop.pdmodel", Path.symlink_to, "loop.pdmodel")),
    ("model_dir is a link to itself", "loop", {"model_dir": "model/loop"},
     at("loop", Path.symlink_to, "loop")),
    ("the parameters are a link to nothing", "lenet.pdiparams", "lenet.pdmodel",
     at("lenet.pdiparams", instead, Path.symlink_to, "gone")),
    ("model_file is a pipe", "not a regular file", "pipe.pdmodel", at("pipe.pdmodel", os.mkfifo)),
    ("model_file is /dev/null", "'/dev/null': it is not a regular file",
     {"model_file": "/dev/null", "params_file": PARAMS}),
    ("params_file is /dev/zero", "'/dev/zero': it is not a regular file",
     {"model_file": "model/lenet.json", "params_file": "/dev/zero"}),
    ("a name longer than file names can be", "File name too long", "x" * 5000),
    ("a name with line feeds", "no?such?file.pdmodel", "no\nsuch\rfile.pdmodel"),
    ("a name in letters of every kind", "модель-模型-é.pdmodel", "модель-模型-é.pdmodel"),
    ("SHA256SUMS is a folder", "it is a folder", "lenet.pdmodel",
     at("SHA256SUMS", instead, Path.mkdir)),
    ("SHA256SUMS is a pipe", "not a regular file", "lenet.pdmodel",
     at("SHA256SUMS", instead, os.mkfifo)),
)
models(
    "FileNotFound",
    *((f"{what} may not be read", "Permission denied", "lenet.pdmodel", at(name, Path.chmod, 0))
      for what, name in (("model_file", "lenet.pdmodel"), ("the parameters", "lenet.pdiparams"),
                         ("SHA256SUMS", "SHA256SUMS"))),
    unprivileged=True,
)
models(
    "BadModel",
    ("a folder without a model", "holds no model", {"model_dir": "model/empty"},
     at("empty", Path.mkdir)),
    ("a folder with two models", "several models: name one of ", {"model_dir": "model"},
     copy_model),
    ("SHA256SUMS of other files", "SHA-256", "lenet.pdmodel",
     at("SHA256SUMS", Path.write_text, "".join(f"{'0' * 64}  {name}\n" for name in MODEL_FILES))),
    ("SHA256SUMS is no list of sums", "is not a list of SHA-256 sums", "lenet.pdmodel",
     at("SHA256SUMS", Path.write_text, "lenet.pdmodel is fine\n")),
    ("parameters given as the program", "lenet.pdiparams",
     {"model_file": PARAMS, "params_file": PARAMS}),
    ("a state dict given as the program", "lenet-cpp export", "lenet.pdparams"),
    ("PyTorch's file given as the program", "lenet-cpp import", "net.pt"),
    ("a state dict given as the parameters", "lenet-cpp export",
     {"model_file": PROGRAM, "params_file": "model/lenet.pdparams"}),
    ("the program given as the parameters", "lenet.pdmodel",
     {"model_file": PROGRAM, "params_file": PROGRAM}),
)
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
     at("manifest.json", Path.write_bytes, b'{"models": ')),
)
for _key in ("model_file", "model_dir"):
    row(f"{_key} is a URL", "FileNotFound", "it is a URL: download it first",
        lambda _, key=_key: Request({key: "https://example.org/lenet.pdmodel"}))
    row(f"{_key} begins with ~", "FileNotFound", "only a shell replaces '~'",
        lambda _, key=_key: Request({key: "~/none/lenet.pdmodel"}))
row("the parameters begin with ~", "FileNotFound", "only a shell replaces '~'",
    lambda folder: Request({"model_file": folder / PROGRAM, "params_file": "~/none.pdiparams"}))
models(
    "FileNotFound",
    ("an .onnx is missing beside others", "lenet-cpp export-onnx writes", "lenet.onnx"),
    ("an .onnx is missing", "lenet-cpp export-onnx writes", {"model_file": "none/lenet.onnx"}),
)
row("a name that is not UTF-8", "FileNotFound", "no-?-such.pdmodel", lambda folder: Request(
    {"model_file": os.fsencode(folder) + b"/no-\xff-such.pdmodel"}))
row("a model in a folder named in another script", OK, "",
    lambda folder: Request({"model_dir": shutil.move(folder / "model", folder / "модель 模型")}),
    answer=lambda: np.zeros((1, 28, 28)))

# --- The model's files: what is in them ------------------------------------------------------
for _name in MODEL_FILES:
    for _what, _words, _content in (
        ("empty", f"{_name}' is empty (0 bytes)", b""),
        ("text", f"{_name}' is text, not ", b"This is no model.\n" * 100),
        ("zeros", _name, bytes(4096)),
        ("random bytes", _name, np.random.default_rng(1).bytes(50_000)),
    ):
        row(f"{_name} holds {_what}", "BadModel", _words,
            changed(_name, lambda _, content=_content: content))
# Files of other kinds, by the libraries that write them or with the first bytes of their formats.
for _words, _content in (
    ("is a JPEG picture, not a model; name a .pdmodel", picture("JPEG")),
    ("is a PNG picture, not a model; ", picture("PNG")),
    ("is a GIF picture, not a model; ", picture("GIF")),
    ("is a WebP picture, not a model; ", picture("WEBP")),
    ("is a NumPy array, not a model; ", npy(np.zeros(3))),
    ("is compressed by gzip, not a model; unpack it first", gzip.compress(b"a program")),
    ("is a ZIP archive, not a model; unpack it first", zipped("lenet.pdmodel")),
    ('is a file of PyTorch: export the model in Python with torch.onnx.export(model, images, '
     '"model.onnx"), or make one of the parameters of a known network with lenet-cpp import',
     zipped("net/data.pkl")),
    ("is a file of pickle, not a model; lenet-cpp export", pickle.dumps({"conv1.weight": 1}, 4)),
    ("is a PDF document, not a model; ", b"%PDF-1.7\n%\xe2\xe3"),
    ("is an HDF5 file, such as Keras writes, not a model; export", b"\x89HDF\r\n\x1a\n\0\0"),
    ("is of TensorFlow Lite, not a model; export", b"\x1c\0\0\0TFL3\x14\0"),
    ("is a pointer of Git LFS, not a model; git lfs pull", b"version https://git-lfs.github.com/"),
    ("is a page of HTML or XML, not a model; download", b"<!doctype html><title>404</title>"),
    ("is text, not a model; a program of Paddle 3 is called NAME.json", b'{"base_code": 1}'),
):
    row(f"lenet.pdmodel {_words}", "BadModel", _words,
        changed("lenet.pdmodel", lambda _, content=_content: content))
row("a picture as the parameters", "BadModel", "is a JPEG picture, not the parameters of a model",
    changed("lenet.pdiparams", lambda _: picture("JPEG")))
# cpp/tests/test_parameters.cc cuts them at every byte.
for _name in MODEL_FILES:
    row(f"{_name} without its last byte", "BadModel", _name,
        changed(_name, lambda content: content[:-1]))
row("lenet.pdiparams with bytes after its end", "BadModel", "lenet.pdiparams",
    changed("lenet.pdiparams", lambda content: content + bytes(10)))
row("the size of a description set to 2 GiB", "BadModel", "lenet.pdiparams",
    changed("lenet.pdiparams", packed("<i", 16, 2**31 - 1)))
row("the number of levels set to 2^64 - 1", "BadModel", "lenet.pdiparams",
    changed("lenet.pdiparams", packed("<Q", 4, 2**64 - 1), JSON))
row(".json under the name of .pdmodel", "BadModel", "lenet.pdmodel", swap("lenet.pdmodel"))
row(".pdmodel under the name of .json", "BadModel", "lenet.json", swap("lenet.json"))

# --- A model whose files do not belong together ----------------------------------------------
row("another model's parameters of the same shapes", "BadModel", "SHA-256", foreign())
# Nothing in the two files tells: Paddle would run it too. Hence SHA256SUMS beside every export.
row("the same without SHA256SUMS: runs as that model", OK, "", foreign(unhashed))
row("the same with check_hashes off: runs as that model", OK, "", foreign(check_hashes="false"))

row("parameters of another topology", "BadModel", "not of one model", changed(
    "lenet.pdiparams", lambda _: tensor(784, 100) + tensor(100) + tensor(100, 10)))
row("parameters with one tensor more", "BadModel", "holds 11 parameters",
    changed("lenet.pdiparams", lambda content: content + tensor(10)))
for _bad in (float("nan"), float("-inf")):
    row(f"a parameter of {_bad}", "BadModel", "NaN or infinity in the parameter 'conv2d_0.b_0'",
        spoiled(_bad, program=JSON))
row("a parameter of NaN with check_finite off", OK, "",
    spoiled(float("nan"), options={"check_finite": "false"}))

CONVERTED = {"routes": ("cpp", "program"), "why": "Python converts the array"}

# --- Images: what they are -------------------------------------------------------------------
for _words in ("<f8", "<f2", ">f4"):
    arrays(f"{_words} in a file", "BadInput", _words, lambda kind=_words: digits(3).astype(kind),
           **CONVERTED)
arrays("Fortran order in a file", "BadInput", "Fortran order", lambda: np.asfortranarray(digits(3)),
       **CONVERTED)
for _kind in ("i8", "i1", "u2", "U1", "S3", "M8[s]", "?", "c8"):
    arrays(f"{np.dtype(_kind)} images", "BadInput", "", zeros(_kind))
arrays("object array", "BadInput", "", zeros(object))
arrays("structured array", "BadInput", "", zeros([("a", "f4")]))
for _shape in (
    (784,), (2, 784), (27, 28), (1, 27, 28), (1, 3, 28, 28), (1, 28, 28, 1), (1, 1, 1, 28, 28),
    (0, 32, 32),
):
    arrays(f"shape {list(_shape)}", "BadInput", ", ".join(map(str, _shape[-2:])),
           zeros("f4", *_shape))
arrays("no dimensions", "BadInput", "[]", lambda: np.float32(0.5).reshape(()))
arrays("no images", OK, "", zeros("f4", 0, 1, 28, 28), answer=zeros("f8", 0, 28, 28))
arrays("8-bit pixels", OK, "", lambda: np.arange(784, dtype=np.uint8).reshape(1, 28, 28),
       answer=lambda: np.arange(784).astype(np.uint8).reshape(1, 28, 28) / 255)
arrays("60,000 images", OK, "",
       lambda: np.tile((digits(8) * 255).astype(np.uint8), (7500, 1, 1, 1)),
       answer=lambda: (digits(8) * 255).astype(np.uint8) / 255, repeats=7500,
       peak_mib=1000,  # the first layer's output alone, of all at once, is 1,077 MiB
       options={"accelerator": "openvino"})
for _value in (np.nan, np.inf, -np.inf):
    arrays(f"a pixel of {_value}", "BadInput", "NaN or infinity", pixel(_value))
arrays("a pixel of NaN with check_finite off", OK, "", pixel(np.nan, 9),
       options={"check_finite": "false"})
only_python("a memoryview", OK, "", lambda: memoryview(digits(3)), answer=lambda: digits(3))
only_python("nested lists", OK, "", lambda: digits(2).tolist(), answer=lambda: digits(2))
for _name, _array, _words in (
    ("a list of int", lambda: [[0] * 28] * 28, "got int64"),
    ("a ragged list", lambda: [[0.0] * 28, [0.0]], "inhomogeneous"),
    ("an empty list", list, "got [0]"),
    ("a long string", lambda: "x" * 10_000_000, "got a string"),
    ("bytes", lambda: b"\0" * 784, "got a string"),
    ("a bytearray", lambda: bytearray(784), "got [784]"),
    ("a flat memoryview", lambda: memoryview(b"\0" * 784), "got [784]"),
    ("a float", lambda: 0.5, "got []"),
    ("an int", lambda: 7, "got int64"),
    ("None", lambda: None, "got None"),
    ("a dict", dict, "got a dict"),
    ("a generator", lambda: (x for x in range(3)), "object"),
    ("a path", lambda: Path("digit.png"), "object"),
):
    only_python(_name, "BadInput", _words, _array)

# --- Images: files ---------------------------------------------------------------------------
FILES_ONLY = {"routes": ("cpp", "program"), "why": NO_READER}

_NPY2 = npy(np.zeros((2, 28, 28), np.float32), (2, 0))
_IDX = idx((2, 28, 28), bytes(2 * 784))
_PGM = b"P5\n28 28\n255\n" + bytes(784)
# cpp/tests/test_image_io.cc cuts them at every byte.
for _kind, _content in ((".npy", _NPY), (".npy of version 2", _NPY2), ("IDX", _IDX), ("PGM", _PGM)):
    files(f"{_kind} without its last byte", _content[:-1])
    files(f"{_kind} cut in its header", _content[:8])
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

inputs("input is missing", "FileNotFound", "none.npy", "none.npy")
inputs("input is a pipe", "FileNotFound", "regular file", "pipe.npy", os.mkfifo)
inputs("input may not be read", "FileNotFound", "Permission denied", "secret.npy", secret,
       unprivileged=True)
inputs("an input file of 8 TiB", "BackendFailure", "not enough memory to read", "images.npy", large)

labels("labels of float", "<f4", np.zeros(3, np.float32), ("cpp", "program"))
labels("labels of two dimensions", "one dimension", np.zeros((3, 1), np.uint8), ("cpp", "program"))
labels("more labels than images", "4 labels for 3 images", np.zeros(4, np.uint8), ("program",))
labels("no labels", "0 labels for 3 images", np.zeros(0, np.uint8), ("program",))

# --- Options ---------------------------------------------------------------------------------
USAGE = {"usage": True}
NO_CPP = {"usage": True, "routes": ("program", "python")}
options("threads is 0", "BadInput", "threads", {"threads": 0}, **USAGE)
options("threads is -1", "BadInput", "threads", {"threads": -1}, **USAGE)
options("threads is 1025", "BadInput", "threads is 1025", {"threads": 1025})
for _value in ("many", "", "1.5", "2x", "99999999999999999999", "0x10"):
    options(f"threads is '{_value}'", "BadInput", "threads", {"threads": _value}, **USAGE)
options("accelerator is cuda", "BadInput", "'cuda'", {"accelerator": "cuda"}, **USAGE)
options("accelerator is empty", "BadInput", "''", {"accelerator": ""}, **USAGE)
options("accelerator has a line feed", "BadInput", "'on?e'", {"accelerator": "on\ne"}, **USAGE)
options("engine is abacus", "BadInput", "'abacus'", {"engine": "abacus"}, **USAGE)
options("precision is int4", "BadInput", "'int4'", {"precision": "int4"}, **USAGE)
options("precision is int8, the model float", "Unsupported", "not quantized", {"precision": "int8"})
options("precision is bf16 with plain kernels", "BadInput", "to plain",
        {"precision": "bf16", "accelerator": "plain"})
options("max_batch_size is -1", "BadInput", "max_batch_size", {"max_batch_size": -1}, **USAGE)
options("time_limit_ms is -1", "BadInput", "time_limit_ms", {"time_limit_ms": -1}, **USAGE)
options("load_seconds is -1", "BadInput", "load_seconds", {"load_seconds": -1}, **USAGE)
options("an unknown option", "BadInput", "unknown", {"unknown": "1"}, why=NO_FLAGS, **NO_CPP)
row("OpenVINO on a .json", "Unsupported", "OpenVINO",
    lambda folder: by_file(folder, "lenet.json", options={"accelerator": "openvino"}))
row("no model named", "BadInput", "model", lambda _: Request(), ("cpp", "program"),
    "Python takes the bundled model", **USAGE)
row("a pool of 0", "BadInput", "at least one", lambda folder: by_dir(folder, pool=0),
    ("cpp", "python"), NO_POOL)
row("a pool of -1", "BadInput", "size", lambda folder: by_dir(folder, pool=-1), ("python",),
    NO_POOL + "; in C++ the size is unsigned")
for _flags, _words in (
    ("--unknown", "--unknown"), ("--unknown=1", "--unknown"), ("stray", "'stray'"),
    ("--input", "--input needs a value"), ("--batch_size=0", "--batch_size is '0'"),
    ("--repeats=-1", "--repeats is '-1'"), ("--warmup=-1", "--warmup is '-1'"),
    ("--repeats=3000000000", "--repeats"), ("--ir_optim=maybe", "--ir_optim is 'maybe'"),
    ("--format=xml", "'xml'"), ("--help=me", "--help"), ("--labels=l", "--labels needs"),
    ("--no\nsense", "--no?sense"),
):
    row(f"the flag {_flags!r}", "BadInput", _words,
        lambda folder, flag=_flags: by_dir(folder, flags=(flag,)),
        ("program",), NO_FLAGS, **USAGE)

# --- Where the output goes -------------------------------------------------------------------
outputs("the output's folder is missing", "FileNotFound", "missing/logits.npy",
        "missing/logits.npy")
outputs("the output is a folder", "FileNotFound", "model", "model")
outputs("the output is a link to itself", "FileNotFound", "loop.npy", "loop.npy",
        lambda folder: (folder / "loop.npy").symlink_to("loop.npy"))
outputs("the output's name is too long", "FileNotFound", "xxx", "x" * 5000)
outputs("the output's folder may not be written", "FileNotFound", "closed/l", "closed/logits.npy",
        lambda folder: (folder / "closed").mkdir(mode=0o500), unprivileged=True)
outputs("the output is /dev/full", "BackendFailure", "No space left", "/dev/full")
outputs("the disk is full", "BackendFailure", "disk/logits.npy", "disk/logits.npy",
        small_disk=True, keeps=b"before")
outputs("a file may not grow that large", "BackendFailure", "too large", "out/logits.npy",
        lambda folder: (folder / "out").mkdir(), file_size=4096, keeps=b"before")

# --- Memory ----------------------------------------------------------------------------------
# Of each kind: no room for Paddle's library, for the libraries it opens, for OpenVINO's model.
for _mib, _name in ((100, "plain"), (300, "plain"), (500, "plain"), (500, "openvino")):
    row(f"{_mib} MiB of address space, {_name}", "BackendFailure", "",
        lambda folder, name=_name: by_file(folder, options={"accelerator": name}),
        ("cpp", "program"), NO_LIMITS, address_space=_mib << 20)
row("a model file of 8 TiB", "BackendFailure", "not enough memory to read", large_model)
# fmt: on
