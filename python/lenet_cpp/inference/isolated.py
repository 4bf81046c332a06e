"""A predictor in a separate process, for models from an untrusted source."""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lenet_cpp._base.child import Child, Garbled, error_of
from lenet_cpp._base.lazy import Unpack
from lenet_cpp._base.text import printable
from lenet_cpp.data.arrays import as_batch
from lenet_cpp.errors import BackendFailure, BadInput
from lenet_cpp.formats.tensor_spec import TensorSpec
from lenet_cpp.inference.options import BUNDLED, Options, Source, absolute_path, named_files
from lenet_cpp.inference.predictor import Specified, run_dtype

MAX_MESSAGE = 1 << 16
"""The largest JSON, in bytes, that is read of the child."""

_Read = TypeVar("_Read")
_DTYPES = ("float32", "float16", "bfloat16", "float64", "uint8", "int32", "int64", "bool")
_MAX_RANK = 9
_MAX_NAME = 2048
_MAX_SIZE = (1 << 31) - 1
_COMMAND = (sys.executable, "-m", "lenet_cpp.inference._isolated_child")


class IsolatedPredictor(Specified):
    """A loaded image classifier in a child process, which limits the harm of a hostile model.

    The child is a new interpreter (not a fork) with an empty environment, in its own session. Its
    address space, open files and core dumps are limited. It ends with the parent, which unpickles
    nothing that the child sends, and does not trust its sizes.

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
        model_file: Source = BUNDLED,
        params_file: str | os.PathLike[str] | None = None,
        *,
        model_dir: str | os.PathLike[str] | None = None,
        memory_limit: int = 4 << 30,
        timeout: float = 60.0,
        **options: Unpack[Options],
    ) -> None:
        """Start the child and load the model.

        The files and options are those of :class:`lenet_cpp.Predictor`. ``memory_limit`` is the
        size of the child's address space in bytes, of which the Paddle library alone maps about
        1 GiB, and ``timeout`` the time limit of loading and of each run, in seconds.

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
        files = named_files(model_file, params_file, model_dir)
        named = {name: absolute_path(path) for name, path in files.items()}
        self._request = {"memory_limit": memory_limit, "paths": named, "options": dict(options)}
        try:
            json.dumps(self._request)
        except TypeError as error:
            raise BadInput(f"an option cannot be sent to the child process: {error}") from error
        self._timeout = float(timeout)
        self._memory_limit = memory_limit
        self._lock = threading.Lock()
        self._closed = False
        self._child: Child | None = None
        with self._lock:
            self._start()

    def _start(self) -> Child:
        child = self._child = _started()
        found = self._talk(child, self._request, None, "loading the model", _described)
        self._input_spec, self._output_spec, self._quantized = found
        return child

    def _talk(
        self,
        child: Child,
        request: dict[str, Any],
        array: NDArray[np.float32] | None,
        doing: str,
        read: Callable[[dict[str, Any], memoryview], _Read],
    ) -> _Read:
        """Ask the child, wait, and read its answer; end it on any fault except a typed error."""
        deadline = time.monotonic() + self._timeout
        try:
            values = b"" if array is None else array.reshape(-1).view(np.uint8).data
            child.send(request, memoryview(values), deadline)
            answer, payload = child.receive(
                deadline, longest=MAX_MESSAGE, most_bytes=self._longest_answer(array)
            )
            refused = error_of(answer)
            if refused is None:
                return read(answer, payload)
        except TimeoutError:
            fault = (
                f"was ended after {self._timeout:g} s while {doing}; raise timeout if the model is"
                " to be trusted"
            )
        except ConnectionError:
            fault = f"{_cause_of_death(child)} while {doing}"
        except Garbled as error:
            fault = f"sent an invalid reply while {doing}: {error}"
        except BaseException:  # Ctrl-C: the rest of this answer would look like the next one
            self._end()
            raise
        else:
            if array is None:  # a child without a model ends
                self._end()
            raise type(refused)(printable(str(refused)))
        self._end()
        raise BackendFailure(f"the child process {fault}")

    def _longest_answer(self, array: NDArray[np.float32] | None) -> int:
        """Return the largest expected array in bytes: the declared output for these images."""
        if array is None:
            return 0
        shape = self._output_spec.shape
        first = max(1, *shape[:1])  # of an output without a batch axis, or a fixed number of images
        sizes = (size if size > 0 else 1 << 16 for size in shape[1:])
        return min(4 * max(1, len(array)) * first * math.prod(sizes), self._memory_limit)

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
            spec = self._input_spec
            batch = np.ascontiguousarray(as_batch(images, spec.shape, spec.dtype))
            found = self._talk(child, {"shape": batch.shape}, batch, "running the model", _outputs)
            return found.astype(run_dtype(self._output_spec.dtype), copy=False)

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
    sizes = given if isinstance(given, list) and len(given) <= _MAX_RANK else [None]
    if not all(type(size) is int and least <= size <= _MAX_SIZE for size in sizes):
        raise Garbled("a shape")
    return tuple(sizes)


def _spec(given: object) -> TensorSpec:
    if not isinstance(given, list) or len(given) != 3 or given[2] not in _DTYPES:
        raise Garbled("the description of a tensor")
    return TensorSpec(str(given[0])[:_MAX_NAME], _shape(given[1]), given[2])


def _cause_of_death(child: Child) -> str:
    """Return how a child, which closed its end, ended; wait a moment for it."""
    ended = child.ended(2)
    if isinstance(ended, str):
        return f"was ended by {ended}"
    said = f" ({words})" if (words := child.last_words()) else ""
    return "closed its end" if ended is None else f"ended with exit code {ended}{said}"


def _described(answer: dict[str, Any], _: memoryview) -> tuple[TensorSpec, TensorSpec, bool]:
    quantized = answer.get("quantized") is True
    return _spec(answer.get("input")), _spec(answer.get("output")), quantized


def _outputs(answer: dict[str, Any], payload: memoryview) -> NDArray[np.float32]:
    shape = _shape(answer.get("shape"), least=0)
    if len(payload) != 4 * math.prod(shape):
        raise Garbled("an array that does not have the announced size")
    return np.frombuffer(payload, dtype=np.float32).reshape(shape)


def _started() -> Child:
    """Start a child with the variables that find the Paddle library, and no others."""
    paddle = find_spec("paddle")
    folders = [Path(__file__).parents[2], Path(np.__file__).parents[1]]
    if paddle is not None and paddle.origin is not None:
        folders.append(Path(paddle.origin).parents[1])
    path = os.pathsep.join(dict.fromkeys(str(folder) for folder in folders))
    environment = {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"}
    environment |= {
        name: os.environ[name]
        for name in ("LENET_PADDLE_LIBRARY", "LD_LIBRARY_PATH")
        if name in os.environ
    }
    return Child([*_COMMAND, str(os.getpid())], environment, apart=True)
