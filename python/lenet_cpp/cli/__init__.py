"""The commands that users type; each module parses arguments and calls the package."""

from __future__ import annotations

import errno
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_cpp._base.optional import require_paddle
from lenet_cpp.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["run_cli"]

_ELSEWHERE = "name another place to write to (see --help)"
_REMEDIES = {
    errno.ENOSPC: f"free some, or {_ELSEWHERE}",
    errno.EDQUOT: f"free some, or {_ELSEWHERE}",
    errno.EROFS: _ELSEWHERE,
    errno.EACCES: f"allow it, or {_ELSEWHERE}",
    errno.EPERM: f"allow it, or {_ELSEWHERE}",
}


def run_cli(command: Callable[[], int]) -> int:
    """Run a command and turn what it raises into one line on stderr and an exit code.

    Args:
        command: The parsed command, ready to run; returns its own exit code.

    Returns:
        The command's exit code; the ``exit_code`` of an :class:`lenet_cpp.errors.Error`;
        130 after Ctrl-C; 141 when the reader of standard output went away; 1 for another
        failure of the operating system, such as a full disk.
    """
    program = Path(sys.argv[0]).name
    # What Paddle says of itself when it is imported is of no use to whoever runs a command.
    os.environ.setdefault("GLOG_minloglevel", "2")
    warnings.filterwarnings("ignore", message="No ccache found", category=UserWarning)
    try:
        return _with_paddle(command)
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Python would complain again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Error as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"{program}: error: {_sentence(error)}", file=sys.stderr)
        return 1


def _sentence(error: OSError) -> str:
    """Say what the operating system refused, and what to do."""
    place = "" if error.filename is None else f": {error.filename}"
    remedy = _REMEDIES.get(error.errno or 0)
    return str(error) if remedy is None else f"{error.strerror}{place}; {remedy}"


def _with_paddle(command: Callable[[], int]) -> int:
    """Say what to install where a part of the package that needs Paddle was reached without it."""
    try:
        return command()
    except ModuleNotFoundError as error:
        if error.name == "paddle":
            require_paddle()
        raise
