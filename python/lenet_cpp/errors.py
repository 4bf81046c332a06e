"""The errors of lenet_cpp, with the names that C++ and the command line programs use too.

Every class derives from :class:`Error` and from the built-in exception that a Python user would
look for. ``exit_code`` is what a command line program of ours returns for it.
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
    """A file or folder that was named does not exist or cannot be read."""

    exit_code = exit_codes["FileNotFound"]


class BadModel(Error, ValueError):
    """A model or checkpoint is damaged, incomplete, or not the one it is said to be."""

    exit_code = exit_codes["BadModel"]


class BadInput(Error, ValueError):
    """The data handed over has the wrong type, shape or values."""

    exit_code = exit_codes["BadInput"]


class Unsupported(Error, NotImplementedError):
    """What was asked for is not available in this build or for this model."""

    exit_code = exit_codes["Unsupported"]


class VersionMismatch(Error, RuntimeError):
    """The Paddle library found is not one that this build was made for."""

    exit_code = exit_codes["VersionMismatch"]


class BackendFailure(Error, RuntimeError):
    """The inference backend failed while loading or running a model."""

    exit_code = exit_codes["BackendFailure"]
