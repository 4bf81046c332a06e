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


def shape_of(x):
    return (c_int64 * x.ndim)(*x.shape), c_size_t(x.ndim)


def run(call, predictor, x):
    output = Output()
    call("predictor_run", predictor, x.ctypes.data_as(c_void_p), *shape_of(x), byref(output))
    y = np.ctypeslib.as_array(output.data, (output.size,))
    return y.reshape(output.shape[: output.rank]), output


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


def test_specs(call, predictor, model_dir):
    known = lenet_cpp.Predictor(model_dir=model_dir)
    for which in ("input", "output"):
        spec = Spec()
        call(f"predictor_{which}_spec", predictor, byref(spec))
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
    data, output = x.ctypes.data_as(c_void_p), Output(size=7)
    shape = (c_int64 * 4)(1, 1, 28, 28)
    for arguments, words in (
        ((data, *shape_of(x)), "[1, 1, 28, 27]"),
        ((data, shape, c_size_t(0)), "[]"),
        ((data, (c_int64 * 4)(-1, 1, 28, 28), c_size_t(4)), "[N, 1, 28, 28]"),
        ((data, (c_int64 * 4)(2**62, 1, 28, 28), c_size_t(4)), "28"),
        ((None, shape, c_size_t(4)), "no data"),
        ((data, None, c_size_t(4)), "'shape'"),
    ):
        text = call("predictor_run", predictor, *arguments, byref(output), code=BAD_INPUT)
        assert words in text
        assert output.size == 7
    call("config_set", config, b"model_dir", ("x" + "é" * 600).encode())
    failed = c_void_p(1)
    text = call("predictor_create", config, byref(failed), code=3)
    assert failed.value is None
    assert text.startswith("model_dir 'xé")
    assert len(text.encode()) in (1018, 1019)
    assert library.lenet_predictor_create(config, byref(failed), None) == 3


def test_a_run_ends_when_cancelled_or_late(library, call, config, predictor):
    call("predictor_cancel", predictor)  # nothing runs
    x = np.zeros((20_000, 1, 28, 28), "float32")
    arguments = (x.ctypes.data_as(c_void_p), *shape_of(x), byref(Output()))
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
    out, spec = byref(c_void_p()), byref(Spec())
    for name, *arguments in (
        *[("config_set", config, b"threads", b"1"), ("predictor_create", config, out)],
        *[("predictor_clone", predictor, out), ("predictor_input_spec", predictor, spec)],
        *[("predictor_output_spec", predictor, spec), ("predictor_cancel", predictor)],
    ):
        for i in range(len(arguments)):
            nothing = [*arguments[:i], None, *arguments[i + 1 :]]
            assert "is NULL" in call(name, *nothing, code=BAD_INPUT)
    images = (None, (c_int64 * 4)(0, 1, 28, 28), c_size_t(4))
    assert "'predictor'" in call("predictor_run", None, *images, byref(Output()), code=BAD_INPUT)
    assert "'output'" in call("predictor_run", predictor, *images, None, code=BAD_INPUT)
    library.lenet_config_free(None)
    library.lenet_predictor_free(None)
