"""Damage a model by changes to the bytes of a file, and to the structure of a program.

A mutant is named by the format of its model, a seed and an index, and is made the same each time.
A change takes the file to change, another one, and what chooses.
"""

import json
import random
import re
import struct
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from tools.hostile.models import parse_message, serialize, varint


class Mutant(NamedTuple):
    """A changed model."""

    name: str  # by which it is made again: format/seed/index
    change: str  # such as ``lenet.json: set number``
    files: dict[str, bytes]  # by name; the program is the first


_SMALL = [0, 1, 2, 3, 7, 16, 63, 127, 128, 255, 256, 1000, 65535, 10**6]
_LARGE = [(1 << bits) + less for bits in (31, 32, 33, 40, 62, 63) for less in (-1, 0)]
_NEGATIVE = [-1, -2, -5, -128, -(1 << 31), -(1 << 32), -(1 << 62), -(1 << 63)]
_LIMITS = _SMALL + _LARGE + _NEGATIVE
_ACTIONS = ("set", "set", "set", "set", "remove", "repeat", "swap", "copy", "move")
_JSON_ACTIONS = ("set", "set", "set", "alike", "alike", "remove", "repeat", "swap", "type")
_LENGTH_DELIMITED = 2  # the wire type of bytes, texts and messages


def _other_number(value, rng):
    flipped = value ^ 1 << rng.randrange(32)
    near = [value + 1, value - 1, value * 2, -value, value // 2, flipped]
    small = [rng.randrange(-4, 40) for _time in range(12)]
    return rng.choice([*_LIMITS, *near, *small])


def _span(data, rng):
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.choice([1, 2, 4, 8, 30, 200, 2000, len(data)]))


