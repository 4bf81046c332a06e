"""The arrays that predictors accept and refuse."""

import shutil
import warnings
from functools import partial

import numpy as np
import paddle
import pytest
from predictor_cases import SHAPE, digits, same

import lenet_cpp
from lenet_cpp.data.arrays import as_batch


@pytest.fixture(scope="module")
def predictor(model_dir):
    return lenet_cpp.Predictor(model_dir / "lenet.pdmodel", accelerator="plain")


# --- What is taken ---


@pytest.mark.parametrize(
    ("shape", "count"),
    [
        ((28, 28), 1),
        ((1, 28, 28), 1),
        ((1, 1, 28, 28), 1),
        ((5, 28, 28), 5),
        ((5, 1, 28, 28), 5),
        ((28, 28, 28), 28),
    ],
)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f2", ">f4", ">f8", "<f8"])
def test_shapes_and_floating_types(predictor, shape, count, dtype):
    x = digits(count)
    found = predictor.run(x.reshape(shape).astype(dtype))
    assert found.shape == (count, 10)
    assert same(found, predictor.run(x))


def test_rows_are_those_of_each_image(predictor):
    x = digits(6)
    together = predictor.run(x)
    for image, row in zip(x, together, strict=True):
        np.testing.assert_allclose(predictor.run(image)[0], row, rtol=0, atol=1e-5)
    assert not np.allclose(together[0], together[1])


@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28), (4, 28, 28), (4, 1, 28, 28)])
def test_pixels_are_scaled_as_paddle_does(predictor, shape):
    pixels = np.random.default_rng(3).integers(0, 256, shape, np.uint8)
    pixels.flat[:256] = np.arange(256)  # each value at least once
    to_tensor = paddle.vision.transforms.ToTensor()
    images = [to_tensor(image[:, :, np.newaxis]).numpy() for image in pixels.reshape(-1, 28, 28)]
    expected = np.stack(images)
    assert same(as_batch(pixels, SHAPE), expected)
    assert same(predictor.run(pixels), predictor.run(expected))


def strided(x):
    wide = np.repeat(x, 2, axis=0)
    framed = np.pad(x, ((0, 0), (0, 0), (3, 5), (2, 4)), constant_values=np.nan)
    unaligned = np.zeros(x.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(x.shape)
    unaligned[...] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    return {
        "slice": wide[::2],
        "window": framed[:, :, 3:-5, 2:-4],
        "reversed": x[:, :, ::-1, ::-1].copy()[:, :, ::-1, ::-1],
        "transposed": x.swapaxes(2, 3).copy().swapaxes(2, 3),
        "channels last": x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2),
        "Fortran": np.asfortranarray(x),
        "unaligned": unaligned,
        "read-only": frozen,
        "bytes": np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),
        "subclass": x.view(type("Mine", (np.ndarray,), {})),
    }


@pytest.mark.parametrize("kind", sorted(strided(digits(2))))
@pytest.mark.parametrize("count", [1, 4])
def test_any_strides(predictor, kind, count):
    x = digits(count)
    given = strided(x)[kind]
    assert np.array_equal(given, x)
    before = given.copy()
    assert same(predictor.run(given), predictor.run(x))
    assert np.array_equal(given, before)


def test_zero_strides(predictor):
    x = digits(1)
    found = predictor.run(np.broadcast_to(x[0], (5, 1, 28, 28)))
    assert same(found, predictor.run(np.repeat(x, 5, axis=0)))
    grey = np.broadcast_to(np.float32(0.5), (2, 28, 28))
    assert same(predictor.run(grey), predictor.run(np.full((2, 1, 28, 28), 0.5, np.float32)))


def test_nested_lists_and_paddle_tensors(predictor):
    x = digits(2)
    expected = predictor.run(x)
    assert same(predictor.run(x.tolist()), expected)
    assert same(predictor.run(x[:, 0].tolist()), expected)
    assert same(predictor.run(paddle.to_tensor(x)), expected)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8"])
@pytest.mark.parametrize("shape", [(0, 28, 28), (0, 1, 28, 28)])
def test_no_images(model_dir, predictor, shape, dtype):
    nothing = np.zeros(shape, dtype)
    for found in (
        predictor.run(nothing),
        lenet_cpp.predict(nothing),
        lenet_cpp.PredictorPool(model_dir=model_dir, size=1).run(nothing),
    ):
        assert found.dtype == np.float32
        assert found.shape == (0, 10)
    labels, probabilities = lenet_cpp.classify(nothing)
    assert labels == []
    assert probabilities.shape == (0, 10)


