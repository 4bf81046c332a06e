"""What becomes of a series of mutants, each loaded and run in a child process."""

from __future__ import annotations

import resource
import signal
import struct
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lenet_cpp.errors import BadInput, BadModel, Error
from lenet_cpp.inference.predictor import Predictor
from tools.hostile.children import LATE, do_steps
from tools.hostile.mutants import Files, Mutant, make_mutant
from tools.hostile.wire import Node, parse_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

ACCELERATORS = {
    "pdmodel": ("plain", "onednn", "openvino"),
    "json": ("plain", "onednn"),
    "separate": ("plain", "onednn"),
}
"""What can run each format."""
SECONDS = 10
"""What a mutant may take with one accelerator."""
MEMORY = 4 << 30
"""Bytes of address space of the child."""
_MOST_VALUES = 1 << 22


@dataclass(frozen=True)
class Outcome:
    """What happened to a mutant.

    Attributes:
        kind: ``refused`` (a typed error), ``equal`` (output bit-identical to the original's),
            ``different`` (other output, or non-finite), or ``killed`` (the child died or hung).
        detail: The class of the error, ``finite`` or ``non-finite``, the signal, or ``timeout``.
        message: The error's message, or the last words of the child.
        accelerator: The one it happened with; of a killed one, the first that it may have been.
    """

    kind: str
    detail: str = ""
    message: str = ""
    accelerator: str = ""


@dataclass
class Tally:
    """The outcomes of one format.

    Attributes:
        format: One of :data:`ACCELERATORS`.
        outcomes: How many there were of each kind.
        details: How many of each kind and detail.
        killers: The mutants that killed the child, and how.
    """

    format: str
    outcomes: Counter[str] = field(default_factory=Counter)
    details: Counter[tuple[str, str]] = field(default_factory=Counter)
    killers: list[tuple[Mutant, Outcome]] = field(default_factory=list)

    def rows(self) -> list[list[object]]:
        """Return rows of outcome, detail and count."""
        return [[self.format, *key, count] for key, count in sorted(self.details.items())]

    def shares(self) -> list[object]:
        """Return how many mutants there were, and the share of each kind of outcome."""
        total = sum(self.outcomes.values())
        refused, equal, different, killed = (
            f"{self.outcomes[kind]} ({self.outcomes[kind] / total:.1%})"
            for kind in ("refused", "equal", "different", "killed")
        )
        infinite = self.details["different", "non-finite"]
        return [self.format, total, refused, equal, different, infinite, killed]


# ---- the files of an undamaged model


def read_model(model_dir: Path, model_format: str) -> Files:
    """Read the files of an exported model as ``model_format`` has them.

    Args:
        model_dir: A folder with one NAME.pdmodel, NAME.json and NAME.pdiparams.
        model_format: One of :data:`ACCELERATORS`; ``separate`` is made from the other files.

    Raises:
        BadInput: The folder does not hold one such model.
    """
    suffix = "json" if model_format == "json" else "pdmodel"
    found = model_dir.glob(f"*.{suffix}")
    programs = [path for path in found if path.with_suffix(".pdiparams").is_file()]
    if len(programs) != 1:
        raise BadInput(f"{model_dir} holds {len(programs)} models NAME.{suffix}; expected one")
    program, params = programs[0], programs[0].with_suffix(".pdiparams")
    contents = program.read_bytes()
    if model_format != "separate":
        return {program.name: contents, params.name: params.read_bytes()}
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


# ---- in the child


