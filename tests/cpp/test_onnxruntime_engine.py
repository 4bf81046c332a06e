"""The engine onnxruntime: .onnx models through the C++ predictor and its programs.

Against Python's onnxruntime with the same options, to the bit; against values from the definition;
against torch. About 30 s on one core.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

import lenet_cpp
from lenet_cpp.data.images import Normalize, Pipeline, ToCHW
from numpy_reference import LENET, softmax
from scripts.predict import predict, py_infer
from snippets import run_page

pytest.importorskip("onnx", reason="the models of these tests are made with it")
onnxruntime = pytest.importorskip("onnxruntime", reason="the engine needs its library")

# Where there is no onnx, the lines above skip this file; importing it first would fail.
from onnx import TensorProto, numpy_helper  # noqa: E402 - fails without onnx
from onnx_files import array, model, reference, same, write  # noqa: E402 - fails without onnx

FILE_NOT_FOUND, BAD_MODEL, UNSUPPORTED, VERSION_MISMATCH, BACKEND_FAILURE = 3, 4, 6, 7, 8


def lenet(batch="N", *, softmax=False, seed=0):
    """The LeNet of this project, with weights of its own."""
    tensors = {}
    for i, (name, shape) in enumerate(LENET.items()):
        scale = np.float32(np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1)
        tensors[name.replace(".", "_")] = array(shape, seed + i) * scale
    nodes = """
        c = Conv<pads=[2,2,2,2]>(x, conv1_weight, conv1_bias) d = Relu(c)
        e = MaxPool<kernel_shape=[2,2], strides=[2,2]>(d)
        f = Conv<pads=[0,0,0,0]>(e, conv2_weight, conv2_bias) g = Relu(f)
        h = MaxPool<kernel_shape=[2,2], strides=[2,2]>(g) i = Flatten(h)
        j = Gemm(i, linear1_weight, linear1_bias) k = Gemm(j, linear2_weight, linear2_bias)
    """
    last = "Gemm(k, linear3_weight, linear3_bias)"
    nodes += f"l = {last} y = Softmax(l)" if softmax else f"y = {last}"
    return model(nodes, f"float[{batch},1,28,28] x", f"float[{batch},10] y", tensors)


@pytest.mark.parametrize(("mode", "order"), [("RGB", 1), ("BGR", -1)])
def test_pixels_of_three_channels(tmp_path, mode, order):
    path = tmp_path / "m.onnx"
    tensors = {"w": array((4, 3, 3, 3))}
    path.write_bytes(model("y = Conv(x, w)", "float[N,3,8,9] x", "float[N,4,6,7] y", tensors))
    pixels = np.random.default_rng(0).integers(0, 256, (70, 8, 9, 3), np.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    x = pixels[..., ::order].astype(np.float32) * np.float32(1 / 255)
    x = ((x - np.float32(mean)) / np.float32(std)).transpose(0, 3, 1, 2)
    pipeline = Pipeline(mode, (Normalize(1 / 255, mean, std), ToCHW()))
    for engine in ("native", "onnxruntime"):
        predictor = lenet_cpp.Predictor(path, engine=engine, max_batch_size=20)
        assert np.array_equal(predictor.run(pixels, pipeline=pipeline), predictor.run(x))
        pool = lenet_cpp.PredictorPool.from_bytes(path.read_bytes(), engine=engine, size=2)
        found = pool.submit(pixels[0], pipeline=pipeline).result()
        assert np.array_equal(found, predictor.run(x[:1]))
        with pytest.raises(lenet_cpp.BadInput, match=r"expected an array of uint8.*got float32"):
            predictor.run(x, pipeline=pipeline)


@pytest.fixture(scope="module")
def lenet_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "lenet.onnx"
    path.write_bytes(lenet())
    return path


def predictor_of(path, **options):
    """On this engine: auto would take native for LeNet."""
    return lenet_cpp.Predictor(path, engine="onnxruntime", **options)


@pytest.fixture
def child(run_ok, tmp_path):
    """What a program prints that ends by itself, without a word on standard error."""
    python = {"program": sys.executable, "env": os.environ, "cwd": tmp_path}
    return lambda code, *given: run_ok("-W", "ignore", "-c", code, *given, **python)


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_bits_as_python(lenet_file, threads, optimize):
    options = {"threads": threads, "ir_optim": optimize}
    for memory_optim in (False, True):
        predictor = predictor_of(lenet_file, memory_optim=memory_optim, **options)
        assert predictor.options["engine"] == "onnxruntime"
        assert predictor.accelerator(64) == "plain"
        assert predictor.params_file is None
        assert predictor.input_spec == lenet_cpp.TensorSpec("x", (-1, 1, 28, 28), "float32")
        assert predictor.output_spec == lenet_cpp.TensorSpec("y", (-1, 10), "float32")
        for count in (1, 3, 64):
            x = array((count, 1, 28, 28), count)
            expected = reference(lenet_file, x, threads=threads, optimize=optimize)
            assert same(predictor.run(x), expected)
            assert same(predictor.clone().run(x), expected)
        assert predictor.run(x[:0]).shape == (0, 10)


def test_large_batches_in_pieces(lenet_file):
    x = array((150, 1, 28, 28))
    for ends, options in (([64, 128], {}), ([100], {"max_batch_size": 100})):
        pieces = [reference(lenet_file, part) for part in np.split(x, ends)]
        assert same(predictor_of(lenet_file, **options).run(x), np.concatenate(pieces))


def test_a_run_that_is_stopped(lenet_file):
    x = array((4000, 1, 28, 28))
    whole = {"max_batch_size": len(x)}  # onnxruntime itself has to stop
    predictor = predictor_of(lenet_file, **whole)
    done = threading.Event()

    def cancel():
        while not done.wait(0.001):
            predictor.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(lenet_cpp.BackendFailure, match="the run was cancelled"):
        predictor.run(x)
    done.set()
    thread.join()
    assert same(predictor.run(x[:3]), reference(lenet_file, x[:3]))
    with pytest.raises(lenet_cpp.BackendFailure, match="longer than time_limit_ms, 5;"):
        predictor_of(lenet_file, time_limit_ms=5, **whole).run(x)


def test_the_program_gives_the_same_bits(lenet_file, tmp_path, run_ok):
    x = array((70, 1, 28, 28))
    np.save(tmp_path / "x.npy", x)
    flags = (f"--model_file={lenet_file}", "--engine=onnxruntime")
    files = ("--input=x.npy", "--output=y.npy")
    report = json.loads(run_ok(*flags, *files, "--format=json", "--repeats=2", cwd=tmp_path))
    assert report["engine"] == "onnxruntime"
    assert report["onnxruntime_version"] == onnxruntime.__version__
    assert "paddle_version" not in report
    expected = np.concatenate([reference(lenet_file, part) for part in (x[:64], x[64:])])
    assert same(np.load(tmp_path / "y.npy"), expected)
    assert report["classes"] == expected.argmax(1).tolist()
    assert f"onnxruntime {onnxruntime.__version__}: engine onnxruntime, " in run_ok(*flags)


def test_quantized_models_run_as_they_are(tmp_path, run_ok):
    """A QDQ model: what is not float32 is inside."""
    w = np.array([[20, -40], [60, 5]], np.int8)
    nodes = """
        q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)
        v = DequantizeLinear(w, s, z) y = MatMul(d, v)
    """
    tensors = {"s": np.array(0.05, np.float32), "z": np.array(0, np.int8), "w": w}
    path = write(tmp_path / "qdq.onnx", model(nodes, tensors=tensors))
    x = array((9, 2))
    predictor = lenet_cpp.Predictor(path)  # of which native has no operators
    assert predictor.options["engine"] == "onnxruntime"
    assert predictor.quantized
    assert same(predictor.run(x), reference(path, x))
    quantized = np.clip(np.rint(x / np.float32(0.05)), -128, 127) * 0.05
    assert np.abs(predictor.run(x) - quantized @ (w * 0.05)).max() < 1e-5
    assert "--int8" not in run_ok(f"--model_file={path}")


@pytest.mark.parametrize("fixed", [1, 3])
def test_models_for_a_fixed_number_of_images(tmp_path, fixed, run_ok):
    """The program takes a batch size that fits; cpp/tests/test_onnxruntime.cc has the engine."""
    path = write(tmp_path / "fixed.onnx", lenet(fixed))
    np.save(tmp_path / "x.npy", array((240, 1, 28, 28)))
    for arguments in ([], [f"--input={tmp_path / 'x.npy'}"]):
        run_ok(f"--model_file={path}", "--engine=onnxruntime", *arguments)


def test_a_forked_child(lenet_file, child):
    """One thread goes on in the child; the workers of several are not there, which is said."""
    code = """
