"""Paddle, PyTorch and ONNX, which are imported when something of them is first used."""

from typing import TYPE_CHECKING

from lenet_cpp._base.lazy import LazyModule

if TYPE_CHECKING:
    import onnx
    import paddle
    import torch
else:
    onnx, paddle, torch = map(LazyModule, ("onnx", "paddle", "torch"))

__all__ = ["onnx", "paddle", "torch"]
