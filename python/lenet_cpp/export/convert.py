"""Convert a model from any format into any other, as far as that is possible.

There are two ways. A ProgramDesc program keeps its structure: it is written under other names, in
another layout, or translated to PIR (:func:`lenet_cpp.export.separate_layout.rewrite`). Every other
source is converted by its parameters, which are loaded into the network of that name and exported
again. In both ways, the outputs of the written model are compared with the source's before the
model is moved into place.
"""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_cpp import models
from lenet_cpp._base.files import PREPROCESS_NAME, atomic_path, write_text
from lenet_cpp._base.frameworks import paddle
from lenet_cpp._base.optional import require_paddle
from lenet_cpp.errors import BackendFailure, BadInput, Unsupported
from lenet_cpp.export.checks import compare_with_program
from lenet_cpp.export.inference_model import export_model
from lenet_cpp.export.separate_layout import rewrite
from lenet_cpp.formats import checkpoint
from lenet_cpp.formats.installation import ExportResult, checked_name
from lenet_cpp.formats.manifest import (
    CHECKSUMS_NAME,
    MANIFEST_NAME,
    Manifest,
    has_manifest,
    read_origin,
    sha256_file,
)
from lenet_cpp.formats.source import FORMATS, LEGACY_PROGRAM, Source, find_source, link_as_legacy
from lenet_cpp.inference.model import Model, check_model
from lenet_cpp.models.building import build_layer
from lenet_cpp.models.state import load_state

_LAYOUTS: dict[str, tuple[str, str | None]] = {
    "pdmodel": ("{}.pdmodel", "{}.pdiparams"),
    "model-params": ("model", "params"),
    "separate": (LEGACY_PROGRAM, None),
    "json": ("{}.json", "{}.pdiparams"),
}


@dataclass(frozen=True)
class Conversion:
    """The result of a conversion.

    Attributes:
        files: Every file that was written.
        max_difference: Largest absolute difference between the outputs of the source and of the
            written model, on random inputs; 0 for the same bits.
        refusal: Why ``lenet-cpp predict`` does not support the written model; empty when it runs
            it, and for formats without a program.
    """

    source: Source
    folder: Path
    files: tuple[Path, ...]
    max_difference: float
    refusal: str = ""


def convert_model(
    source: str | Path,
    output_dir: str | Path,
    to: str,
    *,
    source_format: str | None = None,
    model: str | models.ModelSpec | None = None,
    num_classes: int | None = None,
    image_size: int | Sequence[int] | None = None,
    softmax: bool | None = None,
    name: str | None = None,
) -> Conversion:
    """Convert a model.

    Args:
        source: A file, a path without suffix, or a folder; see :func:`find_source`. Checksums
            beside it are verified first.
        output_dir: The output folder; created if necessary. For ``persistables`` it must be empty.
        to: A key of :data:`FORMATS`.
        source_format: The format to use when the source has several; see :func:`find_source`.
        model: The network, by name or specification. It is necessary when the model has to be
            exported again, as it does when the source has no program, unless the source's manifest
            names the network.
        num_classes: The number of classes; by default the source program's, or the network's own.
        image_size: Height and width of the images, or one number for both; by default as for
            ``num_classes``. In a program they replace the sizes that it leaves open; there all
            sizes of an image can be given, as channels, height and width.
        softmax: Whether to append a softmax, when the source has no program.
        name: Common stem of the written files; when None, the stem in the source's manifest, or
            the network's.

    Raises:
        BadInput: A format is unknown, the formats are the same, the network must be named, the
            model does not take the sizes, or the output folder is in use.
        FileNotFound: The source is missing.
        BadModel: The source is damaged, or is another network than the named one.
        Unsupported: This program cannot be converted into that format.
        BackendFailure: The written model does not compute what the source computes.
        OSError: The folder cannot be written.
    """
    require_paddle()
    if to not in FORMATS:
        raise BadInput(f"unknown format {to!r}; choose among {', '.join(FORMATS)}")
    found = find_source(source, source_format)
    output = Path(output_dir)
    if output.resolve() == found.folder.resolve():
        raise BadInput(f"{output} holds the model to convert: choose another output folder")
    _check_unused(output, to)
    if found.has_program and softmax is not None:
        raise BadInput(
            f"{found.path} has a program, which keeps or lacks its softmax: leave it out"
        )
    origin = read_origin(found.folder, found.path.name) if found.has_program else None
    sizes = (image_size, image_size) if isinstance(image_size, int) else image_size or ()
    with tempfile.TemporaryDirectory(prefix="lenet_cpp-") as folder:
        work = Path(folder)
        fixes = bool(sizes) and found.format == to == "json"
        if fixes or (found.format in {"pdmodel", "model-params", "separate"} and to in _LAYOUTS):
            result = rewrite(found.path, found.params, output, _LAYOUTS[to], name=name, sizes=sizes)
            return _conversion(found, result, 0)
        if found.format in {"pdmodel", "model-params", "separate"} and to == "persistables":
            apart = rewrite(found.path, found.params, work / "apart", _LAYOUTS["separate"])
            return _install_persistables(found, apart, output, 0)
        named = origin.topology if origin else None
        spec = models.find(named) if model is None else models.resolve(model)
        if spec is None:
            raise BadInput(
                f"{found.path}: from {found.format} to {to} the network has to be named"
                f" (--model), one of {', '.join(models.MODELS)}"
            )
        if len({*sizes[-2:]}) > 1:
            raise BadInput(f"the network {spec.name} takes square images, not {list(sizes)}")
        if len(sizes) > 2 and sizes[-3] != spec.input_shape[0]:
            raise BadInput(
                f"the network {spec.name} takes {spec.input_shape[0]} channels, not {sizes[-3]}"
            )
        known = num_classes, sizes[-1] if sizes else None
        return _by_parameters(found, origin, spec, known, bool(softmax), output, to, name, work)


