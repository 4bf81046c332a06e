"""A predictor in a separate process, for models from an untrusted source."""

from __future__ import annotations

import json
import math
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet_cpp import errors
from lenet_cpp._base.lazy import Unpack
from lenet_cpp.data.arrays import as_batch
from lenet_cpp.errors import BackendFailure, BadInput, Error
from lenet_cpp.formats.tensor_spec import TensorSpec
from lenet_cpp.inference.options import Options
from lenet_cpp.inference.predictor import Specified

HEADER = struct.Struct("<QQ")
"""The header of a message: the sizes in bytes of its JSON and of the array that follows."""
MAX_MESSAGE = 1 << 16
"""The largest JSON, in bytes, that either side reads."""

_Read = TypeVar("_Read")
_DTYPES = ("float32", "float16", "float64", "uint8", "int32", "int64")
_MAX_RANK = 9
_MAX_NAME = 2048
_MAX_SIZE = (1 << 31) - 1
_TYPED_ERRORS: dict[str, type[Error]] = {
    name: getattr(errors, name) for name in errors.__all__ if name != "Error"
}


class _Garbled(Exception):  # noqa: N818 - never leaves this module
    """The child sent what the protocol does not allow."""


class IsolatedPredictor(Specified):
    """A loaded image classifier in a child process, which limits the harm of a hostile model.

    The child is a new interpreter (not a fork) with an empty environment, in its own session. Its
    address space, open files and core dumps are limited. It ends with the parent. Arrays go through
    pipes; the parent unpickles nothing that the child sends, and does not trust its sizes.

    When the child crashes, exceeds ``memory_limit`` or ``timeout``, the call raises
    :class:`lenet_cpp.BackendFailure` naming the cause, and the next :meth:`run` starts a new child
    and loads the model again. This limits the harm of faults and of exhausted resources, but it is
    not a sandbox: the child may read files and use the network with the rights of its user.

    Thread-safety: may be shared; calls from several threads then take turns. For parallel runs
    create several.

    Example:
        >>> with IsolatedPredictor("from_a_stranger.pdmodel", timeout=5) as predictor:
        ...     logits = predictor.run(images)
    """

    _COPY = ("an IsolatedPredictor", "create another one")

    def __init__(
        self,
        model_file: str | os.PathLike[str] | None = None,
        params_file: str | os.PathLike[str] | None = None,
        *,
        model_dir: str | os.PathLike[str] | None = None,
        memory_limit: int = 4 << 30,
        timeout: float = 60.0,
        **options: Unpack[Options],
    ) -> None:
        """Start the child and load the model.

        Args:
            model_file: As for :class:`lenet_cpp.Predictor`.
            params_file: As for :class:`lenet_cpp.Predictor`.
            model_dir: As for :class:`lenet_cpp.Predictor`.
            memory_limit: The size of the child's address space, in bytes. The Paddle library alone
                maps about 1 GiB.
            timeout: The time limit of loading and of each run, in seconds.
            **options: See :class:`lenet_cpp.Options`.

        Raises:
            lenet_cpp.Error: As :class:`lenet_cpp.Predictor`; ``BackendFailure`` also when the
                child crashed or exceeded a limit.
        """
        if not isinstance(memory_limit, int) or memory_limit < 1:
            raise BadInput(
                f"memory_limit is {memory_limit!r}; expected a number of bytes, 1 or more"
            )
        if not 0 < timeout < float("inf"):
            raise BadInput(f"timeout is {timeout!r}; expected a number of seconds above 0")
        paths = {"model_file": model_file, "params_file": params_file, "model_dir": model_dir}
        named = {key: str(Path(path).absolute()) for key, path in paths.items() if path is not None}
        self._request = {"memory_limit": memory_limit, "paths": named, "options": dict(options)}
        try:
            json.dumps(self._request)
        except TypeError as error:
            raise BadInput(f"an option cannot be sent to the child process: {error}") from error
        self._timeout = float(timeout)
        self._memory_limit = memory_limit
        self._lock = threading.Lock()
        self._closed = False
        self._child: _Child | None = None
        with self._lock:
            self._start()

    def _start(self) -> _Child:
        child = self._child = _Child()
        found = self._talk(child, self._request, None, "loading the model", _described)
        self._input_spec, self._output_spec, self._quantized = found
        return child

    def _talk(
        self,
        child: _Child,
        request: dict[str, Any],
        array: NDArray[np.float32] | None,
        doing: str,
        read: Callable[[dict[str, Any], memoryview], _Read],
    ) -> _Read:
        """Ask the child, wait, and read its answer; end it on any fault except a typed error."""
        deadline = time.monotonic() + self._timeout
        try:
            child.send(request, array, deadline)
            answer, payload = child.receive(self._longest_answer(array), deadline)
            refused = _error(answer)
            if refused is None:
                return read(answer, payload)
        except TimeoutError:
            fault = (
                f"was ended after {self._timeout:g} s while {doing}; raise timeout if the model is"
                " to be trusted"
            )
        except (EOFError, BrokenPipeError):
            fault = f"{child.cause_of_death()} while {doing}"
        except _Garbled as error:
            fault = f"sent an invalid reply while {doing}: {error}"
        except BaseException:  # Ctrl-C: the rest of this answer would look like the next one
            self._end()
            raise
        else:
            if array is None:  # a child without a model ends
                self._end()
            raise refused
        self._end()
        raise BackendFailure(f"the child process {fault}")

    def _longest_answer(self, array: NDArray[np.float32] | None) -> int:
        """Return the largest expected array in bytes: the declared output for these images."""
        if array is None:
            return 0
        sizes = (size if size > 0 else 1 << 16 for size in self._output_spec.shape[1:])
        return min(4 * max(1, len(array)) * math.prod(sizes), self._memory_limit)

    def run(self, images: ArrayLike) -> NDArray[np.float32]:
        """Return the model's raw outputs; arguments and result as :meth:`Predictor.run`.

        Raises:
            lenet_cpp.BadInput: Wrong type or shape, or a value that is not finite.
            lenet_cpp.BackendFailure: The engine failed, or the child crashed or exceeded a limit;
                the predictor can be used again, which then starts a new child.
            lenet_cpp.Error: As in the constructor, when a new child had to load the model again.
        """
        with self._lock:
            self._require_open()
            child = self._child or self._start()
            batch = np.ascontiguousarray(as_batch(images, self._input_spec.shape))
            found = self._talk(child, {"shape": batch.shape}, batch, "running the model", _outputs)
            return found.astype(self._output_spec.dtype, copy=False)

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def close(self) -> None:
        """End the child; later runs raise :class:`lenet_cpp.BadInput`. May be called again."""
        with self._lock:
            self._closed = True
            self._end()

    def _require_open(self) -> None:
        if self._closed:
            raise BadInput("the predictor is closed")

    @property
    def quantized(self) -> bool:
        """Whether the model is quantized, as :attr:`lenet_cpp.Predictor.quantized`."""
        return self._quantized

    @property
    def pid(self) -> int | None:
        """Process id of the child; None when there is none."""
        return None if self._child is None else self._child.pid


