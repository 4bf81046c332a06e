"""The arrays that predictors accept and refuse; tests/cpp/bad_input_cases.py has more of them."""

import re
import shutil
import tracemalloc
import warnings
from functools import partial

import numpy as np
import paddle
import pytest

import lenet_cpp
from lenet_cpp.agreement import compare
from lenet_cpp.data.arrays import as_batch, as_pixels, fits, rearranging
from lenet_cpp.data.images import read_image
from predictor_cases import SHAPE, digits, same


@pytest.fixture(scope="module")
def predictor(model_dir):
    predictor = lenet_cpp.Predictor(model_dir / "lenet.pdmodel", accelerator="plain")
    for _ in range(17):  # later runs no longer compare the range, and give C++ what is given
        predictor.run(digits(1))
    return predictor


@pytest.mark.parametrize("leading", [(), (1,), (1, 1), (5,), (5, 1), (28,)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f2", ">f4", ">f8", "<f8"])
def test_shapes_and_floating_types(predictor, leading, dtype):
    x = digits(leading[0] if leading else 1)
    found = predictor.run(x.reshape(*leading, 28, 28).astype(dtype))
    assert found.shape == (len(x), 10)
    assert same(found, predictor.run(x))


@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28), (4, 28, 28), (4, 1, 28, 28)])
def test_pixels_are_scaled_as_paddle_does(predictor, shape):
    pixels = np.random.default_rng(3).integers(0, 256, shape, np.uint8)
    pixels.flat[:256] = np.arange(256)  # each value at least once
    to_tensor = paddle.vision.transforms.ToTensor()
    expected = np.stack([to_tensor(image[..., None]) for image in pixels.reshape(-1, 28, 28)])
    assert same(as_batch(pixels, SHAPE), expected)
    assert same(predictor.run(pixels), predictor.run(expected))


def test_pixels_are_not_copied(predictor):
    """C++ divides them, some images at a time."""
    pixels = np.zeros((2000, 28, 28), np.uint8)
    tracemalloc.start()
    predictor.run(pixels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5000


def strided(x):
    framed = np.pad(x, ((0, 0), (0, 0), (3, 5), (2, 4)), constant_values=np.nan)
    return {
        "window": framed[:, :, 3:-5, 2:-4],
        "transposed": x.swapaxes(2, 3).copy().swapaxes(2, 3),
        "mirrored": x[:, :, ::-1].copy()[:, :, ::-1],
        "channels last": x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2),
        "Fortran": np.asfortranarray(x),
        "bytes": np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),
        "unaligned": np.frombuffer(b"." + x.tobytes(), np.float32, offset=1).reshape(x.shape),
        "subclass": x.view(type("Mine", (np.ndarray,), {})),
        "one image repeated by a stride of zero": np.broadcast_to(x[0], (5, 1, 28, 28)),
        "Paddle's tensor": paddle.to_tensor(x),
    }


@pytest.mark.parametrize("count", [1, 4])
def test_any_strides(predictor, count):
    for kind, given in strided(digits(count)).items():
        before = np.array(given)
        assert same(predictor.run(given), predictor.run(before)), kind
        assert np.array_equal(given, before), kind


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


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((28, 28), np.int64), r"float16, float32 or float64 .*uint8.*got int64 of shape"),
        (np.zeros((28, 28), np.int64), r"pixels from 0 to 255 with \.astype\('uint8'\)"),
        (None, r"of shape \[N, 1, 28, 28\], got None"),
        ({"pixel": 1, "label": 2}, r"got a dict \('pixel', 'label'\): give one of its arrays"),
        ({}, "got a dict"),
        (np.zeros((2, 784), np.float32), r"convert it with \.reshape\(-1, 1, 28, 28\)"),
        (np.zeros((2, 28, 28, 1), np.float32), r"convert it with \.transpose\(0, 3, 1, 2\)"),
        *(
            (np.zeros((1, 28, 28), kind), re.escape(f"got {np.dtype(kind)}"))
            for kind in ("g", "i1", "u2", "?", "c8", "U1", "M8[s]", "O", [("a", "f4")])
        ),
        ("image.png", r"\[N, 1, 28, 28\], got a string"),
        (np.zeros(784, np.float32), r"expected shape \[N, 1, 28, 28\], got \[784\]"),
        *(
            (np.zeros(shape, np.float32), re.escape(f"got {list(shape)}"))
            for shape in ((), (2, 784), (32, 32), (1, 3, 28, 28), (1, 28, 28, 1), (0, 32, 32))
        ),
        (np.ma.zeros((1, 1, 28, 28), np.float32), "masked arrays are not supported"),
    ],
)
def test_anything_else_is_bad_input_everywhere(model_dir, predictor, images, message):
    pool = lenet_cpp.PredictorPool(model_dir=model_dir, size=1)
    for run in (predictor.run, predictor.run_layers, pool.run, lenet_cpp.predict):
        with pytest.raises(lenet_cpp.BadInput, match=message):
            run(images)
    assert predictor.run(digits(1)).shape == (1, 10)


