"""Files of Paddle 1.8.5 to 3.3.1 run, with the answers of the Paddle that wrote them.

tools/versions makes tests/data/versions. One layout of each network is run here, all of them by
the tests marked nightly.
"""

import random
from collections import defaultdict

import numpy as np
import pytest

import lenet_cpp
from versions_corpus import networks, unpack

# Networks whose operators no engine has here, by version. Paddle 3.3 itself has no bicubic_interp,
# pad2d, soft_relu and space_to_depth any more.
NOT_RUN = {
    "1.8.5": {
        *("argmax", "bicubic", "gather", "like", "pad2d", "pad2d_edge", "pad2d_reflect"),
        *("soft_relu", "space_to_depth", "topk", "unstack"),
    },
    **{
        version: {"argmax", "compare", "gather", "lrn", "topk", "unfold"}
        for version in ("2.6.2", "3.0.0", "3.1.1", "3.2.2", "3.3.1")
    },
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
    """Run each natively, by Paddle with the accelerator that auto chooses, and in the engine that
    auto chooses; return the names of those that no engine runs.
    """
    refused, wrong = set(), []
    for number, network in enumerate(cases):
        if network.name == NO_ROWS:
            continue
        for engine in ("native", "paddle", "auto"):
            found = answers(network, tmp_path / f"{number}{engine}", engine=engine)
            if isinstance(found, lenet_cpp.Unsupported):
                if engine == "auto":
                    refused.add(network.name)
            elif isinstance(found, lenet_cpp.Error) or not found < TOLERANCE:
                wrong.append(f"{network} {engine}: {found}")
    assert not wrong
    return refused


def test_a_layout_of_each_network_has_the_writers_answer(tmp_path):
    cases = [each[0] for each in layouts_of("3.0.0").values()]
    assert check(cases, tmp_path) == NOT_RUN["3.0.0"]


@pytest.mark.nightly
@pytest.mark.parametrize("version", ["1.8.5", "2.6.2", "3.0.0", "3.1.1", "3.2.2", "3.3.1"])
def test_every_layout_has_the_writers_answer(version, tmp_path):
    cases = [network for each in layouts_of(version).values() for network in each]
    assert check(cases, tmp_path) == NOT_RUN[version]


def varint(value):
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def field(number, content):
    """Encode a field of a protocol buffer."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def fields(message):
    """Yield the number and the content of each field."""
    at = 0

    def number():
        nonlocal at
        value = shift = 0
        while True:
            value |= (message[at] & 127) << shift
            shift, at = shift + 7, at + 1
            if message[at - 1] < 128:
                return value

    while at < len(message):
        key = number()
        size = number()
        if key & 7 == 2:
            yield key >> 3, message[at : at + size]
            at += size
        else:  # the number itself: there are no others at these levels
            yield key >> 3, size


def encode(pairs):
    return b"".join(field(number, content) for number, content in pairs)


def aged(operator, draw):
    """Return an operator as Paddle 2.0 to 2.4 wrote it: what 2.6 left out, with its default."""
    pairs = list(fields(operator))
    kind = next(content for number, content in pairs if number == 3)
    if kind in {b"conv2d", b"depthwise_conv2d"}:
        pairs += [(1, field(1, name)) for name in (b"Bias", b"ResidualData") if draw.random() < 0.8]
    if kind == b"matmul_v2":
        for name in (b"fused_reshape_X", b"fused_reshape_Out", b"fused_transpose_X"):
            if draw.random() < 0.8:  # integers, of which there are none
                pairs.append((4, field(1, name) + field(2, 3)))
    if draw.random() < 0.5:
        pairs.append((4, field(1, b"use_quantizer") + field(2, 6) + field(10, 0)))
    draw.shuffle(pairs)
    return encode(pairs)


def test_what_older_versions_wrote_besides_changes_nothing(tmp_path):
    """Of 2.0 to 2.5, of which no package is to be had; PP-OCR's files are of 2.3 and 2.4."""
    draw = random.Random(20261124)
    for name, (network, *_) in layouts_of("2.6.2").items():
        if not name.startswith(("conv", "matmul", "linear", "lenet", "mobilenet", "resnet")):
            continue
        folder = tmp_path / name
        folder.mkdir()
        files, x, expected = unpack(network, folder)
        program = [
            (number, encode(
                (inner, aged(content, draw) if inner == 4 else content)
                for inner, content in fields(block)
            ) if number == 1 else block)
            for number, block in fields(files[0].read_bytes())
        ]  # fmt: skip
        files[0].write_bytes(encode(program))
        params = [file for file in files[1:] if file.suffix == ".pdiparams"]
        for accelerator in ("plain", "auto"):
            options = {"engine": "paddle"} if accelerator == "plain" else {}
            with lenet_cpp.Predictor(
                files[0], *params, accelerator=accelerator, **options
            ) as predictor:
                found = predictor.run(x).reshape(expected.shape)
            assert np.abs(found - expected).max() < TOLERANCE * np.abs(expected).max(), name
