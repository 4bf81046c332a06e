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
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_cpp import models
from lenet_cpp._base.files import PREPROCESS_NAME, atomic_path, write_text
from lenet_cpp._base.frameworks import paddle
from lenet_cpp._base.optional import require_paddle
from lenet_cpp.errors import BackendFailure, BadInput, Unsupported
from lenet_cpp.export.checks import compare_with_program
from lenet_cpp.export.inference_model import EXPORT_FORMATS, export_model
from lenet_cpp.export.separate_layout import rewrite
from lenet_cpp.formats import checkpoint
from lenet_cpp.formats.installation import ExportResult, checked_name
from lenet_cpp.formats.manifest import (
    CHECKSUMS_NAME,
    MANIFEST_NAME,
    KeptBy,
    Manifest,
    has_manifest,
    read_origin,
    sha256_file,
)
from lenet_cpp.formats.source import FORMATS, LEGACY_PROGRAM, Source, find_source, link_as_legacy
from lenet_cpp.inference.model import Model, check_model
from lenet_cpp.models.building import build_layer
from lenet_cpp.models.state import load_state

# The formats whose program is a ProgramDesc, which Paddle reads and writes without the network.
_PROGRAM_DESC_FORMATS = frozenset(("pdmodel", "model-params", "separate"))
# The names of the program and of the combined parameters in each format.
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
    _check_output(found, output, to)
    if found.has_program and softmax is not None:
        raise BadInput(
            f"{found.path} has a program, which keeps or lacks its softmax: leave it out"
        )
    sizes = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size or ())
    with tempfile.TemporaryDirectory(prefix="lenet_cpp-") as folder:
        job = _Job(found, output, to, name, work=Path(folder))
        if _keeps_program(job, sizes):
            return _rewrite(job, found.path, found.params, name=name, sizes=sizes)
        origin = read_origin(found.folder, found.path.name) if found.has_program else None
        spec = _network(job, model, origin)
        _check_sizes(spec, sizes)
        known = _Sizes(num_classes, sizes[-1] if sizes else None)
        return _by_parameters(job, spec, origin, known, softmax=bool(softmax))


@dataclass(frozen=True)
class _Job:
    """What to convert, and to what.

    Attributes:
        source: The model to convert.
        output: The output folder.
        to: The wanted format.
        name: Common stem of the written files; None when the caller gave none.
        work: A temporary folder.
    """

    source: Source
    output: Path
    to: str
    name: str | None
    _: KW_ONLY
    work: Path


class _Sizes(NamedTuple):
    """The sizes of a network; None for those of its specification."""

    num_classes: int | None
    image_size: int | None


def _check_output(source: Source, output: Path, to: str) -> None:
    """Refuse to replace the source, or files that are not known to be an older export."""
    if output.resolve() == source.folder.resolve():
        raise BadInput(f"{output} holds the model to convert: choose another output folder")
    if to == "persistables" and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise BadInput(f"{output} is in use: choose a folder that is empty or does not exist")
    if to == "model-params" and not has_manifest(output):
        taken = [output / name for name in ("model", "params") if (output / name).exists()]
        if taken:
            raise BadInput(f"{taken[0]} exists: choose another output folder")


def _keeps_program(job: _Job, sizes: Sequence[int]) -> bool:
    """Return whether the source's program is rewritten, instead of exporting a network again."""
    if job.source.format == "json":
        return job.to == "json" and bool(sizes)  # the same program for images of these sizes
    return job.source.format in _PROGRAM_DESC_FORMATS and job.to != "pdparams"


def _rewrite(
    job: _Job,
    program: Path,
    params: Path | None,
    *,
    name: str | None,
    sizes: Sequence[int] = (),
    difference: float = 0,
) -> Conversion:
    """Rewrite a program in the wanted format; its outputs already differ by ``difference``."""
    if job.to == "persistables":
        apart = rewrite(program, params, job.work / "apart", _LAYOUTS["separate"])
        return _install_persistables(job, apart, difference)
    result = rewrite(program, params, job.output, _LAYOUTS[job.to], name=name, sizes=sizes)
    return _conversion(job.source, result, difference)


def _network(
    job: _Job, model: str | models.ModelSpec | None, origin: Manifest | None
) -> models.ModelSpec:
    """Return the named network, or the one that the source's manifest names."""
    if model is not None:
        return models.resolve(model)
    spec = models.find(origin.topology if origin else None)
    if spec is None:
        raise BadInput(
            f"{job.source.path}: from {job.source.format} to {job.to} the network has to be named"
            f" (--model), one of {', '.join(models.MODELS)}"
        )
    return spec


