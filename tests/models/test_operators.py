"""Every operator that the checks know runs, on every accelerator, as in Paddle's own layers."""

import json
import re
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle.base.proto import framework_pb2

import lenet_cpp
from lenet_cpp.agreement import compare
from shared_models import FORMATS, run_export

SCRIPT = Path(__file__).with_name("operator_models.py")
NAMES, PIR_NAMES = (
    re.findall(r'^    "(\w+)": lambda', text, re.MULTILINE)
    for text in SCRIPT.read_text().split("PIR_MODELS = ")
)

# What one of Paddle's accelerators computes wrongly, or cannot run, and how that is named.
OF_JSON_ALONE = {
    **dict.fromkeys(("bilinear", "bilinear_corners", "nearest"), "_interp"),
    **dict.fromkeys(("transposed", "transposed_padded"), "conv2d_transpose"),
}
ONEDNN_REFUSES = {
    "attention": "matmul with an input X of shape",
    "attention_masked": "matmul with an input X of shape",
    "average_zeros_after": r"pool2d with paddings=\[0, 1, 0, 1\]",
    "average_zeros_ceil": "pool2d with ceil_mode=1",
    "average_zeros_same": "pool2d with padding_algorithm=SAME",
    "batch_norm_plain": "batch_norm_? without scale or bias",
    "branch_not_taken": "if",
    "branch_taken": "if",
    "convolution_pointwise_padded": r"conv2d with paddings=\[1, 1\], as wide as the window",
    "convolution_3d": "add with an input Y of shape",
    "deviation": "add with an input Y of shape",
    "dropout_joined": "with an input X of shape",
    "heads": "matmul with an input X of shape",
    "layouts": r"conv2d of channels that come last",
    "linear_of_pixels": "with an input X of shape",
    "matmul_one_feature": "matmul with an input X of shape",
    "matmul_one_feature_transposed": "matmul with transpose_y=1",
    "max_pool_ceil": r"pool2d with ceil_mode=1",
    "nearest_pixel": r"nearest_interp(_v2 of one pixel|, which)",
    "pad_all_axes": r"pad with paddings=\[0, 0, 0, 0, 1, 2, 0, 1\]",
    "prelu_vectors": "prelu of vectors with one weight",
    "reshaped_keys": "matmul of values that were reshaped and then transposed",
    "reshaped_tokens": "matmul of values that were reshaped and then transposed",
    "softplus_threshold": r"softplus with threshold=1",
}
ONEDNN_FAILS = {"max_pool_ceil_padded"}
OPENVINO_REFUSES = {
    "adaptive_average_pool_column": r"pool2d with ksize=\[3, 1\]",
    "adaptive_max_pool_row": "max_pool2d_with_index",
    "average_zeros_after": "pool2d with exclusive=0",
    "batch_norm_plain": "batch_norm without scale or bias",
    "convolution_pointwise_padded": r"conv2d with paddings=\[1, 1\]",
    "convolution_same_dilated": "conv2d with padding_algorithm=SAME",
    "max_pool_same_wide": r"pool2d with ksize=\[11, 11\]",
    "prelu": "prelu",
    "prelu_vectors": "prelu",
    "transposed_padded": "conv2d_transpose",
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folders = {}
    for suffix in FORMATS:
        folders[suffix] = tmp_path_factory.mktemp(suffix)
        run_export(SCRIPT, folders[suffix], suffix)
    return folders


def run(folder, name, suffix, accelerator, engine="paddle"):
    images, path = np.load(folder / "images.npy"), folder / f"{name}.{suffix}"
    with lenet_cpp.Predictor(path, engine=engine, accelerator=accelerator) as predictor:
        outputs = predictor.run(images)
        # Asked after a run, which may have shown that an accelerator does not run the model.
        return outputs, predictor.accelerator(len(images))


def onednn_refuses(name, suffix):
    return name in ONEDNN_REFUSES or (suffix == "json" and name in OF_JSON_ALONE)


@pytest.mark.parametrize("name", sorted({*NAMES, *PIR_NAMES} - {"loop"}))
def test_operator(exported, name):
    for suffix, folder in exported.items():
        if suffix == "pdmodel" and name in PIR_NAMES:
            continue
        expected = np.load(folder / f"{name}.npy")
        # The images have to make a difference that a wrong operator would change.
        assert np.ptp(expected, axis=0).max() > 0.01
        ways = [("paddle", "plain"), ("paddle", "onednn"), ("paddle", "auto"), ("auto", "auto")]
        if onednn_refuses(name, suffix) or name in ONEDNN_FAILS:
            ways.remove(("paddle", "onednn"))
        for engine, accelerator in ways:
            found, _ = run(folder, name, suffix, accelerator, engine)
            assert compare(expected, found).agrees, (suffix, accelerator, engine)


WITHOUT_DEFINITION = {
    **dict.fromkeys(("arranged", "taken_along"), "argsort"),
    **dict.fromkeys(("gru", "lstm", "rnn"), "rnn"),
    "convolution_3d": "conv3d",
    "deformable": "deformable_conv",
    "local_response": "pool3d",
    "maxout": "maxout",
    "powers": "lp_pool2d",
    "random_slopes": "rrelu",
    "spectrum": "fft_r2c",
    "sums_so_far": "cumprod",
}
"""Operators that neither the native engine nor the plain one runs."""


@pytest.mark.parametrize("name", sorted({*NAMES, *PIR_NAMES} - {"loop"}))
def test_definition_of_an_operator(exported, name):
    for suffix, folder in exported.items():
        if suffix == "pdmodel" and name in PIR_NAMES:
            continue
        expected = np.load(folder / f"{name}.npy")
        if operator := WITHOUT_DEFINITION.get(name):
            with pytest.raises(lenet_cpp.Unsupported, match=rf"plain engine \({operator}"):
                run(folder, name, suffix, "auto", "plain")
            continue
        found, _ = run(folder, name, suffix, "auto", "plain")
        assert np.abs(expected - found).max() <= 2e-6 * max(1, np.abs(expected).max()), suffix


@pytest.mark.parametrize(
    "name",
    [
        "chosen",
        "channel_shuffle",
        "named_numbers",
        "pixel_shuffle",
        "pixel_unshuffle",
        "roll",
        "like_another",
        "group_norm",
        "normalize",
        "prelu_channels",
        "norms",
    ],
)
def test_native_runs_an_operator_by_its_kind(exported, name):
    """Paddle's operators have the kinds of ONNX's."""
    for suffix, folder in exported.items():
        if suffix == "pdmodel" and name in PIR_NAMES:
            continue
        found, _ = run(folder, name, suffix, "auto", "native")
        assert compare(np.load(folder / f"{name}.npy"), found).agrees, suffix


def with_values(exported, name, operator, change):
    """Return a .json program and its parameters; `change` gets the numbers of its operator."""
    program = json.loads((exported["json"] / f"{name}.json").read_text())
    (block,) = program["program"]["regions"][0]["blocks"]
    found = next(one for one in block["ops"] if one["#"] == f"1.{operator}")
    change(next(one["AT"]["D"] for one in found["A"] if one["N"] == "values"))
    text = json.dumps(program, separators=(",", ":"))
    return text.encode(), (exported["json"] / f"{name}.pdiparams").read_bytes()


@pytest.mark.parametrize(
    ("name", "operator"), [("overwritten", "set_value_"), ("named_numbers", "assign_value_")]
)
def test_numbers_of_the_program_are_counted(exported, name, operator):
    """Paddle reads as many as the shape says."""
    model = with_values(exported, name, operator, lambda values: values.append(values[0]))
    with pytest.raises(lenet_cpp.BadModel, match="the number of values"):
        lenet_cpp.Predictor.from_bytes(*model)


def test_integers_of_the_program_overwrite_a_part(exported):
    def as_integers(values):
        for value in values:
            value.update({"#": "0.a_i64", "D": 3})

    model = with_values(exported, "overwritten", "set_value_", as_integers)
    found = lenet_cpp.Predictor.from_bytes(*model).run(np.load(exported["json"] / "images.npy"))
    assert compare(np.load(exported["json"] / "overwritten.npy"), found).agrees


@pytest.mark.parametrize("accelerator", ["plain", "onednn"])
def test_numbers_that_older_paddles_wrote(exported, accelerator):
    found, _ = run(exported["pdmodel"], "named_numbers_older", "pdmodel", accelerator)
    assert compare(np.load(exported["pdmodel"] / "named_numbers.npy"), found).agrees


@pytest.mark.parametrize("name", OPENVINO_REFUSES)
def test_openvino_runs_only_what_was_compared(exported, name):
    folder = exported["pdmodel"]
    threads = len(list(Path("/proc/self/task").iterdir()))
    with pytest.raises(lenet_cpp.Unsupported, match=f"{OPENVINO_REFUSES[name]}.*accelerator auto"):
        run(folder, name, "pdmodel", "openvino")
    # OpenVINO itself leaves two for each model that it refuses.
    assert len(list(Path("/proc/self/task").iterdir())) == threads
    other = "plain" if onednn_refuses(name, "pdmodel") else "onednn"
    assert run(folder, name, "pdmodel", "auto")[1] == other


@pytest.mark.parametrize("name", sorted({*ONEDNN_REFUSES, *OF_JSON_ALONE}))
def test_onednn_is_left_out_where_it_is_wrong(exported, name):
    with pytest.raises(lenet_cpp.Unsupported, match={**ONEDNN_REFUSES, **OF_JSON_ALONE}[name]):
        run(exported["json"], name, "json", "onednn")
    assert run(exported["json"], name, "json", "auto")[1] == "plain"
    if name in OF_JSON_ALONE:
        assert run(exported["pdmodel"], name, "pdmodel", "onednn")[1] == "onednn"
    elif name not in PIR_NAMES:
        with pytest.raises(lenet_cpp.Unsupported, match=ONEDNN_REFUSES[name]):
            run(exported["pdmodel"], name, "pdmodel", "onednn")


@pytest.mark.parametrize("suffix", ["json", "pdmodel"])
@pytest.mark.parametrize("name", sorted(ONEDNN_FAILS))
def test_auto_goes_on_without_onednn_when_that_fails(exported, name, suffix):
    folder = exported[suffix]
    with pytest.raises(lenet_cpp.Unsupported, match=r"onednn.*use accelerator auto or plain"):
        run(folder, name, suffix, "onednn")
    images = np.load(folder / "images.npy")
    expected = np.load(folder / f"{name}.npy")
    with lenet_cpp.Predictor(folder / f"{name}.{suffix}", engine="paddle") as predictor:
        assert predictor.accelerator(len(images)) == "onednn"
        found = predictor.run(images)
        assert compare(expected, found).agrees
        # It is remembered, and by clones.
        for one in (predictor, predictor.clone()):
            assert one.accelerator(len(images)) == "plain"
            assert (one.run(images) == found).all()


# ---- control flow: what an `if` may not do, as a hostile program would


class Program:
    """A .json program with an `if`, to be changed."""

    def __init__(self, folder, name="branch_taken"):
        self.tree = json.loads((folder / f"{name}.json").read_text())
        self.parameters = (folder / f"{name}.pdiparams").read_bytes()
        self.operators = self.tree["program"]["regions"][0]["blocks"][0]["ops"]
        self.flow = next(op for op in self.operators if op["#"] in ("1.if", "1.while"))
        self.inner = self.flow["regions"][0]["blocks"][0]["ops"]

    def given(self, kind, operators):
        """Return the number of what the first operator of a kind gives."""
        return next(op["O"][0]["%"] for op in operators if op["#"] == kind)

    def load(self, **options):
        text = json.dumps(self.tree, separators=(",", ":"))
        return lenet_cpp.Predictor.from_bytes(text.encode(), self.parameters, **options)


def unknown_operator(program):
    program.inner[0]["#"] = "1.py_func"


def wrong_attribute(program):
    nested = next(op for op in program.inner if op["#"] == "1.if")["regions"][0]["blocks"][0]["ops"]
    convolution = next(op for op in nested if op["#"] == "1.conv2d")
    strides = next(one["AT"]["D"] for one in convolution["A"] if one["N"] == "strides")
    strides[0]["D"] = 0


def inner_value_used_outside(program):
    program.operators[-1]["I"][0]["%"] = program.given("1.relu", program.inner)


def value_of_the_other_branch(program):
    other = program.flow["regions"][1]["blocks"][0]["ops"]
    other[-1]["I"][0]["%"] = program.given("1.relu", program.inner)


def results_of_two_shapes(program):
    program.inner[-1]["I"][0]["%"] = program.given("1.mean", program.operators)


def wrong_declaration(program):
    program.flow["O"][0]["TT"]["D"][1][1] = 5


def condition_of_several_values(program):
    above = next(op for op in program.operators if op["#"] == "1.greater_than")
    above["I"][0]["%"] = program.given("1.conv2d", program.operators)
    above["O"][0]["TT"]["D"][1] = [-1, 4, 8, 8]


def condition_that_is_a_number(program):
    program.flow["I"][0]["%"] = program.given("1.mean", program.operators)


def parameter_inside(program):
    program.inner.insert(0, program.operators.pop(0))


def input_inside(program):
    data = next(op for op in program.operators if op["#"] == "1.data")
    program.inner.insert(0, data)


def written_in_place(program):
    relu = next(op for op in program.inner if op["#"] == "1.relu")
    relu["#"] = "1.assign_value_"


def no_result(program):
    program.inner[-1]["I"].clear()


def no_end(program):
    program.inner.pop()


def end_too_early(program):
    program.inner.append(program.inner[0])


def one_branch(program):
    program.flow["regions"].pop()


def given_twice(program):
    program.inner.insert(0, program.inner[0])


def nested_too_deep(program):
    for _ in range(17):
        wrapper = json.loads(json.dumps(program.flow))
        wrapper["O"], wrapper["OA"] = [], []
        for region in wrapper["regions"]:
            end = {"#": "2.yield", "A": [], "I": [], "O": [], "OA": []}
            region["blocks"][0]["ops"] = [end]
        wrapper["regions"][0]["blocks"][0]["ops"].insert(0, program.operators[-2])
        program.operators[-2] = wrapper


BadModel, Unsupported = lenet_cpp.BadModel, lenet_cpp.Unsupported
HOSTILE_BRANCHES = [
    (unknown_operator, Unsupported, "1.py_func"),
    (wrong_attribute, BadModel, "strides"),
    (inner_value_used_outside, BadModel, "no operator before gives"),
    (value_of_the_other_branch, BadModel, "no operator before gives"),
    (results_of_two_shapes, Unsupported, "a result of two types or shapes.*check_program=false"),
    (wrong_declaration, BadModel, "shape or type of its output"),
    (condition_of_several_values, Unsupported, "condition of several values.*check_program"),
    (condition_that_is_a_number, Unsupported, "no truth value.*check_program=false"),
    (parameter_inside, Unsupported, "a parameter inside control flow"),
    (input_inside, Unsupported, "an input, .* inside control flow"),
    (written_in_place, Unsupported, "over a value of outside.*check_program=false"),
    (no_result, BadModel, "its results"),
    (no_end, BadModel, "a block without an end"),
    (end_too_early, BadModel, "an operator behind the end"),
    (one_branch, BadModel, "the branches of an if"),
    (given_twice, BadModel, "defined twice"),
    (nested_too_deep, Unsupported, "nested more than 16 deep"),
]


@pytest.mark.parametrize(("change", "error", "message"), HOSTILE_BRANCHES)
def test_branches_are_checked_like_other_operators(exported, change, error, message):
    program = Program(exported["json"])
    program.load().close()
    change(program)
    with pytest.raises(error, match=message):
        program.load()


def test_native_does_not_run_a_branch(exported):
    with pytest.raises(lenet_cpp.Unsupported, match="use engine paddle"):
        Program(exported["json"]).load(engine="native")
    assert Program(exported["json"]).load().options["engine"] == "paddle"


def test_a_loop_runs_only_where_it_is_trusted(exported):
    """It may never end, and nothing can stop Paddle."""
    folder = exported["json"]
    program, images = Program(folder, "loop"), np.load(folder / "images.npy")
    with pytest.raises(lenet_cpp.Unsupported, match=r"control flow: a loop .*IsolatedPredictor"):
        program.load()
    expected = np.load(folder / "loop.npy")
    with program.load(check_program=False) as predictor:
        assert compare(expected, predictor.run(images)).agrees
    with lenet_cpp.IsolatedPredictor(
        folder / "loop.json", check_program=False, timeout=60
    ) as predictor:
        assert compare(expected, predictor.run(images)).agrees


def test_a_loop_in_another_process_is_ended(exported, tmp_path):
    program = Program(exported["json"], "loop")
    (tmp_path / "loop.pdiparams").write_bytes(program.parameters)
    limit = next(
        op for op in program.inner if op["#"] == "1.full" and op["O"][0]["TT"]["D"][1] == []
    )
    next(one["AT"] for one in limit["A"] if one["N"] == "value")["D"] = 1e30
    (tmp_path / "loop.json").write_text(json.dumps(program.tree, separators=(",", ":")))
    images = np.load(exported["json"] / "images.npy")
    predictor = lenet_cpp.IsolatedPredictor(tmp_path / "loop.json", check_program=False, timeout=10)
    with predictor, pytest.raises(lenet_cpp.BackendFailure, match="was ended after 10 s"):
        predictor.run(images)


def test_what_no_file_holds_is_not_read(exported):
    """The state of a recurrent layer's dropout, which Paddle does not fill either."""
    program = Program.__new__(Program)
    folder = exported["json"]
    program.tree = json.loads((folder / "gru.json").read_text())
    program.parameters = (folder / "gru.pdiparams").read_bytes()
    operators = program.tree["program"]["regions"][0]["blocks"][0]["ops"]
    state = next(op["O"]["%"] for op in operators if op["#"] == "p" and not op["OA"][0])
    relay = next(op for op in operators if op["#"] == "1.conv2d")
    relay["I"][0]["%"] = state
    with pytest.raises(lenet_cpp.Unsupported, match="neither a file nor an operator fills"):
        program.load()


@pytest.mark.parametrize("index", [-100, 100, 10**12])
@pytest.mark.parametrize("look_up", ["gather_nd", "take_along_axis", "index_sample", "one_hot"])
def test_paddle_refuses_indices_out_of_range(look_up, index):
    """The rules of these operators let a program compute their indices."""
    x = paddle.ones([4, 6])
    indices = paddle.to_tensor([[0, index]] * 4)
    call = {
        "gather_nd": lambda: paddle.gather_nd(x, indices),
        "take_along_axis": lambda: paddle.take_along_axis(x, indices, 1, broadcast=False),
        "index_sample": lambda: paddle.index_sample(x, indices),
        "one_hot": lambda: paddle.nn.functional.one_hot(indices, 5),
    }[look_up]
    with pytest.raises(Exception, match=r"(?s)Expected.*but received|out of"):
        call()


def test_an_embedding_of_computed_numbers_is_not_checked(tmp_path):
    """Paddle's kernel reads memory outside of the table."""

    class Embedded(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.table = paddle.nn.Embedding(4, 3)

        def forward(self, x):
            return self.table(paddle.argmax(x.flatten(1), 1, keepdim=True)).flatten(1)

    with pytest.raises(lenet_cpp.Unsupported, match="embeds numbers that it computes"):
        lenet_cpp.Predictor(jit_saved(Embedded(), tmp_path))


def jit_saved(layer, folder):
    layer.eval()
    spec = paddle.static.InputSpec([None, 1, 2, 2], "float32", name="x")
    paddle.jit.save(paddle.jit.to_static(layer, input_spec=[spec], full_graph=True), f"{folder}/m")
    return folder / "m.json"


def divided_by(divisor, folder):
    """Return the program of a network that divides integers, and the network."""

    class Divided(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.linear = paddle.nn.Linear(4, 3)

        def forward(self, x):
            numbers = (self.linear(x.flatten(1)) * 9).astype("int32")
            by = numbers * numbers + 1 if divisor is None else paddle.full([1], divisor, "int32")
            return paddle.floor_divide(numbers, by).astype("float32")

    layer = Divided()
    return jit_saved(layer, folder), layer


@pytest.mark.parametrize("divisor", [None, -1, 0])
def test_integers_are_not_divided_by_what_ends_the_process(divisor, tmp_path):
    """Paddle's kernels divide the smallest integer by -1."""
    program, _ = divided_by(divisor, tmp_path)
    with pytest.raises(lenet_cpp.Unsupported, match="divides integers by what is computed"):
        lenet_cpp.Predictor(program)


@pytest.mark.parametrize("divisor", [2, -3])
def test_integers_are_divided_by_other_fixed_numbers(divisor, tmp_path):
    program, layer = divided_by(divisor, tmp_path)
    x = np.random.default_rng(3).standard_normal((3, 1, 2, 2)).astype("float32")
    product = x.reshape(3, 4) @ layer.linear.weight.numpy() + layer.linear.bias.numpy()
    with lenet_cpp.Predictor(program) as predictor:
        np.testing.assert_array_equal(predictor.run(x), (product * 9).astype("int32") // divisor)


def truths_summed(source, said):
    """Return a .pdmodel that counts the values that are not 0 in each row, as Paddle 2 writes it.

    Args:
        source: A program, whose parameters are declared still.
        said: The type that the sum is said to have, a number of VarType; -1 says none.
    """
    program = framework_pb2.ProgramDesc.FromString(source.read_bytes())
    (block,) = program.blocks
    declared = {var.name: var for var in block.vars}
    fetch = framework_pb2.OpDesc.FromString(block.ops[-1].SerializeToString())
    (image,) = block.ops[0].outputs[0].arguments
    (name,) = fetch.inputs[0].arguments
    kind = framework_pb2.VarType
    sums = kind.INT64 if said == -1 else said
    for added, dtype, rows in (("truths", kind.BOOL, 8), ("sums", sums, 1)):
        var = block.vars.add()
        var.CopyFrom(declared[name])
        var.name = added
        var.type.dense_tensor.tensor.data_type = dtype
        var.type.dense_tensor.tensor.dims[:] = [-1, 3, 8, rows]
    declared[name].type.dense_tensor.tensor.dims[:] = [-1, 3, 8, 1]
    del block.ops[1:]
    add_operator(block, "cast", image, "truths", in_dtype=kind.FP32, out_dtype=kind.BOOL)
    summed = {"dim": [3], "keep_dim": True, "reduce_all": False, "out_dtype": said}
    add_operator(block, "reduce_sum", "truths", "sums", **summed)
    add_operator(block, "cast", "sums", name, in_dtype=sums, out_dtype=kind.FP32)
    block.ops.append(fetch)
    return program.SerializeToString()


def add_operator(block, kind, source, target, *, indices=None, **attributes):
    op = block.ops.add(type=kind)
    op.inputs.add(parameter="X", arguments=[source])
    op.outputs.add(parameter="Out", arguments=[target])
    if indices is not None:
        op.outputs.add(parameter="Indices", arguments=[indices])
    for name, value in attributes.items():
        attr = op.attrs.add(name=name)
        if isinstance(value, bool):
            attr.type, attr.b = framework_pb2.BOOLEAN, value
        elif isinstance(value, list):
            attr.type = framework_pb2.INTS
            attr.ints[:] = value
        else:
            attr.type, attr.i = framework_pb2.INT, value


@pytest.mark.parametrize("said", [-1, framework_pb2.VarType.INT64, framework_pb2.VarType.FP64])
def test_truths_are_summed_as_paddle_2_writes_it(exported, said, tmp_path):
    source = exported["pdmodel"] / "selu.pdmodel"
    program = tmp_path / "m.pdmodel"
    program.write_bytes(truths_summed(source, said))
    images = np.maximum(np.load(exported["pdmodel"] / "images.npy"), 0)
    with lenet_cpp.Predictor(program, source.with_suffix(".pdiparams")) as predictor:
        found = predictor.run(images)
    assert np.array_equal(found, (images != 0).sum(axis=3, keepdims=True))


def test_indices_that_paddle_26_declared_as_floats(exported, tmp_path):
    """The file is not damaged, though Paddle runs nothing that takes them."""
    source = exported["pdmodel"] / "selu.pdmodel"
    program = framework_pb2.ProgramDesc.FromString(source.read_bytes())
    (block,) = program.blocks
    fetch = framework_pb2.OpDesc.FromString(block.ops[-1].SerializeToString())
    (image,) = block.ops[0].outputs[0].arguments
    (name,) = fetch.inputs[0].arguments
    declared = next(var for var in block.vars if var.name == name)
    declared.type.dense_tensor.tensor.dims[:] = [-1, 3, 8]
    places = block.vars.add()
    places.CopyFrom(declared)
    places.name = "places"
    del block.ops[1:]
    chosen = {"k": 2, "axis": -1, "keepdim": False}
    add_operator(block, "kthvalue", image, name, indices="places", **chosen)
    block.ops.append(fetch)
    path = tmp_path / "m.pdmodel"
    path.write_bytes(program.SerializeToString())
    with pytest.raises(lenet_cpp.Unsupported, match="export the model again with Paddle 3"):
        lenet_cpp.Predictor(path, source.with_suffix(".pdiparams"))
    places.type.dense_tensor.tensor.data_type = framework_pb2.VarType.INT64
    path.write_bytes(program.SerializeToString())
    images = np.load(exported["pdmodel"] / "images.npy")
    with lenet_cpp.Predictor(path, source.with_suffix(".pdiparams")) as predictor:
        assert np.array_equal(predictor.run(images), np.sort(images, axis=3)[..., 1])
