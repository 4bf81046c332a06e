"""Turn a lack of memory into the error that ``docs/errors.md`` promises."""

from collections.abc import Iterator
from contextlib import contextmanager

from lenet_cpp.errors import BackendFailure

_NO_THREAD = "can't start new thread"  # Python's RuntimeError where there is no room for a stack


@contextmanager
def memory_errors(doing: str) -> Iterator[None]:
    """Raise BackendFailure when memory runs out in the block, or in the function it decorates.

    ``doing`` says in the message what was being done.
    """
    try:
        yield
    except MemoryError as error:
        raise BackendFailure(f"out of memory while {doing}") from error
    except RuntimeError as error:
        if str(error) != _NO_THREAD:
            raise
        raise BackendFailure(f"cannot start a thread while {doing}") from error
