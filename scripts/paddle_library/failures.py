"""The error that ends the command with an exit code, and the messages to the user."""

from __future__ import annotations

import sys

# The codes of python/lenet_cpp/errors.py, which is not installed yet when this runs.
USAGE, NOT_FOUND, BAD_ARCHIVE, VERSION_MISMATCH, DOWNLOAD_FAILED, INTERRUPTED = 2, 3, 4, 7, 8, 130


class Failure(Exception):  # noqa: N818 - it carries the exit code
    """One line for the user and the exit code that goes with it."""

    def __init__(self, code: int, message: str) -> None:
        """Keep ``code`` beside the message."""
        super().__init__(message)
        self.code = code


def printable(text: object) -> str:
    """Return ``text`` without the control characters that a server or an archive may have sent."""
    return "".join(c if c.isprintable() else "?" for c in str(text))


def note(text: str) -> None:
    """Print one line on stderr."""
    print(printable(text), file=sys.stderr, flush=True)


def megabytes(count: float) -> str:
    """Return a number of bytes as a person reads it."""
    return f"{count / 1e6:.1f} MB"
