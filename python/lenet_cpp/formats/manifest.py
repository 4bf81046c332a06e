"""``manifest.json`` and ``SHA256SUMS``: the description of an exported model and its checksums.

Both files are in the folder of the model files. ``SHA256SUMS`` has the checksum of each of them and
of the manifest, in the format of ``sha256sum -c``. This module needs only the standard library.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import Flag, auto
from functools import partial
from pathlib import Path
from typing import Any

from lenet_cpp._base.files import read_text, reading, write_text
from lenet_cpp._base.strict_json import (
    boolean,
    choice,
    integer,
    object_,
    optional,
    read_json,
    record,
    sequence,
    text,
    wrong,
)
from lenet_cpp.errors import BadInput, BadModel, FileNotFound
from lenet_cpp.formats.tensor_spec import TensorSpec

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
CHECKSUMS_NAME = "SHA256SUMS"

_HEX = re.compile(r"[0-9a-f]{64}")
_CHECKSUM_LINE = re.compile(r"([0-9A-Fa-f]{64}) [ *](.+)")
_DTYPES = (
    *("bfloat16", "bool", "float16", "float32", "float64"),
    *("int16", "int32", "int64", "int8", "uint8"),
)


@dataclass(frozen=True)
class ModelSignature:
    """The inputs and outputs of one program; Paddle names outputs differently in each format."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class FileEntry:
    """The SHA-256 of a model file, 64 lower-case hexadecimal digits, and its number of bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class MeasuredAccuracy:
    """The fraction of images of a data set that were classified correctly, 0 to 1."""

    top1: float
    images: int
    dataset: str


class KeptBy(Flag):
    """The conversions that copy a field from the manifest of their source.

    Attributes:
        NONE: No conversion; each describes the new files.
        REWRITE: The program is rewritten in another layout or format, or is quantized.
        EXPORT: The parameters are loaded into a network, which is exported again. An import of
            ``.onnx`` copies the same fields from the metadata of the file.
        ONNX: The model is exported to ``.onnx``, which has the field in its metadata.
    """

    NONE = 0
    REWRITE = auto()
    EXPORT = auto()
    ONNX = auto()


@dataclass(frozen=True)
class Manifest:
    """The description of an exported model.

    :data:`FIELDS` has how each field is stored, and which conversions keep it.

    Attributes:
        name: Common stem of the files.
        topology: The network's name in :data:`lenet_cpp.models.MODELS`, or the name of the user's
            own network; None when it is not known. With ``num_classes`` and ``image_size`` the
            network can be built again.
        softmax: Whether the output is probabilities instead of logits; None when it is not known.
        files: Every file of the model, with its checksum and size.
        models: Every program (``.pdmodel``, ``.json`` or ``__model__``), with its inputs and
            outputs.
        classes: The name of each class in output order; empty when they are not known.
        paddle_version: The Paddle that wrote the files.
        lenet_cpp_version: The version of this package that wrote them; None when it was not
            installed.
        training: The training record (recipe, figures), or the seed of random parameters; None
            when there is no record.
        data: The training data, with checksums; None when it is not known.
        accuracy: The accuracy on test images; None when it is not known.
        quantization: How the model was quantized (method, bits, accuracy before and after); None
            for a float model.
    """

    name: str
    topology: str | None
    softmax: bool | None
    files: dict[str, FileEntry]
    models: dict[str, ModelSignature]
    classes: tuple[str, ...]
    paddle_version: str
    lenet_cpp_version: str | None = None
    training: dict[str, Any] | None = None
    data: dict[str, Any] | None = None
    accuracy: MeasuredAccuracy | None = None
    quantization: dict[str, Any] | None = None

    @property
    def num_classes(self) -> int | None:
        """The number of classes: the length of the first output's rows; None when it varies."""
        signature = next(iter(self.models.values()))
        size = signature.outputs[0].shape[-1] if signature.outputs else -1
        return None if size < 0 else size

    @property
    def image_size(self) -> int | None:
        """Height and width of the images; None when they are not square or vary."""
        signature = next(iter(self.models.values()))
        sizes = set(signature.inputs[0].shape[-2:]) if signature.inputs else set()
        size = sizes.pop() if len(sizes) == 1 else -1
        return None if size < 0 else size

    def kept_by(self, conversion: KeptBy) -> dict[str, Any]:
        """Return the fields that a conversion of this model copies, with their values."""
        return {name: getattr(self, name) for name in kept_fields(conversion)}


@dataclass(frozen=True)
class ManifestField:
    """How one field of the manifest is stored, and which conversions keep it.

    Attributes:
        json_type: The type in JSON, in words.
        parse: Checks a value from JSON and converts it, as in :mod:`lenet_cpp._base.strict_json`.
        kept_by: The conversions that copy the field.
        is_optional: Whether the file has no such field instead of null. This is for fields that
            were added later, because older readers refuse a field that they do not know.
    """

    json_type: str
    parse: Callable[[Any, str], Any]
    kept_by: KeptBy = KeptBy.NONE
    is_optional: bool = False


