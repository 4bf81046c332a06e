"""The command ``lenet-cpp`` and its subcommands, one module each.

A subcommand is a function that takes the options and returns the exit status::

    @command(OPTIONS_AND_EXAMPLES)
    def main(options: Options) -> int:
        '''Classify images. The whole docstring is what --help says first.'''

``_options.py`` says how options are declared. For wrong combinations raise ``click.UsageError``;
every :class:`lenet_cpp.errors.Error` becomes one line and its exit code. Import what is heavy
inside the function. Name the module in ``COMMANDS``.

Each command can be called with a list of arguments, as ``scripts/*.py`` and the tests do.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.shell_completion import shell_complete

from lenet_cpp.cli._command import SETTINGS, run, run_cli

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["load", "main", "run_cli", "run_script"]

COMMANDS = {
    "train": ("train", "Train a network on MNIST"),
    "export": ("export_model", "Export trained parameters as an inference model"),
    "predict": ("classify:predict", "Classify images with an exported model, in C++"),
    "infer": (
        "classify:infer",
        "Classify images with trained parameters, in Paddle's training engine",
    ),
    "py-infer": (
        "classify:py_infer",
        "Classify images with an exported model, in Paddle's training engine",
    ),
    "verify": ("verify", "Compare the answers of C++ and Python"),
    "quantize": ("quantize", "Quantize a model to 8-bit integers"),
    "import": ("import_model", "Import a model from PyTorch, ONNX or Caffe2"),
    "export-onnx": ("export_onnx", "Write a model as an ONNX file"),
    "convert": ("convert_model", "Convert a model between Paddle's formats"),
    "torch-train": ("torch_train", "Train a network in PyTorch"),
    "bundle": ("bundle", "Write a program and a model as one thing to move"),
    "web": ("web", "Write a page that runs a model in the browser"),
    "fetch-paddle": ("fetch_paddle", "Make the Paddle library that a C++ build links to"),
    "serve": ("serve", "Serve models over HTTP, in C++"),
    "match-preprocess": (
        "match_preprocess",
        "Find out how images were prepared, from outputs of Python",
    ),
    "explain": ("explain", "Profile a model layer by layer in the native engine"),
    "benchmark": ("benchmark", "Measure latency and throughput of a model in each engine"),
}
"""Name to module, with the function when that is not ``main``, and summary."""

_COMPLETE = "_LENET_CPP_COMPLETE"  # the name that click gives to this variable

_EPILOG = """
Examples:
  lenet-cpp predict photo.jpg --model-dir inference_model/lenet
  lenet-cpp COMMAND --help

Complete commands and options with the Tab key: add one line to the shell's start-up file.
  bash   eval "$(_LENET_CPP_COMPLETE=bash_source lenet-cpp)"   in ~/.bashrc
  zsh    eval "$(_LENET_CPP_COMPLETE=zsh_source lenet-cpp)"    in ~/.zshrc
  fish   _LENET_CPP_COMPLETE=fish_source lenet-cpp | source    in ~/.config/fish/config.fish
"""


def load(name: str) -> Any:
    """Return the command that has a name; its module is imported only now."""
    module, _, function = COMMANDS[name][0].partition(":")
    return getattr(import_module(f"lenet_cpp.cli.{module}"), function or "main")


class _Group(click.Group):
    """The subcommands, each with its summary alone until it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of ``COMMANDS``, not of the alphabet."""
        del ctx
        return list(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else None, rest

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are."""
        del ctx
        formatter.write(_EPILOG)


def _print_versions(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from lenet_cpp.cli._versions import versions

        click.echo("\n".join(f"{name} {value}" for name, value in versions().items()))
        ctx.exit()


_GROUP = _Group(
    "lenet-cpp",
    help="Run image classifiers trained in PaddlePaddle, from training to C++.",
    context_settings=SETTINGS,
    commands={name: click.Command(name, short_help=text) for name, (_, text) in COMMANDS.items()},
    subcommand_metavar="COMMAND ...",
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_print_versions,
            help="print the versions of this package and its engines, or why an engine is not"
            " available, and the instructions that the native engine uses",
        )
    ],
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``lenet-cpp`` with arguments, or those of the process, and return the exit status.

    Raises:
        SystemExit: The usage was wrong, which was said, or ``--help`` was printed.
    """
    instruction = os.environ.get(_COMPLETE)
    if instruction:
        return shell_complete(_GROUP, {}, "lenet-cpp", _COMPLETE, instruction)
    arguments = sys.argv[1:] if argv is None else list(argv)
    return run(_GROUP, "lenet-cpp", arguments or ["--help"])


def run_script(file: str, **obj: Any) -> NoReturn:
    """Run the subcommand whose module or function has the name of a script of a clone.

    ``obj`` is what the script gives the command beside the user's options.
    """
    path = Path(file).resolve()
    name = next(name for name, (place, _) in COMMANDS.items() if path.stem in place.split(":"))
    sys.exit(load(name)(root=path.parents[1], **obj))
