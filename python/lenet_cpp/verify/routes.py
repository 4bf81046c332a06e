"""The routes from images to outputs."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from lenet_cpp._base.frameworks import paddle
from lenet_cpp.formats.source import Source
from lenet_cpp.inference.model import Model
from lenet_cpp.inference.options import Accelerator, EngineName, Precision
from lenet_cpp.inference.predictor import Predictor
from lenet_cpp.inference.program import call_program
from lenet_cpp.paddle_engines.engines import ExecutorEngine
from lenet_cpp.paddle_engines.running import inference_config, run_config

NATIVE = "native"
ACCELERATORS = ("plain", "onednn", "openvino", NATIVE)
"""Paddle's accelerators, and the native engine."""
NO_PROGRAM = "there is none here; ./run.sh builds it in a clone"
ROUTES = ("dygraph", "paddle.inference", "C++ program", "lenet_cpp")


@dataclass(frozen=True)
class Case:
    """How one row of the table is run, in every route."""

    model: Source
    accelerator: str
    batch_size: int
    threads: int = 1
    check_finite: bool = True
    precision: Precision = "fp32"

    @property
    def native(self) -> bool:
        """Whether the C++ routes run on the native engine, and not on Paddle's."""
        return self.accelerator == NATIVE

    @property
    def engine(self) -> EngineName:
        """The engine of the C++ routes."""
        if self.model.program.suffix == ".onnx":
            return "onnxruntime"
        return "native" if self.native else "paddle"

    @property
    def paddle_accelerator(self) -> Accelerator:
        """The accelerator of ``paddle.inference``; for native it is plain, and onednn in int8."""
        if not self.native:
            return cast("Accelerator", self.accelerator)
        return "onednn" if self.precision == "int8" else "plain"


def batches(images: NDArray[np.float32], size: int) -> Iterator[NDArray[np.float32]]:
    """Yield the images, so many at a time."""
    return (images[begin : begin + size] for begin in range(0, len(images), size))


def run_dygraph(
    layer: paddle.nn.Layer, images: NDArray[np.float32], batch_size: int
) -> NDArray[np.float32]:
    """Run the layer itself; float32 [N, ...] in, float32 [N, classes] out."""
    with paddle.no_grad():
        return np.concatenate(
            [layer(paddle.to_tensor(batch)).numpy() for batch in batches(images, batch_size)]
        )


def run_paddle_inference(case: Case, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run a model with ``paddle.inference``, configured as ``load_predictor.cc`` does.

    This function does not check the files. Paddle crashes on some damaged ones, so load the model
    with :class:`Predictor` first.
    """
    with tempfile.TemporaryDirectory(prefix="lenet-") as cache:
        config = inference_config(
            case.model.program,
            case.model.params,
            accelerator=case.paddle_accelerator,
            threads=case.threads,
            precision=case.precision,
            cache=cache,
        )
        runs = run_config(config, batches(images, case.batch_size))
    return np.concatenate([outputs[0] for outputs in runs.outputs])


def run_training_engine(
    model: Model, images: NDArray[np.float32], batch_size: int
) -> NDArray[np.float32]:
    """Run a model with Paddle's training engine, ``paddle.static.Executor``; or BackendFailure."""
    with closing(ExecutorEngine(model)) as engine:
        return np.concatenate([engine.run(batch, [0])[0] for batch in batches(images, batch_size)])


def run_lenet_cpp(case: Case, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run a model with :class:`lenet_cpp.Predictor`, whose errors it has."""
    with Predictor(
        case.model.program,
        case.model.params,
        engine=case.engine,
        accelerator="auto" if case.native else case.paddle_accelerator,
        threads=case.threads,
        precision=case.precision,
        check_finite=case.check_finite,
        max_batch_size=case.batch_size,
    ) as predictor:
        return np.concatenate([predictor.run(batch) for batch in batches(images, case.batch_size)])


def run_program(program: Path, case: Case, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run a model with the C++ program, in a separate process; errors as :func:`call_program`."""
    with tempfile.TemporaryDirectory(prefix="lenet-") as name:
        source, output = Path(name, "images.npy"), Path(name, "outputs.npy")
        np.save(source, images)
        call_program(
            program,
            f"--model_file={case.model.program}",
            *([] if case.model.params is None else [f"--params_file={case.model.params}"]),
            f"--input={source}",
            f"--output={output}",
            f"--engine={case.engine}",
            f"--accelerator={'auto' if case.native else case.accelerator}",
            f"--batch_size={case.batch_size}",
            f"--max_batch_size={case.batch_size}",
            f"--threads={case.threads}",
            f"--precision={case.precision}",
            f"--check_finite={str(case.check_finite).lower()}",
        )
        result: NDArray[np.float32] = np.load(output)
        return result


def paddle_version_of(program: Path) -> str:
    """Return the version of the C++ program's Paddle; ``unknown`` without Paddle."""
    match = re.search(r"^paddle (\d\S*)$", call_program(program, "--version"), re.M)
    return match[1] if match else "unknown"
