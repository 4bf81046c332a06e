"""A PyTorch ``state_dict`` as the parameters of the same network in Paddle, and back.

Both have a parameter under the path of its layer, and differ in three things: a linear layer's
matrix is [outputs, inputs] in PyTorch and [inputs, outputs] in Paddle; the statistics of a batch
normalization are ``running_mean`` and ``running_var`` there, ``_mean`` and ``_variance`` here; and
PyTorch counts the batches they come from. No value changes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_cpp._base.frameworks import paddle, torch
from lenet_cpp._base.optional import require_paddle
from lenet_cpp.data.mnist import read_mnist_dir, sample_dir, to_model_input
from lenet_cpp.errors import BadModel
from lenet_cpp.export.inference_model import EXPORT_FORMATS, export_model
from lenet_cpp.formats.checkpoint import array_specs, check_arrays
from lenet_cpp.formats.installation import ExportResult, checked_name, install, staging_folder
from lenet_cpp.formats.manifest import MeasuredAccuracy, sha256_file
from lenet_cpp.formats.training_record import measured_accuracy, read_torch_record
from lenet_cpp.interchange.checks import compare_routes
from lenet_cpp.interchange.torch import models as torch_models
from lenet_cpp.models import ModelSpec
from lenet_cpp.models.building import build_layer
from lenet_cpp.paddle_engines.running import random_batches

_Place = tuple[str, tuple[int, ...], bool]  # other name, shape, whether it is transposed there

_STATISTICS = {"_mean": "running_mean", "_variance": "running_var"}
_COUNTER = "num_batches_tracked"
_DIGITS = 200


def paddle_state(
    state: Mapping[str, NDArray[Any]],
    model: str | torch_models.TorchNetwork,
    *,
    num_classes: int | None = None,
    path: str | Path = "the state_dict",
) -> dict[str, NDArray[np.float32]]:
    """Give the arrays of a PyTorch ``state_dict`` the names and shapes that Paddle has for them.

    ``num_classes`` is by default as many as the last layer has outputs; ``path`` is for messages.

    Raises:
        BadInput: There is no such network.
        BadModel: The arrays are not those of the network; the message lists which are missing,
            unexpected, or of another shape or dtype.
    """
    require_paddle()
    network = torch_models.get(model)
    bias = state.get(f"{network.last}.bias")
    found = len(bias) if bias is not None and bias.ndim == 1 else None
    classes = next(n for n in (num_classes, found, network.classes) if n is not None)
    if found not in {None, classes}:
        raise BadModel(f"{path} is of a network of {found} classes, not {classes}")
    places = _places(network.spec, classes)
    arrays = {key: value for key, value in state.items() if key.rpartition(".")[2] != _COUNTER}
    wanted = {
        name: (key, shape[::-1] if transposed else shape, transposed)
        for key, (name, shape, transposed) in places.items()
    }
    return _renamed(arrays, wanted, path)


def torch_state(
    state: Mapping[str, NDArray[Any]], model: str, *, path: str | Path = "the state dict"
) -> dict[str, NDArray[np.float32]]:
    """The other way: give the arrays of a Paddle state dict PyTorch's names and shapes."""
    require_paddle()
    network = torch_models.get(model)
    bias = state.get(f"{network.last}.bias")
    places = _places(network.spec, network.classes if bias is None else bias.size)
    return _renamed(state, places, path)


def _renamed(
    state: Mapping[str, NDArray[Any]], places: Mapping[str, _Place], path: str | Path
) -> dict[str, NDArray[np.float32]]:
    check_arrays(Path(path), state, {key: (p[1], "float32") for key, p in places.items()})
    return {
        name: np.ascontiguousarray(state[key].T if transposed else state[key])
        for key, (name, _, transposed) in places.items()
    }


def _places(spec: ModelSpec, classes: int) -> dict[str, _Place]:
    """Return the place in PyTorch of each of Paddle's parameters, with Paddle's shape."""
    layer = build_layer(spec, classes, None)
    linear = {key for key, part in layer.named_sublayers() if isinstance(part, paddle.nn.Linear)}
    places = {}
    for key, (shape, _) in array_specs(layer.state_dict()).items():
        owner, _, last = key.rpartition(".")
        transposed = owner in linear and last == "weight"
        places[key] = f"{owner}.{_STATISTICS.get(last, last)}", shape, transposed
    return places


