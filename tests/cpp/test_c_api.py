"""The C API through ctypes, as another language calls it; examples/c_consumer is in C."""

import ctypes
import io
from ctypes import POINTER, byref, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_void_p
from functools import partial
from threading import Thread

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import lenet_cpp
from lenet_cpp._core import Config
from lenet_cpp.data.images import Normalize, Pipeline, Resize, ToCHW

BAD_INPUT = 5
BACKEND_FAILURE = 8


class Error(ctypes.Structure):
    _fields_ = (("code", c_int32), ("message", ctypes.c_char * 1020))


SHAPE = (("shape", POINTER(c_int64)), ("rank", c_size_t))


class Spec(ctypes.Structure):
    _fields_ = (("name", c_char_p), ("dtype", c_char_p), *SHAPE)


class Input(ctypes.Structure):
    _fields_ = (("data", c_void_p), ("pixels", c_void_p), *SHAPE, ("pipeline", c_void_p))


class Output(ctypes.Structure):
    _fields_ = (("data", POINTER(c_float)), ("size", c_size_t), *SHAPE)


class Pixels(ctypes.Structure):
    _fields_ = (
        ("data", c_void_p),
        ("height", c_int64),
        ("width", c_int64),
        ("row_bytes", c_size_t),
        ("format", c_int32),
    )


class Prediction(ctypes.Structure):
    _fields_ = (
        ("class_id", c_int64),
        ("label", c_char_p),
        ("value", c_float),
        ("score", c_float),
        ("head", c_char_p),
    )


class Result(ctypes.Structure):
    _fields_ = (
        ("predictions", POINTER(Prediction)),
        ("count", c_size_t),
        ("attributes", POINTER(c_char_p)),
        ("attribute_count", c_size_t),
        ("output", Output),
        ("value_name", c_char_p),
        ("warning", c_char_p),
    )


@pytest.fixture(scope="module")
def library(program):
    library = ctypes.CDLL(str(program.with_name("liblenet.so")))
    library.lenet_version.restype = c_char_p
    library.lenet_config_create.restype = c_void_p
    return library


@pytest.fixture
def call(library):
    """Call a function that can fail; return its text, empty when it succeeded."""

    def call(name, *arguments, code=0):
        error = Error(99, b"nothing was written")
        returned = getattr(library, f"lenet_{name}")(*arguments, byref(error))
        text = error.message.decode()
        assert returned == error.code == code, text
        assert bool(text) == bool(code)
        return text

    return call


@pytest.fixture
def config(library, call, model_dir):
    config = c_void_p(library.lenet_config_create())
    call("config_set", config, b"model_dir", str(model_dir).encode())
    yield config
    library.lenet_config_free(config)


@pytest.fixture
def predictor(library, call, config):
    predictor = c_void_p()
    call("predictor_create", config, byref(predictor))
    yield predictor
    library.lenet_predictor_free(predictor)


def input_of(x, pipeline=None):
    data = (None, x.ctypes.data) if x.dtype == np.uint8 else (x.ctypes.data, None)
    return byref(Input(*data, (c_int64 * x.ndim)(*x.shape), x.ndim, pipeline))


def array_of(output):
    y = np.ctypeslib.as_array(output.data, (output.size,))
    return y.reshape(output.shape[: output.rank])


def run(call, predictor, x, pipeline=None):
    output = Output()
    call("predictor_run", predictor, input_of(x, pipeline), byref(output))
    return array_of(output), output


def test_the_same_bits_as_in_python(library, call, config, predictor, model_dir):
    x = np.random.default_rng(0).random((3, 1, 28, 28), dtype=np.float32)
    expected = lenet_cpp.Predictor(model_dir=model_dir).run(x)
    first, output = run(call, predictor, x)
    assert np.array_equal(first, expected)
    clone = c_void_p()
    call("predictor_clone", predictor, byref(clone))
    assert np.array_equal(run(call, clone, x)[0], expected)
    library.lenet_predictor_free(clone)
    again, reused = run(call, predictor, x[:2])
    assert np.array_equal(again, expected[:2])
    assert ctypes.addressof(reused.data.contents) == ctypes.addressof(output.data.contents)
    empty, output = run(call, predictor, x[:0])
    assert empty.shape == (0, 10)
    assert library.lenet_version().decode() == lenet_cpp.__version__