def try_mutant(
    index: int,
    *,
    folder: str,
    model_dir: str,
    model_format: str,
    seed: int,
    accelerators: list[str],
    **options: Any,
) -> dict[str, str]:
    """Load and run a mutant with each accelerator until one refuses it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    mutant = make_mutant(_original(model_dir, model_format), model_format, seed, index)
    outcome = Outcome("equal")
    for accelerator in accelerators:
        signal.alarm(SECONDS)
        place = Path(folder)
        expected = _expected(place, model_dir, model_format, accelerator, **options)
        try:
            found = _run(_write(place, mutant), accelerator, **options)
        except Error as error:
            return vars(Outcome("refused", type(error).__name__, str(error)[:500], accelerator))
        if found.shape != expected.shape or found.tobytes() != expected.tobytes():
            finite = "finite" if np.isfinite(found).all() else "non-finite"
            outcome = Outcome("different", finite, accelerator=accelerator)
    return vars(outcome)


@cache
def _original(model_dir: str, model_format: str) -> Files:
    return read_model(Path(model_dir), model_format)


@cache
def _expected(
    folder: Path, model_dir: str, model_format: str, accelerator: str, **options: Any
) -> NDArray[np.float32]:
    original = Mutant(model_format, 0, -1, "nothing", _original(model_dir, model_format))
    return _run(_write(folder, original), accelerator, **options)


def _write(folder: Path, mutant: Mutant) -> Path:
    for name, contents in mutant.files.items():
        (folder / name).write_bytes(contents)
    return folder / next(iter(mutant.files))


def _run(model: Path, accelerator: str, **options: Any) -> NDArray[np.float32]:
    """Run a model on the same numbers whatever input it asks for, with two batch sizes."""
    params = None if model.name == "__model__" else model.with_suffix(".pdiparams")
    with Predictor(
        model, params, accelerator=accelerator, check_hashes=False, **options
    ) as predictor:
        shape = [3 if size < 0 else size for size in predictor.input_spec.shape]
        if np.prod(shape, dtype=float) > _MOST_VALUES:
            shape = [3, 1, 28, 28]
        values = np.random.default_rng(7).random(2352, dtype=np.float32)
        images = np.resize(values, shape)
        predictor.run(images[:1])
        return predictor.run(images)


# ---- in the parent


def survey(
    model_dir: Path,
    model_format: str,
    indices: Sequence[int],
    *,
    seed: int,
    accelerators: Sequence[str],
    engine: str = "paddle",
    precision: str = "fp32",
    done: Callable[[], object] = lambda: None,
) -> Tally:
    """Try a series of mutants.

    A mutant that kills a child which others ran in before is tried again in a new one; when it does
    not kill that, its message says so.

    Args:
        model_dir: As for :func:`read_model`.
        model_format: One of :data:`ACCELERATORS`.
        indices: Which mutants of the series.
        seed: Seed of the series.
        accelerators: To run each with; those that cannot run the format are left out.
        engine: As in :class:`lenet_cpp.Options`.
        precision: As in :class:`lenet_cpp.Options`; ``int8`` for quantized models.
        done: Called after each.

    Raises:
        BadModel: The unchanged model is refused or gives another output than itself.
    """
    files = read_model(model_dir, model_format)
    tally = Tally(model_format)

    def try_all(indices: Sequence[int], heard: Callable[[int, Outcome], None]) -> None:
        with tempfile.TemporaryDirectory(prefix="lenet-mutants-") as folder:
            do_steps(
                "tools.hostile.survey:try_mutant",
                indices,
                lambda step, said: heard(indices[step], _outcome(said, usable)),
                seconds=SECONDS * (len(usable) + 1),
                folder=folder,
                model_dir=str(model_dir),
                model_format=model_format,
                seed=seed,
                accelerators=usable,
                engine=engine,
                precision=precision,
            )

    def count(index: int, outcome: Outcome) -> None:
        if index < 0:
            if outcome.kind != "equal":
                said = f"{outcome.kind} {outcome.message}"
                raise BadModel(f"the unchanged {model_format} model: {said}")
            return
        done()
        if outcome.kind == "killed":
            killed.append((index, outcome))
            return
        tally.outcomes[outcome.kind] += 1
        tally.details[outcome.kind, outcome.detail] += 1

    usable = [name for name in ACCELERATORS[model_format] if name in accelerators]
    killed: list[tuple[int, Outcome]] = []
    try_all([-1, *indices], count)
    for index, outcome in killed:
        alone: dict[int, Outcome] = {}
        try_all([index], alone.__setitem__)
        again = alone[index]
        if again.kind != "killed":
            again = replace(outcome, message=f"(not when alone) {outcome.message}")
        tally.outcomes["killed"] += 1
        tally.details["killed", again.detail] += 1
        tally.killers.append((make_mutant(files, model_format, seed, index), again))
    return tally


def _outcome(said: dict[str, str], accelerators: list[str]) -> Outcome:
    if "kind" in said:
        return Outcome(**said)
    detail = "timeout" if said["outcome"] == LATE else said["outcome"]
    return Outcome("killed", detail, said["detail"], accelerators[0])
