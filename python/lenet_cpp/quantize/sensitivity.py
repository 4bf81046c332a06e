"""What quantizing each layer alone costs."""

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from lenet_cpp._base.files import atomic_path
from lenet_cpp._base.optional import require_paddle
from lenet_cpp._base.worker import PROGRAM_DESC, Report, call
from lenet_cpp.errors import Unsupported
from lenet_cpp.models.building import build_layer
from lenet_cpp.quantize.deployed import PADDLE, Deployed, Quality, measure_quality, run_all
from lenet_cpp.quantize.images import Images
from lenet_cpp.quantize.int8_weights import quantizable_weights
from lenet_cpp.quantize.source import FloatModel
from lenet_cpp.quantize.task import QuantizationSettings, Task, check_settings, make_task

DEPLOYED = "(all, in int8)"


@dataclass(frozen=True)
class Sensitivity(Quality):
    """What one layer costs: the quality of the model of which only this layer is quantized.

    ``layer`` is its name in the network; ``(all)`` for all together, ``(all, in int8)`` for what is
    deployed. ``weight`` is the name of its weight in the program, None for all together, which has
    so many ``values``.
    """

    layer: str
    weight: str | None
    values: int


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
    Of the settings ``algo`` and ``batch_size`` are used.

    Returns the layers in the order of the program; then all together, and all together in int8.
    Errors are those of :func:`lenet_cpp.quantize.quantize`.
    """
    require_paddle()
    check_settings("static-ptq", settings)
    names = {}
    if source.spec is not None:
        layer = build_layer(source.spec, source.num_classes, source.input_shape[-1])
        state = layer.state_dict().items()
        names = {tensor.name: key.removesuffix(".weight") for key, tensor in state}
    rows: list[dict[str, Any]] = [
        {"layer": names.get(name, name), "weight": name, "values": prod(shape)}
        for name, shape in quantizable_weights(source.program).items()
    ]
    everything = {"weight": None, "values": sum(row["values"] for row in rows)}
    rows += [{"layer": name, **everything} for name in ("(all)", DEPLOYED)]
    with tempfile.TemporaryDirectory(prefix="lenet-") as work:
        settings = replace(settings, via="paddle")
        task = make_task(source, images, "static-ptq", settings, Path(work), Path(work))
        np.save(Path(work, "test.npy"), images.test)
        call(
            "lenet_cpp.quantize.sensitivity:run_in_child",
            {"task": asdict(task), "rows": rows},
            doing="quantizing",
            report=report,
            variables=PROGRAM_DESC,
        )
        reference, *answers = (np.load(Path(work, f"{i}.npy")) for i in range(len(rows) + 1))
    return [
        Sensitivity(**asdict(measure_quality(reference, answer, images.labels)), **row)
        for row, answer in zip(rows, answers, strict=True)
    ]


def run_in_child(task: dict[str, Any], rows: list[dict[str, Any]], report: Report) -> None:
    """Run the float model and those of the rows; write their outputs, as ``INDEX.npy``.

    Each is made and removed again, so that one lies on the disk at a time. The task, as
    ``dataclasses.asdict`` describes it, is all layers.
    """
    from lenet_cpp.quantize import methods

    data = Path(task["data"])
    images = np.load(data / "test.npy")

    def save(index: int, model: Deployed) -> None:
        try:
            with model.opened(PADDLE) as run:
                answers = run_all(run, images)
        except Unsupported:  # oneDNN has no int8 product of two tensors
            with model.opened("native") as run:
                answers = run_all(run, images)
        np.save(data / f"{index}.npy", answers)

    save(0, Deployed(Path(task["program"]), "fp32"))
    for index, row in enumerate(rows):
        layer, only = row["layer"], [row["weight"]] if row["weight"] else []
        with tempfile.TemporaryDirectory(dir=data) as folder:
            one = Task(**task | {"output": folder, "only": only})
            share = methods.share_of(report, index, len(rows), f"layer {layer}")
            methods.quantize([asdict(one)], share)
            save(index + 1, Deployed(one.result, "int8" if layer == DEPLOYED else "fp32"))


def plot(found: Sequence[Sensitivity], path: Path, title: str) -> None:
    """Draw the error that each layer makes, in the format that the path's suffix says.

    It needs matplotlib, of the extra ``bench``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.5 + 0.28 * len(found)), layout="constrained")
    axes = figure.subplots()
    errors = [100 * one.relative_error for one in found]
    colours = ["tab:blue" if one.weight else "tab:gray" for one in found]
    bars = axes.barh([one.layer for one in found], errors, color=colours)
    axes.bar_label(bars, [f"{error:.2f} %" for error in errors], padding=3)
    axes.margins(x=0.15)
    axes.invert_yaxis()
    axes.set_xlabel("error of the outputs, of their spread (%)")
    axes.set_title(title)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)
