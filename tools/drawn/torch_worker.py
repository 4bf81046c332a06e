"""Export operators of PyTorch as .onnx, by one of its two exporters.

    python torch_worker.py FOLDER dynamo|legacy [NAME...]

FOLDER/NAME has for each operator model.onnx, ``truth.npz`` and entry.json (``entries.py``).
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime
import torch
from entries import make_input, write_entries
from torch_operators import UNREACHABLE, Network, listed

if TYPE_CHECKING:
    from collections.abc import Mapping


def tensor_of(x: Any) -> torch.Tensor:
    """Return a copy, because some operators work in place."""
    return torch.from_numpy(x.copy())


class Torch:
    """Makes networks of PyTorch, and runs files by onnxruntime without optimizations."""

    unreachable = UNREACHABLE

    def __init__(self, exporter: str) -> None:
        """Export by an exporter, ``dynamo`` or ``legacy``."""
        self._exporter = exporter

    def make(self, name: str, inputs: Mapping[int, Any]) -> Network:
        """As the protocol says."""
        torch.manual_seed(7)
        network = Network(name)
        network.eval()
        with torch.no_grad():
            network.prepare(lambda images: tensor_of(inputs[images]))
        return network

    def run(self, network: Network, x: Any) -> Any:
        """As the protocol says."""
        with torch.no_grad():
            return network(tensor_of(x)).numpy()

    def export(self, network: Network, folder: Path, batch: int | None) -> None:
        """As the protocol says."""
        path = folder / "model.onnx"
        path.unlink(missing_ok=True)
        options: dict[str, Any]
        if self._exporter == "legacy":
            axes = None if batch else {"image": {0: "N"}, "rows": {0: "N"}}
            options = {"input_names": ["image"], "output_names": ["rows"], "dynamic_axes": axes}
        else:
            shapes = None if batch else ({0: torch.export.Dim.DYNAMIC},)
            options = {"dynamic_shapes": shapes, "external_data": False, "verbose": False}
        x = torch.from_numpy(make_input("traced", batch or 2))
        dynamo = self._exporter == "dynamo"
        with contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            torch.onnx.export(network, (x,), str(path), dynamo=dynamo, **options)

    def files(self, folder: Path) -> list[str]:
        """As the protocol says."""
        return [path.name for path in folder.glob("*.onnx")]

    def run_file(self, folder: Path, x: Any) -> Any:
        """As the protocol says."""
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        path = str(folder / "model.onnx")
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: x})[0]


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    write_entries(Path(sys.argv[1]), sys.argv[3:] or listed(), Torch(sys.argv[2]))