def _flip_bits(data, _, rng):
    result = bytearray(data)
    for _time in range(rng.choice([1, 1, 1, 2, 4, 16])):
        result[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(result)


def _change_bytes(data, _, rng):
    result = bytearray(data)
    for _time in range(rng.choice([1, 1, 1, 2, 4, 16])):
        result[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(result)


def _remove(data, _, rng):
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def _insert(data, _, rng):
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.choice([1, 2, 4, 8, 100])) + data[at:]


def _repeat(data, _, rng):
    start, end = _span(data, rng)
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[start:end] + data[at:]


def _overwrite(data, other, rng):
    start, end = _span(other, rng)
    at = rng.randrange(len(data))
    return data[:at] + other[start:end] + data[at + end - start :]


def _set_integer(data, _, rng):
    code, size = rng.choice([("<i", 4), ("<q", 8)])
    if len(data) < size:
        return data[:-1]
    at = rng.randrange(min(len(data), rng.choice([32, len(data)])) - size + 1)
    value = _other_number(struct.unpack_from(code, data, at)[0], rng)
    half = 1 << (8 * size - 1)
    return data[:at] + struct.pack(code, (value + half) % (2 * half) - half) + data[at + size :]


def _choose_node(nodes, rng):
    """Choose a field, with the same odds for each kind of field at every level."""
    while True:
        number = rng.choice(sorted({node.number for node in nodes}))
        at = rng.choice([i for i, node in enumerate(nodes) if node.number == number])
        inner = nodes[at].value
        if not isinstance(inner, list) or not inner or rng.random() < 0.08:
            return nodes, at
        nodes = inner


def _nodes(nodes):
    for node in nodes:
        yield node
        yield from _nodes(node.value) if isinstance(node.value, list) else ()


def _change_fields(kind, data, _, rng):
    root = parse_message(data, kind)
    for _time in range(rng.choice([1, 1, 1, 2, 3])):
        _change_field(root, rng)
    return serialize(root)


def _change_field(root, rng):
    siblings, at = _choose_node(root, rng)
    node = siblings[at]
    other_siblings, other = _choose_node(root, rng)
    action = rng.choice(_ACTIONS)
    if action == "remove":
        del siblings[at]
    elif action == "repeat":
        siblings.insert(rng.randrange(len(siblings) + 1), deepcopy(node))
    elif action == "swap":
        partner = rng.choice([item for item in siblings if item.wire == node.wire])
        node.value, partner.value = partner.value, node.value
    elif action == "copy":
        siblings[at] = replace(deepcopy(other_siblings[other]), number=node.number)
    elif action == "move":
        siblings[at], siblings[at - 1] = siblings[at - 1], siblings[at]
    else:
        _set_field(node, root, rng)


def _set_field(node, root, rng):
    """Set another value; a field that is a message gets another number."""
    if isinstance(node.value, int):
        node.value = _other_number(node.value if node.value < 1 << 63 else -1, rng)
    elif isinstance(node.value, bytes):
        values = [each.value for each in _nodes(root) if each.wire == node.wire]
        alike = [value for value in values if not isinstance(value, list)]
        changed = _flip_bits(node.value, b"", rng) if node.value else b"\0"
        choices = [rng.choice(alike), changed, node.value[:-1], b""]
        same_size = choices[:2]
        node.value = rng.choice(choices if node.wire == _LENGTH_DELIMITED else same_size)
    else:
        node.number = rng.randrange(1, 22)


def _set_length(kind, data, _, rng):
    """Change the length of one field and leave everything else as it is."""
    every = _nodes(parse_message(data, kind))
    start, end, size = rng.choice([node.length for node in every if node.wire == _LENGTH_DELIMITED])
    return data[:start] + varint(_other_number(size, rng)) + data[end:]


def _json_places(value):
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _json_places(value[key])


def _change_json(data, _, rng):
    root = json.loads(data)
    for _time in range(rng.choice([1, 1, 1, 2, 3])):
        places = list(_json_places(root))
        leaves = [(box, key) for box, key in places if not isinstance(box[key], (dict, list))]
        _change_json_value(*rng.choice(leaves if rng.random() < 0.6 else places), places, rng)
    return json.dumps(root, separators=(",", ":")).encode()


def _change_json_value(box, key, places, rng):
    """Change the value of a key of an object, or of a place of a list."""
    old = box[key]
    other_box, other_key = rng.choice(places)
    action = rng.choice(_JSON_ACTIONS)
    if action == "remove":
        del box[key]
    elif action == "repeat" and isinstance(box, list):
        box.insert(rng.randrange(len(box) + 1), old)
    elif action == "swap":
        other_box[other_key], box[key] = _json_copy([old, other_box[other_key]])
    elif action == "type":
        box[key] = rng.choice([None, True, 0, -1, 1e300, 0.5, "", "x", [], {}, [[]], "a" * 5000])
    elif action == "set" and isinstance(old, (int, float, str)):
        box[key] = _other_json_value(old, rng)
    else:
        values = [each_box[each_key] for each_box, each_key in places]
        alike = [value for value in values if type(value) is type(old)]
        box[key] = _json_copy(rng.choice(alike))


def _other_json_value(old, rng):
    if isinstance(old, bool):
        return not old
    if isinstance(old, int):
        return _other_number(old, rng)
    if isinstance(old, float):
        return rng.choice([0.0, -old, 1e39, 1e-45, -1.0])
    return rng.choice([old[:-1], old + "x", "", old[::-1], old.swapcase(), "\0", "é"])


def _json_copy(value):
    return json.loads(json.dumps(value))


def _set_json_number(data, _, rng):
    """Change the digits of one number and leave everything else as it is."""
    number = rng.choice(list(re.finditer(rb"(?<=[\[,:])[-0-9]+", data)))
    text = str(_other_number(int(number[0]), rng))
    wild = ["1e400", "-", "1e5", "0.5", "99999999999999999999", "NaN", "-0"]
    text = text if rng.random() < 0.8 else rng.choice(wild)
    return data[: number.start()] + text.encode() + data[number.end() :]


BYTES = {
    "flip bits": _flip_bits,
    "change bytes": _change_bytes,
    "truncate": lambda data, _, rng: data[: rng.randrange(len(data))],
    "remove": _remove,
    "insert": _insert,
    "repeat": _repeat,
    "overwrite": _overwrite,
    "splice": lambda a, b, rng: a[: rng.randrange(len(a))] + b[rng.randrange(len(b)) :],
    "set integer": _set_integer,
}
JSON = {"change value": _change_json, "set number": _set_json_number}


def _protobuf(kind):
    return {"change field": partial(_change_fields, kind), "set length": partial(_set_length, kind)}


STRUCTURE = {
    "pdmodel": _protobuf("Program"),
    "json": JSON,
    "separate": _protobuf("Program"),
    "onnx": _protobuf("OnnxModel"),
}


def make_mutant(files, model_format, seed, index):
    """Make one mutant; the same arguments give the same.

    Half of the mutants have a change in the structure of the program (fields of the protocol
    buffer, values of the JSON), the others a change of bytes in the program or in the parameters.
    """
    title = f"{model_format}/{seed}/{index}"
    rng = random.Random(title)
    program, *others = files
    if rng.random() < 0.5:
        target, changes = program, STRUCTURE[model_format]
        name = rng.choice([*changes, next(iter(changes))])
    else:
        target, changes = rng.choice([program, rng.choice(others or [program])]), BYTES
        name = rng.choice([*changes])
    other = files[rng.choice([*files])]
    changed = {**files, target: changes[name](files[target], other, rng)}
    return Mutant(title, f"{target}: {name}", changed)
