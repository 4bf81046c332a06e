"""Write models by onnxruntime itself: optimized ones, and quantized ones."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from onnxruntime import quantization
from onnxruntime.quantization import QuantFormat, QuantType

sys.path.insert(0, str(Path(__file__).parents[2]))
from tools.exporters.networks import CONVOLUTIONAL, INPUTS, base, make_all

if TYPE_CHECKING:
    from tools.exporters.networks import Report

S8, U8 = QuantType.QInt8, QuantType.QUInt8
_SYMMETRIC = {"extra_options": {"ActivationSymmetric": True, "WeightSymmetric": True}}
STATIC: dict[str, tuple[QuantType, QuantType, dict[str, Any]]] = {
    "s8s8": (S8, S8, {}),
    "s8s8-channel": (S8, S8, {"per_channel": True}),
    "u8s8": (U8, S8, {}),
    "u8s8-channel": (U8, S8, {"per_channel": True}),
    "symmetric": (S8, S8, _SYMMETRIC),
    "u8u8": (U8, U8, {}),
}
LEVELS = {
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


class Images(quantization.CalibrationDataReader):
    """Drawn images for the calibration."""

    def __init__(self, network: str) -> None:
        random = np.random.RandomState(1)
        shape = (4, *INPUTS[network])
        self.batches = iter([random.uniform(-1, 1, shape).astype("float32") for _ in range(4)])

    def get_next(self) -> dict[str, Any] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"x": batch}


def make(folder: str, base_folder: str, way: str, report: Report) -> dict[str, Any]:
    """Write the files of one way: ``optimized``, ``QDQ``, ``QOperator`` or ``dynamic``."""
    variants: dict[str, Any] = {
        "optimized": LEVELS,
        "QDQ": STATIC,
        "QOperator": {name: STATIC[name] for name in ("u8s8-channel", "u8u8", "s8s8")},
        "dynamic": {"s8": {"weight_type": S8}, "u8": {"weight_type": U8}},
    }[way]
    networks = {"optimized": tuple(INPUTS), "dynamic": ("lenet", "resnet", "mobilenetv2", "vit")}

    def write(network: str, path: Path, variant: str) -> None:
        model, how = base(base_folder, network), variants[variant]
        if way == "optimized":
            _optimize(model, path, how)
        elif way == "dynamic":
            quantization.quantize_dynamic(model, path, **how)
        else:
            activation, weight, more = how
            quantization.quantize_static(
                model,
                path,
                Images(network),
                quant_format=QuantFormat[way],
                activation_type=activation,
                weight_type=weight,
                **more,
            )

    cases: Any = [
        (f"{network}-{variant}", network, {"variant": variant})
        for network in networks.get(way, CONVOLUTIONAL)
        for variant in variants
    ]
    return make_all(folder, cases, write, report)


def _optimize(model: str, path: Path, level: Any) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
