"""Damaged and hostile variants of a model, made from seeds and run in child processes.

A mutant is named by the format of its model, a seed and an index, and is made the same each time.
Thread-safety: the functions may be called from any thread; a :class:`Workshop` from one at a time.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias, cast

from lenet_cpp.errors import BadInput, BadModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

__all__ = [
    "ACCELERATORS",
    "FORMATS",
    "Mutant",
    "Outcome",
    "Workshop",
    "make_mutant",
    "read_model",
    "survey",
    "tabulate_outcomes",
]

FORMATS = ("pdmodel", "json", "separate")
ACCELERATORS: dict[str, tuple[str, ...]] = {
    "pdmodel": ("plain", "onednn", "openvino"),
    "json": ("plain", "onednn"),
    "separate": ("plain", "onednn"),
}
"""What can run each format."""

Files = dict[str, bytes]
"""The files of a model by name; the program is the first."""

_DEFAULT_TIMEOUT = 10.0
_DEFAULT_MEMORY = 4 << 30
_TRIES_PER_CHILD = 200  # Paddle does not give back all that a load takes


@dataclass(frozen=True)
class Mutant:
    """A changed model.

    Attributes:
        format: One of :data:`FORMATS`.
        seed: Seed of the series.
        index: Place in the series.
        changes: What was done, such as ``lenet.json: set number``.
        files: The contents by name; the program is the first.
    """

    format: str
    seed: int
    index: int
    changes: tuple[str, ...]
    files: Files

    @property
    def name(self) -> str:
        """How to ask for it again: ``format/seed/index``."""
        return f"{self.format}/{self.seed}/{self.index}"


@dataclass(frozen=True)
class Outcome:
    """What happened to a mutant.

    Attributes:
        kind: ``refused`` (a typed error), ``equal`` (output bit-identical to the original's),
            ``different`` (other output, or non-finite), or ``killed`` (the child died or hung).
        detail: The class of the error, ``finite`` or ``non-finite``, the signal, or ``timeout``.
        message: The error's message, or the end of what the child wrote to stderr.
        accelerator: The one it happened with.
    """

    kind: str
    detail: str = ""
    message: str = ""
    accelerator: str = ""


# ---- reading models -------------------------------------------------------------------------


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
_FLOAT_BYTES = 4


def _records(params: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(params):
        *_, size = _RECORD_HEADER.unpack_from(params, at)
        start = at + _RECORD_HEADER.size
        desc = parse_message(params[start : start + size], "TensorDesc")
        count = 1
        for item in desc:
            count *= cast("int", item.value) if item.number == 2 else 1
        end = start + size + count * _FLOAT_BYTES
        yield params[at:end]
        at = end


# ---- the protocol buffer encoding -----------------------------------------------------------

# The fields of framework.proto that are messages, by the message they are in.
_MESSAGES: dict[str, dict[int, str]] = {
    "Program": {1: "Block", 4: "Version", 5: "OpVersionMap"},
    "Block": {3: "Var", 4: "Op"},
    "Var": {2: "VarType"},
    "VarType": {3: "DenseTensor"},
    "DenseTensor": {1: "TensorDesc"},
    "Op": {1: "OpVar", 2: "OpVar", 4: "Attr"},
    "OpVersionMap": {1: "OpVersionPair"},
    "OpVersionPair": {2: "Version"},
}


@dataclass
class Node:
    """One field of a message: a number, bytes, or the fields of a message within."""

    number: int
    wire: int
    value: int | bytes | list[Node]
    kind: str = ""


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    result = bytearray()
    while value >= 0x80:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*result, value])


def parse_message(data: bytes, kind: str) -> list[Node]:
    """Parse an undamaged message of framework.proto into its fields."""
    nodes, at = [], 0
    while at < len(data):
        key, at = _read_varint(data, at)
        number, wire = key >> 3, key & 7
        value: int | bytes | list[Node]
        inner = ""
        if wire == 0:
            value, at = _read_varint(data, at)
        else:
            size, at = _read_varint(data, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
            value, at = data[at : at + size], at + size
            inner = _MESSAGES.get(kind, {}).get(number, "") if wire == 2 else ""
            if inner:
                value = parse_message(value, inner)
        nodes.append(Node(number, wire, value, inner))
    return nodes


def serialize(nodes: list[Node]) -> bytes:
    """Write fields as a message."""
    result = bytearray()
    for node in nodes:
        result += _varint(node.number << 3 | node.wire)
        if isinstance(node.value, int):
            result += _varint(node.value)
            continue
        contents = node.value if isinstance(node.value, bytes) else serialize(node.value)
        result += _varint(len(contents)) + contents if node.wire == 2 else contents
    return bytes(result)


# ---- changes to any file --------------------------------------------------------------------

_LIMITS = [
    *(0, 1, 2, 3, 7, 16, 63, 127, 128, 255, 256, 1000, 65535, 10**6),
    *((1 << bits) + less for bits in (31, 32, 33, 40, 62, 63) for less in (-1, 0)),
    *(-1, -2, -5, -128, -(1 << 31), -(1 << 32), -(1 << 62), -(1 << 63)),
]


def _other_number(value: int, rng: random.Random) -> int:
    near = [value + 1, value - 1, value * 2, -value, value // 2, value ^ 1 << rng.randrange(32)]
    return rng.choice([*_LIMITS, *near, *(rng.randrange(-4, 40) for _time in range(12))])


def _span(data: bytes, rng: random.Random) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(len(data), start + rng.choice([1, 2, 4, 8, 30, 200, 2000, len(data)]))


def _flip_bits(data: bytes, _: bytes, rng: random.Random) -> bytes:
    result = bytearray(data)
    for _time in range(rng.choice([1, 1, 1, 2, 4, 16])):
        result[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(result)


def _change_bytes(data: bytes, _: bytes, rng: random.Random) -> bytes:
    result = bytearray(data)
    for _time in range(rng.choice([1, 1, 1, 2, 4, 16])):
        result[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(result)


def _truncate(data: bytes, _: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _remove(data: bytes, _: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def _insert(data: bytes, _: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.randbytes(rng.choice([1, 2, 4, 8, 100])) + data[at:]


def _repeat(data: bytes, _: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    at = rng.randrange(len(data) + 1)
    return data[:at] + data[start:end] + data[at:]


def _overwrite(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start, end = _span(other, rng)
    at = rng.randrange(len(data))
    return data[:at] + other[start:end] + data[at + end - start :]


def _splice(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def _set_integer(data: bytes, _: bytes, rng: random.Random) -> bytes:
    code, size = rng.choice([("<i", 4), ("<q", 8)])
    if len(data) < size:
        return data[:-1]
    at = rng.randrange(min(len(data), rng.choice([32, len(data)])) - size + 1)
    value = _other_number(struct.unpack_from(code, data, at)[0], rng)
    half = 1 << (8 * size - 1)
    return data[:at] + struct.pack(code, (value + half) % (2 * half) - half) + data[at + size :]


# ---- changes to the structure of a program --------------------------------------------------


def _choose_node(nodes: list[Node], rng: random.Random) -> tuple[list[Node], int]:
    """Choose a field, with the same odds for each kind of field at every level."""
    while True:
        number = rng.choice(sorted({node.number for node in nodes}))
        at = rng.choice([i for i, node in enumerate(nodes) if node.number == number])
        inner = nodes[at].value
        if not isinstance(inner, list) or not inner or rng.random() < 0.08:
            return nodes, at
        nodes = inner


def _leaves(nodes: list[Node]) -> Iterator[Node]:
    for node in nodes:
        if isinstance(node.value, list):
            yield from _leaves(node.value)
        else:
            yield node


def _change_fields(data: bytes, _: bytes, rng: random.Random) -> bytes:
    root = parse_message(data, "Program")
    for _time in range(rng.choice([1, 1, 1, 2, 3])):
        _change_field(root, rng)
    return serialize(root)


def _change_field(root: list[Node], rng: random.Random) -> None:
    siblings, at = _choose_node(root, rng)
    node = siblings[at]
    other_siblings, other = _choose_node(root, rng)
    action = rng.choice(["set", "set", "set", "set", "remove", "repeat", "swap", "copy", "move"])
    if action == "remove":
        del siblings[at]
    elif action == "repeat":
        siblings.insert(rng.randrange(len(siblings) + 1), deepcopy(node))
    elif action == "swap":
        same = [i for i, item in enumerate(siblings) if item.wire == node.wire]
        to = rng.choice(same)
        siblings[at].value, siblings[to].value = siblings[to].value, siblings[at].value
    elif action == "copy":
        siblings[at] = replace(deepcopy(other_siblings[other]), number=node.number)
    elif action == "move":
        siblings[at], siblings[at - 1] = siblings[at - 1], siblings[at]
    elif isinstance(node.value, int):
        node.value = _other_number(node.value if node.value < 1 << 63 else -1, rng)
    elif isinstance(node.value, bytes):
        alike = [leaf.value for leaf in _leaves(root) if leaf.wire == node.wire]
        changed = _flip_bits(node.value, b"", rng) if node.value else b"\0"
        choices = [cast("bytes", rng.choice(alike)), changed, node.value[:-1], b""]
        node.value = rng.choice(choices if node.wire == 2 else choices[:2])
    else:
        node.number = rng.randrange(1, 22)


def _set_length(data: bytes, _: bytes, rng: random.Random) -> bytes:
    """Change the length of one field and leave everything else as it is."""
    places: list[tuple[int, int, int]] = []

    def walk(start: int, end: int, kind: str) -> None:
        at = start
        while at < end:
            key, at = _read_varint(data, at)
            if key & 7 != 2:
                at = _read_varint(data, at)[1] if key & 7 == 0 else at + {1: 8, 5: 4}[key & 7]
                continue
            size, after = _read_varint(data, at)
            places.append((at, after, size))
            inner = _MESSAGES.get(kind, {}).get(key >> 3, "")
            if inner:
                walk(after, after + size, inner)
            at = after + size

    walk(0, len(data), "Program")
    start, end, size = rng.choice(places)
    return data[:start] + _varint(_other_number(size, rng)) + data[end:]


def _json_places(value: object) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield value, key
            yield from _json_places(item)
    elif isinstance(value, list):
        for key, item in enumerate(value):
            yield value, key
            yield from _json_places(item)


def _change_json(data: bytes, _: bytes, rng: random.Random) -> bytes:
    root = json.loads(data)
    for _time in range(rng.choice([1, 1, 1, 2, 3])):
        places = list(_json_places(root))
        leaves = [(box, key) for box, key in places if not isinstance(box[key], (dict, list))]
        _change_json_value(*rng.choice(leaves if rng.random() < 0.6 else places), places, rng)
    return json.dumps(root, separators=(",", ":")).encode()


def _change_json_value(
    box: Any,
    key: Any,
    places: list[tuple[Any, Any]],
    rng: random.Random,
) -> None:
    old = box[key]
    other_box, other_key = rng.choice(places)
    alike = [a[b] for a, b in places if type(a[b]) is type(old)]
    action = rng.choice(["set", "set", "set", "alike", "alike", "remove", "repeat", "swap", "type"])
    if action == "remove":
        del box[key]
    elif action == "repeat" and isinstance(box, list):
        box.insert(rng.randrange(len(box) + 1), old)
    elif action == "swap":
        copy = json.loads(json.dumps([old, other_box[other_key]]))
        other_box[other_key], box[key] = copy
    elif action == "type":
        box[key] = rng.choice([None, True, 0, -1, 1e300, 0.5, "", "x", [], {}, [[]], "a" * 5000])
    elif action == "set" and isinstance(old, bool):
        box[key] = not old
    elif action == "set" and isinstance(old, int):
        box[key] = _other_number(old, rng)
    elif action == "set" and isinstance(old, float):
        box[key] = rng.choice([0.0, -old, 1e39, 1e-45, -1.0])
    elif action == "set" and isinstance(old, str):
        box[key] = rng.choice([old[:-1], old + "x", "", old[::-1], old.swapcase(), "\0", "é"])
    else:
        box[key] = json.loads(json.dumps(rng.choice(alike)))


_NUMBER_BYTES = b"-0123456789"


def _set_json_number(data: bytes, _: bytes, rng: random.Random) -> bytes:
    """Change the digits of one number and leave everything else as it is."""
    starts = [
        at
        for at in range(1, len(data))
        if data[at] in _NUMBER_BYTES and data[at - 1 : at] in (b"[", b",", b":")
    ]
    start = end = rng.choice(starts)
    while data[end] in _NUMBER_BYTES:
        end += 1
    text = str(_other_number(int(data[start:end]), rng))
    wild = ["1e400", "-", "1e5", "0.5", "99999999999999999999", "NaN", "-0"]
    text = text if rng.random() < 0.8 else rng.choice(wild)
    return data[:start] + text.encode() + data[end:]


Change: TypeAlias = "Callable[[bytes, bytes, random.Random], bytes]"

_ANY: dict[str, Change] = {
    "flip bits": _flip_bits,
    "change bytes": _change_bytes,
    "truncate": _truncate,
    "remove": _remove,
    "insert": _insert,
    "repeat": _repeat,
    "overwrite": _overwrite,
    "splice": _splice,
    "set integer": _set_integer,
}
_PROTOBUF: dict[str, Change] = {"change field": _change_fields, "set length": _set_length}
_JSON: dict[str, Change] = {"change value": _change_json, "set number": _set_json_number}


def make_mutant(files: Mapping[str, bytes], model_format: str, seed: int, index: int) -> Mutant:
    """Make one mutant; the same arguments give the same.

    Half of the mutants have a change in the structure of the program (fields of the protocol
    buffer, values of the JSON), the others a change of bytes in the program or in the parameters.

    Args:
        files: As :func:`read_model` gives them.
        model_format: One of :data:`FORMATS`.
        seed: Seed of the series.
        index: Place in the series.
    """
    rng = random.Random(f"{model_format}/{seed}/{index}")  # noqa: S311 - nothing secret
    changed = dict(files)
    program, *others = files
    if rng.random() < 0.5:
        target, changes = program, _JSON if model_format == "json" else _PROTOBUF
        name = rng.choice([*changes, next(iter(changes))])
    else:
        target, changes = rng.choice([program, rng.choice(others)]), _ANY
        name = rng.choice([*changes])
    other = files[rng.choice([*files])]
    changed[target] = changes[name](files[target], other, rng)
    return Mutant(model_format, seed, index, (f"{target}: {name}",), changed)


# ---- running them ---------------------------------------------------------------------------


class Workshop:
    """Loads and runs mutants in a child process, which is replaced when one kills it."""

    def __init__(
        self,
        *,
        timeout: float = _DEFAULT_TIMEOUT,
        memory_limit: int = _DEFAULT_MEMORY,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            timeout: Seconds that one mutant may take with one accelerator.
            memory_limit: Bytes of address space of the child.
            environment: Variables of the child; by default nearly none.
        """
        self._timeout = timeout
        self._memory_limit = memory_limit
        self._environment = dict(environment or {})
        self._folder = tempfile.TemporaryDirectory(prefix="lenet-mutants-")
        self._child: subprocess.Popen[bytes] | None = None
        self._tries = 0

    def __enter__(self) -> Self:
        """Return the workshop itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the child and remove the files."""
        self.close()

    def close(self) -> None:
        """End the child and remove the files."""
        self._end()
        self._folder.cleanup()

    def try_out(self, mutant: Mutant, original: Files, accelerators: Sequence[str]) -> Outcome:
        """Load and run a mutant with each accelerator until one refuses it or dies.

        A mutant that kills a child which others ran in before is tried again in a new one; when
        it does not kill that, ``message`` says so.
        """
        outcome = Outcome("equal")
        for accelerator in accelerators:
            found = self._try_one(mutant, original, accelerator)
            if found.kind in ("killed", "refused"):
                return found
            if found.kind == "different":
                outcome = found
        return outcome

    def _try_one(self, mutant: Mutant, original: Files, accelerator: str) -> Outcome:
        self._tries += 1
        if self._tries > _TRIES_PER_CHILD:
            self._end()
        fresh = self._child is None
        found = self._ask(mutant, original, accelerator)
        if found.kind == "killed" and not fresh and found.detail != "timeout":
            again = self._ask(mutant, original, accelerator)
            if again.kind == "killed":
                return again
            return replace(found, message=f"(not when alone) {found.message}")
        return found

    def _ask(self, mutant: Mutant, original: Files, accelerator: str) -> Outcome:
        request = {"accelerator": accelerator}
        for key, files in (("original", original), ("model", mutant.files)):
            folder = Path(self._folder.name) / f"{mutant.format}-{key}"
            if key == "model" or not folder.is_dir():
                folder.mkdir(exist_ok=True)
                for name, contents in files.items():
                    (folder / name).write_bytes(contents)
            request[key] = str(folder / next(iter(files)))
        child = self._child or self._start()
        stdin, stdout = _pipes(child)
        with suppress(BrokenPipeError):  # as when it dies later
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.flush()
        line = b""
        deadline = time.monotonic() + self._timeout
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([stdout], [], [], left)[0]:
                self._end()
                return Outcome("killed", "timeout", accelerator=accelerator)
            part = os.read(stdout.fileno(), 65536)
            if not part:
                return self._bury(child, accelerator)
            line += part
        answer = json.loads(line)
        return Outcome(answer["kind"], answer["detail"], answer["message"], accelerator)

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "lenet_cpp._mutant_worker", str(self._memory_limit)]
        path = str(Path(__file__).parents[1])
        self._tries = 1
        self._errors = (Path(self._folder.name) / "stderr").open("wb")
        self._child = subprocess.Popen(  # noqa: S603 - our own module
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={"PYTHONPATH": path, "OMP_NUM_THREADS": "1", **self._environment},
            cwd=self._folder.name,
        )
        return self._child

    def _bury(self, child: subprocess.Popen[bytes], accelerator: str) -> Outcome:
        code = child.wait()
        detail = signal.Signals(-code).name if code < 0 else f"exit {code}"
        self._end()
        message = (Path(self._folder.name) / "stderr").read_text(errors="replace")[-3000:]
        return Outcome("killed", detail, message, accelerator)

    def _end(self) -> None:
        if self._child is None:
            return
        child, self._child = self._child, None
        child.kill()
        child.wait()
        for pipe in _pipes(child):
            with suppress(BrokenPipeError):
                pipe.close()
        self._errors.close()


