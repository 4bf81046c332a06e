"""The versions that a report of a problem needs, found without importing Paddle."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import lenet_cpp


def versions() -> dict[str, str]:
    """Return name to version, and the instruction set that the native engine uses."""
    return {
        "lenet-cpp": lenet_cpp.__version__,
        "Paddle": _installed("paddlepaddle"),
        "onnxruntime": _installed("onnxruntime"),
        "native engine": _instructions(),
    }


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _instructions() -> str:
    try:
        with lenet_cpp.Predictor(engine="native") as predictor:
            return predictor.explain(1, runs=1).instructions
    except (
        lenet_cpp.Error
    ) as error:  # such as an instruction set that was asked for and is not here
        return f"unknown ({error})"