def _shape(given: object, least: int = -1) -> tuple[int, ...]:
    if not isinstance(given, list) or len(given) > _MAX_RANK:
        raise _Garbled("a shape")
    if not all(type(size) is int and least <= size <= _MAX_SIZE for size in given):
        raise _Garbled("a shape")
    return tuple(given)


def _spec(given: object) -> TensorSpec:
    if not isinstance(given, list) or len(given) != 3 or given[2] not in _DTYPES:
        raise _Garbled("the description of a tensor")
    return TensorSpec(str(given[0])[:_MAX_NAME], _shape(given[1]), given[2])


def _error(answer: dict[str, Any]) -> Error | None:
    kind = answer.get("error")
    if kind is None:
        return None
    if not isinstance(kind, str) or kind not in _TYPED_ERRORS:
        raise _Garbled("an error")
    return _TYPED_ERRORS[kind](_printable(str(answer.get("message"))))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _described(answer: dict[str, Any], _: memoryview) -> tuple[TensorSpec, TensorSpec, bool]:
    quantized = answer.get("quantized") is True
    return _spec(answer.get("input")), _spec(answer.get("output")), quantized


def _outputs(answer: dict[str, Any], payload: memoryview) -> NDArray[np.float32]:
    shape = _shape(answer.get("shape"), least=0)
    if len(payload) != 4 * math.prod(shape):
        raise _Garbled("an array that does not have the announced size")
    return np.frombuffer(payload, dtype=np.float32).reshape(shape)


