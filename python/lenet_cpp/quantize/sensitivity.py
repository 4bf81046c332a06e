"""What quantizing each layer alone costs."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp._base.optional import require_paddle
from lenet_cpp.quantize.deployed import Deployed, outputs
from lenet_cpp.quantize.quality import Quality, measure_quality
from lenet_cpp.quantize.request import make_task, run_tasks
from lenet_cpp.quantize.settings import QuantizationSettings, check_settings
from lenet_cpp.quantize.task import QUANTIZED_OPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lenet_cpp._base.worker import Report
    from lenet_cpp.quantize.data import Images
    from lenet_cpp.quantize.source import FloatModel
    from lenet_cpp.quantize.task import Task

ALL_LAYERS = "(all)"
DEPLOYED = "(all, in int8)"
# Layers that one child process quantizes, and models that lie on the disk at a time.
_AT_ONCE = 8


@dataclass(frozen=True)
class Sensitivity:
    """What one layer costs.

    Attributes:
        layer: Its name in the network; ``(all)`` for all together, ``(all, in int8)`` for what
            is deployed.
        weight: The name of its weight in the program; empty for all together.
        values: How many values the weight has.
        quality: Of the model of which only this layer is quantized.
    """

    layer: str
    weight: str
    values: int
    quality: Quality


def analyse(
    source: FloatModel,
    images: Images,
    settings: QuantizationSettings,
    *,
    report: Report | None = None,
) -> list[Sensitivity]:
    """Quantize each layer alone by static-ptq, and all together, and run what results.

    A layer's model is run in float arithmetic with its values rounded, because oneDNN's int8
    switch takes fully connected layers along that the program leaves in float. Nothing is written.

    Args:
        source: The float model.
        images: To calibrate and to test with.
        settings: ``via``, ``algo`` and ``batch_size`` are used.
        report: Takes the progress: the layers done.

    Returns:
        In the order of the program; then all together, and all together in int8.

    Raises:
        lenet_cpp.Error: As :func:`lenet_cpp.quantize.quantize`.
    """
    require_paddle()
    check_settings("static-ptq", settings)
    settings = replace(settings, via="paddle")
    layers = [*_layers(source), (ALL_LAYERS, "", 0)]
    everything = sum(values for _, _, values in layers)
    (reference,) = outputs([source.deployed], images.test)
    found: list[Sensitivity] = []
    with tempfile.TemporaryDirectory(prefix="lenet-") as work:
        whole = make_task(source, images, "static-ptq", settings, Path(work), Path(work))
        for begin in range(0, len(layers), _AT_ONCE):
            some = layers[begin : begin + _AT_ONCE]
            with tempfile.TemporaryDirectory(dir=work) as name:
                models = _quantized(whole, some, Path(name), _share(report, layers, begin))
                rows = list(zip(some, models, strict=True))
                if begin + _AT_ONCE >= len(layers):
                    rows.append(((DEPLOYED, "", 0), replace(models[-1], int8=True)))
                answers = outputs([model for _, model in rows], images.test)
            found += [
                Sensitivity(layer, weight, values or everything,
                            measure_quality(reference, answer, images.labels))
                for ((layer, weight, values), _), answer in zip(rows, answers, strict=True)
            ]  # fmt: skip
    return found


def _quantized(
    whole: Task, layers: Sequence[tuple[str, str, int]], folder: Path, report: Report
) -> list[Deployed]:
    """Quantize each of some layers alone, or all layers where none is named."""
    tasks = []
    for index, (_, weight, _) in enumerate(layers):
        output = folder / str(index)
        output.mkdir()
        tasks.append(replace(whole, output=str(output), only=(weight,) if weight else ()))
    run_tasks(tasks, report=report)
    return [
        Deployed(
            task.prefix.with_name(f"{task.stem}.pdmodel"),
            task.prefix.with_name(f"{task.stem}.pdiparams"),
            int8=False,
        )
        for task in tasks
    ]


def _share(report: Report | None, layers: Sequence[tuple[str, str, int]], begin: int) -> Report:
    """Turn the progress of some layers into the progress of all."""
    some = len(layers[begin : begin + _AT_ONCE])

    def share(_what: str, done: int, total: int) -> None:
        if report is not None:
            at = begin + (max(done, 1) - 1) * some // total
            report(f"layer {layers[at][0]}", begin * total + done * some, len(layers) * total)

    return share


def _layers(source: FloatModel) -> list[tuple[str, str, int]]:
    """Name in the network, name in the program, and size of each weight that can be quantized."""
    import paddle
    from paddle import pir_utils

    from lenet_cpp.models.registry import build_layer

    layer = build_layer(source.spec, source.class_dim, source.input_shape[-1])
    names = {tensor.name: key.removesuffix(".weight") for key, tensor in layer.state_dict().items()}
    with pir_utils.OldIrGuard():
        block = paddle.static.Program.parse_from_string(source.program.read_bytes()).global_block()
        weights = [
            name
            for op in block.ops
            if op.type in QUANTIZED_OPS
            for name in op.input("Filter" if "conv" in op.type else "Y")
            if block.var(name).persistable
        ]
        return [
            (names.get(name, name), name, int(np.prod(block.var(name).shape)))
            for name in dict.fromkeys(weights)
        ]


def records(found: Sequence[Sensitivity]) -> list[dict[str, Any]]:
    """Describe the result for JSON."""
    return [
        {
            "layer": one.layer,
            "weight": one.weight or None,
            "values": one.values,
            "accuracy": one.quality.accuracy,
            "float_accuracy": one.quality.float_accuracy,
            "drop": one.quality.drop,
            "agreement": one.quality.agreement,
            **{
                key: value
                for key, value in asdict(one.quality).items()
                if key in {"images", "equal", "largest_difference", "relative_error"}
            },
        }
        for one in found
    ]


def plot(found: Sequence[Sensitivity], path: Path, title: str) -> None:
    """Draw the error that each layer makes; needs matplotlib, of the extra ``bench``.

    Args:
        found: What :func:`analyse` found.
        path: The picture; its suffix says in which format.
        title: Of the picture.
    """
    from matplotlib.figure import Figure

    from lenet_cpp._base.files import atomic_path

    figure = Figure(figsize=(8, 1.5 + 0.28 * len(found)), layout="constrained")
    axes = figure.subplots()
    labels = [one.layer for one in found]
    errors = [100 * one.quality.relative_error for one in found]
    colours = ["tab:blue" if one.weight else "tab:gray" for one in found]
    bars = axes.barh(labels, errors, color=colours)
    axes.bar_label(bars, [f"{error:.2f} %" for error in errors], padding=3)
    axes.margins(x=0.15)
    axes.invert_yaxis()
    axes.set_xlabel("error of the outputs, of their spread (%)")
    axes.set_title(title)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)
