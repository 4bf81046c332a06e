"""Files of Paddle 1.8.5 to 3.3.1 run, with the answers of the Paddle that wrote them.

tools/versions makes tests/data/versions. One layout of each network is run here, all of them by
the tests marked nightly.
"""

import random
import struct
from collections import defaultdict

import numpy as np
import pytest

import lenet_cpp
from pictures import refused
from tools.hostile.models import Node, field, parse_message, serialize
from versions_corpus import networks, unpack

# Networks whose operators no engine has here, by version. Paddle 3.3 itself has no bicubic_interp,
# pad2d, soft_relu and space_to_depth any more.
NOT_RUN = {
    "1.8.5": {
        *("bicubic", "like", "pad2d", "pad2d_edge", "pad2d_reflect", "soft_relu"),
        *("space_to_depth", "unstack"),
    }
}
NO_ROWS = "flatten_axis"  # its output has no row for each image
TOLERANCE = 1e-4  # of the largest output, as ../compatibility.md has it


def layouts_of(version):
    """Return by network its layouts, in an order that differs from network to network."""
    found = defaultdict(list)
    for network in networks():
        if network.version == version:
            found[network.name].append(network)
    return {
        name: each[place % len(each) :] + each[: place % len(each)]
        for place, (name, each) in enumerate(found.items())
    }


def answers(network, folder, **options):
    """Return how far the answers are from the writer's, or the error."""
    folder.mkdir()
    files, x, expected = unpack(network, folder)
    params = [file for file in files[1:] if file.suffix == ".pdiparams" or file.name == "params"]
    try:
        with lenet_cpp.Predictor(files[0], *params, **options) as predictor:
            found = predictor.run(x)
    except lenet_cpp.Error as error:
        return error
    assert found.size == expected.size, network
    return float(np.abs(found.reshape(expected.shape) - expected).max() / np.abs(expected).max())


def check(cases, tmp_path):
    """Run each natively and by Paddle; return the names of those that neither runs."""
    refused, wrong = set(), []
    for number, network in enumerate(cases):
        if network.name == NO_ROWS:
            continue
        found = {
            engine: answers(network, tmp_path / f"{number}{engine}", engine=engine)
            for engine in ("native", "paddle")
        }
        if all(isinstance(one, lenet_cpp.Unsupported) for one in found.values()):
            refused.add(network.name)
        for engine, one in found.items():
            if not isinstance(one, lenet_cpp.Unsupported) and not (
                isinstance(one, float) and one < TOLERANCE
            ):
                wrong.append(f"{network} {engine}: {one}")
    assert not wrong
    return refused


@pytest.mark.parametrize("version", ["1.8.5", "3.0.0"])
def test_a_layout_of_each_network_has_the_writers_answer(version, tmp_path):
    cases = [each[0] for each in layouts_of(version).values()]
    assert check(cases, tmp_path) == NOT_RUN.get(version, set())


@pytest.mark.nightly
@pytest.mark.parametrize("version", ["1.8.5", "2.6.2", "3.0.0", "3.1.1", "3.2.2", "3.3.1"])
def test_every_layout_has_the_writers_answer(version, tmp_path):
    cases = [network for each in layouts_of(version).values() for network in each]
    assert check(cases, tmp_path) == NOT_RUN.get(version, set())


def age(operator, draw):
    """Give an operator what Paddle 2.0 to 2.4 wrote and 2.6 leaves out, with its default."""
    kind = next(node.value for node in operator.value if node.number == 3)
    more = []
    if kind in {b"conv2d", b"depthwise_conv2d"}:
        more += [(1, field(1, name)) for name in ("Bias", "ResidualData") if draw.random() < 0.8]
    if kind == b"matmul_v2":
        for name in ("fused_reshape_X", "fused_reshape_Out", "fused_transpose_X"):
            if draw.random() < 0.8:  # integers, of which there are none
                more.append((4, field(1, name) + field(2, 3)))
    if draw.random() < 0.5:
        more.append((4, field(1, "use_quantizer") + field(2, 6) + field(10, 0)))
    operator.value += [Node(number, 2, content) for number, content in more]
    draw.shuffle(operator.value)


def test_what_older_versions_wrote_besides_changes_nothing(tmp_path):
    """Of 2.0 to 2.5, of which no package is to be had; PP-OCR's files are of 2.3 and 2.4."""
    draw = random.Random(20261124)
    for name, (network, *_) in layouts_of("2.6.2").items():
        if not name.startswith(("conv", "matmul", "linear", "lenet", "mobilenet", "resnet")):
            continue
        folder = tmp_path / name
        folder.mkdir()
        files, x, expected = unpack(network, folder)
        program = parse_message(files[0].read_bytes(), "Program")
        (block,) = (node.value for node in program if node.number == 1)
        for operator in (node for node in block if node.number == 4):
            age(operator, draw)
        files[0].write_bytes(serialize(program))
        params = [file for file in files[1:] if file.suffix == ".pdiparams"]
        for accelerator in ("plain", "auto"):
            options = {"engine": "paddle"} if accelerator == "plain" else {}
            with lenet_cpp.Predictor(
                files[0], *params, accelerator=accelerator, **options
            ) as predictor:
                found = predictor.run(x).reshape(expected.shape)
            assert np.abs(found - expected).max() < TOLERANCE * np.abs(expected).max(), name


@pytest.mark.parametrize("engine", ["auto", "native", "paddle"])
@pytest.mark.parametrize("name", ["bicubic", "conv_dilated", "lenet"])
def test_a_reshape_that_leaves_two_sizes_open(name, engine, tmp_path):
    """Paddle fails to load it: "Only one dimension value of 'shape' in ReshapeOp can be -1"."""
    network = next(one for one in networks() if str(one) == f"3.1.1-{name}-jit_json")
    (program, *_), *_ = unpack(network, tmp_path)
    size = '{"#":"0.a_i64","D":%d}'
    sizes = f"{size % 1},{size % -1},{size % 1},{size % 1}"  # of a bias
    text = program.read_text()
    assert sizes in text
    program.write_text(text.replace(sizes, sizes.replace(size % 1, size % -1, 1)))
    with refused(lenet_cpp.BadModel, "two open dimensions", program):
        lenet_cpp.Predictor(program, engine=engine)


@pytest.mark.parametrize(
    ("name", "attribute", "value"),
    [
        ("hard_swish", "threshold", 4),
        ("hard_swish", "scale", 4),
        ("hard_swish", "offset", 2),
        ("relu6", "threshold", 0.25),
    ],
)
def test_numbers_that_paddle_does_not_read(name, attribute, value, tmp_path):
    """Paddle 1.8 computed with them. The native engine does, or refuses them."""
    network = next(one for one in networks() if str(one) == f"1.8.5-{name}-combined")
    (program, params), x, expected = unpack(network, tmp_path)
    old, new = (
        field(1, attribute) + field(2, 1) + b"\x25" + struct.pack("<f", number)
        for number in ({"offset": 3}.get(attribute, 6), value)
    )
    assert program.read_bytes().count(old) == 1
    program.write_bytes(program.read_bytes().replace(old, new))
    with refused(lenet_cpp.Unsupported, f"{name} with {attribute}.*use engine native", program):
        lenet_cpp.Predictor(program, params, engine="paddle")
    if attribute in {"threshold", "scale"} and name == "hard_swish":
        with refused(lenet_cpp.Unsupported, "a threshold that is not the scale", program):
            lenet_cpp.Predictor(program, params, engine="native")
        return
    with lenet_cpp.Predictor(program, params, engine="native") as predictor:
        assert np.abs(predictor.run(x) - expected).max() > 1e-3
