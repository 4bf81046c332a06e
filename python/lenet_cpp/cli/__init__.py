"""The command ``lenet-cpp`` and its subcommands, one module each, whose function is ``main``.

``_options.py`` has the class and the options of all. For wrong combinations raise
``click.UsageError``; every :class:`lenet_cpp.errors.Error` becomes one line and its exit code.
Import what is heavy inside the function. Name the module in ``COMMANDS``.

Each command can be called with a list of arguments, as ``scripts/*.py`` and the tests do.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import click
from click.shell_completion import shell_complete

from lenet_cpp.cli._command import SETTINGS, run, run_cli

__all__ = ["load", "main", "run_cli", "run_script"]

COMMANDS = {
    "predict": ("predict", "Classify images with a model"),
    "predict-many": ("predict_many", "Classify folders and tables of any size, also on clusters"),
    "serve": ("serve", "Serve models over HTTP, in C++"),
    "benchmark": ("benchmark", "Measure a model in each engine, or profile its layers"),
    "verify": ("verify", "Compare the outputs of C++ and Python"),
    "match-preprocess": ("match_preprocess", "Find out from outputs how images were prepared"),
    "models": ("models", "List the networks that can be trained and exported"),
    "train": ("train", "Train a network on MNIST"),
    "export": ("export_model", "Export trained parameters as an inference model"),
    "quantize": ("quantize", "Quantize a model to 8-bit integers"),
    "import": ("import_model", "Import a model from PyTorch, ONNX or Caffe2"),
    "export-onnx": ("export_onnx", "Write a model as an ONNX file"),
    "convert": ("convert_model", "Convert a model between Paddle's formats"),
    "torch-train": ("torch_train", "Train a network in PyTorch"),
    "bundle": ("bundle", "Write a program with a model, to copy to another computer"),
    "web": ("web", "Write a page that runs a model in the browser"),
    "fetch-paddle": ("fetch_paddle", "Create the Paddle library that a C++ build links to"),
    "help": ("help_", "Print the help of a command, or the exit statuses"),
}
"""Name to module and summary."""

_REPLACED = {
    "infer": "predict with the engine dygraph",
    "py-infer": "predict with the engine executor",
    "explain": "the profile of benchmark",
}
"""Commands of 0.1, by name."""

_MEANT = {"classify": "predict", "run": "predict"}
"""Names that users of other tools try, and the command that does this here."""

_COMPLETE = "_LENET_CPP_COMPLETE"  # the name that click gives to this variable

_EPILOG = """
Examples:
  lenet-cpp predict inference_model/lenet photo.jpg
  lenet-cpp COMMAND --help

Complete commands and options with the Tab key: add one line to the shell's start-up file.
  bash   eval "$(_LENET_CPP_COMPLETE=bash_source lenet-cpp)"   in ~/.bashrc
  zsh    eval "$(_LENET_CPP_COMPLETE=zsh_source lenet-cpp)"    in ~/.zshrc
  fish   _LENET_CPP_COMPLETE=fish_source lenet-cpp | source    in ~/.config/fish/config.fish
"""


def load(name: str) -> Any:
    """Return the command that has a name; its module is imported only now."""
    return import_module(f"lenet_cpp.cli.{COMMANDS[name][0]}").main


class _Group(click.Group):
    """The subcommands, each with its summary alone until it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of ``COMMANDS``, not of the alphabet."""
        del ctx
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] in _REPLACED:
            ctx.fail(f"{args[0]} was replaced by {_REPLACED[args[0]]}")
        if args[0] in _MEANT:
            ctx.fail(f"No such command '{args[0]}'. Did you mean '{_MEANT[args[0]]}'?")
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else None, rest

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are."""
        del ctx
        formatter.write(_EPILOG)


def versions() -> dict[str, str]:
    """Return name to version without importing Paddle, and what the native engine uses.

    The latter are its instruction set, and the arithmetic that it uses for bf16. A bug report needs
    them.
    """
    import lenet_cpp
    from lenet_cpp._core import describe_bf16

    found = {"lenet-cpp": lenet_cpp.__version__}
    for engine in lenet_cpp.available_engines():
        found[engine.name] = engine.version or f"is not available: {engine.unavailable}"
    try:
        with lenet_cpp.Predictor(engine="native") as predictor:
            instructions = predictor.profile(1, runs=1).instructions
    except lenet_cpp.Error as error:  # an instruction set was asked for that is not here
        instructions = f"unknown ({error})"
    return {**found, "native instructions": instructions, "native bf16": describe_bf16()}


def _print_versions(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        click.echo("\n".join(f"{name} {value}" for name, value in versions().items()))
        ctx.exit()


@click.group(
    cls=_Group,
    context_settings=SETTINGS,
    commands={name: click.Command(name, short_help=text) for name, (_, text) in COMMANDS.items()},
    subcommand_metavar="COMMAND ...",
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_versions,
    help="print the versions of this package and its engines, or why an engine is not available,"
    " and the instructions that the native engine uses",
)
def _group() -> None:
    """Run PaddlePaddle and ONNX image classifiers from C++, Python, a server or a web page.

    Answers are checked against Paddle or ONNX Runtime.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``lenet-cpp`` with arguments, or those of the process, and return the exit status.

    Raises:
        SystemExit: The usage was wrong, and a message said so, or ``--help`` was printed.
    """
    instruction = os.environ.get(_COMPLETE)
    if instruction:
        return shell_complete(_group, {}, "lenet-cpp", _COMPLETE, instruction)
    arguments = sys.argv[1:] if argv is None else list(argv)
    return run(_group, "lenet-cpp", arguments or ["--help"])


def run_script(file: str, **obj: Any) -> NoReturn:
    """Run the subcommand whose module has the name of a script of a clone.

    ``obj`` is what the script gives the command beside the user's options.
    """
    path = Path(file).resolve()
    name = next(name for name, (place, _) in COMMANDS.items() if path.stem == place)
    sys.exit(load(name)(root=path.parents[1], **obj))
