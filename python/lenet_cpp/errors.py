"""The errors of lenet_cpp; C++ and the command line programs use the same names.

Every class derives from :class:`Error` and from the built-in exception that a Python user expects.
``exit_code`` is the exit code of our command line programs for that error.
"""

from __future__ import annotations

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


class FileNotFound(Error, FileNotFoundError):
    """A file or folder does not exist or cannot be read."""

    exit_code = exit_codes["FileNotFound"]


class BadModel(Error, ValueError):
    """A model or checkpoint is damaged or incomplete, or another one than was expected."""

    exit_code = exit_codes["BadModel"]


class BadInput(Error, ValueError):
    """The input data has the wrong type, shape or values."""

    exit_code = exit_codes["BadInput"]


class Unsupported(Error, NotImplementedError):
    """This build or this model does not support the request."""

    exit_code = exit_codes["Unsupported"]


class VersionMismatch(Error, RuntimeError):
    """This build does not support the Paddle library that was found."""

    exit_code = exit_codes["VersionMismatch"]


class BackendFailure(Error, RuntimeError):
    """The inference backend failed while loading or running a model."""

    exit_code = exit_codes["BackendFailure"]
