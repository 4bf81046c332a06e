"""Export of trained parameters to Paddle's inference formats.

A combined export of a model called ``lenet`` is one folder with

* ``lenet.json``: the program in Paddle 3's PIR format,
* ``lenet.pdmodel``: the same program in the older ProgramDesc format,
* ``lenet.pdiparams``: the parameters, the same bytes for both,
* ``manifest.json`` and ``SHA256SUMS``: see :mod:`lenet_cpp.manifest`.

The legacy separate layout is one folder with the program as ``__model__``, one file for each
variable, and the same manifest and checksums.

Paddle would also leave ``lenet.pdiparams.info``, which only fine-tuning an exported model needs;
it is not kept, because the checkpoint serves that purpose and loading the file means unpickling.

Exports are reproducible: generated names are numbered from zero, and the call stack that Paddle
records in a ``.pdmodel``, with the file names of the exporting machine, is taken out. Only the
``.json`` carries a numbering of layer calls that goes on within one process, so its bytes are the
same from process to process but not from call to call.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp import checkpoint, errors, models
from lenet_cpp._legacy_layout import LEGACY_PROGRAM
from lenet_cpp._paddle_run import run_model, signature_of
from lenet_cpp.errors import BackendFailure, BadInput, BadModel, FileNotFound, Unsupported
from lenet_cpp.manifest import (
    CHECKSUMS_NAME,
    MANIFEST_NAME,
    Accuracy,
    Manifest,
    ModelSignature,
    TensorSpec,
    describe_files,
    package_version,
    read_manifest,
    sha256_file,
    verify_checksums,
    write_manifest,
)
from lenet_cpp.tolerance import allowed_difference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt
    import paddle

__all__ = [
    "FORMATS",
    "LEGACY_PROGRAM",
    "ExportResult",
    "combine_separate",
    "export_model",
    "export_separate",
    "write_separate",
]

FORMATS = ("json", "pdmodel")
INPUT_NAME = "x"
_CHECK_BATCHES = (1, 3)
_CHECK_SEED = 20_240_229


@dataclass(frozen=True)
class ExportResult:
    """What an export wrote.

    Attributes:
        folder: Where.
        files: Every file of the export, the manifest and the checksums last.
        manifest: The manifest as written.
        max_difference: Largest absolute difference found between what was exported and what was
            written when both were run on random inputs; 0 for a change of layout, which has to be
            exact.
    """

    folder: Path
    files: tuple[Path, ...]
    manifest: Manifest
    max_difference: float


def export_model(
    params: str | Path,
    output_dir: str | Path,
    *,
    model: str = "lenet",
    name: str | None = None,
    formats: Iterable[str] = FORMATS,
    softmax: bool = False,
) -> ExportResult:
    """Export trained parameters for inference, and check that what was written agrees.

    The batch size of the exported model is free. Whatever export of the same name is in the
    folder is replaced as a whole, and only once the new one was loaded back with
    ``paddle.inference`` and its outputs on random images were found to be those of the layer to
    within :func:`lenet_cpp.tolerance.allowed_difference`. The caller's random state is left as it
    was.

    Args:
        params: The ``.pdparams`` file, with or without the suffix. The training record beside it
            goes into the manifest when there is one.
        output_dir: The folder to write; made if missing.
        model: Name in :data:`lenet_cpp.models.MODELS`.
        name: Common stem of the files; the model's name when None.
        formats: ``json`` (PIR), ``pdmodel`` (ProgramDesc), or both.
        softmax: Whether to append a softmax, so that the model returns probabilities.

    Raises:
        BadInput: The model or a format is unknown, or the folder holds another model's export.
        FileNotFound: There is no such parameter file.
        BadModel: The parameters are damaged or not finite, do not fit the model (every difference
            is listed), or what was written does not compute what the layer computes. Nothing is
            written, and an older export stays as it is.
        Unsupported: Paddle is in static-graph mode.
        OSError: The folder cannot be written.
    """
    spec = models.get(model)
    stem = _checked_name(name or spec.name)
    wanted = tuple(dict.fromkeys(formats))
    if not wanted or not set(wanted) <= set(FORMATS):
        raise BadInput(f"formats are one or both of {', '.join(FORMATS)}; got {list(wanted)}")
    params_path = _params_path(Path(params))
    output = Path(output_dir)
    reference, training, data = _reference_outputs(spec, params_path, softmax=softmax)

    with _staging(output, stem) as staging:
        # The PIR program first: its numbering of layers then does not depend on the other format.
        for format_ in sorted(wanted):
            _save(spec, params_path, staging / format_ / stem, format_, softmax=softmax)
        params_name = f"{stem}.pdiparams"
        sums = {format_: sha256_file(staging / format_ / params_name) for format_ in wanted}
        if len(set(sums.values())) > 1:
            raise BadModel(f"Paddle wrote different {params_name} for the two formats: {sums}")
        signatures: dict[str, ModelSignature] = {}
        difference = 0.0
        for format_ in wanted:
            model_name = f"{stem}.{format_}"
            (staging / format_ / model_name).replace(staging / model_name)
            (staging / format_ / params_name).replace(staging / params_name)
            shutil.rmtree(staging / format_)
        for format_ in wanted:
            model_name = f"{stem}.{format_}"
            signatures[model_name], found = _check_exported(
                staging / model_name, staging / params_name, reference
            )
            difference = max(difference, found)
        manifest = Manifest(
            name=stem,
            topology=spec.name,
            softmax=softmax,
            files=describe_files(staging, [*signatures, params_name]),
            models=signatures,
            classes=spec.labels,
            paddle_version=_paddle_version(),
            lenet_cpp_version=package_version(),
            training=training,
            data=data,
            accuracy=_accuracy(params_path, training, data),
        )
        return _finish(staging, output, manifest, difference)


def export_separate(
    params: str | Path,
    output_dir: str | Path,
    *,
    model: str = "lenet",
    name: str | None = None,
    softmax: bool = False,
) -> ExportResult:
    """Export trained parameters in the separate layout.

    The same as :func:`export_model` to ``pdmodel``, in a temporary folder, and then
    :func:`write_separate`; takes their arguments and raises what they raise.
    """
    with tempfile.TemporaryDirectory(prefix="lenet_cpp-") as folder:
        combined = export_model(
            params, folder, model=model, name=name, formats=("pdmodel",), softmax=softmax
        )
        result = write_separate(folder, output_dir)
    return replace(result, max_difference=combined.max_difference)


def write_separate(
    source: str | Path, output_dir: str | Path, *, name: str | None = None
) -> ExportResult:
    """Rewrite a combined ``.pdmodel`` model in the separate layout, one file for each variable.

    The work is done in a child process, so that a model which crashes Paddle does not take the
    caller along and static-graph mode stays out of the caller's Paddle.

    Args:
        source: The exported model's folder, its ``.pdmodel``, or the path of that without suffix.
            Checksums beside it are verified first.
        output_dir: The folder to write; made if missing.
        name: Name of the model in the manifest; that of the source when None.

    Raises:
        BadInput: The folder holds another model's export, or the source folder is the output.
        FileNotFound: The source is missing.
        BadModel: The source is damaged, or the model written does not give the very same outputs.
        OSError: The folder cannot be written.
    """
    model_path = _combined_model(Path(source))
    params_path = model_path.with_suffix(".pdiparams")
    for path in (model_path, params_path):
        if not path.is_file():
            raise FileNotFound(f"cannot read {path}: no such file")
    origin = _origin(model_path.parent, model_path.name)
    return _convert(
        "separate",
        {"model": str(model_path.resolve()), "params": str(params_path.resolve())},
        origin=origin,
        source_dir=model_path.parent,
        output=Path(output_dir),
        stem=_checked_name(name or (origin.name if origin else model_path.stem)),
    )


def combine_separate(
    source: str | Path, output_dir: str | Path, *, name: str | None = None
) -> ExportResult:
    """Rewrite a model in the separate layout as ``NAME.pdmodel`` and ``NAME.pdiparams``.

    The work is done in a child process; see :func:`write_separate`.

    Args:
        source: The folder with ``__model__`` and one file for each variable. Checksums in it are
            verified first.
        output_dir: The folder to write; made if missing.
        name: Common stem of the files; when None, the name in the source's manifest, and
            ``model`` without one.

    Raises:
        BadInput: The folder holds another model's export, or the source folder is the output.
        FileNotFound: The source is missing.
        BadModel: A variable is missing, damaged or of the wrong shape or size (all are listed),
            or the model written does not give the very same outputs.
        OSError: The folder cannot be written.
    """
    folder = Path(source)
    if not (folder / LEGACY_PROGRAM).is_file():
        raise FileNotFound(f"cannot read {folder / LEGACY_PROGRAM}: no such file")
    origin = _origin(folder, LEGACY_PROGRAM)
    return _convert(
        "combine",
        {"folder": str(folder.resolve())},
        origin=origin,
        source_dir=folder,
        output=Path(output_dir),
        stem=_checked_name(name or (origin.name if origin else "model")),
    )


@dataclass(frozen=True)
class _Reference:
    """Inputs, and what the layer computes from them."""

    inputs: tuple[npt.NDArray[np.float32], ...]
    outputs: tuple[npt.NDArray[Any], ...]


def _params_path(path: Path) -> Path:
    if path.suffix == ".pdparams" or path.is_file():
        return path
    return path.with_name(path.name + ".pdparams")


def _checked_name(name: str) -> str:
    if not name or name.startswith(".") or any(c in "/\\" or not c.isprintable() for c in name):
        raise BadInput(f"{name!r} cannot be the name of a model: it has to be a plain file name")
    return name


def _paddle_version() -> str:
    import paddle

    return str(paddle.__version__)


def _layer(spec: models.ModelSpec, params_path: Path, *, softmax: bool) -> paddle.nn.Layer:
    import paddle

    state = paddle.get_rng_state()
    try:
        layer = spec.build()
    finally:
        paddle.set_rng_state(state)  # building draws random parameters, which loading replaces
    checkpoint.load_parameters(layer, params_path)
    for key, value in layer.state_dict().items():
        if not np.isfinite(value.numpy()).all():
            raise BadModel(f"{params_path}: {key} is not finite: train again, or use another file")
    if softmax:
        layer = paddle.nn.Sequential(layer, paddle.nn.Softmax())
    layer.eval()
    return layer


def _reference_outputs(
    spec: models.ModelSpec, params_path: Path, *, softmax: bool
) -> tuple[_Reference, dict[str, Any] | None, dict[str, Any] | None]:
    """Run the layer on random images; also return the training record and what it says of data."""
    import paddle

    if not paddle.in_dynamic_mode():
        raise Unsupported("exporting needs Paddle's dynamic mode: call paddle.disable_static()")
    layer = _layer(spec, params_path, softmax=softmax)
    try:
        record: dict[str, Any] | None = checkpoint.load_record(params_path)
    except FileNotFound:
        record = None
    data = record.pop("data", None) if record is not None else None
    if data is not None and not isinstance(data, dict):
        raise BadModel(f"the training record of {params_path} is damaged: data is not an object")
    random = np.random.default_rng(_CHECK_SEED)
    inputs = tuple(
        random.random((batch, *spec.input_shape), dtype=np.float32) for batch in _CHECK_BATCHES
    )
    with paddle.no_grad():
        outputs = tuple(layer(paddle.to_tensor(x)).numpy() for x in inputs)
    return _Reference(inputs, outputs), record, data


def _accuracy(
    params_path: Path, training: dict[str, Any] | None, data: dict[str, Any] | None
) -> Accuracy | None:
    """The accuracy that the training measured; export does not change what the model computes."""
    test = (training or {}).get("test")
    if test is None:
        return None
    try:
        top1 = test["correct"] / test["count"]
        return Accuracy(top1, test["count"], f"MNIST test images ({(data or {})['kind']})")
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise BadModel(
            f"the training record of {params_path} is damaged: test is {test!r}"
        ) from error


def _save(
    spec: models.ModelSpec, params_path: Path, prefix: Path, format_: str, *, softmax: bool
) -> None:
    """Write ``PREFIX.json`` or ``PREFIX.pdmodel``, and ``PREFIX.pdiparams``."""
    import paddle
    from paddle import pir_utils

    # These guards do what FLAGS_enable_pir_api does in the environment, within one process.
    guard = pir_utils.DygraphPirGuard if format_ == "json" else pir_utils.DygraphOldIrGuard
    # Both formats order the parameters by generated name, in which 10 comes before 9: names that
    # go on from earlier layers could order two exports of the same model differently.
    with guard(), paddle.utils.unique_name.guard():
        layer = _layer(spec, params_path, softmax=softmax)
        static = paddle.jit.to_static(
            layer,
            input_spec=[
                paddle.static.InputSpec([None, *spec.input_shape], "float32", name=INPUT_NAME)
            ],
            full_graph=True,
        )
        paddle.jit.save(static, str(prefix))
    if format_ == "pdmodel":
        program = prefix.with_name(f"{prefix.name}.pdmodel")
        with pir_utils.OldIrGuard():
            program.write_bytes(_without_call_stacks(program.read_bytes()))


def _without_call_stacks(program: bytes) -> bytes:
    """Take the Python call stacks, with their file names, out of a serialized ProgramDesc."""
    import paddle

    parsed = paddle.static.Program.parse_from_string(program)
    for block in parsed.blocks:
        for op in block.ops:
            if op.has_attr("op_callstack"):
                op.desc.remove_attr("op_callstack")
    stripped: bytes = parsed.desc.serialize_to_string()
    return stripped


def _check_exported(
    model_path: Path, params_path: Path, reference: _Reference
) -> tuple[ModelSignature, float]:
    """Compare an exported model with the layer; return its signature and largest difference."""
    try:
        input_name, output_names, outputs = run_model(model_path, params_path, reference.inputs)
    except Exception as error:
        message = str(error).strip().splitlines()
        raise BadModel(
            f"{model_path.name} was written but cannot be run:"
            f" {message[-1] if message else type(error).__name__}"
        ) from error
    largest = 0.0
    for expected, found in zip(reference.outputs, (run[0] for run in outputs), strict=True):
        if expected.shape != found.shape or expected.dtype != found.dtype:
            raise BadModel(
                f"{model_path.name} was written but returns {found.dtype}{list(found.shape)}"
                f" where the layer returns {expected.dtype}{list(expected.shape)}"
            )
        difference = np.abs(expected - found)
        if not (difference <= allowed_difference(expected)).all():
            raise BadModel(
                f"{model_path.name} was written but does not compute what the layer computes:"
                f" outputs differ by {difference.max():g}"
            )
        largest = max(largest, float(difference.max()))
    return signature_of(input_name, reference.inputs, output_names, outputs), largest


def _combined_model(source: Path) -> Path:
    if not source.is_dir():
        if source.suffix in {".pdmodel", ".pdiparams"}:
            return source.with_suffix(".pdmodel")
        return source.with_name(source.name + ".pdmodel")
    found = sorted(source.glob("*.pdmodel"))
    if len(found) != 1:
        raise FileNotFound(
            f"expected one .pdmodel in {source}, found {len(found)}: name the .pdmodel itself, or"
            " export with format pdmodel first"
        )
    return found[0]


def _origin(folder: Path, program: str) -> Manifest | None:
    """Read the manifest that describes ``program``, after verifying the checksums beside it."""
    if (folder / CHECKSUMS_NAME).exists():
        verify_checksums(folder)
    if not (folder / MANIFEST_NAME).exists():
        return None
    manifest = read_manifest(folder)
    return manifest if program in manifest.models else None


def _convert(
    task: str,
    arguments: dict[str, str],
    *,
    origin: Manifest | None,
    source_dir: Path,
    output: Path,
    stem: str,
) -> ExportResult:
    """Change the layout of a model in a child process and install the result."""
    if output.resolve() == source_dir.resolve():
        raise BadInput(f"{output} holds the model to convert: choose another output folder")
    with _staging(output, stem) as staging:
        found = _call_child(
            {"task": task, "output": str(staging.resolve()), "stem": stem, **arguments}
        )
        signature = ModelSignature(
            *(
                tuple(TensorSpec(t["name"], tuple(t["shape"]), t["dtype"]) for t in found[side])
                for side in ("inputs", "outputs")
            )
        )
        known = (
            replace(origin, name=stem)
            if origin is not None
            else Manifest(
                name=stem,
                topology=None,
                softmax=None,
                files={},
                models={},
                classes=(),
                paddle_version=found["paddle_version"],
            )
        )
        manifest = replace(
            known,
            files=describe_files(staging, found["files"]),
            models={found["model"]: signature},
            paddle_version=found["paddle_version"],
            lenet_cpp_version=package_version(),
        )
        return _finish(staging, output, manifest, 0.0)


def _call_child(request: dict[str, str]) -> dict[str, Any]:
    """Run :mod:`lenet_cpp._legacy_layout` in a child process; see its ``main``."""
    environment = os.environ | {
        "FLAGS_enable_pir_api": "0",
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
        "PYTHONSAFEPATH": "1",
        "PYTHONWARNINGS": "ignore",
        "GLOG_minloglevel": "3",
    }
    child = subprocess.run(  # noqa: S603 - our own interpreter and our own code
        [sys.executable, "-c", "from lenet_cpp._legacy_layout import main; main()"],
        input=json.dumps(request),
        capture_output=True,
        check=False,
        env=environment,
        text=True,
    )
    if child.returncode < 0:
        raise BadModel(
            f"{request.get('model', request.get('folder'))} is damaged: Paddle crashed on it"
            f" ({signal.Signals(-child.returncode).name})"
        )
    # Paddle may print as well: the answer is the last line.
    lines = child.stdout.strip().splitlines()
    try:
        answer = json.loads(lines[-1]) if lines else {}
    except ValueError:
        answer = {}
    if "error" in answer:
        raise getattr(errors, answer["error"])(answer["message"])
    if child.returncode or "files" not in answer:
        reason = child.stderr.strip().splitlines() or ["it said nothing"]
        raise BackendFailure(f"converting the model failed: {reason[-1]}")
    found: dict[str, Any] = answer
    return found


@contextmanager
def _staging(output: Path, stem: str) -> Iterator[Path]:
    """Yield a temporary folder in the output folder; leave no trace of it when the block raises."""
    if output.exists() and not output.is_dir():
        raise BadInput(f"{output} is a file: the output has to be a folder")
    _old_files(output, stem)
    made = [folder for folder in (output, *output.parents) if not folder.exists()]
    output.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=output, prefix=".export-") as staging:
            yield Path(staging)
    except BaseException:
        with suppress(OSError):  # somebody put something into one of them meanwhile
            for folder in made:
                folder.rmdir()
        raise


def _old_files(output: Path, stem: str) -> set[str]:
    """Return the names that an export of ``stem`` in this folder may have left there.

    Raises:
        BadInput: The folder holds the export of a model of another name, or a manifest.json that
            is nothing of ours.
    """
    names = {f"{stem}{suffix}" for suffix in (".json", ".pdmodel", ".pdiparams")}
    names |= {f"{stem}.pdiparams.info", MANIFEST_NAME, CHECKSUMS_NAME}
    if (output / MANIFEST_NAME).is_file():
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
        names |= old.files.keys()
    return names


def _finish(staging: Path, output: Path, manifest: Manifest, difference: float) -> ExportResult:
    write_manifest(staging, manifest)
    names = [*manifest.files, MANIFEST_NAME, CHECKSUMS_NAME]
    _install(staging, output, names, stale=_old_files(output, manifest.name) - set(names))
    return ExportResult(output, tuple(output / n for n in names), manifest, difference)


def _install(staging: Path, output: Path, names: Sequence[str], stale: set[str]) -> None:
    """Move files into place in the given order, or put everything back as it was.

    A process that is killed half-way leaves files that the checksums in the folder do not fit,
    so that the mixture is noticed and not used.
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