import os, signal, sys
import numpy as np
import lenet_cpp
x = np.zeros((2, 1, 28, 28), "float32")
for threads in (1, 2):
    predictor = lenet_cpp.Predictor(sys.argv[1], engine="onnxruntime", threads=threads)
    expected = predictor.run(x)
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        try:
            code = 0 if np.array_equal(predictor.run(x), expected) else 1
        except lenet_cpp.Unsupported as error:
            code = 6 if "keeps threads" in str(error) else 2
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert child(code, lenet_file).split() == ["0", "6"]


@pytest.mark.parametrize(
    ("engine", "library"), [("onnxruntime", "libonnxruntime.so"), ("native", "liblenet.so")]
)
def test_nothing_is_imported_and_no_paddle_is_loaded(lenet_file, child, engine, library):
    code = """
import sys
import numpy as np
import lenet_cpp
lenet_cpp.Predictor(sys.argv[1], engine=sys.argv[2]).run(np.zeros((1, 1, 28, 28), "float32"))
assert not {"onnxruntime", "onnx", "paddle"} & set(sys.modules)
maps = open("/proc/self/maps").read()
assert sys.argv[3] in maps and "libpaddle" not in maps
print("fine")
"""
    assert child(code, lenet_file, engine, library) == "fine\n"


