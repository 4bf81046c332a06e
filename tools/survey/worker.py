"""Functions of the workers that write networks; they need only Python 3.7 and NumPy."""

from __future__ import annotations

import traceback
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Report = Callable[[str, int, int], None]

SIZES = (3, 16, 16)


def open_shape(name: str) -> list[Any]:
    return [None, 3, None, None] if name == "open_sizes" else [None, *SIZES]


def seed_of(name: str) -> int:
    return zlib.crc32(name.encode()) % 10000


def make_input(name: str) -> Any:
    """Return a network's input, as the index describes it."""
    return np.random.RandomState(seed_of(name)).uniform(-1, 1, (2, *SIZES)).astype("float32")


def _fan_in(shape: tuple[int, ...]) -> Any:
    """Return how many values each output of a layer is a sum of, by the shape of its weights."""
    if len(shape) > 2:
        return np.prod(shape[1:])
    return shape[0] if len(shape) == 2 else 4


def parameter_values(name: str, shapes: dict[str, Any], positive: Callable[[str], bool]) -> Any:
    """Return parameters by their names, in multiples of 1/64: these compress well."""
    random = np.random.RandomState(seed_of(name) + 1)
    values = {}
    for key in sorted(shapes):
        shape = tuple(shapes[key])
        if positive(key):
            value = random.uniform(0.5, 1.5, shape)
        else:
            value = random.normal(0, (1.5 / _fan_in(shape)) ** 0.5, shape)
        values[key] = (np.round(value * 64) / 64).astype("float32")
    return values


def write_all(
    names: list[str], write: Callable[[str], Iterable[tuple[Path, Any]]], report: Report
) -> dict[str, Any]:
    """Call ``write`` for each network: it yields the folder .../NAME/LAYOUT and the answer.

    Returns:
        The entries of the index, and what this version cannot write and what it says of it.
    """
    _hide_folders()
    entries: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    for number, name in enumerate(names):
        report(name, number, len(names))
        for _ in range(2):  # what it refuses may leave things behind that fail the next one
            try:
                entries += [_store(path, np.asarray(answer)) for path, answer in write(name)]
                failed.pop(name, None)
                break
            except Exception as error:  # noqa: BLE001 - a part of the result
                lines = [line.strip() for line in str(error).splitlines() if line.strip()]
                failed[name] = (lines or [type(error).__name__])[-1].split(" (at /")[0]
    return {"entries": entries, "failed": failed}


def _store(path: Path, answer: Any) -> dict[str, Any]:
    if not np.isfinite(answer).all() or (answer.dtype == np.float32 and answer.std() == 0):
        raise ValueError("the answer is not finite, or a constant")
    name, layout = path.parts[-2:]
    x = make_input(name)
    files = sorted(file.name for file in path.iterdir() if file.suffix != ".npy")
    np.save(str(path / "input.npy"), x)
    np.save(str(path / "expected.npy"), answer)
    shape = {"seed": seed_of(name), "shape": list(x.shape)}
    return {"name": name, "layout": layout, "files": files, **shape}


def _hide_folders() -> None:
    """Leave this machine's folders out of the call stacks that Paddle stores with operators.

    And the names of temporary files, with which they would be others each time.
    """
    extract = traceback.extract_stack

    def extract_stack(*arguments: Any, **options: Any) -> Any:
        frames = extract(*arguments, **options)
        for frame in frames:
            path = Path(frame.filename)
            temporary = "to_static_tmp" in path.parts
            frame.filename = "forward.py" if temporary else "/".join(path.parts[-2:])
        return frames

    traceback.extract_stack = extract_stack
