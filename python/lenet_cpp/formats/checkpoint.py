"""Checkpoints: parameters, optimizer state and training record, consistent on disk.

A checkpoint called ``lenet`` is three files in one folder:

* ``lenet.pdparams``: the parameters to deploy, as ``paddle.save(layer.state_dict())`` writes them;
* ``lenet.pdopt``: the optimizer state, and everything else that resuming needs;
* ``lenet.train.json``: the training record, with the SHA-256 of the other two.

Three files cannot be renamed in one step, so saving goes through a write-ahead journal: the new
files are staged under hidden names, the staged record is renamed to its journal name (the commit
point), and only then are the staged files moved into place. The next program that opens the
checkpoint finishes an interrupted commit; before the commit point the old checkpoint is untouched.

Reading never runs code from the file: ``paddle.load`` unpickles everything, this module only the
few types of a state dict.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lenet_cpp._base.files import naming, other_content
from lenet_cpp._base.unpickling import ArrayUnpickler
from lenet_cpp.errors import BadModel, FileNotFound
from lenet_cpp.formats import training_record
from lenet_cpp.formats.manifest import sha256_file

ArraySpec = tuple[tuple[int, ...], str]
"""The shape and the name of the dtype of an array: ``((10,), "float32")``."""

_SHOWN = 20  # names in a message
# paddle.save adds this table of generated tensor names to a layer's state dict.
_NAME_TABLE = "StructuredToParameterName@@"


def read_state(path: Path) -> dict[str, Any]:
    """Read a state dict, ``.pdparams`` or ``.pdopt``, without running code from the file.

    Returns each name and its NumPy array (or a plain value, such as a learning-rate scheduler's
    dict), without the table of generated tensor names that Paddle adds.

    Raises:
        FileNotFound: There is no such file, or it cannot be read.
        BadModel: The file is truncated, damaged, or is not a state dict.
    """
    state = _unpickled(path)
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        held = other_content(path, "pdparams") or f"it holds a {type(state).__name__}"
        raise BadModel(f"{path} is not a Paddle state dict: {held}")
    values = {key: _value(value) for key, value in state.items() if key != _NAME_TABLE}
    for key, value in values.items():
        if isinstance(value, np.ndarray) and value.dtype.kind not in "fiub":
            raise BadModel(f"{path}: {key} is an array of {value.dtype}, not of numbers")
    return values


def _unpickled(path: Path) -> object:
    try:
        with path.open("rb") as file:
            # latin1 is what NumPy arrays pickled by Python 2 need; it changes nothing otherwise.
            return ArrayUnpickler(file, encoding="latin1").load()
    except OSError as error:
        raise FileNotFound(f"cannot read {path}: {error.strerror}") from error
    except MemoryError as error:
        raise BadModel(f"{path} is not a Paddle state dict: it claims an absurd size") from error
    except Exception as error:
        # Unpickling damaged bytes can raise anything, with messages of any length.
        if other := other_content(path, "pdparams"):
            raise BadModel(f"{path} is not a Paddle state dict: {other}") from error
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise BadModel(f"{path} is damaged or is not a Paddle state dict ({reason})") from error


def _value(value: object) -> object:
    """Unwrap the (generated name, array) pair that some versions store for a tensor."""
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], np.ndarray):
        return value[1]
    return value


def array_specs(state: Mapping[str, Any]) -> dict[str, ArraySpec]:
    """Return the shape and the dtype's name of each tensor, for :func:`check_arrays`."""
    return {
        name: (tuple(tensor.shape), str(tensor.dtype).removeprefix("paddle."))
        for name, tensor in state.items()
    }


class StateMismatch(BadModel):
    """A state dict does not fit the model.

    Attributes:
        missing: Names in the model, but not in the state dict.
        unexpected: Names in the state dict, but not in the model.
        wrong: Names in both, each with a phrase that says the problem of its array.
    """

    def __init__(
        self,
        path: Path,
        missing: list[str],
        unexpected: list[str],
        wrong: Mapping[str, str],
        hint: str = "",
    ) -> None:
        """Describe the differences of the file ``path``; ``hint`` is a remedy."""
        self.missing = tuple(missing)
        self.unexpected = tuple(unexpected)
        self.wrong = dict(wrong)
        faults = []
        for what, items in (("missing ", missing), ("unexpected ", unexpected), ("", [*wrong])):
            if items:
                separator, more = ", " if what else "; ", len(items) - _SHOWN
                shown = separator.join(wrong.get(item, item) for item in items[:_SHOWN])
                faults.append(what + shown + (f" and {more} more" if more > 0 else ""))
        super().__init__(f"{path} does not fit the model: {'; '.join(faults)}{hint}")


def check_arrays(path: Path, found: Mapping[str, Any], expected: Mapping[str, ArraySpec]) -> None:
    """Compare the arrays of a file with what a model expects: names, shapes and dtypes.

    Raises:
        StateMismatch: There is a difference. The error has every missing name, unexpected name
            and wrong shape or dtype; its message has the first 20 of each.
    """
    missing = [name for name in expected if name not in found]
    unexpected = [name for name in found if name not in expected]
    wrong = _wrong_arrays(found, expected)
    if missing or unexpected or wrong:
        classes = _other_classes([(found[name], expected[name]) for name in wrong])
        hint = ""
        if classes is not None:
            hint = f" (it is for {classes} classes: --num-classes {classes}, or --class_dim in the"
            hint += f" guides; in Python num_classes={classes})"
        raise StateMismatch(path, missing, unexpected, wrong, hint=hint)