@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28), (3, 28, 28), (3, 1, 28, 28)])
def test_contiguous_float32_is_not_copied(shape):
    x = np.ones(shape, np.float32)
    x.flags.writeable = False
    batch = as_batch(x, SHAPE)
    assert np.shares_memory(batch, x)
    assert batch.shape == (x.size // 784, 1, 28, 28)
    assert not np.shares_memory(as_batch(x[..., ::-1], SHAPE), x)


def test_results_are_the_callers_own(predictor):
    x = digits(3)
    first = predictor.run(x)
    kept = first.copy()
    second = predictor.run(digits(3, seed=1))
    assert not np.shares_memory(first, second)
    assert np.array_equal(first, kept)
    first[...] = 0
    assert np.array_equal(predictor.run(x), kept)


@pytest.mark.filterwarnings("ignore::lenet_cpp.InputRangeWarning")
def test_settings_for_floating_point_errors_do_not_matter(predictor):
    with np.errstate(all="raise"):
        assert predictor.run(np.full((28, 28), 1e-300)).shape == (1, 10)
        with pytest.raises(lenet_cpp.BadInput, match="NaN or infinity"):
            predictor.run(np.full((28, 28), 1e300))
        lenet_cpp.classify(np.full((28, 28), 1e30))


# --- What is refused ---


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((28, 28), np.int64), r"float16, float32 or float64 .*uint8.*got int64 of shape"),
        (np.zeros((28, 28), np.int8), "got int8"),
        (np.zeros((28, 28), np.uint16), "got uint16"),
        (np.zeros((28, 28), bool), "got bool"),
        (np.zeros((28, 28), np.complex64), "got complex64"),
        (np.zeros((28, 28), np.longdouble), f"got {np.dtype(np.longdouble)}"),
        (np.zeros((28, 28), object), "got object"),
        (np.zeros((28, 28), "U1"), "got <U1"),
        (np.zeros((28, 28), "M8[s]"), "got datetime64"),
        (np.zeros((28, 28), [("a", "f4")]), "got .*'a'"),
        (np.ma.masked_equal(np.zeros((28, 28), np.float32), 0), "masked"),
        ("image.png", r"\[N, 1, 28, 28\], got a string"),
        (b"image", "got a string"),
        (None, "got object of shape"),
        (0.5, r"got \[\]"),
        ([], r"got \[0\]"),
        ([[0] * 28] * 28, "got int64"),
        ([[0.0] * 28, [0.0]], r"\[N, 1, 28, 28\]: .*inhomogeneous"),
        (np.zeros(784, np.float32), r"expected shape \[N, 1, 28, 28\], got \[784\]"),
        (np.zeros((2, 784)), r"got \[2, 784\]"),
        (np.zeros((2, 3, 28, 28)), r"got \[2, 3, 28, 28\]"),
        (np.zeros((2, 28, 28, 1)), r"got \[2, 28, 28, 1\]"),
        (np.zeros((1, 1, 1, 28, 28)), r"got \[1, 1, 1, 28, 28\]"),
        (np.zeros((32, 32), np.uint8), r"got \[32, 32\]"),
        (np.zeros((0, 32, 32)), r"got \[0, 32, 32\]"),
        (np.zeros((28, 27)), r"got \[28, 27\]"),
    ],
)
def test_anything_else_is_bad_input(model_dir, predictor, images, message):
    pool = lenet_cpp.PredictorPool(model_dir=model_dir, size=1)
    for run in (predictor.run, predictor.run_layers, pool.run, lenet_cpp.predict):
        with pytest.raises(lenet_cpp.BadInput, match=message) as caught:
            run(images)
        assert "\n" not in str(caught.value)
    assert predictor.run(digits(1)).shape == (1, 10)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(model_dir, predictor, dtype, value):
    x = digits(3).astype(dtype)
    for at in ((0, 0, 0, 0), (1, 0, 13, 13), (2, 0, 27, 27)):
        bad = x.copy()
        bad[at] = value
        with pytest.raises(lenet_cpp.BadInput, match="NaN or infinity"):
            predictor.run(bad)
    with lenet_cpp.Predictor(model_dir=model_dir, check_finite=False) as trusting:
        assert trusting.run(bad).shape == (3, 10)


def test_floats_from_0_to_255_are_warned_of_once(model_dir, tmp_path):
    x = digits(2)
    for make in (lenet_cpp.Predictor, partial(lenet_cpp.PredictorPool, size=2)):
        predictor = make(model_dir=model_dir, accelerator="plain")
        predictor.run(np.zeros_like(x))  # a first run may only warm up
        with pytest.warns(
            lenet_cpp.InputRangeWarning, match=r"up to 25\d.*, .* gives 0 to 1: scale"
        ):
            predictor.run(x * 255)
        predictor.run(x * 255)  # any warning is an error in these tests
        predictor = make(model_dir=model_dir, accelerator="plain")
        for images in (x, x * 8, (x * 255).astype(np.uint8)):
            predictor.run(images)
    # Clones have one warning together; it can be turned off, or be made an error.
    origin = lenet_cpp.Predictor(model_dir=model_dir, accelerator="plain")
    clones = [origin.clone() for _ in range(2)]
    with pytest.raises(lenet_cpp.InputRangeWarning):
        clones[0].run(x * 255)
    for predictor in (*clones, origin):
        assert predictor.run(x * 255).shape == (2, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", lenet_cpp.InputRangeWarning)
        lenet_cpp.Predictor(model_dir=model_dir, accelerator="plain").run(x * 255)
    # Nothing says what the model takes.
    for name in ("lenet.pdmodel", "lenet.pdiparams"):
        shutil.copy(model_dir / name, tmp_path)
    lenet_cpp.Predictor(model_dir=tmp_path, accelerator="plain").run(x * 255)
