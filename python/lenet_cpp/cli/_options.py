"""How a command declares its options: in a text, as ``--help`` shows them.

::

    Images:
      IMAGE...  image files [also: -i, --image-file]
      -b, --batch-size N  images a run [default: 1]
      --preprocess
      --benchmark [BOOL]  print AutoLog's report in the end: environment, settings, times of each
          stage [also: --enable_benchmark] [default: False]

Two spaces or a new line end what the user writes. ``[also: ...]`` are other spellings, such as
those of Paddle's guides, which ``--help`` mentions once; before an argument they are flags. The
name of a value says its type (``_KINDS``): ``a|b`` is a choice, ``N,...`` a list, ``FILE...`` may
be repeated, ``[BOOL]`` is true when it stands alone, other words are texts. A name alone is an
option of ``SHARED``, so that one thing has one flag in every command; its text may be replaced, or
what it has in parentheses. Under ``Examples:`` are calls, with ``%prog`` for the command.
"""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click

from lenet_cpp.cli._command import SETTINGS, run
from lenet_cpp.inference.predictor import Predictor
from lenet_cpp.inference.program import find_built
from lenet_cpp.interchange.torch import models as torch_models
from lenet_cpp.models import MODELS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from click.shell_completion import CompletionItem


class Options(SimpleNamespace):
    """What a command gets: an attribute for each option and argument."""

    def only(self, *names: str) -> dict[str, Any]:
        """Return some of them, as keyword arguments."""
        return {name: getattr(self, name) for name in names}


_SHARED = """
  -m, --model NAME  [also: --model-name]
  -p, --params FILE  [also: --params-file, --pretrained]
  --num-classes N  number of classes (default: the model's) [also: --class_dim]
  --image-size N
      height and width of the images, in pixels (default: the model's) [also: --img_size]
  -b, --batch-size N  images a run
  --preprocess FILE
      how images are prepared and outputs are reported: preprocess.json, or what a toolkit wrote,
      such as PaddleClas's and PaddleX's inference.yml (default: that beside the model, else
      what the registry has for the model)
  --data-dir DIR  folder with the four MNIST files in IDX format, gzipped or not (default: Paddle's
      cache when it is complete, else the embedded sample of 6,000 images)
  --accelerator auto|plain|onednn|openvino|tensorrt
      what computes Paddle's operators (default: auto; that is the fastest by measurement with the
      Paddle engine, oneDNN with python; the others have kernels of their own), and tensorrt for
      onnxruntime on a GPU
  --precision fp32|bf16|int8|tf32
      of the arithmetic; int8 is for a quantized model, tf32 for a GPU (default: fp32)
  --threads N  CPU threads of a run [default: 1] [also: --cpu_threads]
  --program FILE  the C++ program (default: build/lenet_infer_test, or the one in PATH)
  --seed SEED
  --lr X  peak learning rate [also: --learning-rate]
  -o, --output-dir DIR  the folder to write
  --softmax/--no-softmax  append a softmax, so that the output is probabilities (default: logits)
  --name STEM  stem of the files (default: the source's)
  --json  print JSON
  --report FILE  also write the report as JSON
"""

EXPORTED_MODEL = """
Arguments:
  [MODEL]  folder of an exported model, or its program: .pdmodel, .json or .onnx (default: the
      bundled LeNet) [also: -m, --model-file, -d, --model-dir]
Model:
  -p, --params-file FILE  its parameters (default: NAME.pdiparams beside the program)
"""
TORCH_MODEL = f"""
  -m, --model NETWORK
      the network of PyTorch parameters: {", ".join(torch_models.NETWORKS)} or FILE.py:NAME
"""

_EXIT_STATUS = """\
Exit status: 0 success; 1 {one}; 2 wrong usage; 3 a file is missing; 4 a model or its parameters
are damaged, or do not fit each other; 5 an image, a value or a name cannot be used; 6 not
supported here, or a package is missing; 7 an unsupported version of Paddle; 8 an engine or a
converter failed, or the disk is full; 130 interrupted; 141 the reader of the output went away."""


class _File(click.Path):
    """The name of a file or a folder, which is opened, and judged, by who reads it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not value:
            self.fail("the name is empty", param, ctx)
        return Path(value)


class _List(click.types.StringParamType):
    """Several values, separated by commas."""

    def __init__(self, each: click.ParamType[Any], *, unique: bool = True) -> None:
        self._each, self._unique = each, unique

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        parts = tuple(self._each.convert(part, param, ctx) for part in value.split(","))
        return tuple(dict.fromkeys(parts)) if self._unique else parts


class _ModelName(click.Choice):  # type: ignore[type-arg]  # click 8.1 has none to give
    """A registered model, which is completed, or ``FILE.py:SPEC``: the registry resolves it."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        del param, ctx
        return value


class _Integer(click.IntRange):
    """An integer in a range, which messages call an integer."""

    name = "integer"


