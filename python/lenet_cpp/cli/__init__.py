"""The command ``lenet-cpp`` and its subcommands, one module each.

A subcommand is a function that takes the options and returns the exit status::

    @command(examples="  {prog} digit.png --model-dir lenet  one image")
    @shared.images("image files, or folders of them")
    @shared.batch_size("images a run", 1)
    @option("--labels FILE", "names of the classes", group="Results")
    def main(options: Options) -> int:
        '''Classify images. The whole docstring is what --help says first.'''

Declare in ``_shared.py`` what a second command takes too, so that one thing has one flag.
An option is declared as ``--help`` shows it; ``also`` are other spellings, such as those of
Paddle's guides. Write names with hyphens: underscores, ``-x=1`` and ``--x=1`` are taken alike.
For wrong combinations raise ``click.UsageError``. Every :class:`lenet_cpp.errors.Error` becomes one
line and its exit code. Import what is heavy inside the function. Name the module in ``COMMANDS``.

Each ``main`` can be called with a list of arguments, as ``scripts/*.py`` and the tests do.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.shell_completion import CompletionItem, shell_complete

from lenet_cpp.cli._command import SETTINGS, run, run_cli

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main", "run_cli", "run_script"]

COMMANDS = {
    "train": ("train", "Train a network on MNIST"),
    "export": ("export_model", "Export trained parameters as an inference model"),
    "predict": ("predict", "Classify images with an exported model, in C++"),
    "infer": ("infer", "Classify images with trained parameters, in Paddle's training engine"),
    "py-infer": ("py_infer", "Classify images with an exported model, in Paddle's training engine"),
    "verify": ("verify", "Compare the answers of C++ and Python"),
    "quantize": ("quantize", "Quantize a model to 8-bit integers"),
    "import": ("import_model", "Import a model from PyTorch, ONNX or Caffe2"),
    "export-onnx": ("export_onnx", "Write a model as an ONNX file"),
    "convert": ("convert_model", "Convert a model between Paddle's formats"),
    "torch-train": ("torch_train", "Train a network in PyTorch"),
    "fetch-paddle": ("fetch_paddle", "Make the Paddle library that a C++ build links to"),
    "explain": ("explain", "Show how the native engine computes a model"),
    "benchmark": ("benchmark", "Measure latency and throughput of a model in each engine"),
}
"""Name to module and summary."""

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


class _Group(click.Group):
    """The subcommands; a module is imported when its subcommand is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of ``COMMANDS``, not of the alphabet."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        found = import_module(f"lenet_cpp.cli.{COMMANDS[cmd_name][0]}").main
        return found if isinstance(found, click.Command) else _foreign(cmd_name, found)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the subcommands without importing them."""
        names = [name for name in COMMANDS if name.startswith(incomplete)]
        found = [CompletionItem(name, help=COMMANDS[name][1]) for name in names]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the subcommands with their summaries."""
        self.format_usage(ctx, formatter)
        formatter.write(f"\n{self.help}\n")
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])
        click.Command.format_options(self, ctx, formatter)
        formatter.write(_EPILOG)


def _foreign(name: str, function: Any) -> click.Command:
    """A command that parses its arguments itself."""
    parameter = click.Argument(["argv"], nargs=-1, type=click.UNPROCESSED)
    return click.Command(
        name,
        callback=lambda argv: function(list(argv)),
        params=[parameter],
        add_help_option=False,
        context_settings={"ignore_unknown_options": True},
    )


def _print_versions(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from lenet_cpp.cli._versions import versions

        click.echo("\n".join(f"{name} {value}" for name, value in versions().items()))
        ctx.exit()


_GROUP = _Group(
    "lenet-cpp",
    help="Run image classifiers trained in PaddlePaddle, from training to C++.",
    context_settings=SETTINGS,
    commands={name: click.Command(name) for name in COMMANDS},  # to suggest one for another
    subcommand_metavar="COMMAND ...",
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_print_versions,
            help="print the versions of lenet-cpp, Paddle and onnxruntime, and the instructions"
            " that the native engine uses",
        )
    ],
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``lenet-cpp``.

    Args:
        argv: The arguments; those of the process when None.

    Returns:
        The exit status.

    Raises:
        SystemExit: The usage was wrong, which was said, or ``--help`` was printed.
    """
    instruction = os.environ.get(_COMPLETE)
    if instruction:
        return shell_complete(_GROUP, {}, "lenet-cpp", _COMPLETE, instruction)
    arguments = sys.argv[1:] if argv is None else list(argv)
    return run(_GROUP, "lenet-cpp", arguments or ["--help"])


def run_script(file: str, **obj: Any) -> NoReturn:
    """Run the subcommand whose module has the name of a script, which lies in a clone.

    Args:
        file: The script.
        **obj: What the script gives the command beside the user's options.
    """
    path = Path(file).resolve()
    sys.exit(import_module(f"lenet_cpp.cli.{path.stem}").main(root=path.parents[1], **obj))
