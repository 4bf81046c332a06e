"""Files of parameters: a ``state_dict``, written by ``torch.save``.

Reading trusts nobody. ``torch.load(..., weights_only=True)`` decides what a file may build, and it
knows no pickle newer than protocol 3, whereas files are often written with protocol 4
(``torch.save(..., pickle_protocol=4)``). So what is pickled in such a file is first written in the
instructions of protocol 2, one for one and without carrying them out.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import struct
import zipfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_cpp._base.files import atomic_path, other_content
from lenet_cpp.errors import BadModel, FileNotFound, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch
    from numpy.typing import NDArray

PICKLE_PROTOCOL = 4
# Where training programs put the parameters beside what else they save.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PARALLEL_PREFIX = "module."  # of torch.nn.DataParallel
_REFUSED_GLOBAL = re.compile(r"GLOBAL (\S+) (?:was not an allowed|whose module)")


def require_torch() -> Any:
    """Import PyTorch, and return it.

    Raises:
        Unsupported: It is not installed, or is older than 2.6, whose reader of files can be made
            to run code from a file even when it is told to read nothing but parameters
            (CVE-2025-32434).
    """
    try:
        torch = import_module("torch")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise Unsupported("this needs PyTorch: pip install 'lenet-cpp[torch]'") from error
    version = str(torch.__version__)
    if tuple(int(part) for part in version.split(".")[:2]) < (2, 6):
        raise Unsupported(f"PyTorch {version} is too old: pip install 'torch>=2.6'")
    return torch


def save_state(net: torch.nn.Module, path: str | Path) -> None:
    """Write a network's ``state_dict``, atomically.

    Args:
        net: The network. It is moved to the processor first, as a file written from elsewhere asks
            its reader for the same kind of device.
        path: The file to write, such as ``net.prm``.

    Raises:
        OSError: The file cannot be written; what was there before stays.
        Unsupported: PyTorch is missing or too old.
    """
    torch = require_torch()
    net.cpu()
    with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
        # From a path, torch.save would take the temporary name into the file.
        torch.save(net.state_dict(), file, pickle_protocol=PICKLE_PROTOCOL)


def load_state(path: str | Path, *, weights_only: bool = True) -> dict[str, torch.Tensor]:
    """Read a network's parameters, onto the processor.

    Args:
        path: What ``torch.save`` wrote: a ``state_dict``; or a dictionary with one under
            ``state_dict``, ``model_state_dict`` or ``model``. The ``module.`` before every name
            that ``torch.nn.DataParallel`` makes is taken off.
        weights_only: Refuse whatever is not a tensor or a plain container. With False the file
            may run any code it likes and may hold a whole ``torch.nn.Module``: only for files of
            your own.

    Returns:
        Name to tensor.

    Raises:
        FileNotFound: There is no such file, or it cannot be read.
        BadModel: The file is damaged, is not one of parameters, or would run code.
        Unsupported: PyTorch is missing or too old.
    """
    torch = require_torch()
    path = Path(path)
    try:
        file = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise FileNotFound(f"cannot read {path}: {error.strerror or error}") from error
    try:
        if weights_only:
            file = _readable(path, file)
        found = torch.load(file, map_location="cpu", weights_only=weights_only)
    except BadModel:
        raise
    except Exception as error:
        raise BadModel(f"{path} cannot be read: {_reason(path, error)}") from error
    if isinstance(found, torch.nn.Module):
        found = found.state_dict()
    return _state(path, found, torch)


def as_arrays(state: Mapping[str, torch.Tensor]) -> dict[str, NDArray[Any]]:
    """Return the tensors as arrays; those of 16 bits widened to float32, which is exact."""
    return {
        key: (value.float() if value.is_floating_point() and value.itemsize == 2 else value).numpy()
        for key, value in state.items()
    }


def _reason(path: Path, error: Exception) -> str:
    """One line of what PyTorch says in many."""
    text = " ".join(str(error).split())
    other = other_content(path, "torch")
    if not isinstance(error, pickle.UnpicklingError):
        return other or f"it is damaged or was not written by torch.save ({text[:200]})"
    found = _REFUSED_GLOBAL.search(text)
    if found and not (other and found[1].startswith("numpy")):  # whose arrays Paddle pickles
        return (
            f"it asks for {found[1]}, which is more than parameters and could run code; save"
            " net.state_dict() alone"
        )
    detail = text.rpartition("trusted source.")[2].partition("Check the documentation")[0]
    return other or f"it is damaged or holds more than parameters ({detail.strip()[:200]})"


def _state(path: Path, found: Any, torch: Any) -> dict[str, torch.Tensor]:
    if isinstance(found, dict):
        wrapped = (found[key] for key in _WRAPPERS if isinstance(found.get(key), dict))
        found = next(wrapped, found)
    if not isinstance(found, dict) or not found:
        raise BadModel(f"{path} does not hold a state_dict but {_kind(found)}")
    for key, value in found.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise BadModel(f"{path} is not a state_dict: {key!r:.100} is {_kind(value)}")
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
            raise BadModel(f"{path}: {key} is not a plain tensor: save a network in float32")
        if value.untyped_storage().nbytes() < value.numel() * value.element_size():
            raise BadModel(f"{path}: {key} claims {list(value.shape)} but holds fewer values")
    parallel = all(key.startswith(_PARALLEL_PREFIX) for key in found)
    return {
        key.removeprefix(_PARALLEL_PREFIX) if parallel else key: value.detach()
        for key, value in found.items()
    }


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"


def _readable(path: Path, file: io.BytesIO) -> io.BytesIO:
    """Return the file, or its equal in the protocol that ``weights_only`` reads."""
    start = file.read(2)
    file.seek(0)
    if start == b"PK":
        return _readable_archive(path, file)
    if start[:1] == b"\x80" and start > b"\x80\x02":
        # The format before PyTorch 1.6: five pickles, and the numbers after them.
        pickles = b"".join(_protocol_2(file) for _ in range(5))
        return io.BytesIO(pickles + file.read())
    return file


def _readable_archive(path: Path, file: io.BytesIO) -> io.BytesIO:
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise BadModel(
                f"{path} has compressed parts, which torch.save does not make and which could be"
                " of any size: unpack it and save the parameters again"
            )
        if len({entry.filename for entry in entries}) < len(entries):
            raise BadModel(f"{path} is damaged: two of its parts have the same name")
        index = next((e for e in entries if e.filename.endswith("/data.pkl")), None)
        pickled = b"" if index is None else archive.read(index)
        if index is None or pickled[:2] <= b"\x80\x02":
            file.seek(0)
            return file
        copy = io.BytesIO()
        with zipfile.ZipFile(copy, "w") as rewritten:
            for entry in entries:
                data = archive.read(entry)
                if entry is index:
                    data = _protocol_2(io.BytesIO(pickled))
                rewritten.writestr(entry.filename, data)
    copy.seek(0)
    return copy


_STRINGS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
_GETS = {"BINGET", "LONG_BINGET"}


def _protocol_2(file: io.BytesIO) -> bytes:
    """Read one pickle; return its equal in protocol 2.

    Instructions that have no equal there stay, and PyTorch refuses them.
    """
    output: list[bytes | str] = []  # text stands for the instruction that pushes it
    memo: dict[int, bytes | str] = {}
    for name, argument, raw in _instructions(file):
        if name == "PROTO":
            output.append(pickle.PROTO + b"\2")
        elif name in _STRINGS:
            output.append(str(argument))
        elif name in _GETS and isinstance(memo.get(argument), str):
            # A string is as good as what the memo has of it, and may then be taken back below.
            output.append(memo[argument])
        elif name == "MEMOIZE":
            last = output[-1]
            memo[len(memo)] = last
            if isinstance(last, bytes):
                output.append(pickle.LONG_BINPUT + struct.pack("<I", len(memo) - 1))
        elif name == "STACK_GLOBAL":
            attribute, module = output.pop(), output.pop()
            if not isinstance(module, str) or not isinstance(attribute, str):
                raise pickle.UnpicklingError("the name of a global is computed")
            if "\n" in module + attribute:
                raise pickle.UnpicklingError("the name of a global has two lines")
            output.append(pickle.GLOBAL + f"{module}\n{attribute}\n".encode())
        elif name != "FRAME":
            output.append(raw)
    return b"".join(part if isinstance(part, bytes) else _push(part) for part in output)


def _instructions(file: io.BytesIO) -> Iterator[tuple[str, Any, bytes]]:
    """The instructions of one pickle: name, argument, bytes; the file is left behind the last."""
    begin = file.tell()
    for opcode, argument, _ in pickletools.genops(file):
        end = file.tell()
        file.seek(begin)
        yield opcode.name, argument, file.read(end - begin)
        begin = end


def _push(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogatepass")
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded
