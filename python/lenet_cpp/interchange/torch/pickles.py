"""What is pickled in PyTorch's files, written in the instructions of pickle's protocol 2.

``torch.load(..., weights_only=True)`` decides what a file may build, and knows no pickle newer than
protocol 3, whereas files are often written with protocol 4 (``torch.save(...,
pickle_protocol=4)``). The instructions are written anew one for one, and never carried out.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
import zipfile
from typing import TYPE_CHECKING, Any

from lenet_cpp.errors import BadModel

if TYPE_CHECKING:
    from pathlib import Path


def readable(path: Path, data: bytes) -> bytes:
    """Return a file, or its equal in the protocol that ``weights_only`` reads.

    Raises:
        BadModel: It is an archive that ``torch.save`` does not make; ``path`` is for the message.
        Exception: It is damaged, in whatever way.
    """
    if data.startswith(b"PK"):
        return _readable_archive(path, data)
    if not _is_newer(data):
        return data
    # The format before PyTorch 1.6: five pickles, and the numbers after them.
    file = io.BytesIO(data)
    return b"".join([*(_protocol_2(file) for _ in range(5)), file.read()])


def _is_newer(pickled: bytes) -> bool:
    return pickled[:1] == pickle.PROTO and pickled[1:2] > b"\2"


def _readable_archive(path: Path, data: bytes) -> bytes:
    copy = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(copy, "w") as rewritten:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise BadModel(
                f"{path} has compressed parts, which torch.save does not make and which could be"
                " of any size: unpack it and save the parameters again"
            )
        if len({entry.filename for entry in entries}) < len(entries):
            raise BadModel(f"{path} is damaged: two of its parts have the same name")
        index = next((e for e in entries if e.filename.endswith("/data.pkl")), None)
        if index is None or not _is_newer(archive.read(index)):
            return data
        for entry in entries:
            part = archive.read(entry)
            if entry is index:
                part = _protocol_2(io.BytesIO(part))
            rewritten.writestr(entry.filename, part)
    return copy.getvalue()


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
