"""ONNX models in ONNX's own notation, and what Python's onnxruntime gives for them."""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper, parser

import lenet_cpp
from lenet_cpp.agreement import compare
from references import check_references


def model(nodes, x="float[N,2] x", y="float[N,2] y", tensors=None, *, opset=17, ir_version=8):
    """Return a model from inputs to outputs, of which those without brackets have no shape."""
    graph = parser.parse_graph(f"graph ({x}) => ({y}) {{ {nodes} }}")
    for value in (*graph.input, *graph.output):
        if not value.type.tensor_type.shape.dim:
            value.type.tensor_type.ClearField("shape")
    for name, values in (tensors or {}).items():
        known = isinstance(values, TensorProto)
        graph.initializer.append(values if known else numpy_helper.from_array(values, name))
    opsets = [helper.make_opsetid("", opset)]
    made = helper.make_model(graph, ir_version=ir_version, opset_imports=opsets)
    return made.SerializeToString()


def converted(name, values, dtype):
    """Return float32 values as a constant of a type that NumPy may not have."""
    if dtype != "bfloat16":
        return numpy_helper.from_array(values.astype(dtype), name)
    upper = (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return helper.make_tensor(name, TensorProto.BFLOAT16, values.shape, upper, raw=True)


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


def agrees(path, counts=(1, 3, 20), *, plain=True):
    """Compare the native engine with it, for several batch sizes, and with its references."""
    with lenet_cpp.Predictor(path, engine="native") as predictor:
        assert predictor.options["engine"] == "native"
        shape = predictor.input_spec.shape[1:]
        images = np.random.default_rng(0).standard_normal((max(counts), *shape)).astype("f4")
        outputs = [predictor.run(images[:count]) for count in counts]
        fixed = predictor.input_spec.shape[0]
        few = images[: fixed if fixed > 0 else counts[0]]
        found = predictor.run_outputs(few)
        spec = predictor.output_spec
    check_references(path, images=few, found=found, plain=plain)
    pieces = np.split(images, len(images) // fixed) if fixed > 0 else [images]
    expected = np.concatenate([reference(path, piece) for piece in pieces])
    assert spec.shape[1:] == expected.shape[1:]
    assert np.isfinite(expected).all()
    for count, output in zip(counts, outputs, strict=True):
        assert compare(expected[:count], output).agrees
    return expected


def array(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def write(path, contents):
    path.write_bytes(contents)
    return path


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
