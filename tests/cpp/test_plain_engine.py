"""The plain program, which judges the other engines, is itself judged here.

Its definitions are compared with ONNX's reference evaluator in float64, with Paddle's own layers,
and with ONNX's tests of single operators.
"""

from collections import Counter

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from test_native_nodes import NODES, ROUNDED, case_of

import lenet_cpp

TOLERANCE = 1e-6
"""Against float64, as a share of the largest value of the output: float32 has 24 bits."""
ROUNDED_REFERENCE = 1e-5
"""The same where the reference computes in float32."""


def run(contents, x, **options):
    with lenet_cpp.Predictor.from_bytes(contents, engine="plain", **options) as predictor:
        return predictor.run(x)


def difference(expected, found):
    """Return the largest difference, as a share of the largest finite value or of 1."""
    if expected.shape != found.shape:
        return np.inf
    expected = expected.astype("f8")
    finite = np.isfinite(expected)
    alike = np.array_equal(expected[~finite], found[~finite], equal_nan=True)
    if not alike or not finite.any():
        return 0.0 if alike else np.inf
    apart = np.abs(expected[finite] - found[finite]).max()
    return apart / max(1.0, np.abs(expected[finite]).max())


def in_float64(model):
    """Return the model whose float32 constants are float64, for the reference evaluator."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    for tensor in copy.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor).astype("f8")
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for value in (*copy.graph.input, *copy.graph.output, *copy.graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    return copy


def reference(model, x):
    """Return what the reference evaluator gives in float64, or None where it does not compute."""
    try:
        (found, *_) = ReferenceEvaluator(in_float64(model)).run(
            None, {model.graph.input[0].name: x.astype("f8")}
        )
    except Exception:  # noqa: BLE001 - it raises what its operators happen to raise
        return None
    return found if found.dtype == np.float64 else None


def test_onnx_tests_of_operators():
    right, of_float64, wrong, refused = Counter(), 0, [], Counter()
    for folder in sorted(NODES.iterdir()):
        if (case := case_of(folder)) is None:
            continue
        model, x, expected = case
        kind = model.graph.node[0].op_type
        try:
            found = run(model.SerializeToString(), x, check_finite=False)
        except lenet_cpp.Unsupported:
            refused[kind] += 1
            continue
        exact = reference(model, x)
        tolerance = ROUNDED.get(folder.name, ROUNDED_REFERENCE)
        apart = difference(expected, found)
        if exact is not None and exact.shape == found.shape and folder.name not in ROUNDED:
            of_float64 += 1
            tolerance, apart = TOLERANCE, difference(exact, found)
        if not apart <= tolerance:
            wrong.append(f"{folder.name}: {apart:.1e}")
        right[kind] += 1
    print(f"{right.total()} run, {of_float64} against float64; refused: {dict(refused)}")
    assert not wrong, "\n".join(wrong)
    assert right.total() >= 340
    assert of_float64 >= 250
