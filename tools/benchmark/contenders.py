"""Who takes part, and what each needs."""

from __future__ import annotations

import fnmatch
import shutil
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_cpp.errors import BadInput
from lenet_cpp.quantize.environments import Environment
from tools.survey.machine import processor_flags

if TYPE_CHECKING:
    from collections.abc import Sequence

BASELINE = "paddle.inference/pdmodel/plain"
PRECISIONS = ("fp32", "bf16", "int8")
NETWORK_BASELINE = "lenet_cpp/pdmodel/plain"
# Who takes part by default: on other networks than LeNet, of which every run takes long; and among
# the processes that are started to time the first result.
NETWORK_CONTENDERS = (
    NETWORK_BASELINE,
    "lenet_cpp/*/onednn",
    "lenet_cpp/pdmodel/openvino",
    "lenet_cpp/auto",
    "lenet_cpp/native",
    "onnxruntime",
    "openvino",
    "ncnn*",
    "mnn*",
    "torch.compile",
    "executorch",
    "lenet_cpp/native/*",
    "openvino/*",
    "lenet_cpp/pdmodel/onednn/*",
    "onnxruntime/int8",
)
# Of model files, some of which Paddle cannot read.
FILE_BASELINE = "openvino"
FILE_CONTENDERS = (
    "lenet_cpp/native",
    "lenet_cpp/json/plain",
    "lenet_cpp/*/onednn",
    "onnxruntime",
    "openvino",
    "ncnn*",
    "mnn*",
    "torch.compile",
    "executorch",
    "lenet_cpp/native/*",
    "openvino/*",
)
STARTED = (
    "lenet_infer_native",
    "*/native",
    "program/pdmodel/openvino",
    "lenet_cpp/pdmodel/auto",
    BASELINE,
    "onnxruntime",
    "openvino",
    "litert",
)

# As processor.cc has them.
_BF16_FLAGS = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16"})
# Where the package is not called as the module.
_PACKAGES = {"ai_edge_litert": "ai-edge-litert", "paddle": "paddlepaddle"}
ENGINES = Path(__file__).with_name("engines.py")
PEER_ENGINES = Path(__file__).with_name("peer_engines.py")
CPP_ENGINES = Path(__file__).with_name("cpp_engines.py")
PEER_LIBRARIES = Path("build", "peers")
# A header of each library that the benchmark cannot take from a Python package.
_HEADERS = {"ncnn": "include/ncnn/net.h", "mnn": "include/MNN/Interpreter.hpp"}
PEERS = Environment(
    name="benchmark-peers",
    title="the environment of ncnn, MNN, torch.compile and ExecuTorch",
    requirements=(
        "executorch==1.5.1",
        "MNN==3.6.1",
        "ncnn==1.0.20261020",
        "pnnx==20261020",
        "torch==2.13.0+cpu",
    ),
    trial="import ncnn, MNN, torch, executorch.exir",
    remedy="it needs the network and 2 GB of space; docs/onnx.md says where the wheel of torch is",
)
PADDLEX = Environment(
    name="paddlex-3.7.2",
    title="PaddleX 3.7.2",
    # PaddleX asks for this OpenCV and for PDFium in its extras, which bring much more.
    requirements=(
        "paddlex==3.7.2",
        "opencv-contrib-python==4.10.0.84",
        "paddlepaddle==3.3.1",
        "pypdfium2",
        "setuptools<81",
    ),
    # PaddleX itself is not imported: it would make a folder in the user's home.
    trial="import cv2, paddle, pypdfium2",
    remedy="it needs the network, 1.5 GB of space, and Python 3.13 at most",
)


