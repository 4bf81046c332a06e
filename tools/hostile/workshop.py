"""A child process that mutants are loaded and run in."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import lenet_cpp
from lenet_cpp._base.closing import Closing
from tools.hostile.model import Files, Mutant, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Workshop"]

_DEFAULT_TIMEOUT = 10.0
_DEFAULT_MEMORY = 4 << 30
_TRIES_PER_CHILD = 200  # Paddle does not give back all that a load takes


class Workshop(Closing):
    """Loads and runs mutants in a child process, which is replaced when one kills it."""

    def __init__(
        self,
        *,
        timeout: float = _DEFAULT_TIMEOUT,
        memory_limit: int = _DEFAULT_MEMORY,
        engine: str = "paddle",
        precision: str = "fp32",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            timeout: Seconds that one mutant may take with one accelerator.
            memory_limit: Bytes of address space of the child.
            engine: As in :class:`lenet_cpp.Options`.
            precision: As in :class:`lenet_cpp.Options`; ``int8`` for quantized models.
            environment: Variables of the child; by default nearly none.
        """
        self._timeout = timeout
        self._memory_limit = memory_limit
        self._engine = engine
        self._precision = precision
        self._environment = dict(environment or {})
        self._folder = tempfile.TemporaryDirectory(prefix="lenet-mutants-")
        self._child: subprocess.Popen[bytes] | None = None
        self._tries = 0

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
        request = {
            "engine": self._engine,
            "accelerator": accelerator,
            "precision": self._precision,
        }
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
        command = [sys.executable, "-m", "tools.hostile.worker", str(self._memory_limit)]
        root = Path(__file__).parents[2]
        path = os.pathsep.join([str(root), str(Path(lenet_cpp.__file__).parents[1])])
        self._tries = 1
        self._errors = (Path(self._folder.name) / "stderr").open("wb")
        self._child = subprocess.Popen(
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
