"""ONNX's own tests of operators on the native engine: each is right, or Unsupported by name.

A test is taken where its first input and first output are float32 and the input has 2 to 5
dimensions. The other inputs become constants, as in a classifier: weights, shapes, axes.
"""

import re
from collections import Counter
from functools import cache

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp.agreement import compare

onnx = pytest.importorskip("onnx", reason="the tests are part of it")

OPERATORS = {
    *("Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "Conv", "Div", "Dropout"),
    *("Elu", "Flatten", "Gelu", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "HardSigmoid"),
    *("HardSwish", "Identity", "LRN", "LeakyRelu", "LogSoftmax", "MatMul", "Max", "MaxPool"),
    *("Min", "Mish", "Mul", "PRelu", "Pad", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"),
    *("Relu", "Reshape", "Selu", "Sigmoid", "Slice", "Softmax", "Split", "Squeeze", "Sub", "Sum"),
    *("Tanh", "Transpose", "Unsqueeze"),
}
"""Those of the first nodes of the tests that ./test.sh runs; the others are for the night."""

LEAST = {False: 130, True: 200}
"""How many are right at least, of those and of all."""

ROUNDED = {"test_averagepool_2d_ceil_last_window_starts_on_pad": 1e-3}
"""The tolerance where ONNX gives what it expects with four digits."""


def is_float32(value):
    kind = value.type.tensor_type
    return kind.elem_type == onnx.TensorProto.FLOAT and kind.HasField("shape")


@cache
def cases():
    """Return by name what ONNX has: the model of one input, the input and the expected output."""
    from onnx.backend.test.case.node import collect_testcases

    found = {}
    for case in collect_testcases(None):
        graph = case.model.graph
        values = (*graph.input[:1], *graph.output[:1])
        if len(values) < 2 or not all(is_float32(value) for value in values):
            continue
        inputs, outputs = case.data_sets[0]
        constants = list(zip(graph.input, inputs, strict=False))[1:]
        arrays = all(isinstance(array, np.ndarray | np.generic) for _, array in constants)
        if not arrays or not 2 <= inputs[0].ndim <= 5:
            continue
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        del model.graph.input[1:]
        for value, array in constants:
            model.graph.initializer.append(
                onnx.numpy_helper.from_array(np.asarray(array), value.name)
            )
        found[case.name] = (model, inputs[0], outputs[0])
    return found


def problem(name):
    """Return what is wrong, None where nothing is, or the error of what is not supported."""
    model, x, expected = cases()[name]
    operators = "|".join({node.op_type for node in model.graph.node})
    try:
        with lenet_cpp.Predictor.from_bytes(model.SerializeToString(), engine="native") as native:
            found = native.run(x)
    except lenet_cpp.Unsupported as error:
        named = re.search(rf"\(({operators})\b|operator set|an input|dimensions", str(error))
        return error if named else f"{name}: its operator is not named: {error}"
    except lenet_cpp.Error as error:
        return f"{name}: {error}"
    if found.shape != expected.shape:
        return f"{name}: a result of shape {found.shape} where {expected.shape} is right"
    if name in ROUNDED and np.allclose(expected, found, rtol=ROUNDED[name]):
        return None
    return None if compare(expected, found).agrees else f"{name}: another result"


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")  # of NumPy, where ONNX computes what it expects
@pytest.mark.parametrize("everything", [False, True], ids=["part", "all"])
def test_each_is_right_or_unsupported(everything):
    right, all_of, wrong = Counter(), Counter(), []
    for name, (model, *_) in cases().items():
        operator = model.graph.node[0].op_type
        if not everything and operator not in OPERATORS:
            continue
        found = problem(name)
        right[operator] += found is None
        all_of[operator] += 1
        wrong += [found] if isinstance(found, str) else []
    table = ", ".join(f"{name} {count} of {all_of[name]}" for name, count in right.items() if count)
    print(f"{right.total()} of {all_of.total()} of ONNX's tests are right: {table}")
    assert not wrong, "\n".join(wrong)
    assert right.total() >= LEAST[everything]