@dataclass(frozen=True)
class Contender:
    """One way to run the model.

    Attributes:
        name: Group, and where there are several of a kind format, accelerator and precision:
            ``lenet_cpp/pdmodel/openvino``, ``lenet_cpp/pdmodel/onednn/int8``, ``litert/int8``.
        factory: What makes it, ``FILE.py:FUNCTION`` (see ``engines.py``); None of the C++ program.
        modules: Python modules without which it cannot run.
        reads: A format of the exported model, ``quantized``, or a file that is made: ``weights``,
            ``onnx``, ``onnx_int8``, ``tflite``, ``tflite_int8``.
        engine: The engine of lenet_cpp and of the C++ program; accelerator and precision are
            theirs, too.
        environment: The environment that it runs in; None for ours.
        rule: The only rule of resizing photos (``photos.RULES``) that it follows; None for any.
        libraries: The folder in which each C++ library has one of its own, such as ``ncnn``.
    """

    name: str
    factory: str | None
    modules: tuple[str, ...] = ()
    reads: str = "pdmodel"
    engine: str = "paddle"
    accelerator: str = ""
    precision: str = "fp32"
    environment: Environment | None = None
    rule: str | None = None
    libraries: Path = PEER_LIBRARIES

    @property
    def group(self) -> str:
        """Return the name up to the first ``/``."""
        return self.name.partition("/")[0]

    @property
    def is_cpp_peer(self) -> bool:
        """Return whether this is another project's library, called from C++."""
        return str(self.factory).startswith(str(CPP_ENGINES))

    @property
    def is_peer(self) -> bool:
        """Return whether the native engine is compared with it."""
        return self.engine not in {"native", "auto"}

    @property
    def float_name(self) -> str | None:
        """Return the contender that does the same in float32; None when this is one."""
        return None if self.precision == "fp32" else self.name.removesuffix(f"/{self.precision}")

    def missing(self) -> str | None:
        """Say why it cannot take part, with the remedy; None when it can."""
        for module in self.modules:
            if find_spec(module) is None:
                package = _PACKAGES.get(module, module)
                return f"{module} is not installed: pip install {package}"
        if self.is_cpp_peer:
            if shutil.which("c++") is None:
                return "there is no C++ compiler: apt-get install g++"
            header = self.libraries / self.group / _HEADERS.get(self.group, "")
            if self.group in _HEADERS and not header.is_file():
                page = "docs/benchmark-more.md"
                return f"there is no {header}: {page} says how to install the library"
        if self.environment is not None and self.environment.find() is None:
            command = "scripts/benchmark.py --make-environment"
            command += "" if self.rule is None else " --photos"
            return f"{self.environment.title} is not installed: {command}"
        if self.precision == "bf16" and (lacking := sorted(_BF16_FLAGS - processor_flags())):
            return (
                f"this processor has no {lacking[0]}: bf16 would be imitated, more slowly than"
                " float32"
            )
        return None


_ONNXRUNTIME = ("onnxruntime", "onnx")
# Modules, what is read where the kind is no format, and kinds.
_PLAIN = ("pdmodel/plain", "pdmodel/onednn", "pdmodel/openvino", "json/plain", "json/onednn")
_REDUCED = ("pdmodel/onednn/bf16", "json/onednn/bf16", "pdmodel/onednn/int8")
_AUTO = ("pdmodel/auto", "json/auto")
_OWN = ("native", "native/bf16", "native/int8", "onnxruntime")
_GROUPS: dict[str, tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    "dygraph": (("paddle",), "weights", ("",)),
    "paddle.inference": (("paddle",), "pdmodel", (*_PLAIN, *_REDUCED)),
    "program": ((), "pdmodel", (*_PLAIN, *_REDUCED, *_OWN)),
    "lenet_cpp": ((), "pdmodel", (*_PLAIN, *_AUTO, *_REDUCED, "auto", *_OWN)),
    "onnxruntime": (_ONNXRUNTIME, "onnx", ("", "int8")),
    "openvino": (("openvino",), "pdmodel", ("", "bf16", "int8", "c++", "c++/bf16")),
    "litert": (("ai_edge_litert", "flatbuffers"), "tflite", ("", "int8")),
    "ncnn": ((), "onnx", ("", "bf16", "c++", "c++/bf16")),
    "mnn": ((), "onnx", ("", "c++")),
    "torch.compile": ((), "onnx", ("",)),
    "executorch": ((), "onnx", ("",)),
}
IN_PEERS = ("ncnn", "mnn", "torch.compile", "executorch")
"""The groups that run in the environment PEERS."""