def _check_sizes(spec: models.ModelSpec, sizes: Sequence[int]) -> None:
    """Refuse sizes of an image that the network does not take."""
    if len(set(sizes[-2:])) > 1:
        raise BadInput(f"the network {spec.name} takes square images, not {list(sizes)}")
    if len(sizes) > 2 and sizes[-3] != spec.input_shape[0]:
        raise BadInput(
            f"the network {spec.name} takes {spec.input_shape[0]} channels, not {sizes[-3]}"
        )


def _by_parameters(
    job: _Job,
    spec: models.ModelSpec,
    origin: Manifest | None,
    sizes: _Sizes,
    *,
    softmax: bool,
) -> Conversion:
    """Load the parameters into the network, and export that."""
    program, sizes = _checked_program(job, sizes)
    layer = build_layer(spec, *sizes)
    state = load_state(job.source, program, layer)
    difference = 0.0
    if program is not None:
        softmax, difference = compare_with_program(layer, program)
    if job.to == "pdparams":
        return _install_state(job, state, checked_name(job.name or spec.name), difference)
    direct = job.to in EXPORT_FORMATS
    default_name = origin.name if origin else spec.stem
    exported = export_model(
        _state_file(job, state, spec),
        job.output if direct else job.work / "exported",
        model=spec,
        name=job.name or default_name,
        formats=(job.to if direct else "pdmodel",),
        softmax=softmax,
        num_classes=sizes.num_classes,
        image_size=sizes.image_size,
        facts=None if origin is None else origin.kept_by(KeptBy.EXPORT),
    )
    if direct:
        return _conversion(job.source, exported, difference)
    stem = exported.manifest.name
    return _rewrite(
        job,
        exported.folder / f"{stem}.pdmodel",
        exported.folder / f"{stem}.pdiparams",
        name=stem,
        difference=difference + exported.max_difference,
    )


def _checked_program(job: _Job, sizes: _Sizes) -> tuple[Model | None, _Sizes]:
    """Check the source's program in C++, and read from it the sizes that were not given."""
    source = job.source
    if not source.has_program:
        return None, sizes
    path = source.path
    if source.format == "separate":
        path = link_as_legacy(path, job.work / "linked") / LEGACY_PROGRAM
    checked = check_model(path, source.params)
    if checked.quantized:
        raise Unsupported(f"{path} is quantized, and the network is not: convert the float model")
    return checked, _Sizes(
        sizes.num_classes or checked.num_classes, sizes.image_size or checked.image_size
    )


def _state_file(job: _Job, state: dict[str, NDArray[Any]], spec: models.ModelSpec) -> Path:
    """Return a ``.pdparams`` with the parameters: the source itself, when it has the same names."""
    source = job.source
    if source.format == "pdparams" and state.keys() == checkpoint.read_state(source.path).keys():
        return source.path
    return _write_state(state, job.work / f"{spec.name}.pdparams")


def _install_state(
    job: _Job, state: dict[str, NDArray[Any]], stem: str, difference: float
) -> Conversion:
    """Write the parameters as ``.pdparams`` into the output folder."""
    written = _write_state(state, job.work / f"{stem}.pdparams")
    path = job.output / written.name
    if path.exists():
        raise BadInput(f"{path} exists: choose another output folder or name")
    with atomic_path(path) as temporary:
        shutil.copyfile(written, temporary)
    return Conversion(job.source, job.output, (path,), difference)


def _write_state(state: dict[str, NDArray[Any]], path: Path) -> Path:
    """Write a ``.pdparams`` file that reads back as the same bits."""
    paddle.save({key: np.ascontiguousarray(value) for key, value in state.items()}, str(path))
    back = checkpoint.read_state(path)
    same = back.keys() == state.keys() and all(
        np.array_equal(back[key], state[key], equal_nan=True) for key in state
    )
    if not same:
        raise BackendFailure(f"{path}: Paddle wrote other parameters than the given ones")
    return path


def _install_persistables(job: _Job, apart: ExportResult, difference: float) -> Conversion:
    """Move the variables of a separate layout into a folder of their own, with checksums."""
    output = job.output
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
    return Conversion(job.source, output, files, difference)


def _conversion(source: Source, result: ExportResult, difference: float) -> Conversion:
    total = difference + result.max_difference
    return Conversion(source, result.folder, result.files, total, result.refusal)
