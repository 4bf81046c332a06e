"""How a command runs from a terminal: what it raises becomes one line and an exit status."""

import errno
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import Any

import click

from lenet_cpp._base.files import hint_of_missing
from lenet_cpp._base.interrupt import call_interruptibly
from lenet_cpp._base.memory import memory_errors
from lenet_cpp._base.optional import require_paddle
from lenet_cpp._base.text import printable
from lenet_cpp.errors import BackendFailure, Error, FileNotFound

SETTINGS: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
    "show_default": True,
    "token_normalize_func": lambda name: name.replace("_", "-"),
}
"""Of every click context: names may be written with hyphens or underscores."""

_ELSEWHERE = "name another place to write to (see --help)"
_CHECK = f"check the path, or {_ELSEWHERE}"
_REMEDIES = {
    **dict.fromkeys((errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR), _CHECK),
    **dict.fromkeys((errno.ELOOP, errno.ENAMETOOLONG), _CHECK),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), f"free some, or {_ELSEWHERE}"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), f"allow it, or {_ELSEWHERE}"),
    errno.EROFS: _ELSEWHERE,
}
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


def run(
    what: click.Command, program: str, argv: Sequence[str], obj: dict[str, Any] | None = None
) -> int:
    """Parse arguments and run a command, or a group of commands; return the exit status.

    ``program`` is what the user called it, and ``obj`` holds further attributes of the options.

    Raises:
        SystemExit: The usage was wrong, and a message said so, or ``--help`` was printed.
    """

    def call() -> int:
        try:
            with what.make_context(program, list(argv), obj=obj) as ctx:
                status: int = what.invoke(ctx)
                return status
        except click.exceptions.Exit as done:
            raise SystemExit(done.exit_code) from None
        except click.UsageError as error:
            if error.ctx is not None:
                _require_arguments(error.ctx)
            said = " ".join(error.format_message().split())
            path = error.ctx.command_path if error.ctx else program
            more = "" if "Did you mean" in said else f"; see {path} --help"
            print(f"{path}: error: {said.removesuffix('.')}{more}", file=sys.stderr)
            raise SystemExit(error.exit_code) from None

    return run_cli(call, program)


def _require_arguments(ctx: click.Context) -> None:
    """Raise FileNotFound for an argument that is a missing file, before the usage error."""
    for param in ctx.command.params:
        path = ctx.params.get(str(param.name))
        if not isinstance(param, click.Argument) or not isinstance(path, Path) or path.exists():
            continue
        if any(path.parent.glob(f"{escape(path.name)}.*")):  # a model's path without its suffix
            continue
        remedy = hint_of_missing(path) or "check the path"
        raise FileNotFound(f"{path} does not exist: {remedy}")


def run_cli(call: Callable[[], int], program: str | None = None) -> int:
    """Run a command and turn what it raises into one line on stderr and an exit code.

    ``program`` is what the user called it; the name of the script when None.

    Returns:
        The command's own exit code; the ``exit_code`` of an :class:`lenet_cpp.errors.Error`;
        130 after Ctrl-C; 141 when the reader of standard output went away, 1 when it cannot be
        written. A failure of the operating system with a file has the code that C++ gives it
        (cpp/src/io/file.cc): ``FileNotFound``'s for a place that cannot be used, or else
        ``BackendFailure``'s, such as for a full disk.
    """
    program = program or Path(sys.argv[0]).name
    # Users of a command do not need the messages that Paddle prints when it is imported.
    os.environ.setdefault("GLOG_minloglevel", "2")
    warnings.filterwarnings("ignore", message="No ccache found", category=UserWarning)
    warnings.formatwarning = lambda message, *_, **__: f"{program}: warning: {message}\n"
    try:
        _require_streams()
        try:
            with memory_errors("running this command"):
                status = call_interruptibly(call)
        except ModuleNotFoundError as error:
            if error.name == "paddle":
                require_paddle()  # which says what to install
            raise
        sys.stdout.flush()  # here, where a closed pipe is still noticed
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        with suppress(io.UnsupportedOperation):  # a stdout that is not a file raises it
            # Python would complain again when it flushes stdout at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Error as error:
        _complain(program, error)
        return error.exit_code
    except OSError as error:
        _complain(program, _sentence(error))
        if error.filename is None:
            return 1
        is_place = error.errno in _REMEDIES.keys() - _NO_ROOM
        return (FileNotFound if is_place else BackendFailure).exit_code
    return status


def _complain(program: str, why: object) -> None:
    """Say what went wrong in one line, whatever characters a file has put into it."""
    print(f"{program}: error: {printable(why)}", file=sys.stderr)


def _require_streams() -> None:
    """Discard messages where standard error is closed; refuse a closed standard output."""
    if sys.stderr is None:
        # No other file gets the descriptor, to which libraries write too.
        while (null := os.open(os.devnull, os.O_RDWR)) < 2:
            pass
        sys.stderr = os.fdopen(null, "w", closefd=False)
    if sys.stdout is None:
        raise OSError("standard output is closed; send it to a file")


def _sentence(error: OSError) -> str:
    """Say what the operating system refused, and what to do."""
    place = "" if error.filename is None else f": {error.filename}"
    remedy = _REMEDIES.get(error.errno or 0)
    if error.errno == errno.ENOENT and isinstance(error.filename, str):
        remedy = hint_of_missing(error.filename) or remedy
    return str(error) if remedy is None else f"{error.strerror}{place}; {remedy}"
