"""Export to ONNX and import from it; importing this package imports neither onnx nor Paddle."""

from lenet_cpp.interchange.onnx.export import export_paddle, export_torch
from lenet_cpp.interchange.onnx.import_ import fix_sizes, import_onnx

__all__ = ["export_paddle", "export_torch", "fix_sizes", "import_onnx"]
