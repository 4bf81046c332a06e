"""Any ONNX classifier as an exported Paddle model, by x2paddle.

The model is checked, written anew (:mod:`lenet_cpp.interchange.onnx.tidy`), converted and exported
in a child process, and every step compared with the ONNX model in onnxruntime. Only when
``paddle.inference`` and :class:`lenet_cpp.Predictor` give its answers is anything written.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_cpp import models
from lenet_cpp._base.optional import require, require_paddle
from lenet_cpp._base.worker import Report, call
from lenet_cpp.data.images import PREPROCESS_NAME, Pipeline
from lenet_cpp.errors import BadInput, BadModel, FileNotFound
from lenet_cpp.formats.installation import ExportResult, checked_name, install, staging_folder
from lenet_cpp.formats.manifest import (
    Manifest,
    MeasuredAccuracy,
    describe_model,
    parse_signature,
    sha256_file,
)
from lenet_cpp.interchange.onnx.converters import CONVERTERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lenet_cpp.models import ModelSpec


@dataclass(frozen=True)
class Imported:
    """What an import wrote.

    Attributes:
        result: The export; its ``max_difference`` is from the ONNX model in onnxruntime.
        notes: What a user should know, such as a format that is left out and why.
    """

    result: ExportResult
    notes: tuple[str, ...]


def import_onnx(
    path: str | Path,
    output_dir: str | Path,
    *,
    name: str | None = None,
    model: str | None = None,
    preprocess: str | Path | None = None,
    input_shape: Sequence[int] | None = None,
    output_name: str | None = None,
    origin: dict[str, Any] | None = None,
    report: Report | None = None,
) -> Imported:
    """Convert an ONNX classifier, and check that it computes the same.

    Whatever export of the same name is in the folder is replaced as a whole. The class names, the
    preprocessing, and the record of the training are taken from the file's metadata when it has
    them, as those that :mod:`lenet_cpp.interchange.onnx.export` wrote do.

    Args:
        path: The ``.onnx`` file.
        output_dir: The folder to write; made if missing.
        name: Common stem of the files; that of the file when None.
        model: A registered model whose preprocessing and class names hold for this one.
        preprocess: A ``preprocess.json`` that does.
        input_shape: Of one image, where the model leaves it open.
        output_name: The output to keep, of several.
        origin: What the manifest says of where the model comes from, with its ``framework`` when
            that is not ONNX; the file's name and checksum when None.
        report: Takes the progress.

    Raises:
        FileNotFound: There is no such file, or weights beside it are missing.
        BadModel: It is damaged or not valid ONNX.
        BadInput: The name, the shape or the output cannot be used or has to be named, or the
            folder holds another model's export.
        Unsupported: An operator cannot be converted, which is named; or a package is missing,
            which is named with what to install.
        BackendFailure: What was converted does not compute what the ONNX model computes. Nothing
            is written, and an older export stays as it is.
        OSError: The folder cannot be written.
    """
    require_paddle()
    require("onnx", "onnxruntime", "x2paddle", extra="onnx")
    path, output = Path(path), Path(output_dir)
    stem = checked_name(name or path.stem)
    if not path.is_file():
        raise FileNotFound(f"cannot read {path}: no such file")
    spec = None if model is None else models.resolve(model)
    given = None if preprocess is None else Pipeline.load(preprocess)
    with tempfile.TemporaryDirectory(prefix="lenet_cpp-") as folder:
        found = call(
            "lenet_cpp.interchange.onnx.converters:from_onnx",
            {
                "path": str(path),
                "output": folder,
                "name": stem,
                "input_shape": None if input_shape is None else list(input_shape),
                "output_name": output_name,
            },
            doing="the conversion",
            report=report,
            variables=CONVERTERS,
        ).result
        with staging_folder(output, stem) as staging:
            files = []
            for file in Path(folder).iterdir():
                (staging / file.name).write_bytes(file.read_bytes())
                files.append(file.name)
            image = tuple(next(iter(found["signatures"].values()))["inputs"][0]["shape"][1:])
            pipeline = given or _pipeline(spec, image, found["metadata"].get("preprocess"), path)
            if pipeline is not None:
                pipeline.save(staging / PREPROCESS_NAME)
                files.append(PREPROCESS_NAME)
            manifest = _manifest(staging, stem, files, found, spec)
            source = dict(origin or {"file": path.name, "sha256": sha256_file(path)})
            framework = source.pop("framework", "onnx")
            source |= {"producer": found["producer"], "opset": found["opset"]}
            training = (manifest.training or {}) | {"framework": framework, "source": source}
            result = install(
                staging, output, replace(manifest, training=training), found["max_difference"]
            )
    return Imported(result, tuple(found["notes"]))


def _pipeline(
    spec: ModelSpec | None, image: tuple[int, ...], described: Any, path: Path
) -> Pipeline | None:
    """How images are prepared, when it is known."""
    if spec is not None:
        if image[0] != spec.input_shape[0] or image[1:2] * 2 != image[1:]:
            raise BadInput(f"{path} takes images {list(image)}, which are not those of {spec.name}")
        return spec.pipeline(image[-1])
    if described is None:
        return None
    try:
        return Pipeline.from_dict(described)
    except (BadInput, BadModel) as error:
        raise BadModel(f"{path}: the preprocessing in its metadata is damaged: {error}") from error


def _manifest(
    staging: Path, stem: str, files: list[str], found: dict[str, Any], spec: ModelSpec | None
) -> Manifest:
    signatures = {
        f"{stem}.{model_format}": parse_signature(sides)
        for model_format, sides in found["signatures"].items()
    }
    known = found["metadata"]
    count = next(iter(signatures.values())).outputs[0].shape[-1]
    classes = known.get("classes") if spec is None else spec.class_names(count)
    usable = (
        isinstance(classes, (list, tuple))
        and len(classes) == count
        and all(isinstance(label, str) and label and label.isprintable() for label in classes)
    )
    return describe_model(
        staging,
        stem,
        signatures,
        files,
        paddle_version=found["paddle_version"],
        softmax=found["softmax"],
        classes=tuple(classes) if usable and classes else (),
        training=_object(known.get("training")),
        data=_object(known.get("data")),
        accuracy=_accuracy(known.get("accuracy")),
    )


def _object(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _accuracy(value: Any) -> MeasuredAccuracy | None:
    """The accuracy that the metadata has, if it has one that a manifest takes."""
    try:
        accuracy = MeasuredAccuracy(float(value["top1"]), value["images"], value["dataset"])
    except (KeyError, TypeError, ValueError):
        return None
    sound = 0 <= accuracy.top1 <= 1 and type(accuracy.images) is int and accuracy.images > 0
    return accuracy if sound and isinstance(accuracy.dataset, str) and accuracy.dataset else None
