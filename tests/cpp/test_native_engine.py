"""The native engine: each operator as Paddle exports it, whole networks and long sums, against
Paddle and NumPy. cpp/tests/test_native.cc holds the kernels to their definition, over random shapes
and with each instruction set, and tools/hostile draws networks of all operators.
"""

import math
from functools import partial

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F  # noqa: N812 - Paddle's own convention

import lenet_cpp
from lenet_cpp.agreement import compare
from numpy_reference import conv2d
from processor import needs_bf16
from shared_models import both_formats, fixed_format
from snippets import run_page


def lively(norm):
    """A normalization whose statistics make a difference."""
    rng = np.random.default_rng(1)
    for tensor in (norm.weight, norm.bias, norm._mean, norm._variance):
        tensor.set_value((rng.random(tensor.shape) + 0.5).astype(np.float32))
    return norm


class Branches(nn.Layer):
    """One branch is normalized by its convolution, the other, which is pooled, by a layer."""

    def __init__(self, join):
        super().__init__()
        self.one, self.two = nn.Conv2D(3, 5, 1), nn.Conv2D(3, 5, 1)
        self.norms = nn.LayerList([lively(nn.BatchNorm2D(5)) for _ in range(2)])
        self.join = join

    def forward(self, x):
        pooled = F.max_pool2d(self.two(x), 1)
        return self.join(self.norms[0](self.one(x)), self.norms[1](pooled))


class SumWithFlattened(nn.Layer):
    """The sum is broadcast: [N, 1, 1, 6] and [N, 6] give [N, 1, N, 6]."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2D(2, 1, (6, 1))

    def forward(self, x):
        x = self.convolution(x)
        return x + paddle.flatten(x, 1)


class ComputedShape(nn.Layer):
    """Its sizes are worked out from those of its input, as in a program for any batch."""

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2D(2, 4, 1)

    def forward(self, x):
        x = self.convolution(x)
        sizes = paddle.shape(x)
        rows = paddle.concat([sizes[:1], paddle.full([1], -1, sizes.dtype)])
        x = paddle.reshape(x, paddle.cast(rows, "int32"))
        return paddle.reshape(x, [sizes[0], 4, sizes[2], sizes[3]])


def windows_of_channels(x):
    """As in MobileViTV3: a number of images times one of channels, and a size divided."""
    images, channels = paddle.shape(x)[0], 4
    x = paddle.reshape(x, [images * channels * 3, 2, 5])
    return paddle.reshape(paddle.transpose(x, [0, 2, 1]), [images, channels, -1])


class Then(nn.Layer):
    """A function behind a convolution, and a convolution behind that where it has ``channels``."""

    def __init__(self, function, channels=0, outputs=6):
        super().__init__()
        self.one = nn.Conv2D(2, outputs, 1)
        self.two = nn.Conv2D(channels, 3, 3, padding=1) if channels else lambda x: x
        self.function = function

    def forward(self, x):
        return self.two(self.function(self.one(x)))


class ClassToken(nn.Layer):
    """A row before those of each image, as many times as there are images."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.token = self.create_parameter([1, 1, 5])
        self.linear = nn.Linear(5, 5)

    def forward(self, x):
        token = self.token * 1
        if self.how == "sizes":
            token = paddle.expand(token, [x.shape[0], -1, -1])
        elif self.how == "times":
            token = paddle.tile(token, [x.shape[0], 1, 1])
        else:
            token = paddle.zeros([x.shape[0], 1, 5]) + token
        return paddle.concat([token, self.linear(x)], axis=1)