@pytest.mark.parametrize("order", [1, -1], ids=["engine first", "packages first"])
def test_beside_paddle_and_the_package_of_python(lenet_file, child, order):
    code = """
import sys
import numpy as np
import lenet_cpp
x = np.random.default_rng(0).random((4, 1, 28, 28), dtype=np.float32)

def engine():
    global predictor, first
    predictor = lenet_cpp.Predictor(sys.argv[1], engine="onnxruntime")
    first = predictor.run(x)

def packages():
    global session, layer
    import paddle, onnx, onnxruntime
    session = onnxruntime.InferenceSession(sys.argv[1])
    layer = paddle.nn.Linear(784, 2)

for step in (engine, packages)[:: int(sys.argv[2])]:
    step()
import paddle
digits = lenet_cpp.predict(x)  # Paddle's engine
for turn in range(3):
    assert np.allclose(session.run(None, {"x": x})[0], first, atol=1e-5)
    assert np.array_equal(predictor.run(x), first)
    assert np.array_equal(lenet_cpp.predict(x), digits)
    assert layer(paddle.to_tensor(x.reshape(4, 784))).shape == [4, 2]
print("fine")
"""
    assert child(code, lenet_file, order) == "fine\n"


FAKE_LIBRARY = """
#include <stddef.h>
typedef struct { const void* (*get_api)(unsigned); const char* (*version)(void); } Base;
static const void* get_api(unsigned version) { (void)version; return NULL; }
static const char* version(void) { return VERSION; }
static const Base base = {get_api, version};
const Base* OrtGetApiBase(void) { return &base; }
"""


@pytest.mark.parametrize(
    ("library", "code", "words"),
    [
        ("none", FILE_NOT_FOUND, "there is no onnxruntime library '"),
        ("empty", BACKEND_FAILURE, "cannot load the onnxruntime library"),
        ("libm.so.6", FILE_NOT_FOUND, "libm.so.6"),
        ("other", BACKEND_FAILURE, "is not onnxruntime"),
        ("1.16.3", VERSION_MISMATCH, "onnxruntime 1.16.3 was found, 1.17 or later"),
        ("9.0.0", VERSION_MISMATCH, "onnxruntime 9.0.0 has no longer"),
        ("?", VERSION_MISMATCH, "onnxruntime ? was found"),
    ],
)
def test_libraries_that_are_none(lenet_file, tmp_path, fails, library, code, words):
    path = tmp_path / library
    if library == "empty":
        path.touch()
    elif library == "other" or library[0] in "19?":
        source = write(tmp_path / "fake.c", FAKE_LIBRARY.encode())
        source = write(tmp_path / "other.c", b"int x;") if library == "other" else source
        flags = ["-shared", "-fPIC", f'-DVERSION="{library}"']
        subprocess.run(["cc", *flags, "-o", path, source], check=True)
    flags = (f"--model_file={lenet_file}", "--engine=onnxruntime")
    line = fails(code, words, *flags, env={"LENET_ONNXRUNTIME_LIBRARY": str(path)})
    assert "pip install 'onnxruntime" in line