def _contender(group: str, kind: str) -> Contender:
    modules, reads, _ = _GROUPS[group]
    first, second, *_ = [*kind.split("/"), ""]
    precision = kind.rpartition("/")[2] if kind.endswith(PRECISIONS) else "fp32"
    engine, accelerator = "paddle", ""
    if first in {"native", "auto", "onnxruntime"}:
        engine, accelerator = first, "auto"
    elif first in {"pdmodel", "json"}:
        reads, accelerator = first, second
    if engine == "onnxruntime":
        modules, reads = _ONNXRUNTIME, "onnx"
    if precision == "int8":
        reads = "quantized" if reads == "pdmodel" else f"{reads}_int8"
        if group == "openvino":  # what quantizes the ONNX file is part of onnxruntime
            modules, reads = ("openvino", *_ONNXRUNTIME), "onnx_int8"
    environment = PEERS if group in IN_PEERS else None
    file = ENGINES if environment is None else PEER_ENGINES
    file = CPP_ENGINES if first == "c++" else file
    factory = None if group == "program" else f"{file}:{group.replace('.', '_')}"
    name = f"{group}/{kind}".rstrip("/")
    return Contender(name, factory, modules, reads, engine, accelerator, precision, environment)


CONTENDERS = (
    *(_contender(group, kind) for group, (_, _, kinds) in _GROUPS.items() for kind in kinds),
    Contender("lenet_infer_native", None, engine="native", accelerator="auto"),
)

_PHOTO_ENGINES = Path(__file__).with_name("photo_engines.py")
_PADDLEX = Contender(
    "PaddleX", f"{_PHOTO_ENGINES}:paddlex", reads="json", environment=PADDLEX, rule="opencv"
)
PHOTO_CONTENDERS = (
    Contender("lenet_classify", None, engine="native"),
    Contender("lenet_serve", None, engine="native"),
    Contender("Classifier", f"{_PHOTO_ENGINES}:classifier", engine="native"),
    _PADDLEX,
    replace(_PADDLEX, name="PaddleX/one thread", factory=f"{_PHOTO_ENGINES}:paddlex_one_thread"),
    Contender(
        "cv2 and onnxruntime",
        f"{_PHOTO_ENGINES}:opencv",
        ("cv2", *_ONNXRUNTIME),
        "onnx",
        rule="opencv",
    ),
    Contender(
        "Pillow and onnxruntime",
        f"{_PHOTO_ENGINES}:pillow",
        ("PIL", *_ONNXRUNTIME),
        "onnx",
        rule="pillow",
    ),
)
"""Who classifies photos."""


def choose(
    patterns: Sequence[str] | None,
    known: Sequence[Contender] = CONTENDERS,
    *,
    precisions: Sequence[str] = PRECISIONS,
) -> list[Contender]:
    """Return the contenders of these names, groups (``lenet_cpp``) or patterns (``*/plain``).

    The group of another project's library has its contenders from Python: ``ncnn`` leaves out
    ``ncnn/c++``, which the pattern ``ncnn*`` contains too.

    Raises:
        BadInput: One of the patterns matches none, or nothing is left of the precisions.
    """
    chosen: set[str] = set()
    for pattern in ("*",) if patterns is None else patterns:
        found = [
            one.name
            for one in known
            if (one.group == pattern and not one.is_cpp_peer)
            or fnmatch.fnmatchcase(one.name, pattern)
        ]
        if not found:
            names = ", ".join(dict.fromkeys(one.group for one in known))
            raise BadInput(f"no contender is called {pattern!r}; choose among {names}")
        chosen.update(found)
    left = [one for one in known if one.name in chosen and one.precision in precisions]
    if not left:
        raise BadInput(f"none of these contenders has the precision {', '.join(precisions)}")
    return left