def shuffled(x, groups):
    sizes = x.shape
    x = paddle.reshape(x, [-1, groups, sizes[1] // groups, *sizes[2:]])
    return paddle.reshape(paddle.transpose(x, [0, 2, 1, 3, 4]), [-1, *sizes[1:]])


def halves(x):
    """Change the halves of the channels, as ShuffleNet does."""
    left, right = paddle.split(x, 2, axis=1)
    return shuffled(paddle.concat([right * 2, left], axis=1), 2)


def folded(x, size, kernel, strides, paddings):
    """Fold as F.fold does, which does not take an open number of images (Paddle 3.3)."""
    return paddle._C_ops.fold(x * 2, size, kernel, strides, paddings, [1, 1])


def convolved(*layers, outputs=2):
    return nn.Sequential(nn.Conv2D(2, outputs, 1), *layers)


def flattened(*layers):
    return nn.Sequential(nn.Conv2D(2, 4, 3), nn.AdaptiveAvgPool2D(1), nn.Flatten(), *layers)


def normalized(outputs):
    norm = lively(nn.BatchNorm1D(outputs * 36))
    last = nn.Linear(outputs * 36, 5)
    return nn.Sequential(nn.Conv2D(2, outputs, 3, padding=1), nn.Flatten(), norm, last)


NETWORKS = {
    "convolution": ((6, 11, 9), lambda: nn.Conv2D(6, 9, (3, 2), (2, 1), (1, 0), (2, 1), groups=3)),
    "convolution and pool": (
        (1, 12, 40),
        lambda: nn.Sequential(nn.Conv2D(1, 5, 3), nn.ReLU(), nn.MaxPool2D(2)),
    ),
    "convolution of five": (
        (4, 10, 12),
        lambda: nn.Sequential(nn.Conv2D(4, 17, 5, padding=[2, 1]), nn.MaxPool2D(2)),
    ),
    "max pool": ((2, 7, 9), lambda: convolved(nn.MaxPool2D((3, 2), (2, 1), (1, 0)), outputs=17)),
    "adaptive pool": ((2, 7, 5), lambda: convolved(nn.AdaptiveAvgPool2D((4, 3)))),
    "global pool": ((2, 7, 5), lambda: convolved(nn.AdaptiveAvgPool2D(1), outputs=17)),
    "linear layers": (
        (3, 4, 5),
        lambda: nn.Sequential(
            nn.Flatten(), nn.Linear(60, 33), nn.ReLU(), nn.Dropout(0.5), nn.Linear(33, 7)
        ),
    ),
    "softmax": ((2, 6, 6), lambda: flattened(nn.Linear(4, 5), nn.Softmax())),
    "sum": ((3, 6, 5), lambda: Branches(lambda x, y: x + y)),
    "sum and relu": ((3, 6, 5), lambda: Branches(lambda x, y: F.relu(x + y))),
    "concat": ((3, 6, 5), lambda: Branches(lambda x, y: paddle.concat([x, y], axis=1))),
    "concat and relu": (
        (3, 6, 5),
        lambda: Branches(lambda x, y: F.relu(paddle.concat([x, y], axis=1))),
    ),
    "several outputs": (
        (3, 6, 5),
        lambda: Branches(
            lambda x, y: (F.softmax(F.adaptive_avg_pool2d(x + y, 1).flatten(1)), x, y + x, y)
        ),
    ),
    "padding": ((2, 6, 5), lambda: convolved(nn.Pad2D([1, 2, 0, 3]), nn.Conv2D(2, 4, 3))),
    "mirrored padding": ((2, 6, 5), lambda: convolved(nn.Pad2D([1, 4, 0, 3], "reflect"))),
    "sizes that are computed": ((2, 6, 5), ComputedShape),
    "sizes that are scaled": ((2, 6, 5), lambda: Then(windows_of_channels, outputs=4)),
    "shuffle": ((2, 6, 5), lambda: Then(lambda x: shuffled(x, 3), 6)),
    "shuffle of many": ((2, 3, 5), lambda: Then(lambda x: shuffled(x, 4), outputs=92)),
    "shuffles": ((2, 3, 5), lambda: Then(lambda x: halves(halves(x)), 58, outputs=58)),
    "split": ((2, 6, 5), lambda: Then(lambda x: paddle.split(x, [1, 2, 3], axis=1))),
    "split of rows": ((2, 6, 5), lambda: Then(lambda x: paddle.split(x, 2, axis=2)[1], 6)),
    "slices": ((2, 6, 5), lambda: Then(lambda x: x[:, 1:5:3, ::2, 1:-1], 2)),
    "slice without an axis": ((2, 6, 5), lambda: Then(lambda x: x[:, :, 3])),
    "channels last": ((2, 6, 5), lambda: Then(lambda x: paddle.transpose(x, [0, 2, 3, 1]))),
    "large transposition": (
        (2, 18, 17),
        lambda: Then(lambda x: paddle.transpose(x, [0, 3, 2, 1]), 17, outputs=35),
    ),
    "image of another shape": (
        (2, 6, 5),
        lambda: Then(lambda x: paddle.reshape(x, [-1, 5, 4, 9]), 5),
    ),
    "concat of rows": ((2, 6, 5), lambda: Then(lambda x: paddle.concat([x, x * 2, x], axis=2), 6)),
    "stack": ((2, 6, 5), lambda: Then(lambda x: paddle.stack([x, x * 2], axis=2))),
    "tile": ((2, 6, 5), lambda: Then(lambda x: paddle.tile(x, [1, 2, 1, 3]), 12)),
    "expand": ((2, 6, 1), lambda: Then(lambda x: paddle.expand(x, [-1, 6, 6, 4]), 6)),
    "class token of sizes": ((6, 5), lambda: ClassToken("sizes")),
    "class token of times": ((6, 5), lambda: ClassToken("times")),
    "class token of zeros": ((6, 5), lambda: ClassToken("zeros")),
    "linear layer of rows": ((2, 6, 5), lambda: Then(nn.Linear(5, 20), 6)),
    "of the image itself": ((2, 6, 5), lambda: nn.Sequential(nn.MaxPool2D(2), convolved())),
    "softmax of channels": ((2, 6, 5), lambda: Then(lambda x: F.softmax(x, 1), 6)),
    "softmax of rows": ((2, 6, 5), lambda: Then(lambda x: F.relu(F.log_softmax(x, 2) + 2))),
    "log softmax": ((2, 6, 6), lambda: flattened(nn.Linear(4, 5), nn.LogSoftmax())),
    "mean of channels": ((2, 6, 5), lambda: Then(lambda x: paddle.mean(x, 1, keepdim=True), 1)),
    "mean of pixels": ((2, 6, 5), lambda: Then(lambda x: paddle.mean(x, [2, 3]))),
    "mean of some axes": ((2, 6, 5), lambda: Then(lambda x: paddle.mean(x, [1, 3]))),
    "largest of rows": ((2, 6, 5), lambda: Then(lambda x: x - paddle.max(x, 3, keepdim=True))),
    "normalization of what was flattened": ((2, 6, 6), lambda: normalized(4)),
    "normalization of a flattened vector": (
        (2, 6, 6),
        lambda: flattened(lively(nn.BatchNorm1D(4)), nn.Linear(4, 5)),
    ),
}
# Paddle 3.3 does not export all of these as a .pdmodel.
NEWER = {
    "sums so far": ((2, 6, 5), lambda: Then(lambda x: paddle.cumsum(x, axis=2))),
    "places of the largest": (
        (2, 6, 5),
        lambda: Then(
            lambda x: (x, paddle.argmax(x, axis=1), paddle.argmin(x, axis=-1, keepdim=True))
        ),
    ),
    "largest values": (
        (2, 6, 5),
        lambda: Then(
            lambda x: (*paddle.topk(x, 3, axis=1), *paddle.topk(x, 2, axis=2, largest=False))
        ),
    ),
    "values along an axis": (
        (2, 6, 5),
        lambda: Then(
            lambda x: paddle.take_along_axis(
                x,
                paddle.expand(
                    paddle.to_tensor(np.arange(60).reshape(1, 6, 2, 5) * 7 % 6),
                    [paddle.shape(x)[0], 6, 2, 5],
                ),
                axis=2,
            )
        ),
    ),
    "values at places": (
        (2, 6, 5),
        lambda: Then(
            lambda x: paddle.transpose(
                paddle.gather_nd(
                    paddle.transpose(x, [2, 3, 0, 1]), paddle.to_tensor([[0, 4], [5, 1], [2, 2]])
                ),
                [1, 0, 2],
            )
        ),
    ),
    "unfolded and folded": (
        (2, 6, 5),
        lambda: Then(
            lambda x: folded(F.unfold(x, [3, 2], [2, 1], 1), [6, 5], [3, 2], [2, 1], [1, 1, 1, 1])
        ),
    ),
    "folded apart": (
        (2, 6, 6),
        lambda: Then(lambda x: folded(F.unfold(x, 2, 2), [7, 6], [2, 2], [2, 2], [0, 0, 0, 0])),
    ),
    "unit vectors": ((2, 6, 5), lambda: Then(lambda x: F.normalize(x, axis=1))),
    "remainders": (
        (2, 6, 5),
        lambda: Then(
            lambda x: (
                x % 0.7,
                paddle.floor_divide(x, paddle.full([1], 0.3)),
                (x != x[:, :1]).astype("float32"),
            )
        ),
    ),
    "equations": (
        (2, 6, 5),
        lambda: Then(
            lambda x: (
                paddle.einsum("nchw,ndhw->ncd", x, x * 2),
                paddle.einsum("...hw->...wh", x),
                paddle.einsum("nchw->nc", x),
            )
        ),
    ),
    "adaptive pools": (
        (2, 7, 5),
        lambda: Then(
            lambda x: (F.adaptive_avg_pool2d(x, [3, 4]), F.adaptive_max_pool2d(x, [5, 2]))
        ),
    ),
    "mirrored and repeated": (
        (2, 6, 5),
        lambda: Then(
            lambda x: (
                F.pad(x, [2, 1, 3, 2], "replicate"),
                F.pad(x, [1, 4, 0, 3], "circular"),
                F.pad(x, [0, 0, 0, 0, 1, 2, 0, 0], "constant", 0.5),
            )
        ),
    ),
    "slices backwards": (
        (2, 6, 5),
        lambda: Then(
            lambda x: (
                paddle.strided_slice(x, [1, 2, 3], [4, 5, -1], [0, 0, -5], [-2, -1, -3]),
                paddle.strided_slice(x, [1, 3], [0, 1], [6, 5], [5, 100]),
            )
        ),
    ),
}
# What each is computed of, and the functions.
FUNCTIONS = {
    "of any number": (
        lambda x: x * 3,
        (
            F.relu,
            F.relu6,
            F.elu,
            F.celu,
            F.selu,
            F.gelu,
            F.silu,
            F.mish,
            F.softplus,
            F.softsign,
            F.hardtanh,
            F.hardshrink,
            F.softshrink,
            F.tanhshrink,
            F.thresholded_relu,
            F.hardswish,
            F.hardsigmoid,
            F.leaky_relu,
            F.sigmoid,
            F.tanh,
            F.swish,
            F.log_sigmoid,
            paddle.stanh,
            paddle.sin,
            paddle.cos,
            paddle.atan,
            paddle.sinh,
            paddle.cosh,
            paddle.asinh,
            paddle.floor,
            paddle.ceil,
            paddle.round,
            paddle.trunc,
            paddle.sign,
            paddle.abs,
            paddle.exp,
            paddle.expm1,
            paddle.erf,
            paddle.square,
        ),
    ),
    "between 0 and 1": (
        F.sigmoid,
        (
            paddle.logit,
            paddle.log,
            paddle.log2,
            paddle.log10,
            paddle.log1p,
            paddle.sqrt,
            paddle.rsqrt,
            paddle.reciprocal,
            paddle.asin,
            paddle.acos,
            paddle.atanh,
            paddle.tan,
            lambda x: paddle.acosh(x + 1),
            lambda x: F.celu(x - 0.5, 0.3),
            lambda x: F.softshrink(x, 0.3),
            lambda x: F.hardshrink(x, 0.3),
            lambda x: F.thresholded_relu(x, 0.4),
        ),
    ),
}


def each_of(before, functions):
    return Then(lambda x: [each(before(x)) for each in functions])


for _name, _functions in FUNCTIONS.items():
    NEWER[f"functions {_name}"] = ((2, 6, 5), partial(each_of, *_functions))
# Of the padding after the image Paddle counts as many rows as there are before it;
# tools/hostile/cases.json has more of them.
POOLS = [
    (nn.AvgPool2D, size, (*window, exclusive))
    for exclusive in (False, True)
    for *window, size in (
        ((3, 3), 2, [0, 1, 0, 1], False, (6, 6)),
        ((3, 2), (2, 1), [1, 0, 0, 1], True, (7, 5)),
        ((4, 2), (3, 1), "SAME", False, (7, 6)),
        ((3, 4), 2, (1, 2), True, (8, 9)),
    )
]
# What Paddle exports and runs is no damaged model. 6 - 7 is divided by 7 towards zero.
for *_window, _ceil in ((7, 7, 0, False), ((9, 3), 4, 1, False), (8, 2, 0, True)):
    POOLS.append((nn.AvgPool2D, (6, 6), (*_window, _ceil)))
    POOLS.append((nn.MaxPool2D, (6, 6), (*_window, False, _ceil)))
POOLS.append((nn.MaxPool2D, (8, 9), ((3, 4), 2, (1, 2), False, True)))
for _kind, _size, _options in POOLS:
    make_pool = partial(lambda kind, options: convolved(kind(*options)), _kind, _options)
    NETWORKS[f"{_kind.__name__} {_options}"] = ((2, *_size), make_pool)


@pytest.mark.parametrize("name", [*NETWORKS, *NEWER])
def test_operators_agree_with_paddle(name, tmp_path):
    shape, make = NEWER.get(name) or NETWORKS[name]
    paddle.seed(0)
    layer = make()
    layer.eval()
    images = np.random.default_rng(0).standard_normal((20, *shape)).astype(np.float32)
    given = layer(paddle.to_tensor(images))
    given = given if isinstance(given, list | tuple) else [given]
    expected = [one.numpy() for one in given]
    expected.sort(key=lambda one: one.dtype.kind != "f")  # integers come last
    assert np.ptp(expected[0], axis=0).max() > 0.01
    if name in NEWER:
        fixed_format(layer, [None, *shape], tmp_path / "json", "json")
        models = [tmp_path / "json.json"]
    else:
        models = both_formats(layer, shape, tmp_path)
    for model in models:
        with lenet_cpp.Predictor(model, engine="native") as predictor:
            names = [spec.name for spec in predictor.output_specs]
            found = predictor.run_outputs(images)
            for output, one in zip(names, expected, strict=True):
                assert compare(one, found[output]).agrees, model
                # The same bits for an image wherever it lies in a batch of any size.
                for count in (1, 3):
                    alone = predictor.run_outputs(images[:count], output)[output]
                    assert (alone == found[output][:count]).all()
        if len(expected) > 1:
            with lenet_cpp.Predictor(model, engine="paddle") as other:
                assert names == [spec.name for spec in other.output_specs]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (SumWithFlattened, "could not prove that images stay apart"),
        (lambda: Then(paddle.i0), r"no kernel.*i0.*engine paddle instead"),
    ],
)
def test_what_has_no_kernel_is_named_and_runs_on_paddle(make, words, tmp_path):
    layer = make()
    images = np.random.default_rng(0).standard_normal((3, 2, 6, 6)).astype(np.float32)
    layer.eval()
    expected = layer(paddle.to_tensor(images)).numpy()
    for model in both_formats(layer, (2, 6, 6), tmp_path):
        with pytest.raises(lenet_cpp.Unsupported, match=words):
            lenet_cpp.Predictor(model, engine="native")
        with lenet_cpp.Predictor(model) as auto:
            assert auto.options["engine"] == "paddle"
            if make is not SumWithFlattened:  # which mixes images
                assert compare(expected, auto.run(images)).agrees


