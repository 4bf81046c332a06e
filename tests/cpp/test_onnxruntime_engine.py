"""The engine onnxruntime: .onnx models through the C++ predictor and its programs.

Against Python's onnxruntime with the same options, to the bit; against values from the definition;
against torch. About 30 s on one core.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import lenet_cpp
from lenet_cpp.agreement import compare
from lenet_cpp.cli import predict, py_infer
from snippets import run_page

onnx = pytest.importorskip("onnx", reason="the models of these tests are made with it")
onnxruntime = pytest.importorskip("onnxruntime", reason="the engine needs its library")

# Where there is no onnx, the lines above skip this file; importing it first would fail.
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

BAD_MODEL, BAD_INPUT, UNSUPPORTED, BACKEND_FAILURE = 4, 5, 6, 8
FILE_NOT_FOUND, VERSION_MISMATCH = 3, 7
LEGACY_EXPORT = "ignore:You are using the legacy TorchScript:DeprecationWarning"
LEGACY_INNER = "ignore:The feature will be removed:DeprecationWarning"
SECONDS = 60


def array(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def value(name: str, shape: Any, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def model(
    nodes: list[Any],
    inputs: Any = None,
    outputs: Any = None,
    tensors: Iterable[Any] = (),
    *,
    opset: int = 17,
    ir_version: int = 8,
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "graph",
        [value("x", ["N", 2])] if inputs is None else inputs,
        [value("y", ["N", 2])] if outputs is None else outputs,
        list(tensors),
    )
    opsets = [helper.make_opsetid("", opset)]
    made = helper.make_model(graph, ir_version=ir_version, opset_imports=opsets)
    return made.SerializeToString()


node = helper.make_node


def lenet(batch: int | str = "N", *, softmax: bool = False, seed: int = 0) -> bytes:
    """The LeNet of this project, with weights of its own."""

    def weights(name: str, *shape: int) -> Any:
        scale = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else np.float32(0.1)
        return numpy_helper.from_array((array(shape, seed + len(name)) * scale).astype("f4"), name)

    tensors = [
        weights("w1", 6, 1, 3, 3),
        weights("b1", 6),
        weights("w2...", 16, 6, 5, 5),
        weights("b2", 16),
        weights("w3.", 120, 400),
        weights("b3", 120),
        weights("w4..", 84, 120),
        weights("b4", 84),
        weights("w5", 10, 84),
        weights("b5", 10),
    ]
    pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        node("Relu", ["c1"], ["r1"]),
        node("MaxPool", ["r1"], ["p1"], **pool),
        node("Conv", ["p1", "w2...", "b2"], ["c2"]),
        node("Relu", ["c2"], ["r2"]),
        node("MaxPool", ["r2"], ["p2"], **pool),
        node("Flatten", ["p2"], ["f"]),
        node("Gemm", ["f", "w3.", "b3"], ["g3"], transB=1),
        node("Gemm", ["g3", "w4..", "b4"], ["g4"], transB=1),
        node("Gemm", ["g4", "w5", "b5"], ["g5" if softmax else "y"], transB=1),
    ]
    if softmax:
        nodes.append(node("Softmax", ["g5"], ["y"]))
    return model(nodes, [value("x", [batch, 1, 28, 28])], [value("y", [batch, 10])], tensors)


@pytest.fixture(scope="module")
def lenet_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "lenet.onnx"
    path.write_bytes(lenet())
    return path


def predictor_of(path: Path, **options: Any) -> lenet_cpp.Predictor:
    """On this engine: auto would take native for LeNet."""
    return lenet_cpp.Predictor(path, engine="onnxruntime", **options)


def write(path: Path, contents: bytes) -> Path:
    path.write_bytes(contents)
    return path


def python_outputs(
    path: Path, x: NDArray[np.float32], *, threads: int = 1, optimize: bool = True
) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: x})
    return output


def same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def child(code: str, *arguments: object, cwd: Path) -> str:
    """What a program prints that ends by itself, without a word on standard error."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


