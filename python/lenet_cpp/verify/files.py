"""The files that are compared: the exported model and the parameters it was exported from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lenet_cpp import models
from lenet_cpp.errors import BadInput, BadModel, FileNotFound
from lenet_cpp.formats.manifest import has_manifest, read_manifest, sha256_file
from lenet_cpp.formats.source import OLD_PROGRAMS, old_model
from lenet_cpp.inference.checked_model import check_model
from lenet_cpp.inference.predictor import Predictor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import paddle

    from lenet_cpp.formats.manifest import Manifest

PROGRAM_FORMATS = ("pdmodel", "json", "model-params", "separate")
"""As :data:`lenet_cpp.formats.FORMATS` has them, without those that have no structure."""


def format_label(format_: str) -> str:
    """Write a format as people do: by the suffix, where it has one."""
    return f".{format_}" if format_ in {"pdmodel", "json"} else format_


@dataclass(frozen=True)
class ExportedModel:
    """One program of an exported model, with its parameters."""

    format: str
    """One of :data:`PROGRAM_FORMATS`."""
    program: Path
    params: Path | None
    """None when each variable has a file of its own."""

    @property
    def combined_params(self) -> Path:
        """The parameters, for those who need them in one file.

        Raises:
            BadModel: Each variable has a file of its own.
        """
        if self.params is None:
            raise BadModel(
                f"{self.program.parent} has one file for each variable: convert it with"
                " scripts/convert_model.py --to pdmodel"
            )
        return self.params

    @property
    def label(self) -> str:
        """See :func:`format_label`."""
        return format_label(self.format)

    @property
    def takes_openvino(self) -> bool:
        """Whether OpenVINO can run it in Paddle, which goes by the suffix."""
        return self.format == "pdmodel"


def find_models(model_dir: Path, formats: Sequence[str] | None = None) -> list[ExportedModel]:
    """Find the programs of an exported model.

    Args:
        model_dir: The folder.
        formats: Those that have to be there; when None, any of :data:`PROGRAM_FORMATS`.

    Raises:
        FileNotFound: There is no such folder, or no such program in it.
        BadInput: A format is unknown.
        BadModel: The folder holds several models.
    """
    remedy = "export the model with scripts/export_model.py"
    if not model_dir.is_dir():
        raise FileNotFound(f"there is no folder {model_dir}: {remedy}")
    found = []
    for format_ in PROGRAM_FORMATS if formats is None else formats:
        if format_ not in PROGRAM_FORMATS:
            raise BadInput(f"unknown format {format_!r}; choose among {', '.join(PROGRAM_FORMATS)}")
        programs = _programs(model_dir, format_)
        if len(programs) > 1:
            first, second, *_ = (each.program for each in programs)
            raise BadModel(f"{model_dir} holds several models: {first} and {second}")
        if not programs and formats is not None:
            raise FileNotFound(f"{model_dir} has no {_DESCRIPTIONS[format_]}: {remedy}")
        found += programs
    if not found:
        raise FileNotFound(f"{model_dir} has neither .pdmodel nor .json: {remedy}")
    return found


_DESCRIPTIONS = {
    "pdmodel": ".pdmodel with .pdiparams",
    "json": ".json with .pdiparams",
    "model-params": "model with params",
    "separate": "__model__",
}


def _programs(model_dir: Path, format_: str) -> list[ExportedModel]:
    if format_ in {"pdmodel", "json"}:
        return [
            ExportedModel(format_, path, path.with_suffix(".pdiparams"))
            for path in sorted(model_dir.glob(f"*.{format_}"))
            if path.with_suffix(".pdiparams").is_file()
        ]
    programs = [model_dir / name for name in OLD_PROGRAMS if (model_dir / name).is_file()]
    found = [old_model(program) for program in programs]
    return [
        ExportedModel(format_, each.path, each.params) for each in found if each.format == format_
    ]


def load_trained_layer(
    model: ExportedModel, params: Path | None, spec: models.ModelSpec | None = None
) -> paddle.nn.Layer:
    """The network that a model was exported from, softmax included.

    Args:
        model: The exported model, which has the number of classes and the size of images.
        params: Its ``.pdparams``; None for one with random parameters (:func:`random_seed`).
        spec: The network; the one that the manifest beside the model names, and LeNet without
            one, when None.

    Raises:
        FileNotFound: There are no such parameters.
        BadModel: The parameters are damaged or are not those of the network.
        BadInput: The network is not known, or is not one for such images.
    """
    import paddle

    from lenet_cpp.export.state import build_layer
    from lenet_cpp.models.weights import load_parameters

    folder = model.program.parent
    manifest = read_manifest(folder) if has_manifest(folder) else None
    size, classes = _sizes(model, manifest)
    if spec is None:
        spec = models.get((manifest and manifest.topology) or "lenet")
    if params is None:
        layer = spec.build(classes, size, seed=random_seed(folder))
    else:
        layer = build_layer(spec, classes, size)
        load_parameters(layer, params)
    layer.eval()
    if manifest and manifest.softmax:
        layer = paddle.nn.Sequential(("", layer), ("softmax", paddle.nn.Softmax()))
    return layer


def _sizes(model: ExportedModel, manifest: Manifest | None) -> tuple[int | None, int]:
    """The size of images, None when it is free, and the number of classes of a model."""
    if manifest is not None and model.program.name in manifest.models:
        signature = manifest.models[model.program.name]
        size, classes = signature.inputs[0].shape[-1], signature.outputs[0].shape[-1]
        return None if size < 0 else size, classes
    with Predictor(model.program, model.params, accelerator="plain") as predictor:
        size, classes = predictor.input_spec.shape[-1], predictor.output_spec.shape[-1]
        return None if size < 0 else size, classes


def gives_probabilities(model: ExportedModel) -> bool:
    """Whether a model ends in a softmax."""
    folder = model.program.parent
    known = read_manifest(folder).softmax if has_manifest(folder) else None
    if known is not None:
        return known
    return check_model(model.program, model.params).ends_in_softmax()


def random_seed(model_dir: Path) -> int | None:
    """The seed of the parameters when the manifest says that they are random ones, else None."""
    training = read_manifest(model_dir).training if has_manifest(model_dir) else None
    random = (training or {}).get("random_parameters")
    seed = random.get("seed") if isinstance(random, dict) else None
    return seed if isinstance(seed, int) else None


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
