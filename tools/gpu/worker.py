"""Run models in another process, where CUDA's libraries and their memory stay."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

import lenet_cpp
from lenet_cpp._base.worker import run_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from lenet_cpp._base.worker import Report

    Row = dict[str, Any]
    Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]

OWN, PEER = "lenet_cpp", "onnxruntime"
"""This project's Predictor, and onnxruntime's own Python."""
_CUDA_LIBRARIES = {
    "CUDA": ("cudart", "cudaRuntimeGetVersion"),
    "cuDNN": ("cudnn", "cudnnGetVersion"),
}
_LEFT_MB = 200
_HOLDING_SECONDS = 120


def gpu_facts(device: str) -> dict[str, str]:
    """Return the name, the driver and the memory in MB of a GPU; nothing where there is none."""
    if device == "cpu":
        return {}
    asked = ("name", "driver_version", "memory.total", "memory.used")
    command = ("nvidia-smi", f"--id={_number(device)}", f"--query-gpu={','.join(asked)}")
    try:
        done = run_program([*command, "--format=csv,noheader,nounits"], seconds=60)
    except OSError:
        return {}
    found = [text.strip() for text in done.stdout.strip().split(",")]
    return dict(zip(asked, found, strict=True)) if len(found) == len(asked) else {}


def _used_mb(device: str) -> float | None:
    """Return how much of the GPU's memory all processes hold; None for a processor."""
    facts = gpu_facts(device)
    return float(facts["memory.used"]) if facts else None


def _number(device: str) -> int:
    return int(device.partition(":")[2] or 0)


def _cuda_versions() -> dict[str, str]:
    """Return the versions of the libraries that this process has loaded."""
    loaded = Path("/proc/self/maps").read_text(encoding="utf-8")
    found = {}
    for name, (library, function) in _CUDA_LIBRARIES.items():
        if match := re.search(rf"/\S*/lib{library}\.so\S*", loaded):
            asked = getattr(ctypes.CDLL(match[0]), function)
            value = ctypes.c_int()
            number = asked(ctypes.byref(value)) or value.value if name == "CUDA" else asked()
            parts = (1000, 10) if name == "CUDA" else (10000, 100)
            found[name] = f"{number // parts[0]}.{number % parts[0] // parts[1]}"
    return found


def expected(file: str, images: str, target: str, report: Report) -> None:
    """Write what the native engine gives on the processor, float32 [N, classes]."""
    with lenet_cpp.Predictor(file, engine="native", threads=os.cpu_count() or 1) as predictor:
        np.save(target, predictor.run(np.load(images)))


@contextmanager
def _opened(who: str, file: str, engine: Any, device: str, precision: Any) -> Iterator[Run]:
    if who == OWN:
        with lenet_cpp.Predictor(file, engine=engine, device=device, precision=precision) as opened:
            yield opened.run
        return
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    cuda = {"device_id": _number(device), "use_tf32": int(precision == "tf32")}
    gpu: tuple[str, dict[str, int]] = ("CUDAExecutionProvider", cuda)
    providers = [gpu if device != "cpu" else ("CPUExecutionProvider", {})]
    session = onnxruntime.InferenceSession(file, options, providers=providers)
    if session.get_providers()[0] != "CUDAExecutionProvider" and device != "cpu":
        raise lenet_cpp.Unsupported(f"onnxruntime's own Python does not compute on {device}")
    (name,) = [each.name for each in session.get_inputs()]
    yield lambda batch: session.run(None, {name: batch})[0]


def measure(
    who: str,
    file: str,
    engine: str,
    device: str,
    precision: str,
    batches: list[int],
    seconds: float,
    images: str,
    folder: str,
    report: Report,
) -> Row:
    """Load a model once, and run batches of it.

    Args:
        who: ``OWN`` or ``PEER``.
        file: The model.
        engine: That of ``OWN``.
        device: As in :class:`lenet_cpp.Options`.
        precision: ``fp32`` or ``tf32``.
        batches: How many images at once, in turn.
        seconds: For how long each batch is run, after its first run.
        images: A .npy with as many as the largest batch.
        folder: Receives the outputs, ``N.npy`` of N images.
        report: Receives the progress.

    Returns:
        ``load_s``; ``cells``, for each batch ``first_s`` and ``runs_us``; ``memory_mb``, which the
        GPU has lost to this process; and the versions of what was loaded.
    """
    before = _used_mb(device)
    started = time.perf_counter()
    with _opened(who, file, engine, device, precision) as run:
        loaded = time.perf_counter() - started
        cells = []
        for number, size in enumerate(batches):
            report(f"{who} {precision}, {size} images", number, len(batches))
            batch = np.ascontiguousarray(np.load(images, mmap_mode="r")[:size])
            runs = _time(partial(run, batch), seconds)
            np.save(Path(folder, f"{size}.npy"), run(batch))
            cells.append({"images": size, "first_s": runs[0] / 1e6, "runs_us": runs[1:]})
        after = _used_mb(device)
        memory = None if before is None or after is None else after - before
        return {"load_s": loaded, "cells": cells, "memory_mb": memory, "cuda": _cuda_versions()}