def kept_fields(conversion: KeptBy) -> tuple[str, ...]:
    """Return the names of the fields that a conversion copies."""
    return tuple(name for name, field in FIELDS.items() if conversion in field.kept_by)


def package_version() -> str | None:
    """Return the version of the installed lenet-cpp, or None when it is not installed."""
    from importlib import metadata  # takes longer to import than this module

    try:
        return metadata.version("lenet-cpp")
    except metadata.PackageNotFoundError:
        return None


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file, 64 lower-case digits; FileNotFound when it cannot be read."""
    digest = hashlib.sha256()
    with reading(path), path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def describe_files(folder: Path, names: Iterable[str]) -> dict[str, FileEntry]:
    """Measure files for :attr:`Manifest.files`; FileNotFound when one cannot be read."""
    return {
        name: FileEntry(sha256_file(folder / name), (folder / name).stat().st_size)
        for name in sorted(names)
    }


def describe_model(
    folder: Path,
    name: str,
    models: Mapping[str, ModelSignature],
    others: Iterable[str],
    *,
    paddle_version: str,
    origin: Manifest | None = None,
    **facts: Any,
) -> Manifest:
    """Describe the files of a model that has just been written: programs, and the others.

    ``origin`` is the manifest of the model whose program was rewritten, if there is one: its fields
    with :attr:`KeptBy.REWRITE` are copied. ``facts`` are other fields of :class:`Manifest`, which
    replace those of ``origin``.

    Raises:
        FileNotFound: One of the files does not exist or cannot be read.
    """
    known = {} if origin is None else origin.kept_by(KeptBy.REWRITE)
    return Manifest(
        name=name,
        files=describe_files(folder, [*models, *others]),
        models=dict(models),
        paddle_version=paddle_version,
        lenet_cpp_version=package_version(),
        **{"topology": None, "softmax": None, "classes": (), **known, **facts},
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` and then ``SHA256SUMS``, each atomically.

    Raises:
        BadInput: The manifest has a value that could not be read back; nothing is written.
        OSError: The folder cannot be written.
    """
    document = {"format_version": FORMAT_VERSION, **asdict(manifest)}
    for name in _OPTIONAL:
        if document[name] is None:
            del document[name]
    try:
        document_text = json.dumps(document, indent=2, allow_nan=False) + "\n"
        _parse(json.loads(document_text))
    except (TypeError, ValueError) as error:
        raise BadInput(f"cannot write {folder / MANIFEST_NAME}: {error}") from error
    sums = {name: entry.sha256 for name, entry in manifest.files.items()}
    sums[MANIFEST_NAME] = hashlib.sha256(document_text.encode()).hexdigest()
    write_text(folder / MANIFEST_NAME, document_text)
    write_text(folder / CHECKSUMS_NAME, "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)))


def has_manifest(folder: Path) -> bool:
    """Return whether a folder has a ``manifest.json``."""
    return (folder / MANIFEST_NAME).is_file()


def read_manifest(folder: Path) -> Manifest:
    """Read and validate the ``manifest.json`` of a folder, without verifying checksums.

    Raises:
        FileNotFound: There is no manifest, or it cannot be read.
        BadModel: The manifest is invalid; the message has the place and the problem.
    """
    path = folder / MANIFEST_NAME
    try:
        with reading(path):
            return _parse(read_json(read_text(path)))
    except ValueError as error:
        raise BadModel(f"{path} is not a valid manifest: {error}") from error


def find_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of a folder as :func:`read_manifest` does; None when there is none."""
    return read_manifest(folder) if has_manifest(folder) else None


def read_origin(folder: Path, program: str) -> Manifest | None:
    """Return the manifest that describes a program, if there is one, after checking the files."""
    if (folder / CHECKSUMS_NAME).exists():
        verify_checksums(folder)
    manifest = find_manifest(folder)
    return manifest if manifest is not None and program in manifest.models else None


def read_checksums(folder: Path) -> dict[str, str]:
    """Read the ``SHA256SUMS`` of a folder: each file name and its SHA-256, in lower case.

    Raises:
        FileNotFound: There is no ``SHA256SUMS``, or it cannot be read.
        BadModel: A line has another form, a name is not a plain file name, or a name is repeated.
    """
    path = folder / CHECKSUMS_NAME
    try:
        with reading(path):
            lines = read_text(path).split("\n")
    except ValueError as error:
        raise BadModel(f"{path} is not a list of checksums: {error}") from error
    sums: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        match = _CHECKSUM_LINE.fullmatch(line)
        if match is None or not _is_plain_name(match[2]):
            raise BadModel(
                f"{path}, line {number}: expected 64 hexadecimal digits, two spaces and a file"
                f" name, found {line[:100]!r}"
            )
        if match[2] in sums:
            raise BadModel(f"{path}, line {number}: {match[2]} comes a second time")
        sums[match[2]] = match[1].lower()
    if not sums:
        raise BadModel(f"{path} lists no file")
    return sums


def verify_checksums(folder: Path) -> tuple[str, ...]:
    """Compare every file that ``SHA256SUMS`` lists with its checksum; return their names.

    Raises:
        FileNotFound: There is no ``SHA256SUMS``, or it cannot be read.
        BadModel: A listed file is missing or has another SHA-256; the message has the file and
            the two checksums.
    """
    sums = read_checksums(folder)
    for name, expected in sums.items():
        path = folder / name
        try:
            found = sha256_file(path)
        except FileNotFound as error:
            raise BadModel(
                f"{path} is listed in {CHECKSUMS_NAME}, expected SHA-256 {expected}, found no"
                f" readable file ({error}): export the model again"
            ) from error
        if found != expected:
            raise BadModel(
                f"{path} was changed or damaged: expected SHA-256 {expected}, found {found}:"
                " restore it, or export the model again"
            )
    return tuple(sums)


def _is_plain_name(name: str) -> bool:
    return name not in {".", ".."} and not any(c in "/\\" or c < " " or c == "\x7f" for c in name)


def _parse(document: Any) -> Manifest:
    """Turn parsed JSON into a manifest, or raise ValueError naming the place and the problem."""
    whole = object_(document, "the document")
    version = whole.pop("format_version", None)
    if type(version) is not int or version != FORMAT_VERSION:
        raise ValueError(f"format_version: expected {FORMAT_VERSION}, found {version!r}")
    manifest = _parse_fields({**dict.fromkeys(_OPTIONAL), **whole}, "")
    for reserved in (MANIFEST_NAME, CHECKSUMS_NAME):
        if reserved in manifest.files:
            raise ValueError(f"files: {reserved} cannot be a file of the model")
    if unknown := sorted(manifest.models.keys() - manifest.files.keys()):
        raise ValueError(f"models: {unknown[0]} is not among the files")
    if not manifest.models:
        raise ValueError("models: expected at least one model file, found none")
    return manifest


def _plain_name(value: Any, where: str) -> str:
    if not _is_plain_name(text(value, where)):
        raise wrong(where, "a file name without a folder", value)
    return str(value)


def _mapping(parse: Callable[[Any, str], Any], value: Any, where: str) -> dict[str, Any]:
    return {
        _plain_name(name, where): parse(item, f"{where}[{name!r}]")
        for name, item in object_(value, where).items()
    }


def _sha256(value: Any, where: str) -> str:
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise wrong(where, "64 lower-case hexadecimal digits", value)
    return value


def _dimension(value: Any, where: str) -> int:
    if value == 0:
        raise wrong(where, "a size or -1", value)
    return integer(value, where, -1)


def _fraction(value: Any, where: str) -> float:
    if type(value) not in {int, float} or not 0 <= value <= 1:
        raise wrong(where, "a fraction from 0 to 1", value)
    return float(value)


_file_entry = partial(record, FileEntry, sha256=_sha256, size=partial(integer, least=0))
_shape = partial(sequence, _dimension)
_dtype = partial(choice, choices=_DTYPES)
_tensors = partial(sequence, partial(record, TensorSpec, name=text, shape=_shape, dtype=_dtype))
parse_signature = partial(record, ModelSignature, inputs=_tensors, outputs=_tensors)
"""Turn what ``asdict`` made of a signature into one again, or raise ValueError."""
_accuracy = partial(
    record, MeasuredAccuracy, top1=_fraction, images=partial(integer, least=1), dataset=text
)
_EVERYWHERE = KeptBy.REWRITE | KeptBy.EXPORT | KeptBy.ONNX
_object_or_null = partial(optional, object_)

FIELDS: dict[str, ManifestField] = {
    "name": ManifestField("string", _plain_name, KeptBy.ONNX),
    # An export sets the two next fields from the network that it exports.
    "topology": ManifestField(
        "string or null", partial(optional, text), KeptBy.REWRITE | KeptBy.ONNX
    ),
    "softmax": ManifestField(
        "boolean or null", partial(optional, boolean), KeptBy.REWRITE | KeptBy.ONNX
    ),
    "files": ManifestField(
        "object: `sha256` and `size` of each file name", partial(_mapping, _file_entry)
    ),
    "models": ManifestField(
        "object: `inputs` and `outputs` of each file name", partial(_mapping, parse_signature)
    ),
    "classes": ManifestField("list of strings", partial(sequence, text), _EVERYWHERE),
    "paddle_version": ManifestField("string", text),
    "lenet_cpp_version": ManifestField("string or null", partial(optional, text)),
    "training": ManifestField("object or null", _object_or_null, _EVERYWHERE),
    "data": ManifestField("object or null", _object_or_null, _EVERYWHERE),
    "accuracy": ManifestField(
        "object with `top1`, `images` and `dataset`, or null",
        partial(optional, _accuracy),
        _EVERYWHERE,
    ),
    # A quantized program has no network that could be exported again.
    "quantization": ManifestField(
        "object, or absent", _object_or_null, KeptBy.REWRITE, is_optional=True
    ),
}
"""Every field of :class:`Manifest`, in the order of the file.

docs/formats.md has the same table, with the meaning of each field from :class:`Manifest`.
"""

_OPTIONAL = tuple(name for name, field in FIELDS.items() if field.is_optional)
_parse_fields = partial(record, Manifest, **{name: field.parse for name, field in FIELDS.items()})
