"""Random networks, and each that was ever wrong, through every engine, format and binding."""

import contextlib
import json
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lenet_cpp.agreement import ROUNDING_TOLERANCE, TOLERANCE
from tools.hostile import (
    blocks,
    graph,
    neighbours,
    onnx_networks,
    operators,
    paddle_networks,
    pairs,
    tokens,
)
from tools.hostile.__main__ import main
from tools.hostile.children import LATE, do_steps
from tools.hostile.draw import Draw
from tools.hostile.engines import compare, compare_one, drawn, settled, share
from tools.hostile.networks import InvalidNetworkError, Layer, Network

CASES = Path(__file__).parents[2] / "tools" / "hostile" / "cases.json"


def hostile(folder, *arguments):
    assert main([*arguments, f"--save-dir={folder}"]) == 0


@pytest.mark.nightly
def test_random_networks(tmp_path, capsys):
    hostile(tmp_path, "networks", "--seed=15", "--count=20", "--most=3", "--jobs=1")
    assert "20 networks ran" in capsys.readouterr().out


def test_channel_traffic(tmp_path, capsys):
    """What shares memory: parts of concatenations, sums written in place, copies left out."""
    hostile(tmp_path, "traffic", "--count=500", "--most=3")
    assert "500 networks ran; 0 could not be made" in capsys.readouterr().out


def test_tokens(tmp_path, capsys):
    """What transformers are made of, also where the native engine refuses most of it."""
    hostile(tmp_path, "tokens", "--count=120", "--no-minimise")
    out = capsys.readouterr().out
    assert "120 networks ran; 0 could not be made" in out


def test_tokens_are_of_every_kind():
    """The generator itself: what it seldom draws would not be tested."""
    ops, ranks, axes, mixing = Counter(), Counter(), 0, 0
    for number in range(300):
        d = Draw(f"3/{number}")
        with contextlib.suppress(InvalidNetworkError):
            network = tokens.draw(d).pruned()
            ops.update(layer.op for layer in network.layers)
            ranks.update(map(len, tokens.shapes(network)))
            axes += any(shape[0] % 2 for shape in tokens.shapes(network))
            mixing += "mixes" in network.options
    missing = {op for op in tokens.SHAPES if not ops[op]} - {"Expand", "Flatten"}
    assert missing == {"GlobalAveragePool"}
    assert min(ranks[rank] for rank in range(2, 7)) > 50
    assert axes > 30  # another axis than the images' is the first
    assert 5 <= mixing <= 40


def test_blocks(tmp_path, capsys):
    """Whole blocks with more operators on their edges, and pairs of all operators."""
    hostile(tmp_path, "blocks", "--count=300", "--no-minimise")
    out = capsys.readouterr().out
    assert "300 networks ran; 0 could not be made" in out
    assert sum(map(int, re.findall(r"(\d+) not judged", out))) <= 3


def test_blocks_have_every_operator_and_class_of_constant():
    """The generator itself: pairs of operators are side by side as often as they should be."""
    cells, ranks = Counter(), Counter()
    for number in range(400):
        d = Draw(f"8/{number}")
        d.where = 8, number
        with contextlib.suppress(InvalidNetworkError):
            network = blocks.draw(d)
            cells.update(neighbours.cells_of(network))
            ranks.update(len(shape) for shape, _ in graph.known(network))
    second = Counter(item for _, item in cells.elements())
    assert (
        not {*operators.OPERATORS} - {item.split()[0] for item in second} - {"Upsample", "Col2Im"}
    )
    for op in operators.WITH_CONSTANT:
        assert len({item for item in second if item.split()[0] == op}) >= 5, op
    assert min(ranks[rank] for rank in range(2, 7)) > 50
    # What the other generators do not draw: a row beside the products of an attention.
    assert cells["MatMul", "Add row"] >= 5
    assert cells["Add row", "Softmax"] >= 2


def test_each_pair_of_operators_comes_once_in_a_round():
    total = len(pairs.PAIRS)
    assert len({pairs.pair(3, place) for place in range(total)}) == total


COPIES = [
    Layer("Unsqueeze", [0], {"constants": {"1": {"ints": [0]}}}),
    Layer("Expand", [1], {"constants": {"1": {"ints": [3, 1, 1]}}}),
    Layer("Reshape", [2], {"constants": {"1": {"ints": [{"images": 1}, 6]}}}),
]


