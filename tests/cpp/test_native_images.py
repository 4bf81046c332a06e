"""The native engine on operators of images, against onnxruntime, PyTorch and Paddle: resizing,
transposed convolutions, pools and padding.
"""

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp.agreement import compare

pytest.importorskip("onnx", reason="the models of these tests are made with it")
pytest.importorskip("onnxruntime", reason="the answers are compared with its own")

# Where there is no onnx, the lines above skip this file; importing it first would fail.
from onnx_files import agrees, array, model

SETS = ("scalar", "sse42", "avx2", "avx512")


def write(folder, nodes, shape, tensors=None, outputs=5, opset=19):
    """Write a model whose first layer is a convolution `c`, so that channels lie in blocks."""
    first = {"w": array((outputs, shape[0], *[1] * (len(shape) - 1))), "b": array((outputs,), 1)}
    path = folder / "model.onnx"
    x = f"float[N,{','.join(map(str, shape))}] x"
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
    for scales in SCALES:
        if transformation == "align_corners" and scales == SCALES[1]:
            continue  # ONNX and onnxruntime differ
        tensors = {"s": np.array(scales, "f4")}
        agrees(write(tmp_path, f"y = {node}>(c, , s)", (3, 7, 9), tensors))
    if "symmetric" in transformation and "nearest" in way:
        return  # the middle of a row may be halfway between pixels, where rounding decides
    for sizes in SIZES:
        tensors = {"s": np.array(sizes)}
        agrees(write(tmp_path, f"y = {node}, axes=[2, 3]>(c, , , s)", (3, 7, 9), tensors))


@pytest.mark.parametrize("name", SETS)
def test_resize_on_each_instruction_set(name, tmp_path, monkeypatch):
    monkeypatch.setenv("LENET_NATIVE_ISA", name)
    for channels in (1, 4, 8, 16, 17):
        tensors = {"s": np.array([1, 1, 2.5, 1.5], "f4"), "k": array((3, channels, 3, 3))}
        nodes = 'r = Resize<mode="linear">(c, , s) y = Conv<pads=[1, 1, 1, 1]>(r, k)'
        path = write(tmp_path, nodes, (3, 6, 7), tensors, outputs=channels)
        try:
            agrees(path)
        except lenet_cpp.Unsupported:
            pytest.skip("the processor does not have it")


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


@pytest.mark.parametrize(
    ("node", "what"),
    [
        ('Resize<mode="linear", antialias=1>(c, , s)', "antialias"),
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


def of_paddle(function, shape, folder, dtype="float32"):
    """Export `function` of a tensor in both formats, and compare the native engine with Paddle."""
    paddle = pytest.importorskip("paddle")

    class Network(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.first = paddle.nn.Conv2D(shape[0], 5, 1)

        def forward(self, x):
            return function(self.first(x))

    network = Network()
    network.eval()
    spec = [paddle.static.InputSpec([None, *shape], dtype, "x")]
    images = array((3, *shape))
    expected = network(paddle.to_tensor(images)).numpy()
    for pir in (True, False):
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