@pytest.mark.parametrize("pool", [nn.MaxPool2D, nn.AvgPool2D])
def test_windows_behind_the_image_give_what_paddle_gives(pool, tmp_path):
    """The lowest number as the largest of nothing, and no number as its average."""
    layer = convolved(pool(1, 2, "SAME", ceil_mode=True))
    images = np.random.default_rng(0).standard_normal((3, 2, 6, 6)).astype(np.float32)
    expected = layer(paddle.to_tensor(images)).numpy()
    outside = np.full_like(expected[..., -1], np.finfo(np.float32).min)
    if pool is nn.AvgPool2D:
        outside[:] = np.nan
    np.testing.assert_array_equal(expected[..., -1], outside)
    for model in both_formats(layer, (2, 6, 6), tmp_path):
        with lenet_cpp.Predictor(model, engine="native") as predictor:
            np.testing.assert_allclose(predictor.run(images), expected, 1e-5, 1e-6)


class Renormalized(nn.Layer):
    def forward(self, x):
        return paddle.renorm(x, 2.0, 1, 1.0)


def test_operator_that_is_not_known_needs_a_word_of_trust(tmp_path):
    layer = nn.Sequential(Renormalized(), nn.Flatten(), nn.Linear(192, 10))
    images = np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)
    expected = layer(paddle.to_tensor(images)).numpy()
    for program in both_formats(layer, (3, 8, 8), tmp_path):
        with pytest.raises(lenet_cpp.Unsupported, match=r"renorm.*check_program"):
            lenet_cpp.Predictor(program)
        trusted = lenet_cpp.Predictor(program, accelerator="plain", check_program=False)
        assert compare(expected, trusted.run(images)).agrees