@pytest.mark.parametrize(
    ("layers", "mixes"),
    [
        ([Layer("Transpose", [0], {"perm": [0, 1]})], False),
        # Two images have two features each.
        ([Layer("Transpose", [0], {"perm": [1, 0]})], True),
        # All images come three times, and then three of them are one.
        (COPIES, True),
    ],
)
def test_where_images_of_a_fixed_number_are_mixed_the_network_says_so(layers, mixes):
    """Else an engine that takes no more than that number would be called wrong."""
    options = {"nodes": True, "opset": 17, "images": 6, "batch": 2}
    network, _ = settled(Network("onnx", [2], layers, [len(layers)], 1, options))
    assert ("mixes" in network.options) == mixes


def test_outputs_with_images_on_another_axis_are_judged_by_all_images(tmp_path):
    """The length of such an output does not say how many images it is of."""
    options = {"nodes": True, "opset": 17, "images": 3, "batch": "N", "mixes": True}
    layers = [Layer("Transpose", [0], {"perm": [1, 0]})]
    network = Network("onnx", [2], layers, [1], 1, options)
    np.save(tmp_path / "images.npy", network.images())
    expected = network.images().T
    assert compare(network, tmp_path, [expected], [expected + 1])[0] == "wrong"


def test_mixing_images_is_drawn_only_where_the_network_says_so():
    """Else a network that the native engine refuses for good would not be told from others."""
    for number in range(60):
        network, expected = drawn(4, number, "tokens")
        images = network.images()
        if len(images) > 1 and "mixes" not in network.options:
            alone, _ = onnx_networks.answers(network, images[-1:], images[-1:])
            for one, whole in zip(alone, expected, strict=True):
                assert np.allclose(one, whole[-1:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("scale", "outcome"), [(1e-3, "equal"), (1, "wrong")])
def test_what_rounding_decides_is_no_fault(tmp_path, scale, outcome):
    """A norm of nearly equal values enlarges what rounding changed them by, in any float32."""
    layers = [Layer("scaled", [0], {"scale": scale}), Layer("Softmax", [1], {"axis": 1})]
    layers.append(Layer("written_norm", [2], {"axes": [1], "epsilon": 1e-12}))
    network = Network("onnx", [8], layers, [3], 1, {"opset": 17, "images": 3})
    np.save(tmp_path / "images.npy", network.images())
    (expected,), _ = onnx_networks.answers(network, network.images(), network.images())
    found = expected + np.float32(4e-5) * np.abs(expected).max()
    assert compare_one(network, tmp_path, 0, found, expected, 1e-5)[0] == outcome
    found = expected + np.float32(1e-2) * np.abs(expected).max()
    assert compare_one(network, tmp_path, 0, found, expected, 1e-5)[0] == "wrong"


@pytest.mark.parametrize(("steps", "outcome"), [(["sigmoid"], "equal"), ([], "wrong")])
def test_what_rounding_decides_in_paddle_is_no_fault(tmp_path, steps, outcome):
    """Next to 1/2 a float32 is 3e-8 off, next to 1/8 7e-9; the norm enlarges that 316 times."""
    layers = [Layer("scale", [0], {"scale": 1e-3}), Layer("softmax", [1], {"axis": 1})]
    layers += [Layer(step, [2], {}) for step in steps]
    layers.append(Layer("layer_norm", [len(layers)], {"axis": 1}))
    network = Network("paddle", [8], layers, [len(layers)], 1, {"images": 3})
    np.save(tmp_path / "images.npy", network.images())
    (expected,) = paddle_networks.answers(network, network.images(), network.images())[0]
    found = expected + np.float32(2.5e-5)
    assert compare_one(network, tmp_path, 0, found, expected, 1e-5)[0] == outcome
    found = expected + np.float32(1e-3)
    assert compare_one(network, tmp_path, 0, found, expected, 1e-5)[0] == "wrong"


@pytest.mark.parametrize(
    ("reference_error", "engine_error", "outcome"),
    [
        (3, 5, "equal"),
        (3, 7, "wrong"),
        (29, 70, "wrong"),
        (31, 300, "not judged"),
        (31, 320, "wrong"),
        (31, 0.9, "equal"),
        (31, np.inf, "wrong"),
        (0.5, 0.9, "equal"),
        (0.5, 1.6, "wrong"),
        (np.inf, 5, "wrong"),
    ],
)
def test_a_reference_that_is_off_excuses_an_engine_that_is_as_far_off(
    tmp_path, reference_error, engine_error, outcome
):
    """The errors are shares of the tolerance, on either side of float64."""
    layers = [Layer("scaled", [0], {"scale": 1.5})]
    network = Network("onnx", [8], layers, [1], 1, {"opset": 17, "images": 3})
    np.save(tmp_path / "images.npy", network.images())
    (truth,) = onnx_networks.judge(network, network.images())
    tolerance = 1e-5 * np.maximum(1, np.abs(truth).max(axis=1, keepdims=True))
    found = truth - engine_error * tolerance
    expected = truth + reference_error * tolerance
    assert compare_one(network, tmp_path, 0, found, expected, 1e-5)[0] == outcome


def test_the_judge_takes_no_logarithm_of_a_softmax_that_is_zero():
    """The class LogSoftmax of the package onnx does, for values that are 745 apart."""
    layers = [Layer("scaled", [0], {"scale": 1e4}), Layer("LogSoftmax", [1], {"axis": 1})]
    network = Network("onnx", [2], layers, [2], 1, {"opset": 17, "images": 3})
    scores = 1e4 * network.images().astype(np.float64)
    (found,) = onnx_networks.judge(network, network.images())
    smaller = scores.min(axis=1) - scores.max(axis=1)
    assert (smaller < -745).all()
    np.testing.assert_allclose(found.min(axis=1), smaller)
    np.testing.assert_array_equal(found.max(axis=1), 0)


def test_the_judge_agrees_with_onnxruntime_where_rounding_decides_nothing():
    """Where they do not agree, nothing can be said of an engine: that has to be seldom."""
    far = judged = 0
    for number in range(150):
        network, expected = drawn(9, number, "blocks")
        if any(layer.op == "Resize" for layer in network.layers):  # the judge takes a minute
            continue
        judged += 1
        truth = onnx_networks.judge(network, network.images())
        tolerance = ROUNDING_TOLERANCE if "int8" in network.options else TOLERANCE
        far += any(share(*pair, tolerance) > 1 for pair in zip(truth, expected, strict=True))
    assert judged > 120
    assert far <= 0.05 * judged


def drawn_constants(**shapes):
    """Return the constants of a layer by their places, of positive numbers."""
    return {place[1:]: {"shape": shape, "least": 0.5} for place, shape in shapes.items()}


CEILED = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 0, 0], "ceil_mode": 1}
SLICED = {"1": {"ints": [0]}, "2": {"ints": [1]}, "3": {"ints": [2]}}
PLACES = {"1": {"ints": [[[2]] * 5], "expand": 0}}
FEW = {"1": {"ints": [[4, -1]], "expand": 0}}
CUT = {"1": {"ints": [0, 1, -2, 0, -1, 1]}, "2": {"floats": 0.5}}
FOUR = drawn_constants(_1=[5], _2=[5], _3=[5], _4=[5])
# What the package onnx has another definition of, or none: operator sets, shapes of an image,
# and layers of one value.
JUDGED = {
    "few places of many": (17, [6], [("GatherElements", {"axis": 1, "constants": FEW})]),
    "channels, not images": (17, [5, 4, 3], [("LRN", {"size": 3, "alpha": 0.5})]),
    "places of every shape": (
        17,
        [5, 4],
        [
            ("Slice", {"constants": SLICED}),
            ("ScatterElements", {"axis": 2, "constants": PLACES}),
        ],
    ),
    "statistics that are given": (9, [5, 4, 3], [("BatchNormalization", {"constants": FOUR})]),
    "absolute values": (17, [5, 4], [("LpNormalization", {"axis": 1, "p": 1})]),
    "axes behind, too": (11, [5, 4], [("Softmax", {"axis": 1})]),
    "axes behind of a logarithm": (11, [5, 4], [("LogSoftmax", {"axis": 1})]),
    "the largest of axes behind": (11, [5, 4], [("Hardmax", {"axis": 1})]),
    "one axis": (17, [5, 4], [("GlobalMaxPool", {})]),
    "groups of channels": (
        21,
        [6, 4, 3],
        [("GroupNormalization", {"num_groups": 2, "constants": drawn_constants(_1=[6], _2=[6])})],
    ),
    "a larger second": (17, [5], [("Mean", {"constants": drawn_constants(_1=[2, 1, 5])})]),
    "windows that end outside": (17, [5, 7, 6], [("MaxPool", CEILED)]),
    "a mean of these": (17, [5, 7, 6], [("AveragePool", {**CEILED, "count_include_pad": 1})]),
    "a mean without pads": (17, [5, 7, 6], [("AveragePool", CEILED)]),
    "what is cut away": (17, [5, 4], [("Pad", {"constants": CUT})]),
    "integers": (
        15,
        [5, 4],
        [("MatMul", {"constants": {"1": {"shape": [4, 3]}}, "rounded": 0.02})],
    ),
}


