"""Environments of their own, for packages that cannot live beside ours.

Each is made once, when it is asked for, in the user's cache folder, and used from then on.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lenet_cpp._base.files import cache_folder
from lenet_cpp.errors import BackendFailure

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Report = Callable[[str, int, int], None]
"""Takes what is being done, how far it is, and how far it goes."""

_TIMEOUT_SECONDS = 1800


@dataclass(frozen=True)
class Environment:
    """What an environment holds.

    Attributes:
        name: What its folder is called; a hash of what it holds is added.
        title: What it is for, in messages.
        requirements: What pip installs.
        trial: A statement of Python that works in a whole environment.
        remedy: Ends the message when it cannot be made: what that needs, or what to do instead.
        key: What else tells it from another one, such as the version of the interpreter.
        pip_options: Given to ``pip install``.
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
        """Where it is, or will be."""
        told = "\n".join([*self.requirements, *self.key])
        digest = hashlib.sha256(told.encode()).hexdigest()[:12]
        return cache_folder() / f"{self.name}-{digest}"

    @property
    def _python(self) -> Path:
        return self.folder / "bin" / "python"

    def find(self) -> Path | None:
        """Return its interpreter, or None when it has not been made, or only in part."""
        whole = (self.folder / "ready").is_file() and self._python.exists()
        return self._python if whole else None

    def make(self, python: str | Path, *, report: Report | None = None) -> Path:
        """Return its interpreter; make it first unless it is there.

        Args:
            python: The interpreter to make it with.
            report: Takes the progress.

        Raises:
            BackendFailure: It cannot be made: no network, no space; says what pip said last.
        """
        with _locked(self.folder.parent):
            found = self.find()
            if found is None:
                self._make(python, report)
                found = self._python
        return found

    def _make(self, python: str | Path, report: Report | None) -> None:
        # An environment cannot be moved, so that it is made in place; "ready" says it is whole.
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
            held = "\n".join(self.requirements) + "\n"
            (self.folder / "ready").write_text(held, encoding="utf-8")
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        if report is not None:
            report(self.title, len(steps), len(steps))


def clean_variables() -> dict[str, str]:
    """Return the variables of this process without those that lead Python elsewhere."""
    hidden = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
    return {name: value for name, value in os.environ.items() if name not in hidden}


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """Keep another process from making an environment in the same cache meanwhile."""
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
        done = subprocess.run(  # noqa: S603 - pip and the interpreter of the environment
            command,
            capture_output=True,
            check=False,
            env=clean_variables(),
            text=True,
            timeout=_TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendFailure(f"{what} failed: {error}") from error
    if done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
        said = next((line for line in lines if line.startswith("ERROR")), None)
        reason = said or (lines[-1] if lines else "it said nothing")
        raise BackendFailure(f"{what} failed: {reason.strip()}; {remedy}")
