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
from references import REFERENCES
from tools.hostile.models import Node, field, parse_message, serialize
from versions_corpus import contents, networks, unpack

# Networks whose operators no engine has here, by version. Paddle 3.3 itself has no bicubic_interp,
# pad2d, soft_relu and space_to_depth any more.
NOT_RUN = {
    "1.8.5": {
        *("bicubic", "like", "pad2d", "pad2d_edge", "pad2d_reflect", "soft_relu"),
        "space_to_depth",
    },
    # Paddle 3 understands the end of a slice backwards in another way.
    "2.6.2": {"backwards"},
}
NO_ROWS = "flatten_axis"  # its output has no row for each image
ENGINES = {name: {"engine": name} for name in ("native", "paddle")}
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
    """Run each natively, by Paddle and by the references; return those that neither engine runs."""
    refused, wrong = set(), []
    for number, network in enumerate(cases):
        if network.name == NO_ROWS:
            continue
        found = {
            name: answers(network, tmp_path / f"{number} {name}", **options)
            for name, options in (ENGINES | REFERENCES).items()
        }
        unsupported = {
            name for name, one in found.items() if isinstance(one, lenet_cpp.Unsupported)
        }
        if unsupported >= ENGINES.keys():
            refused.add(network.name)
        assert ("native" in unsupported) == ("native without passes" in unsupported), network
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
    neither = attribute in {"threshold", "scale"} and name == "hard_swish"
    remedy = "" if neither else ".*use engine native"
    with refused(lenet_cpp.Unsupported, f"{name} with {attribute}{remedy}", program):
        lenet_cpp.Predictor(program, params, engine="paddle")
    if neither:
        with refused(lenet_cpp.Unsupported, "a threshold that is not the scale", program):
            lenet_cpp.Predictor(program, params, engine="native")
        return
    with lenet_cpp.Predictor(program, params, engine="native") as predictor:
        assert np.abs(predictor.run(x) - expected).max() > 1e-3


# ---- control flow in a .pdmodel: what a hostile program could do with its blocks

RECURRENT_OR_BRANCHES = ("backwards", "branch_not_taken", "branch_taken", "gru", "lstm")


@pytest.fixture(scope="module")
def branches():
    """Return a function that loads the program with an `if`, which it lets a function change."""
    from paddle.base.proto import framework_pb2

    (network,) = layouts_of("2.6.2")["branch_taken"]
    files, *_ = contents(network)

    def load(change):
        program = framework_pb2.ProgramDesc.FromString(files["model.pdmodel"])
        change(program)
        data = program.SerializeToString()
        return lenet_cpp.Predictor.from_bytes(data, files["model.pdiparams"])

    return load


def operator(block, kind, index=0):
    return [op for op in block.ops if op.type == kind][index]


def argument(arguments, name):
    return next(one.arguments for one in arguments if one.parameter == name)


def unknown_operator(program):
    operator(program.blocks[1], "relu").type = "py_func"


def wrong_attribute(program):
    convolution = operator(program.blocks[2], "conv2d")
    next(one for one in convolution.attrs if one.name == "strides").ints[0] = 0


def branches_exchanged(program):
    chosen = argument(operator(program.blocks[0], "select_input").inputs, "X")
    first, second = chosen
    chosen[:] = [second, first]


def another_mask(program):
    cast = operator(program.blocks[0], "cast")
    opposite = operator(program.blocks[0], "logical_not")
    argument(cast.inputs, "X")[0] = argument(opposite.outputs, "Out")[0]


def result_without_choice(program):
    after = operator(program.blocks[0], "elementwise_add", -1)
    branch = operator(program.blocks[0], "conditional_block")
    argument(after.inputs, "Y")[0] = argument(branch.outputs, "Out")[0]


def block_of(program, number, index=0):
    branch = operator(program.blocks[0], "conditional_block", index)
    next(one for one in branch.attrs if one.name == "sub_block").block_idx = number


def block_run_twice(program):
    block_of(program, 1, index=1)


def block_that_runs_itself(program):
    block_of(program, 0)


def block_that_is_not_there(program):
    block_of(program, 1 << 20)


def parent_of_another(program):
    program.blocks[2].parent_idx = 0


def writes(program, name):
    argument(operator(program.blocks[1], "relu").outputs, "Out")[0] = name


