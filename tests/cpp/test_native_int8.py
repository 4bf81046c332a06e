"""The native engine in int8: quantized programs against what they say themselves, in NumPy and by
Paddle's plain kernels in float32, and against Paddle's int8 within its error; the same bits with
each instruction set.
"""

import os
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from quantized_networks import make_networks
from quantized_reference import QuantizedProgram, read_programs

import lenet_cpp
from lenet_cpp.agreement import TOLERANCES, compare
from lenet_cpp.formats.tensors import read_combined
from lenet_cpp.quantize import METHODS, QuantizationSettings, open_source, own_images, quantize
from lenet_cpp.quantize.deployed import measure_quality
from lenet_cpp.quantize.sensitivity import DEPLOYED, analyse
from lenet_cpp.quantize.task import make_task, run_tasks
from processor import HAS_VNNI, INSTRUCTION_SETS, needs_vnni, processor_has
from quantized_models import quantized_by_page
from shared_models import infer
from snippets import run_page
from tools.hostile.models import record

AVAILABLE = [name for name in INSTRUCTION_SETS if processor_has(name)]
QUICK, NETWORKS = 6, 16  # all of them with --nightly
OPTIONS = {"engine": "native", "precision": "int8"}


@pytest.fixture(scope="module")
def lenets(program, pytestconfig, tmp_path_factory):
    """The bundled LeNet by all four methods, and what Paddle reads in each."""
    made = quantized_by_page(program, whole=pytestconfig.getoption("nightly"))
    folder = tmp_path_factory.mktemp("lenets")
    for method in METHODS:
        shutil.copytree(made / "inference_model" / f"lenet_{method}", folder / method)
    programs = {method: folder / method / "lenet.pdmodel" for method in METHODS}
    read_programs(list(programs.values()))
    return programs


@pytest.fixture(scope="module")
def networks(pytestconfig, tmp_path_factory):
    count = NETWORKS if pytestconfig.getoption("nightly") else QUICK
    return make_networks(tmp_path_factory.mktemp("networks"), count)


def run(model, images, **options):
    with lenet_cpp.Predictor(model, **{**OPTIONS, **options}) as predictor:
        return predictor.run(images)


def bits(values):
    return values.view(np.uint32)


def differences(found, expected):
    """Of each image, the largest, in steps of 8 bits of the largest output."""
    steps = np.abs(found - expected).max(axis=1) / ((np.abs(expected).max() or 127) / 127)
    assert steps.shape == (len(expected),)
    return steps


def check_answers(model, rules, images, found):
    """Compare outputs with the program in NumPy, and by Paddle's plain kernels in float32.

    Where a value lies between two integers so that float32 may round it to either, the outputs of
    the image are those of one of the two. Paddle adds products in float32, with larger errors: more
    values are between two integers, and outputs of most images are the same.

    Returns the :class:`quantized_reference.Answers`.
    """
    answers = rules.run(images)
    check_definition(answers, found)
    apart = differences(found, run_as_float(model, images))
    assert np.quantile(apart, 0.25) <= 1e-3
    return answers


def check_definition(answers, found):
    assert answers.is_complete.mean() >= 0.5
    assert answers.include(found)[answers.is_complete].all()


def run_as_float(model, images):
    with lenet_cpp.Predictor(model, engine="paddle", accelerator="plain") as predictor:
        return predictor.run(images)


def check_near_paddle(model, images, found):
    """Compare with Paddle's int8 within the error of quantization.

    oneDNN rounds elsewhere, quantizes weights again, and clips large weights of a matrix.
    """
    assert is_near_paddle(model, images, found)


def is_near_paddle(model, images, found):
    expected = run(model, images, engine="paddle")
    return compare(expected, found, tolerance=TOLERANCES["int8"]).agrees