def _pipes(child: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    return cast("IO[bytes]", child.stdin), cast("IO[bytes]", child.stdout)


@dataclass
class Tally:
    """The outcomes of one format.

    Attributes:
        format: One of :data:`FORMATS`.
        outcomes: How many there were of each kind.
        details: How many of each kind and detail.
        killers: The mutants that killed the child, and how.
    """

    format: str
    outcomes: Counter[str] = field(default_factory=Counter)
    details: Counter[tuple[str, str]] = field(default_factory=Counter)
    killers: list[tuple[Mutant, Outcome]] = field(default_factory=list)

    def add(self, mutant: Mutant, outcome: Outcome) -> None:
        """Count one outcome."""
        self.outcomes[outcome.kind] += 1
        self.details[outcome.kind, outcome.detail] += 1
        if outcome.kind == "killed":
            self.killers.append((mutant, outcome))


def survey(
    original: Files,
    model_format: str,
    indices: Iterable[int],
    *,
    seed: int,
    accelerators: Sequence[str],
    workshop: Workshop,
) -> Tally:
    """Try out a series of mutants.

    Args:
        original: The model's files, as :func:`read_model` gives them.
        model_format: One of :data:`FORMATS`.
        indices: Which mutants of the series.
        seed: Seed of the series.
        accelerators: To run each with; those that cannot run the format are left out.
        workshop: Where to run them.

    Raises:
        BadModel: The unchanged model is refused or gives another output than itself.
    """
    usable = [name for name in ACCELERATORS[model_format] if name in accelerators]
    unchanged = Mutant(model_format, seed, -1, (), original)
    outcome = workshop.try_out(unchanged, original, usable)
    if outcome.kind != "equal":
        raise BadModel(f"the unchanged {model_format} model: {outcome.kind} {outcome.message}")
    tally = Tally(model_format)
    for index in indices:
        mutant = make_mutant(original, model_format, seed, index)
        tally.add(mutant, workshop.try_out(mutant, original, usable))
    return tally


def tabulate_outcomes(tallies: Sequence[Tally]) -> str:
    """Return a table of the share of each kind of outcome for each format."""
    from tabulate import tabulate

    kinds = ("refused", "equal", "different", "killed")
    rows = []
    for tally in tallies:
        total = sum(tally.outcomes.values())
        shares = [f"{tally.outcomes[kind]} ({tally.outcomes[kind] / total:.1%})" for kind in kinds]
        infinite = tally.details["different", "non-finite"]
        rows.append([tally.format, total, *shares[:3], infinite, shares[3]])
    headers = ["format", "mutants", "refused", "equal", "different", "(non-finite)", "killed"]
    return tabulate(rows, headers=headers)
