"""Export operators of PyTorch as .onnx, by one of its two exporters.

    python torch_worker.py FOLDER dynamo|legacy [NAME...]

FOLDER/NAME/model.onnx is written for each operator, and ``truth.npz``: the inputs of 1, 2 and 3
images, and what the module makes of them. FOLDER/NAME/entry.json says how it went.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from entries import BATCHES, last_line, make_input, write_entries
from torch_operators import UNREACHABLE, Network, listed

EXPORTER = sys.argv[2]


def export(network: Network, path: Path, batch: int | None) -> None:
    """Write a network as .onnx: for any number of images, or for ``batch``."""
    x = torch.from_numpy(make_input("traced", batch or 2))
    if EXPORTER == "legacy":
        names = {"input_names": ["image"], "output_names": ["rows"]}
        axes = None if batch else {"image": {0: "N"}, "rows": {0: "N"}}
        torch.onnx.export(network, (x,), str(path), dynamo=False, dynamic_axes=axes, **names)
        return
    shapes = None if batch else ({0: torch.export.Dim.DYNAMIC},)
    options = {"external_data": False, "verbose": False}
    torch.onnx.export(network, (x,), str(path), dynamo=True, dynamic_shapes=shapes, **options)


def write(name: str, folder: Path) -> dict[str, Any]:
    """Export an operator; return its entry."""
    if name in UNREACHABLE:
        return {"outcome": "unreachable", "said": UNREACHABLE[name]}
    torch.manual_seed(7)
    network = Network(name)
    network.eval()
    inputs = {images: make_input(name, images) for images in BATCHES}
    with torch.no_grad():
        network.prepare(lambda images: torch.from_numpy(inputs[images].copy()))
        answers = {n: network(torch.from_numpy(x.copy())).numpy() for n, x in inputs.items()}
        again = network(torch.from_numpy(inputs[3].copy())).numpy()
    if not all(np.isfinite(answer).all() for answer in answers.values()):
        return {"outcome": "not finite"}
    if not np.array_equal(again, answers[3]):
        return {"outcome": "random"}
    entry: dict[str, Any] = {}
    for batch in (None, 2):
        path = folder / "model.onnx"
        path.unlink(missing_ok=True)
        try:
            with contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
                export(network, path, batch)
            break
        except Exception as error:  # noqa: BLE001 - a part of the result
            entry.setdefault("said", last_line(error))
    else:
        return entry | {"outcome": "not exported"}
    sizes = BATCHES if batch is None else (batch,)
    arrays = {f"x{n}": inputs[n] for n in sizes} | {f"y{n}": answers[n] for n in sizes}
    np.savez(folder / "truth.npz", **arrays)
    if not says_the_same(path, inputs[2], answers[2]):
        return entry | {"outcome": "exported otherwise"}
    return entry | {"outcome": "exported", "batch": batch, "files": [path.name]}


def says_the_same(path: Path, x: Any, expected: Any) -> bool:
    """Return False where onnxruntime, without optimizations, runs the file to another answer.

    The old exporter leaves the threshold of softplus out, for example. A file that onnxruntime
    refuses counts as the same: what is run later says more.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        (answer,) = session.run(None, {session.get_inputs()[0].name: x})
    except Exception:  # noqa: BLE001 - onnxruntime's errors are of many types
        return True
    return answer.shape == expected.shape and np.allclose(answer, expected, 1e-3, 1e-3)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    write_entries(Path(sys.argv[1]), sys.argv[3:] or listed(), write)
