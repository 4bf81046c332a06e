"""The files of an undamaged model."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, cast

from lenet_cpp.errors import BadInput
from tools.hostile.message import Node, parse_message
from tools.hostile.model import FORMATS, Files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["read_model"]


def read_model(model_dir: Path, model_format: str) -> Files:
    """Read the files of an exported model as ``model_format`` has them.

    Args:
        model_dir: A folder with one NAME.pdmodel, NAME.json and NAME.pdiparams.
        model_format: One of :data:`FORMATS`; ``separate`` is made from the other files.

    Raises:
        BadInput: Unknown format, or the folder does not hold one such model.
    """
    if model_format not in FORMATS:
        raise BadInput(f"unknown format '{model_format}'; choose among {', '.join(FORMATS)}")
    suffix = "json" if model_format == "json" else "pdmodel"
    found = model_dir.glob(f"*.{suffix}")
    programs = [path for path in found if path.with_suffix(".pdiparams").is_file()]
    if len(programs) != 1:
        raise BadInput(f"{model_dir} holds {len(programs)} models NAME.{suffix}; expected one")
    program, params = programs[0], programs[0].with_suffix(".pdiparams")
    if model_format != "separate":
        return {program.name: program.read_bytes(), params.name: params.read_bytes()}
    contents = program.read_bytes()
    names = sorted(_persistable_names(contents))
    return {"__model__": contents, **dict(zip(names, _records(params.read_bytes()), strict=True))}


def _persistable_names(program: bytes) -> Iterator[str]:
    tensor = 7
    for block in parse_message(program, "Program"):
        for part in cast("list[Node]", block.value) if block.kind == "Block" else []:
            if part.kind != "Var":
                continue
            parts = {item.number: item.value for item in cast("list[Node]", part.value)}
            kind = cast("list[Node]", parts[2])[0].value
            if parts.get(3) and kind == tensor:
                yield cast("bytes", parts[1]).decode()


_RECORD_HEADER = struct.Struct("<IQIi")  # version, levels of detail, tensor version, desc size
_BYTES = {2: 4, 5: 4, 21: 1}  # by VarType.Type: int32, float32, int8


def _records(params: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(params):
        *_, size = _RECORD_HEADER.unpack_from(params, at)
        start = at + _RECORD_HEADER.size
        desc = parse_message(params[start : start + size], "TensorDesc")
        count = 1
        for item in desc:
            number = cast("int", item.value)
            count *= _BYTES[number] if item.number == 1 else number
        end = start + size + count
        yield params[at:end]
        at = end
