"""Quantization: float models become models of 8-bit integers.

Four methods, each from Paddle itself or from PaddleSlim:

* ``static-ptq``: a program is calibrated with some images (post-training quantization),
* ``static-qat``: a program is trained with rounded values (quantization-aware training),
* ``dygraph-ptq``, ``dygraph-qat``: the same with a layer.

A quantized model is an exported model like any other, see :mod:`lenet_cpp.formats.manifest`, in the
ONNX form of Paddle: int8 weights, and ``quantize_linear`` and ``dequantize_linear`` operators. It
is for ``precision="int8"``.

The work is done in child processes, because Paddle's quantization needs the old IR, which is
chosen when Paddle is imported.
"""

import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lenet_cpp._base.frameworks import paddle
from lenet_cpp._base.optional import require_paddle
from lenet_cpp._base.worker import Report
from lenet_cpp.data.images import PREPROCESS_NAME
from lenet_cpp.errors import BadInput, BadModel
from lenet_cpp.formats.installation import ExportResult, install, staging_folder
from lenet_cpp.formats.manifest import (
    Manifest,
    MeasuredAccuracy,
    ModelSignature,
    describe_model,
    find_manifest,
)
from lenet_cpp.inference.predictor import Predictor
from lenet_cpp.quantize.deployed import Deployed, Quality, check_quality, measure_quality, outputs
from lenet_cpp.quantize.images import Images, mnist_images, own_images
from lenet_cpp.quantize.int8_weights import check_int8
from lenet_cpp.quantize.slim import PADDLESLIM
from lenet_cpp.quantize.source import FloatModel, open_source
from lenet_cpp.quantize.task import (
    METHODS,
    QuantizationSettings,
    Task,
    check_settings,
    make_task,
    run_tasks,
)

__all__ = [
    "METHODS",
    "FloatModel",
    "Images",
    "QuantizationSettings",
    "Quantized",
    "check_settings",
    "mnist_images",
    "open_source",
    "own_images",
    "quantize",
]


@dataclass(frozen=True)
class Quantized:
    """A quantized model that was written, by a method that is a key of :data:`METHODS`.

    :func:`.deployed.outputs` says which engine gave the outputs behind ``quality``, and what
    ``primitives`` counts.
    """

    method: str
    result: ExportResult
    quality: Quality
    primitives: dict[str, tuple[int, int]]

    @property
    def deployed(self) -> Deployed:
        """The model, to be run in int8."""
        return Deployed(self.result.folder / f"{self.result.manifest.name}.pdmodel", "int8")


def quantize(
    source: FloatModel,
    images: Images,
    method: str,
    output_dir: str | Path,
    settings: QuantizationSettings | None = None,
    *,
    reference: npt.NDArray[np.float32] | None = None,
    report: Report | None = None,
) -> Quantized:
    """Quantize a model, check it as it will be deployed, and only then write it.

    An older model of the same name in the folder is replaced when it is a quantized one.
    ``reference`` are the float model's outputs for ``images.test``, computed when None.

    Raises:
        BadInput: A setting, or the folder holds a float model or another model's export.
        BadModel: The quantized model is not what it has to be: weights that are not int8, no int8
            arithmetic, or more lost than ``settings.max_drop``. Nothing is written.
        Unsupported: The method needs the network, and it is not known which it is.
        BackendFailure: Paddle, PaddleSlim or its environment failed. Nothing is written.
        OSError: The folder cannot be written.
    """
    require_paddle()
    settings = settings or QuantizationSettings()
    check_settings(method, settings)
    source.check_method(method)
    output = Path(output_dir)
    with suppress(BadModel):  # of a damaged manifest, of which staging_folder decides
        old = find_manifest(output)
        if old is not None and old.quantization is None:
            raise BadInput(f"{output} holds a float model: choose another output folder")
    if reference is None:
        reference = source.outputs(images.test)
    topology = None if source.spec is None else source.spec.name
    with (
        staging_folder(output, source.program.stem, topology) as staging,
        tempfile.TemporaryDirectory(prefix="lenet-") as work,
    ):
        task = make_task(source, images, method, settings, staging, Path(work))
        run_tasks([task], report=report)
        weights = check_int8(task.result)
        answers, primitives = outputs(Deployed(task.result, "int8"), images.test, report=report)
        if not sum(whole for whole, _ in primitives.values()):
            raise BadModel(f"{method}: nothing is computed in int8; nothing was written")
        quality = measure_quality(reference, answers, images.labels)
        check_quality(method, quality, settings.max_drop)
        manifest = _make_manifest(source, images, task, quality, weights)
        result = install(staging, output, manifest, quality.largest_difference)
    return Quantized(method, result, quality, primitives)


def _make_manifest(
    source: FloatModel, images: Images, task: Task, quality: Quality, weights: list[str]
) -> Manifest:
    """Describe a quantized model, and save ``preprocess.json`` beside it."""
    program = task.result
    params = program.with_suffix(".pdiparams")
    others = [params.name]
    if source.model.described is not None:
        source.model.described.save(program.with_name(PREPROCESS_NAME))
        others.append(PREPROCESS_NAME)
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
        "weights": weights,
    }
    if task.via == "paddleslim":
        record["paddleslim_version"] = PADDLESLIM
    known: dict[str, Any] = {"quantization": record, "accuracy": None}
    if quality.accuracy is not None:
        dataset = f"MNIST test images ({images.kind}), in int8"
        known["accuracy"] = MeasuredAccuracy(quality.accuracy, quality.images, dataset)
    if source.model.manifest is None:
        known["softmax"] = {"probabilities": True, "logits": False}.get(source.model.output_role)
        if source.spec is not None:
            known["topology"] = source.spec.name
            known["classes"] = source.spec.class_names(source.num_classes)
    with Predictor(program, params, engine="paddle", accelerator="plain") as predictor:
        signature = ModelSignature((predictor.input_spec,), (predictor.output_spec,))
    return describe_model(
        program.parent,
        program.stem,
        {program.name: signature},
        others,
        paddle_version=str(paddle.__version__),
        origin=source.model.manifest,
        **known,
    )
