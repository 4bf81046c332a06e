"""Who takes part, and what each needs."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_cpp.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "BASELINE",
    "CONTENDERS",
    "NETWORK_BASELINE",
    "NETWORK_CONTENDERS",
    "PRECISIONS",
    "PROGRAM",
    "Contender",
    "choose",
]

BASELINE = "paddle.inference/pdmodel/plain"
PROGRAM = "program"
"""What ``factory`` is for the C++ program, which is no Python process."""

PRECISIONS = ("fp32", "bf16", "int8")
NETWORK_BASELINE = "lenet_cpp/pdmodel/plain"
NETWORK_CONTENDERS = (
    NETWORK_BASELINE,
    "lenet_cpp/*/onednn",
    "lenet_cpp/pdmodel/openvino",
    "lenet_cpp/auto",
    "lenet_cpp/native",
    "onnxruntime",
    "openvino",
)
"""Who is measured by default on other networks than LeNet, of which every run takes long."""

# As processor.cc has them.
_BF16_FLAGS = frozenset({"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16"})
# Where the package is not called as the module.
_PACKAGES = {"ai_edge_litert": "ai-edge-litert", "paddle": "paddlepaddle"}
_ENGINES = Path(__file__).with_name("engines.py")


@dataclass(frozen=True)
class Contender:
    """One way to run the model.

    Attributes:
        name: Group, and where there are several of a kind format, accelerator and precision:
            ``lenet_cpp/pdmodel/openvino``, ``lenet_cpp/pdmodel/onednn/int8``, ``litert/int8``.
        factory: What makes it, ``FILE.py:FUNCTION`` (see ``engines.py``), or :data:`PROGRAM`.
        modules: Python modules without which it cannot run.
        packages: What has to be installed for it, for the size on disk.
        format: Of the exported model that it reads.
        accelerator: As the options of lenet_cpp have it; empty where there is no choice.
        files: Other files it needs: ``onnx``, ``tflite``, ``weights``; ``onnx_int8`` and
            ``tflite_int8`` are the quantized ones.
        precision: A name in :data:`PRECISIONS`.
        engine: The engine of lenet_cpp and of the C++ program.
    """

    name: str
    factory: str
    modules: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    format: str = "pdmodel"
    accelerator: str = ""
    files: tuple[str, ...] = field(default=())
    precision: str = "fp32"
    engine: str = "paddle"

    @property
    def group(self) -> str:
        """The name up to the first ``/``."""
        return self.name.partition("/")[0]

    @property
    def is_peer(self) -> bool:
        """Whether the engine native is compared with it: it is another, and by its name."""
        return self.engine not in {"native", "auto"}

    @property
    def float_name(self) -> str | None:
        """The contender that does the same in float32; None when this is one."""
        return None if self.precision == "fp32" else self.name.removesuffix(f"/{self.precision}")

    @property
    def exported(self) -> str | None:
        """Which exported model it reads: :attr:`format` or ``quantized``; None with other files."""
        if self.files:
            return None
        return "quantized" if self.precision == "int8" else self.format

    @property
    def only_lenet(self) -> str | None:
        """Why it cannot run another network than LeNet; None when it can."""
        if "tflite" in self.files:
            return "a .tflite is written of LeNet only"
        if self.precision != "fp32":
            return f"what {self.precision} loses is measured on digits, with LeNet only"
        return None

    def missing(self) -> str | None:
        """Why it cannot take part, with the remedy; None when it can."""
        for module in self.modules:
            if find_spec(module) is None:
                package = _PACKAGES.get(module, module)
                return f"{module} is not installed: pip install {package}"
        if self.precision == "bf16" and (lacking := sorted(_BF16_FLAGS - _processor_flags())):
            return (
                f"this processor has no {lacking[0]}: bf16 would be imitated, more slowly than"
                " float32"
            )
        return None


@cache
def _processor_flags() -> frozenset[str]:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    found = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return frozenset(found[1].split() if found else ())


def _engine(name: str) -> str:
    return f"{_ENGINES}:{name}"


_FLOAT = (
    ("pdmodel", "plain"),
    ("pdmodel", "onednn"),
    ("pdmodel", "openvino"),
    ("json", "plain"),
    ("json", "onednn"),
)
_AUTO = (("pdmodel", "auto"), ("json", "auto"))
_REDUCED = (("pdmodel", "bf16"), ("json", "bf16"), ("pdmodel", "int8"))


def _kinds(group: str, *, auto: bool = False, **common: Any) -> list[Contender]:
    """All formats, accelerators and precisions that Paddle has; oneDNN computes bf16 and int8."""
    kinds = [(*kind, "fp32") for kind in (*_FLOAT, *(_AUTO if auto else ()))]
    kinds += [(format_, "onednn", precision) for format_, precision in _REDUCED]
    return [
        Contender(
            f"{group}/{format_}/{accelerator}" + ("" if precision == "fp32" else f"/{precision}"),
            format=format_,
            accelerator=accelerator,
            precision=precision,
            **common,
        )
        for format_, accelerator, precision in kinds
    ]


def _others() -> list[Contender]:
    onnxruntime: dict[str, Any] = {
        "factory": _engine("onnxruntime"),
        "modules": ("onnxruntime", "onnx"),
        "packages": ("onnxruntime",),
    }
    openvino: dict[str, Any] = {
        "factory": _engine("openvino"),
        "modules": ("openvino",),
        "packages": ("openvino",),
    }
    litert: dict[str, Any] = {
        "factory": _engine("litert"),
        "modules": ("ai_edge_litert", "flatbuffers"),
        "packages": ("ai-edge-litert",),
    }
    # What quantizes the ONNX file is part of onnxruntime.
    from_onnx = openvino | {"modules": ("openvino", *onnxruntime["modules"])}
    return [
        Contender("onnxruntime", **onnxruntime, files=("onnx",)),
        Contender("onnxruntime/int8", **onnxruntime, files=("onnx_int8",), precision="int8"),
        Contender("openvino", **openvino),
        Contender("openvino/bf16", **openvino, precision="bf16"),
        Contender("openvino/int8", **from_onnx, files=("onnx_int8",), precision="int8"),
        Contender("litert", **litert, files=("tflite",)),
        Contender("litert/int8", **litert, files=("tflite_int8",), precision="int8"),
    ]


def _all() -> tuple[Contender, ...]:
    paddle = ("paddlepaddle", "setuptools")
    inference: dict[str, Any] = {
        "factory": _engine("paddle_inference"),
        "modules": ("paddle",),
        "packages": paddle,
    }
    ours: dict[str, Any] = {"factory": _engine("lenet_cpp"), "packages": ("lenet-cpp", *paddle)}
    native: dict[str, Any] = {"engine": "native", "accelerator": "auto"}
    return (
        Contender("dygraph", _engine("dygraph"), ("paddle",), paddle, files=("weights",)),
        *_kinds("paddle.inference", **inference),
        *_kinds("program", factory=PROGRAM),
        Contender("program/native", PROGRAM, **native),
        Contender("program/native/int8", PROGRAM, **native, precision="int8"),
        *_kinds("lenet_cpp", auto=True, **ours),
        Contender("lenet_cpp/auto", **ours, engine="auto", accelerator="auto"),
        Contender("lenet_cpp/native", ours["factory"], packages=("lenet-cpp",), **native),
        Contender(
            "lenet_cpp/native/int8",
            ours["factory"],
            packages=("lenet-cpp",),
            **native,
            precision="int8",
        ),
        *_others(),
    )


CONTENDERS = _all()


def choose(
    patterns: Sequence[str] | None,
    known: Sequence[Contender] = CONTENDERS,
    *,
    precisions: Sequence[str] = PRECISIONS,
) -> list[Contender]:
    """Return the contenders of these names, groups (``lenet_cpp``) or patterns (``*/plain``).

    Args:
        patterns: All when None.
        known: Among which.
        precisions: Of these only.

    Raises:
        BadInput: One of the patterns matches none, or nothing is left of the precisions.
    """
    unknown = [name for name in precisions if name not in PRECISIONS]
    if unknown:
        raise BadInput(
            f"no contender has the precision {unknown[0]!r}; choose among {', '.join(PRECISIONS)}"
        )
    chosen: set[str] = set()
    for pattern in ("*",) if patterns is None else patterns:
        found = [
            contender.name
            for contender in known
            if contender.group == pattern or fnmatch.fnmatchcase(contender.name, pattern)
        ]
        if not found:
            names = ", ".join(dict.fromkeys(contender.group for contender in known))
            raise BadInput(f"no contender is called {pattern!r}; choose among {names}")
        chosen.update(found)
    left = [one for one in known if one.name in chosen and one.precision in precisions]
    if not left:
        raise BadInput(f"none of these contenders has the precision {', '.join(precisions)}")
    return left