@pytest.mark.parametrize("name", JUDGED)
def test_the_judge_computes_what_onnxruntime_does(name):
    opset, shape, drawn_layers = JUDGED[name]
    layers = [Layer(op, [i], attributes) for i, (op, attributes) in enumerate(drawn_layers)]
    if name == "places of every shape":
        layers[1].inputs = [0, 1]
    options = {"opset": opset, "images": 3, "batch": "N", "nodes": True}
    network = Network("onnx", shape, layers, [len(layers)], 1, options)
    (expected,), _ = onnx_networks.answers(network, network.images(), network.images())
    (found,) = onnx_networks.judge(network, network.images())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    images = network.images()
    assert expected.shape != images.shape or np.abs(expected - images).max() > 0.1


def test_the_judge_normalizes_groups_of_large_numbers_as_those_of_small_ones():
    """onnxruntime does not, and cannot say: it computes the variance from squares in float32."""
    weights = drawn_constants(_1=[6], _2=[6])
    norm = Layer("GroupNormalization", [1], {"num_groups": 2, "constants": weights, "drawn": 9})
    found = []
    for number in (0.0, 64.0):
        layers = [Layer("Add", [0], {"constants": {"1": {"floats": number}}}), norm]
        options = {"opset": 21, "images": 3, "batch": "N", "nodes": True}
        network = Network("onnx", [6, 4], layers, [2], 1, options)
        found += onnx_networks.judge(network, network.images())
    np.testing.assert_allclose(*found, rtol=0, atol=1e-9)


