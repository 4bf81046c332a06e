"""``lenet-cpp help``: the help of a command, and the meaning of the exit statuses."""

from typing import Any

import click
from tabulate import tabulate

from lenet_cpp import errors
from lenet_cpp.cli import _options as cli

_TOPIC = "exit-status"
_OTHERS = {
    0: "The command succeeded.",
    1: "Outputs differ, no preparation fits, or standard output cannot be written.",
    2: "The options and arguments are wrong.",
    129: "SIGHUP ended the command.",
    130: "Ctrl-C ended the command.",
    141: "The reader of the output went away.",
    143: "SIGTERM ended the command.",
}


@cli.command(f"%prog {_TOPIC}\n    explain the exit statuses of all commands")
@cli.argument("topic", metavar="[COMMAND]", required=False, help=f"a command, or {_TOPIC}")
def main(topic: str | None) -> int:
    """Print the help of a command, or the table of exit statuses."""
    if topic == _TOPIC:
        kinds = [getattr(errors, name) for name in errors.__all__ if name != "Error"]
        said = {kind.exit_code: f"{kind.__name__}: {kind.__doc__}" for kind in kinds} | _OTHERS
        print(tabulate(sorted(said.items()), tablefmt="plain"))
        return 0
    root = click.get_current_context().find_root()
    command: Any = root.command
    if topic is not None:
        _, command, _ = command.resolve_command(root, [topic])
    with command.make_context(topic or root.info_name, ["--help"], parent=topic and root):
        return 0  # it was printed
