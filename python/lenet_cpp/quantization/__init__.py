"""Quantization: float models become models of 8-bit integers.

Four methods, each from Paddle itself or from PaddleSlim:

* ``static-ptq``: a program is calibrated with some images (post-training quantization),
* ``static-qat``: a program is trained with rounded values (quantization-aware training),
* ``dygraph-ptq``, ``dygraph-qat``: the same with a layer.

A quantized model is an exported model like any other, see :mod:`lenet_cpp.manifest`, in the ONNX
form of Paddle: int8 weights, and ``quantize_linear`` and ``dequantize_linear`` operators. It is
for ``precision="int8"``.

The work is done in child processes, because Paddle's quantization needs the old IR, which is
chosen when Paddle is imported.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp._installation import ExportResult, install, staging_folder
from lenet_cpp.errors import BadInput, BadModel
from lenet_cpp.images import PREPROCESS_NAME
from lenet_cpp.manifest import (
    Accuracy,
    Manifest,
    ModelSignature,
    TensorSpec,
    describe_files,
    has_manifest,
    package_version,
    read_manifest,
)
from lenet_cpp.quantization import slim, slim_environment, static_ptq
from lenet_cpp.quantization.child import call_child
from lenet_cpp.quantization.data import Images, made_images, mnist_images
from lenet_cpp.quantization.deployed import Deployed, count_primitives, paddle_outputs
from lenet_cpp.quantization.source import FloatModel, open_source
from lenet_cpp.quantization.task import Task

if TYPE_CHECKING:
    import numpy.typing as npt

    from lenet_cpp.quantization.child import Report

__all__ = [
    "METHODS",
    "VIA",
    "FloatModel",
    "Images",
    "Quality",
    "Quantized",
    "Settings",
    "Task",
    "algorithms",
    "check_quality",
    "check_settings",
    "compare",
    "made_images",
    "make_task",
    "mnist_images",
    "open_source",
    "quantize",
    "run_task",
]

METHODS = {
    "static-ptq": "a program, calibrated",
    "static-qat": "a program, trained with rounded values",
    "dygraph-ptq": "a layer, calibrated",
    "dygraph-qat": "a layer, trained with rounded values",
}
VIA = ("paddle", "paddleslim")
# Those of lenet_cpp.quantization.observers, which needs Paddle.
_DYGRAPH_ALGORITHMS = ("hist", "KL", "avg", "abs_max")
MAX_DROP = 0.5
_PRIMITIVE_IMAGES = 2
# Rounding to 8 bits costs a few hundredths in a deep network; wrong weights cost about 1.
_MAX_RELATIVE_ERROR = 0.5


@dataclass(frozen=True)
class Settings:
    """How to quantize.

    Attributes:
        via: A name in :data:`VIA`.
        algo: How calibration finds the range of an activation: a name in :func:`algorithms`.
        epochs: Of training.
        steps: Of training, instead of epochs; None for epochs.
        batch_size: Images at a time, in calibration and training.
        learning_rate: Of training.
        seed: Of the order of images in training.
        max_drop: The most that the accuracy may fall, in percentage points; without labels, the
            most images that may be classified otherwise. None is 0.5 with labels, and without
            them any, because an untrained model decides by chance.
    """

    via: str = "paddle"
    algo: str = "hist"
    epochs: int = 1
    steps: int | None = None
    batch_size: int = 64
    learning_rate: float = 1e-4
    seed: int = 0
    max_drop: float | None = None


@dataclass(frozen=True)
class Quality:
    """How the outputs of a quantized model compare with the float model's, on the same images.

    Attributes:
        images: How many.
        float_correct: How many the float model classified correctly; None without labels.
        correct: How many the quantized one did; None without labels.
        equal: How many got the same class from both.
        largest_difference: Of a logit.
        relative_error: Root of the mean square of the differences, relative to the spread of the
            float model's logits.
    """

    images: int
    float_correct: int | None
    correct: int | None
    equal: int
    largest_difference: float
    relative_error: float

    @property
    def drop(self) -> float:
        """What was lost, in percentage points: accuracy, or agreement without labels."""
        if self.correct is None or self.float_correct is None:
            return 100 * (1 - self.equal / self.images)
        return 100 * (self.float_correct - self.correct) / self.images

    @property
    def accuracy(self) -> float | None:
        """Share of images that the quantized model classified correctly."""
        return None if self.correct is None else self.correct / self.images

    @property
    def float_accuracy(self) -> float | None:
        """Share of images that the float model classified correctly."""
        return None if self.float_correct is None else self.float_correct / self.images

    @property
    def agreement(self) -> float:
        """Share of images that got the same class from both."""
        return self.equal / self.images


@dataclass(frozen=True)
class Quantized:
    """A quantized model that was written.

    Attributes:
        method: A key of :data:`METHODS`.
        result: What was written where.
        quality: By ``paddle.inference`` in int8.
        primitives: See :func:`lenet_cpp.quantization.deployed.count_primitives`.
    """

    method: str
    result: ExportResult
    quality: Quality
    primitives: dict[str, tuple[int, int]]

    @property
    def deployed(self) -> Deployed:
        """The model, to be run in int8."""
        stem = self.result.manifest.name
        folder = self.result.folder
        return Deployed(folder / f"{stem}.pdmodel", folder / f"{stem}.pdiparams", int8=True)


def algorithms(method: str, via: str = "paddle") -> tuple[str, ...]:
    """Return the names of the ways to calibrate that a method has; none when it trains."""
    if method.endswith("qat"):
        return ()
    if via == "paddleslim":
        return slim.ALGORITHMS if method == "static-ptq" else tuple(slim.DYGRAPH_ALGORITHMS)
    return static_ptq.ALGORITHMS if method == "static-ptq" else _DYGRAPH_ALGORITHMS


def compare(
    reference: npt.NDArray[np.float32],
    outputs: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64] | None,
) -> Quality:
    """Compare outputs.

    Args:
        reference: float32 [N, classes], the float model's.
        outputs: The same of the quantized model.
        labels: int64 [N]; None when the images show nothing.

    Raises:
        BadModel: The shapes differ, or an output is not finite.
    """
    if reference.shape != outputs.shape or not np.isfinite(outputs).all():
        raise BadModel(
            f"the quantized model returns {list(outputs.shape)} where {list(reference.shape)} was"
            " expected, or values that are not finite"
        )
    first, second = reference.argmax(axis=1), outputs.argmax(axis=1)
    difference = outputs.astype(np.float64) - reference
    spread = float(reference.std()) or 1.0
    return Quality(
        images=len(reference),
        float_correct=None if labels is None else int((first == labels).sum()),
        correct=None if labels is None else int((second == labels).sum()),
        equal=int((first == second).sum()),
        largest_difference=float(np.abs(difference).max()),
        relative_error=float(np.sqrt((difference**2).mean())) / spread,
    )


def check_settings(method: str, settings: Settings) -> None:
    """Check that a method can do what the settings ask for.

    Raises:
        BadInput: It cannot; names what there is.
    """
    if method not in METHODS:
        raise BadInput(f"unknown method {method!r}; choose among {', '.join(METHODS)}")
    if settings.via not in VIA:
        raise BadInput(f"unknown way {settings.via!r}; choose among {', '.join(VIA)}")
    known = algorithms(method, settings.via)
    if known and settings.algo not in known:
        raise BadInput(
            f"{method} by {settings.via} calibrates by {', '.join(known)}, not {settings.algo!r}"
        )
    for name in ("epochs", "batch_size"):
        if getattr(settings, name) < 1:
            raise BadInput(f"{name} is {getattr(settings, name)}; expected 1 or more")
    if settings.steps is not None and settings.steps < 1:
        raise BadInput(f"steps is {settings.steps}; expected 1 or more")
    if not 0 < settings.learning_rate <= 1:
        raise BadInput(f"the learning rate is {settings.learning_rate}; expected above 0 to 1")
    if settings.max_drop is not None and not settings.max_drop >= 0:
        raise BadInput(f"max_drop is {settings.max_drop}; expected 0 or more")


def quantize(
    source: FloatModel,
    images: Images,
    method: str,
    output_dir: str | Path,
    settings: Settings | None = None,
    *,
    reference: npt.NDArray[np.float32] | None = None,
    report: Report | None = None,
) -> Quantized:
    """Quantize a model, check it as it will be deployed, and only then write it.

    Args:
        source: The float model.
        images: To calibrate, train and test with.
        method: A key of :data:`METHODS`.
        output_dir: The folder to write; made if missing. An older model of the same name there is
            replaced when it is a quantized one.
        settings: How.
        reference: The float model's outputs for ``images.test``; computed when None.
        report: Takes the progress.

    Raises:
        BadInput: A setting, or the folder holds a float model or another model's export.
        BadModel: The quantized model is not what it has to be: weights that are not int8, no int8
            arithmetic, or more lost than ``settings.max_drop``. Nothing is written.
        BackendFailure: Paddle, PaddleSlim or its environment failed. Nothing is written.
        OSError: The folder cannot be written.
    """
    settings = settings or Settings()
    check_settings(method, settings)
    output = Path(output_dir)
    _check_output(output)
    stem = source.program.stem
    if reference is None:
        reference = paddle_outputs(
            Deployed(source.program, source.params, int8=False), images.test, report=report
        )
    with (
        staging_folder(output, stem, source.spec.name) as staging,
        tempfile.TemporaryDirectory(prefix="lenet-") as work,
    ):
        task = make_task(source, images, method, settings, staging, Path(work))
        answer = run_task(task, report=report)
        program, params = staging / f"{stem}.pdmodel", staging / f"{stem}.pdiparams"
        weights = check_int8(program, params)
        model = Deployed(program, params, int8=True)
        primitives = count_primitives(model, images.test[:_PRIMITIVE_IMAGES])
        if not sum(whole for whole, _ in primitives.values()):
            raise BadModel(f"{method}: oneDNN computed nothing in int8; nothing was written")
        quality = compare(reference, paddle_outputs(model, images.test, report=report),
                          images.labels)  # fmt: skip
        check_quality(method, quality, settings.max_drop)
        manifest = _manifest(source, images, settings, task, quality, staging, answer, weights)
        result = install(staging, output, manifest, quality.largest_difference)
    return Quantized(method, result, quality, primitives)


def run_task(task: Task, *, report: Report | None = None) -> dict[str, Any]:
    """Do a task in a child process, in PaddleSlim's environment when it is for that."""
    python = None
    if task.via == "paddleslim":
        python = slim_environment.environment_python(report=report)
    request = {"do": "quantize", "task": task.to_json()}
    return call_child(request, report=report, python=python).result