@pytest.mark.parametrize("method", METHODS)
def test_lenet_computes_what_the_program_says(lenets, digits, mnist_test, method, monkeypatch):
    extremes = np.stack([np.zeros((1, 28, 28)), np.full((1, 28, 28), 1e30), -digits[0] * 3])
    images = np.concatenate([digits, extremes]).astype(np.float32)
    model, labels = lenets[method], mnist_test.labels
    with lenet_cpp.Predictor(model, **OPTIONS) as predictor:
        assert predictor.quantized
        assert predictor.options["precision"] == "int8"
        assert predictor.input_spec.shape == (-1, 1, 28, 28)
        found = predictor.run(images)
    check_answers(model, QuantizedProgram(model.with_suffix(".npz")), images, found)
    assert (found[: len(labels)].argmax(axis=1) == labels).mean() >= 0.99
    # Each set with one method: cpp/tests/test_native_int8.cc has networks of all layers.
    for name in AVAILABLE if method == "static-ptq" else ():
        monkeypatch.setenv("LENET_NATIVE_ISA", name)
        assert (bits(run(model, images[-200:])) == bits(found[-200:])).all(), name
    monkeypatch.undo()
    needs_vnni()
    check_near_paddle(model, digits, found[: len(digits)])


SMALL = """
import paddle
from lenet_cpp.models import ModelSpec
from paddle.nn.functional import avg_pool2d, max_pool2d, relu, relu6


class Branches(paddle.nn.Layer):
    def __init__(self, num_classes):
        super().__init__()
        self.left = paddle.nn.Conv2D(3, 8, 3, padding=1)
        self.right = paddle.nn.Conv2D(3, 8, 3, padding=1, bias_attr=False)
        self.middle = paddle.nn.Conv2D(16, 8, 3, padding=1, bias_attr=False)
        self.norm = paddle.nn.BatchNorm2D(8)
        self.before = paddle.nn.Conv2D(8, 8, 3, padding=1)
        self.added = paddle.nn.Conv2D(8, 8, 1, bias_attr=False)
        self.signed = paddle.nn.Conv2D(8, 8, 1, bias_attr=False)
        self.last = paddle.nn.Conv2D(8, 8, 1)
        self.out = paddle.nn.Linear(128, num_classes)

    def forward(self, x):
        x = paddle.concat([relu(self.left(x)), relu(self.right(x))], axis=1)
        x = relu(self.norm(self.middle(avg_pool2d(x, 2))))
        x = relu(x + self.added(relu(self.before(x))))
        x = x + self.signed(x)
        return self.out(max_pool2d(self.last(x) + x, 2).flatten(1))


class CutSum(paddle.nn.Layer):
    def __init__(self, num_classes):
        super().__init__()
        self.first = paddle.nn.Conv2D(3, 8, 3, padding=1)
        self.before = paddle.nn.Conv2D(8, 8, 3, padding=1)
        self.added = paddle.nn.Conv2D(8, 8, 1, bias_attr=False)
        self.out = paddle.nn.Conv2D(8, num_classes, 16)

    def forward(self, x):
        x = relu(self.first(x))
        x = x + self.added(relu(self.before(x)))
        return self.out(x).flatten(1)


class Joined(paddle.nn.Layer):
    def __init__(self, num_classes):
        super().__init__()
        self.stem = paddle.nn.Conv2D(3, 9, 3, padding=1)
        self.each = paddle.nn.Conv2D(9, 9, 3, padding=1, groups=9)
        self.left, self.right = paddle.nn.Conv2D(36, 20, 1), paddle.nn.Conv2D(36, 20, 3, padding=1)
        self.after_left = paddle.nn.Conv2D(20, 20, 1)
        self.after_right = paddle.nn.Conv2D(20, 20, 3, padding=1)
        self.hidden, self.out = paddle.nn.Linear(20, 33), paddle.nn.Linear(33, num_classes)

    def forward(self, x):
        x = relu6(self.stem(x))
        pools = [avg_pool2d(x, 3, 1, 1), max_pool2d(x, 3, 1, 1)]
        x = paddle.concat([self.each(x), *pools, x], axis=1)
        a, b = relu(self.left(x)), relu6(self.right(x))
        x = a + b + self.after_left(a) + self.after_right(b)
        x = paddle.nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)
        return self.out(relu6(self.hidden(x)))


class Sides(paddle.nn.Layer):
    def __init__(self, num_classes):
        super().__init__()
        self.first = paddle.nn.Conv2D(3, 12, 3, padding=(0, 1), groups=3)
        self.out = paddle.nn.Conv2D(12, num_classes, (14, 16))

    def forward(self, x):
        return self.out(self.first(x)).flatten(1)


class Grey(Sides):
    def __init__(self, num_classes):
        super().__init__(num_classes)
        self.grey = paddle.nn.Conv2D(3, 1, 1)
        self.first = paddle.nn.Conv2D(1, 12, (4, 3), (2, 1), (0, 1))
        self.out = paddle.nn.Conv2D(12, num_classes, (7, 16))

    def forward(self, x):
        return super().forward(self.grey(x))


BRANCHES = ModelSpec("branches", Branches, (3, 16, 16), classes=10)
CUT = ModelSpec("cut", CutSum, (3, 16, 16), classes=10)
JOINED = ModelSpec("joined", Joined, (3, 16, 16), classes=10)
SIDES = ModelSpec("sides", Sides, (3, 16, 16), classes=10)
GREY = ModelSpec("grey", Grey, (3, 16, 16), classes=10)
"""
RESNETS = [("ResNet18", "static-ptq"), ("ResNet18", "dygraph-ptq"), ("ResNet18_vd", "static-ptq")]
WRONG_IN_PADDLE = ("sides", "grey")
OF_SMALL = [(name, "static-ptq") for name in ("branches", "cut", "joined", *WRONG_IN_PADDLE)]
OF_SMALL.append(("branches", "static-qat"))


