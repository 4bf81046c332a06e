"""The errors of lenet_cpp; C++ and the command line programs use the same names.

Every class derives from :class:`Error` and from the built-in exception that a Python user expects.
``exit_code`` is the exit code of our command line programs for that error.
"""

from typing import ClassVar

from lenet_cpp._core import exit_codes

__all__ = [
    "BackendFailure",
    "BadInput",
    "BadModel",
    "Error",
    "FileNotFound",
    "Unsupported",
    "VersionMismatch",
]


class Error(Exception):
    """Base of every error that lenet_cpp raises."""

    exit_code: ClassVar[int] = 1

    def __init_subclass__(cls) -> None:
        """Take the exit code that C++ has for the name, or else that of the base."""
        cls.exit_code = exit_codes.get(cls.__name__, cls.exit_code)


class FileNotFound(Error, FileNotFoundError):
    """A file or folder does not exist or cannot be read."""


class BadModel(Error, ValueError):
    """A model or checkpoint is damaged or incomplete, or another one than was expected."""


class BadInput(Error, ValueError):
    """The input data has the wrong type, shape or values."""


class Unsupported(Error, NotImplementedError):
    """This build or this model does not support the request."""


class VersionMismatch(Error, RuntimeError):
    """This build does not support the Paddle library that was found."""


class BackendFailure(Error, RuntimeError):
    """The inference backend failed while loading or running a model."""
