"""Caffe2's nets, read without Caffe2; about 10 s."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from caffe2_cases import CASES, B, W, editing, fill, net_bytes, op, small_nets, write_nets
from support import assert_same, run_onnx

import lenet_cpp
from lenet_cpp.errors import BadInput, BadModel, Error, FileNotFound, Unsupported
from lenet_cpp.interchange.caffe2.nets import find_nets, messages, read_nets
from lenet_cpp.interchange.caffe2.operators import OPERATORS

pytest.importorskip("onnxruntime", reason="runs what Caffe2's nets become")

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "caffe2.md"


@pytest.mark.parametrize("name", CASES)
def test_an_operator_computes_what_its_definition_says(tmp_path, name):
    case = CASES[name]
    nets = write_nets(tmp_path, case.operators, case.params)
    x = case.inputs()
    expected = case.expected(x, **case.params)
    model = read_nets(*nets, input_shape=case.shape[1:])
    assert_same(expected, run_onnx(model, x))
    assert_same(expected[:1], run_onnx(model, x[:1]))


def test_a_classifier_keeps_its_names_and_takes_any_batch(tmp_path):
    nets = small_nets(tmp_path)
    model = read_nets(*nets, input_shape=(4, 8, 8))
    (source,), (result,) = model.graph.input, model.graph.output
    assert (source.name, result.name) == ("x", "y")
    assert source.type.tensor_type.shape.dim[0].dim_param == "N"
    assert [d.dim_value for d in source.type.tensor_type.shape.dim[1:]] == [4, 8, 8]
    assert {i.name for i in model.graph.initializer} == {"w", "b", "fc_w", "fc_b"}
    x = np.random.default_rng(5).normal(0, 1, (5, 4, 8, 8)).astype(np.float32)
    together = run_onnx(model, x)
    assert together.sum(axis=1) == pytest.approx(1)
    for image, row in zip(x, together, strict=True):
        np.testing.assert_allclose(run_onnx(model, image[None])[0], row, rtol=1e-5)


def sizes(model):
    return [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]


def test_the_size_of_images(tmp_path):
    """Channels come from the first convolution, sizes from the value info beside the net."""
    operators = [
        op("Relu", ["x"], ["r"]),
        op("Conv", ["r", "w"], ["c"], kernel=3, group=2),
        op("AveragePool", ["c"], ["y"], global_pooling=1),
    ]
    model = read_nets(*write_nets(tmp_path, operators, {"w": W}))
    assert sizes(model) == [0, 8, 0, 0]
    for size in ((5, 9), (4, 4)):
        assert run_onnx(model, np.ones((2, 8, *size), np.float32)).shape == (2, 6, 1, 1)
    nets, info = small_nets(tmp_path), tmp_path / "value_info.json"
    info.write_text('{"x": [1, [1, 4, 8, 8]]}')
    assert sizes(read_nets(*nets)) == [0, 4, 8, 8]
    info.write_text('{"x": [3, [1, 4, 8, 8]]}')
    with pytest.raises(Unsupported, match="not float32"):
        read_nets(*nets)
    for text in ('{"z": [1, [1, 4, 8, 8]]}', "{", '{"x": [1, [1, -4]]}', "[" * 10_000):
        info.write_text(text)
        with pytest.raises(BadModel, match=r"value_info\.json"):
            read_nets(*nets)
    info.unlink()
    for shape in ((4, 8), (0, 8, 8), (4, 8, 1 << 20)):
        with pytest.raises(BadInput, match="channels, height, width"):
            read_nets(*nets, input_shape=shape)
    operators = [op("Flatten", ["x"], ["f"]), op("FC", ["f", "w", "b"], ["y"])]
    with pytest.raises(BadInput, match=r"does not say how large its images are"):
        read_nets(*write_nets(tmp_path, operators, {"w": W, "b": B}))


def test_a_reshape_to_a_batch_of_one_takes_any_batch(tmp_path):
    for shape in ([1, -1], [1, 144]):
        operators = [op("Reshape", ["x"], ["y", "old"], shape=shape)]
        model = read_nets(*write_nets(tmp_path, operators, {}), input_shape=(4, 6, 6))
        x = np.random.default_rng(5).normal(0, 1, (3, 4, 6, 6)).astype(np.float32)
        np.testing.assert_array_equal(run_onnx(model, x), x.reshape(3, 144))


def test_what_an_init_net_fills_besides_changes_nothing(tmp_path):
    init, predict = small_nets(tmp_path)
    original = init.read_bytes()
    expected = read_nets(init, predict, input_shape=(4, 8, 8)).SerializeToString()
    for more in (
        # Written with onnx 1.9 and later, which has no optimizer to split it: the whole network.
        messages()["NetDef"].FromString(predict.read_bytes()).op,
        # Caffe2's mobile_exporter fills the input too: one value, which the first image replaces.
        [op("GivenTensorFill", [], ["x"], shape=[1, 1], values=[0.0])],
        # names of classes
        [op("GivenTensorStringFill", [], ["labels"], shape=[3])],
    ):
        with editing(init) as net:
            net.op.extend(more)
        assert read_nets(init, predict, input_shape=(4, 8, 8)).SerializeToString() == expected
        init.write_bytes(original)


def test_an_input_that_is_filled_with_many_values_or_at_random_is_none(tmp_path):
    init, predict = small_nets(tmp_path)
    original = init.read_bytes()
    for filler in (
        op("GivenTensorFill", [], ["x"], shape=[1, 2], values=[0.0, 1.0]),
        op("XavierFill", [], ["x"], shape=[1, 1]),
    ):
        with editing(init) as net:
            net.op.append(filler)
        with pytest.raises(BadModel, match="reads no blob that could be its input"):
            read_nets(init, predict, input_shape=(4, 8, 8))
        init.write_bytes(original)


def test_slopes_of_a_vector(tmp_path):
    case = CASES["fully connected"]
    operators = [op("FC", ["x", "w", "b"], ["h"]), op("PRelu", ["h", "s"], ["y"])]
    x = case.inputs()
    hidden = case.expected(x, **case.params)
    slopes = np.linspace(-1, 1, hidden.shape[1], dtype=np.float32)
    nets = write_nets(tmp_path, operators, {**case.params, "s": slopes})
    found = run_onnx(read_nets(*nets, input_shape=x.shape[1:]), x)
    assert_same(np.where(hidden > 0, hidden, slopes * hidden), found)


def test_masks_among_the_outputs_do_not_disturb(tmp_path):
    """Caffe2's mobile_exporter lists all that no operator reads."""
    operators = [op("Relu", ["x"], ["r"]), op("Dropout", ["r"], ["y", "mask"], is_test=1)]
    init, predict = write_nets(tmp_path, operators, {})
    with editing(predict) as net:
        net.external_output[:] = ["mask", "y"]
    model = read_nets(init, predict, input_shape=(1, 2, 2))
    assert [output.name for output in model.graph.output] == ["y"]


def test_a_stranded_model_gets_out(tmp_path):
    """From nets to a model of Paddle's and the C++ predictor, against NumPy, without Caffe2."""
    case = CASES["fully connected"]
    operators = [op("MaxPool", ["x"], ["p"], kernel=3, pad=1), op("FC", ["p", "w", "b"], ["y"])]
    write_nets(tmp_path, operators, case.params)
    script, output = ROOT / "scripts" / "import_model.py", tmp_path / "out"
    command_line = [sys.executable, script, tmp_path, "-o", output, "--input_shape", "4,9,7"]
    done = subprocess.run(command_line, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (program,) = output.glob("*.pdmodel")
    x = case.inputs()
    expected = case.expected(CASES["max pool as in Caffe, stride 1"].expected(x), **case.params)
    with lenet_cpp.Predictor(program, program.with_suffix(".pdiparams")) as predictor:
        assert_same(expected, predictor.run(x))


RELU = op("Relu", ["x"], ["y"])


@pytest.mark.parametrize(
    ("operators", "kind", "said"),
    [
        ([op("RoIAlign", ["x"], ["y"])], Unsupported, r"operator 0 \(RoIAlign\)"),
        ([op("Relu", ["x"], ["y"], order="NHWC")], Unsupported, "NHWC"),
        ([op("Relu", ["x"], ["y"], sparsity=1)], Unsupported, "'sparsity'"),
        ([op("Dropout", ["x"], ["y"], ratio=0.5)], Unsupported, "training mode"),
        ([op("SpatialBN", ["x", "b", "b", "b", "b"], ["y"])], Unsupported, "training mode"),
        ([op("Conv", ["x", "w"], ["y"], kernel=3, order=2)], BadModel, "order is of another kind"),
        ([op("Conv", ["x", "w"], ["y"], kernel=5)], BadModel, "kernel"),
        ([op("Conv", ["x", "w"], ["y"], kernels=[3, 3, 3])], Unsupported, "two dimensions"),
        ([op("Conv", ["x", "w"], ["y"], kernel=3, stride=0)], BadModel, "window"),
        ([op("Conv", ["x", "w"], ["y"], kernel=3, pad_t=1)], Unsupported, "'pad_t'"),
        ([op("Conv", ["x", "w"], ["y"], kernel=3, group=2)], BadModel, "in 2 groups do not fit"),
        ([op("Conv", ["x", "w"], ["y"], kernel=3, group=0)], BadModel, "0 groups"),
        ([op("Conv", ["x", "w", "w"], ["y"], kernel=3)], BadModel, "216 values, not 6"),
        ([op("Conv", ["x", "x"], ["y"], kernel=3)], Unsupported, "computed"),
        ([op("Conv", ["x"], ["y"], kernel=3)], BadModel, "has 1 inputs"),
        ([op("MaxPool", ["x"], ["y"])], BadModel, "window"),
        ([op("MaxPool", ["x"], ["y"], kernel=2, pad=2)], BadModel, "not less than"),
        ([op("MaxPool", ["x"], ["y"], kernel=2, dilation=2)], BadModel, "dilation"),
        ([op("MaxPool", ["x"], ["y"], kernel=9)], BadModel, "finds no place"),
        (
            [op("MaxPool", ["x"], ["y"], kernel=3, stride=2, pad=1, legacy_pad=3)],
            Unsupported,
            "Caffe's pooling",
        ),
        (  # The columns between two windows are in none.
            [op("MaxPool", ["x"], ["y"], kernel_h=3, kernel_w=1, stride=2, legacy_pad=3)],
            Unsupported,
            "Caffe's pooling",
        ),
        (
            [op("MaxPool", ["x"], ["y"], kernel=1, stride=3, legacy_pad=2)],
            Unsupported,
            "legacy_pad 2",
        ),
        ([op("MaxPool", ["x"], ["y"], global_pooling=1, stride=2)], BadModel, "strides"),
        ([op("FC", ["x", "w", "b"], ["y"])], BadModel, "36 values and reads"),
        ([op("FC", ["x", "w", "b"], ["y"], axis=2)], Unsupported, "axis"),
        ([op("Reshape", ["x"], ["y", "old"], shape=[-1, -1])], BadModel, "shape"),
        ([op("Reshape", ["x"], ["z", "y"], shape=[0, -1])], Unsupported, "output 'y'"),
        ([op("Softmax", ["x"], ["y"], axis=4)], BadModel, r"axis.*value is: 4"),
        ([op("Concat", ["x", "b"], ["y", "l"])], BadModel, "do not fit"),
        ([op("Add", ["x", "b"], ["y"])], BadModel, "do not fit"),
        ([op("Add", ["x", "b"], ["y"], axis=1)], BadModel, "no broadcast"),
        ([op("Add", ["x", "b"], ["y"], broadcast=1, axis=9)], BadModel, "does not fit"),
        ([op("LRN", ["x"], ["y"], size=2)], BadModel, "odd"),
        ([op("XavierFill", [], ["c"], shape=[2]), RELU], Unsupported, "random"),
        ([op("GivenTensorFill", [], ["y"], shape=[1], values=[1.0])], BadModel, "exchanged"),
        ([op("ConstantFill", [], ["c"], shape=[1 << 62, 1 << 62]), RELU], BadModel, "shape"),
        ([op("ConstantFill", [], ["c"], shape=[-1]), RELU], BadModel, "shape"),
        ([op("ConstantFill", [], ["c"], shape=[1] * 99), RELU], BadModel, "shape"),
        ([op("ConstantFill", [], ["c"], dtype=6), RELU], Unsupported, "6"),  # uint8
        ([op("ConstantFill", [], ["c"], dtype=99), RELU], Unsupported, "99"),
        ([op("ConstantFill", [], ["c"], dtype=2, value=1 << 40), RELU], BadModel, "does not fit"),
        ([op("Copy", ["x"], ["y"])], BadModel, "not computed from 'x'"),
        ([op("Relu", ["x"], ["z"])], BadModel, "'y', which nothing fills"),
        ([op("Relu", ["x" * 2000], ["y"])], BadModel, "without a name"),
        (
            [op("Concat", ["x", "x"], ["x", "l"], axis=1)] * 30 + [RELU],
            BadModel,
            r"operator 21 \(Concat\) makes 1073741824 values",
        ),
        ([op("Conv", ["x", "w"], ["y"], kernel=3, pad=30000)], BadModel, "makes .* values"),
        (
            [op("Relu", ["l"], ["m"]), op("Sum", ["m", "x"], ["y"]), op("Relu", ["y"], ["l"])],
            BadModel,
            r"not its one input \('x', 'l'\)",
        ),
    ],
)
def test_a_net_that_cannot_be_translated_is_refused(tmp_path, operators, kind, said):
    nets = write_nets(tmp_path, operators, {"w": W, "b": B})
    with pytest.raises(kind, match=said) as caught:
        read_nets(*nets, input_shape=(4, 8, 8))
    assert str(nets[1]) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cycle_is_refused(tmp_path):
    operators = [op("Sum", ["x", "later"], ["a"]), op("Relu", ["a"], ["later"])]
    init, predict = tmp_path / "init_net.pb", tmp_path / "predict_net.pb"
    # The input filled by one value, so that only the cycle is missing.
    init.write_bytes(net_bytes([fill("x", np.zeros(1, np.float32))]))
    predict.write_bytes(net_bytes(operators, ["x"], ["later"]))
    with pytest.raises(BadModel, match=r"not its one input \('later'\)"):
        read_nets(init, predict, input_shape=(4, 8, 8))


def test_a_truncated_net_is_refused(tmp_path):
    nets = small_nets(tmp_path)
    wholes = [net.read_bytes() for net in nets]
    # The last thing in the first net, what it gives, is of no use to anybody.
    needed = wholes[0].rindex(b"\x42\x01w")
    for net, whole, end in zip(nets, wholes, (needed, len(wholes[1])), strict=True):
        for length in range(0, end, 1 if end < 1000 else 13):
            net.write_bytes(whole[:length])
            with pytest.raises((BadModel, Unsupported), match=r"(init|predict)_net.pb"):
                read_nets(*nets, input_shape=(4, 8, 8))
        net.write_bytes(whole)
    read_nets(*nets, input_shape=(4, 8, 8))


def test_damaged_nets_raise_our_errors_only(tmp_path):
    nets = small_nets(tmp_path)
    originals = [net.read_bytes() for net in nets]
    random = np.random.default_rng(11)
    said = []
    for _ in range(400):
        which = int(random.integers(2))
        data = bytearray(originals[which])
        for place in random.integers(0, len(data), random.integers(1, 4)):
            data[place] = random.integers(256)
        nets[which].write_bytes(data)
        try:
            read_nets(*nets, input_shape=(4, 8, 8))
        except Error as error:
            said.append(str(error))
        nets[which].write_bytes(originals[which])
    assert len(said) > 150
    assert not [line for line in said if "\n" in line]


def test_nets_that_do_not_belong_together_are_refused(tmp_path):
    init, predict = small_nets(tmp_path)
    with pytest.raises(BadModel, match="exchanged"):
        read_nets(predict, init)
    (tmp_path / "other").mkdir()
    other, _ = write_nets(tmp_path / "other", [], {"w": W})
    with pytest.raises(BadModel, match=r"what .*other.init_net.pb does not fill .*'b'"):
        read_nets(other, predict)
    with editing(init) as net:
        net.op.append(op("GivenTensorFill", [], ["w"], shape=[6, 4, 3, 3], values=[1.0] * 215))
    with pytest.raises(BadModel, match="215 values for a shape of"):
        read_nets(init, predict)


def test_of_two_outputs_one_has_to_be_named(tmp_path):
    init, predict = small_nets(tmp_path)
    expected = read_nets(init, predict).SerializeToString()
    with editing(predict) as net:
        net.external_output.append("s")
    with pytest.raises(Unsupported, match=r"several outputs \('y', 's'\)"):
        read_nets(init, predict)
    assert read_nets(init, predict, output_name="y").SerializeToString() == expected
    assert read_nets(init, predict, output_name="s").graph.output[0].name == "s"
    with pytest.raises(BadModel, match="'z', which nothing fills"):
        read_nets(init, predict, output_name="z")


def test_files_that_are_no_nets_are_refused(tmp_path):
    init, predict = small_nets(tmp_path)
    for data, said in ((b"", "holds no operators"), (b"\0" * 100, ""), (os.urandom(1000), "")):
        init.write_bytes(data)
        with pytest.raises(BadModel, match=rf"init_net.pb.*{said}"):
            read_nets(init, predict)
    init.unlink()
    with pytest.raises(FileNotFound, match=r"cannot read .*init_net.pb"):
        read_nets(init, predict)
    with pytest.raises(FileNotFound, match=r"cannot read"):
        read_nets(tmp_path, predict)


def test_nets_are_found_by_their_folder_or_either_name(tmp_path):
    nets = small_nets(tmp_path)
    assert find_nets(tmp_path) == find_nets(nets[0]) == find_nets(nets[1]) == nets
    with pytest.raises(BadInput, match=r"init_net.pb and predict_net.pb"):
        find_nets(tmp_path / "model.onnx")
    nets[0].unlink()
    with pytest.raises(FileNotFound, match=r"init_net.pb"):
        find_nets(nets[1])


def test_the_page_names_every_operator():
    page = PAGE.read_text(encoding="utf-8")
    listed = page[
        page.index("- These operators are supported: ") : page.index("- An `init_net.pb`")
    ]
    named = set(re.findall(r"`([A-Z]\w+)`", listed))
    assert named == OPERATORS.keys()
