"""Separate environments for packages that cannot be installed beside ours.

Each environment is made once, in the user's cache folder, when it is first needed.
"""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lenet_cpp._base.files import cache_folder
from lenet_cpp._base.worker import Report, clean_variables, run_program
from lenet_cpp.errors import BackendFailure

_TIMEOUT_SECONDS = 1800


@dataclass(frozen=True)
class Environment:
    """The description of an environment.

    Attributes:
        name: The folder's name; a hash of the contents is appended.
        title: The purpose, in messages.
        trial: A Python statement that runs without an error in a complete environment.
        remedy: The end of the error message when the environment cannot be made.
        key: Extra values hashed into the folder name, such as the interpreter's version.
    """

    name: str
    title: str
    requirements: tuple[str, ...]
    trial: str
    remedy: str
    key: tuple[str, ...] = ()
    pip_options: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        """The folder of the environment, whether it exists or not."""
        contents = "\n".join([*self.requirements, *self.key])
        digest = hashlib.sha256(contents.encode()).hexdigest()[:12]
        return cache_folder() / f"{self.name}-{digest}"

    @property
    def _python(self) -> Path:
        return self.folder / "bin" / "python"

    def find(self) -> Path | None:
        """Return the interpreter, or None when the environment is missing or incomplete."""
        complete = (self.folder / "ready").is_file() and self._python.exists()
        return self._python if complete else None

    def make(self, python: str | Path, *, report: Report | None = None) -> Path:
        """Return the interpreter, after ``python`` has made the environment if there is none.

        Raises:
            BackendFailure: The environment cannot be made, for lack of a network or of space; the
                message ends with pip's last line.
        """
        with _locked(self.folder.parent):
            if self.find() is None:
                self._make(python, report)
        return self._python

    def _make(self, python: str | Path, report: Report | None) -> None:
        # An environment cannot be moved, so it is made in place; "ready" marks a complete one.
        shutil.rmtree(self.folder, ignore_errors=True)
        install = ["install", "--quiet", "--disable-pip-version-check", *self.pip_options]
        steps = (
            ("making an environment", [str(python), "-m", "venv", str(self.folder)]),
            (
                f"installing {self.title}",
                [str(self._python), "-m", "pip", *install, *self.requirements],
            ),
            (f"trying {self.title}", [str(self._python), "-c", self.trial]),
        )
        try:
            for number, (what, command) in enumerate(steps):
                if report is not None:
                    report(what, number, len(steps))
                _run(what, command, self.remedy)
            contents = "\n".join(self.requirements) + "\n"
            (self.folder / "ready").write_text(contents, encoding="utf-8")
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        if report is not None:
            report(self.title, len(steps), len(steps))


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """Keep other processes from making an environment in the same cache."""
    cache.mkdir(parents=True, exist_ok=True)
    folder = os.open(cache, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _run(what: str, command: list[str], remedy: str) -> None:
    try:
        done = run_program(command, seconds=_TIMEOUT_SECONDS, variables=clean_variables())
    except OSError as error:
        raise BackendFailure(f"{what} failed: {error}") from error
    if done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
        said = next((line for line in lines if line.startswith("ERROR")), None)
        reason = said or (lines[-1] if lines else "it said nothing")
        raise BackendFailure(f"{what} failed: {reason.strip()}; {remedy}")
