"""ONNX's own tests of operators on the native engine: each is right, or Unsupported by name.

A test is taken where its first input and first output are float32 and the input has values, in 2
to 5 dimensions. The other inputs become constants, as in a classifier: weights, shapes, axes.
"""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp.agreement import compare

onnx = pytest.importorskip("onnx", reason="the tests are part of it")

NODES = Path(onnx.__file__).parent / "backend" / "test" / "data" / "node"
ROUNDED = {"test_averagepool_2d_ceil_last_window_starts_on_pad": 1e-3}
"""The tolerance where ONNX gives what it expects with four digits."""


def is_float32(value):
    kind = value.type.tensor_type
    return kind.elem_type == onnx.TensorProto.FLOAT and kind.HasField("shape")


def read(folder, name):
    return onnx.numpy_helper.to_array(onnx.load_tensor(folder / "test_data_set_0" / f"{name}.pb"))


def case_of(folder):
    """Return the model of one input, the input and the expected output, or None."""
    model = onnx.load(folder / "model.onnx")
    values = (*model.graph.input[:1], *model.graph.output[:1])
    if len(values) < 2 or not all(is_float32(value) for value in values):
        return None
    others = list(enumerate(model.graph.input))[1:]
    if not all(value.type.HasField("tensor_type") for _, value in others):
        return None
    x = read(folder, "input_0")
    del model.graph.input[1:]
    for number, value in others:
        array = read(folder, f"input_{number}")
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
    return (model, x, read(folder, "output_0")) if 2 <= x.ndim <= 5 and x.size else None


def problem(name, model, x, expected):
    """Return what is wrong, None where nothing is, or the error of what is not supported."""
    operators = "|".join({node.op_type for node in model.graph.node})
    try:
        with lenet_cpp.Predictor.from_bytes(model.SerializeToString(), engine="native") as native:
            found = native.run(x)
    except lenet_cpp.Unsupported as error:
        named = re.search(rf"\(({operators})\b|operator set|an (in|out)put|dimensions", str(error))
        if "declared as" in str(error):
            return f"{name}: a shape that is not inferred as ONNX declares it: {error}"
        return error if named else f"{name}: its operator is not named: {error}"
    except lenet_cpp.Error as error:
        return f"{name}: {error}"
    if found.shape != expected.shape:
        return f"{name}: a result of shape {found.shape} where {expected.shape} is right"
    if name in ROUNDED and np.allclose(expected, found, rtol=ROUNDED[name]):
        return None
    return None if compare(expected, found).agrees else f"{name}: another result"


def test_each_is_right_or_unsupported():
    right, all_of, wrong = Counter(), Counter(), []
    for folder in sorted(NODES.iterdir()):
        if (case := case_of(folder)) is None:
            continue
        operator = case[0].graph.node[0].op_type
        found = problem(folder.name, *case)
        right[operator] += found is None
        all_of[operator] += 1
        wrong += [found] if isinstance(found, str) else []
    table = ", ".join(f"{name} {count} of {all_of[name]}" for name, count in right.items() if count)
    print(f"{right.total()} of {all_of.total()} of ONNX's tests are right: {table}")
    assert not wrong, "\n".join(wrong)
    assert right.total() >= 340
