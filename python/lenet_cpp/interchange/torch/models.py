"""The networks of lenet_cpp in PyTorch by name, and the files of their parameters.

Such a file has a ``state_dict``, written by ``torch.save``, or by safetensors, which holds nothing
but numbers. Reading trusts nobody: ``torch.load(..., weights_only=True)`` decides what a file may
build, and it knows no pickle newer than protocol 3, whereas files are often written with protocol 4
(``torch.save(..., pickle_protocol=4)``). So what is pickled in such a file is first written in the
instructions of protocol 2, one for one and without carrying them out.

Importing this module does not import PyTorch; :mod:`lenet_cpp.interchange.torch.state` takes the
parameters from here to Paddle.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from lenet_cpp import models
from lenet_cpp._base.files import atomic_path, other_content, reading
from lenet_cpp._base.frameworks import torch
from lenet_cpp._base.optional import require
from lenet_cpp.errors import BadInput, BadModel, Unsupported
from lenet_cpp.models.specs import is_file_reference, load_from_file

# Where training programs put the parameters beside what else they save.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PARALLEL_PREFIX = "module."  # of torch.nn.DataParallel
_NEWER_PICKLE = re.compile(rb"\x80[\x03-\xff]")
_REFUSED_GLOBAL = re.compile(r"GLOBAL (\S+) (?:was not an allowed|whose module)")


@dataclass(frozen=True)
class TorchNetwork:
    """What is known of a network without building it.

    Attributes:
        name: What it is called here, as in torchvision.
        paddle: The same network's name in :data:`lenet_cpp.models.MODELS`, or its specification.
        builder: What gives the ``torch.nn.Module`` for a number of classes; or its class in
            :mod:`lenet_cpp.interchange.torch.networks`.
        classes: Number of classes by default.
        last: The layer whose outputs are the classes.
    """

    name: str
    paddle: str | models.ModelSpec
    builder: str | Callable[[int], torch.nn.Module]
    classes: int
    last: str

    @property
    def spec(self) -> models.ModelSpec:
        """The same network in Paddle."""
        return models.get(self.paddle) if isinstance(self.paddle, str) else self.paddle


NETWORKS: dict[str, TorchNetwork] = {
    network.name: network
    for network in (
        TorchNetwork("lenet", "lenet", "LeNet", classes=10, last="linear3"),
        # Two classes, as the guide's binary classifier has.
        TorchNetwork("resnet18", "ResNet18", "ResNet18", classes=2, last="fc"),
    )
}


def get(name: str | TorchNetwork) -> TorchNetwork:
    """Look a network up by its name in :data:`NETWORKS`, in upper or lower case.

    It may also be ``FILE.py:NAME``, a :class:`TorchNetwork` in a Python file, which is run; or such
    a network, which is returned.

    Raises:
        BadInput: There is no such network.
        FileNotFound: There is no such file.
    """
    if isinstance(name, TorchNetwork):
        return name
    if is_file_reference(name):
        return load_from_file(name, TorchNetwork)
    if name.lower() not in NETWORKS:
        raise BadInput(
            f"there is no network {name!r} in PyTorch, only {' and '.join(NETWORKS)}, or"
            " FILE.py:NAME, a TorchNetwork of your own"
        )
    return NETWORKS[name.lower()]


def create_network(
    model: str | TorchNetwork, num_classes: int | None = None, *, seed: int | None = None
) -> torch.nn.Module:
    """Build a network, in training mode; :func:`get` finds it.

    ``lenet`` takes float32 [N, 1, 28, 28], ``resnet18`` float32 [N, 3, H, W] with sides of 32 or
    more; both give logits, float32 [N, num_classes]. With a seed the initial parameters are the
    same every time, and the caller's random state stays as it was; without one they are from
    PyTorch's global random state.

    Raises:
        BadInput: There is no such network, or no such number of classes.
        Unsupported: PyTorch is missing or too old.
    """
    network = get(model)
    classes = network.classes if num_classes is None else num_classes
    if classes < 1:
        raise BadInput(f"the number of classes is {classes}; expected 1 or more")
    require_torch()
    builder = network.builder
    if isinstance(builder, str):
        from lenet_cpp.interchange.torch import networks

        builder = getattr(networks, builder)
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        return builder(classes)


def require_torch() -> None:
    """Check that PyTorch is installed, as :func:`.require` does, and that it is new enough.

    Raises:
        Unsupported: It is not installed, or is older than 2.6, whose reader of files can be made
            to run code from a file even when it is told to read nothing but parameters
            (CVE-2025-32434).
    """
    require("torch", extra="torch")
    version = str(torch.__version__)
    if tuple(int(part) for part in version.split(".")[:2]) < (2, 6):
        raise Unsupported(f"PyTorch {version} is too old: pip install 'torch>=2.6'")


def save_state(net: torch.nn.Module, path: str | Path) -> None:
    """Write a network's ``state_dict`` to a file such as ``net.prm``, atomically.

    The network is moved to the processor first, as a file written from elsewhere asks its reader
    for the same kind of device.

    Raises:
        OSError: The file cannot be written; what was there before stays.
        Unsupported: PyTorch is missing or too old.
    """
    require_torch()
    net.cpu()
    with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
        # From a path, torch.save would take the temporary name into the file.
        torch.save(net.state_dict(), file, pickle_protocol=4)


def load_state(path: str | Path, *, weights_only: bool = True) -> dict[str, torch.Tensor]:
    """Read a network's parameters, onto the processor.

    The file is what ``torch.save`` wrote: a ``state_dict``; or a dictionary with one under
    ``state_dict``, ``model_state_dict`` or ``model``. Or it is ``NAME.safetensors``. The
    ``module.`` before every name that ``torch.nn.DataParallel`` makes is taken off. Whatever is not
    a tensor or a plain container is refused. Without ``weights_only`` the file may run any code it
    likes and may hold a whole ``torch.nn.Module``: only for files of your own.

    Raises:
        FileNotFound: There is no such file, or it cannot be read.
        BadModel: The file is damaged, is not one of parameters, or would run code.
        Unsupported: PyTorch is missing or too old, or safetensors is missing for such a file.
    """
    require_torch()
    path = Path(path)
    safe = path.suffix == ".safetensors"
    if safe:
        require("safetensors", extra="torch")
    with reading(path):
        data = path.read_bytes()
    try:
        with warnings.catch_warnings():
            # PyTorch warns about what is refused below, such as sparse tensors.
            warnings.simplefilter("ignore")
            if safe:
                from safetensors.torch import load

                found: object = load(data)
            else:
                file = io.BytesIO(_readable(path, data) if weights_only else data)
                found = torch.load(file, map_location="cpu", weights_only=weights_only)
    except BadModel:
        raise
    except Exception as error:
        raise BadModel(f"{path} cannot be read: {_reason(path, error)}") from error
    if isinstance(found, torch.nn.Module):
        found = found.state_dict()
    return _state(path, found)


def as_arrays(state: Mapping[str, torch.Tensor]) -> dict[str, NDArray[Any]]:
    """Return the tensors as arrays; those of 16 bits widened to float32, which is exact."""
    return {key: _widened(value).numpy() for key, value in state.items()}


def _widened(value: torch.Tensor) -> torch.Tensor:
    return value.float() if value.is_floating_point() and value.itemsize == 2 else value


def _reason(path: Path, error: Exception) -> str:
    """Return in one line what PyTorch says in many."""
    text = " ".join(str(error).split())
    other = other_content(path, "torch")
    found = _REFUSED_GLOBAL.search(text)
    # Paddle pickles arrays of NumPy: then the message is that the file is another framework's.
    of_paddle = other and found and found[1].startswith("numpy")
    if found and not of_paddle:
        return (
            f"it asks for {found[1]}, which is more than parameters and could run code; save"
            " net.state_dict() alone"
        )
    detail = text.rpartition("trusted source.")[2].partition("Check the documentation")[0]
    return other or f"it is damaged or is no file of parameters ({detail.strip()[:200]})"


def _state(path: Path, found: object) -> dict[str, torch.Tensor]:
    """Return the state dict that a file holds, on its own or in a dictionary."""
    state = _unwrapped(found)
    if not isinstance(state, dict) or not state:
        raise BadModel(f"{path} does not hold a state_dict but a {type(state).__name__}")
    for key, value in state.items():
        _check_entry(path, key, value)
    parallel = all(key.startswith(_PARALLEL_PREFIX) for key in state)
    prefix = _PARALLEL_PREFIX if parallel else ""
    return {key.removeprefix(prefix): value.detach() for key, value in state.items()}


def _unwrapped(found: object) -> object:
    """Return the dictionary under one of the usual keys, if there is one."""
    if isinstance(found, dict):
        for key in _WRAPPERS:
            if isinstance(found.get(key), dict):
                return found[key]
    return found


def _check_entry(path: Path, key: object, value: object) -> None:
    """Refuse an entry of a state dict that is not a name with a plain tensor."""
    if not isinstance(key, str) or not isinstance(value, torch.Tensor):
        raise BadModel(f"{path} is not a state_dict: {key!r:.100} is a {type(value).__name__}")
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
        raise BadModel(f"{path}: {key} is not a plain tensor: save a network in float32")
    if value.untyped_storage().nbytes() < value.numel() * value.element_size():
        raise BadModel(f"{path}: {key} claims {list(value.shape)} but holds fewer values")


def _readable(path: Path, data: bytes) -> bytes:
    """Return a file, or its equal in the protocol of pickle that ``weights_only`` reads."""
    if data.startswith(b"PK"):
        return _readable_archive(path, data)
    if not _NEWER_PICKLE.match(data):
        return data
    # The format before PyTorch 1.6: five pickles, and the numbers after them.
    file = io.BytesIO(data)
    return b"".join([*(_protocol_2(file) for _ in range(5)), file.read()])


def _readable_archive(path: Path, data: bytes) -> bytes:
    copy = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(copy, "w") as rewritten:
        entries = archive.infolist()
        _check_archive(path, entries, len(data))
        index = next((e for e in entries if e.filename.endswith("/data.pkl")), None)
        if index is None or not _NEWER_PICKLE.match(archive.read(index)):
            return data
        for entry in entries:
            part = archive.read(entry)
            if entry is index:
                part = _protocol_2(io.BytesIO(part))
            rewritten.writestr(entry.filename, part)
    return copy.getvalue()


def _check_archive(path: Path, entries: Sequence[zipfile.ZipInfo], size: int) -> None:
    """Refuse an archive that could unpack to more than the ``size`` of the file."""
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise BadModel(
            f"{path} has compressed parts, which torch.save does not make and which could be"
            " of any size: unpack it and save the parameters again"
        )
    if sum(entry.file_size for entry in entries) > size:
        raise BadModel(f"{path} is damaged: its parts are together larger than the file")
    if len({entry.filename for entry in entries}) < len(entries):
        raise BadModel(f"{path} is damaged: two of its parts have the same name")


def _protocol_2(file: io.BytesIO) -> bytes:
    """Read one pickle, and return its equal; the file is left behind its last instruction.

    Instructions that have no equal there stay, and PyTorch refuses them.
    """
    output: list[bytes | str] = []  # text stands for the instruction that pushes it
    memo: dict[Any, bytes | str] = {}
    begin, data = file.tell(), file.getvalue()
    for opcode, argument, _ in pickletools.genops(file):
        raw, begin = data[begin : file.tell()], file.tell()
        name = opcode.name
        if name == "PROTO":
            output.append(pickle.PROTO + b"\2")
        elif name in {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}:
            output.append(str(argument))
        elif name in {"BINGET", "LONG_BINGET"} and isinstance(memo.get(argument), str):
            # A string is as good as what the memo has of it, and may then be taken back below.
            output.append(memo[argument])
        elif name == "MEMOIZE":
            memo[len(memo)] = output[-1]
            if isinstance(output[-1], bytes):
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


def _push(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogatepass")
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded
