"""The files that are compared: the exported model and the parameters it was exported from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lenet_cpp import models
from lenet_cpp.errors import BadInput, BadModel, FileNotFound
from lenet_cpp.manifest import has_manifest, read_manifest, sha256_file

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import paddle

__all__ = ["FORMATS", "ExportedModel", "find_models", "load_trained_layer", "other_checkpoint"]

FORMATS = ("pdmodel", "json")


@dataclass(frozen=True)
class ExportedModel:
    """One program of an exported model, with its parameters."""

    format: str
    """``pdmodel`` or ``json``."""
    program: Path
    params: Path


def find_models(model_dir: Path, formats: Sequence[str] | None = None) -> list[ExportedModel]:
    """Find the programs of an exported model.

    Args:
        model_dir: The folder.
        formats: Those that have to be there; whichever of :data:`FORMATS` is there when None.

    Raises:
        FileNotFound: There is no such folder, or no such program in it.
        BadInput: A format is unknown.
        BadModel: The folder holds several models.
    """
    remedy = "export the model with scripts/export_model.py"
    if not model_dir.is_dir():
        raise FileNotFound(f"there is no folder {model_dir}: {remedy}")
    found = []
    for format_ in FORMATS if formats is None else formats:
        if format_ not in FORMATS:
            raise BadInput(f"unknown format {format_!r}; choose among {', '.join(FORMATS)}")
        programs = [
            path
            for path in sorted(model_dir.glob(f"*.{format_}"))
            if path.with_suffix(".pdiparams").is_file()
        ]
        if len(programs) > 1:
            raise BadModel(f"{model_dir} holds several models: {programs[0]} and {programs[1]}")
        if not programs and formats is not None:
            raise FileNotFound(f"{model_dir} has no .{format_} with .pdiparams: {remedy}")
        found += [ExportedModel(format_, path, path.with_suffix(".pdiparams")) for path in programs]
    if not found:
        raise FileNotFound(f"{model_dir} has neither .pdmodel nor .json: {remedy}")
    return found


def load_trained_layer(model_dir: Path, params: Path) -> paddle.nn.Layer:
    """The trained network that the folder's model was exported from, softmax included."""
    import paddle

    from lenet_cpp.checkpoint import load_parameters

    manifest = read_manifest(model_dir) if has_manifest(model_dir) else None
    layer = models.build((manifest and manifest.topology) or "lenet")
    load_parameters(layer, params)
    layer.eval()
    if manifest and manifest.softmax:
        layer = paddle.nn.Sequential(("", layer), ("softmax", paddle.nn.Softmax()))
    return layer


def other_checkpoint(model_dir: Path, params: Path) -> str | None:
    """Say so when the manifest has another checksum for the checkpoint than it has now."""
    training = read_manifest(model_dir).training if has_manifest(model_dir) else None
    files = (training or {}).get("files")
    trained = files.get(params.name) if isinstance(files, dict) else None
    if trained is None or trained == sha256_file(params):
        return None
    return (
        f"by its manifest, {model_dir} was exported from another {params.name} than {params};"
        " export it again with scripts/export_model.py"
    )
