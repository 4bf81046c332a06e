"""Makes the int8 models of the benchmark, or checks a given one; in a child process.

In a child, because Paddle and ONNX Runtime would make the memory of the parent theirs, below which
the memory of other children cannot be told. Run as ``python -m lenet_cpp.benchmark.quantizing``
with one argument, the task as JSON:

* ``{"do": "paddle", "model_dir": D, "target": T}`` writes the exported model D, quantized by
  static-ptq, into the folder T;
* ``{"do": "onnx", "source": F, "target": T}`` writes the ONNX file F, quantized, as T;
* ``{"do": "check", "program": F, "params": F}`` sees that a program of Paddle is a quantized one.

It prints lines of JSON: ``{"progress": [what, how far, of how much]}``, and ``{"error": name of the
class, "message": text}`` when something is wrong.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp import errors
from lenet_cpp.benchmark.sessions import child_environment, how_it_ended
from lenet_cpp.benchmark.worker import die_with_parent, take_output
from lenet_cpp.data import read_mnist_dir, sample_dir, stratified_indices, to_model_input
from lenet_cpp.errors import BackendFailure

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["CALIBRATION_IMAGES", "Report", "calibration_images", "call_quantizing"]

Report = Callable[[str, int, int], None]
"""Takes what is being done, how far it is, and how far it goes."""

CALIBRATION_IMAGES = 512
_MODULE = "lenet_cpp.benchmark.quantizing"
_BATCH = 64
_ENDING_SECONDS = 5


def calibration_images() -> NDArray[np.float32]:
    """Return training images of the embedded sample, float32 [N, 1, 28, 28]."""
    train = read_mnist_dir(sample_dir()).train
    chosen = stratified_indices(train.labels, CALIBRATION_IMAGES, seed=(0,))
    return np.ascontiguousarray(to_model_input(train.images[chosen]), np.float32)


def call_quantizing(folder: Path, report: Report | None = None, **task: str) -> None:
    """Do a task in a child process.

    Args:
        folder: Where it works.
        report: Takes the progress.
        **task: See the module.

    Raises:
        lenet_cpp.Error: What the child said.
        BackendFailure: It failed without saying anything that is known.
    """
    with tempfile.TemporaryFile() as log:
        child = subprocess.Popen(  # noqa: S603 - our own Python and module
            [sys.executable, "-W", "ignore", "-m", _MODULE, json.dumps(task)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            # What it leaves behind, should it be killed, goes with the folder.
            env=child_environment(1) | {"TMPDIR": str(folder)},
            cwd=folder,
        )
        answer: dict[str, Any] = {}
        try:
            for line in child.stdout or ():
                answer = json.loads(line)
                if "progress" in answer and report is not None:
                    report(*answer["progress"])
            code = child.wait()
        finally:
            _end(child)
            if child.stdout:
                child.stdout.close()
        if "error" in answer:
            raise getattr(errors, answer["error"])(answer["message"])
        if code != 0:
            log.seek(0)
            raise BackendFailure(f"quantizing: {how_it_ended(code, log.read())}")


def _end(child: subprocess.Popen[bytes]) -> None:
    """Have the child end its own children first, if it still runs."""
    with suppress(subprocess.TimeoutExpired):
        if child.poll() is None:
            child.send_signal(signal.SIGINT)
            child.wait(_ENDING_SECONDS)
    child.kill()
    child.wait()


def _paddle(model_dir: str, target: str, report: Report) -> None:
    from lenet_cpp.quantization import mnist_images, open_source, quantize

    with open_source("lenet", model_dir=model_dir) as source:
        images = mnist_images(sample_dir(), CALIBRATION_IMAGES)
        quantize(source, images, "static-ptq", target, report=report)


def _onnx(source: str, target: str) -> None:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    images = calibration_images()

    class Reader(CalibrationDataReader):  # type: ignore[misc] # the package has no types
        def __init__(self) -> None:
            starts = range(0, len(images), _BATCH)
            self._batches = iter([{"x": images[i : i + _BATCH]} for i in starts])

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(self._batches, None)

    # The pair of types that processors with VNNI multiply by one instruction.
    quantize_static(
        source,
        target,
        Reader(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _check(program: str, params: str) -> None:
    from lenet_cpp.predictor import Predictor

    # It refuses what paddle.inference would compute in float32, or wrongly, without a word.
    with Predictor(program, params, precision="int8"):
        pass


def _main() -> None:
    answers = take_output()
    die_with_parent()
    task = json.loads(sys.argv[1])

    def say(**what: object) -> None:
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    try:
        if (action := task["do"]) == "paddle":
            _paddle(task["model_dir"], task["target"], lambda *where: say(progress=where))
        elif action == "onnx":
            _onnx(task["source"], task["target"])
        else:
            _check(task["program"], task["params"])
    except errors.Error as error:
        say(error=type(error).__name__, message=str(error))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    _main()
