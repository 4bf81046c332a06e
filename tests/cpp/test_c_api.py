"""The C API through ctypes, as another language calls it; examples/c_consumer is in C."""

import ctypes
from ctypes import POINTER, byref, c_char_p, c_float, c_int32, c_int64, c_size_t, c_void_p
from functools import partial
from threading import Thread

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp._core import Config

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
    assert text.startswith("there is no model 'xé")
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