def test_a_model_in_memory(library, call, model_dir):
    parts = [(model_dir / f"lenet.{part}").read_bytes() for part in ("pdmodel", "pdiparams")]
    program, params = ((part, c_size_t(len(part))) for part in parts)
    config, predictor = c_void_p(library.lenet_config_create()), c_void_p()
    create = partial(call, "predictor_create_from_memory", config)
    create(*program, *params, byref(predictor))
    x = np.random.default_rng(0).random((3, 1, 28, 28), dtype=np.float32)
    expected = lenet_cpp.Predictor(model_dir=model_dir).run(x)
    assert np.array_equal(run(call, predictor, x)[0], expected)
    library.lenet_predictor_free(predictor)
    nothing, refused = (None, c_size_t(0)), {"code": BAD_INPUT}
    assert "needs its parameters" in create(*program, *nothing, byref(predictor), **refused)
    assert predictor.value is None
    assert "'program' is NULL" in create(None, *program[1:], *params, byref(predictor), **refused)
    assert "'params' is NULL" in create(*program, None, *params[1:], byref(predictor), **refused)
    call("config_set", config, b"model_file", b"x")
    assert "leave model_file" in create(*program, *params, byref(predictor), **refused)
    library.lenet_config_free(config)


def test_pixels_memory_of_the_callers_and_outputs_by_name(library, call, predictor, model_dir):
    pixels = np.random.default_rng(1).integers(0, 256, (3, 28, 28, 1), np.uint8)
    description, pipeline = (model_dir / "preprocess.json").read_bytes(), c_void_p()
    call("pipeline_create", description, byref(pipeline))
    expected = lenet_cpp.Predictor(model_dir=model_dir).run(pixels[..., 0] / np.float32(255))
    assert np.array_equal(run(call, predictor, pixels, pipeline)[0], expected)
    assert np.array_equal(run(call, predictor, pixels.reshape(3, 1, 28, 28))[0], expected)
    library.lenet_pipeline_free(pipeline)
    x, memory, spec = pixels.reshape(3, 1, 28, 28), np.empty((3, 10), "float32"), Spec()
    call("predictor_run_into", predictor, input_of(x), c_void_p(memory.ctypes.data), c_size_t(30))
    assert np.array_equal(memory, expected)
    call("predictor_output_spec", predictor, c_size_t(0), byref(spec))
    outputs = (Output * 1)()
    named = partial(call, "predictor_run_outputs", predictor, input_of(x))
    named((c_char_p * 1)(spec.name), c_size_t(1), outputs)
    assert np.array_equal(array_of(outputs[0]), expected)
    assert "'no'" in named((c_char_p * 1)(b"no"), c_size_t(1), outputs, code=6)
    assert "count is 0" in named(None, c_size_t(0), outputs, code=BAD_INPUT)
    assert "'names[i]' is NULL" in named((c_char_p * 1)(), c_size_t(1), outputs, code=BAD_INPUT)
    call("pipeline_create", b"{}", byref(pipeline), code=4)
    assert pipeline.value is None


def test_specs(call, predictor, model_dir):
    known = lenet_cpp.Predictor(model_dir=model_dir)
    count = c_size_t()
    call("predictor_output_count", predictor, byref(count))
    assert count.value == len(known.output_specs)
    text = call("predictor_output_spec", predictor, count, byref(Spec()), code=BAD_INPUT)
    assert "index is 1" in text
    for which, index in (("input", ()), ("output", (c_size_t(0),))):
        spec = Spec()
        call(f"predictor_{which}_spec", predictor, *index, byref(spec))
        expected = getattr(known, f"{which}_spec")
        assert (spec.name.decode(), spec.dtype.decode()) == (expected.name, expected.dtype)
        assert tuple(spec.shape[: spec.rank]) == expected.shape