# The same answers


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_bits_as_python(lenet_file: Path, threads: int, optimize: bool) -> None:
    for memory_optim in (False, True):
        predictor = predictor_of(
            lenet_file, threads=threads, ir_optim=optimize, memory_optim=memory_optim
        )
        assert predictor.options["engine"] == "onnxruntime"
        assert predictor.accelerator(64) == "plain"
        assert predictor.params_file is None
        assert predictor.input_spec == lenet_cpp.TensorSpec("x", (-1, 1, 28, 28), "float32")
        assert predictor.output_spec == lenet_cpp.TensorSpec("y", (-1, 10), "float32")
        for count in (1, 3, 64):
            x = array((count, 1, 28, 28), count)
            expected = python_outputs(lenet_file, x, threads=threads, optimize=optimize)
            assert same(predictor.run(x), expected)
            assert same(predictor.clone().run(x), expected)
        assert predictor.run(x[:0]).shape == (0, 10)


def test_large_batches_in_pieces(lenet_file: Path) -> None:
    x = array((150, 1, 28, 28))
    pieces = [python_outputs(lenet_file, part) for part in (x[:64], x[64:128], x[128:])]
    assert same(predictor_of(lenet_file).run(x), np.concatenate(pieces))
    pieces = [python_outputs(lenet_file, part) for part in (x[:100], x[100:])]
    found = predictor_of(lenet_file, max_batch_size=100).run(x)
    assert same(found, np.concatenate(pieces))


def test_a_small_network_against_its_definition(tmp_path: Path) -> None:
    """Convolution, relu, the mean of each channel and a linear layer, in float64."""
    kernel, bias, weight = array((4, 3, 2, 3), 1), array((4,), 2), array((4, 5), 3)
    nodes = [
        node("Conv", ["x", "k", "b"], ["c"], strides=[2, 1], pads=[1, 0, 0, 2]),
        node("Relu", ["c"], ["r"]),
        node("GlobalAveragePool", ["r"], ["m"]),
        node("Flatten", ["m"], ["f"]),
        node("MatMul", ["f", "w"], ["y"]),
    ]
    tensors = [
        numpy_helper.from_array(values, name)
        for name, values in (("k", kernel), ("b", bias), ("w", weight))
    ]
    path = tmp_path / "small.onnx"
    inputs, outputs = [value("x", ["N", 3, 7, 6])], [value("y", ["N", 5])]
    path.write_bytes(model(nodes, inputs, outputs, tensors))
    x = array((5, 3, 7, 6), 4)

    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 0), (0, 2)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2, 3), axis=(2, 3))[:, :, ::2]
    convolved = np.einsum("nchwij,ocij->nohw", windows, kernel) + bias[:, None, None]
    expected = np.maximum(convolved, 0).mean(axis=(2, 3)) @ weight
    for optimize in (True, False):
        found = predictor_of(path, ir_optim=optimize).run(x)
        assert compare(expected.astype(np.float32), found).agrees


@pytest.mark.filterwarnings(LEGACY_EXPORT, LEGACY_INNER)
def test_resnet18_from_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="the network is exported from it")
    from lenet_cpp.interchange.torch.models import create_network

    torch.manual_seed(0)
    network = create_network("resnet18", 2).eval()
    path = tmp_path / "resnet18.onnx"
    free = {"x": {0: "N"}, "y": {0: "N"}}
    torch.onnx.export(
        network, (torch.zeros(1, 3, 64, 64),), path, dynamo=False,
        input_names=["x"], output_names=["y"], dynamic_axes=free,
    )  # fmt: skip
    x = array((3, 3, 64, 64))
    found = predictor_of(path).run(x)
    assert same(found, python_outputs(path, x))
    with torch.no_grad():
        expected = network(torch.from_numpy(x)).numpy()
    assert found.shape == (3, 2)
    assert compare(expected, found).agrees
    assert (found.argmax(1) == expected.argmax(1)).all()