@pytest.mark.parametrize("unit", [2**-24, 2**-9])
def test_the_judge_moves_the_weights_of_products(unit):
    """bf16 rounds them; float32 rounds each term of a sum of products."""
    layers = [Layer("MatMul", [0], {"out": 1})]
    network = Network("onnx", [8], layers, [1], 1, {"opset": 17, "images": 3})
    images = np.zeros((3, 8), np.float32)
    images[:, 0] = 1  # the product is one weight
    (exact,) = onnx_networks.judge(network, images)
    draws = [onnx_networks.judge(network, images, unit, draw)[0] for draw in range(40)]
    moves = np.abs(np.array(draws) / exact - 1).max() / unit
    # The image and the weight are moved by up to a unit each, the sum of 8 terms by the root of 8.
    assert 3 < moves <= 2.01 + 8**0.5


def test_networks_that_were_wrong(tmp_path):
    hostile(tmp_path, "replay", str(CASES), "--no-minimise")


def test_an_activation_is_not_left_to_the_next_model(tmp_path):
    """What ended a .pdmodel on oneDNN was computed again at the beginning of the next .json."""
    conv = Layer("conv2d", [0], {"out": 3, "kernel": [1, 1], "bias": False})
    layers = [conv, Layer("leaky_relu", [1], {"negative_slope": 0.2})]
    network = Network("paddle", [2, 3, 3], layers, [2], 1).to_json()
    both = tmp_path / "both.json"
    both.write_text(json.dumps([{"name": name, "network": network} for name in "ab"]), "utf-8")
    targets = ["--targets", "pdmodel/paddle/onednn", "json/paddle/onednn"]
    hostile(tmp_path, "replay", str(both), "--jobs=1", *targets)


def step(what, folder):
    """What the children below do: answer, or end."""
    if what == "answer":
        return {"folder": folder, "child": os.getpid()}
    exec(what)
    return {}


def test_a_child_that_ends_or_hangs_is_an_outcome_and_the_next_takes_over():
    """The instrument itself: a child that dies must not pass for one that answered."""
    steps = [
        "answer",
        "import signal; signal.raise_signal(signal.SIGSEGV)",
        "answer",
        "import time; time.sleep(60)",
        "import os; os._exit(3)",
        "answer",
        "answer",
    ]
    heard = []
    name = f"{step.__module__}:step"
    do_steps(name, steps, lambda _, said: heard.append(said), seconds=3, folder="f")
    ends = [None, "SIGSEGV", None, LATE, "exit", None, None]
    assert [said.get("outcome") for said in heard] == ends
    answered = [said for said in heard if "outcome" not in said]
    assert {said["folder"] for said in answered} == {"f"}
    children = [said["child"] for said in answered]
    assert children[-2] == children[-1]
    assert len(set(children)) == 3