@pytest.fixture(scope="module")
def made(pytestconfig, tmp_path_factory):
    """Networks with random weights, quantized: the model, its rules, and images."""
    names = OF_SMALL + (RESNETS if pytestconfig.getoption("nightly") else [])
    folder = tmp_path_factory.mktemp("made")
    (folder / "small.py").write_text(SMALL, encoding="utf-8")
    tasks, images = [], []
    with ExitStack() as stack:
        for name, method in names:
            how = {"model": f"{folder}/small.py:{name.upper()}", "image_size": 16}
            how = how if (name, method) in OF_SMALL else {"model": name, "image_size": 32}
            source = stack.enter_context(open_source(**how, seed=1))
            drawn = own_images(source, None, 16, 16)
            target, data = (tmp_path_factory.mktemp(each) for each in ("target", "data"))
            settings = QuantizationSettings(steps=1)
            tasks.append(make_task(source, drawn, method, settings, target, data))
            images.append(np.asarray(drawn.test, np.float32))
        run_tasks(tasks)
    models = [task.result for task in tasks]
    return dict(zip(names, zip(models, read_programs(models), images, strict=True), strict=True))


@pytest.mark.parametrize(
    ("name", "method"),
    [*OF_SMALL, *(pytest.param(*one, marks=pytest.mark.nightly) for one in RESNETS)],
)
def test_a_network_computes_what_its_program_says(made, name, method):
    """Normalization that is folded; biases that are rounded; sums of what is rounded and of what is
    not, that a convolution adds and others; what relus give, concatenated; pools of what is rounded
    for later readers alone; a negative sum, which Paddle's int8 cuts off; and windows that Paddle's
    int8 computes wrongly.
    """
    model, rules, images = made[name, method]
    found = run(model, images)
    assert (bits(run(model, images, threads=3)) == bits(found)).all()  # some images each
    check_answers(model, rules, images, found)
    needs_vnni()
    if name in WRONG_IN_PADDLE:
        with pytest.raises(lenet_cpp.Unsupported, match=r"at the sides alone.*in int8; use engine"):
            run(model, images, engine="paddle")
        run(model, images, engine="paddle", precision="fp32", accelerator="onednn")
        assert (bits(run(model, images, engine="auto")) == bits(found)).all()
        # oneDNN's kernels for AMX and for AVX2 have no such fault.
        if processor_has("avx512vnni") and not processor_has("amx"):
            params = model.with_suffix(".pdiparams")
            by_paddle = infer(model, params, images, onednn=True, int8=True)
            assert np.median(differences(by_paddle, run_as_float(model, images))) > 5
    elif name == "cut":
        assert not is_near_paddle(model, images, found)  # where the sum is negative, it is 0
    else:
        check_near_paddle(model, images, found)


LATER = [pytest.param(index, marks=pytest.mark.nightly) for index in range(QUICK, NETWORKS)]


