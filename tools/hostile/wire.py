"""The encoding of protocol buffers: writing fields, and a program as a tree to change."""

import struct
from dataclasses import dataclass

MESSAGES = {
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


def varint(value):
    """Encode a number; a negative one as 64 bits."""
    value &= (1 << 64) - 1
    result = bytearray()
    while value >= 0x80:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*result, value])


def read_varint(data, at):
    """Read the number at a place; return it and the place after it."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def field(number, value):
    """Write one field: an integer, a float32, or text, bytes or a message."""
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def fields(number, values):
    """Write a repeated field."""
    return b"".join(field(number, value) for value in values)


@dataclass
class Node:
    """One field of a message: a number, bytes, or the fields of a message within.

    ``length`` is where it says its length, from and to, and the length.
    """

    number: int
    wire: int
    value: int | bytes | list
    kind: str = ""
    length: tuple[int, int, int] = (0, 0, 0)


def parse_message(data, kind, at=0, end=None):
    """Parse an undamaged message of framework.proto, or a part of one, into its fields."""
    nodes, end = [], len(data) if end is None else end
    while at < end:
        key, at = read_varint(data, at)
        node = Node(key >> 3, key & 7, b"")
        if node.wire == 0:
            node.value, at = read_varint(data, at)
        else:
            size, start = read_varint(data, at) if node.wire == 2 else ({1: 8, 5: 4}[node.wire], at)
            node.length, at, node.value = (
                (at, start, size),
                start + size,
                data[start : start + size],
            )
            if node.wire == 2 and node.number in MESSAGES.get(kind, {}):
                node.kind = MESSAGES[kind][node.number]
                node.value = parse_message(data, node.kind, start, at)
        nodes.append(node)
    return nodes


def serialize(nodes):
    """Write fields as a message."""
    result = bytearray()
    for node in nodes:
        value = serialize(node.value) if isinstance(node.value, list) else node.value
        if isinstance(value, int):
            value = varint(value)
        elif node.wire == 2:
            value = varint(len(value)) + value
        result += varint(node.number << 3 | node.wire) + value
    return bytes(result)