def check_int8(program: Path, params: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """See that the weights of a quantized model are int8, by readers of our own.

    Returns:
        Name of each quantized weight to its dtype and shape.

    Raises:
        BadModel: They are not.
    """
    import paddle
    from paddle import pir_utils
    from paddle.static.io import is_persistable

    from lenet_cpp.formats.tensors import read_combined
    from lenet_cpp.quantization.int8_weights import inspect_program

    with pir_utils.OldIrGuard():
        parsed = paddle.static.Program.parse_from_string(program.read_bytes())
        names = [var.name for var in parsed.list_vars() if is_persistable(var)]
        return dict(inspect_program(parsed, read_combined(params, names)))


def check_quality(method: str, quality: Quality, max_drop: float | None) -> None:
    """Refuse a quantized model that lost too much; see :attr:`Settings.max_drop`.

    Raises:
        BadModel: It did; says how much.
    """
    most = max_drop
    if quality.accuracy is not None and quality.float_accuracy is not None:
        most = MAX_DROP if max_drop is None else max_drop
        found = (
            f"reaches {100 * quality.accuracy:.2f} % where the float model reaches"
            f" {100 * quality.float_accuracy:.2f} %"
        )
    else:
        found = f"classifies {quality.drop:.2f} % of the images otherwise than the float model"
    remedy = "nothing was written; calibrate with more images, by another --algo, or train (qat)"
    if most is not None and quality.drop > most:
        raise BadModel(
            f"{method}: the quantized model {found}, more than the {most:g} points of --max-drop:"
            f" {remedy}"
        )
    if quality.relative_error > _MAX_RELATIVE_ERROR:
        raise BadModel(
            f"{method}: the outputs of the quantized model are off by"
            f" {100 * quality.relative_error:.0f} % of their spread: {remedy}"
        )


def _check_output(output: Path) -> None:
    if not has_manifest(output):
        return
    try:
        old = read_manifest(output)
    except BadModel:
        return  # staging_folder decides
    if old.quantization is None:
        raise BadInput(f"{output} holds a float model: choose another output folder")


def make_task(
    source: FloatModel,
    images: Images,
    method: str,
    settings: Settings,
    output: Path,
    work: Path,
) -> Task:
    """Describe a quantization to a child process, and write its data into ``work``."""
    np.save(work / "calibration.npy", images.calibration)
    np.save(work / "training.npy", images.training)
    per_epoch = max(1, len(images.training) // settings.batch_size)
    return Task(
        method=method,
        via=settings.via,
        program=str(source.program.resolve()),
        params=str(source.params.resolve()),
        output=str(output.resolve()),
        stem=source.program.stem,
        model=source.model,
        class_dim=source.class_dim,
        img_size=source.input_shape[-1],
        state=str(source.state),
        calibration=str(work / "calibration.npy"),
        training=str(work / "training.npy"),
        algo=settings.algo,
        batch_size=settings.batch_size,
        steps=settings.steps or settings.epochs * per_epoch,
        learning_rate=settings.learning_rate,
        seed=settings.seed,
    )


def _manifest(
    source: FloatModel,
    images: Images,
    settings: Settings,
    task: Task,
    quality: Quality,
    staging: Path,
    answer: dict[str, Any],
    weights: dict[str, Any],
) -> Manifest:
    stem = task.stem
    if source.preprocess is not None:
        shutil.copyfile(source.preprocess, staging / PREPROCESS_NAME)
    else:
        source.spec.pipeline(source.input_shape[-1]).save(staging / PREPROCESS_NAME)
    trains = task.method.endswith("qat")
    record = {
        "method": task.method,
        "via": task.via,
        "bits": 8,
        "algo": None if trains else task.algo,
        "calibration_images": None if trains else len(images.calibration),
        "training_steps": task.steps if trains else None,
        "images": images.kind,
        "test_images": quality.images,
        "float_accuracy": quality.float_accuracy,
        "int8_accuracy": quality.accuracy,
        "agreement": quality.agreement,
        "largest_logit_difference": quality.largest_difference,
        "weights": sorted(weights),
    }
    if settings.via == "paddleslim":
        record["paddleslim_version"] = slim_environment.PADDLESLIM
    accuracy = None
    if quality.accuracy is not None:
        dataset = f"MNIST test images ({images.kind}), in int8"
        accuracy = Accuracy(quality.accuracy, quality.images, dataset)
    signature = ModelSignature((TensorSpec(*answer["input"]),), (TensorSpec(*answer["output"]),))
    origin = source.manifest
    known = (
        replace(origin, name=stem)
        if origin is not None
        else Manifest(
            name=stem,
            topology=source.spec.name,
            softmax=False,
            files={},
            models={},
            classes=source.spec.class_names(source.class_dim),
            paddle_version=answer["paddle_version"],
        )
    )
    files = [f"{stem}.pdmodel", f"{stem}.pdiparams", PREPROCESS_NAME]
    return replace(
        known,
        files=describe_files(staging, files),
        models={f"{stem}.pdmodel": signature},
        paddle_version=answer["paddle_version"],
        lenet_cpp_version=package_version(),
        accuracy=accuracy,
        quantization=record,
    )