def _check_unused(output: Path, to: str) -> None:
    """Refuse to replace files that are not known to be an older export."""
    if to == "persistables" and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise BadInput(f"{output} is in use: choose a folder that is empty or does not exist")
    if to == "model-params" and not has_manifest(output):
        taken = [output / name for name in ("model", "params") if (output / name).exists()]
        if taken:
            raise BadInput(f"{taken[0]} exists: choose another output folder")


def _by_parameters(
    source: Source,
    origin: Manifest | None,
    spec: models.ModelSpec,
    sizes: tuple[int | None, int | None],
    softmax: bool,
    output: Path,
    to: str,
    name: str | None,
    work: Path,
) -> Conversion:
    """Load the parameters into the network, and export that."""
    program, (num_classes, image_size) = _checked_program(source, sizes, work)
    layer = build_layer(spec, num_classes, image_size)
    state = load_state(source, program, layer)
    difference = 0.0
    if program is not None:
        softmax, difference = compare_with_program(layer, program)
    stem = checked_name(name or (origin.name if origin else spec.stem))
    if to == "pdparams":
        stem = checked_name(name or spec.name)
        written = _write_state(state, work / f"{stem}.pdparams")
        path = output / written.name
        if path.exists():
            raise BadInput(f"{path} exists: choose another output folder or name")
        with atomic_path(path) as temporary:
            shutil.copyfile(written, temporary)
        return Conversion(source, output, (path,), difference)
    params = source.path
    if source.format != "pdparams" or state.keys() != checkpoint.read_state(params).keys():
        params = _write_state(state, work / f"{spec.name}.pdparams")
    direct = to in {"json", "pdmodel"}
    # The facts about the training hold for this format too.
    facts = ("training", "data", "accuracy", "classes")
    exported = export_model(
        params,
        output if direct else work / "exported",
        model=spec,
        name=stem,
        formats=("json" if to == "json" else "pdmodel",),
        softmax=softmax,
        num_classes=num_classes,
        image_size=image_size,
        facts=None if origin is None else {name: getattr(origin, name) for name in facts},
    )
    if direct:
        return _conversion(source, exported, difference)
    difference += exported.max_difference
    files = exported.folder / f"{stem}.pdmodel", exported.folder / f"{stem}.pdiparams"
    if to == "persistables":
        apart = rewrite(*files, work / "apart", _LAYOUTS["separate"])
        return _install_persistables(source, apart, output, difference)
    return _conversion(source, rewrite(*files, output, _LAYOUTS[to]), difference)


def _checked_program(
    source: Source, sizes: tuple[int | None, int | None], work: Path
) -> tuple[Model | None, tuple[int | None, int | None]]:
    """Check the source's program in C++, and read from it the sizes that were not given."""
    if not source.has_program:
        return None, sizes
    path = source.path
    if source.format == "separate":
        path = link_as_legacy(path, work / "linked") / LEGACY_PROGRAM
    checked = check_model(path, source.params)
    if checked.quantized:
        raise Unsupported(f"{path} is quantized, and the network is not: convert the float model")
    return checked, (sizes[0] or checked.num_classes, sizes[1] or checked.image_size)


def _write_state(state: dict[str, NDArray[Any]], path: Path) -> Path:
    """Write a ``.pdparams`` file that reads back as the same bits."""
    paddle.save({key: np.ascontiguousarray(value) for key, value in state.items()}, str(path))
    back = checkpoint.read_state(path)
    if back.keys() != state.keys() or any(
        not np.array_equal(back[key], state[key], equal_nan=True) for key in state
    ):
        raise BackendFailure(f"{path}: Paddle wrote other parameters than the given ones")
    return path


def _install_persistables(
    source: Source, apart: ExportResult, output: Path, difference: float
) -> Conversion:
    """Move the variables of a separate layout into a folder of their own, with checksums."""
    ours = {MANIFEST_NAME, CHECKSUMS_NAME, LEGACY_PROGRAM, PREPROCESS_NAME}
    names = sorted(apart.manifest.files.keys() - ours)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".convert-") as staging:
        folder = Path(staging, "variables")
        folder.mkdir()
        for name in names:
            (folder / name).write_bytes((apart.folder / name).read_bytes())
        sums = "".join(f"{sha256_file(folder / name)}  {name}\n" for name in names)
        write_text(folder / CHECKSUMS_NAME, sums)
        folder.replace(output)
    files = tuple(output / name for name in [*names, CHECKSUMS_NAME])
    return Conversion(source, output, files, difference)


def _conversion(source: Source, result: ExportResult, difference: float) -> Conversion:
    total = difference + result.max_difference
    return Conversion(source, result.folder, result.files, total, result.refusal)
