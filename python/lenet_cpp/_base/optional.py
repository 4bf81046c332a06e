"""Optional packages: which extra of lenet_cpp installs them."""

import sys
from importlib.util import find_spec

from lenet_cpp.errors import Unsupported

_DISTRIBUTIONS = {
    "paddle": "paddlepaddle",
    "pillow_heif": "pillow-heif",
    "reprod_log": "reprod-log",
}
_UP_TO_3_12 = ("paddle2onnx",) if sys.version_info >= (3, 13) else ()


def require(*modules: str, extra: str) -> None:
    """Check that optional packages are installed, without importing them.

    ``extra`` is the extra of this package that installs them, whose name no index has.

    Raises:
        Unsupported: A package is missing; the message says what to install.
    """
    for module in modules:
        try:
            found = find_spec(module) is not None
        except ValueError:  # a module whose import was forbidden has no specification
            found = False
        if not found:
            name = _DISTRIBUTIONS.get(module, module)
            old = ", with Python 3.12 or older" if module in _UP_TO_3_12 else ""
            raise Unsupported(
                f"this needs the Python package {name}: pip install '.[{extra}]' in a clone of"
                f" lenet_cpp, or pip install {name}{old}"
            )


def require_paddle() -> None:
    """Check that PaddlePaddle is installed, as :func:`require` does."""
    require("paddle", extra="paddle")