@pytest.mark.parametrize("index", [*range(QUICK), *LATER])
def test_networks_compute_what_their_programs_say(networks, index, monkeypatch):
    """Convolutions of any kind, pools, branches, and layers left in float; the same bits alone or
    in a batch; and so with each instruction set.
    """
    model = networks[index]
    images = np.load(model.with_suffix(".npy"))
    found = run(model, images)
    rules = QuantizedProgram(model.with_suffix(".npz"))
    answers = check_answers(model, rules, images, found)
    alone = np.concatenate([run(model, images[i : i + 1]) for i in range(3)])
    assert (bits(alone) == bits(found[:3])).all()
    if HAS_VNNI:
        check_near_paddle(model, images, found)
    for name in AVAILABLE:
        monkeypatch.setenv("LENET_NATIVE_ISA", name)
        check_definition(answers, run(model, images))


def test_batches_and_threads_give_the_same_bits(lenets, digits):
    model = lenets["static-ptq"]
    with lenet_cpp.Predictor(model, **OPTIONS) as predictor:
        expected = predictor.run(digits)
        for size in (1, 2, 3, 7, 64, 65, 100):
            pieces = [predictor.run(digits[i : i + size]) for i in range(0, 400, size)]
            assert (bits(np.concatenate(pieces)[:400]) == bits(expected[:400])).all()
        clone = predictor.clone()
    assert (bits(clone.run(digits)) == bits(expected)).all()
    for threads in (2, 3):
        assert (bits(run(model, digits, threads=threads)) == bits(expected)).all()
    with pytest.raises(lenet_cpp.BadInput, match="NaN"):
        clone.run(np.full((1, 1, 28, 28), np.nan, np.float32))


def test_precision_and_model_belong_together(lenets, model_dir):
    quantized = lenets["static-ptq"]
    for model, precision, words in (
        (quantized, "fp32", r"is quantized.*precision int8"),
        (model_dir / "lenet.pdmodel", "int8", "is not quantized"),
        (model_dir / "lenet.json", "int8", "nothing runs in int8"),
        (quantized, "bf16", r"is quantized.*precision int8|needs avx512_bf16"),
    ):
        with pytest.raises(lenet_cpp.Unsupported, match=words):
            lenet_cpp.Predictor(model, engine="native", precision=precision)


def with_parameter(program, folder, name, value):
    """A copy of a model, one parameter of which has this value everywhere."""
    names = sorted(set(np.load(program.with_suffix(".npz"))) - {"operators"})
    params = read_combined(program.with_suffix(".pdiparams"), names)
    params[name] = np.full_like(params[name], value)
    kinds = {"float32": 5, "int32": 2, "int8": 21}  # VarType.Type of framework.proto
    records = (record(one.shape, one.tobytes(), kinds[one.dtype.name]) for one in params.values())
    (folder / "lenet.pdiparams").write_bytes(b"".join(records))
    return Path(shutil.copy(program, folder))


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        *(("flatten_0.tmp_0", bad) for bad in (0.0, -1.0, np.nan, np.inf, 1e-42)),
        ("linear_2.w_0", -1),
    ],
)
def test_a_scale_that_is_no_positive_number_is_refused(lenets, tmp_path, name, bad):
    model = with_parameter(lenets["static-ptq"], tmp_path, f"{name}@scale", bad)
    with pytest.raises(lenet_cpp.BadModel, match="scale that is no positive number"):
        lenet_cpp.Predictor(model, check_finite=False, **OPTIONS)


def test_weights_without_a_scale_are_zeros(lenets, tmp_path, digits):
    """As the definition has it."""
    model = with_parameter(lenets["static-ptq"], tmp_path, "linear_2.w_0@scale", 0)
    bias = np.load(lenets["static-ptq"].with_suffix(".npz"))["linear_2.b_0"]
    assert (run(model, digits[:3]) == bias).all()