def test_lenet_agrees_with_paddle(model_dir, digits, instruction_set):
    rng = np.random.default_rng(3)
    extremes = np.stack(
        [
            np.zeros((1, 28, 28)),
            np.ones((1, 28, 28)),
            np.full((1, 28, 28), 1e-40),
            np.full((1, 28, 28), 1e30),
            -np.ones((1, 28, 28)),
            rng.standard_normal((1, 28, 28)),
        ]
    ).astype(np.float32)
    images = np.concatenate([digits[:100], extremes])
    model = model_dir / "lenet.pdmodel"
    with lenet_cpp.Predictor(model, accelerator="plain") as paddle:
        expected = paddle.run(images)
    with lenet_cpp.Predictor(model, engine="native") as predictor:
        assert predictor.input_spec.shape == (-1, 1, 28, 28)
        assert predictor.options["engine"] == "native"
        found = predictor.run(images)
        for size in (1, 2, 7, 12, 13, 16, 17, 64):
            pieces = [predictor.run(images[i : i + size]) for i in range(0, len(images), size)]
            assert (np.concatenate(pieces).view(np.uint32) == found.view(np.uint32)).all()
        clone = predictor.clone()
    assert (clone.run(images) == found).all()
    assert compare(expected, found).agrees
    with lenet_cpp.Predictor(model_dir / "lenet.json", engine="native") as predictor:
        assert (predictor.run(images) == found).all()