def test_options_have_the_names_of_python(call, config):
    options = [name for name in dir(Config) if not name.startswith("_")]
    for name in options:
        default = str(getattr(Config(), name)).lower()
        call("config_set", config, name.encode(), default.encode())
    wrong = (("threads", "2x"), ("threads", ""), ("max_batch_size", "9" * 20), ("ir_optim", "yes"))
    for name, value in (*wrong, ("accelerator", "gpu")):
        text = call("config_set", config, name.encode(), value.encode(), code=BAD_INPUT)
        assert name in text
        assert repr(value) in text
    text = call("config_set", config, b"thread", b"2", code=BAD_INPUT)
    assert set(options) <= set(text.replace(",", "").split())


def test_errors(library, call, config, predictor):
    x = np.zeros((1, 1, 28, 27), "float32")
    data, output = x.ctypes.data, Output(size=7)
    shape = (c_int64 * 4)(1, 1, 28, 28)
    for arguments, words in (
        ((data, None, (c_int64 * 4)(1, 1, 28, 27), 4), "[1, 1, 28, 27]"),
        ((data, None, shape, 0), "[]"),
        ((data, None, (c_int64 * 4)(-1, 1, 28, 28), 4), "[N, 1, 28, 28]"),
        ((data, None, (c_int64 * 4)(2**62, 1, 28, 28), 4), "28"),
        ((None, None, shape, 4), "no data"),
        ((data, None, None, 4), "'shape'"),
    ):
        given = byref(Input(*arguments))
        text = call("predictor_run", predictor, given, byref(output), code=BAD_INPUT)
        assert words in text
        assert output.size == 7
    call("config_set", config, b"model_dir", ("x" + "é" * 600).encode())
    failed = c_void_p(1)
    text = call("predictor_create", config, byref(failed), code=3)
    assert failed.value is None
    assert text.startswith("cannot read 'xé")
    assert len(text.encode()) in (1018, 1019)
    assert library.lenet_predictor_create(config, byref(failed), None) == 3


def test_a_run_ends_when_cancelled_or_late(library, call, config, predictor):
    call("predictor_cancel", predictor)  # nothing runs
    x = np.zeros((20_000, 1, 28, 28), "float32")
    arguments = (input_of(x), byref(Output()))
    done = []
    failing = partial(call, "predictor_run", code=BACKEND_FAILURE)
    runner = Thread(target=lambda: done.append(failing(predictor, *arguments)))
    runner.start()
    while runner.is_alive():
        call("predictor_cancel", predictor)
    assert "cancelled" in done[0]
    assert run(call, predictor, x[:1])[0].shape == (1, 10)
    call("config_set", config, b"time_limit_ms", b"1")
    limited = c_void_p()
    call("predictor_create", config, byref(limited))
    assert "time_limit_ms" in failing(limited, *arguments)
    library.lenet_predictor_free(limited)


FORMATS = {"L": 0, "RGB": 1, "BGR": 2, "RGBA": 3, "BGRA": 4}


@pytest.fixture
def classifier(library, call, tmp_path):
    """Make a classifier of a network of three classes with this member ``postprocess``."""
    made = []
    weights = np.random.default_rng(0).normal(size=(192, 3)).astype("f4") / 8

    def classifier(postprocess=None, labels=("ant", "bee", "Ä"), ending="Softmax", options=()):
        value = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
        graph = helper.make_graph(
            [
                helper.make_node("Flatten", ["x"], ["f"]),
                helper.make_node("MatMul", ["f", "w"], ["z"]),
                helper.make_node(ending, ["z"], ["y"]),
            ],
            "network",
            [value("x", shape=["n", 3, 8, 8])],
            [value("y", shape=["n", 3])],
            [numpy_helper.from_array(weights, "w")],
        )
        opset = helper.make_opsetid("", 17)
        onnx.save(
            helper.make_model(graph, opset_imports=[opset], ir_version=8), tmp_path / "m.onnx"
        )
        steps = (Resize(size=(8, 8)), Normalize(1 / 255, (0.5,) * 3, (0.5,) * 3), ToCHW())
        Pipeline("RGB", steps, labels, postprocess).save(tmp_path / "preprocess.json")
        config, handle = c_void_p(library.lenet_config_create()), c_void_p()
        for name, text in {"model_dir": str(tmp_path), **dict(options)}.items():
            call("config_set", config, name.encode(), text.encode())
        call("classifier_create", config, None, byref(handle))
        library.lenet_config_free(config)
        made.append(handle)
        return handle, weights

    yield classifier
    for handle in made:
        library.lenet_classifier_free(handle)


