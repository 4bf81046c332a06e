"""``lenet-cpp fetch-paddle``: create the folder paddle_inference that a C++ build links to.

The work is done by scripts/fetch_paddle_inference.py, which run.sh and CMake call before anything
is installed; a wheel has a copy of it.
"""

import sys
from argparse import Namespace
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from click import option

import lenet_cpp
from lenet_cpp.cli import _options as cli
from lenet_cpp.errors import Unsupported

_CLONE = Path(__file__).resolve().parents[3]
_SCRIPT = "fetch_paddle_inference"


@cli.command("""
%prog --copy -o DIR
    copy the files of this Python's paddlepaddle, about 700 MB, instead of linking to them
%prog --source official --version 3.3.1 --sha256 HEX
    download the archive that Paddle publishes
""")
@option(
    "--source",
    type=cli.choice("wheel", "official"),
    help="source of the library (default: wheel, unless the folder is official)",
)
@cli.output_dir(help="the folder to create (default: third_party/paddle_inference)")
@option(
    "--check",
    is_flag=True,
    help="only report what the folder has; the exit status is 0 if it is valid",
)
@option("--force", is_flag=True, help="create the folder again even if it is valid")
@cli.option_group(
    "Wheel",
    option("--site-packages", type=cli.FOLDER, help="folder that contains the package paddle"),
    option("--copy", is_flag=True, help="write real files instead of links"),
)
@cli.option_group(
    "Official archive",
    option("--version", metavar="V", help="Paddle's version, 3.1 to 3.3, such as 3.3.1"),
    option("--url", metavar="URL", help="http, https or file (default: made from the version)"),
    option("--archive", type=cli.FILE, help="a local archive instead of a download"),
    option("--sha256", metavar="HEX", help="expected SHA-256 of the archive"),
    option(
        "--timeout", type=float, default=30.0, metavar="S", help="seconds to wait for a response"
    ),
    option("--max-size", metavar="SIZE", help="maximum size of the unpacked files (default: 4G)"),
)
def main(**given: Any) -> int:
    """Create the folder paddle_inference, which the C++ build links to.

    Both sources give the same folder, except that with the wheel include/ holds this project's own
    declarations, because the wheel has no headers. The library of the archive runs in your
    programs: give --sha256 to verify it, because otherwise you have to trust the server.
    """
    # An editable installation has the copy in another folder than the modules.
    places = [*(Path(folder, "fetch_paddle") for folder in lenet_cpp.__path__), _CLONE]
    found = next((place for place in places if (place / f"scripts/{_SCRIPT}.py").is_file()), None)
    if found is None:
        raise Unsupported(
            f"scripts/{_SCRIPT}.py is not part of this installation: run it in a clone"
        )
    sys.path.insert(0, str(found / "scripts"))
    script = import_module(_SCRIPT)
    args = Namespace(**given)
    args.output_dir = args.output_dir or script.THIRD_PARTY / "paddle_inference"
    try:
        script.complete(args)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    status: int = script.status_of(args)
    return status
