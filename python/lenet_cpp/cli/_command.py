"""How a command declares its options, and how it runs from a terminal."""

from __future__ import annotations

import errno
import inspect
import os
import sys
import textwrap
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click

from lenet_cpp._base.optional import require_paddle
from lenet_cpp.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from click.shell_completion import CompletionItem


def _hyphens(name: str) -> str:
    return name.replace("_", "-")


SETTINGS: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
    "token_normalize_func": _hyphens,
}
"""Of every click context: names may be written with hyphens or underscores."""

_EXIT_STATUS = """\
Exit status: 0 success; 1 {one}; 2 wrong usage; 3 a file is missing; 4 a model or its parameters
are damaged, or do not fit each other; 5 an image, a value or a name cannot be used; 6 not
supported here, or a package is missing; 7 an unsupported version of Paddle; 8 an engine or a
converter failed; 130 interrupted; 141 the reader of the output went away."""

_ELSEWHERE = "name another place to write to (see --help)"
_REMEDIES = {
    errno.ENOSPC: f"free some, or {_ELSEWHERE}",
    errno.EDQUOT: f"free some, or {_ELSEWHERE}",
    errno.EROFS: _ELSEWHERE,
    errno.EACCES: f"allow it, or {_ELSEWHERE}",
    errno.EPERM: f"allow it, or {_ELSEWHERE}",
}

Options = SimpleNamespace
"""What a command gets: an attribute for each option and argument."""


