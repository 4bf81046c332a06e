"""Make a small network for each folder, by lenet_cpp's Paddle, and run it there."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any
from zlib import crc32

import numpy as np

from tools.toolkits.cases import TOLERANCE, Case, read_cases

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Exported as .pdmodel; the others as .json.
OLD_FORMAT = ("cls", "paddlex2_crop", "paddlex2_resize", "paddlex2_tall")

# Outputs that are 0.5 to the bit for every picture, as are thresholds: the toolkits compare some
# with > and others with >=.
EXACT = {
    "cls_multilabel": [5],
    "exactly_half": [0, 1],
    "paddlex3_multilabel": [5],
    "person_attribute": [4],
    "table_attribute": [2],
    "vehicle_attribute": [12],
}


def ours(folder: Path) -> None:
    """Write the networks, and their outputs by paddle.inference, each picture alone."""
    from paddle import inference

    for case in read_cases(folder):
        with np.load(folder / case.name / "tensors.npz") as stored:
            tensors = dict(stored)
        stem = folder / case.name / ("model" if case.config == "model.yml" else "inference")
        suffix = "pdmodel" if case.name in OLD_FORMAT else "json"
        export(network(case, list(tensors.values())), stem, suffix, list(tensors.values()))
        config = inference.Config(f"{stem}.{suffix}", f"{stem}.pdiparams")
        config.disable_glog_info()
        config.disable_mkldnn()
        predictor = inference.create_predictor(config)
        outputs = {path: run_paddle(predictor, tensor) for path, tensor in tensors.items()}
        np.savez(folder / case.name / "outputs.npz", **outputs)


def run_paddle(predictor: Any, tensor: Any) -> Any:
    predictor.get_input_handle("x").copy_from_cpu(np.ascontiguousarray(tensor[None]))
    predictor.run()
    (name,) = predictor.get_output_names()
    return predictor.get_output_handle(name).copy_to_cpu()


def network(case: Case, tensors: Sequence[Any]) -> Any:
    """Return a small network of random weights whose outputs differ from picture to picture."""
    import paddle
    from paddle import nn

    paddle.seed(crc32(case.name.encode()))
    # Where the crop lies matters, except where pictures keep their own sizes.
    side = 2 if len({tensor.shape for tensor in tensors}) == 1 else 1
    body = nn.Sequential(
        *(nn.Conv2D(len(tensors[0]), 12, 5, stride=3), nn.ReLU(), nn.MaxPool2D(3, 2)),
        *(nn.AdaptiveAvgPool2D(side), nn.Flatten()),
    )
    with paddle.no_grad():
        features = np.concatenate([body(paddle.to_tensor(each[None])).numpy() for each in tensors])
    linear = nn.Linear(features.shape[1], case.count)
    exact = EXACT.get(case.name, [])
    softmax = case.kind in {"Topk", "ThreshOutput"}
    # A spread that gives large scores, or scores near thresholds that not every picture passes.
    spread = 2 if softmax else 1.3
    if case.count > 100:
        spread = 5
    shift = -1.6 if case.kind in {"MultiLabelThreshOutput", "VehicleAttribute"} else 0
    for seed in range(100_000):
        weight = np.random.default_rng(seed).standard_normal(linear.weight.shape)
        weight[:, exact] = 0
        logits = features.astype(np.float64) @ weight
        scale = spread / (logits.std(axis=0) + (weight == 0).all(axis=0))
        bias = shift - logits.mean(axis=0) * scale
        bias[exact] = 0
        logits = logits * scale + bias
        if softmax:
            values = np.exp(logits - logits.max(axis=1, keepdims=True))
            values /= values.sum(axis=1, keepdims=True)
        else:
            values = 1 / (1 + np.exp(-logits))
        if len(exact) == case.count or is_telling(case, values):
            linear.weight.set_value((weight * scale).astype(np.float32))
            linear.bias.set_value(bias.astype(np.float32))
            return nn.Sequential(body, linear, nn.Softmax() if softmax else nn.Sigmoid())
    raise RuntimeError(f"{case.name}: no weights give outputs that tell")


def is_telling(case: Case, values: Any) -> bool:
    """Return whether the outputs show what they are compared with, and are clear of it.

    Args:
        case: The folder.
        values: Of each picture, float64 [pictures, outputs].
    """
    exact = EXACT.get(case.name, [])
    others = np.delete(values, exact, axis=1)
    thresholds = sorted({*case.thresholds, 0.5}) if case.thresholds else []
    distances = [np.diff(np.sort(others, axis=1)[:, -case.shown - 1 :], axis=1).min() / 2]
    distances += [np.abs(others - threshold).min() / 5 for threshold in thresholds]
    if min(distances) < TOLERANCE:
        return False
    if case.kind == "Topk":
        return len(set(values.argmax(axis=1))) > 1
    edges = [thresholds[0] - 0.1, *thresholds, thresholds[-1] + 0.1]
    found = deciding(case, values)
    between = [(found > low) & (found < high) for low, high in pairwise(edges)]
    return bool(np.any(between, axis=1).all())


def deciding(case: Case, values: Any) -> Any:
    """Return what is compared with thresholds; each column must be between any two of them."""
    exact = EXACT.get(case.name, [])
    others = np.delete(values, exact, axis=1)
    if case.kind == "ThreshOutput":
        return values[:, 1:] if case.count == 2 else values.max(axis=1, keepdims=True)
    if case.kind == "MultiLabelThreshOutput":
        # With few classes also a picture of none.
        return others.max(axis=1, keepdims=True) if case.count < 20 else others.reshape(-1, 1)
    if case.kind == "VehicleAttribute":
        groups = [each for each in (range(10), range(10, 19)) if not {*each} & {*exact}]
        return np.stack([values[:, group].max(axis=1) for group in groups], axis=1)
    # Of a person hat, glasses, and what is held in front, each with a threshold of its own.
    return others[:, [0, 1, -8]] if case.kind == "PersonAttribute" else others


def export(layer: Any, stem: Path, suffix: str, tensors: Sequence[Any]) -> None:
    import paddle
    from paddle import pir_utils

    sizes = tensors[0].shape if len({each.shape for each in tensors}) == 1 else (3, None, None)
    layer.eval()
    guard = pir_utils.DygraphPirGuard if suffix == "json" else pir_utils.DygraphOldIrGuard
    with guard():
        spec = [paddle.static.InputSpec([None, *sizes], "float32", "x")]
        paddle.jit.save(layer, str(stem), input_spec=spec)
