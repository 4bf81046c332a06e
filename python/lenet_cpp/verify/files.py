"""Find the files of a verification: the exported model and its original parameters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lenet_cpp import models
from lenet_cpp._base.frameworks import paddle
from lenet_cpp.errors import BadInput, BadModel, FileNotFound
from lenet_cpp.formats.manifest import Manifest, sha256_file
from lenet_cpp.formats.source import Source, find_sources
from lenet_cpp.inference.model import Model
from lenet_cpp.models.building import build_layer
from lenet_cpp.models.weights import load_parameters

_DESCRIPTIONS = {
    "pdmodel": ".pdmodel with .pdiparams",
    "json": ".json with .pdiparams",
    "model-params": "model with params",
    "separate": "__model__",
}
PROGRAM_FORMATS = tuple(_DESCRIPTIONS)
"""The keys of :data:`lenet_cpp.formats.FORMATS` that have the structure of the network."""


def find_models(model_dir: Path, formats: Sequence[str] | None = None) -> list[Source]:
    """Find the programs of an exported model, in each of these formats or in any.

    Raises:
        FileNotFound: There is no such folder, or no such program in it.
        BadInput: A format is unknown.
        BadModel: The folder contains several models.
    """
    remedy = "export the model with lenet-cpp export"
    if not model_dir.is_dir():
        raise FileNotFound(f"there is no folder {model_dir}: {remedy}")
    candidates, found = find_sources(model_dir), []
    for format_ in PROGRAM_FORMATS if formats is None else formats:
        if format_ not in PROGRAM_FORMATS:
            raise BadInput(f"unknown format {format_!r}; choose among {', '.join(PROGRAM_FORMATS)}")
        programs = [each for each in candidates if each.format == format_]
        if len(programs) > 1:
            names = ", ".join(str(each.program) for each in programs)
            raise BadModel(f"{model_dir} holds several models: {names}")
        if not programs and formats is not None:
            raise FileNotFound(f"{model_dir} has no {_DESCRIPTIONS[format_]}: {remedy}")
        found += programs
    if not found:
        inner = model_dir / "model"  # where a bundle has its model
        if inner.is_dir():
            remedy = f"name the folder of the model, such as {inner}, or {remedy}"
        raise FileNotFound(f"{model_dir} has no .pdmodel, .json or .onnx: {remedy}")
    return found


def load_trained_layer(
    model: Model, params: Path | None, spec: models.ModelSpec | None = None
) -> paddle.nn.Layer:
    """Build the network that a model was exported from, with its softmax.

    Without ``params``, its ``.pdparams``, it has random parameters (:func:`random_seed`). The
    network ``spec`` is by default that in the manifest beside the model, or LeNet without one.
    Errors are those of :meth:`.ModelSpec.build` and :func:`.load_parameters`.
    """
    manifest, size, classes = model.manifest, model.image_size, model.num_classes
    if spec is None:
        spec = models.get((manifest and manifest.topology) or "lenet")
    if params is None:
        layer = spec.build(classes, size, seed=random_seed(manifest))
    else:
        layer = build_layer(spec, classes, size)
        load_parameters(layer, params)
    layer.eval()
    if manifest and manifest.softmax:
        layer = paddle.nn.Sequential(("", layer), ("softmax", paddle.nn.Softmax()))
    return layer


def random_seed(manifest: Manifest | None) -> int | None:
    """Return the seed of random parameters from the manifest; None for other parameters."""
    random = _training(manifest).get("random_parameters")
    seed = random.get("seed") if isinstance(random, dict) else None
    return seed if isinstance(seed, int) else None


def _training(manifest: Manifest | None) -> dict[str, Any]:
    return (manifest and manifest.training) or {}


def other_checkpoint(model: Model, params: Path) -> str | None:
    """Return a note when the checkpoint's checksum is not the one in the manifest."""
    files = _training(model.manifest).get("files")
    trained = files.get(params.name) if isinstance(files, dict) else None
    if trained is None or trained == sha256_file(params):
        return None
    return (
        f"by its manifest, {model.program.parent} was exported from another {params.name} than"
        f" {params}; export it again with lenet-cpp export"
    )