def import_state(
    path: str | Path,
    model: str,
    output_dir: str | Path,
    *,
    num_classes: int | None = None,
    image_size: int | None = None,
    name: str | None = None,
    formats: Iterable[str] = EXPORT_FORMATS,
    softmax: bool = False,
    weights_only: bool = True,
) -> ExportResult:
    """Make an exported model of a file of PyTorch parameters.

    This is :func:`lenet_cpp.export.export_model` with some of its arguments and the errors below.
    Before anything is written, the outputs of the network in PyTorch are compared with those of
    ``paddle.inference`` and of :class:`lenet_cpp.Predictor`, on random images and, where the model
    takes them, on digits. ``max_difference`` of the result is the largest difference from PyTorch's
    outputs.

    The file is what :func:`lenet_cpp.interchange.torch.load_state` takes, with ``weights_only``; a
    training record about it goes into the manifest. The model is a key of
    :data:`lenet_cpp.interchange.torch.NETWORKS`, in upper or lower case, or ``FILE.py:NAME``. When
    ``num_classes`` is given, the file must have so many. The size of the images is by default that
    in the training record, and without one that of the model in Paddle.

    Raises:
        BadInput: There is no such network, format or size of images, or the folder holds another
            model's export.
        FileNotFound: There is no such file, or it cannot be read.
        BadModel: The file is damaged, would run code, does not fit the network, or what became of
            it does not compute what PyTorch computes. Nothing is written, and an older export
            stays as it is.
        Unsupported: PyTorch is missing or too old.
        OSError: The folder cannot be written.
    """
    require_paddle()
    torch_models.require_torch()
    path, output = Path(path), Path(output_dir)
    network = torch_models.get(model)
    stem = checked_name(name or network.spec.stem)
    source = read_source(path, network, num_classes, image_size, weights_only=weights_only)
    inputs = random_batches((-1, *source.shape))
    if source.shape == (1, 28, 28):
        inputs.append(to_model_input(read_mnist_dir(sample_dir()).test.images[:_DIGITS]))
    with torch.inference_mode():
        rows = [source.net(torch.from_numpy(batch)) for batch in inputs]
        expected = [(one.softmax(dim=1) if softmax else one).numpy() for one in rows]
    with tempfile.TemporaryDirectory(prefix="lenet_cpp-") as folder:
        file = Path(folder, f"{network.spec.name}.pdparams")
        paddle.save(source.parameters, str(file))
        exported = export_model(
            file,
            Path(folder, "exported"),
            model=network.spec,
            name=stem,
            formats=formats,
            softmax=softmax,
            num_classes=source.classes,
            image_size=source.shape[-1],
        )
        difference = compare_routes(f"{path} in PyTorch", exported, inputs, expected, BadModel)
        training = {key: value for key, value in source.record.items() if key != "data"}
        origin = {"file": path.name, "sha256": sha256_file(path)}
        manifest = replace(
            exported.manifest,
            training=training | {"framework": "torch", "source": origin},
            data=source.record.get("data"),
            classes=tuple(source.record.get("classes", exported.manifest.classes)),
            accuracy=source.accuracy,
        )
        with staging_folder(output, stem, network.spec.name) as staging:
            for file_name in manifest.files:
                shutil.copyfile(exported.folder / file_name, staging / file_name)
            return install(staging, output, manifest, difference)


class TorchSource(NamedTuple):
    """A file of PyTorch parameters, read and checked.

    It is the network in evaluation mode, the parameters as Paddle has them, the shape of one image,
    and the training record, which is empty when there is none.
    """

    net: torch.nn.Module
    parameters: dict[str, NDArray[np.float32]]
    classes: int
    shape: tuple[int, ...]
    record: dict[str, Any]
    accuracy: MeasuredAccuracy | None


def read_source(
    path: Path,
    network: torch_models.TorchNetwork,
    num_classes: int | None,
    image_size: int | None,
    *,
    weights_only: bool,
) -> TorchSource:
    """Read a file of PyTorch parameters; see :func:`import_state`."""
    torch_models.require_torch()
    record = read_torch_record(path)
    shape = network.spec.shape(
        record.get("image_size", record.get("img_size")) if image_size is None else image_size
    )
    state = torch_models.load_state(path, weights_only=weights_only)
    arrays = torch_models.as_arrays(state)
    for key, value in arrays.items():
        if not np.isfinite(value).all():
            raise BadModel(f"{path}: {key} is not finite: train again, or use another file")
    parameters = paddle_state(arrays, network, num_classes=num_classes, path=path)
    classes = parameters[f"{network.last}.bias"].size
    net = torch_models.create_network(network, classes)
    net.load_state_dict(state)
    net.eval()
    accuracy = measured_accuracy(record, path)
    return TorchSource(net, parameters, classes, shape, record, accuracy)
