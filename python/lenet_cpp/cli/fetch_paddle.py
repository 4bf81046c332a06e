"""``lenet-cpp fetch-paddle``: make the folder paddle_inference that a C++ build links to.

The work is done by scripts/fetch_paddle_inference.py, which run.sh and CMake call before anything
is installed; a wheel has a copy of it.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_cpp.errors import Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

_PACKAGE = Path(__file__).resolve().parents[1]
_PLACES = (_PACKAGE / "fetch_paddle", _PACKAGE.parents[1])  # of a wheel; of a clone
_SCRIPT = "scripts/fetch_paddle_inference.py"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; it parses the arguments."""
    for place in _PLACES:
        if (place / _SCRIPT).is_file():
            status: int = _load(place / _SCRIPT)["main"](argv)
            return status
    raise Unsupported(f"{_SCRIPT} is not part of this installation: run it in a clone")


def _load(script: Path) -> dict[str, Any]:
    return runpy.run_path(str(script), run_name="lenet_cpp.fetch_paddle")
