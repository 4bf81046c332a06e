"""ONNX models made by hand, and what Python's onnxruntime gives for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnxruntime
from onnx import TensorProto, helper

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

node = helper.make_node


def value(name: str, shape: Any, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: list[Any],
    inputs: Any = None,
    outputs: Any = None,
    tensors: Iterable[Any] = (),
    *,
    opset: int = 17,
    ir_version: int = 8,
) -> bytes:
    """Return a model from x [N, 2] to y [N, 2] unless other inputs and outputs are given."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [value("x", ["N", 2])] if inputs is None else inputs,
        [value("y", ["N", 2])] if outputs is None else outputs,
        list(tensors),
    )
    opsets = [helper.make_opsetid("", opset)]
    made = helper.make_model(graph, ir_version=ir_version, opset_imports=opsets)
    return made.SerializeToString()


def reference(
    path: Path, x: NDArray[np.float32], *, threads: int = 1, optimize: bool = True
) -> NDArray[np.float32]:
    """Return the outputs of Python's onnxruntime with the options that our engine gives it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: x})
    return output
