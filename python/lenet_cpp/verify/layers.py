"""Compare a network layer by layer, to find the first layer whose outputs differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_cpp._base.frameworks import paddle
from lenet_cpp._base.optional import require_paddle
from lenet_cpp.agreement import difference, differences
from lenet_cpp.errors import BadModel
from lenet_cpp.formats.source import Source
from lenet_cpp.inference.model import check_model
from lenet_cpp.inference.predictor import LayerOutput, Predictor
from lenet_cpp.models import ModelSpec
from lenet_cpp.verify.files import find_models, load_trained_layer
from lenet_cpp.verify.routes import run_dygraph

_LAYER_IMAGES = 64
# Each layer and the operators that export may turn it into.
_OPERATORS = {
    "Conv2D": {"conv2d"},
    "Linear": {"matmul", "matmul_v2"},
    "BatchNorm2D": {"batch_norm"},
    "MaxPool2D": {"pool2d"},
    "AvgPool2D": {"pool2d"},
    "AdaptiveAvgPool2D": {"pool2d"},
    "Softmax": {"softmax"},
}
# A bias of these becomes an addition after the operator.
_BIASED = {"Conv2D", "Linear"}
_ADDITIONS = {"add", "elementwise_add"}


@dataclass(frozen=True)
class LayerComparison:
    """One layer of the trained network and its operator in the exported one."""

    format: str
    layer: str
    kind: str
    operator: str
    """The operator's type; empty when the operator is not known."""
    shape: tuple[int, ...]
    largest_difference: float
    share: float
    """The largest difference as a share of the tolerance: 1 is the limit."""
    differs: bool

    @property
    def size(self) -> str:
        """The largest difference as :func:`lenet_cpp.agreement.difference` writes it."""
        return difference(self.largest_difference, self.share)


def compare_layers(
    model_dir: Path,
    images: NDArray[np.float32],
    *,
    params: Path | None,
    formats: Sequence[str] | None = None,
    spec: ModelSpec | None = None,
) -> list[LayerComparison]:
    """Compare the network layer by layer, to find the first layer whose outputs differ.

    The first 64 images go through the trained layers and through the exported program with plain
    kernels and without graph optimization.

    The arguments and errors are as for :func:`lenet_cpp.verify.verify`. Returns the layers of each
    format, in the order of execution.
    """
    require_paddle()
    images = images[:_LAYER_IMAGES]
    found = find_models(model_dir, formats)
    opened = check_model(found[0].program, found[0].params)
    layer = load_trained_layer(opened, params, spec)
    layers = _record_layers(layer, images)
    result = []
    for model in found:
        with Predictor(
            model.program, model.params, accelerator="plain", ir_optim=False
        ) as predictor:
            operators = predictor.run_layers(images)
        result += _match_layers(model, layers, operators)
    return result


@dataclass(frozen=True)
class _LayerRun:
    """One call of a layer."""

    name: str
    kind: str
    biased: bool
    output: NDArray[np.float32]


def _record_layers(layer: paddle.nn.Layer, images: NDArray[np.float32]) -> list[_LayerRun]:
    """Run the network and keep the outputs of each of its layers."""
    runs: list[_LayerRun] = []

    def recorder(name: str) -> Callable[[Any, Any, Any], None]:
        def record(sublayer: Any, _inputs: Any, output: Any) -> None:
            if not isinstance(output, paddle.Tensor):  # the several of a recurrent cell
                return
            kind = type(sublayer).__name__
            biased = kind in _BIASED and sublayer.bias is not None
            # A copy, because an in-place operator may overwrite it afterwards.
            runs.append(_LayerRun(name, kind, biased, np.array(output.numpy())))

        return record

    hooks = [
        sublayer.register_forward_post_hook(recorder(name.lstrip(".")))
        for name, sublayer in layer.named_sublayers()
        if not sublayer.sublayers()
    ]
    try:
        run_dygraph(layer, images, len(images))
    finally:
        for hook in hooks:
            hook.remove()
    return runs


def _match_layers(
    model: Source, layers: Sequence[_LayerRun], operators: Sequence[LayerOutput]
) -> list[LayerComparison]:
    """Walk through layers and operators side by side, in the order of execution."""
    remaining = iter(operators)

    def next_operator(kinds: set[str], layer: _LayerRun) -> LayerOutput:
        for operator in remaining:
            # Batch normalization also gives its statistics, of one dimension.
            same_rank = operator.values.ndim == layer.output.ndim
            # "pd_op.add_:1" is the second in-place "add".
            if same_rank and re.sub(r"^pd_op\.|_?:\d+$", "", operator.op_type) in kinds:
                return operator
        raise BadModel(
            f"{model.program} has no operator for the layer {layer.name} ({layer.kind}):"
            " it is a model of another topology"
        )

    result = []
    for layer in layers:
        type_, values = "", layer.output
        if kinds := _OPERATORS.get(layer.kind):
            operator = next_operator(kinds, layer)
            if layer.biased:
                operator = next_operator(_ADDITIONS, layer)
            type_, values = operator.op_type, operator.values
        if values.shape != layer.output.shape:
            raise BadModel(
                f"{model.program}: {type_} gives {list(values.shape)} where the"
                f" layer {layer.name} gives {list(layer.output.shape)}"
            )
        distance, share = (float(one.max()) for one in differences(layer.output, values))
        found = model.format, layer.name, layer.kind, type_, values.shape, distance, share
        result.append(LayerComparison(*found, differs=share > 1))
    return result