def _wrong_arrays(found: Mapping[str, object], expected: Mapping[str, ArraySpec]) -> dict[str, str]:
    """Return what is wrong with each value that is not the expected array."""
    faults = {
        name: _array_fault(name, found[name], spec)
        for name, spec in expected.items()
        if name in found
    }
    return {name: fault for name, fault in faults.items() if fault}


def _array_fault(name: str, value: object, expected: ArraySpec) -> str:
    """Return what is wrong with the value of a name; nothing when it is the expected array."""
    shape, dtype = expected
    if not isinstance(value, np.ndarray):
        return f"{name} is a {type(value).__name__}, not an array"
    if value.shape == shape and value.dtype == np.dtype(dtype):
        return ""
    return f"{name} is {value.dtype}{list(value.shape)}, expected {dtype}{list(shape)}"


def _other_classes(wrong: Sequence[tuple[object, ArraySpec]]) -> int | None:
    """Return the number of classes that would explain every wrong array, if there is one.

    The weights and the bias of the last layer have the number of classes as their last size.
    """
    arrays = [(value, spec) for value, spec in wrong if isinstance(value, np.ndarray)]
    if not all(_differs_in_last_size(value, spec) for value, spec in arrays):
        return None
    last_sizes = {value.shape[-1] for value, _ in arrays}
    return last_sizes.pop() if len(last_sizes) == 1 else None


def _differs_in_last_size(value: npt.NDArray[Any], expected: ArraySpec) -> bool:
    shape, dtype = expected
    same_dtype = value.dtype == np.dtype(dtype)
    return same_dtype and value.ndim > 0 and value.shape[:-1] == shape[:-1]


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint, read and verified: what its three files hold."""

    parameters: dict[str, npt.NDArray[Any]]
    optimizer: dict[str, Any]
    record: dict[str, Any]


def save_checkpoint(
    folder: Path,
    name: str,
    *,
    parameters: Mapping[str, Any],
    optimizer: Mapping[str, Any],
    record: Mapping[str, Any],
    save: Callable[[dict[str, Any], str], None],
) -> None:
    """Replace a checkpoint atomically: at any instant either the old or the new one is there.

    The folder is created if necessary. The record gets the format number and the SHA-256 of the
    other two files; ``save`` is ``paddle.save``.

    Raises:
        OSError: The folder cannot be written; the old checkpoint is still there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recover(folder, name)
    params_path, opt_path, record_path = _paths(folder, name)
    draft = record_path.with_name(f".{record_path.name}.draft")
    try:
        files = {}
        for path, state in ((params_path, parameters), (opt_path, optimizer)):
            staged = _staged(path)
            with naming(path, staged):
                save(dict(state), str(staged))
                _sync(staged)
            files[path.name] = sha256_file(staged)
        draft.write_text(training_record.record_text(record, files), encoding="utf-8")
        _sync(draft)
        _sync(folder)
        draft.replace(_staged(record_path))  # the commit point
    except BaseException:
        if not _staged(record_path).exists():
            for path in (_staged(params_path), _staged(opt_path), draft):
                path.unlink(missing_ok=True)
        raise
    _sync(folder)
    recover(folder, name)


def load_checkpoint(folder: Path, name: str) -> Checkpoint:
    """Read a checkpoint and check that its three files belong together.

    A save that was interrupted after its commit point is finished first.

    Raises:
        FileNotFound: One of the files is missing.
        BadModel: A file is damaged or is not the one that the record describes.
    """
    params_path, opt_path, _ = _paths(folder, name)
    record = load_record(params_path)
    _check_hash(opt_path, record)
    return Checkpoint(read_state(params_path), read_state(opt_path), record)


def load_record(params_path: Path) -> dict[str, Any]:
    """Read the training record beside a ``.pdparams`` file, and check that it is of that file.

    Raises:
        FileNotFound: One of the two files is missing.
        BadModel: The record is damaged, or is of other parameters.
    """
    folder, name = params_path.parent, params_path.stem
    recover(folder, name)
    record = _read_record(_paths(folder, name)[2], name)
    _check_hash(params_path, record)
    return record


def _paths(folder: Path, name: str) -> tuple[Path, Path, Path]:
    return folder / f"{name}.pdparams", folder / f"{name}.pdopt", folder / f"{name}.train.json"


def _staged(path: Path) -> Path:
    return path.with_name(f".{path.name}.next")


def recover(folder: Path, name: str) -> None:
    """Finish a save that passed its commit point; do nothing when there is none.

    Raises:
        BadModel: The staged files are not those of the journal.
    """
    params_path, opt_path, record_path = _paths(folder, name)
    journal = _staged(record_path)
    if not journal.exists():
        return
    record = _read_record(journal, name)
    for path in (params_path, opt_path):
        staged = _staged(path)
        if staged.exists():
            _check_hash(staged, record, name=path.name)
            staged.replace(path)
        else:
            _check_hash(path, record)
    _sync(folder)
    journal.replace(record_path)  # last: while the journal exists, the work above is repeated
    _sync(folder)


def _read_record(path: Path, name: str) -> dict[str, Any]:
    record = training_record.load_record(path)
    files = record.get("files")
    wanted = {f"{name}.pdparams", f"{name}.pdopt"}
    if not isinstance(files, dict) or not wanted <= files.keys():
        raise BadModel(f"the training record {path} does not name {' and '.join(sorted(wanted))}")
    return record


def _check_hash(path: Path, record: Mapping[str, Any], *, name: str | None = None) -> None:
    if sha256_file(path) != record["files"][name or path.name]:
        raise BadModel(
            f"{path} is not the file that its training record describes (SHA-256 differs):"
            " restore it, or train again"
        )


def _sync(path: Path) -> None:
    """Make a file's contents, or a folder's names, survive a power failure."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
