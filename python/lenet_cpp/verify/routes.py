"""The routes from images to outputs."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from lenet_cpp._base.frameworks import paddle
from lenet_cpp.errors import BadModel, Unsupported
from lenet_cpp.formats.source import Source
from lenet_cpp.inference.options import Accelerator, EngineName, Precision
from lenet_cpp.inference.predictor import Predictor
from lenet_cpp.inference.program import call_program
from lenet_cpp.paddle_engines.engines import ExecutorEngine
from lenet_cpp.paddle_engines.running import ConfiguredPredictor, as_given, inference_config

NATIVE = "native"
ACCELERATORS = ("plain", "onednn", "openvino", NATIVE)
"""Paddle's accelerators, and the native engine."""
NO_PROGRAM = "there is none here; ./run.sh builds it in a clone"
ROUTES = ("dygraph", "paddle.inference", "C++ program", "lenet_cpp")

Outputs = dict[str, NDArray[Any]]
"""All outputs of a route, by name: of all images, as :func:`join_batches` puts them together.
Floating-point values are float32, as our engines give them; others have the model's type."""


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
        """The accelerator of ``paddle.inference``; for native it is plain."""
        return "plain" if self.native else cast("Accelerator", self.accelerator)

    @property
    def computes_as_written(self) -> bool:
        """Whether the C++ routes compute a quantized program by its own scales."""
        return self.native and self.precision == "int8"

    @property
    def paddle_precision(self) -> Precision:
        """The precision of ``paddle.inference``.

        It is float32 for native in int8: there Paddle rounds by the program's scales, as native
        does, and its oneDNN does not in int8.
        """
        return "fp32" if self.computes_as_written else self.precision


def batches(images: NDArray[np.float32], size: int) -> Iterator[NDArray[np.float32]]:
    """Yield the images, so many at a time."""
    return (images[begin : begin + size] for begin in range(0, len(images), size))


def join_batches(name: str, parts: Sequence[NDArray[Any]], sizes: Sequence[int]) -> NDArray[Any]:
    """Put an output together that was computed in batches of these sizes.

    The images of [N, ...] follow each other. An output of another shape, such as a scalar, belongs
    to a batch as a whole: of several batches it is [batches, ...]. The C++ program does the same.

    Raises:
        Unsupported: Such an output has another shape in each batch.
    """
    items = {part.shape[1:] for part in parts}
    if len(items) == 1 and all(
        part.ndim > 0 and len(part) == size for part, size in zip(parts, sizes, strict=True)
    ):
        return np.concatenate(parts)
    if len(parts) == 1:
        return parts[0]
    if len({part.shape for part in parts}) > 1:
        raise Unsupported(
            f"the output {name!r} has no batch axis and another shape in each batch, such as"
            f" {list(parts[0].shape)} and {list(parts[-1].shape)}; choose batch sizes that divide"
            " the number of images"
        )
    return np.stack(parts)


def _joined(
    names: Sequence[str], runs: Iterable[Sequence[NDArray[Any]]], sizes: Sequence[int]
) -> Outputs:
    """Put the outputs of all batches together; ``runs`` gives those of each, in this order."""
    parts = [list(map(as_given, run)) for run in runs]
    return {
        name: join_batches(name, [run[i] for run in parts], sizes) for i, name in enumerate(names)
    }


def _sizes(images: NDArray[np.float32], size: int) -> list[int]:
    return [len(batch) for batch in batches(images, size)]


def _numbered(runs: Sequence[Sequence[NDArray[Any]]], sizes: Sequence[int]) -> Outputs:
    """Put outputs without names together, as :func:`_joined` does: the names are numbers."""
    return _joined([str(i) for i in range(len(runs[0]))], runs, sizes)


def named_as(outputs: Outputs, other: Outputs) -> Outputs:
    """Return outputs in the program's order under the names that another route gives them.

    Paddle's network and training engine give outputs no names, and the same model has other names
    in a .json than in a .pdmodel.

    Raises:
        BadModel: There is another number of them.
    """
    if len(outputs) != len(other):
        raise BadModel(
            f"the reference gives {len(outputs)} outputs, paddle.inference {len(other)}: they do"
            " not run the same model"
        )
    return dict(zip(other, outputs.values(), strict=True))


def run_dygraph(layer: paddle.nn.Layer, images: NDArray[np.float32], batch_size: int) -> Outputs:
    """Run the layer itself, for images float32 [N, ...].

    It returns a tensor, or tensors in a list, a tuple or a dictionary. They are numbered in the
    order in which ``paddle.jit.save`` keeps them.
    """

    def run(batch: NDArray[np.float32]) -> list[NDArray[Any]]:
        returned = paddle.utils.flatten(layer(paddle.to_tensor(batch)))
        return [each.numpy() for each in returned if isinstance(each, paddle.Tensor)]

    with paddle.no_grad():
        runs = list(map(run, batches(images, batch_size)))
    return _numbered(runs, _sizes(images, batch_size))