@pytest.mark.parametrize("engine", ["auto", "onnxruntime"])
def test_equations_of_einsum(tmp_path, engine):
    """With some that NumPy refuses, onnxruntime never comes to an end: it must not see them."""
    x, w = array((3, 3, 3)), array((3, 3), 1)
    random = np.random.default_rng(0)
    good = (
        "nij,jk->nik",
        "n...j,jk->n...k",
        "nij,jk",
        "...ij,jk->...i",
        "n..., ...->n",
        "nii,jj->n",
    )
    verdicts = {True: 0, False: 0}
    for number in range(120):
        equation = list(good[number % len(good)])
        for _ in range(random.integers(0, 3)):  # letters and signs come, go and change
            at = random.integers(len(equation))
            equation[at : at + random.integers(2)] = random.choice([*"nijkZ.,-> 1", "...", ""])
        equation = "".join(equation)
        try:
            expected = np.einsum(equation.replace(" ", ""), x, w)  # also of "- >"
        except ValueError:
            expected = None
        verdicts[expected is not None] += 1
        contents = model(
            f'y = Einsum<equation="{equation}">(x, w)', "float[N,3,3] x", "float[] y", {"w": w}
        )
        path = write(tmp_path / f"{number}.onnx", contents)
        try:
            with lenet_cpp.Predictor(path, engine=engine, load_seconds=20) as predictor:
                output = predictor.run(x)
        except lenet_cpp.Error as error:
            problem = str(error)
            assert expected is None or "quation" not in problem, (equation, problem)
            assert "load_seconds" not in problem, equation
        else:
            assert expected is not None, equation
            np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-5, err_msg=equation)
    assert min(verdicts.values()) > 20


MATMUL = "y = MatMul(x, w)"
EXTERNAL = TensorProto(name="w", data_type=1, dims=[2, 2], data_location=1)
EXTERNAL.external_data.add(key="location", value="../w.bin")
SHORT = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
SHORT.raw_data = SHORT.raw_data[:7]
RELU = "y = Relu(x)"
# cpp/tests/test_onnx_model.cc has files that are no ONNX model.
REFUSED = {
    BAD_MODEL: {
        "cut at 100000": (lenet()[:100000], "cut short"),
        "an input that is none": (model("y = Relu(z)"), "'z'"),
        "weights cut short": (model(MATMUL, tensors={"w": SHORT}), "as many values"),
        "values elsewhere": (model(MATMUL, tensors={"w": EXTERNAL}), "no file of its folder"),
    },
    UNSUPPORTED: {
        "an operator that is none": (model("y = Abacus(x)"), "Abacus"),
        "opset of the future": (model(RELU, opset=99), "Opset 99"),
        "format of the future": (model(RELU, ir_version=99), "IR version: 99"),
        "two inputs": (model("y = Add(x, z)", "float[N,2] x, float[N,2] z"), "has 2 inputs"),
        "truth in": (model("y = Cast<to=1>(x)", "bool[N,2] x"), "'x' that is no tensor of float32"),
        "no shape": (model(RELU, "float x", "float y"), "shape"),
    },
}


@pytest.mark.parametrize(
    ("code", "name"), [(code, name) for code, rows in REFUSED.items() for name in rows]
)
def test_models_that_are_refused(code, name, tmp_path, fails):
    contents, words = REFUSED[code][name]
    path = write(tmp_path / "model.onnx", contents)
    line = fails(code, words, f"--model_file={path}", "--engine=onnxruntime")
    assert "model.onnx" in line
    assert "/onnxruntime_src/" not in line
    with pytest.raises(lenet_cpp.Error) as raised:
        predictor_of(path)
    assert raised.value.exit_code == code
    assert str(raised.value) in line


