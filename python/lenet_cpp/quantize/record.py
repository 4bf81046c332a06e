"""The manifest of a quantized model."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from lenet_cpp.data.images import PREPROCESS_NAME
from lenet_cpp.formats.manifest import (
    Manifest,
    MeasuredAccuracy,
    ModelSignature,
    describe_model,
)
from lenet_cpp.formats.tensor_spec import TensorSpec
from lenet_cpp.quantize.slim_environment import PADDLESLIM

if TYPE_CHECKING:
    from pathlib import Path

    from lenet_cpp.quantize.data import Images
    from lenet_cpp.quantize.quality import Quality
    from lenet_cpp.quantize.source import FloatModel
    from lenet_cpp.quantize.task import Task


def make_manifest(
    source: FloatModel,
    images: Images,
    task: Task,
    quality: Quality,
    staging: Path,
    answer: dict[str, Any],
    weights: dict[str, Any],
) -> Manifest:
    """Describe a quantized model, and lay ``preprocess.json`` beside it.

    Args:
        source: The float model.
        images: That it was calibrated or trained, and tested with.
        task: What was done.
        quality: What it reached.
        staging: The folder with its files.
        answer: The child's: ``input``, ``output`` and ``paddle_version``.
        weights: Its quantized weights, by name.
    """
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
    if task.via == "paddleslim":
        record["paddleslim_version"] = PADDLESLIM
    accuracy = None
    if quality.accuracy is not None:
        dataset = f"MNIST test images ({images.kind}), in int8"
        accuracy = MeasuredAccuracy(quality.accuracy, quality.images, dataset)
    signature = ModelSignature((TensorSpec(*answer["input"]),), (TensorSpec(*answer["output"]),))
    origin = source.manifest
    labels = source.spec.class_names(source.class_dim)
    known = {"topology": source.spec.name, "softmax": False, "classes": labels}
    return describe_model(
        staging,
        stem,
        {f"{stem}.pdmodel": signature},
        [f"{stem}.pdiparams", PREPROCESS_NAME],
        paddle_version=answer["paddle_version"],
        origin=origin,
        **({} if origin is not None else known),
        accuracy=accuracy,
        quantization=record,
    )
