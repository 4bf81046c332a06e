"""What is done in Caffe2's environment: Python 3.9 and PyTorch 1.10.2, without lenet_cpp.

It gets a folder with ``request.json`` and arrays, leaves its results there, and prints one line for
each step: its number, how many there are, and what it is.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np


class _RefusedError(Exception):
    """An answer of the kind that ``lenet_cpp.errors`` has a class for."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def main() -> None:
    """Do what the request says: ``"do"`` is ``"convert"`` or ``"run"``."""
    folder = Path(sys.argv[1])
    # Steps go to where the caller reads; what Caffe2 and onnx print goes to the log.
    steps = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))

    def step(what: str, number: int, of: int) -> None:
        print(number, of, what, file=steps)

    answer: dict[str, Any]
    try:
        does = {"convert": _convert, "run": _run}
        answer = does[request["do"]](request, folder, step)
    except _RefusedError as refused:
        answer = {"error": refused.kind, "message": str(refused)}
    except Exception as error:  # noqa: BLE001 - Caffe2 raises RuntimeError with a stack in it
        first = str(error).strip().splitlines() or [type(error).__name__]
        answer = {"error": "BackendFailure", "message": f"Caffe2: {first[0]}"}
    (folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


def _convert(request: dict[str, Any], folder: Path, step: Any) -> dict[str, Any]:
    """From a network in PyTorch to Caffe2's nets, as the guide does it.

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

    step("building the network in PyTorch", 0, 5)
    net = _network(request, folder).eval()
    inputs = np.load(folder / "inputs.npy", allow_pickle=False)
    with torch.no_grad():
        expected = [net(torch.from_numpy(image[None])).numpy() for image in inputs]
    np.save(folder / "torch.npy", np.concatenate(expected))

    step("exporting to ONNX", 1, 5)
    path = folder / "output.onnx"
    dummy = torch.empty(1, *inputs.shape[1:], dtype=torch.float32)
    torch.onnx.export(
        net,
        dummy,
        str(path),
        input_names=["input"],
        output_names=["output"],
        keep_initializers_as_inputs=True,  # Caffe2 takes the parameters as inputs
    )
    model = onnx.load(str(path))
    onnx.checker.check_model(model)
    for node in model.graph.node:
        # PyTorch names nodes since 1.8, and Caffe2 takes whatever has "Pool" in its name for a
        # pooling with a kernel, which a global pooling has not.
        node.ClearField("name")

    step("running ONNX in Caffe2", 2, 5)
    prepared = backend.prepare(model)
    outputs = [prepared.run(image[None])[0] for image in inputs]
    np.save(folder / "caffe2_onnx.npy", np.concatenate(outputs))

    step("writing Caffe2's nets", 3, 5)
    init_net, predict_net = backend.Caffe2Backend.onnx_graph_to_caffe2_net(model)
    (folder / "init_net.pb").write_bytes(init_net.SerializeToString())
    (folder / "predict_net.pb").write_bytes(predict_net.SerializeToString())
    return {"torch": torch.__version__, "onnx": onnx.__version__, "python": sys.version.split()[0]}


def _network(request: dict[str, Any], folder: Path) -> Any:
    import torch

    # The file of the network alone: the package around it is not for this interpreter.
    spec = importlib.util.spec_from_file_location("networks", request["networks"])
    if spec is None or spec.loader is None:
        raise ImportError(request["networks"])
    networks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(networks)
    torch.manual_seed(request["seed"])
    net = getattr(networks, request["builder"])(request["classes"])
    state = folder / "state.npz"
    if not state.exists():
        _vary_statistics(net)
        return net
    with np.load(state, allow_pickle=False) as arrays:
        tensors = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise _RefusedError("BadModel", f"{request['params']}: {' '.join(lines)[:300]}") from error
    return net


def _vary_statistics(net: Any) -> None:
    """Leave no mean at 0 and no variance at 1, which would hide a fault."""
    from torch import nn

    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.6, 0.8)
            nn.init.normal_(module.bias, 0, 0.03)
            nn.init.normal_(module.running_mean, 0, 0.03)
            nn.init.uniform_(module.running_var, 0.8, 1.25)


def _run(request: dict[str, Any], folder: Path, step: Any) -> dict[str, Any]:
    """Run two nets in Caffe2 alone; reads ``inputs.npy``, writes ``caffe2.npy``."""
    from caffe2.python import workspace

    step("running Caffe2's nets", 4, 5)
    nets = [Path(request[name]).read_bytes() for name in ("init_net", "predict_net")]
    predictor = workspace.Predictor(*nets)
    inputs = np.load(folder / "inputs.npy", allow_pickle=False)
    size = request["batch_size"]
    batches = [inputs[first : first + size] for first in range(0, len(inputs), size)]
    outputs = [predictor.run([batch])[0] for batch in batches]
    np.save(folder / "caffe2.npy", np.concatenate(outputs))
    if "onnx" in sys.modules:
        raise AssertionError("Caffe2 alone was to be run, and onnx was imported")
    return {}


if __name__ == "__main__":
    main()