_KINDS: dict[str, click.ParamType[Any]] = {
    **dict.fromkeys(("FILE", "IMAGE", "MODEL", "PATH", "SOURCE"), _File()),
    **dict.fromkeys(("DIR", "MODEL_DIR"), _File(file_okay=False)),
    **dict.fromkeys(("RUNS", "MB", "ID"), _Integer(min=0)),
    **dict.fromkeys(("SEED", "EPOCHS"), click.INT),
    "N": _Integer(min=1),
    "C,H,W": _List(_Integer(min=1), unique=False),
    "NAME": _ModelName(list(MODELS), case_sensitive=False),
    "X": click.FLOAT,
    "SECONDS": click.FloatRange(min=0, max=3600),
    "[BOOL]": click.BOOL,
}
"""What the name of a value says of its type."""


def _kind(value: str) -> click.ParamType[Any]:
    if value.endswith(",..."):
        return _List(_kind(value[:-4]))
    if "|" in value:
        return click.Choice(value.split("|"), case_sensitive=False)
    return _KINDS.get(value.removesuffix("..."), click.STRING)


_BOOLEAN = re.compile("1|0|t|f|y|n|true|false|yes|no|on|off", re.IGNORECASE)
_TAG = re.compile(r"\s*\[(also|default|required|refused|ignored)(?:: ([^]]*))?\]")