@pytest.mark.parametrize(
    ("given", "item"),
    [
        ((224, 200, 3), (3, 224, 200)),
        ((5, 224, 200, 3), (3, 224, 200)),
        ((3, 224, 200), (224, 200, 3)),
        ((5, 3, 224, 200), (224, 200, 3)),
        ((480, 640, 3), (3, -1, -1)),
        ((784,), (1, 28, 28)),
        ((9, 784), (1, 28, 28)),
    ],
)
def test_the_remedy_of_a_wrong_shape_gives_the_right_one(given, item):
    remedy = rearranging(given, item)
    array = eval(f"np.zeros(given){remedy}", {"np": np, "given": given})
    assert fits(array.shape[-3:], item)
    assert array.shape[:-3] in {(), (1,), given[:1]}


@pytest.mark.parametrize("given", [(), (3,), (32, 32), (5, 3, 28, 28), (0, 32, 32), (2, 2, 392)])
def test_no_remedy_of_a_wrong_shape(given):
    assert not rearranging(given, (1, 28, 28))


class Lent:
    """What has DLPack's two methods, and no other way to its values."""

    def __init__(self, array, device=1):
        self.array, self.device = array, device

    def __dlpack_device__(self):
        return (self.device, 0)

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)


def test_dlpack_alone_is_an_array(predictor, model_dir):
    x = digits(3)
    expected = predictor.run(x)
    pool = lenet_cpp.PredictorPool(model_dir=model_dir, accelerator="plain", size=1)
    for run in (predictor.run, pool.run, lenet_cpp.InferenceEngine("native").load_predictor().run):
        assert compare(expected, run(Lent(x))).agrees
    pixels = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)
    assert same(np.asarray(read_image(Lent(pixels), "RGB")), pixels)
    steps = lenet_cpp.images.imagenet(32)
    assert same(as_pixels(Lent(pixels)), pixels[None])
    assert same(steps.batch([pixels]), steps.batch([Lent(pixels)]))
    with pytest.raises(
        lenet_cpp.BadInput, match=r"another device .DLPack's 2.: move it to the CPU"
    ):
        predictor.run(Lent(x, device=2))


class Refusing:
    """As a torch tensor that requires gradients; its class raises what it likes."""

    def __init__(self, error):
        self.error = error

    def __array__(self, *_, **__):
        raise self.error


@pytest.mark.parametrize("error", [Exception, RuntimeError, BufferError, AttributeError])
def test_what_an_object_raises_is_bad_input(model_dir, predictor, error):
    pool = lenet_cpp.PredictorPool(model_dir=model_dir, size=1)
    refusing, silent = Refusing(error("no array:\nuse detach()")), Refusing(error())
    readers = (partial(read_image, mode="L"), as_pixels)
    for run in (predictor.run, predictor.run_layers, pool.run, lenet_cpp.predict, *readers):
        with pytest.raises(lenet_cpp.BadInput, match=r"expected an array of .* use detach\(\)"):
            run(refusing)
        with pytest.raises(lenet_cpp.BadInput, match=error.__name__):
            run(silent)


def test_torch_tensors(predictor):
    torch = pytest.importorskip("torch", reason="an extra: pip install torch")
    x = torch.from_numpy(digits(2))
    assert same(predictor.run(x), predictor.run(digits(2)))
    with pytest.raises(lenet_cpp.BadInput, match=r"detach\(\)"):
        predictor.run(x.requires_grad_())
    with pytest.raises(lenet_cpp.BadInput, match="BFloat16"):
        predictor.run(x.detach().bfloat16())
    with pytest.raises(lenet_cpp.BadInput, match="meta"):
        predictor.run(x.to("meta"))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_that_are_not_finite(predictor, dtype):
    for at, value in (((0, 0, 0), np.nan), ((1, 13, 13), np.inf), ((2, 27, 27), -np.inf)):
        bad = digits(3)[:, 0].astype(dtype)
        bad[at] = value
        with pytest.raises(lenet_cpp.BadInput, match="NaN or infinity"):
            predictor.run(bad)


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
        predictor = make(model_dir=model_dir, accelerator="plain")
        predictor.run((x * 255).astype(np.uint8))  # which says nothing of later floats
        with pytest.warns(lenet_cpp.InputRangeWarning):
            predictor.run(x * 255)
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
