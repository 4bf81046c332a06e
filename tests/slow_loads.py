"""Models whose load by onnxruntime never ends, or crashes, for the tests of what ends it."""

import os
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from snippets import printed_by

SOURCES = Path(__file__).parent / "inference"


def environment(folder):
    """Return the variables with which onnxruntime is the slow one, which is built there."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="the engine needs its library")
    (real,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so*")
    library = compile_library(folder, "slow_onnxruntime.cc")
    slow = {"LENET_ONNXRUNTIME_LIBRARY": library, "REAL_ONNXRUNTIME": str(real)}
    return {**os.environ, **slow}


def paddle_environment(folder):
    """Return the variables with which the first load by Paddle never ends."""
    pytest.importorskip("paddle", reason="the engine needs its library")
    never = folder / "never"
    never.touch()
    real = Path(find_spec("paddle").origin).parent / "base" / "libpaddle.so"
    slow = {"LD_PRELOAD": compile_library(folder, "slow_paddle.cc"), "REAL_PADDLE": str(real)}
    return {**os.environ, **slow, "NEVER_LOADS": str(never)}


def compile_library(folder, source):
    """Return the path of a shared library."""
    library = folder / f"lib{Path(source).stem}.so"
    printed_by("c++", "-shared", "-fPIC", "-O1", "-o", library, SOURCES / source, "-ldl")
    return str(library)


def put_model(path, name="loads", nodes="y = EyeLike(x)"):
    """Write a model, which onnxruntime alone runs.

    Named LENET_NEVER_LOADS it is not loaded, and named LENET_CRASHES it ends who loads it.
    """
    onnx = pytest.importorskip("onnx", reason="the model is made with it")
    graph = onnx.parser.parse_graph(f"g (float[N,4] x) => (float[N,4] y) {{ {nodes} }}")
    graph.name = name
    opsets = [onnx.helper.make_opsetid("", 13)]
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(onnx.helper.make_model(graph, ir_version=8, opset_imports=opsets), path)
    return path


def put_models(folder):
    """Write one that never loads, and one that does; return their paths."""
    return put_model(folder / "never.onnx", "LENET_NEVER_LOADS"), put_model(folder / "loads.onnx")


def wait_until(happens, seconds=60):
    """Ask again and again until it is so; fail when that takes too long."""
    until = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < until
        time.sleep(0.1)
