"""What the commands share: how they read the guides' spellings and print help, and their options.

A command is a function with typed parameters, under click's decorators, that returns the exit
status. Of an option's names ``--help`` shows the first short and the first long one; the others,
such as those of Paddle's guides, are aliases that it mentions once.
"""

import math
import re
import sys
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from inspect import cleandoc
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import click
from click import option
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from lenet_cpp import _core
from lenet_cpp._base.text import printable
from lenet_cpp.cli._command import SETTINGS, run
from lenet_cpp.errors import BadInput
from lenet_cpp.inference.predictor import Predictor
from lenet_cpp.models import MODELS

_Function = TypeVar("_Function", bound="Callable[..., Any]")


class Argument(click.Argument):
    """A positional argument with a text for ``--help``, and flags that may name it."""

    def __init__(self, *args: Any, flags: Sequence[str] = (), **more: Any) -> None:
        text = more.pop("help")
        super().__init__(*args, **more)
        self.help, self.flags, self.group = text, flags, "Arguments"


class Command(click.Command):
    """A command that takes the guides' spellings and groups its options in ``--help``.

    The spellings are ``--img_size`` for ``--img-size``, ``-x=1`` and ``--x=1`` for ``-x 1``, the
    flags of an :class:`Argument`, which is the first one, and ``SWITCH`` alone or with a value.
    """

    def __call__(self, argv: Sequence[str] | None = None, **obj: Any) -> int:
        """Run the command as a script of its own, with arguments or those of the process.

        ``obj`` is what a script knows and a user does not say, such as the folder of the clone.
        """
        return run(self, Path(sys.argv[0]).name, sys.argv[1:] if argv is None else argv, obj)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the guides' spellings too."""
        with click.core.augment_usage_errors(ctx):  # click leaves it out where a value is missing
            return super().parse_args(ctx, self._plain(ctx, list(args)))

    def _plain(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Return the arguments as click takes them."""
        params = {
            name.replace("_", "-"): param
            for param in self.params
            for name in (param.flags if isinstance(param, Argument) else param.opts)
        }
        named: list[str] = []  # of an argument whose flag is given twice the last one counts
        plain: list[str] = []
        while args and args[0] != "--":
            given = args.pop(0)
            name, equals, value = _parts_of(given)
            param = params.get(name)
            if (
                name == "--model"
                and param is None
                and "model" in (each.name for each in self.params)
            ):
                said = "there is no option --model: give the model as the first argument"
                raise click.UsageError(said, ctx)
            if isinstance(param, Argument):
                if equals:
                    named = [value]
                elif args and not args[0].startswith("-"):
                    named = [args.pop(0)]
                elif ctx.resilient_parsing:
                    break
                else:
                    raise click.BadOptionUsage(name, f"Option '{given}' needs a value.", ctx)
            elif isinstance(params.get(given[:2]), Argument) and given[1] != "-":
                named = [given[2:]]  # of -mFILE
            else:
                plain += _plain_option(param, given, args[0] if args else "")
        return [*named, *plain, *args]

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the names that ``--help`` shows."""
        hidden = {name for param in self.params for name in set(param.opts) - {*shown(param)}}
        found = super().shell_complete(ctx, incomplete)
        return [item for item in found if item.value not in hidden]

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write usage, text, options by group, and examples."""
        self.format_usage(ctx, formatter)
        formatter.write(f"\n{cleandoc(self.help or '')}\n")
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for param in self.get_params(ctx):
            if record := _record(ctx, param):
                groups.setdefault(getattr(param, "group", "Options"), []).append(record)
        for title, records in filter(itemgetter(1), groups.items()):
            with formatter.section(title):
                formatter.write_dl(records, col_max=34)
        if self.epilog:
            formatter.write("\nExamples:\n")
            for line in self.epilog.strip("\n").split("\n"):
                formatter.write(f"  {line.replace('%prog', ctx.command_path)}\n")


def _parts_of(given: str) -> tuple[str, str, str]:
    """Return the name of a flag as click knows it, ``=`` if it is there, and what follows it."""
    name, equals, value = given.partition("=")
    name = name.replace("--", "-") if len(name) == 3 else name.replace("_", "-")
    return name, equals, value


def _plain_option(param: click.Parameter | None, given: str, following: str) -> list[str]:
    """Return one argument as click takes it.

    Args:
        param: The option that it names; None of a value, or of a name that is not known.
        given: What the user wrote.
        following: The argument behind it; empty where there is none.
    """
    name, equals, value = _parts_of(given)
    if param is None:
        return [given]
    if param.type is SWITCH and not equals:
        return [name if _BOOLEAN.fullmatch(following) else f"{name}=true"]
    if len(name) == 2:
        return [name, value] if equals else [name]
    return [given]


def shown(param: click.Parameter) -> list[str]:
    """Return the names that ``--help`` shows; the others are aliases."""
    short = [name for name in param.opts if not name.startswith("--")]
    return short[:1] + [name for name in param.opts if name.startswith("--")][:1]


def _record(ctx: click.Context, param: click.Parameter) -> tuple[str, str] | None:
    if isinstance(param, Argument):
        return str(param.metavar), f"{param.help}{_also(param.flags)}"
    known: Any = copy(param)
    known.opts = shown(param)
    known.help = f"{known.help}{_also([name for name in param.opts if name not in known.opts])}"
    record: tuple[str, str] | None = known.get_help_record(ctx)  # None: it is hidden
    return record


def _also(names: Sequence[str]) -> str:
    return f" (also {', '.join(names)})" if names else ""


def command(examples: str) -> Callable[[Callable[..., int]], Command]:
    """Return a decorator that makes a command of a function, whose docstring ``--help`` prints.

    Args:
        examples: Calls, with ``%prog`` for the command; what they do is indented below them.
    """
    return click.command(cls=Command, epilog=examples, context_settings=SETTINGS)


def option_group(title: str, *decorators: Callable[[Any], Any]) -> Callable[[_Function], _Function]:
    """Return a decorator that adds options under a heading of ``--help``."""

    def add(function: _Function) -> _Function:
        for decorator in reversed(decorators):
            decorator(function)
            param = function.__click_params__[-1]  # type: ignore[attr-defined]  # click's own
            param.group = getattr(param, "group", title)
        return function

    return add


class _File(click.Path):
    """The name of a file or a folder, which is opened, and judged, by who reads it."""

    def __init__(self, metavar: str) -> None:
        super().__init__(file_okay=metavar != "DIR")
        self.name = metavar

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        return Path(value) if value else self.fail("the name is empty", param, ctx)


class _Integer(click.ParamType):  # type: ignore[type-arg]  # click 8.1 has none to give
    """An integer, and perhaps at least so many."""

    name = "N"

    def __init__(self, least: float = -math.inf) -> None:
        self._least = least

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        number: int = click.INT.convert(value, param, ctx)
        if number < self._least:
            self.fail(f"{number} is not in the range x>={self._least}.", param, ctx)
        return number


class Several(click.types.StringParamType):
    """Values that are separated by commas, each once unless they are a shape."""

    name = "N,..."

    def __init__(self, each: Any = click.STRING, *, unique: bool = True) -> None:
        self._each, self._unique = each, unique

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        parts = tuple(self._each.convert(part, param, ctx) for part in value.split(","))
        return tuple(dict.fromkeys(parts)) if self._unique else parts


class _Network(click.Choice):  # type: ignore[type-arg]  # click 8.1 has none to give
    """A registered network, which is completed, or ``FILE.py:SPEC``: the registry resolves it."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if Path(value).suffix in {".onnx", ".pdmodel", ".json"}:
            self.fail(
                f"{value} is an exported model, and the name of a network is expected; give the"
                " model as an argument, without this option",
                param,
                ctx,
            )
        return value


class _Switch(click.types.BoolParamType):
    """True or false; true when the option stands alone."""

    name = "[BOOL]"


_BOOLEAN = re.compile("1|0|t|f|y|n|true|false|yes|no|on|off", re.IGNORECASE)
SWITCH, NETWORK = _Switch(), _Network(list(MODELS), case_sensitive=False)
FILE, FOLDER = _File("FILE"), _File("DIR")
NATURAL, COUNT, INTEGER = _Integer(0), _Integer(1), _Integer()
SHAPE, SECONDS = Several(COUNT, unique=False), click.FloatRange(min=0, max=3600)


def choice(*values: str) -> Any:
    """Return the type of an option with these values."""
    return click.Choice(values, case_sensitive=False)


argument = partial(click.argument, cls=Argument)
switch = partial(option, type=SWITCH, default=False, show_default=False)

# Options of several commands, so that one thing has one flag in all of them.
network = partial(
    option,
    "-n",
    "--network",
    "-m",
    "--model",
    "--model-name",
    type=NETWORK,
    metavar="NAME",
    help="the network: a registered name (lenet-cpp models), or FILE.py:SPEC",
)
params = partial(option, "-p", "--params", "--params-file", "--pretrained", type=FILE)
params_file = partial(
    option,
    "-p",
    "--params-file",
    type=FILE,
    help="parameters of the program (default: NAME.pdiparams beside it)",
)
num_classes = partial(
    option,
    "--num-classes",
    "--class_dim",
    type=COUNT,
    help="number of classes (default: the model's)",
)
image_size = partial(
    option,
    "--image-size",
    "--img_size",
    type=COUNT,
    help="height and width of the images, in pixels (default: the model's)",
)
batch_size = partial(option, "-b", "--batch-size", type=COUNT, help="images per run")
preprocess = partial(
    option,
    "--preprocess",
    type=FILE,
    help="description of how images are prepared and outputs are reported: preprocess.json, or a"
    " toolkit's file, such as PaddleClas's inference.yml (default: the file beside the model, or"
    " else the description of the network -n; without both, the shape of the input selects the"
    " preparation of digits or of ImageNet)",
)


class _StepChange(click.types.StringParamType):
    """A value for a step of the preprocessing, as the C++ programs read it."""

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        text: str = super().convert(value, param, ctx)
        try:
            _core.check_change(param.name, param.opts[0], text)
        except BadInput as error:
            raise click.UsageError(str(error), ctx) from None
        return text


def step_change(name: str, text: str, metavar: str = "V,...") -> Callable[[_Function], _Function]:
    """Return the option for a value of a step of the preprocessing."""
    return option(f"--{name}", type=_StepChange(), metavar=metavar, help=text)


STEP_CHANGES = tuple(
    step_change(name, text, metavar) for name, metavar, text in _core.step_options()
)
"""Options that replace steps of the preprocessing, as those of lenet_classify."""
data_dir = partial(
    option,
    "--data-dir",
    type=FOLDER,
    help="folder with the four MNIST files"
    " (default: Paddle's cache if it is complete, or else the embedded sample of 6,000 images)",
)
accelerator = partial(
    option,
    "--accelerator",
    type=choice("auto", "plain", "onednn", "openvino", "tensorrt"),
    help="library that computes Paddle's operators (default: auto, the fastest in measurements);"
    " tensorrt is for onnxruntime on a GPU",
)
precision = partial(
    option,
    "--precision",
    type=choice("fp32", "bf16", "int8", "tf32"),
    help="precision (default: fp32); int8 is for a quantized model, tf32 for a GPU",
)
threads = partial(
    option, "--threads", "--cpu_threads", type=COUNT, default=1, help="CPU threads per run"
)
program = partial(
    option,
    "--program",
    type=FILE,
    help="the C++ program (default: build/lenet_infer_test, or the one in PATH)",
)
seed = partial(option, "--seed", type=INTEGER)
learning_rate = partial(
    option,
    "--lr",
    "--learning-rate",
    "learning_rate",
    type=float,
    metavar="X",
    help="peak learning rate",
)
output_dir = partial(option, "-o", "--output-dir", type=FOLDER, help="the folder to write")
softmax = partial(
    option,
    "--softmax/--no-softmax",
    default=None,
    help="append a softmax, so that the output is probabilities (default: logits)",
)
stem = partial(
    option, "--name", metavar="STEM", help="stem of the file names (default: the source's)"
)
as_json = partial(option, "--json", "as_json", is_flag=True, help="print JSON")
report = partial(option, "--report", type=FILE, help="also write the report as JSON")
exported = partial(
    argument,
    "model",
    metavar="[MODEL]",
    required=False,
    type=FILE,
    help="an exported model: its folder, or .pdmodel, .json or .onnx (default: the bundled LeNet)",
)


def load_model(model: Path | None, params_file: Path | None, **settings: Any) -> Predictor:
    """Load a model of the user's, else the bundled one; None in settings is the default."""
    kind = "model_dir" if model is not None and model.is_dir() else "model_file"
    given = {kind: model, "params_file": params_file, **settings}
    return Predictor(**{name: value for name, value in given.items() if value is not None})


def print_files(files: Sequence[Path]) -> None:
    """Print the names and sizes of files; of more than 20 files, only the first ones."""
    few = files if len(files) <= 20 else files[:10]
    for path in few:
        print(f"  {path.name}  {path.stat().st_size:,} bytes")
    if len(few) < len(files):
        size = sum(path.stat().st_size for path in files[len(few) :])
        print(f"  and {len(files) - len(few)} more files, {size:,} bytes")


def note(text: str) -> None:
    """Print one line on standard error that begins with what the user called the command."""
    name = click.get_current_context().command_path
    print(f"{name}: note: {printable(text)}", file=sys.stderr)


def print_check(found: str, refusal: str) -> None:
    """Print what a check found; ``refusal`` says why predict does not support the model."""
    print(f"{'compared' if refusal else 'checked'}: {found}")
    if refusal:
        print(f"predict does not run it: {refusal}")


def refuse(*names: str, why: str) -> None:
    """Raise the usage error of these parameters, if the user gave one; ``why`` ends the message."""
    ctx = click.get_current_context()
    params = {param.name: param for param in ctx.command.params}
    for name in names:
        given = ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if given and ctx.params.get(name) is not False:
            flag = next((each for each in params[name].opts if each.startswith("--")), name.upper())
            raise click.UsageError(f"{flag} {why}")


def of_script(name: str, default: Any) -> Any:
    """Return what the script that runs the command told it, such as ``root``, its clone."""
    return (click.get_current_context().obj or {}).get(name, default)


def find_program(program: Path | None) -> Path | None:
    """Return lenet_infer_test, which a wheel does not contain."""
    from lenet_cpp.inference.program import find_built

    return program or find_built("lenet_infer_test", of_script("root", Path()))
