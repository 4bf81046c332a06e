"""Convert and run networks in Caffe2's environment: Python 3.9 and PyTorch 1.10.2, no lenet_cpp.

:mod:`lenet_cpp._base.worker` calls the public functions. They find their arrays in a folder, and
leave their results there.
"""

from __future__ import annotations

import functools
import runpy
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    Report = Callable[[str, int, int], None]


class BackendFailure(Exception):  # noqa: N818 - called like the caller's class
    """The caller raises its own class of this name."""

    __module__ = "lenet_cpp.errors"


class BadModel(BackendFailure):
    """In the same way."""

    __module__ = "lenet_cpp.errors"


def _in_one_line(function: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Turn what Caffe2 raises, a RuntimeError with a stack in it, into one line."""

    @functools.wraps(function)
    def call(folder: str, **arguments: Any) -> dict[str, Any]:
        warnings.simplefilter("ignore")
        try:
            return function(Path(folder), **arguments)
        except BackendFailure:
            raise
        except Exception as error:
            first = str(error).strip().splitlines() or [type(error).__name__]
            raise BackendFailure("Caffe2: " + first[0]) from error

    return call


@_in_one_line
def convert(
    folder: Path, networks: str, builder: str, classes: int, seed: int, params: str, report: Report
) -> dict[str, Any]:
    """Take a network from PyTorch to Caffe2's nets, as the guide does it.

    It reads ``inputs.npy`` and, when there is one, ``state.npz``; it writes ``output.onnx``,
    ``init_net.pb``, ``predict_net.pb`` and the outputs ``torch.npy`` and ``caffe2_onnx.npy``.
    """
    import onnx
    import onnxoptimizer
    import torch

    # onnx 1.9 gave this module up, and Caffe2 goes on without a word: both nets then hold the whole
    # network, and the first one cannot run without an input.
    onnx.optimizer = onnxoptimizer
    from caffe2.python.onnx import backend

    report("building the network in PyTorch", 0, 5)
    torch.manual_seed(seed)
    # The file of the networks alone: the package around it is not for this interpreter.
    net = runpy.run_path(networks, run_name="networks")[builder](classes)
    _load(net, folder / "state.npz", params)
    net.eval()
    inputs = np.load(folder / "inputs.npy", allow_pickle=False)
    with torch.no_grad():
        expected = [net(torch.from_numpy(image[None])).numpy() for image in inputs]
    np.save(folder / "torch.npy", np.concatenate(expected))

    report("exporting to ONNX", 1, 5)
    path = str(folder / "output.onnx")
    dummy = torch.empty(1, *inputs.shape[1:], dtype=torch.float32)
    names = {"input_names": ["input"], "output_names": ["output"]}
    # Caffe2 takes the parameters as inputs.
    torch.onnx.export(net, dummy, path, keep_initializers_as_inputs=True, **names)
    model = onnx.load(path)
    onnx.checker.check_model(model)
    for node in model.graph.node:
        # PyTorch names nodes since 1.8, and Caffe2 takes whatever has "Pool" in its name for a
        # pooling with a kernel, which a global pooling has not.
        node.ClearField("name")

    report("running ONNX in Caffe2", 2, 5)
    prepared = backend.prepare(model)
    outputs = [prepared.run(image[None])[0] for image in inputs]
    np.save(folder / "caffe2_onnx.npy", np.concatenate(outputs))

    report("writing Caffe2's nets", 3, 5)
    init_net, predict_net = backend.Caffe2Backend.onnx_graph_to_caffe2_net(model)
    (folder / "init_net.pb").write_bytes(init_net.SerializeToString())
    (folder / "predict_net.pb").write_bytes(predict_net.SerializeToString())
    return {"torch": torch.__version__, "onnx": onnx.__version__, "python": sys.version.split()[0]}


def _load(net: Any, state: Path, params: str) -> None:
    import torch

    if not state.exists():
        for module in net.modules():
            # No mean stays at 0 and no variance at 1, which would hide a fault.
            if isinstance(module, torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(module.weight, 0.6, 0.8)
                torch.nn.init.normal_(module.bias, 0, 0.03)
                torch.nn.init.normal_(module.running_mean, 0, 0.03)
                torch.nn.init.uniform_(module.running_var, 0.8, 1.25)
        return
    with np.load(state, allow_pickle=False) as arrays:
        tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        raise BadModel(f"{params}: {' '.join(str(error).split())[:300]}") from error


@_in_one_line
def run(folder: Path, nets: list[str], batch_size: int, report: Report) -> dict[str, Any]:
    """Run two nets in Caffe2 alone; reads ``inputs.npy``, writes ``caffe2.npy``."""
    from caffe2.python import workspace

    report("running Caffe2's nets", 4, 5)
    predictor = workspace.Predictor(*(Path(net).read_bytes() for net in nets))
    inputs = np.load(folder / "inputs.npy", allow_pickle=False)
    batches = [inputs[first : first + batch_size] for first in range(0, len(inputs), batch_size)]
    outputs = [predictor.run([batch])[0] for batch in batches]
    np.save(folder / "caffe2.npy", np.concatenate(outputs))
    if "onnx" in sys.modules:
        raise AssertionError("Caffe2 alone was to be run, and onnx was imported")
    return {}