class _InferenceModel:
    """A model in ``paddle.inference``, configured as ``load_predictor.cc`` does."""

    def __init__(self, case: Case) -> None:
        """Load the model for the accelerator, the threads and the precision of a case."""
        self._cache = tempfile.TemporaryDirectory(prefix="lenet-")
        try:
            config = inference_config(
                case.model.program,
                case.model.params,
                accelerator=case.paddle_accelerator,
                threads=case.threads,
                precision=case.paddle_precision,
                cache=self._cache.name,
            )
            self._predictor = ConfiguredPredictor(config)
        except BaseException:
            self._cache.cleanup()
            raise

    def run(self, images: NDArray[np.float32], batch_size: int) -> Outputs:
        """Return the outputs of images, float32 [N, ...], so many at a time."""
        runs = [self._predictor.run(batch) for batch in batches(images, batch_size)]
        return _joined(self._predictor.output_names, runs, _sizes(images, batch_size))

    def close(self) -> None:
        """Free the model."""
        del self._predictor
        self._cache.cleanup()


class OpenModels:
    """The models that the routes of this process have open.

    Each route keeps the model that it ran last: cases that differ only in the batch size share it.
    No route keeps more, because each of them holds all weights of a model.
    """

    def __init__(self, max_batch_size: int) -> None:
        """Remember the largest batch that will run; nothing is loaded yet."""
        self._max_batch_size = max_batch_size
        self._inference: tuple[Case, _InferenceModel] | None = None
        self._predictor: tuple[Case, Predictor] | None = None

    def inference(self, case: Case) -> _InferenceModel:
        """Return the case's model in ``paddle.inference``; errors are Paddle's own."""
        # The native engine is compared with Paddle's accelerator and precision of these names.
        wanted = replace(
            case,
            batch_size=0,
            accelerator=case.paddle_accelerator,
            precision=case.paddle_precision,
        )
        if self._inference is None or self._inference[0] != wanted:
            self._close_inference()
            self._inference = wanted, _InferenceModel(wanted)
        return self._inference[1]

    def predictor(self, case: Case) -> Predictor:
        """Return the case's model in :class:`lenet_cpp.Predictor`, whose errors it has."""
        wanted = replace(case, batch_size=0)
        if self._predictor is None or self._predictor[0] != wanted:
            self._close_predictor()
            opened = Predictor(
                case.model.program,
                case.model.params,
                engine=case.engine,
                accelerator="auto" if case.native else case.paddle_accelerator,
                threads=case.threads,
                precision=case.precision,
                check_finite=case.check_finite,
                max_batch_size=self._max_batch_size,
            )
            self._predictor = wanted, opened
        return self._predictor[1]

    def close(self) -> None:
        """Free the models."""
        self._close_inference()
        self._close_predictor()

    def _close_inference(self) -> None:
        if self._inference is not None:
            self._inference[1].close()
            self._inference = None

    def _close_predictor(self) -> None:
        if self._predictor is not None:
            self._predictor[1].close()
            self._predictor = None


def run_paddle_inference(
    case: Case, images: NDArray[np.float32], models: OpenModels | None = None
) -> Outputs:
    """Run a model with ``paddle.inference``, configured as ``load_predictor.cc`` does.

    This function does not check the files. Paddle crashes on some damaged ones, so load the model
    with :class:`Predictor` first. Without ``models`` the model is loaded for this run only.
    """
    if models is None:
        with closing(OpenModels(case.batch_size)) as opened:
            return run_paddle_inference(case, images, opened)
    return models.inference(case).run(images, case.batch_size)


def run_training_engine(
    engine: ExecutorEngine, images: NDArray[np.float32], batch_size: int
) -> Outputs:
    """Run a model with Paddle's training engine, ``paddle.static.Executor``; or BackendFailure.

    The outputs are numbered in the program's order.
    """
    runs = [engine.run_outputs(batch) for batch in batches(images, batch_size)]
    return _numbered(runs, _sizes(images, batch_size))


def run_lenet_cpp(
    case: Case, images: NDArray[np.float32], models: OpenModels | None = None
) -> Outputs:
    """Run a model with :class:`lenet_cpp.Predictor`, whose errors it has.

    Without ``models`` the model is loaded for this run only.
    """
    if models is None:
        with closing(OpenModels(case.batch_size)) as opened:
            return run_lenet_cpp(case, images, opened)
    predictor = models.predictor(case)
    names = [spec.name for spec in predictor.output_specs]
    runs = [
        list(predictor.run_outputs(batch).values()) for batch in batches(images, case.batch_size)
    ]
    return _joined(names, runs, _sizes(images, case.batch_size))


def run_program(program: Path, case: Case, images: NDArray[np.float32]) -> Outputs:
    """Run a model with the C++ program, in a separate process; errors as :func:`call_program`."""
    with tempfile.TemporaryDirectory(prefix="lenet-") as name:
        source, output = Path(name, "images.npy"), Path(name, "outputs.npz")
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
        with np.load(output) as written:
            return dict(written)


def paddle_version_of(program: Path) -> str:
    """Return the version of the C++ program's Paddle; ``unknown`` without Paddle."""
    match = re.search(r"^paddle (\d\S*)$", call_program(program, "--version"), re.M)
    return match[1] if match else "unknown"