def classify(library, call, classifier, image, topk=0, threshold=None, format_=None):
    """Return classes, attributes, the raw outputs, and how values are called."""
    result, limit = POINTER(Result)(), None if threshold is None else byref(c_double(threshold))
    more = (classifier, *((image, c_size_t(len(image))) if isinstance(image, bytes) else ()))
    if not isinstance(image, bytes):
        rows = np.ascontiguousarray(image)
        shape = (rows.ctypes.data, rows.shape[0], rows.shape[1])
        more += (byref(Pixels(*shape, rows.strides[0], FORMATS[format_])),)
    name = "classify_file" if isinstance(image, bytes) else "classify_pixels"
    call(f"classifier_{name}", *more, c_size_t(topk), limit, byref(result))
    found = result.contents
    classes = [
        (one.class_id, one.label and one.label.decode(), one.value)
        for one in found.predictions[: found.count]
    ]
    attributes = [text.decode() for text in found.attributes[: found.attribute_count]]
    raw = array_of(found.output).copy()
    answer = classes, attributes, raw, found.value_name.decode(), found.warning
    library.lenet_result_free(result)
    return answer


def png_of(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_a_classifier_decodes_prepares_runs_and_names(library, call, classifier):
    """Against Pillow's resize and NumPy's softmax."""
    handle, weights = classifier()
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, 3), np.uint8)
    small = np.asarray(Image.fromarray(pixels).resize((8, 8), Image.Resampling.BILINEAR))
    logits = ((small / 255 - 0.5) / 0.5).transpose(2, 0, 1).reshape(-1) @ weights
    expected = np.exp(logits) / np.exp(logits).sum()
    order = np.argsort(-expected)
    classes, attributes, raw, name, warning = classify(library, call, handle, png_of(pixels))
    assert [one[:2] for one in classes] == [(i, ("ant", "bee", "Ä")[i]) for i in order]
    assert np.allclose([one[2] for one in classes], expected[order], atol=1e-5)
    assert np.allclose(raw, [expected], atol=1e-5)
    assert (attributes, name, warning) == ([], "probability", None)
    assert classify(library, call, handle, png_of(pixels), topk=1)[0] == classes[:1]
    above = classify(library, call, handle, png_of(pixels), threshold=classes[0][2] - 1e-3)[0]
    assert above == classes[:1]
    # Pixels in memory, each order, with rows that are longer than the image.
    for format_ in ("RGB", "BGR", "RGBA", "BGRA"):
        memory = np.full((20, 40, len(format_)), 255, np.uint8)
        for channel, letter in enumerate("RGB"):
            memory[:, :30, format_.index(letter)] = pixels[..., channel]
        rows = memory.reshape(20, -1)[:, : 30 * len(format_)]
        assert rows.strides[0] == 40 * len(format_)
        shown = np.lib.stride_tricks.as_strided(
            rows, (20, 30, len(format_)), (rows.strides[0], len(format_), 1)
        )
        given = Pixels(shown.ctypes.data, 20, 30, rows.strides[0], FORMATS[format_])
        result = POINTER(Result)()
        call("classifier_classify_pixels", handle, byref(given), c_size_t(0), None, byref(result))
        assert array_of(result.contents.output).tobytes() == raw.tobytes(), format_
        library.lenet_result_free(result)
    grey = classify(library, call, handle, pixels[..., 0], format_="L")
    assert grey[2].tobytes() == classify(library, call, handle, png_of(pixels[..., 0]))[2].tobytes()


def test_a_classifier_of_several_labels(library, call, classifier):
    rule = {"type": "MultiLabelThreshOutput", "threshold": 0.5}
    handle, _ = classifier(rule, ending="Sigmoid")
    pixels = np.random.default_rng(2).integers(0, 256, (8, 8, 3), np.uint8)
    classes, _, raw, *_ = classify(library, call, handle, png_of(pixels))
    assert [one[0] for one in classes] == np.flatnonzero(raw[0] >= 0.5).tolist()
    few = classify(library, call, handle, png_of(pixels), threshold=2.0)[0]
    assert few == []


