"""The base class of everything that is closed at the end of a ``with`` block."""

from abc import ABC, abstractmethod

from lenet_cpp._base.lazy import Self


class Closing(ABC):
    """Make ``with`` call :meth:`close`.

    A subclass's ``close`` may be called again, and from any thread.
    """

    def __enter__(self) -> Self:
        """Return the object itself."""
        self._require_open()
        return self

    def __exit__(self, *_exception: object) -> None:
        """Close the object."""
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Free what the object holds. May be called again, and from any thread."""

    def _require_open(self) -> object:  # noqa: B027 - not abstract: refuses nothing
        """Raise an error when the object was closed; the default accepts it."""
