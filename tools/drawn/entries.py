"""Functions of the workers that export operators, which run in the environment of any framework.

It imports nothing of the project, because some workers run in environments that do not have it. A
worker is started as a script, so that Python finds the modules beside it.
"""

from __future__ import annotations

import json
import shutil
import signal
import zlib
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

SIZES = (3, 8, 8)
"""The shape of an image."""
BATCHES = (1, 2, 3)
"""The numbers of images that a file is run on."""


_SECONDS_OF_ONE = 120
"""The time that one operator may take; one that takes longer ends its worker."""


class Framework(Protocol):
    """What a worker does with an operator."""

    unreachable: Mapping[str, str]
    """Why operators are not drawn, by name."""

    def make(self, name: str, inputs: Mapping[int, Any]) -> Any:
        """Return the network of an operator, in the mode of inference.

        Args:
            name: The operator.
            inputs: The inputs that it will get, by the number of images.
        """

    def run(self, network: Any, x: Any) -> Any:
        """Return what the network makes of an input, both NumPy arrays."""

    def export(self, network: Any, folder: Path, batch: int | None) -> None:
        """Write the network: for any number of images, or for ``batch``."""

    def files(self, folder: Path) -> Sequence[str]:
        """Return the names of what was written: the program, and its parameters if any."""

    def run_file(self, folder: Path, x: Any) -> Any:
        """Run what was written in the plainest way there is; raise what that raises."""


def make_input(name: str, images: int) -> Any:
    """Return an operator's input, float32 of [images, *SIZES]: the same in every run."""
    random = np.random.RandomState(zlib.crc32(name.encode()) % 10000 + images)
    return random.uniform(-1, 1, (images, *SIZES)).astype("float32")


def last_line(error: BaseException) -> str:
    """Return the end of what an exception says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ((lines or [""])[-1].split(" (at /")[0])[:300] or type(error).__name__


def rows_of_images(two: Sequence[Any], three: Sequence[Any]) -> list[bool]:
    """Return which results have a row for each image, by those of 2 and of 3 images.

    Raises:
        ValueError: There are no results.
    """
    if not two:
        raise ValueError("it gives no tensor")
    return [
        list(a.shape[:1]) == [2] and list(b.shape) == [3, *a.shape[1:]]
        for a, b in zip(two, three, strict=True)
    ]


def write(name: str, folder: Path, framework: Framework) -> dict[str, Any]:
    """Export an operator beside ``truth.npz``, and return its entry.

    The truth is the inputs ``x1``, ``x2`` and ``x3`` of so many images, and what the framework
    makes of them, ``y1`` and so on; only those of 2 where no file of any size could be written.
    """
    if name in framework.unreachable:
        return {"outcome": "unreachable", "said": framework.unreachable[name]}
    inputs = {images: make_input(name, images) for images in BATCHES}
    network = framework.make(name, inputs)
    answers = {images: framework.run(network, x) for images, x in inputs.items()}
    if not all(np.isfinite(answer).all() for answer in answers.values()):
        return {"outcome": "not finite"}
    if not np.array_equal(framework.run(network, inputs[3]), answers[3]):
        return {"outcome": "random"}
    entry: dict[str, Any] = {}
    for batch in (None, 2):
        try:
            framework.export(network, folder, batch)
            break
        except Exception as error:  # noqa: BLE001 - exporters raise any type; each is a result
            entry["said"] = last_line(error)
    else:
        return entry | {"outcome": "not exported"}
    sizes = BATCHES if batch is None else (batch,)
    arrays = {f"x{n}": inputs[n] for n in sizes} | {f"y{n}": answers[n] for n in sizes}
    np.savez(folder / "truth.npz", **arrays)
    if not all(says_the_same(folder, inputs[n], answers[n], framework) for n in sizes):
        return entry | {"outcome": "exported otherwise"}
    files = list(framework.files(folder))
    return entry | {"outcome": "exported", "batch": batch, "files": files}


def says_the_same(folder: Path, x: Any, expected: Any, framework: Framework) -> bool:
    """Return False where the framework's own inference runs the file to another answer.

    Paddle leaves ``increment`` out of a .json, for example, and PyTorch's old exporter the
    threshold of softplus. A file that it refuses counts as the same: what is run later says more.
    """
    try:
        answer = framework.run_file(folder, x)
    except Exception:  # noqa: BLE001 - engines raise any type; a file that is refused has no other answer
        return True
    return answer.shape == expected.shape and np.allclose(answer, expected, 1e-3, 1e-3)


def write_entries(root: Path, names: Iterable[str], framework: Framework) -> None:
    """Export each operator into a folder of its own, with an entry.json of how it went.

    Operators that have an entry are left out. One whose folder was begun without an entry ended
    the process before, by a crash or after its time, and is not tried again: it costs one operator.

    Args:
        root: Holds the folders.
        names: The operators.
        framework: Makes, runs and exports them.
    """
    for name in names:
        folder = root / name
        if (folder / "entry.json").exists():
            continue
        if (folder / "begun").exists():
            entry = {"outcome": "not exported", "said": "it ends the process, or takes too long"}
        else:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            (folder / "begun").touch()
            signal.alarm(_SECONDS_OF_ONE)
            try:
                entry = write(name, folder, framework)
            except Exception as error:  # noqa: BLE001 - operators raise any type; each is a result
                said = f"{type(error).__name__}: {last_line(error)}"
                entry = {"outcome": "not run", "said": said}
            signal.alarm(0)
        (folder / "entry.json").write_text(json.dumps({"name": name, **entry}))
