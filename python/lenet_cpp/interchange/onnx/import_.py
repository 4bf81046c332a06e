"""Any ONNX classifier as an exported Paddle model.

The model is checked, reduced to steps (:mod:`lenet_cpp.interchange.onnx.reduce`) and exported in a
child process, because the C++ of onnx and onnxruntime may crash on a damaged model. Only when
``paddle.inference`` and :class:`lenet_cpp.Predictor` give the answers of the ONNX model in
onnxruntime is anything written.
"""

import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from lenet_cpp import _core, models
from lenet_cpp._base.frameworks import paddle
from lenet_cpp._base.optional import require, require_paddle
from lenet_cpp._base.worker import Report, call
from lenet_cpp.data.images import PREPROCESS_NAME, Pipeline
from lenet_cpp.errors import BackendFailure, BadInput, BadModel, Error, FileNotFound, Unsupported
from lenet_cpp.export.checks import check_agreement
from lenet_cpp.export.inference_model import EXPORT_FORMATS, export_model
from lenet_cpp.formats.installation import ExportResult, checked_name, install, staging_folder
from lenet_cpp.formats.manifest import (
    FIELDS,
    MANIFEST_NAME,
    KeptBy,
    describe_files,
    find_manifest,
    has_manifest,
    kept_fields,
    read_manifest,
    sha256_file,
)
from lenet_cpp.formats.onnx_metadata import class_names, read_onnx_metadata
from lenet_cpp.formats.tensor_spec import fix_image
from lenet_cpp.inference.predictor import Predictor
from lenet_cpp.interchange.checks import compare_routes
from lenet_cpp.interchange.onnx import files as onnx_files
from lenet_cpp.interchange.onnx.network import build_network
from lenet_cpp.interchange.onnx.reduce import only_input, to_steps, upgraded
from lenet_cpp.interchange.onnx.steps import Steps
from lenet_cpp.paddle_engines.running import last_line, random_batches


@dataclass(frozen=True)
class Imported:
    """The export, and notes for the user, such as a format that is left out and why.

    The ``max_difference`` of the result is from the ONNX model in onnxruntime.
    """

    result: ExportResult
    notes: tuple[str, ...]