def test_other_quantization_is_not_known(lenets, tmp_path):
    model = with_parameter(lenets["static-ptq"], tmp_path, "x.quantized@zero_point", 3)
    with pytest.raises(lenet_cpp.Unsupported, match="zero point"):
        lenet_cpp.Predictor(model, **OPTIONS)
    # An attribute of the number 0; made 1, away from zero in the middle.
    data = lenets["dygraph-ptq"].read_bytes()
    attribute = b"\x0a\x0around_type\x10\x00\x18"
    assert attribute + b"\x00" in data
    model.write_bytes(data.replace(attribute + b"\x00", attribute + b"\x01"))
    shutil.copy(lenets["dygraph-ptq"].with_suffix(".pdiparams"), tmp_path)
    with pytest.raises(lenet_cpp.Unsupported, match="quantization but to the nearest"):
        lenet_cpp.Predictor(model, **OPTIONS)


def test_the_program(lenets, run_program):
    model = lenets["dygraph-qat"]
    arguments = [f"--model_file={model}", f"--params_file={model.with_suffix('.pdiparams')}"]
    done = run_program(*arguments, "--engine=native", "--int8")
    assert done.returncode == 0, done.stderr
    assert "engine native, accelerator plain, precision int8" in done.stdout
    done = run_program(*arguments, "--int8", "--profile", "--repeats=2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "engine native (auto: the fastest that runs this model)" in done.stdout
    assert re.search(r"limit +[\d.]+ billion multiply-adds a second, one core, int8", done.stdout)
    assert re.search(r"^  total +416,520 ", done.stdout, re.MULTILINE)
    done = run_program(*arguments, "--engine=native")
    assert done.returncode == 6
    assert "use precision int8" in done.stderr


@pytest.mark.parametrize(
    ("name", "images"), [*((name, 70) for name in AVAILABLE), (AVAILABLE[-1], 1)]
)
def test_what_lenet_costs_layer_by_layer(lenets, monkeypatch, name, images):
    """Multiply-adds: taps of a filter, times filters, times places; inputs times outputs."""
    expected = {"conv2d_0": 117_600, "conv2d_1": 240_000, "linear_0": 48_000, "linear_1": 10_080}
    monkeypatch.setenv("LENET_NATIVE_ISA", name)
    with lenet_cpp.Predictor(lenets["static-ptq"], **OPTIONS) as predictor:
        profile = predictor.profile(images, runs=2)
    assert profile.instructions == ("avx2" if name == "avx512" else name)
    has_bytes = name in {"amx", "avx512vnni", "neondotprod"}
    assert ("the float model in fp32 may be faster" in profile.precision_reason) != has_bytes
    assert (profile.multiply_adds, profile.images, profile.runs) == (416_520, images, 2)
    assert (profile.precision, profile.multiply_add_limit > 1e9) == ("int8", True)
    (part,) = profile.parts
    assert (part.images, part.at_once) == (min(images, 64), min(images, 64))
    reading, *layers, writing = part.layers
    assert (reading.name, writing.name) == ("reading the images", "writing the output")
    assert [layer.multiply_adds for layer in layers] == [*expected.values(), 840]
    for layer, start in zip(layers, expected, strict=False):
        assert f"'{start}." in layer.name
    assert [layer.output for layer in layers] == [
        (6, 14, 14),
        (16, 5, 5),
        (120,),
        (84,),
        (10,),
    ]
    kernels = [layer.kernel for layer in layers]
    assert kernels[1:] == ["conv_channels_int8", *["fully_connected_int8"] * 3]
    assert {layer.layout for layer in layers} == {"NHWC"}
    assert all(layer.microseconds > 0 for layer in layers)
    # Bytes of integers: a weight, an input or an output is one, a bias and a scale are four.
    assert layers[1].weight_bytes == 6 * 25 * 16 + 4 * 2 * 16
    assert layers[1].activation_bytes == 6 * 14 * 14 + 16 * 5 * 5


def test_the_page(lenets, model_dir, tmp_path, root):
    """Each command of docs/native-int8.md."""
    shutil.copytree(lenets["static-ptq"].parent, tmp_path / "inference_model" / "lenet_static-ptq")
    shell, python = run_page(root / "docs" / "native-int8.md", tmp_path, model_dir)
    assert "engine native, accelerator plain, precision int8" in shell
    assert python == "(2, 10)\n"


TOKENS = """
import paddle
from paddle.base.layer_helper import LayerHelper


def matmul(x, y, transposed=False):
    # Paddle 3.3 writes no product of two tensors into a .pdmodel by itself.
    if not isinstance(x, paddle.static.Variable):
        return paddle.matmul(x, y, transpose_y=transposed)
    helper = LayerHelper("matmul_v2")
    made = helper.create_variable_for_type_inference(x.dtype)
    attributes = {"trans_x": False, "trans_y": transposed}
    inputs = {"X": x, "Y": y}
    helper.append_op(type="matmul_v2", inputs=inputs, outputs={"Out": made}, attrs=attributes)
    return made


class Tokens(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.patches = paddle.nn.Conv2D(3, 24, 4, 4)
        self.before, self.after = paddle.nn.LayerNorm(24), paddle.nn.LayerNorm(24)
        self.all, self.out = paddle.nn.Linear(24, 72), paddle.nn.Linear(24, 24)
        self.up, self.down = paddle.nn.Linear(24, 50), paddle.nn.Linear(50, 24)
        self.head = paddle.nn.Linear(24, 10)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose([0, 2, 1])
        parts = self.all(self.before(x)).reshape([-1, 36, 3, 2, 12]).transpose([2, 0, 3, 1, 4])
        scores = matmul(parts[0], parts[1], transposed=True) * 12**-0.5
        mixed = matmul(paddle.nn.functional.softmax(scores), parts[2])
        x = x + self.out(mixed.transpose([0, 2, 1, 3]).reshape([-1, 36, 24]))
        x = x + self.down(paddle.nn.functional.relu(self.up(self.after(x))))
        return self.head(x.mean(1))


paddle.seed(0)
layer = Tokens()
layer.eval()
for parameter in layer.parameters():
    if len(parameter.shape) == 2:
        parameter.set_value(paddle.randn(parameter.shape) * 1.2 * parameter.shape[0] ** -0.5)
spec = [paddle.static.InputSpec([None, 3, 24, 24], "float32", name="image")]
paddle.jit.save(layer, "float/net", input_spec=spec)
"""


def test_quantized_tokens_are_what_paddle_computes_in_float32(tmp_path, monkeypatch):
    """Compare with the program in float32: Paddle's int8 has no product of two tensors."""
    images = np.random.default_rng(0).standard_normal((64, 3, 24, 24)).astype("f4")
    np.save(tmp_path / "images.npy", images)
    environment = {**os.environ, "FLAGS_enable_pir_api": "0", "HOME": str(tmp_path)}
    (tmp_path / "make.py").write_text(TOKENS, encoding="utf-8")  # Paddle reads the source
    command = [sys.executable, "-W", "ignore", "make.py"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    settings = QuantizationSettings(algo="abs_max")
    with open_source(model_dir=tmp_path / "float") as source:
        calibration = own_images(source, tmp_path / "images.npy", 48)
        made = quantize(source, calibration, "static-ptq", tmp_path / "quantized", settings)
        costs = analyse(source, calibration, settings)
        reference = source.outputs(calibration.test)
    assert made.primitives == {"convolution": (1, 1), "matmul": (5, 5)}
    assert [row.layer for row in costs[-2:]] == ["(all)", DEPLOYED]
    model = made.deployed.program
    with lenet_cpp.Predictor(model, engine="paddle", accelerator="plain") as predictor:
        expected = predictor.run(images)
        by_paddle = measure_quality(reference, predictor.run(calibration.test), None)
    assert made.quality.relative_error == pytest.approx(by_paddle.relative_error, rel=1e-3)
    for row in costs[-2:]:
        assert row.relative_error == pytest.approx(by_paddle.relative_error, rel=1e-3)
    with lenet_cpp.Predictor(tmp_path / "float" / "net.pdmodel", engine="native") as predictor:
        assert not compare(expected, predictor.run(images)).agrees
    for isa in AVAILABLE:
        monkeypatch.setenv("LENET_NATIVE_ISA", isa)
        with lenet_cpp.Predictor(model, **OPTIONS) as predictor:
            answers = predictor.run(images)
        # A value halfway between two integers may be rounded to the other one.
        agreeing = sum(
            compare(one[None], other[None]).agrees
            for one, other in zip(expected, answers, strict=True)
        )
        assert agreeing >= 62, isa
        assert np.abs(answers - expected).max() < 0.02, isa