def test_a_classifier_in_many_threads(library, call, classifier):
    handle, _ = classifier()
    rng = np.random.default_rng(3)
    files = [png_of(rng.integers(0, 256, (50, 40, 3), np.uint8)) for _ in range(8)]
    expected = [classify(library, call, handle, file) for file in files]
    wrong = []

    def work(number):
        for turn in range(50):
            which = (number + turn) % 8
            found = classify(library, call, handle, files[which])
            if found[0] != expected[which][0] or not np.array_equal(found[2], expected[which][2]):
                wrong.append(which)

    threads = [Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_a_classifier_refuses(library, call, classifier, config, model_dir, tmp_path):
    handle, _ = classifier(labels=("one", "two"))
    file, result = png_of(np.zeros((8, 8, 3), np.uint8)), POINTER(Result)()
    size, topk = c_size_t(len(file)), c_size_t(0)
    arguments = (handle, file, size, topk, None, byref(result))
    text = call("classifier_classify_file", *arguments, code=4)
    assert "names 2 classes, the model has 3" in text
    assert not result
    # They are not those of another value of the program.
    handle, _ = classifier(labels=("one", "two"), options={"output_name": "f"})
    classes, _, raw, *_ = classify(library, call, handle, file, topk=192)
    assert sorted(one[0] for one in classes) == list(range(192))
    assert {one[1] for one in classes} == {None}
    assert raw.tolist() == [[-1.0] * 192]
    handle, _ = classifier()
    refused = partial(call, "classifier_classify_file", handle, code=BAD_INPUT)
    assert "the image' is a damaged PNG" in refused(file, c_size_t(40), topk, None, byref(result))
    assert "not an image" in refused(b"hello", c_size_t(5), topk, None, byref(result))
    pixels = byref(Pixels(None, 8, 8, 0, 1))
    text = call(
        "classifier_classify_pixels", handle, pixels, topk, None, byref(result), code=BAD_INPUT
    )
    assert "pixels is null" in text
    for i, name in ((0, "classifier"), (1, "bytes"), (4, "result")):
        given = [handle, file, size, topk, None, byref(result)]
        given[i + (i == 4)] = None
        assert f"'{name}' is NULL" in call("classifier_classify_file", *given, code=BAD_INPUT)
    for name in ("lenet.pdmodel", "lenet.pdiparams"):
        (tmp_path / "bare").mkdir(exist_ok=True)
        (tmp_path / "bare" / name).write_bytes((model_dir / name).read_bytes())
    call("config_set", config, b"model_dir", str(tmp_path / "bare").encode())
    made = c_void_p()
    call("classifier_create", config, None, byref(made))
    stroke = np.zeros((28, 28, 3), np.uint8)
    stroke[4:24, 13:15] = 255
    assert b"prepared as digits" in classify(library, call, made, png_of(stroke))[4]
    library.lenet_classifier_free(made)
    described = str(model_dir / "preprocess.json").encode()
    call("classifier_create", config, described, byref(made))
    library.lenet_classifier_free(made)


def test_null(library, call, config, predictor):
    out, spec, images = byref(c_void_p()), byref(Spec()), input_of(np.zeros((0, 1, 28, 28), "f4"))
    for name, *arguments in (
        *[("config_set", config, b"threads", b"1"), ("predictor_create", config, out)],
        *[("predictor_clone", predictor, out), ("predictor_input_spec", predictor, spec)],
        *[("predictor_output_count", predictor, out), ("predictor_cancel", predictor)],
        *[("pipeline_create", b"{}", out), ("predictor_run", predictor, images, byref(Output()))],
    ):
        for i in range(len(arguments)):
            nothing = [*arguments[:i], None, *arguments[i + 1 :]]
            assert "is NULL" in call(name, *nothing, code=BAD_INPUT)
    library.lenet_config_free(None)
    library.lenet_predictor_free(None)
