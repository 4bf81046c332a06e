"""From PyTorch over ONNX to Caffe2 and to Caffe2 alone, with the same answers at each station."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lenet_cpp._base.files import atomic_path
from lenet_cpp.agreement import Comparison, compare
from lenet_cpp.data.images import CenterCrop, Normalize, Pipeline, ToCHW, digit
from lenet_cpp.errors import BadInput, BadModel, Unsupported
from lenet_cpp.interchange.caffe2.nets import FLOAT, INIT_NET, PREDICT_NET, VALUE_INFO, read_nets
from lenet_cpp.interchange.onnx.files import OnnxSession
from lenet_cpp.interchange.torch import models as torch_models
from lenet_cpp.interchange.torch.models import as_arrays
from tools.caffe2.environment import call_worker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lenet_cpp._base.worker import Report

IMAGE_SHAPES = {"lenet": (1, 28, 28), "resnet18": (3, 224, 224)}
"""Channels, height and width of the images of each network."""
ONNX_NAME = "output.onnx"
_FILES = (ONNX_NAME, INIT_NET, PREDICT_NET, VALUE_INFO)


class Station(NamedTuple):
    """One way to run the network: what ran, float32 [N, classes], and how it compares."""

    name: str
    outputs: NDArray[np.float32]
    comparison: Comparison


@dataclass(frozen=True)
class RoundTrip:
    """What a round trip found.

    Attributes:
        stations: PyTorch itself first.
        versions: Of what ran in Caffe2's environment.
        files: What was written; nothing unless all agree.
        unread: Why our own reading of the nets was not compared, when it was not.
    """

    stations: tuple[Station, ...]
    versions: dict[str, str]
    files: tuple[Path, ...]
    unread: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether every station agrees with PyTorch."""
        return all(station.comparison.agrees for station in self.stations)


def guide_images(model: str, paths: list[Path]) -> NDArray[np.float32]:
    """Read image files as the guide does: the middle, divided by 255; a digit as LeNet takes it."""
    channels, height, width = IMAGE_SHAPES[model]
    middle = CenterCrop((height, width))
    scale = Normalize(1.0, (0.0,) * channels, (255.0,) * channels)
    pipeline = digit() if model == "lenet" else Pipeline("RGB", (middle, scale, ToCHW()))
    return pipeline.batch(paths)


def round_trip(
    model: str,
    images: NDArray[np.float32],
    output: Path,
    *,
    params: Path | None = None,
    num_classes: int | None = None,
    seed: int = 0,
    report: Report | None = None,
) -> RoundTrip:
    """Take a network from PyTorch to Caffe2 and back into a process without ONNX.

    Each image runs alone. When all outputs agree, ``output`` gets ``output.onnx``, ``init_net.pb``,
    ``predict_net.pb`` and ``value_info.json``.

    Raises:
        FileNotFound: ``params``, a ``state_dict``, is missing.
        BadModel: It is damaged, would run code, or is of another network.
        BadInput: A name or a number cannot be.
        BackendFailure: Caffe2's environment failed.
        Unsupported: That environment has not been made, or PyTorch is needed to read ``params``.
    """
    network = torch_models.get(model)
    shape = IMAGE_SHAPES[network.name]
    if images.shape[1:] != shape or not len(images):
        raise BadInput(f"images {list(images.shape)} do not fit {network.name}, {list(shape)}")
    if output.exists() and not output.is_dir():
        raise BadInput(f"{output} is a file: the output has to be a folder")
    state = None if params is None else as_arrays(torch_models.load_state(params))
    bias = None if state is None else state.get(f"{network.last}.bias")
    classes = (num_classes or network.classes) if bias is None else bias.size
    if not 0 < classes <= 1 << 20 or num_classes not in {None, classes}:
        wanted = classes if num_classes is None else num_classes
        raise BadInput(f"{wanted} classes cannot be: {params or network.name} has {classes}")
    with tempfile.TemporaryDirectory(prefix="lenet-caffe2-") as name:
        folder = Path(name)
        np.save(folder / "inputs.npy", np.ascontiguousarray(images, np.float32))
        if state is not None:
            np.savez(folder / "state.npz", **state)  # type: ignore[arg-type] # only arrays
        versions = call_worker(
            "convert",
            folder,
            report=report,
            networks=str(Path(torch_models.__file__).with_name("networks.py")),
            builder=network.builder,
            classes=classes,
            seed=seed,
            params=str(params),
        )
        # A process of its own: "without ONNX" is to be true.
        nets = [folder / INIT_NET, folder / PREDICT_NET]
        call_worker("run", folder, report=report, nets=[str(net) for net in nets], batch_size=1)
        info = {"input": [FLOAT, [1, *shape]]}
        (folder / VALUE_INFO).write_text(json.dumps(info) + "\n", encoding="utf-8")
        found = {"Caffe2 through ONNX": np.load(folder / "caffe2_onnx.npy", allow_pickle=False)}
        found["Caffe2 alone"] = np.load(folder / "caffe2.npy", allow_pickle=False)
        unread = None
        try:
            found["its nets in onnxruntime"] = OnnxSession(read_nets(*nets)).run(images)[0]
        except Unsupported as error:
            unread = str(error)
        reference = np.load(folder / "torch.npy", allow_pickle=False)
        if not np.isfinite(reference).all():
            raise BadModel(f"{network.name} gives values that are not finite")
        done = RoundTrip(_compare(reference, found), versions, (), unread)
        return replace(done, files=_install(folder, output)) if done.agrees else done


def _compare(
    reference: NDArray[np.float32], found: Mapping[str, NDArray[np.float32]]
) -> tuple[Station, ...]:
    """Compare each station with PyTorch, which is the first."""
    return tuple(
        Station(name, outputs, compare(reference, outputs, names=("PyTorch", name)))
        for name, outputs in {"PyTorch": reference, **found}.items()
    )


def _install(folder: Path, output: Path) -> tuple[Path, ...]:
    """Put the files into the output folder, all of them or none."""
    with ExitStack() as whole:
        for name in _FILES:
            shutil.copyfile(folder / name, whole.enter_context(atomic_path(output / name)))
    return tuple(output / name for name in _FILES)