def outer_value_written(program):
    relu = operator(program.blocks[1], "relu")
    writes(program, argument(relu.inputs, "X")[0])


def parameter_written(program):
    writes(program, next(one.name for one in program.blocks[0].vars if one.name.endswith("w_0")))


def name_of_outside(program):
    program.blocks[1].vars[0].name = program.blocks[0].vars[0].name


def parameter_inside(program):
    program.blocks[1].vars[0].persistable = True


def value_of_the_other_branch(program):
    other = operator(program.blocks[-1], "scale")
    argument(other.inputs, "X")[0] = argument(operator(program.blocks[1], "relu").outputs, "Out")[0]


def many_conditions(program):
    branch = operator(program.blocks[0], "conditional_block")
    next(one for one in branch.attrs if one.name == "is_scalar_condition").b = False


def results_of_two_shapes(program):
    pool = operator(program.blocks[-1], "assign")
    argument(pool.inputs, "X")[0] = argument(
        operator(program.blocks[0], "reduce_mean").outputs, "Out"
    )[0]
    result = argument(pool.outputs, "Out")[0]
    declared = next(one for one in program.blocks[0].vars if one.name == result)
    del declared.type.dense_tensor.tensor.dims[:]


def loop(program):
    operator(program.blocks[0], "conditional_block").type = "while"


def block_of_another_operator(program):
    operator(program.blocks[0], "conditional_block").type = "py_func"


def block_that_nothing_runs(program):
    program.blocks.add(idx=len(program.blocks), parent_idx=0)


def output_inside(program):
    program.blocks[1].ops.add().CopyFrom(operator(program.blocks[0], "fetch"))


BadModel, Unsupported = lenet_cpp.BadModel, lenet_cpp.Unsupported
OVERWRITES = "inside control flow over .*check_program=false"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (unknown_operator, Unsupported, "py_func"),
        (wrong_attribute, BadModel, "strides"),
        (branches_exchanged, Unsupported, "another condition than theirs.*check_program=false"),
        (another_mask, Unsupported, "another condition than theirs"),
        (result_without_choice, Unsupported, "only one branch .* gives.*check_program=false"),
        (block_run_twice, Unsupported, "a block of its own"),
        (block_that_runs_itself, Unsupported, "a block of its own"),
        (block_that_is_not_there, Unsupported, "a block of its own"),
        (parent_of_another, BadModel, "the number of another block"),
        (outer_value_written, Unsupported, OVERWRITES),
        (parameter_written, Unsupported, OVERWRITES),
        (name_of_outside, Unsupported, "once more.*check_program=false"),
        (parameter_inside, Unsupported, "as a parameter"),
        (value_of_the_other_branch, BadModel, "which is no variable of the kind"),
        (many_conditions, Unsupported, "each of several conditions.*check_program=false"),
        (results_of_two_shapes, Unsupported, "a result of two types or shapes"),
        (loop, Unsupported, "a loop .*IsolatedPredictor"),
        (block_of_another_operator, Unsupported, "control flow that is not supported"),
        (block_that_nothing_runs, Unsupported, "a block that no operator runs"),
        (output_inside, Unsupported, "an output inside control flow"),
    ],
)
def test_blocks_are_checked_like_the_program(branches, change, error, message):
    branches(lambda _: None).close()
    with pytest.raises(error, match=message):
        branches(change)


@pytest.mark.parametrize("name", RECURRENT_OR_BRANCHES)
def test_branches_and_recurrent_layers_of_2_6(name, tmp_path):
    (network,) = layouts_of("2.6.2")[name]
    assert check([network], tmp_path) == NOT_RUN["2.6.2"] & {name}


def test_unknown_attributes_inside_a_branch_are_dropped(branches):
    """Paddle then gets a program that is written anew, with all of its blocks."""
    (network,) = layouts_of("2.6.2")["branch_taken"]
    _, x, expected = contents(network)

    def change(program):
        relu = operator(program.blocks[1], "relu")
        relu.attrs.add(name="of_another_version", type=0, i=1)

    with branches(change) as predictor:
        found = predictor.run(x).reshape(expected.shape)
    assert np.abs(found - expected).max() < TOLERANCE * np.abs(expected).max()
