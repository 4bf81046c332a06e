"""The native engine: every operator against its definition in NumPy, over random shapes and with
each instruction set; whole networks against Paddle.
"""

from __future__ import annotations

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import lenet_cpp
from lenet_cpp.data.mnist import read_mnist_dir, sample_dir, to_model_input
from snippets import run_page

Array = np.ndarray[Any, np.dtype[Any]]

INSTRUCTION_SETS = ("scalar", "sse42", "avx2", "avx512", "avx512vnni")
PROCESSOR_FLAGS = {
    "scalar": set(),
    "sse42": {"sse4_2"},
    "avx2": {"avx2", "fma"},
    "avx512": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}
# Of float32 it has the kernels of avx512.
PROCESSOR_FLAGS["avx512vnni"] = PROCESSOR_FLAGS["avx512"] | {"avx512_vnni"}
# One image alone, a few, and enough to be computed side by side with a rest, by any set.
COUNTS = (1, 3, 20)


def processor_has(name: str) -> bool:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next(line for line in lines if line.startswith("flags")).split()
    return PROCESSOR_FLAGS[name] <= set(flags)


@pytest.fixture(params=[name for name in INSTRUCTION_SETS if name != "avx512vnni"])
def instruction_set(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if not processor_has(request.param):
        pytest.skip(f"this processor has no {request.param}")
    monkeypatch.setenv("LENET_NATIVE_ISA", request.param)
    return request.param


# ---- definitions, in float64


def pad(x: Array, paddings: tuple[int, int], value: float = 0) -> Array:
    (height, width) = paddings
    return np.pad(x, ((0, 0), (0, 0), (height, height), (width, width)), constant_values=value)


def conv2d(
    x: Array,
    weight: Array,
    bias: Array,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Array:
    """The sum over the taps of the filter, each times the values that it lies on."""
    n, _, height, width = x.shape
    outputs, inputs, kernel_height, kernel_width = weight.shape
    padded = pad(x, padding)
    rows = (height + 2 * padding[0] - dilation[0] * (kernel_height - 1) - 1) // stride[0] + 1
    columns = (width + 2 * padding[1] - dilation[1] * (kernel_width - 1) - 1) // stride[1] + 1
    result = np.zeros((n, outputs, rows, columns)) + bias[:, None, None]
    share = outputs // groups
    for g in range(groups):
        of_group = slice(g * share, (g + 1) * share)
        image = padded[:, g * inputs : (g + 1) * inputs]
        for i in range(kernel_height):
            for j in range(kernel_width):
                top, left = i * dilation[0], j * dilation[1]
                values = image[
                    :,
                    :,
                    top : top + (rows - 1) * stride[0] + 1 : stride[0],
                    left : left + (columns - 1) * stride[1] + 1 : stride[1],
                ]
                taps = weight[of_group, :, i, j]
                result[:, of_group] += np.einsum("nihw,oi->nohw", values, taps)
    return result


def pool2d(
    x: Array,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    *,
    average: bool,
    exclusive: bool,
    ceil_mode: bool,
) -> Array:
    n, channels, height, width = x.shape
    sizes = []
    for i, size in enumerate((height, width)):
        room = size + 2 * padding[i] - kernel[i]
        sizes.append((-(-room // stride[i]) if ceil_mode else room // stride[i]) + 1)
    result = np.zeros((n, channels, *sizes))
    for y in range(sizes[0]):
        for c in range(sizes[1]):
            top, left = y * stride[0] - padding[0], c * stride[1] - padding[1]
            bottom = min(top + kernel[0], height + padding[0])
            right = min(left + kernel[1], width + padding[1])
            count = (bottom - top) * (right - left)
            window = x[:, :, max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
            if exclusive:
                count = window.shape[2] * window.shape[3]
            result[:, :, y, c] = (
                window.sum(axis=(2, 3)) / count if average else window.max(axis=(2, 3))
            )
    return result


def adaptive_average_pool(x: Array, size: tuple[int, int]) -> Array:
    result = np.zeros((*x.shape[:2], *size))
    for y in range(size[0]):
        for c in range(size[1]):
            rows = slice(y * x.shape[2] // size[0], -(-(y + 1) * x.shape[2] // size[0]))
            columns = slice(c * x.shape[3] // size[1], -(-(c + 1) * x.shape[3] // size[1]))
            result[:, :, y, c] = x[:, :, rows, columns].mean(axis=(2, 3))
    return result


def softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


# ---- networks of one operator


def numpy_of(tensor: Any) -> Array:
    return tensor.numpy().astype(np.float64)


def export(layer: Any, shape: tuple[int, int, int], folder: Path) -> Path:
    """Write a layer as .json, with the inputs of that shape."""
    import paddle

    layer.eval()
    spec = [paddle.static.InputSpec([None, *shape], "float32", "x")]
    paddle.jit.save(layer, str(folder / "net"), input_spec=spec)
    return folder / "net.json"


def agrees(model: Path, definition: Any, shape: tuple[int, int, int], seed: int) -> None:
    """Compare the native engine with a function of float64 arrays, for several batch sizes."""
    rng = np.random.default_rng(seed)
    images = rng.standard_normal((max(COUNTS), *shape)).astype(np.float32)
    expected = definition(images.astype(np.float64))
    with lenet_cpp.Predictor(model, engine="native") as predictor:
        outputs = [predictor.run(images[:count]) for count in COUNTS]
    scale = max(1.0, float(np.abs(expected).max()))
    for count, output in zip(COUNTS, outputs, strict=True):
        assert output.shape == (count, *expected.shape[1:])
        assert np.abs(output - expected[:count]).max() <= 5e-6 * scale
        # The same bits for an image wherever it lies in a batch of any size.
        assert (output.view(np.uint32) == outputs[-1][:count].view(np.uint32)).all()


sizes = st.integers(1, 9)
channels = st.sampled_from([1, 2, 3, 5, 8, 17])
PROPERTY = settings(
    max_examples=16,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def convolutions(draw: Any) -> dict[str, Any]:
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    extents = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    padding = tuple(draw(st.integers(0, min(2, extent))) for extent in extents)
    image = [
        max(draw(st.integers(1, 40)), extent - 2 * pad)
        for extent, pad in zip(extents, padding, strict=True)
    ]
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    return {
        "inputs": groups * draw(st.sampled_from([1, 1, 3, 5, 16])),
        "outputs": groups * draw(channels),
        "image": image,
        "kernel": kernel,
        "stride": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "relu": draw(st.booleans()),
        "pool": draw(st.booleans()),
    }


@st.composite
def convolutions_of_five(draw: Any) -> dict[str, Any]:
    """What Winograd's transform computes."""
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    return {
        "inputs": draw(st.integers(4, 9)),
        "outputs": draw(st.sampled_from([4, 5, 8, 16, 17, 33])),
        "image": [2 * draw(st.integers(1, 12)) + 4 - 2 * pad for pad in padding],
        "kernel": (5, 5),
        "stride": (1, 1),
        "padding": padding,
        "dilation": (1, 1),
        "groups": 1,
        "relu": draw(st.booleans()),
        "pool": draw(st.booleans()),
    }


@PROPERTY
@given(case=convolutions() | convolutions_of_five(), seed=st.integers(0, 2**31))
def test_convolution(
    case: dict[str, Any], seed: int, instruction_set: str, tmp_path_factory: Any
) -> None:
    """With what may follow it: relu, and the pool of 2 x 2 that is computed on the way."""
    from paddle import nn

    layer = nn.Conv2D(
        case["inputs"],
        case["outputs"],
        case["kernel"],
        stride=case["stride"],
        padding=case["padding"],
        dilation=case["dilation"],
        groups=case["groups"],
    )
    parts = [layer, *([nn.ReLU()] if case["relu"] else [])]
    weight, bias = numpy_of(layer.weight), numpy_of(layer.bias)

    def definition(x: Array) -> Array:
        found = conv2d(
            *(x, weight, bias, case["stride"], case["padding"], case["dilation"], case["groups"])
        )
        if case["relu"]:
            found = np.maximum(found, 0)
        if pooled:
            found = pool2d(
                found, (2, 2), (2, 2), (0, 0), average=False, exclusive=True, ceil_mode=False
            )
        return found

    shape = (case["inputs"], *case["image"])
    pooled = False
    pooled = case["pool"] and min(definition(np.zeros((1, *shape))).shape[2:]) >= 2
    if pooled:
        parts.append(nn.MaxPool2D(2))
    model = export(nn.Sequential(*parts), shape, tmp_path_factory.mktemp("convolution"))
    agrees(model, definition, shape, seed)


@st.composite
def pools(draw: Any) -> dict[str, Any]:
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    image = [max(draw(sizes), size) for size in kernel]
    return {
        "channels": draw(channels),
        "image": image,
        "kernel": kernel,
        # Not beyond the window: with ceil_mode the last one would lie outside the image.
        "stride": tuple(draw(st.integers(1, min(3, size))) for size in kernel),
        "padding": tuple(draw(st.integers(0, size // 2)) for size in kernel),
        "ceil_mode": draw(st.booleans()),
        "average": draw(st.booleans()),
        "exclusive": draw(st.booleans()),
    }


def after_convolution(layer: Any, inputs: int, outputs: int) -> tuple[Any, Any]:
    """A layer behind a convolution of 1 x 1, and the definition of that."""
    from paddle import nn

    first = nn.Conv2D(inputs, outputs, 1)
    weight, bias = numpy_of(first.weight), numpy_of(first.bias)

    def definition(x: Array) -> Array:
        return conv2d(x, weight, bias, (1, 1), (0, 0), (1, 1), 1)

    return nn.Sequential(first, layer), definition


@PROPERTY
@given(case=pools(), seed=st.integers(0, 2**31))
def test_pool(case: dict[str, Any], seed: int, instruction_set: str, tmp_path_factory: Any) -> None:
    from paddle import nn

    keys = ("kernel", "stride", "padding")
    if case["average"]:
        layer = nn.AvgPool2D(
            *(case[key] for key in keys), ceil_mode=case["ceil_mode"], exclusive=case["exclusive"]
        )
    else:
        layer = nn.MaxPool2D(*(case[key] for key in keys), ceil_mode=case["ceil_mode"])
    network, before = after_convolution(layer, 2, case["channels"])

    def definition(x: Array) -> Array:
        return pool2d(
            before(x),
            *(case[key] for key in keys),
            average=case["average"],
            exclusive=case["exclusive"] or not case["average"],
            ceil_mode=case["ceil_mode"],
        )

    shape = (2, *case["image"])
    model = export(network, shape, tmp_path_factory.mktemp("pool"))
    agrees(model, definition, shape, seed)


@PROPERTY
@given(
    image=st.tuples(sizes, sizes),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    outputs=channels,
    seed=st.integers(0, 2**31),
)
def test_adaptive_and_global_pool(
    image: tuple[int, int],
    size: tuple[int, int],
    outputs: int,
    seed: int,
    instruction_set: str,
    tmp_path_factory: Any,
) -> None:
    from paddle import nn

    network, before = after_convolution(nn.AdaptiveAvgPool2D(size), 2, outputs)
    shape = (2, *image)
    model = export(network, shape, tmp_path_factory.mktemp("adaptive"))
    agrees(model, lambda x: adaptive_average_pool(before(x), size), shape, seed)


@PROPERTY
@given(
    image=st.tuples(channels, sizes, sizes),
    hidden=st.integers(1, 130),
    classes=st.integers(1, 40),
    ends_in_softmax=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_linear_flatten_dropout_softmax(
    image: tuple[int, int, int],
    hidden: int,
    classes: int,
    ends_in_softmax: bool,
    seed: int,
    instruction_set: str,
    tmp_path_factory: Any,
) -> None:
    from paddle import nn

    first, last = nn.Linear(math.prod(image), hidden), nn.Linear(hidden, classes)
    parts = [nn.Flatten(), first, nn.ReLU(), nn.Dropout(0.5), last]
    if ends_in_softmax:
        parts.append(nn.Softmax())

    def definition(x: Array) -> Array:
        found = x.reshape(len(x), -1) @ numpy_of(first.weight) + numpy_of(first.bias)
        found = np.maximum(found, 0) @ numpy_of(last.weight) + numpy_of(last.bias)
        return softmax(found) if ends_in_softmax else found

    model = export(nn.Sequential(*parts), image, tmp_path_factory.mktemp("linear"))
    agrees(model, definition, image, seed)


@PROPERTY
@given(
    outputs=channels,
    image=st.tuples(sizes, sizes),
    joined=st.sampled_from(["add", "concat"]),
    relu=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_normalization_addition_concatenation(
    outputs: int,
    image: tuple[int, int],
    joined: str,
    relu: bool,
    seed: int,
    instruction_set: str,
    tmp_path_factory: Any,
) -> None:
    """Two branches, one of them normalized (folded into its convolution) and one not (pooled)."""
    import paddle
    from paddle import nn

    rng = np.random.default_rng(seed)
    statistics = [rng.random(outputs) + 0.5 for _ in range(4)]

    class Branches(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Conv2D(3, outputs, 1), nn.Conv2D(3, outputs, 1)
            self.norms = nn.LayerList([nn.BatchNorm2D(outputs), nn.BatchNorm2D(outputs)])
            for norm in self.norms:
                names = (norm.weight, norm.bias, norm._mean, norm._variance)
                for tensor, values in zip(names, statistics, strict=True):
                    tensor.set_value(values.astype(np.float32))

        def forward(self, x: Any) -> Any:
            one = self.norms[0](self.one(x))
            two = self.norms[1](nn.functional.max_pool2d(self.two(x), 1))
            both = one + two if joined == "add" else paddle.concat([one, two], axis=1)
            return nn.functional.relu(both) if relu else both

    network = Branches()

    def branch(layer: Any, x: Array) -> Array:
        found = conv2d(x, numpy_of(layer.weight), numpy_of(layer.bias), (1, 1), (0, 0), (1, 1), 1)
        gain, bias, mean, variance = (
            values.astype(np.float32).astype(np.float64)[:, None, None] for values in statistics
        )
        return (found - mean) / np.sqrt(variance + 1e-5) * gain + bias

    def definition(x: Array) -> Array:
        one, two = branch(network.one, x), branch(network.two, x)
        both = one + two if joined == "add" else np.concatenate([one, two], axis=1)
        return np.maximum(both, 0) if relu else both

    shape = (3, *image)
    model = export(network, shape, tmp_path_factory.mktemp("branches"))
    agrees(model, definition, shape, seed)


# ---- whole networks


@pytest.fixture(scope="module")
def digits() -> Array:
    return to_model_input(read_mnist_dir(sample_dir()).test.images)


@pytest.mark.parametrize("suffix", ["pdmodel", "json"])
def test_lenet_agrees_with_paddle(
    model_dir: Path, digits: Array, instruction_set: str, suffix: str
) -> None:
    rng = np.random.default_rng(3)
    extremes = np.stack(
        [np.zeros((1, 28, 28)), np.ones((1, 28, 28)), np.full((1, 28, 28), 1e-40),
         np.full((1, 28, 28), 1e30), -np.ones((1, 28, 28)), rng.standard_normal((1, 28, 28))]
    ).astype(np.float32)  # fmt: skip
    images = np.concatenate([digits, extremes])
    model = model_dir / f"lenet.{suffix}"
    with lenet_cpp.Predictor(model, accelerator="plain") as paddle:
        expected = paddle.run(images)
    with lenet_cpp.Predictor(model, engine="native") as predictor:
        assert predictor.input_spec.shape == (-1, 1, 28, 28)
        assert predictor.options["engine"] == "native"
        found = predictor.run(images)
        for size in (1, 2, 7, 12, 13, 16, 17, 64, 100):
            pieces = [predictor.run(images[i : i + size]) for i in range(0, len(images), size)]
            assert (np.concatenate(pieces).view(np.uint32) == found.view(np.uint32)).all()
        clone = predictor.clone()
    assert (clone.run(images) == found).all()
    allowed = 1e-5 * np.maximum(1, np.abs(expected).max(axis=1, keepdims=True))
    assert (np.abs(found - expected) <= allowed).all()
    assert (found.argmax(axis=1) == expected.argmax(axis=1)).all()


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_give_the_same_bits(model_dir: Path, digits: Array, threads: int) -> None:
    with lenet_cpp.Predictor(model_dir=model_dir, engine="native") as predictor:
        expected = predictor.run(digits)
    with lenet_cpp.Predictor(model_dir=model_dir, engine="native", threads=threads) as predictor:
        assert (predictor.run(digits) == expected).all()
        assert (predictor.run(digits[:1]) == expected[:1]).all()
    pool = lenet_cpp.PredictorPool(model_dir=model_dir, engine="native", size=threads)
    with ThreadPoolExecutor(4) as executor:
        parts = [digits[i : i + 37] for i in range(0, len(digits), 37)]
        assert (np.concatenate(list(executor.map(pool.run, parts))) == expected).all()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ResNet18", {"class_dim": 10, "img_size": 64}),
        ("ResNet50_vd", {"class_dim": 10, "img_size": 64}),
    ],
)
def test_larger_networks_agree_with_paddle(
    name: str, options: dict[str, int], tmp_path: Path
) -> None:
    from lenet_cpp.export.inference_model import export_model

    export_model(None, tmp_path, model=name, seed=5, **options)
    size = options.get("img_size", 224)
    images = np.random.default_rng(0).random((3, 3, size, size), dtype=np.float32)
    for suffix in ("pdmodel", "json"):
        model = tmp_path / f"inference.{suffix}"
        with lenet_cpp.Predictor(model, accelerator="onednn") as paddle:
            expected = paddle.run(images)
        with lenet_cpp.Predictor(model, engine="native") as predictor:
            found = predictor.run(images)
        # Too large for the caches: Paddle is faster.
        with lenet_cpp.Predictor(model) as auto:
            assert auto.options["engine"] == "paddle"
        allowed = 1e-5 * np.maximum(1, np.abs(expected).max(axis=1, keepdims=True))
        assert (np.abs(found - expected) <= allowed).all()


# ---- what a flatten and uneven paddings leave of the meaning of an operator


def both_formats(layer: Any, shape: tuple[int, int, int], folder: Path) -> list[Path]:
    import paddle
    from paddle import pir_utils

    layer.eval()
    spec = [paddle.static.InputSpec([None, *shape], "float32", "x")]
    models = []
    for suffix, guard in (
        ("json", pir_utils.DygraphPirGuard),
        ("pdmodel", pir_utils.DygraphOldIrGuard),
    ):
        with guard():
            static = paddle.jit.to_static(layer, input_spec=spec, full_graph=True)
            paddle.jit.save(static, str(folder / suffix))
        models.append(folder / f"{suffix}.{suffix}")
    return models


def agrees_with_dygraph(
    layer: Any, shape: tuple[int, int, int], folder: Path, unsupported: str = ""
) -> None:
    """Run both formats; by the Paddle engine where the native engine names what it lacks."""
    import paddle

    images = np.random.default_rng(0).standard_normal((3, *shape)).astype(np.float32)
    layer.eval()
    expected = layer(paddle.to_tensor(images)).numpy()
    for model in both_formats(layer, shape, folder):
        options: dict[str, Any] = {"engine": "native"}
        if unsupported:
            with pytest.raises(lenet_cpp.Unsupported, match=unsupported):
                lenet_cpp.Predictor(model, engine="native")
            options = {"accelerator": "plain"}
        with lenet_cpp.Predictor(model, **options) as predictor:
            found = predictor.run(images)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= 1e-5 * max(1, np.abs(expected).max()), model


@pytest.mark.parametrize("outputs", [1, 4])
def test_normalization_after_a_flatten(outputs: int, tmp_path: Path) -> None:
    """Its statistics belong to values, not to channels."""
    from paddle import nn

    values = outputs * 6 * 6
    norm = nn.BatchNorm1D(values)
    rng = np.random.default_rng(1)
    for tensor in (norm.weight, norm.bias, norm._mean, norm._variance):
        tensor.set_value((rng.random(values) + 0.5).astype(np.float32))
    network = nn.Sequential(
        nn.Conv2D(2, outputs, 3, padding=1), nn.Flatten(), norm, nn.Linear(values, 5)
    )
    agrees_with_dygraph(network, (2, 6, 6), tmp_path, r"value of what was flattened.*batch_norm")


def test_normalization_of_a_flattened_vector(tmp_path: Path) -> None:
    from paddle import nn

    norm = nn.BatchNorm1D(4)
    norm._mean.set_value(np.float32([1, -1, 2, 0.5]))
    network = nn.Sequential(
        nn.Conv2D(2, 4, 3), nn.AdaptiveAvgPool2D(1), nn.Flatten(), norm, nn.Linear(4, 5)
    )
    agrees_with_dygraph(network, (2, 6, 6), tmp_path)


def test_sum_with_what_was_flattened_is_broadcast(tmp_path: Path) -> None:
    import paddle
    from paddle import nn

    class Sum(nn.Layer):
        def __init__(self) -> None:
            super().__init__()
            self.convolution = nn.Conv2D(2, 1, (6, 1))

        def forward(self, x: Any) -> Any:
            x = self.convolution(x)  # [N, 1, 1, 6] and [N, 6] give [N, 1, N, 6]
            return x + paddle.flatten(x, 1)

    for model in both_formats(Sum(), (2, 6, 6), tmp_path):
        with pytest.raises(lenet_cpp.Unsupported, match="sum of tensors of different rank"):
            lenet_cpp.Predictor(model, engine="native")


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "ceil_mode", "size"),
    [
        ((3, 3), 2, [0, 1, 0, 1], False, (6, 6)),
        ((3, 3), 2, [0, 2, 0, 2], False, (6, 6)),
        ((3, 3), 2, [2, 0, 1, 0], True, (6, 7)),
        ((3, 2), (2, 1), [1, 0, 0, 1], True, (7, 5)),
        ((4, 2), (3, 1), "SAME", False, (7, 6)),
    ],
)
def test_average_pool_with_uneven_padding(
    kernel: tuple[int, int],
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    size: tuple[int, int],
    exclusive: bool,
    tmp_path: Path,
) -> None:
    """Of the padding after the image Paddle counts as many rows as there are before it."""
    from paddle import nn

    pool = nn.AvgPool2D(kernel, stride, padding, ceil_mode, exclusive)
    agrees_with_dygraph(nn.Sequential(nn.Conv2D(2, 2, 1), pool), (2, *size), tmp_path)


@pytest.mark.parametrize("kind", ["AvgPool2D", "MaxPool2D"])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "ceil_mode", "outside"),
    [
        ((7, 7), 7, 0, False, False),  # 6 - 7 is divided by 7 towards zero
        ((9, 3), 4, 1, False, False),
        ((8, 8), 2, 0, True, False),
        ((1, 1), 2, "SAME", True, True),  # the last window begins behind the image
    ],
)
def test_pool_with_unusual_windows(
    kind: str,
    kernel: tuple[int, int],
    stride: int,
    padding: Any,
    ceil_mode: bool,
    outside: bool,
    tmp_path: Path,
) -> None:
    """What Paddle exports and runs is no damaged model."""
    import paddle
    from paddle import nn

    pool = getattr(nn, kind)(kernel, stride, padding, ceil_mode=ceil_mode)
    network = nn.Sequential(nn.Conv2D(2, 2, 1), pool)
    if not outside:
        agrees_with_dygraph(network, (2, 6, 6), tmp_path)
        return
    # An average of nothing is no number.
    expected = network(paddle.ones([1, 2, 6, 6])).shape
    for model in both_formats(network, (2, 6, 6), tmp_path):
        with pytest.raises(lenet_cpp.Unsupported, match="windows outside the image"):
            lenet_cpp.Predictor(model, engine="native")
        with lenet_cpp.Predictor(model, accelerator="plain") as predictor:
            assert predictor.run(np.ones((1, 2, 6, 6), np.float32)).shape == tuple(expected)


# ---- long sums


@pytest.mark.parametrize(
    ("shape", "kernel"),
    [((512, 7, 7), 7), ((9216, 1, 1), 1), ((600, 4, 3), 3)],  # 25,088, 9,216 and 5,400 products
)
def test_long_sums(
    shape: tuple[int, int, int], kernel: int, instruction_set: str, tmp_path: Path
) -> None:
    """Rounding errors do not grow with the number of products; one image has a batch's bits."""
    from paddle import nn

    rng = np.random.default_rng(5)
    taps = shape[0] * kernel * kernel
    network = nn.Conv2D(shape[0], 20, kernel, bias_attr=False)
    weight = rng.standard_normal((20, shape[0], kernel, kernel)) / math.sqrt(taps)
    network.weight.set_value(weight.astype(np.float32))
    model = export(network, shape, tmp_path)
    images = rng.standard_normal((17, *shape)).astype(np.float32)
    expected = conv2d(
        images.astype(np.float64), numpy_of(network.weight), np.zeros(20), (1, 1), (0, 0), (1, 1), 1
    )
    with lenet_cpp.Predictor(model, engine="native") as predictor:
        found = predictor.run(images)
        assert (predictor.run(images[:1]) == found[:1]).all()
        assert (predictor.run(images[:4]) == found[:4]).all()
    # One chain of each sum is 2 to 4e-6 of the largest away.
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


# ---- what it cannot do


def test_an_operator_without_a_kernel_is_named(tmp_path: Path) -> None:
    from paddle import nn

    model = export(nn.Sequential(nn.Conv2D(1, 2, 3), nn.Sigmoid()), (1, 8, 8), tmp_path)
    with pytest.raises(lenet_cpp.Unsupported, match=r"native engine has no kernel.*sigmoid"):
        lenet_cpp.Predictor(model, engine="native")
    with lenet_cpp.Predictor(model) as auto:
        assert auto.options["engine"] == "paddle"
        assert auto.run(np.zeros((1, 1, 8, 8), np.float32)).shape == (1, 2, 6, 6)


def test_an_instruction_set_is_named_or_refused(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LENET_NATIVE_ISA", "mmx")
    with pytest.raises(lenet_cpp.BadInput, match=r"LENET_NATIVE_ISA is 'mmx'.*avx2"):
        lenet_cpp.Predictor(model_dir=model_dir, engine="native")
    monkeypatch.setenv("LENET_NATIVE_ISA", "")  # as if it were not set
    x = np.zeros((1, 1, 28, 28), np.float32)
    found = lenet_cpp.Predictor(model_dir=model_dir, engine="native").run(x)
    monkeypatch.delenv("LENET_NATIVE_ISA")
    assert (found == lenet_cpp.Predictor(model_dir=model_dir, engine="native").run(x)).all()


def test_needs_no_paddle(model_dir: Path) -> None:
    """Neither the package nor its library comes into the process."""
    code = (
        "import sys, numpy, lenet_cpp; "
        "lenet_cpp.Predictor(model_dir=sys.argv[1], engine='native')"
        ".run(numpy.zeros((1, 1, 28, 28), numpy.float32)); "
        "assert 'paddle' not in sys.modules; "
        "print(open('/proc/self/maps').read())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(model_dir)], capture_output=True, text=True, check=True
    )
    assert "liblenet.so" in done.stdout
    assert "libpaddle" not in done.stdout


def test_the_page(model_dir: Path, tmp_path: Path, root: Path) -> None:
    """Each command of docs/native-engine.md."""
    run, python, scalar, explained, slowest = run_page(
        root / "docs" / "native-engine.md", tmp_path, model_dir
    )
    assert "engine native" in run
    assert python == "(2, 10)\n"
    assert "engine native" in scalar
    assert "416,520" in explained
    assert "conv2d" in slowest
