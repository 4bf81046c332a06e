"""Who takes part, and what each needs."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_cpp.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BASELINE", "CONTENDERS", "PROGRAM", "Contender", "choose"]

BASELINE = "paddle.inference/pdmodel/plain"
PROGRAM = "program"
"""What ``factory`` is for the C++ program, which is no Python process."""

# Where the package is not called as the module.
_PACKAGES = {"ai_edge_litert": "ai-edge-litert", "paddle": "paddlepaddle"}
_ENGINES = Path(__file__).with_name("engines.py")


@dataclass(frozen=True)
class Contender:
    """One way to run the model.

    Attributes:
        name: Group, and where there are several of a kind format and accelerator:
            ``lenet_cpp/pdmodel/openvino``.
        factory: What makes it, ``FILE.py:FUNCTION`` (see ``engines.py``), or :data:`PROGRAM`.
        modules: Python modules without which it cannot run.
        packages: What has to be installed for it, for the size on disk.
        format: Of the exported model that it reads.
        accelerator: As the options of lenet_cpp have it; empty where there is no choice.
        files: Other files it needs: ``onnx``, ``tflite``, ``weights``.
    """

    name: str
    factory: str
    modules: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    format: str = "pdmodel"
    accelerator: str = ""
    files: tuple[str, ...] = field(default=())

    @property
    def group(self) -> str:
        """The name up to the first ``/``."""
        return self.name.partition("/")[0]

    def missing(self) -> str | None:
        """Why it cannot take part, with the remedy; None when it can."""
        for module in self.modules:
            if find_spec(module) is None:
                package = _PACKAGES.get(module, module)
                return f"{module} is not installed: pip install {package}"
        return None


def _engine(name: str) -> str:
    return f"{_ENGINES}:{name}"


def _kinds(*, auto: bool) -> list[tuple[str, str]]:
    kinds = [("pdmodel", name) for name in ("plain", "onednn", "openvino")]
    kinds += [("json", name) for name in ("plain", "onednn")]
    return kinds + ([("pdmodel", "auto"), ("json", "auto")] if auto else [])


def _all() -> tuple[Contender, ...]:
    paddle = ("paddlepaddle", "setuptools")
    found = [
        Contender("dygraph", _engine("dygraph"), ("paddle",), paddle, files=("weights",)),
        *(
            Contender(
                f"paddle.inference/{format_}/{accelerator}",
                _engine("paddle_inference"),
                modules=("paddle",),
                packages=paddle,
                format=format_,
                accelerator=accelerator,
            )
            for format_, accelerator in _kinds(auto=False)
        ),
        *(
            Contender(f"program/{format_}/{name}", PROGRAM, format=format_, accelerator=name)
            for format_, name in _kinds(auto=False)
        ),
        *(
            Contender(
                f"lenet_cpp/{format_}/{accelerator}",
                _engine("lenet_cpp"),
                packages=("lenet-cpp", *paddle),
                format=format_,
                accelerator=accelerator,
            )
            for format_, accelerator in _kinds(auto=True)
        ),
        Contender(
            "onnxruntime",
            _engine("onnxruntime"),
            modules=("onnxruntime", "onnx"),
            packages=("onnxruntime",),
            files=("onnx",),
        ),
        Contender("openvino", _engine("openvino"), modules=("openvino",), packages=("openvino",)),
        Contender(
            "litert",
            _engine("litert"),
            modules=("ai_edge_litert", "flatbuffers"),
            packages=("ai-edge-litert",),
            files=("tflite",),
        ),
    ]
    return tuple(found)


CONTENDERS = _all()


def choose(
    patterns: Sequence[str] | None, known: Sequence[Contender] = CONTENDERS
) -> list[Contender]:
    """Return the contenders of these names, groups (``lenet_cpp``) or patterns (``*/plain``).

    Args:
        patterns: All when None.
        known: Among which.

    Raises:
        BadInput: One of them matches none.
    """
    if patterns is None:
        return list(known)
    chosen: set[str] = set()
    for pattern in patterns:
        found = [
            contender.name
            for contender in known
            if contender.group == pattern or fnmatch.fnmatchcase(contender.name, pattern)
        ]
        if not found:
            names = ", ".join(dict.fromkeys(contender.group for contender in known))
            raise BadInput(f"no contender is called {pattern!r}; choose among {names}")
        chosen.update(found)
    return [contender for contender in known if contender.name in chosen]
