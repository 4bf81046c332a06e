"""Put a complete export into its folder, or leave the folder unchanged."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lenet_cpp._base.files import naming
from lenet_cpp.errors import BadInput, BadModel
from lenet_cpp.formats.manifest import (
    CHECKSUMS_NAME,
    MANIFEST_NAME,
    Manifest,
    has_manifest,
    read_manifest,
    sha256_file,
    write_manifest,
)


@dataclass(frozen=True)
class ExportResult:
    """The result of an export: its folder, and its manifest as written.

    Attributes:
        files: Every file of the export; the manifest and the checksums are last.
        max_difference: Largest absolute difference between the outputs of the source and of the
            export, on random inputs; 0 for a change of layout, which has to be exact.
        refusal: Why ``lenet-cpp predict`` does not support the export; empty when it runs it.
    """

    folder: Path
    files: tuple[Path, ...]
    manifest: Manifest
    max_difference: float
    refusal: str = ""


def checked_name(name: str) -> str:
    """Return the name of a model; BadInput when it is not a plain file name."""
    if not name or name.startswith(".") or any(c in "/\\" or not c.isprintable() for c in name):
        raise BadInput(f"{name!r} cannot be the name of a model: it has to be a plain file name")
    return name


@contextmanager
def staging_folder(output: Path, stem: str, topology: str | None = None) -> Iterator[Path]:
    """Yield a temporary folder in the output folder; remove everything when the block raises.

    Raises:
        BadInput: The output is a file, or it contains the export of another model or network, or a
            ``manifest.json`` of another program.
    """
    if output.exists() and not output.is_dir():
        raise BadInput(f"{output} is a file: the output has to be a folder")
    _old_files(output, stem, topology)
    made = [folder for folder in (output, *output.parents) if not folder.exists()]
    output.mkdir(parents=True, exist_ok=True)
    try:
        with (
            tempfile.TemporaryDirectory(dir=output, prefix=".export-") as staging,
            naming(output, Path(staging)),
        ):
            yield Path(staging)
    except BaseException:
        with suppress(OSError):  # somebody put a file into one of them
            for folder in made:
                folder.rmdir()
        raise


def _old_files(output: Path, stem: str, topology: str | None) -> set[str]:
    """Return the names of the files that an export of ``stem`` may have left in this folder."""
    names = {f"{stem}{suffix}" for suffix in (".json", ".pdmodel", ".pdiparams")}
    names |= {f"{stem}.pdiparams.info", MANIFEST_NAME, CHECKSUMS_NAME}
    if has_manifest(output):
        try:
            old = read_manifest(output)
        except BadModel as error:
            if (output / CHECKSUMS_NAME).exists():
                return names  # a damaged export is no reason to refuse its replacement
            raise BadInput(
                f"{output / MANIFEST_NAME} is not ours and would be overwritten: choose another"
                " output folder"
            ) from error
        if old.name != stem:
            raise BadInput(
                f"{output} holds the exported model {old.name!r}: choose another output folder"
            )
        if None not in {topology, old.topology} and topology != old.topology:
            raise BadInput(f"{output} holds a model {old.topology}: choose another output folder")
        names |= old.files.keys()
    return names


def _require_written(output: Path, name: str) -> bool:
    """Return whether a file is there as the export wrote it whose manifest lies beside it."""
    path = output / name
    if not path.is_file():
        return False
    try:
        known = read_manifest(output).files.get(name) if has_manifest(output) else None
    except BadModel:  # a damaged export, as its checksums beside it show, is replaced
        return True
    if name in {MANIFEST_NAME, CHECKSUMS_NAME} or (
        known is not None and known.sha256 == sha256_file(path)
    ):
        return True
    raise BadInput(
        f"{path} is not as an export of ours wrote it, and would be removed: move it away, or"
        " choose another output folder"
    )


def install(
    staging: Path, output: Path, manifest: Manifest, max_difference: float, refusal: str = ""
) -> ExportResult:
    """Write the manifest and the checksums, and move the complete export into place.

    ``staging`` and ``output`` are those of :func:`staging_folder`. Other files of an older export
    of the same name are removed, if they are still as that export wrote them.

    Raises:
        BadInput: A program that no export of ours wrote would be left with other parameters.
    """
    write_manifest(staging, manifest)
    names = [*manifest.files, MANIFEST_NAME, CHECKSUMS_NAME]
    stale = _old_files(output, manifest.name, manifest.topology) - set(names)
    stale = {name for name in stale if _require_written(output, name)}
    _move(staging, output, names, stale=stale)
    files = tuple(output / name for name in names)
    return ExportResult(output, files, manifest, max_difference, refusal)


def _move(staging: Path, output: Path, names: Sequence[str], stale: set[str]) -> None:
    """Move files into place in the given order, or restore everything.

    A process that is killed half-way leaves files that do not fit the checksums in the folder, so
    the mixture is detected and not used.
    """
    backup = staging / "previous"
    backup.mkdir()
    previous = [name for name in (*names, *sorted(stale)) if (output / name).exists()]
    for name in previous:
        shutil.copy2(output / name, backup / name)
    try:
        for name in names:
            (staging / name).replace(output / name)
        for name in stale:
            (output / name).unlink(missing_ok=True)
    except BaseException:
        for name in names:
            if name not in previous:
                (output / name).unlink(missing_ok=True)
        for name in previous:
            (backup / name).replace(output / name)
        raise
