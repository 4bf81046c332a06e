"""Model formats: recognising them, and converting one into another.

What the formats are, who reads and writes each, and what cannot be converted is in
``docs/formats.md``. Paddle is imported when a model is converted, not with this package.
"""

from __future__ import annotations

from lenet_cpp.formats.convert import Conversion, convert_model
from lenet_cpp.formats.source import FORMATS, Source, find_source

__all__ = ["FORMATS", "Conversion", "Source", "convert_model", "find_source"]