def _time(run: Callable[[], Any], seconds: float) -> list[float]:
    """Return microseconds of each run: the first, and at least three more."""
    runs: list[float] = []
    end = float("inf")
    while len(runs) < 4 or time.perf_counter() < end:
        started = time.perf_counter()
        run()
        now = time.perf_counter()
        runs.append(1e6 * (now - started))
        if len(runs) == 1:
            end = now + seconds
    return runs


def load(file: str, report: Report, **options: Any) -> str:
    """Open and run a model with options; raises what the Predictor raises."""
    with lenet_cpp.Predictor(file, **options) as predictor:
        shape = [1 if size < 0 else size for size in predictor.input_spec.shape]
        predictor.run(np.zeros(shape, np.float32))
    return "runs"


def two_threads(file: str, images: str, target: str, report: Report, **options: Any) -> str:
    """Run two predictors in two threads, and write what each gives at last."""
    batch = np.load(images)[:8]
    found: list[NDArray[np.float32] | None] = [None, None]
    with ExitStack() as stack:
        opened = [stack.enter_context(lenet_cpp.Predictor(file, **options)) for _ in found]

        def work(number: int) -> None:
            for _ in range(20):
                found[number] = opened[number].run(batch)

        threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if any(each is None for each in found):
        raise lenet_cpp.BackendFailure("a thread ended without an answer")
    np.save(target, np.stack(cast("list[NDArray[np.float32]]", found)))
    return f"{len(batch)} images, 20 runs in each thread"


def one_batch(file: str, images: str, target: str, report: Report, **options: Any) -> str:
    """Run all images by one predictor, and write what it gives."""
    with lenet_cpp.Predictor(file, **options) as predictor:
        np.save(target, predictor.run(np.load(images))[None])
    return "run"


def little_memory(file: str, images: str, report: Report, **options: Any) -> str:
    """Ask for more than ``gpu_mem`` allows, and then for what it allows."""
    batch = np.load(images)
    before = _used_mb(options["device"])
    with lenet_cpp.Predictor(file, **options) as predictor:
        try:
            predictor.run(batch)
        except lenet_cpp.BackendFailure as error:
            predictor.run(batch[:1])
            after = _used_mb(options["device"])
            held = "" if before is None or after is None else f"; {after - before:.0f} MB are held"
            return f"{type(error).__name__}: {error}; then one image runs{held}"
    return f"{len(batch)} images run"


def taken_memory(file: str, report: Report, **options: Any) -> str:
    """Load a model while another process holds the GPU's memory, and again when it has ended."""
    code = f"from tools.gpu.worker import hold_memory; hold_memory({_number(options['device'])})"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            if other.stdout is None or not other.stdout.readline().startswith("held"):
                raise lenet_cpp.Unsupported("the GPU's memory cannot be taken")
            try:
                load(file, report, **options)
                answer = "runs all the same"
            except lenet_cpp.Error as error:
                answer = f"{type(error).__name__}: {error}"
        finally:
            other.kill()
    return f"{answer}; when the other has ended, it {load(file, report, **options)}"


def hold_memory(number: int) -> None:
    """Take all of a GPU's memory but a little, say so, and wait to be ended."""
    cuda = ctypes.CDLL("libcuda.so.1")
    context, free, total, at = (ctypes.c_void_p(), *(ctypes.c_size_t() for _ in range(3)))

    def require(status: int) -> None:
        if status:
            raise lenet_cpp.BackendFailure(f"the CUDA driver failed with {status}")

    require(cuda.cuInit(0))
    require(cuda.cuCtxCreate_v2(ctypes.byref(context), 0, number))
    require(cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)))
    size = ctypes.c_size_t(free.value - (_LEFT_MB << 20))
    require(cuda.cuMemAlloc_v2(ctypes.byref(at), size))
    print("held", size.value >> 20, flush=True)
    time.sleep(_HOLDING_SECONDS)
