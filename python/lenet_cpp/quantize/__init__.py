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

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_cpp._base.optional import require_paddle
from lenet_cpp.errors import BadInput, BadModel
from lenet_cpp.formats.installation import ExportResult, install, staging_folder
from lenet_cpp.formats.manifest import has_manifest, read_manifest
from lenet_cpp.quantize.data import Images, made_image_set, mnist_images
from lenet_cpp.quantize.deployed import Deployed, outputs, outputs_and_primitives
from lenet_cpp.quantize.int8_weights import check_int8
from lenet_cpp.quantize.quality import Quality, check_quality, measure_quality
from lenet_cpp.quantize.record import make_manifest
from lenet_cpp.quantize.request import make_task, run_task
from lenet_cpp.quantize.settings import (
    METHODS,
    VIA,
    QuantizationSettings,
    algorithms,
    check_settings,
)
from lenet_cpp.quantize.source import FloatModel, open_source

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from lenet_cpp._base.worker import Report

__all__ = [
    "METHODS",
    "VIA",
    "FloatModel",
    "Images",
    "Quality",
    "QuantizationSettings",
    "Quantized",
    "algorithms",
    "check_quality",
    "check_settings",
    "made_image_set",
    "measure_quality",
    "mnist_images",
    "open_source",
    "quantize",
]


@dataclass(frozen=True)
class Quantized:
    """A quantized model that was written.

    Attributes:
        method: A key of :data:`METHODS`.
        result: What was written where.
        quality: By ``paddle.inference`` in int8.
        primitives: See :func:`lenet_cpp.quantize.deployed.outputs_and_primitives`.
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
    require_paddle()
    settings = settings or QuantizationSettings()
    check_settings(method, settings)
    output = Path(output_dir)
    _check_output(output)
    stem = source.program.stem
    if reference is None:
        (reference,) = outputs([source.deployed], images.test, report=report)
    with (
        staging_folder(output, stem, source.spec.name) as staging,
        tempfile.TemporaryDirectory(prefix="lenet-") as work,
    ):
        task = make_task(source, images, method, settings, staging, Path(work))
        answer = run_task(task, report=report)
        model = Deployed(staging / f"{stem}.pdmodel", staging / f"{stem}.pdiparams", int8=True)
        weights = check_int8(model.program, model.params)
        answers, primitives = outputs_and_primitives(model, images.test, report=report)
        if not sum(whole for whole, _ in primitives.values()):
            raise BadModel(f"{method}: oneDNN computed nothing in int8; nothing was written")
        quality = measure_quality(reference, answers, images.labels)
        check_quality(method, quality, settings.max_drop)
        manifest = make_manifest(source, images, task, quality, staging, answer, weights)
        result = install(staging, output, manifest, quality.largest_difference)
    return Quantized(method, result, quality, primitives)


def _check_output(output: Path) -> None:
    if not has_manifest(output):
        return
    try:
        old = read_manifest(output)
    except BadModel:
        return  # staging_folder decides
    if old.quantization is None:
        raise BadInput(f"{output} holds a float model: choose another output folder")