def test_a_pdmodel_under_another_name(model_dir, tmp_path):
    for name in ("lenet.pdmodel", "lenet.json"):
        path = shutil.copy(model_dir / name, tmp_path / "lenet.onnx")
        with pytest.raises(lenet_cpp.BadModel, match=r"lenet\.onnx"):
            predictor_of(path)


@pytest.fixture(params=[False, True], ids=["logits", "softmax"])
def classifier(tmp_path, request):
    """A folder with a model and image.png, and the probabilities of its classes.

    Whether the outputs are probabilities is seen from the model.
    """
    pixels = np.random.default_rng(0).integers(256, size=(28, 28), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    Pipeline("L", (Normalize(1.0, (0.0,), (255.0,)), ToCHW())).save(tmp_path / "preprocess.json")
    path = write(tmp_path / "model.onnx", lenet(softmax=request.param))
    outputs = reference(path, pixels[None, None].astype(np.float32) / 255)
    return tmp_path, (outputs if request.param else softmax(outputs))[0]


def assert_classes(classes, probabilities, expected):
    assert classes == np.argsort(-expected).tolist()
    assert np.abs(np.array(probabilities) - np.sort(expected)[::-1]).max() < 1e-6


@pytest.mark.parametrize("engine", ["auto", "native", "onnxruntime"])
@pytest.mark.parametrize("flag", ["-d={}", "-m={}/model.onnx"])
def test_predict_command(classifier, engine, flag):
    folder, expected = classifier
    target = folder / "out.json"
    flags = [f"-i={folder / 'image.png'}", f"--output={target}", "--topk=10", "--benchmark"]
    named = [] if engine == "auto" else [f"--engine={engine}"]
    assert predict([*flags, *named, flag.format(folder)]) == 0
    (image,) = json.loads(target.read_text())
    classes = [one["class_id"] for one in image["predictions"]]
    probabilities = [one["probability"] for one in image["predictions"]]
    assert_classes(classes, probabilities, expected)


def test_other_engines_refuse_an_onnx(lenet_file, tmp_path, capsys):
    Image.new("L", (28, 28)).save(tmp_path / "image.png")
    for command, *engine in (
        (predict, "--engine=paddle"),
        (predict, "--engine=python"),
        (py_infer,),
    ):
        assert command([f"-i={tmp_path}", f"-m={lenet_file}", *engine]) == UNSUPPORTED
        assert "lenet-cpp import" in capsys.readouterr().err


@pytest.mark.nightly
def test_the_page(model_dir, tmp_path, root):
    """Each command of docs/onnxruntime-engine.md, in a folder like a clone after ./run.sh."""
    pytest.importorskip("paddle2onnx", reason="the page exports a model with it")
    outputs = run_page(root / "docs" / "onnxruntime-engine.md", tmp_path, model_dir)
    assert "engine onnxruntime" in outputs[0]
    assert outputs[1] == "(5, 10) onnxruntime\n"


# ---- what auto asks first


def test_what_the_native_engine_said_is_logged_and_reported(tmp_path, caplog, run_ok):
    path = tmp_path / "m.onnx"
    x, tensors = "float[2,1,3,4] x", {"i": np.array([1, 0])}
    path.write_bytes(model("y = Gather<axis=0>(x, i)", x, "float y", tensors))
    images = array((2, 1, 3, 4))
    said = r"\(engine native: .* could not prove that images stay apart \(Gather, which gives 'y'\)"
    with caplog.at_level("INFO", "lenet_cpp"), lenet_cpp.Predictor(path) as predictor:
        assert predictor.options["engine"] == "onnxruntime"
        assert same(predictor.run(images), images[::-1])
    assert re.search(said, caplog.text)
    np.save(tmp_path / "x.npy", images)
    flags = [f"--model_file={path}", f"--input={tmp_path / 'x.npy'}"]
    assert re.search(said, json.loads(run_ok(*flags, "--format=json"))["engine_refusals"])
    assert re.search(r"auto passed over " + said, run_ok(*flags))


def test_a_damaged_file_is_given_to_no_other_engine(tmp_path):
    path = write(tmp_path / "m.onnx", model("y = Add(x, k)", tensors={"k": array((3,))}))
    with pytest.raises(lenet_cpp.BadModel, match=r"shapes that do not match$"):
        lenet_cpp.Predictor(path)
