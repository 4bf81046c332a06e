"""Take a network from PyTorch over ONNX to Caffe2, and compare the answers of each station."""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lenet_cpp._base.files import atomic_path
from lenet_cpp.agreement import Comparison, compare
from lenet_cpp.data.images import CenterCrop, Normalize, Pipeline, ToCHW, digit
from lenet_cpp.errors import BadInput, BadModel, Unsupported
from lenet_cpp.interchange.caffe2.nets import FLOAT, INIT_NET, PREDICT_NET, VALUE_INFO, read_nets
from lenet_cpp.interchange.onnx.files import OnnxSession
from lenet_cpp.interchange.torch import models as torch_models
from lenet_cpp.interchange.torch.models import as_arrays
from lenet_cpp.verify.across import softmax_of
from tools.caffe2.environment import call_worker, require_environment, run_nets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from lenet_cpp._base.worker import Report
    from lenet_cpp.verify.across import Context

IMAGE_SHAPES = {"lenet": (1, 28, 28), "resnet18": (3, 224, 224)}
"""Channels, height and width of the images of each network."""
ONNX_NAME = "output.onnx"
_FILES = (ONNX_NAME, INIT_NET, PREDICT_NET, VALUE_INFO)


class Station(NamedTuple):
    """One way to run the network: what ran, float32 [N, classes], and how it compares."""

    name: str
    outputs: NDArray[np.float32]
    comparison: Comparison


class RoundTrip(NamedTuple):
    """What a round trip found."""

    stations: tuple[Station, ...]  # PyTorch itself first
    versions: dict[str, str]  # of what ran in Caffe2's environment
    files: tuple[Path, ...]  # nothing unless all agree
    unread: str | None  # why our own reading of the nets was not compared, when it was not

    @property
    def agrees(self) -> bool:
        """Return whether every station agrees with PyTorch."""
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
    classes = _count_classes(network, params, state, num_classes)
    with tempfile.TemporaryDirectory(prefix="lenet-caffe2-") as name:
        folder = Path(name)
        np.save(folder / "inputs.npy", np.ascontiguousarray(images, np.float32))
        if state is not None:
            np.savez(folder / "state.npz", **state)  # type: ignore[arg-type] # only arrays
        versions = call_worker(
            "convert",
            folder,
            report=report,
            builder=network.builder,
            classes=classes,
            seed=seed,
            networks=str(Path(torch_models.__file__).with_name("networks.py")),
            params=str(params),
        )
        # The nets run in another process than the conversion, so that "without ONNX" is true.
        nets = [folder / INIT_NET, folder / PREDICT_NET]
        call_worker("run", folder, report=report, nets=[str(net) for net in nets], batch_size=1)
        info = {"input": [FLOAT, [1, *shape]]}
        (folder / VALUE_INFO).write_text(json.dumps(info) + "\n", encoding="utf-8")
        found, unread = _read_outputs(folder, images)
        reference = np.load(folder / "torch.npy", allow_pickle=False)
        if not np.isfinite(reference).all():
            raise BadModel(f"{network.name} gives values that are not finite")
        done = RoundTrip(_compare(reference, found), versions, (), unread)
        if not done.agrees:
            return done
        with ExitStack() as whole:  # all of the files or none
            for file in _FILES:
                shutil.copyfile(folder / file, whole.enter_context(atomic_path(output / file)))
        return done._replace(files=tuple(output / file for file in _FILES))


def _count_classes(
    network: torch_models.TorchNetwork,
    params: Path | None,
    state: Mapping[str, NDArray[Any]] | None,
    num_classes: int | None,
) -> int:
    """Return the number of classes, which the parameters decide if there are some."""
    bias = None if state is None else state.get(f"{network.last}.bias")
    classes = (num_classes or network.classes) if bias is None else bias.size
    if not 0 < classes <= 1 << 20 or num_classes not in {None, classes}:
        wanted = classes if num_classes is None else num_classes
        raise BadInput(f"{wanted} classes cannot be: {params or network.name} has {classes}")
    return classes


def _read_outputs(
    folder: Path, images: NDArray[np.float32]
) -> tuple[dict[str, NDArray[np.float32]], str | None]:
    """Return the outputs of each way to run the nets, and why onnxruntime does not run them."""
    found = {
        "Caffe2 through ONNX": np.load(folder / "caffe2_onnx.npy", allow_pickle=False),
        "Caffe2 alone": np.load(folder / "caffe2.npy", allow_pickle=False),
    }
    try:
        onnx = read_nets(folder / INIT_NET, folder / PREDICT_NET)
        found["its nets in onnxruntime"] = OnnxSession(onnx).run(images)[0]
    except Unsupported as error:
        return found, str(error)
    return found, None


def _compare(
    reference: NDArray[np.float32], found: dict[str, NDArray[np.float32]]
) -> tuple[Station, ...]:
    """Compare each station with PyTorch, which is the first."""
    return tuple(
        Station(name, outputs, compare(reference, outputs, names=("PyTorch", name)))
        for name, outputs in {"PyTorch": reference, **found}.items()
    )


def run(context: Context) -> NDArray[np.float32]:
    """Run Caffe2 as one of the ways of ``scripts/verify.py --across``."""
    require_environment()
    model, net = context.torch_name(), context.net
    wanted = IMAGE_SHAPES[model]
    if context.images.shape[1:] != wanted:
        raise Unsupported(f"the nets are made for images {list(wanted)} only")
    params, folder = context.work / "net.prm", context.work / "caffe2"
    torch_models.save_state(net, params)
    round_trip(model, context.images[:1], folder, params=params)
    nets = folder / INIT_NET, folder / PREDICT_NET
    return softmax_of(context, run_nets(*nets, context.images, batch_size=1))