def test_the_program_gives_the_same_bits(lenet_file: Path, tmp_path: Path, run_program) -> None:
    x = array((70, 1, 28, 28))
    np.save(tmp_path / "x.npy", x)
    done = run_program(
        f"--model_file={lenet_file}", f"--input={tmp_path / 'x.npy'}",
        f"--output={tmp_path / 'y.npy'}", "--format=json", "--repeats=2", "--engine=onnxruntime",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["engine"] == "onnxruntime"
    assert report["onnxruntime_version"] == onnxruntime.__version__
    assert "paddle_version" not in report
    expected = np.concatenate([python_outputs(lenet_file, part) for part in (x[:64], x[64:])])
    assert same(np.load(tmp_path / "y.npy"), expected)
    assert report["classes"] == expected.argmax(1).tolist()
    text = run_program(f"--model_file={lenet_file}", "--engine=onnxruntime").stdout
    assert f"onnxruntime {onnxruntime.__version__}: engine onnxruntime, " in text


def test_quantized_models_run_as_they_are(tmp_path: Path, run_program) -> None:
    """A QDQ model: what is not float32 is inside."""
    scale = numpy_helper.from_array(np.float32(0.05), "s")
    zero = numpy_helper.from_array(np.int8(0), "z")
    weight = numpy_helper.from_array(np.array([[20, -40], [60, 5]], np.int8), "w")
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        node("DequantizeLinear", ["w", "s", "z"], ["v"]),
        node("MatMul", ["d", "v"], ["y"]),
    ]
    path = write(tmp_path / "qdq.onnx", model(nodes, tensors=[scale, zero, weight]))
    x = array((9, 2))
    predictor = lenet_cpp.Predictor(path)  # of which native has no operators
    assert predictor.options["engine"] == "onnxruntime"
    assert predictor.quantized
    assert same(predictor.run(x), python_outputs(path, x))
    quantized = np.clip(np.rint(x / np.float32(0.05)), -128, 127) * 0.05
    expected = quantized @ (np.array([[20, -40], [60, 5]]) * 0.05)
    assert np.abs(predictor.run(x) - expected).max() < 1e-5
    text = run_program(f"--model_file={path}").stdout
    assert "--int8" not in text
    with pytest.raises(lenet_cpp.Unsupported, match=r"precision int8: .*arithmetic"):
        lenet_cpp.Predictor(path, precision="int8")


@pytest.mark.parametrize("fixed", [1, 3])
def test_models_for_a_fixed_number_of_images(tmp_path: Path, fixed: int, run_program) -> None:
    path = write(tmp_path / "fixed.onnx", lenet(fixed))
    predictor = predictor_of(path, max_batch_size=2)
    assert predictor.input_spec.shape == (fixed, 1, 28, 28)
    x = array((6, 1, 28, 28))
    pieces = [python_outputs(path, x[i : i + fixed]) for i in range(0, 6, fixed)]
    assert same(predictor.run(x), np.concatenate(pieces))
    np.save(tmp_path / "x.npy", np.tile(x, (40, 1, 1, 1)))
    for arguments in ([], [f"--input={tmp_path / 'x.npy'}"]):
        done = run_program(f"--model_file={path}", "--engine=onnxruntime", *arguments)
        assert (done.returncode, done.stderr) == (0, "")
    if fixed > 1:
        with pytest.raises(lenet_cpp.BadInput, match="or a multiple of 3 images"):
            predictor.run(x[:4])


# Threads and processes


def test_many_threads(lenet_file: Path) -> None:
    batches = [array((count, 1, 28, 28), count) for count in (1, 2, 5, 8)]
    expected = [python_outputs(lenet_file, batch) for batch in batches]
    pool = lenet_cpp.PredictorPool(lenet_file, size=3, engine="onnxruntime")
    shared = predictor_of(lenet_file)
    jobs = [i % len(batches) for i in range(120)]

    def run(job: int) -> bool:
        clone = shared.clone()
        x = batches[job]
        return all(same(one.run(x), expected[job]) for one in (pool, shared, clone))

    with ThreadPoolExecutor(6) as threads:
        assert all(threads.map(run, jobs))
    assert len(pool) == 3


