"""``lenet-cpp serve``: run the C++ program lenet_serve, which parses the arguments."""

from functools import partial
from pathlib import Path

import click

from lenet_cpp.errors import FileNotFound
from lenet_cpp.inference.bundled import bundled_model_dir
from lenet_cpp.inference.program import become_program, call_program, find_built

_NAME = "lenet_serve"
_BUNDLED = "Without MODEL, the server uses the digit model of the package."


def _program() -> Path:
    found = find_built(_NAME, Path())
    if found is None:
        raise FileNotFound(
            f"{_NAME} is missing: this package was built without libboost-dev or zlib1g-dev"
            " (Debian); install them and this package again, or add the program to PATH"
        )
    return found


def _print_help(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    if not asked or ctx.resilient_parsing:
        return
    try:
        text = call_program(_program(), f"--{param.name}").replace(_NAME, "lenet-cpp serve")
        text = text.replace(" MODEL... ", " [MODEL...] ")
        click.echo(text.replace("\nMODEL is", f"\n{_BUNDLED}\nMODEL is"))
    except FileNotFound as error:
        usage = "Usage: lenet-cpp serve [options] [MODEL...]"
        click.echo(f"{usage}\n\nServe models over HTTP with the C++ program. {_BUNDLED}\n\n{error}")
    ctx.exit()


_help_option = partial(
    click.option, is_flag=True, is_eager=True, expose_value=False, callback=_print_help
)


@click.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@_help_option("-h", "--help")
@_help_option("--help-all", "--help_all")
@click.argument("argv", nargs=-1, type=click.UNPROCESSED)
def main(argv: tuple[str, ...]) -> int:
    """Run the program in place of this process, with the bundled model if no other is named."""
    named = any(not argument.startswith("-") for argument in argv)
    become_program(_program(), argv if named else (*argv, str(bundled_model_dir())))
