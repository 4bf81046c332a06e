"""The versions that a report of a problem needs, found without importing Paddle."""

from __future__ import annotations

import lenet_cpp
from lenet_cpp._core import describe_bf16


def versions() -> dict[str, str]:
    """Return name to version, and what the native engine uses: instructions, for bf16 which."""
    found = {"lenet-cpp": lenet_cpp.__version__}
    for engine in lenet_cpp.available_engines():
        found[engine.name] = engine.version or f"is not available: {engine.unavailable}"
    try:
        with lenet_cpp.Predictor(engine="native") as predictor:
            instructions = predictor.profile(1, runs=1).instructions
    except lenet_cpp.Error as error:  # an instruction set was asked for that is not here
        instructions = f"unknown ({error})"
    return {**found, "native instructions": instructions, "native bf16": describe_bf16()}
