"""The encoding of protocol buffers: writing fields, and a program as a tree to change."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MESSAGES: dict[str, dict[int, str]] = {
    "Program": {1: "Block", 4: "Version", 5: "OpVersionMap"},
    "Block": {3: "Var", 4: "Op"},
    "Var": {2: "VarType"},
    "VarType": {3: "DenseTensor"},
    "DenseTensor": {1: "TensorDesc"},
    "Op": {1: "OpVar", 2: "OpVar", 4: "Attr"},
    "OpVersionMap": {1: "OpVersionPair"},
    "OpVersionPair": {2: "Version"},
}
"""The fields of framework.proto that are messages, by the message they are in."""


def varint(value: int) -> bytes:
    """Encode a number; a negative one as 64 bits."""
    value &= (1 << 64) - 1
    result = bytearray()
    while value >= 0x80:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*result, value])


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Read the number at a place; return it and the place after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def field(number: int, value: float | str | bytes) -> bytes:
    """Write one field: an integer, a float32, or text, bytes or a message."""
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def fields(number: int, values: Iterable[float | str | bytes]) -> bytes:
    """Write a repeated field."""
    return b"".join(field(number, value) for value in values)


@dataclass
class Node:
    """One field of a message: a number, bytes, or the fields of a message within."""

    number: int
    wire: int
    value: int | bytes | list[Node]
    kind: str = ""


def parse_message(data: bytes, kind: str) -> list[Node]:
    """Parse an undamaged message of framework.proto into its fields."""
    nodes, at = [], 0
    while at < len(data):
        key, at = read_varint(data, at)
        number, wire = key >> 3, key & 7
        value: int | bytes | list[Node]
        inner = ""
        if wire == 0:
            value, at = read_varint(data, at)
        else:
            size, at = read_varint(data, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
            value, at = data[at : at + size], at + size
            inner = MESSAGES.get(kind, {}).get(number, "") if wire == 2 else ""
            if inner:
                value = parse_message(value, inner)
        nodes.append(Node(number, wire, value, inner))
    return nodes


def serialize(nodes: list[Node]) -> bytes:
    """Write fields as a message."""
    result = bytearray()
    for node in nodes:
        result += varint(node.number << 3 | node.wire)
        if isinstance(node.value, int):
            result += varint(node.value)
            continue
        contents = node.value if isinstance(node.value, bytes) else serialize(node.value)
        result += varint(len(contents)) + contents if node.wire == 2 else contents
    return bytes(result)