def _end_process(process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
    """End a child and everything in its session."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout, said):
        if pipe is not None:
            pipe.close()


class _Child:
    """The process and its two pipes."""

    def __init__(self) -> None:
        paddle = find_spec("paddle")
        folders = [Path(__file__).parents[2], Path(np.__file__).parents[1]]
        if paddle is not None and paddle.origin is not None:
            folders.append(Path(paddle.origin).parents[1])
        path = os.pathsep.join(dict.fromkeys(str(folder) for folder in folders))
        # Only the variables that find the Paddle library.
        environment = {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
        environment |= {
            name: os.environ[name]
            for name in ("LENET_PADDLE_LIBRARY", "LD_LIBRARY_PATH")
            if name in os.environ
        }
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()
        try:
            self._process = self._popen(environment)
        except OSError as error:
            self._errors.close()
            raise BackendFailure(f"cannot start a child process: {error}") from error
        self.pid = self._process.pid
        self._stdin = cast("IO[bytes]", self._process.stdin).fileno()
        self._stdout = cast("IO[bytes]", self._process.stdout).fileno()
        for pipe in (self._stdin, self._stdout):
            os.set_blocking(pipe, False)
        # Also when the predictor is dropped without close(), and at exit.
        self._finalizer = weakref.finalize(self, _end_process, self._process, self._errors)

    def _popen(self, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "lenet_cpp.inference._isolated_child", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            cwd="/",
            bufsize=0,
            start_new_session=True,
        )

    def send(
        self, message: dict[str, Any], array: NDArray[np.float32] | None, deadline: float
    ) -> None:
        text = json.dumps(message).encode()
        values = memoryview(b"") if array is None else array.reshape(-1).view(np.uint8).data
        for part in (memoryview(HEADER.pack(len(text), len(values)) + text), values):
            left = part
            while len(left) > 0:
                self._wait(self._stdin, select.POLLOUT, deadline)
                try:
                    left = left[os.write(self._stdin, left[: 1 << 20]) :]
                except BlockingIOError:
                    continue

    def receive(self, longest: int, deadline: float) -> tuple[dict[str, Any], memoryview]:
        text_size, array_size = HEADER.unpack(self._read(HEADER.size, deadline))
        if text_size > MAX_MESSAGE or array_size > longest:
            raise _Garbled("a message longer than it may be")
        try:
            answer = json.loads(bytes(self._read(text_size, deadline)))
        except (ValueError, RecursionError):
            raise _Garbled("no message") from None
        if not isinstance(answer, dict):
            raise _Garbled("no message")
        return answer, self._read(array_size, deadline)

    def _read(self, count: int, deadline: float) -> memoryview:
        view = memoryview(bytearray(count))
        done = 0
        while done < count:
            self._wait(self._stdout, select.POLLIN, deadline)
            try:
                got = os.readv(self._stdout, [view[done:]])
            except BlockingIOError:
                continue
            if got == 0:
                raise EOFError
            done += got
        return view

    def _wait(self, pipe: int, event: int, deadline: float) -> None:
        left = deadline - time.monotonic()
        poll = select.poll()  # select cannot wait on descriptors above 1023
        poll.register(pipe, event)
        if left <= 0 or not poll.poll(left * 1000):
            raise TimeoutError

    def cause_of_death(self) -> str:
        """Return how the child, which closed its pipes, ended; wait a moment for it."""
        try:
            code = self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            return "closed its pipes"
        if code >= 0:
            return f"ended with exit code {code}{self._last_words()}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"was ended by {name}"

    def _last_words(self) -> str:
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - 4096))
        lines = self._errors.read().decode("ascii", "replace").strip().splitlines()
        return f" ({_printable(lines[-1][:300])})" if lines else ""

    def end(self) -> None:
        self._finalizer()
