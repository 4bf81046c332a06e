"""What ``lenet-cpp --version`` prints."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import lenet_cpp


def versions_text() -> str:
    """Return the versions that a report of a problem needs, without importing Paddle."""
    try:
        with lenet_cpp.Predictor(
            model_dir=lenet_cpp.bundled_model_dir(), engine="native"
        ) as predictor:
            instructions = predictor.explain(1, runs=1).instructions
    except lenet_cpp.Error as error:
        instructions = f"unknown: {error}"
    return (
        f"lenet-cpp {lenet_cpp.__version__}\n"
        f"Paddle {_installed('paddlepaddle')}\n"
        f"onnxruntime {_installed('onnxruntime')}\n"
        f"native engine: {instructions}"
    )


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