def test_a_forked_child(lenet_file: Path, tmp_path: Path) -> None:
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
            code = 6 if "onnxruntime" in str(error) else 2
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    assert child(code, lenet_file, cwd=tmp_path).split() == ["0", "6"]


def test_nothing_is_imported_and_no_paddle_is_loaded(lenet_file: Path, tmp_path: Path) -> None:
    code = """
import sys
import numpy as np
import lenet_cpp
lenet_cpp.Predictor(sys.argv[1], engine="onnxruntime").run(np.zeros((1, 1, 28, 28), "float32"))
assert not {"onnxruntime", "onnx", "paddle"} & set(sys.modules)
maps = open("/proc/self/maps").read()
assert "libonnxruntime.so" in maps and "libpaddle" not in maps
print("fine")
"""
    assert child(code, lenet_file, cwd=tmp_path) == "fine\n"


@pytest.mark.parametrize("order", ["engine first", "packages first"])
def test_beside_paddle_and_the_package_of_python(
    lenet_file: Path, tmp_path: Path, order: str
) -> None:
    code = """
import sys
import numpy as np
import lenet_cpp
x = np.random.default_rng(0).random((4, 1, 28, 28), dtype=np.float32)

def engine():
    return lenet_cpp.Predictor(sys.argv[1], engine="onnxruntime")

def packages():
    import paddle, onnx, onnxruntime
    session = onnxruntime.InferenceSession(sys.argv[1])
    return session, paddle.nn.Linear(784, 2)

if sys.argv[2] == "engine first":
    predictor = engine()
    first = predictor.run(x)
    session, layer = packages()
else:
    session, layer = packages()
    predictor = engine()
    first = predictor.run(x)
import paddle
digits = lenet_cpp.predict(x)  # Paddle's engine
for turn in range(3):
    assert np.allclose(session.run(None, {"x": x})[0], first, atol=1e-5)
    assert np.array_equal(predictor.run(x), first)
    assert np.array_equal(lenet_cpp.predict(x), digits)
    assert layer(paddle.to_tensor(x.reshape(4, 784))).shape == [4, 2]
print("fine")
"""
    assert child(code, lenet_file, order, cwd=tmp_path) == "fine\n"


def test_in_a_child_process_of_its_own(lenet_file: Path) -> None:
    x = array((2, 1, 28, 28))
    with lenet_cpp.IsolatedPredictor(
        lenet_file, timeout=SECONDS, engine="onnxruntime"
    ) as predictor:
        assert same(predictor.run(x), python_outputs(lenet_file, x))


# Finding the model and the library


