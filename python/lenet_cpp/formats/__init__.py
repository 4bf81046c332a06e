"""The files in a model's folder: programs, parameters, checkpoints, the manifest.

``docs/formats.md`` describes the formats, what reads and writes each of them, and what cannot be
converted. Nothing here imports Paddle.
"""

from typing import TYPE_CHECKING

from lenet_cpp._base.lazy import lazy_exports

if TYPE_CHECKING:
    from lenet_cpp.formats.checkpoint import StateMismatch
    from lenet_cpp.formats.source import FORMATS, Source, find_source

__all__ = ["FORMATS", "Source", "StateMismatch", "find_source"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "FORMATS": "lenet_cpp.formats.source",
        "Source": "lenet_cpp.formats.source",
        "StateMismatch": "lenet_cpp.formats.checkpoint",
        "find_source": "lenet_cpp.formats.source",
    },
)
