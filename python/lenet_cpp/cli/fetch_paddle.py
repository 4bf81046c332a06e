"""``lenet-cpp fetch-paddle``: make the folder paddle_inference that a C++ build links to.

The work is done by scripts/fetch_paddle_inference.py, which run.sh and CMake call before anything
is installed; a wheel has a copy of it.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import click

import lenet_cpp
from lenet_cpp.errors import Unsupported

_SCRIPT = "scripts/fetch_paddle_inference.py"
_CLONE = Path(__file__).resolve().parents[3]


@click.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("argv", nargs=-1, type=click.UNPROCESSED)
def main(argv: tuple[str, ...]) -> int:
    """Run the script, which parses the arguments."""
    # An editable installation has the copy in another folder than the modules.
    for place in (*(Path(folder, "fetch_paddle") for folder in lenet_cpp.__path__), _CLONE):
        if (place / _SCRIPT).is_file():
            script = runpy.run_path(str(place / _SCRIPT), run_name="lenet_cpp.fetch_paddle")
            status: int = script["main"](list(argv))
            return status
    raise Unsupported(f"{_SCRIPT} is not part of this installation: run it in a clone")
