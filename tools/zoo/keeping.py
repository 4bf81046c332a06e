"""The files and answers of networks: made in a process of their own, and kept for later runs."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lenet_cpp._base.files import write_text
from lenet_cpp._base.worker import WorkerCrashed, call
from lenet_cpp.errors import BackendFailure, BadInput, Error
from tools.zoo.frameworks import RECIPE
from tools.zoo.sources import SOURCES
from tools.zoo.worker import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Row = dict[str, Any]

SECONDS = 900.0
"""The time that a process of a network may take."""
_MADE = "made.json"
_MANIFEST = "manifest.json"
_MAKERS = ("numpy", "onnx", "paddlepaddle", "torch", "onnxscript")
"""Packages that decide what is made, besides those of the networks."""


class Case(NamedTuple):
    """A network and a format, of ``worker.ENGINES``."""

    source: str
    family: str
    name: str
    suffix: str

    @property
    def row(self) -> Row:
        """Return the beginning of its row in the results."""
        of = {"source": self.source, "family": self.family}
        return of | {"network": self.name, "format": self.suffix}


class Keep:
    """A folder with FOLDER/SOURCE/FORMAT/NETWORK, each of them complete, and a manifest."""

    def __init__(self, folder: Path, versions: Mapping[str, str], *, makes: bool) -> None:
        """Use the folder; make it if it is not there.

        Args:
            folder: The folder.
            versions: Of the packages that are installed.
            makes: Whether more may be made in it; else packages may be missing.

        Raises:
            BadInput: Other versions made what is in the folder; or it has no manifest, but files.
        """
        self._folder = folder
        sources = (of.package for of in SOURCES.values())
        chosen = {name: versions[name] for name in (*_MAKERS, *sources) if name in versions}
        about = {"recipe": str(RECIPE), **chosen}
        manifest = folder / _MANIFEST
        if not manifest.is_file():
            if folder.is_dir() and any(folder.iterdir()):
                raise BadInput(f"{folder} was not made by tools.zoo --keep; name another folder")
            write_text(manifest, json.dumps(about, indent=1) + "\n")
        made = json.loads(manifest.read_text(encoding="utf-8"))
        for name in sorted({*made, *about}):
            before, now = made.get(name, "none"), about.get(name, "none")
            if before != now and (makes or name in about):
                message = f"{folder} was made with {name} {before}, and here is {name} {now}"
                raise BadInput(f"{message}; remove the folder, or name another")

    def place(self, case: Case) -> Path:
        """Return the folder of a network and format, whether it is there or not."""
        return self._folder / case.source / case.suffix / case.name

    def has(self, case: Case) -> bool:
        """Return whether it is there."""
        return (self.place(case) / _MADE).is_file()

    @contextmanager
    def made(self, case: Case, make: Callable[[Path], Row]) -> Iterator[tuple[Path, Row]]:
        """Yield the folder of a network and what is said of it; make it if it is not there."""
        target = self.place(case)
        if not self.has(case):
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".making-", dir=target.parent) as temporary:
                folder = Path(temporary, "new")
                row = make(folder)
                if "too_large" in row or row.pop("ended", False):  # for now, perhaps
                    yield folder, row
                    return
                write_text(folder / _MADE, json.dumps(row) + "\n")
                with suppress(OSError):  # another run was faster
                    folder.rename(target)
        yield target, json.loads((target / _MADE).read_text(encoding="utf-8"))


@contextmanager
def not_kept(_: Case, make: Callable[[Path], Row]) -> Iterator[tuple[Path, Row]]:
    """Yield a temporary folder with what is made, as :meth:`Keep.made` does."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "new")
        row = make(folder)
        row.pop("ended", None)
        yield folder, row


def make(case: Case, packages: str, folder: Path, most: float | None) -> Row:
    """Make the files of a network in a folder that is not there yet; return what is said of it.

    That has ``ended`` where there is no file because something ended the process.
    """
    if most is not None:
        given = {"source": case.source, "name": case.name, "packages": packages}
        with suppress(Error):  # what it raises, it raises again when it is built
            count = call(
                "tools.zoo.worker:count_parameters",
                given,
                doing=case.name,
                seconds=SECONDS,
                variables=VARIABLES[case.suffix],
            ).result
            if count > most:
                return {"too_large": count}
    ended: dict[str, str] = {}
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        of: Row = {"source": case.source, "name": case.name, "suffix": case.suffix, "most": most}
        of |= {"packages": packages, "folder": str(folder)}
        found, message = _call("make", case, of, ended)
        if found is not None:
            return found | ({"ended": True} if ended and "file" not in found else {})
        if message:
            return {"not_built": message, "ended": True}


def run(case: Case, folder: Path, file: str, engines: Sequence[str]) -> Row:
    """Return what each engine does with a file that was made."""
    ended: dict[str, str] = {}
    given: Row = {"framework": SOURCES[case.source].framework, "path": str(folder / file)}
    given["engines"] = list(engines)
    while True:
        found, message = _call("run", case, given, ended)
        if found is not None:
            return found
        if message:
            return {engine: {"outcome": "crashed", "said": message} for engine in engines}


def _call(function: str, case: Case, given: Row, ended: dict[str, str]) -> tuple[Row | None, str]:
    """Call a function of the worker; note in ``ended`` which step ended its process, and why.

    Returns:
        What it returns; or None and, where no step is to blame that can be left out, the reason.
    """
    steps = ["start"]
    try:
        answer = call(
            f"tools.zoo.worker:{function}",
            {**given, "ended": ended},
            doing=case.name,
            report=lambda what, *_: steps.append(what),
            seconds=SECONDS,
            variables=VARIABLES[case.suffix],
        )
    except BackendFailure as error:
        message = error.signal if isinstance(error, WorkerCrashed) else str(error)
        if steps[-1] in {"start", *ended}:
            return None, message
        ended[steps[-1]] = message
        return None, ""
    found: Row = answer.result
    return found, ""