@pytest.mark.parametrize(
    ("shape", "kernel"),
    # 25,088, 9,216, 5,400, 2,048, 1,280 and 12,800 products
    [
        *(((512, 7, 7), 7), ((9216, 1, 1), 1), ((600, 4, 3), 3)),
        *(((2048, 5, 5), 1), ((320, 5, 2), 2), ((32, 20, 20), 20)),
    ],
)
def test_long_sums(shape, kernel, instruction_set, tmp_path):
    """Rounding errors do not grow with the number of products; one image has a batch's bits."""
    rng = np.random.default_rng(5)
    taps = shape[0] * kernel * kernel
    network = nn.Conv2D(shape[0], 20, kernel, bias_attr=False)
    weight = rng.standard_normal((20, shape[0], kernel, kernel)) / math.sqrt(taps)
    network.weight.set_value(weight.astype(np.float32))
    model = both_formats(network, shape, tmp_path)[0]
    images = rng.standard_normal((17, *shape)).astype(np.float32)
    expected = conv2d(images, network.weight.numpy())
    with lenet_cpp.Predictor(model, engine="native") as predictor:
        found = predictor.run(images)
        assert (predictor.run(images[:1]) == found[:1]).all()
        assert (predictor.run(images[:4]) == found[:4]).all()
    # One chain of each sum is 2 to 4e-6 of the largest away.
    assert np.abs(found - expected).max() <= 1e-6 * np.abs(expected).max()


def test_an_instruction_set_is_named_or_refused(model_dir, monkeypatch):
    native = partial(lenet_cpp.Predictor, model_dir=model_dir, engine="native")
    x = np.zeros((1, 1, 28, 28), np.float32)
    expected = native().run(x)
    monkeypatch.setenv("LENET_NATIVE_ISA", "mmx")
    with pytest.raises(lenet_cpp.BadInput, match=r"LENET_NATIVE_ISA is 'mmx'.*avx2"):
        native()
    monkeypatch.setenv("LENET_NATIVE_ISA", "")  # as if it were not set
    assert (native().run(x) == expected).all()


@pytest.mark.nightly
def test_the_page(model_dir, tmp_path, root):
    """Each command of docs/native-engine.md."""
    needs_bf16()
    page = root / "docs" / "native-engine.md"
    run, python, features, bf16, scalar, profile, slowest = run_page(page, tmp_path, model_dir)
    assert "engine native" in run
    assert python == "(2, 10)\n"
    assert features == "(2, 84)\n"
    assert "precision bf16" in bf16
    assert "engine native" in scalar
    assert "416,520" in profile
    assert "conv2d" in slowest
