"""Export trained networks, and convert models between Paddle's formats."""

from lenet_cpp.export.convert import Conversion, convert_model
from lenet_cpp.export.inference_model import export_model, export_separate
from lenet_cpp.export.separate_layout import combine_separate, write_separate
from lenet_cpp.formats.installation import ExportResult

__all__ = [
    "Conversion",
    "ExportResult",
    "combine_separate",
    "convert_model",
    "export_model",
    "export_separate",
    "write_separate",
]
