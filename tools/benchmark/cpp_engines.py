"""Load the model and run batches in other libraries from C++; a child process imports this.

As in ``engines.py``, each function takes a model and returns what runs a batch. This one also has
``block``, which times runs in C++. The sources in ``cpp_peers`` become a shared library in
``cache`` at the first turn of a contender. ncnn and MNN run in the environment of
``peer_engines.py``, whose packages convert the model; their C++ libraries are in ``library``, a
folder that has their ``include`` and ``lib``.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    Model = Mapping[str, Any]

SOURCES = Path(__file__).with_name("cpp_peers")
_MESSAGE = 512  # bytes, as peer.cc has them
_LEAST_RUNS = 3
_SECONDS = 300


def openvino(model: Model) -> CppPeer:
    """Run OpenVINO by its C++ interface."""
    import openvino as package

    folder = Path(str(package.__file__)).parent
    (library,) = (folder / "libs").glob("libopenvino.so.*")
    options = [f"-I{folder / 'include'}", str(library), f"-Wl,-rpath,{library.parent}"]
    path = model.get("onnx") or model["program"]
    return CppPeer(_built(model, "openvino", options), model, path)


def ncnn(model: Model) -> ConvertedPeer:
    """Run ncnn by its C++ interface."""
    library = _built(model, "ncnn", _options(model, "ncnn"))
    return ConvertedPeer(
        lambda shape: CppPeer(
            library, model, str(_conversions().converted_by_pnnx(model, (1, *shape[1:])))
        )
    )


def mnn(model: Model) -> CppPeer:
    """Run MNN by its C++ interface."""
    path = str(_conversions().converted_by_mnn(model))
    return CppPeer(_built(model, "mnn", _options(model, "MNN")), model, path)


def _conversions() -> Any:
    """Return the module that converts models; the benchmark loads this one by its path."""
    folder = str(Path(__file__).parent)
    if folder not in sys.path:
        sys.path.append(folder)
    return import_module("peer_engines")


def _options(model: Model, library: str) -> list[str]:
    """Return the compiler's options for a library that is installed in a folder."""
    folder = Path(model["library"])
    places = [folder / "lib", folder / "lib64"]
    found = [f"-L{place}" for place in places] + [f"-Wl,-rpath,{place}" for place in places]
    return [f"-I{folder / 'include'}", *found, f"-l{library}"]


class CppPeer:
    """A model in another library. Not for several threads at once."""

    def __init__(self, library: Path, model: Model, path: str) -> None:
        """Load a file with the peer's shared library, which :func:`_built` makes.

        Raises:
            RuntimeError: The peer cannot load it, and says why.
        """
        self._library = ctypes.CDLL(str(library))
        self._library.peer_load.restype = ctypes.c_void_p
        self._library.peer_run.restype = self._library.peer_time.restype = ctypes.c_bool
        self._message = ctypes.create_string_buffer(_MESSAGE)
        self._classes = model["classes"]
        given = (path.encode(), model["threads"], model["precision"].encode(), self._message)
        self._peer = ctypes.c_void_p(self._library.peer_load(*given))
        self._check(bool(self._peer))

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the outputs of a batch, float32 [N, C, H, W], as float32 [N, classes]."""
        outputs = np.empty((len(batch), self._classes), np.float32)
        self._check(self._library.peer_run(*self._arguments(batch, outputs), self._message))
        return outputs

    def block(self, batch: NDArray[np.float32], seconds: float, warmup: float) -> list[int]:
        """Time single runs of a batch, in nanoseconds, as ``child.block`` does."""
        began = time.monotonic()
        fastest = min(self._times(batch, _LEAST_RUNS))
        while time.monotonic() - began < warmup:
            fastest = min(fastest, *self._times(batch, _LEAST_RUNS))
        return self._times(batch, max(_LEAST_RUNS, round(1e9 * seconds / fastest)))

    def _times(self, batch: NDArray[np.float32], count: int) -> list[int]:
        outputs = np.empty((len(batch), self._classes), np.float32)
        times = np.zeros(count, np.int64)
        where = times.ctypes.data_as(ctypes.c_void_p)
        arguments = (*self._arguments(batch, outputs), where, ctypes.c_size_t(count))
        self._check(self._library.peer_time(*arguments, self._message))
        return [int(one) for one in times]

    def _arguments(self, batch: NDArray[np.float32], outputs: NDArray[np.float32]) -> Sequence[Any]:
        images = batch.ctypes.data_as(ctypes.c_void_p)
        shape = ctypes.byref((ctypes.c_int64 * 4)(*batch.shape))
        answers = outputs.ctypes.data_as(ctypes.c_void_p)
        return (self._peer, images, shape, answers, ctypes.c_size_t(outputs.size))

    def _check(self, done: bool) -> None:
        if not done:
            raise RuntimeError(self._message.value.decode(errors="replace"))


class ConvertedPeer:
    """A model that is converted for the shape of the first batch. Not for several threads."""

    def __init__(self, load: Callable[[tuple[int, ...]], CppPeer]) -> None:
        """Keep what loads the model for such a shape."""
        self._load = load
        self._peer: CppPeer | None = None

    def __call__(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the outputs of a batch, float32 [N, C, H, W], as float32 [N, classes]."""
        return self._loaded(batch)(batch)

    def block(self, batch: NDArray[np.float32], seconds: float, warmup: float) -> list[int]:
        """Time single runs of a batch, in nanoseconds."""
        return self._loaded(batch).block(batch, seconds, warmup)

    def _loaded(self, batch: NDArray[np.float32]) -> CppPeer:
        if self._peer is None:
            self._peer = self._load(batch.shape)
        return self._peer


def _built(model: Model, peer: str, options: Sequence[str]) -> Path:
    """Return the shared library of a peer, built if it is not there."""
    library = Path(model["cache"], f"{peer}.so")
    if library.exists():
        return library
    part = library.with_suffix(".part")
    sources = [str(SOURCES / "peer.cc"), str(SOURCES / f"{peer}.cc")]
    command = ["c++", "-std=c++17", "-O2", "-shared", "-fPIC", "-o", str(part), *sources, *options]
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
    )
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line]
        raise RuntimeError(f"{peer}.cc cannot be compiled: {lines[0] if lines else done.stderr}")
    part.rename(library)
    return library