class _File(click.Path):
    """The type of an option that names a file; it is opened, and judged, by who reads it."""

    def __init__(self, completion: str) -> None:
        super().__init__(path_type=Path)
        self._completion = completion

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not value:
            self.fail("the name is empty", param, ctx)
        return super().convert(value, param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        found = super().shell_complete(ctx, param, incomplete)
        found[0].type = self._completion
        return found


class CommaList(click.types.StringParamType):
    """The type of an option that takes several values, separated by commas."""

    name = "list"

    def __init__(self, each: Any, *, unique: bool = True) -> None:
        self._each, self._unique = each, unique

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        parts = tuple(self._each.convert(part, param, ctx) for part in value.split(","))
        return tuple(dict.fromkeys(parts)) if self._unique else parts


FILE = _File("file")
FOLDER = _File("dir")
POSITIVE = click.IntRange(min=1)
NATURAL = click.IntRange(min=0)


_KINDS = {"N": POSITIVE, "N,...": CommaList(POSITIVE), "FILE": FILE, "DIR": FOLDER, "X": float}
"""What the name of a value says of its type."""


class _Option(click.Option):
    """An option under a heading of ``--help``, with other spellings that it shows once."""

    def __init__(self, spec: str, text: str, also: str, group: str, **settings: Any) -> None:
        self.spec, self.also, self.group = spec, also.split(), group
        *names, last = spec.split(", ", spec.count(", -"))
        last, _, value = last.partition(" ")
        if "|" in value:
            settings.setdefault("type", click.Choice(value.split("|"), case_sensitive=False))
        elif value == "[BOOL]":
            settings = {"default": False, **settings, "type": click.BOOL}
            settings |= {"is_flag": False, "flag_value": "true"}
        elif value:
            settings.setdefault("type", _KINDS.get(value, str))
        else:
            settings["is_flag"] = True
        super().__init__([*names, last, *self.also], help=text, **settings)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        """Return the names and the text, with the default and the other spellings."""
        del ctx
        known = isinstance(self.default, (str, int, float, Path)) and self.default is not False
        return self.spec, _help(self.help, self.also, f"default: {self.default}" if known else "")


class _Argument(click.Argument):
    """An argument; ``also`` are flags that may stand before its value."""

    def __init__(self, name: str, text: str, also: str, **settings: Any) -> None:
        self.also, self.group = also.split(), "Arguments"
        super().__init__([name], **settings)
        self.help = text

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        """Return the name and the text, with the flags."""
        del ctx
        return f"{self.metavar}{'...' if self.nargs < 0 else ''}", _help(self.help, self.also)


def _help(text: str | None, also: list[str], default: str = "") -> str:
    extra = "; ".join(filter(None, [default, f"also {', '.join(also)}" if also else ""]))
    return (text or "") + (f" ({extra})" if extra else "")


def _flags(param: click.Parameter) -> list[str]:
    return param.also if isinstance(param, _Argument) else []


def _is_boolean(text: str) -> bool:
    try:
        click.BOOL.convert(text, None, None)
    except click.BadParameter:
        return False
    return True


class Command(click.Command):
    """A command: a group of options, a text with examples, and a function that returns a status."""

    def __init__(
        self, function: Callable[[Options], int], *, examples: str, one: str, **settings: Any
    ) -> None:
        super().__init__(context_settings=SETTINGS, **settings)
        self._function = function
        self._examples, self._one = examples, one

    def __call__(self, argv: Sequence[str] | None = None, **obj: Any) -> int:
        """Run the command as a script of its own.

        Args:
            argv: The arguments; those of the process when None.
            **obj: What a script knows and a user does not say, such as the folder of the clone.

        Returns:
            The exit status.

        Raises:
            SystemExit: The usage was wrong, which was said, or ``--help`` was printed.
        """
        return run(self, Path(sys.argv[0]).name, sys.argv[1:] if argv is None else argv, obj)

    def invoke(self, ctx: click.Context) -> int:
        """Call the function with all options as one object."""
        status: int = self._function(Options(**ctx.params, **(ctx.obj or {})))
        return status

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take also ``-x=1``, ``--x=1`` and the flags that name a positional argument."""
        return super().parse_args(ctx, list(self._plain(ctx, args)))

    def _plain(self, ctx: click.Context, args: list[str]) -> Iterator[str]:
        short = {name for param in self.params for name in param.opts if len(name) == 2}
        positional = {_hyphens(flag) for flag in self._also(_Argument)}
        switches = {
            _hyphens(name)
            for param in self.params
            if param.type is click.BOOL and not getattr(param, "is_flag", True)
            for name in param.opts
        }
        single = {
            _hyphens(name) for each in self.params if each.nargs == 1 for name in _flags(each)
        }
        repeated = [i for i, one in enumerate(args) if _hyphens(one.partition("=")[0]) in single]
        # Of a flag that is given twice the last one counts, as for an option.
        dropped = {i + j for i in repeated[:-1] for j in range(2 - ("=" in args[i]))}
        args = [one for i, one in enumerate(args) if i not in dropped]
        for index, given in enumerate(args):
            if given == "--":
                yield from args[index:]
                return
            name, equals, value = given.partition("=")
            if len(name) == 3:
                name = name.replace("--", "-")  # --x is -x
            following = args[index + 1 : index + 2]
            if _hyphens(name) in positional:
                bare = not equals and (not following or following[0].startswith("-"))
                if bare and not ctx.resilient_parsing:
                    raise click.BadOptionUsage(name, f"Option '{given}' needs a value.", ctx)
                yield from [value] if equals else []
            elif name[:2] in positional and name[1] != "-":
                yield given[2:]  # of -iFILE
            elif _hyphens(name) in switches and following and not equals:
                yield name if _is_boolean(following[0]) else f"{name}=true"
            elif name in short:
                yield from [name, value] if equals else [name]
            else:
                yield given

    def _also(self, kind: type[click.Parameter] = click.Parameter) -> list[str]:
        params = (param for param in self.params if isinstance(param, kind))
        return [name for param in params for name in getattr(param, "also", ())]

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the names that ``--help`` shows."""
        hidden = self._also()
        found = super().shell_complete(ctx, incomplete)
        return [item for item in found if item.value not in hidden]

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write usage, text, options by group, examples and the exit status."""
        self.format_usage(ctx, formatter)
        formatter.write(f"\n{self.help}\n")
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(param, "group", "Options"), []).append(record)
        for name, records in groups.items():
            with formatter.section(name):
                formatter.write_dl(records, col_max=34)
        examples = self._examples.replace("{prog}", ctx.command_path)
        status = textwrap.fill(_EXIT_STATUS.format(one=self._one), formatter.width)
        formatter.write(f"\nExamples:\n{examples.rstrip()}\n\n{status}\n")


def command(
    *, examples: str, text: str | None = None, one: str = "another failure, such as a full disk"
) -> Callable[[Callable[[Options], int]], Command]:
    """Make a command of a function that takes the options and returns the exit status.

    Args:
        examples: Each a line with ``{prog}`` for the command, and one that says what it does.
        text: What the command does; the function's docstring when None.
        one: What the exit status 1 says.
    """

    def make(function: Callable[[Options], int]) -> Command:
        settings = {
            "name": function.__module__.rpartition(".")[2],
            "params": getattr(function, "__click_params__", []),
            "help": inspect.cleandoc(text or function.__doc__ or ""),
        }
        return Command(function, examples=examples, one=one, **settings)

    return make


def option(
    spec: str, text: str = "", *, also: str = "", group: str = "Options", **settings: Any
) -> Callable[[Any], Any]:
    """Declare an option.

    Args:
        spec: As ``--help`` shows it: ``-b, --batch-size N``. Nothing after the names makes a flag,
            ``[BOOL]`` a switch that is true when it stands alone, ``a|b`` a choice; ``N``,
            ``N,...``, ``X``, ``FILE`` and ``DIR`` name a type, another word a text.
        text: What it is.
        also: Other spellings, separated by spaces, which ``--help`` mentions once.
        group: Its heading in ``--help``.
        **settings: As for :class:`click.Option`.
    """
    return _declare(lambda: _Option(spec, text, also, group, **settings))


def argument(
    name: str, text: str, *, also: str = "", metavar: str | None = None, **settings: Any
) -> Callable[[Any], Any]:
    """Declare a positional argument; ``also`` are flags that may stand before its value."""
    shown = metavar or name.upper()
    return _declare(lambda: _Argument(name, text, also, metavar=shown, **settings))


def _declare(make: Callable[[], click.Parameter]) -> Callable[[Any], Any]:
    def decorate(function: Any) -> Any:
        function.__dict__.setdefault("__click_params__", []).insert(0, make())
        return function

    return decorate


def run(
    what: click.Command, program: str, argv: Sequence[str], obj: dict[str, Any] | None = None
) -> int:
    """Parse arguments and run a command; what went wrong is one line on standard error.

    Args:
        what: The command, or a group of commands.
        program: What the user called it.
        argv: The arguments.
        obj: Further attributes of the options.

    Returns:
        The exit status, as :func:`run_cli` gives it.

    Raises:
        SystemExit: The usage was wrong, which was said, or ``--help`` was printed.
    """

    def call() -> int:
        try:
            with what.make_context(program, list(argv), obj=obj) as ctx:
                status: int = what.invoke(ctx)
                return status
        except click.exceptions.Exit as done:
            raise SystemExit(done.exit_code) from None
        except click.UsageError as error:
            ctx_ = error.ctx or ctx
            said = " ".join(error.format_message().split())
            print(f"{ctx_.command_path}: error: {said}", file=sys.stderr)
            raise SystemExit(error.exit_code) from None

    return run_cli(call, program)


def run_cli(call: Callable[[], int], program: str | None = None) -> int:
    """Run a command and turn what it raises into one line on stderr and an exit code.

    Args:
        call: The parsed command, ready to run; returns its own exit code.
        program: What the user called it; the name of the script when None.

    Returns:
        The command's exit code; the ``exit_code`` of an :class:`lenet_cpp.errors.Error`;
        130 after Ctrl-C; 141 when the reader of standard output went away; 1 for another
        failure of the operating system, such as a full disk.
    """
    program = program or Path(sys.argv[0]).name
    # What Paddle says of itself when it is imported is of no use to whoever runs a command.
    os.environ.setdefault("GLOG_minloglevel", "2")
    warnings.filterwarnings("ignore", message="No ccache found", category=UserWarning)
    try:
        status = _with_paddle(call)
        sys.stdout.flush()  # here, where a closed pipe is still noticed
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
    return status


def _sentence(error: OSError) -> str:
    """Say what the operating system refused, and what to do."""
    place = "" if error.filename is None else f": {error.filename}"
    remedy = _REMEDIES.get(error.errno or 0)
    return str(error) if remedy is None else f"{error.strerror}{place}; {remedy}"


def _with_paddle(call: Callable[[], int]) -> int:
    """Say what to install where a part of the package that needs Paddle was reached without it."""
    try:
        return call()
    except ModuleNotFoundError as error:
        if error.name == "paddle":
            require_paddle()
        raise