class _Converted(TypedDict):
    """What :func:`convert` returns to the parent process.

    Attributes:
        folder: The name of the folder of the export.
        notes: As in :class:`Imported`.
        max_difference: Largest absolute difference between the outputs and the ONNX model's.
        metadata: What the file says of itself, see :func:`read_onnx_metadata`.
        producer: The program that wrote the file.
        opset: The version of the operator set.
        softmax: Whether the model ends in a softmax.
    """

    folder: str
    notes: list[str]
    max_difference: float
    metadata: dict[str, Any]
    producer: str
    opset: int
    softmax: bool


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

    An export of the same name in the folder is replaced as a whole. The class names and the
    preprocessing are those of the files beside the ``.onnx`` or of its metadata, as
    :class:`lenet_cpp.Classifier` uses them. The record of the training is taken from the metadata.

    Args:
        path: The ``.onnx`` file.
        output_dir: The folder to write; made if missing.
        name: Common stem of the files; that of the file when None.
        model: A registered model whose preprocessing and class names hold for this one; or
            ``FILE.py:NAME``, a specification of your own.
        preprocess: A description of the images for this model, in place of the one beside the
            file; labels in other files are used all the same.
        input_shape: Channels, height and width of one image, where the model leaves them open.
        output_name: The output to keep, of several.
        origin: What the manifest says of where the model comes from, with its ``framework`` when
            that is not ONNX; the file's name and checksum when None.
        report: Takes the progress.

    Raises:
        FileNotFound: There is no such file, or weights beside it are missing.
        BadModel: It is damaged or not valid ONNX, or a file beside it is damaged or names another
            number of classes.
        BadInput: The name, the shape or the output cannot be used or has to be named, or the
            folder holds another model's export.
        Unsupported: An operator cannot be converted, which is named; or a package is missing,
            which is named with what to install.
        BackendFailure: What was converted does not compute what the ONNX model computes. Nothing
            is written, and an older export stays as it is.
        OSError: The folder cannot be written.
    """
    require_paddle()
    require("onnx", "onnxruntime", extra="onnx")
    path, output = Path(path), Path(output_dir)
    stem = checked_name(name or path.stem)
    spec = None if model is None else models.resolve(model)
    given = _described(path, preprocess, spec)
    with tempfile.TemporaryDirectory(prefix="lenet_cpp-") as folder:
        found: _Converted = call(
            f"{__name__}:convert",
            {
                "path": str(path),
                "output": folder,
                "name": stem,
                "input_shape": None if input_shape is None else list(input_shape),
                "output_name": output_name,
            },
            doing="the conversion",
            report=report,
        ).result
        with staging_folder(output, stem) as staging:
            exported = Path(folder, found["folder"])
            manifest = read_manifest(exported)
            signature = next(iter(manifest.models.values()))
            image, count = signature.inputs[0].shape[1:], signature.outputs[0].shape[-1]
            if given is None and spec is not None:
                given = _pipeline_like(spec, image, path)
            metadata = found["metadata"]
            pipeline = given or Pipeline.of_metadata(metadata.get("preprocess"), path)
            notes = list(found["notes"])
            if pipeline is None and origin is None:
                shape, producer = signature.inputs[0].shape, metadata.get("producer_name", "")
                notes += _usual_note(path, output, shape, producer)
            files = _copy(exported, staging, manifest.files, pipeline)
            source = origin or {"file": path.name, "sha256": sha256_file(path)}
            classes = spec.class_names(count) if spec else ()
            if not classes:
                classes = _names_beside(path, metadata, None if output_name else count)
            facts = _facts(found, source, classes)
            if len(facts["classes"]) != count:
                facts["classes"] = ()
            manifest = replace(manifest, files=describe_files(staging, files), **facts)
            result = install(staging, output, manifest, found["max_difference"])
    return Imported(result, tuple(notes))


def _described(
    path: Path, preprocess: str | Path | None, spec: models.ModelSpec | None
) -> Pipeline | None:
    """Return the description that the user names, or else that of a file beside the model.

    None where there is neither, or a registered model has the preprocessing.
    """
    if preprocess is not None:
        return Pipeline.load(preprocess)
    beside = None if spec is not None else _core.find_description(path)
    return None if beside is None else Pipeline.load(beside, check_hashes=True)


def _names_beside(path: Path, metadata: Mapping[str, Any], count: int | None) -> tuple[str, ...]:
    """Return the class names in the files beside a model; empty where its metadata comes first.

    Raises:
        BadModel: There are not ``count`` names, where it is not None.
    """
    manifest = find_manifest(path.parent)
    if manifest is not None and path.name in manifest.models and manifest.classes:
        names, source = manifest.classes, str(path.with_name(MANIFEST_NAME))
    elif class_names(metadata.get("classes")):
        return ()
    else:
        found, source = _core.find_labels(path, True)
        names = tuple(found)
    if names and count is not None and len(names) != count:
        raise BadModel(f"{source!r} names {len(names)} classes, the model has {count}")
    return names


def _usual_note(path: Path, output: Path, shape: tuple[int, ...], producer: str) -> list[str]:
    """Return what is said of a model that nothing describes; nothing where it takes no pictures.

    Args:
        path: The ``.onnx``.
        output: The folder of the import, in which a description can be written.
        shape: That of the input.
        producer: The program that wrote the ``.onnx``, which tells the kind of resize.
    """
    file = str(output / PREPROCESS_NAME)
    with suppress(FileNotFound, Unsupported):
        return [_core.usual_description(path, file, shape, "float32", producer, {})[1]]
    return []


def _copy(
    exported: Path, staging: Path, names: Iterable[str], pipeline: Pipeline | None
) -> list[str]:
    """Copy an export with another preprocessing, or without one; return the names of its files."""
    files = [name for name in names if name != PREPROCESS_NAME]
    for name in files:
        shutil.copyfile(exported / name, staging / name)
    if pipeline is not None:
        pipeline.save(staging / PREPROCESS_NAME)
        files.append(PREPROCESS_NAME)
    return files


def _pipeline_like(spec: models.ModelSpec, image: tuple[int, ...], path: Path) -> Pipeline:
    """Return the preprocessing of a registered model; BadInput when it takes other images."""
    sides = image[1:]
    is_square = sides == sides[:1] * 2
    if image[0] != spec.input_shape[0] or not is_square:
        raise BadInput(f"{path} takes images {list(image)}, which are not those of {spec.name}")
    return spec.pipeline(image[-1])


def _facts(
    found: _Converted, source: Mapping[str, Any], classes: tuple[str, ...]
) -> dict[str, Any]:
    """Return the fields of the manifest that describe the model and not its files.

    They are those of the file's metadata, as far as a manifest can hold them. ``source`` is the
    ``origin`` of :func:`import_onnx`, and ``classes`` are names that come before those of the
    metadata.
    """
    metadata = found["metadata"]
    kept = {name: _parsed(name, metadata.get(name)) for name in kept_fields(KeptBy.EXPORT)}
    described = {key: value for key, value in source.items() if key != "framework"}
    described |= {"producer": found["producer"], "opset": found["opset"]}
    framework = source.get("framework", "onnx")
    return {
        **kept,
        "topology": None,
        "softmax": found["softmax"],
        "classes": classes or class_names(metadata.get("classes")),
        "training": {**(kept["training"] or {}), "framework": framework, "source": described},
    }


def _parsed(name: str, value: Any) -> Any:
    """Return the value of a field from the metadata, or None when a manifest cannot hold it."""
    try:
        return FIELDS[name].parse(value, "metadata")
    except ValueError:
        return None


def fix_sizes(
    path: Path, output: Path, sizes: Sequence[int], *, name: str | None = None
) -> tuple[list[Path], float]:
    """Write an ``.onnx`` for images of one size, of one that leaves sizes open.

    ``sizes`` are as :func:`fix_image` takes them. Beside the model its ``preprocess.json`` is
    written, where there is one. Returns the files, and the largest difference of the outputs of
    floating-point numbers of both models.

    Raises:
        FileNotFound: The file does not exist.
        BadModel: It is not an ONNX model.
        BadInput: The model does not take images of these sizes, or ``output`` cannot be used.
        Unsupported: The model has other inputs than images of float32, or the extra ``onnx`` is
            missing.
        BackendFailure: The written model computes other values.
    """
    require("onnx", "onnxruntime", extra="onnx")
    stem = checked_name(name or path.stem)
    if output.resolve() == path.parent.resolve():
        raise BadInput(f"{output} holds the model to convert: choose another output folder")
    if has_manifest(output):
        raise BadInput(f"{output} holds an exported model: choose another output folder")
    with staging_folder(output, stem) as staging:
        target = str(staging / f"{stem}.onnx")
        arguments = {"path": str(path), "target": target, "sizes": sizes}
        difference = call(f"{__name__}:write_fixed", arguments, doing="the conversion").result
        if (companion := path.with_name(PREPROCESS_NAME)).is_file():
            shutil.copyfile(companion, staging / PREPROCESS_NAME)
        files = [file.rename(output / file.name) for file in sorted(staging.iterdir())]
    return files, difference


def write_fixed(path: str, target: str, sizes: list[int], report: Report) -> float:
    """Write and compare a model for images of one size; runs in the child process."""
    report("converting", 0, 1)
    model = onnx_files.read_onnx(path)
    spec = only_input(onnx_files.describe_onnx(model))
    image = fix_image(path, spec.shape[1:], sizes)
    batches = random_batches((spec.shape[0], *image))
    session = onnx_files.OnnxSession(model, optimized=False)
    try:
        expected = [session.run(batch) for batch in batches]
    except BackendFailure as error:
        raise BadInput(f"{path} does not take images {list(image)}: {error}") from error
    feed = next(value for value in model.graph.input if value.name == spec.name)
    for dim, size in zip(feed.type.tensor_type.shape.dim[1:], image, strict=True):
        dim.dim_value = size
    Path(target).write_bytes(model.SerializeToString())
    session = onnx_files.OnnxSession(Path(target))
    found = [session.run(batch) for batch in batches]
    pairs = [
        (before, after)
        for outputs, written in zip(expected, found, strict=True)
        for before, after in zip(outputs, written, strict=True)
        if before.dtype.kind == "f"
    ]
    return check_agreement(pairs, (path, "the written model"), error=BackendFailure)


def convert(
    path: str,
    output: str,
    name: str,
    input_shape: list[int] | None,
    output_name: str | None,
    report: Report,
) -> _Converted:
    """Export an ONNX model into a folder in ``output``, and compare; runs in the child process."""
    report("reading", 0, 0)
    source = onnx_files.read_onnx(path)
    info = onnx_files.describe_onnx(source)
    report("reducing the graph", 0, 0)
    try:
        source = upgraded(source)
        steps = to_steps(source, input_shape=input_shape, output=output_name)
    except (Unsupported, BadModel) as error:
        raise type(error)(f"{path}: {error}") from error
    times = max(1, info.batch)  # the source may take so many at a time
    images = [np.repeat(one, times, axis=0) for one in random_batches((-1, *steps.image))]
    session = onnx_files.OnnxSession(source)
    names = None if output_name is None else [output_name]
    expected = [session.run(batch, names)[0].reshape(len(batch), -1) for batch in images]
    if not all(np.isfinite(outputs).all() for outputs in expected):
        raise BadModel(f"{path} gives values that are not finite for images from 0 to 1")
    report("exporting", 0, 0)
    done, notes = _export(path, name, steps, Path(output))
    report("comparing", 0, 0)
    kinds = [step.function for step in steps.steps if step.function != "reshape"]
    return {
        "folder": done.folder.name,
        "notes": notes,
        "max_difference": compare_routes(path, done, images, expected),
        "metadata": read_onnx_metadata(Path(path)),
        "producer": info.producer,
        "opset": info.opset,
        "softmax": kinds[-1:] == ["softmax"],
    }


def _export(path: str, name: str, steps: Steps, folder: Path) -> tuple[ExportResult, list[str]]:
    """Export in both formats, or in the one that Paddle and the C++ program take."""
    parameters = folder / "model.pdparams"
    paddle.save(build_network(steps).state_dict(), str(parameters))
    spec = models.ModelSpec(
        name, lambda **_: build_network(steps), steps.image, classes=steps.classes, stem=name
    )
    first: Exception | None = None
    refused: dict[tuple[str, ...], str] = {}
    for formats in (EXPORT_FORMATS, *((one,) for one in EXPORT_FORMATS)):
        target = folder / "-".join(formats)
        try:
            done = export_model(parameters, target, model=spec, name=name, formats=formats)
            for program in done.manifest.models:
                Predictor(target / program, accelerator="plain").close()
        except (Error, RuntimeError, TypeError, ValueError) as error:  # Paddle's own, too
            refused[formats] = last_line(error).strip().replace(f"{folder}/", "")
            first = first or error
            continue
        notes = [
            f".{one} is left out: {refused.get((one,), refused[EXPORT_FORMATS])}"
            for one in set(EXPORT_FORMATS) - set(formats)
        ]
        return done, notes
    # The class in lenet_cpp.errors: its own subclasses take more than a message.
    kinds = (one for one in type(first).__mro__ if one.__module__ == Error.__module__)
    kind = next(kinds, BackendFailure)
    raise kind(f"{path} was converted, but cannot be used: {refused[EXPORT_FORMATS]}")