def test_engines_and_formats(lenet_file: Path, model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(lenet_cpp.Unsupported, match=r"paddle engine: scripts/import_model\.py"):
        lenet_cpp.Predictor(lenet_file, engine="paddle")
    for name in ("lenet.pdmodel", "lenet.json"):
        with pytest.raises(lenet_cpp.Unsupported, match=r"onnxruntime engine: scripts"):
            lenet_cpp.Predictor(model_dir / name, engine="onnxruntime")
    folder = tmp_path / "both"
    shutil.copytree(model_dir, folder)
    shutil.copy(lenet_file, folder / "lenet.onnx")
    found = {}
    for engine in ("auto", "paddle", "onnxruntime"):
        predictor = lenet_cpp.Predictor(model_dir=folder, engine=engine)
        found[engine] = (predictor.model_file.suffix, predictor.options["engine"])
    assert found == {
        "auto": (".pdmodel", "native"),
        "paddle": (".pdmodel", "paddle"),
        "onnxruntime": (".onnx", "onnxruntime"),
    }
    alone = lenet_cpp.Predictor(model_dir=lenet_file.parent)
    assert alone.model_file == lenet_file
    with pytest.raises(lenet_cpp.BadInput, match="holds its parameters"):
        lenet_cpp.Predictor(lenet_file, model_dir / "lenet.pdiparams")
    for accelerator in ("onednn", "openvino"):
        with pytest.raises(lenet_cpp.Unsupported, match=f"{accelerator} belongs to"):
            lenet_cpp.Predictor(lenet_file, accelerator=accelerator)
    with pytest.raises(lenet_cpp.Unsupported, match=r"each operator.*import_model\.py"):
        predictor_of(lenet_file).run_layers(array((1, 1, 28, 28)))


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
def test_libraries_that_are_none(
    lenet_file: Path, tmp_path: Path, program: Path, library: str, code: int, words: str
) -> None:
    path = tmp_path / library
    if library == "empty":
        path.touch()
    elif library == "other" or library[0] in "19?":
        source = write(tmp_path / "fake.c", FAKE_LIBRARY.encode())
        source = write(tmp_path / "other.c", b"int x;") if library == "other" else source
        subprocess.run(
            ["cc", "-shared", "-fPIC", f'-DVERSION="{library}"', "-o", path, source], check=True
        )
    done = subprocess.run(
        [program, f"--model_file={lenet_file}", "--engine=onnxruntime"],
        capture_output=True, text=True, check=False,
        env={"LENET_ONNXRUNTIME_LIBRARY": str(path)}, timeout=SECONDS,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert words in done.stderr
    assert "pip install 'onnxruntime" in done.stderr
    assert done.stderr.count("\n") == 1


# Models that are refused


def cut(size: int) -> bytes:
    return lenet()[:size]


def external(location: str) -> bytes:
    tensor = TensorProto(name="w", data_type=1, dims=[2, 2], data_location=1)
    tensor.external_data.add(key="location", value=location)
    return model([node("MatMul", ["x", "w"], ["y"])], tensors=[tensor])


def short_weights() -> bytes:
    weight = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    weight.raw_data = weight.raw_data[:7]
    return model([node("MatMul", ["x", "w"], ["y"])], tensors=[weight])


RELU = [node("Relu", ["x"], ["y"])]
INTEGERS = [value("x", ["N", 2], TensorProto.INT64)]
REFUSED = {
    "empty": (b"", BAD_MODEL, "no graph"),
    "zeros": (bytes(100), BAD_MODEL, "not the whole of an ONNX model"),
    "random": (np.random.default_rng(0).bytes(5000), BAD_MODEL, "is damaged"),
    "text": (b"this is no model\n", BAD_MODEL, "is damaged"),
    "cut at 10": (cut(10), BAD_MODEL, "cut short"),
    "cut at 100000": (cut(100000), BAD_MODEL, "cut short"),
    "last byte missing": (lenet()[:-1], BAD_MODEL, "cut short"),
    "an input that is none": (model([node("Relu", ["z"], ["y"])]), BAD_MODEL, "'z'"),
    "an operator that is none": (model([node("Abacus", ["x"], ["y"])]), UNSUPPORTED, "Abacus"),
    "opset of the future": (model(RELU, opset=99), UNSUPPORTED, "Opset 99"),
    "format of the future": (model(RELU, ir_version=99), UNSUPPORTED, "IR version: 99"),
    "two inputs": (
        model([node("Add", ["x", "z"], ["y"])], [value("x", ["N", 2]), value("z", ["N", 2])]),
        UNSUPPORTED,
        "2 inputs and 1 outputs",
    ),
    "two outputs": (
        model(RELU, outputs=[value("y", ["N", 2]), value("x", ["N", 2])]),
        UNSUPPORTED,
        "1 inputs and 2 outputs",
    ),
    "integers in": (model([node("Cast", ["x"], ["y"], to=1)], INTEGERS), UNSUPPORTED, "'x' is no"),
    "integers out": (
        model([node("Cast", ["x"], ["y"], to=7)], outputs=[value("y", ["N", 2], 7)]),
        UNSUPPORTED,
        "'y' is not a float32",
    ),
    "no shape": (model(RELU, [value("x", None)], [value("y", None)]), UNSUPPORTED, "shape"),
    "weights cut short": (short_weights(), BAD_MODEL, "cannot load"),
    "values elsewhere": (external("../w.bin"), BAD_MODEL, "no file of its folder"),
    "values anywhere": (external("/etc/hostname"), BAD_MODEL, "no file of its folder"),
    "values in memory": (external("*/_ORT_MEM_ADDR_/*"), BAD_MODEL, "no file of its folder"),
    "values nowhere": (external("w.bin"), FILE_NOT_FOUND, "not there"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_models_that_are_refused(name: str, tmp_path: Path, run_program) -> None:
    contents, code, words = REFUSED[name]
    path = write(tmp_path / "model.onnx", contents)
    done = run_program(f"--model_file={path}", "--engine=onnxruntime")
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert words in done.stderr
    assert "model.onnx" in done.stderr
    assert done.stderr.count("\n") == 1
    assert "/onnxruntime_src/" not in done.stderr
    with pytest.raises(lenet_cpp.Error) as raised:
        predictor_of(path)
    assert raised.value.exit_code == code
    assert str(raised.value) in done.stderr


def test_a_pdmodel_under_another_name(model_dir: Path, tmp_path: Path) -> None:
    for name in ("lenet.pdmodel", "lenet.json"):
        path = tmp_path / "lenet.onnx"
        shutil.copy(model_dir / name, path)
        with pytest.raises(lenet_cpp.BadModel, match=r"lenet\.onnx"):
            predictor_of(path)


def test_damaged_models_give_a_typed_error_or_run(lenet_file: Path, tmp_path: Path) -> None:
    """300 models, each with some bytes of its structure changed; in one process."""
    whole = bytearray(lenet_file.read_bytes())
    # Where the weights are not: what is the same whatever they are.
    others = [lenet(seed=seed) for seed in (11, 12, 13, 14)]
    structure = [i for i, bytes_ in enumerate(zip(*others, strict=True)) if len(set(bytes_)) == 1]
    assert len(structure) < 3000
    generator = np.random.default_rng(0)
    paths = []
    for i in range(300):
        damaged = bytearray(whole)
        for at in generator.choice(structure, generator.integers(1, 4)):
            damaged[at] = generator.integers(256)
        paths.append(str(write(tmp_path / f"{i}.onnx", bytes(damaged))))
    code = """
import collections, json, sys
import numpy as np
import lenet_cpp
outcomes = collections.Counter()
for path in json.load(open(sys.argv[1])):
    try:
        predictor = lenet_cpp.Predictor(path, engine="onnxruntime")
        predictor.run(np.zeros((2, *(max(n, 1) for n in predictor.input_spec.shape[1:])), "f4"))
        outcomes["ran"] += 1
    except lenet_cpp.Error as error:
        assert "\\n" not in str(error)
        outcomes[type(error).__name__] += 1
print(json.dumps(outcomes))
"""
    write(tmp_path / "paths.json", json.dumps(paths).encode())
    outcomes = json.loads(child(code, tmp_path / "paths.json", cwd=tmp_path))
    assert sum(outcomes.values()) == 300
    assert outcomes["BadModel"] > 100


def test_external_data_and_checksums(tmp_path: Path) -> None:
    import hashlib

    weights = array((2, 2))
    write(tmp_path / "w.bin", weights.tobytes())
    path = write(tmp_path / "model.onnx", external("w.bin"))
    x = array((3, 2), 1)
    expected = python_outputs(path, x)
    assert np.abs(expected - x @ weights).max() < 1e-6
    sums = tmp_path / "SHA256SUMS"
    digest = hashlib.sha256(weights.tobytes()).hexdigest()
    sums.write_text(f"{digest}  w.bin\n")
    assert same(predictor_of(path).run(x), expected)
    write(tmp_path / "w.bin", (weights + 1).tobytes())
    with pytest.raises(lenet_cpp.BadModel, match=r"w\.bin' has SHA-256"):
        predictor_of(path)
    predictor_of(path, check_hashes=False)


def test_values_that_are_not_finite(lenet_file: Path) -> None:
    x = array((1, 1, 28, 28))
    x[0, 0, 3, 3] = np.nan
    with pytest.raises(lenet_cpp.BadInput, match="NaN"):
        predictor_of(lenet_file).run(x)
    found = predictor_of(lenet_file, check_finite=False).run(x)
    assert found.shape == (1, 10)


# The program from image files to classes

PREPROCESS = {
    "format_version": 1,
    "mode": "L",
    "steps": [
        {"type": "Normalize", "scale": 1.0, "mean": [0.0], "std": [255.0]},
        {"type": "ToCHW"},
    ],
}


@pytest.mark.parametrize("softmax", [False, True])
def test_classify(tmp_path: Path, program: Path, softmax: bool) -> None:
    """Whether the outputs are probabilities is seen from the model."""
    pixels = np.random.default_rng(0).integers(256, size=(28, 28), dtype=np.uint8)
    np.save(tmp_path / "image.npy", pixels)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "preprocess.json").write_text(json.dumps(PREPROCESS))
    path = write(folder / "model.onnx", lenet(softmax=softmax))
    done = subprocess.run(
        [program.with_name("lenet_classify"), f"--model_dir={folder}", "--topk=10",
         "--engine=onnxruntime", "--format=csv", tmp_path / "image.npy"],
        capture_output=True, text=True, check=False, env={}, timeout=SECONDS,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    expected = python_outputs(path, pixels[None, None].astype(np.float32) / 255)[0]
    if not softmax:
        expected = np.exp(expected - expected.max())
        expected /= expected.sum()
    rows = [line.split(",") for line in done.stdout.splitlines()[1:]]
    assert [int(row[2]) for row in rows] == np.argsort(-expected).tolist()
    found = np.array([float(row[4]) for row in rows])
    assert np.abs(found - np.sort(expected)[::-1]).max() < 1e-6


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("engine", ["auto", "native", "onnxruntime"])
def test_predict_command(engine: str, softmax: bool, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(256, size=(28, 28), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    path = write(tmp_path / "model.onnx", lenet(softmax=softmax))
    (tmp_path / "preprocess.json").write_text(json.dumps(PREPROCESS))
    target = tmp_path / "out.json"
    flags = [f"-i={tmp_path / 'image.png'}", f"--output={target}", "--topk=10", "--benchmark"]
    if engine != "auto":
        flags.append(f"--engine={engine}")
    assert predict.main([*flags, f"-d={tmp_path}" if softmax else f"-m={path}"]) == 0
    expected = python_outputs(path, pixels[None, None].astype(np.float32) / 255)[0]
    if not softmax:
        expected = np.exp(expected - expected.max())
        expected /= expected.sum()
    (image,) = json.loads(target.read_text())
    assert [one["class_id"] for one in image["predictions"]] == np.argsort(-expected).tolist()
    found = np.array([one["probability"] for one in image["predictions"]])
    assert np.abs(found - np.sort(expected)[::-1]).max() < 1e-6


def test_other_engines_refuse_an_onnx(
    lenet_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [f"-i={tmp_path}", f"-m={lenet_file}"]
    Image.new("L", (28, 28)).save(tmp_path / "image.png")
    for call in (
        lambda: predict.main([*flags, "--engine=paddle"]),
        lambda: predict.main([*flags, "--engine=python"]),
        lambda: py_infer.main(flags),
    ):
        assert call() == UNSUPPORTED
        assert "import_model.py" in capsys.readouterr().err


def test_the_page(model_dir: Path, tmp_path: Path, root: Path) -> None:
    """Each command of docs/onnxruntime-engine.md, in a folder like a clone after ./run.sh."""
    pytest.importorskip("paddle2onnx", reason="the page exports a model with it")
    outputs = run_page(root / "docs" / "onnxruntime-engine.md", tmp_path, model_dir)
    assert "engine onnxruntime" in outputs[0]
    assert outputs[1] == "(5, 10) onnxruntime\n"