def _entries(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield heading, specification and text of each option that a text declares."""
    group = "Options"
    for entry in re.split(r"\n(?! {3})", text):  # what is indented more belongs to the line above
        if entry.startswith(" "):
            spec, *said = re.split(r" {2,}|\n", entry.strip(), maxsplit=1)
            yield group, spec, " ".join(" ".join(said).split())
        elif entry:
            group = entry.rstrip(":")


SHARED = {
    spec[spec.index("--") :].split(" ")[0]: (spec, said) for _, spec, said in _entries(_SHARED)
}
"""Name to specification and text of an option that several commands take."""


def _refuse(why: str, ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value is not None:
        raise click.UsageError(f"{param.opts[-1]}: {why}", ctx)


def _ignore(why: str, ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value is not None:
        print(f"{ctx.command_path}: {param.opts[-1]} has no effect: {why}", file=sys.stderr)


def _declare(group: str, given: str, own: str) -> Any:
    """Make an option or an argument, with what ``--help`` shows of it."""
    spec, shared = SHARED.get(given, (given, ""))
    tags = dict(_TAG.findall(shared + own))
    also = tags.get("also", "").replace(",", "").split()
    settings: dict[str, Any] = {"default": tags["default"]} if "default" in tags else {}
    made: Any
    if spec.startswith("-"):
        names = re.findall(r"(?:^|, )(-[^ ,]+)", spec)
        value = spec.rpartition(names[-1])[2].strip()
        if value:
            settings |= {"type": _kind(value), "multiple": bool(re.search(r"[^,]\.\.\.$", value))}
            settings["nargs"] = len(value.split())
        else:
            settings |= {"is_flag": True, **({"default": None} if "/" in spec else {})}
        for tag, tell in (("refused", _refuse), ("ignored", _ignore)):
            if tag in tags:
                settings |= {"callback": partial(tell, tags[tag]), "expose_value": False}
        made = click.Option([*names, *also], required="required" in tags, **settings)
    else:
        value = spec.strip("[.]")
        name = next((flag for flag in also if flag.startswith("--")), value.lower()).strip("-")
        settings |= {"nargs": -1 if spec.endswith("...") else 1, "required": spec[0] != "["}
        made = click.Argument([name], metavar=spec, type=_kind(value), **settings)
    shown = [f"default: {tags['default']}"] if tags.get("default", "False") != "False" else []
    shown += [f"also {', '.join(also)}"] if also else []
    shown += [f"{tag}: {tags[tag]}" for tag in ("refused", "ignored") if tag in tags]
    words = _TAG.sub("", own) or _TAG.sub("", shared)
    if words.startswith("("):
        words = f"{shared.partition(' (')[0]} {words}"
    made.help = words + (f" ({'; '.join(shown)})" if shown else "")
    made.spec, made.group, made.also = spec, group, also
    return made


def _is_single(param: Any) -> bool:
    return isinstance(param, click.Argument) and param.nargs == 1


class Command(click.Command):
    """A command: options, a text with examples, and a function that returns a status."""

    params: list[Any]

    def __init__(
        self, function: Callable[[Options], int], declared: str, text: str, one: str
    ) -> None:
        super().__init__(function.__name__, help=text, context_settings=SETTINGS)
        self.declare(declared)
        self.examples = [entry[1:] for entry in _entries(declared) if entry[0] == "Examples"]
        self._function, self._one = function, one

    def declare(self, declared: str) -> None:
        """Take more options."""
        entries = _entries(declared)
        self.params += [_declare(*entry) for entry in entries if entry[0] != "Examples"]

    def __call__(self, argv: Sequence[str] | None = None, **obj: Any) -> int:
        """Run the command as a script of its own, with arguments or those of the process.

        ``obj`` is what a script knows and a user does not say, such as the folder of the clone.
        """
        return run(self, Path(sys.argv[0]).name, sys.argv[1:] if argv is None else argv, obj)

    def invoke(self, ctx: click.Context) -> int:
        """Call the function with all options as one object."""
        with click.core.augment_usage_errors(ctx):
            return self._function(Options(**ctx.params, **(ctx.obj or {})))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take also ``-x=1``, ``--x=1`` and the flags that name a positional argument."""
        with click.core.augment_usage_errors(ctx):  # click leaves it out where a value is missing
            return super().parse_args(ctx, list(self._plain(ctx, args)))

    def _plain(self, ctx: click.Context, args: list[str]) -> Iterator[str]:
        names = {
            name.replace("_", "-"): param
            for param in self.params
            for name in (*param.opts, *param.also)
            if name.startswith("-")  # an argument's own name does not
        }

        def split(given: str) -> tuple[str, str, str, Any]:
            name, equals, value = given.partition("=")
            if len(name) == 3:
                name = name.replace("--", "-")  # --x is -x
            return name, equals, value, names.get(name.replace("_", "-"))

        # Of a flag that is given twice the last one counts, as for an option.
        single = [i for i, one in enumerate(args) if _is_single(split(one)[3])]
        dropped = {i + j for i in single[:-1] for j in range(2 - ("=" in args[i]))}
        args = [one for i, one in enumerate(args) if i not in dropped]
        for index, given in enumerate(args):
            if given == "--":
                yield from args[index:]
                return
            name, equals, value, param = split(given)
            following = "".join(args[index + 1 : index + 2])
            if isinstance(param, click.Argument):
                if not equals and following[:1] in {"", "-"} and not ctx.resilient_parsing:
                    raise click.BadOptionUsage(name, f"Option '{given}' needs a value.", ctx)
                yield from [value] if equals else []
            elif isinstance(names.get(given[:2]), click.Argument) and given[1] != "-":
                yield given[2:]  # of -iFILE
            elif param is not None and param.spec.endswith(" [BOOL]") and not equals:
                yield name if _BOOLEAN.fullmatch(following) else f"{name}=true"
            elif param is not None and len(name) == 2:
                yield from [name, value] if equals else [name]
            else:
                yield given

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the names that ``--help`` shows."""
        hidden = {name for param in self.params for name in param.also}
        found = super().shell_complete(ctx, incomplete)
        return [item for item in found if item.value not in hidden]

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write usage, text, options by group, examples and the exit status."""
        self.format_usage(ctx, formatter)
        formatter.write(f"\n{self.help}\n")
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.params:
            groups.setdefault(param.group, []).append((param.spec, param.help))
        groups.setdefault("Options", []).append(("-h, --help", "show this message and exit"))
        for name, records in groups.items():
            with formatter.section(name):
                formatter.write_dl(records, col_max=34)
        formatter.write("\nExamples:\n")
        for example, text in self.examples:
            formatter.write(f"  {example.replace('%prog', ctx.command_path)}\n      {text}\n")
        status = textwrap.fill(_EXIT_STATUS.format(one=self._one), formatter.width)
        formatter.write(f"\n{status}\n")


def command(
    declared: str, *, text: str = "", one: str = "standard output cannot be written"
) -> Callable[[Callable[[Options], int]], Command]:
    """Make a command of a function that takes the options and returns the exit status.

    Args:
        declared: The options, and examples of calls.
        text: What the command does; the function's docstring when empty.
        one: What the exit status 1 says.
    """
    return lambda function: Command(
        function, declared, inspect.cleandoc(text or function.__doc__ or ""), one
    )


def open_predictor(options: Options, engine: Any, **settings: Any) -> Predictor:
    """Load the model that the options of ``EXPORTED_MODEL`` name, with the default for None."""
    model = options.model_file
    kind = "model_dir" if model is not None and model.is_dir() else "model_file"
    settings |= {kind: model, **options.only("params_file", "precision")}
    given = {name: value for name, value in settings.items() if value is not None}
    return Predictor(engine=engine, **given)


def print_files(files: Sequence[Path]) -> None:
    """Print the names and sizes of files, of the variables of a large model only the first."""
    shown = files if len(files) <= 20 else files[:10]
    for path in shown:
        print(f"  {path.name}  {path.stat().st_size:,} bytes")
    if len(shown) < len(files):
        size = sum(path.stat().st_size for path in files[len(shown) :])
        print(f"  and {len(files) - len(shown)} more files, {size:,} bytes")


def print_check(found: str, refusal: str) -> None:
    """Print what a check found; ``refusal`` says why predict does not support the model."""
    print(f"{'compared' if refusal else 'checked'}: {found}")
    if refusal:
        print(f"predict does not run it: {refusal}")


def find_program(options: Options) -> Path | None:
    """Return lenet_infer_test, which a wheel does not contain."""
    if options.program is not None:
        return Path(options.program)
    return find_built("lenet_infer_test", Path(getattr(options, "root", "")))
