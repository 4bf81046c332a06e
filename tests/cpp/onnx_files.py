"""ONNX models made by hand, and what Python's onnxruntime gives for them."""

import onnxruntime
from onnx import TensorProto, helper

node = helper.make_node


def value(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes, inputs=None, outputs=None, tensors=(), *, opset=17, ir_version=8):
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


def reference(path, x, *, threads=1, optimize=True):
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
