"""The native engine on operators of images, against onnxruntime, PyTorch and Paddle: resizing,
transposed convolutions, pools and padding.
"""

from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp.agreement import compare

pytest.importorskip("onnx", reason="the models of these tests are made with it")
pytest.importorskip("onnxruntime", reason="the answers are compared with its own")

# Where there is no onnx, the lines above skip this file; importing it first would fail.
from onnx_files import agrees, array, model


def write(folder, nodes, shape, tensors=None, outputs=5, opset=19, batch="N"):
    """Write a model whose first layer is a convolution `c`, so that channels lie in blocks."""
    first = {"w": array((outputs, shape[0], *[1] * (len(shape) - 1))), "b": array((outputs,), 1)}
    path = folder / "model.onnx"
    x = f"float[{','.join(map(str, (batch, *shape)))}] x"
    nodes = f"c = Conv(x, w, b) {nodes}" if outputs else nodes
    path.write_bytes(model(nodes, x, "float y", first | (tensors or {}), opset=opset))
    return path


# ---- resizing

TRANSFORMATIONS = "half_pixel align_corners asymmetric pytorch_half_pixel half_pixel_symmetric"
ROUNDED = "round_prefer_floor round_prefer_ceil floor ceil"
WAYS = [f'mode="nearest", nearest_mode="{way}"' for way in ROUNDED.split()]
WAYS += ['mode="linear"', 'mode="cubic"', 'mode="cubic", exclude_outside=1, cubic_coeff_a=-0.5']
SCALES = [(1, 1, 2, 2), (1, 1, 0.58, 1.8), (1, 1, 1, 3)]
SIZES = [(5, 1), (14, 18), (1, 9)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("transformation", TRANSFORMATIONS.split())
def test_resize(transformation, way, tmp_path):
    node = f'Resize<{way}, coordinate_transformation_mode="{transformation}"'
    # Some places are a pixel in float32, as onnxruntime has them, and beside it in double.
    plain = "nearest" not in way
    for scales in SCALES:
        if transformation == "align_corners" and scales == SCALES[1]:
            continue  # ONNX and onnxruntime differ
        tensors = {"s": np.array(scales, "f4")}
        agrees(write(tmp_path, f"y = {node}>(c, , s)", (3, 7, 9), tensors), plain=plain)
    if "symmetric" in transformation and "nearest" in way:
        return  # the middle of a row may be halfway between pixels, where rounding decides
    for sizes in SIZES:
        tensors = {"s": np.array(sizes)}
        path = write(tmp_path, f"y = {node}, axes=[2, 3]>(c, , , s)", (3, 7, 9), tensors)
        agrees(path, plain=plain)


def middle_of_pixels(transformation, inputs, outputs):
    """Return the place in the image of each output, as exact numbers."""
    half = Fraction(0 if transformation == "asymmetric" else 1, 2)
    step = Fraction(inputs, outputs)
    if transformation == "align_corners":
        half, step = 0, Fraction(inputs - 1, max(outputs - 1, 1))
    return [(i + half) * step - half for i in range(outputs)]


@pytest.mark.parametrize("transformation", ["asymmetric", "half_pixel", "align_corners"])
@pytest.mark.parametrize("way", ["round_prefer_floor", "round_prefer_ceil"])
def test_resize_rounds_the_middle_between_pixels(way, transformation, tmp_path):
    """Places are computed in float32, which misses some middles."""
    node = f'Resize<mode="nearest", nearest_mode="{way}"'
    node += f', coordinate_transformation_mode="{transformation}", axes=[2]>'
    for inputs in range(1, 14):
        sizes = {f"s{size}": np.array([size]) for size in range(1, 20)}
        nodes = " ".join(f"r{name} = {node}(x, , , {name})" for name in sizes)
        nodes += f" y = Concat<axis=2>({', '.join('r' + name for name in sizes)})"
        path = write(tmp_path, nodes, (1, inputs, 1), sizes, outputs=0)
        places = [middle_of_pixels(transformation, inputs, size) for size in range(1, 20)]
        exact = [place for of_size in places for place in of_size]
        up = way == "round_prefer_ceil"
        nearest = [floor(p + Fraction(1, 2)) if up else ceil(p - Fraction(1, 2)) for p in exact]
        pixels = np.arange(inputs, dtype="f4").reshape(1, 1, inputs, 1)
        found = lenet_cpp.Predictor(path, engine="native").run(pixels).ravel()
        np.testing.assert_array_equal(found, np.clip(nearest, 0, inputs - 1))


@pytest.mark.usefixtures("instruction_set")
def test_resize_on_each_instruction_set(tmp_path):
    for channels in (1, 4, 8, 16, 17):
        tensors = {"s": np.array([1, 1, 2.5, 1.5], "f4"), "k": array((3, channels, 3, 3))}
        nodes = 'r = Resize<mode="linear">(c, , s) y = Conv<pads=[1, 1, 1, 1]>(r, k)'
        agrees(write(tmp_path, nodes, (3, 6, 7), tensors, outputs=channels))


@pytest.mark.parametrize("way", ['mode="nearest"', 'mode="linear"'])
def test_resize_before_operator_set_11(way, tmp_path):
    tensors = {"s": np.array([1, 1, 2, 3], "f4")}
    agrees(write(tmp_path, f"y = Upsample<{way}>(c, s)", (3, 5, 6), tensors, opset=9))
    agrees(write(tmp_path, f"y = Resize<{way}>(c, s)", (3, 5, 6), tensors, opset=10))


def test_resize_of_the_image_itself_and_of_signals(tmp_path):
    tensors = {"s": np.array([1, 1, 2.5], "f4")}
    agrees(write(tmp_path, 'y = Resize<mode="linear">(x, , s)', (3, 12), tensors, outputs=0))
    tensors = {"s": np.array([1, 1, 2, 2], "f4")}
    agrees(write(tmp_path, "r = Resize(x, , s) y = Relu(r)", (3, 5, 6), tensors, outputs=0))


@pytest.mark.parametrize("way", WAYS[-3:])
def test_resize_with_antialias(way, tmp_path):
    for scales in ((1, 1, 0.3, 0.45), (1, 1, 2.5, 0.7), (1, 1, 0.2, 1)):
        tensors = {"s": np.array(scales, "f4")}
        agrees(write(tmp_path, f"y = Resize<{way}, antialias=1>(c, , s)", (3, 17, 23), tensors))


@pytest.mark.parametrize("way", WAYS)
def test_resize_of_a_constant(way, tmp_path):
    """Such as an embedding of positions."""
    tensors = {"s": np.array([1, 5, 8, 6]), "k": array((1, 5, 3, 11))}
    nodes = f"r = Resize<{way}>(k, , , s) y = Add(c, r)"
    agrees(write(tmp_path, nodes, (3, 8, 6), tensors))


@pytest.mark.parametrize(
    ("node", "what"),
    [
        ("Resize<antialias=1>(c, , s)", "antialias"),
        ('Resize<mode="linear", coordinate_transformation_mode="tf_crop_and_resize">(c, r, s)', ""),
        ("Resize(c, , t)", "channels"),
        ('Resize<coordinate_transformation_mode="align_corners">(c, , u)', "align_corners"),
    ],
)
def test_resize_that_is_refused(node, what, tmp_path):
    tensors = {"s": np.array([1, 1, 0.5, 2], "f4"), "t": np.array([1, 2, 1, 1], "f4")}
    tensors["u"] = np.array([1, 1, 0.6, 1], "f4")
    path = write(tmp_path, f"y = {node}", (3, 6, 6), tensors | {"r": np.zeros(8, "f4")})
    with pytest.raises(lenet_cpp.Unsupported, match=f"kernel.*{what}"):
        lenet_cpp.Predictor(path, engine="native")


@pytest.mark.parametrize("to", [[1 << 15, 1 << 15], [1, 1 << 27]])
def test_resize_to_too_many_values(to, tmp_path):
    nodes = "y = Resize<axes=[2, 3]>(c, , , s)"
    with pytest.raises(lenet_cpp.Unsupported):
        lenet_cpp.Predictor(write(tmp_path, nodes, (3, 6, 6), {"s": np.array(to)}), engine="native")


# ---- Paddle's operators


def of_paddle(function, shape, folder, formats=(True, False), weight=()):
    """Export `function` of what a convolution gives, and compare the native engine with Paddle."""
    paddle = pytest.importorskip("paddle")

    class Network(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.first = paddle.nn.Conv2D(shape[0], 5, 1)
            if weight:
                self.weight = self.create_parameter(weight)

        def forward(self, x):
            return function(self.first(x), *([self.weight] if weight else []))

    network = Network()
    network.eval()
    spec = [paddle.static.InputSpec([None, *shape], "float32", "x")]
    images = array((3, *shape))
    expected = network(paddle.to_tensor(images)).numpy()
    for pir in formats:
        with paddle.pir_utils.IrGuard() if pir else paddle.pir_utils.OldIrGuard():
            made = paddle.jit.to_static(network, input_spec=spec, full_graph=True)
            paddle.jit.save(made, str(folder / f"model{int(pir)}"))
        found = folder / f"model{int(pir)}.{'json' if pir else 'pdmodel'}"
        with lenet_cpp.Predictor(found, engine="native") as predictor:
            for count in (1, 3):
                assert compare(expected[:count], predictor.run(images[:count])).agrees


MODES = [{"mode": "nearest"}, {"mode": "bilinear"}, {"mode": "bilinear", "align_mode": 1}]
MODES += [{"mode": way, "align_corners": True} for way in ("bilinear", "bicubic", "nearest")[:2]]
MODES += [{"mode": "bicubic"}]


@pytest.mark.parametrize("how", MODES, ids=lambda how: "-".join(map(str, how.values())))
@pytest.mark.parametrize("to", [{"scale_factor": 2}, {"size": [5, 20]}, {"size": [1, 9]}])
def test_interpolation_of_paddle(to, how, tmp_path):
    functional = pytest.importorskip("paddle").nn.functional
    of_paddle(lambda x: functional.interpolate(x, **to, **how), (3, 7, 9), tmp_path)


# ---- transposed convolutions

TRANSPOSED = {
    "by 2": ("kernel_shape=[2, 2], strides=[2, 2]", (2, 2)),
    "overlapping": ("strides=[2, 2], pads=[1, 1, 1, 1]", (4, 4)),
    "output padding": ("strides=[2, 3], pads=[1, 0, 1, 2], output_padding=[1, 2]", (3, 5)),
    "stride 1": ("pads=[1, 1, 1, 1]", (3, 3)),
    "dilated": ("strides=[2, 3], dilations=[2, 3], pads=[2, 1, 0, 3]", (3, 2)),
    "with gaps": ("strides=[4, 5]", (2, 3)),
    "cropped": ("strides=[2, 2], pads=[7, 6, 5, 7]", (3, 3)),
    "row": ("strides=[1, 2]", (1, 4)),
}


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_convolution(name, tmp_path):
    """Of one image and of many side by side, of channels that fill vectors and others."""
    attributes, kernel = TRANSPOSED[name]
    for inputs, outputs, groups in ((5, 3, 1), (16, 8, 1), (8, 24, 1), (6, 4, 2), (8, 8, 8)):
        tensors = {"k": array((inputs, outputs // groups, *kernel)), "e": array((outputs,), 2)}
        node = f"ConvTranspose<{attributes}, group={groups}>(c, k, e)"
        agrees(write(tmp_path, f"d = {node} y = Relu(d)", (3, 7, 9), tensors, outputs=inputs))


@pytest.mark.parametrize("channels", [3, 16, 24])
@pytest.mark.usefixtures("instruction_set")
def test_transposed_convolution_on_each_instruction_set(channels, tmp_path):
    """Channels that fill vectors, that fill them in part, and whose phases begin inside of them."""
    tensors = {"k": array((5, channels, 4, 3)), "v": array((2, channels, 3, 3))}
    nodes = "d = ConvTranspose<strides=[2, 2]>(c, k) y = Conv<pads=[1, 1, 1, 1]>(d, v)"
    agrees(write(tmp_path, nodes, (3, 6, 7), tensors))


def test_transposed_convolution_of_signals(tmp_path):
    tensors = {"k": array((3, 2, 5))}
    nodes = "y = ConvTranspose<strides=[3], pads=[1, 2], output_padding=[1]>(x, k)"
    agrees(write(tmp_path, nodes, (3, 11), tensors, outputs=0))


@pytest.mark.parametrize("stride", [1 << 13, 1 << 16])
def test_transposed_convolution_to_too_many_values(stride, tmp_path):
    tensors = {"k": array((5, 2, 1, 1))}
    node = f"y = ConvTranspose<strides=[{stride}, {stride}]>(c, k)"
    with pytest.raises(lenet_cpp.Unsupported):
        lenet_cpp.Predictor(write(tmp_path, node, (3, 6, 6), tensors), engine="native")


def test_transposed_convolution_of_paddle(tmp_path):
    functional = pytest.importorskip("paddle").nn.functional
    for number, how in enumerate(
        (
            {"stride": 2, "padding": 1},
            {"stride": [3, 2], "padding": [1, 0, 2, 1], "output_padding": 1},
            {"stride": 2, "padding": 1, "output_size": [14, 18]},
            {"stride": 1, "dilation": [2, 3]},
        )
    ):
        (tmp_path / str(number)).mkdir()
        of_paddle(
            lambda x, weight, how=how: functional.conv2d_transpose(x, weight, **how),
            *((3, 7, 9), tmp_path / str(number)),
            weight=[5, 4, 4, 3],
        )


# ---- moved pixels


@pytest.mark.parametrize(
    "node",
    [
        "DepthToSpace<blocksize=2>(c)",
        'DepthToSpace<blocksize=2, mode="CRD">(c)',
        "SpaceToDepth<blocksize=3>(c)",
    ],
)
def test_blocks_of_pixels(node, tmp_path):
    agrees(write(tmp_path, f"y = {node}", (3, 6, 9), outputs=12))


def test_moved_pixels_of_paddle(tmp_path):
    paddle = pytest.importorskip("paddle")
    functional = paddle.nn.functional
    functions = {
        "shuffle": lambda x: functional.pixel_shuffle(paddle.concat([x, 2 * x, -x, x + 1], 1), 2),
        "unshuffle": lambda x: functional.pixel_unshuffle(x, 3),
        "unfold": lambda x: functional.unfold(x, 3, strides=1, paddings=1),
        "dilated": lambda x: functional.unfold(
            x, [2, 3], strides=[2, 1], paddings=[2, 0, 1, 3], dilations=[3, 2]
        ),
    }
    for name, function in functions.items():
        (tmp_path / name).mkdir()
        of_paddle(function, (3, 6, 9), tmp_path / name)


@pytest.mark.parametrize(("shifts", "axes"), [(2, 2), ([-3, 1], [2, 3]), ([7, -10, 2], [1, 2, 3])])
def test_rolled(shifts, axes, tmp_path):
    paddle = pytest.importorskip("paddle")
    of_paddle(lambda x: paddle.roll(x, shifts, axes), (3, 6, 9), tmp_path, formats=(True,))


# ---- windows


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
def test_pools_with_dilations(kind, tmp_path):
    for size, attributes in (
        ((7, 9), "kernel_shape=[2, 2], dilations=[2, 2], strides=[2, 2]"),
        ((12, 20), "kernel_shape=[3, 3], dilations=[2, 3], pads=[2, 1, 1, 2]"),
        ((9, 31), "kernel_shape=[1, 3], dilations=[1, 4], strides=[2, 1], pads=[0, 2, 0, 2]"),
        ((9, 31), "kernel_shape=[3, 2], dilations=[2, 1], strides=[2, 1], pads=[1, 0, 1, 1]"),
    ):
        agrees(write(tmp_path, f"y = {kind}<{attributes}>(c)", (3, *size)))
    if kind == "AveragePool":
        how = "kernel_shape=[3, 3], dilations=[2, 3], pads=[2, 1, 1, 2], count_include_pad=1"
        agrees(write(tmp_path, f"y = {kind}<{how}>(c)", (3, 12, 20)))


@pytest.mark.parametrize(
    "node",
    [
        "MaxPool<kernel_shape=[3], strides=[2], pads=[1, 0]>(c)",
        "MaxPool<kernel_shape=[3], dilations=[2], ceil_mode=1, strides=[2]>(c)",
        "AveragePool<kernel_shape=[3], strides=[2], pads=[1, 1], count_include_pad=1>(c)",
        'AveragePool<kernel_shape=[4], strides=[3], auto_pad="SAME_UPPER">(c)',
        "GlobalAveragePool(c)",
        "GlobalMaxPool(c)",
        "Conv<strides=[2], pads=[2, 1], dilations=[2]>(c, k)",
        "Conv<group=5>(c, v)",
    ],
)
def test_windows_of_signals(node, tmp_path):
    tensors = {"k": array((4, 5, 3)), "v": array((5, 1, 3))}
    agrees(write(tmp_path, f"y = {node}", (3, 14), tensors))


@pytest.mark.parametrize("size", [(300, 300), (2, 45000), (1, 90000), (90000, 1)])
@pytest.mark.usefixtures("instruction_set")
def test_the_mean_of_a_large_image_that_is_the_same_everywhere(size, tmp_path):
    """The sum of so many numbers that are alike is always rounded the same way."""
    channels = np.linspace(0.1, 0.9, 19, dtype=np.float32)
    path = write(tmp_path, "y = GlobalAveragePool(x)", (19, *size), outputs=0)
    images = np.broadcast_to(channels[:, None, None], (1, 19, *size)).copy()
    with lenet_cpp.Predictor(path, engine="native") as predictor:
        means = predictor.run(images).ravel()
    assert np.abs(means / channels - 1).max() < 1e-5


def test_padding_by_infinity_before_a_pool(tmp_path):
    """NASNet's: what is padded must not be the largest."""
    tensors = {"p": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "v": np.float32(-np.inf)}
    nodes = "d = Pad(c, p, v) y = MaxPool<kernel_shape=[3, 3], strides=[2, 2]>(d)"
    agrees(write(tmp_path, nodes, (3, 8, 9), tensors))


@pytest.mark.parametrize("shape", [(4,), (4, 9)])
def test_normalization_of_vectors_and_signals(shape, tmp_path):
    tensors = {name: array((4,), seed) for seed, name in enumerate(("g", "h", "m"))}
    tensors["s"] = np.abs(array((4,), 4)) + 0.5
    nodes = "y = BatchNormalization(x, g, h, m, s)"
    agrees(write(tmp_path, nodes, shape, tensors, outputs=0))


@pytest.mark.parametrize("opset", [12, 17])
def test_weights_that_are_standardized(opset, tmp_path):
    """NFNet's and BiT's, which exporters write as a normalization while training."""
    tensors = {name: array((4,), seed) for seed, name in enumerate(("g", "h", "m"))}
    tensors |= {"s": np.ones(4, "f4"), "v": array((4, 5, 3, 3))}
    tensors |= {"flat": np.array([1, 4, -1]), "back": np.array([4, 5, 3, 3])}
    trains = "<epsilon=1e-6, training_mode=1>" if opset > 13 else "<epsilon=1e-6>"
    nodes = f"""a = Reshape(v, flat) n, p, q = BatchNormalization{trains}(a, g, h, m, s)
        k = Reshape(n, back) y = Conv(c, k)"""
    path = write(tmp_path, nodes, (3, 8, 6), tensors, opset=opset)
    with lenet_cpp.Predictor(path, engine="native") as predictor:
        found = predictor.run(array((2, 3, 8, 6)))
    flat = tensors["v"].reshape(4, -1).astype("f8")
    normal = (flat - flat.mean(1, keepdims=True)) / np.sqrt(flat.var(1, keepdims=True) + 1e-6)
    v = (normal * tensors["g"][:, None] + tensors["h"][:, None]).reshape(4, 5, 3, 3).astype("f4")
    plain = write(tmp_path, "y = Conv(c, v)", (3, 8, 6), tensors | {"v": v}, opset=opset)
    with lenet_cpp.Predictor(plain, engine="native") as predictor:
        assert compare(predictor.run(array((2, 3, 8, 6))), found).agrees


def test_normalization_while_training_is_refused(tmp_path):
    tensors = {name: array((5,), seed) for seed, name in enumerate(("g", "h", "m"))}
    nodes = "y, p, q = BatchNormalization<training_mode=1>(c, g, h, m, s)"
    for batch in ("N", 2):
        more = tensors | {"s": np.ones(5, "f4")}
        path = write(tmp_path, nodes, (3, 8, 6), more, batch=batch, opset=15)
        with pytest.raises(lenet_cpp.Unsupported, match="could not prove that images stay apart"):
            lenet_cpp.Predictor(path, engine="native")
