"""The native engine on what PyTorch's exporters write, against onnxruntime and PyTorch."""

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp.agreement import compare

torch = pytest.importorskip("torch", reason="the exporters are torch's")
for _name in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(_name, reason="the models are made or compared with it")

# Where there is no onnx, the file has been skipped.
from onnx_files import agrees, reference  # noqa: E402 - fails without onnx

from torchvision_models import of_torchvision  # noqa: E402 - it needs torch

nn = torch.nn
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


class Residual(nn.Module):
    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return x + self.layers(x)


class Excited(nn.Module):
    """Squeeze and excite: each channel is multiplied by a number."""

    def __init__(self, channels, activation, gate):
        super().__init__()
        squeeze = (nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, 4, 1), activation)
        self.layers = nn.Sequential(*squeeze, nn.Conv2d(4, channels, 1), gate)

    def forward(self, x):
        return x * self.layers(x)


class Shuffled(nn.Module):
    """ShuffleNet's: the sizes are computed, since the number of images is open."""

    def forward(self, x):
        images, channels, height, width = x.shape
        first, second = x.chunk(2, 1)
        x = torch.cat([first, torch.relu(second)], 1)
        x = x.view(images, 2, channels // 2, height, width).transpose(1, 2)
        return x.reshape(images, channels, height, width)


class Mean(nn.Module):
    def forward(self, x):
        return x.mean([2, 3])


def convolution(inputs, outputs, size, activation, **options):
    layer = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False, **options)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), activation)


def efficient_net():
    inverted = (convolution(12, 24, 1, nn.SiLU()), convolution(24, 24, 5, nn.SiLU(), groups=24))
    excited = Excited(24, nn.SiLU(), nn.Sigmoid())
    return nn.Sequential(
        convolution(3, 12, 3, nn.SiLU(), stride=2),
        Residual(*inverted, excited, convolution(24, 12, 1, nn.Identity())),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(12, 10)),
    )


def reg_net():
    grouped = convolution(16, 16, 3, nn.ReLU(), groups=4)
    return nn.Sequential(
        *(convolution(3, 16, 3, nn.ReLU6(), stride=2), nn.MaxPool2d(3, 2, 1)),
        *(Residual(grouped, Excited(16, nn.ReLU(), nn.Hardsigmoid())), nn.Hardswish()),
        *(Shuffled(), Mean(), nn.Linear(16, 10)),
    )


BLOCKS = {"EfficientNet": efficient_net, "RegNet and ShuffleNet": reg_net}
TORCHVISION = (
    "alexnet",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "regnet_y_400mf",
    "resnet18",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "vgg11_bn",
    "wide_resnet50_2",
)
NETWORKS = BLOCKS | {name: of_torchvision(name) for name in TORCHVISION}
# The oldest and the newest operator sets that each exporter writes.
EXPORTS = (("legacy", 9), ("legacy", 13), ("legacy", 17), ("dynamo", 18), ("dynamo", 22))
QUICK = [("EfficientNet", "legacy", 9), ("EfficientNet", "dynamo", 22)]
QUICK += [("RegNet and ShuffleNet", "legacy", 17), ("RegNet and ShuffleNet", "dynamo", 18)]
LATER = {(name, *export) for name in NETWORKS for export in EXPORTS} - {*QUICK}


def lively(net, images):
    """Give it weights and statistics after which values neither vanish nor explode."""
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter, generator=generator)

    def normalize(norm, inputs):
        size, shape = inputs[0].square().mean(), norm.running_var.shape
        norm.running_var.copy_(size * (0.5 + torch.rand(shape, generator=generator)))
        norm.running_mean.copy_(0.1 * size.sqrt() * torch.randn(shape, generator=generator))

    norms = [layer for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)]
    hooks = [norm.register_forward_pre_hook(normalize) for norm in norms]
    with torch.inference_mode():
        net.eval()(images)
    for hook in hooks:
        hook.remove()
    return net


@pytest.mark.parametrize(
    ("name", "exporter", "opset"),
    [*QUICK, *(pytest.param(*case, marks=pytest.mark.nightly) for case in sorted(LATER))],
)
def test_classifier_from_torch(name, exporter, opset, tmp_path):
    torch.manual_seed(0)
    # Their adaptive pools export only where the windows are equal.
    size = 224 if name in {"alexnet", "vgg11_bn"} else 96
    net = lively(NETWORKS[name](), torch.randn(4, 3, size, size))
    path = tmp_path / "model.onnx"
    if exporter == "dynamo":
        free = {"dynamic_shapes": ({0: torch.export.Dim("N")},)}
    else:
        free = {"input_names": ["x"], "dynamic_axes": {"x": {0: "N"}}}
    options = {"dynamo": exporter == "dynamo", "opset_version": opset, "verbose": False}
    torch.onnx.export(net, (torch.zeros(2, 3, size, size),), path, **options, **free)
    expected = agrees(path, counts=(1, 3))
    assert np.ptp(expected, axis=0).max() > 0.01
    images = np.random.default_rng(0).standard_normal((3, 3, size, size)).astype("f4")
    with torch.inference_mode():
        assert compare(net(torch.from_numpy(images)).numpy(), expected).agrees
    with lenet_cpp.Predictor(path, engine="onnxruntime") as predictor:
        assert predictor.run(images).tobytes() == reference(path, images).tobytes()
    # dynamo keeps weights in a file beside the model.
    values = tmp_path / "model.onnx.data"
    assert values.exists() == (exporter == "dynamo")
    if values.exists():
        with values.open("r+b") as file:
            file.truncate(1000)
        with pytest.raises(lenet_cpp.BadModel, match=r"model\.onnx\.data.*only 1000 bytes"):
            lenet_cpp.Predictor(path, engine="native")


class FromFloat32(nn.Module):
    """A network of 16 bits, with float32 around it, as autocast and converters leave it."""

    def __init__(self, net, dtype):
        super().__init__()
        self.net, self.dtype = net, dtype

    def forward(self, x):
        return self.net(x.to(self.dtype)).float()


@pytest.mark.parametrize("casts", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", BLOCKS)
def test_half_networks_are_computed_in_float32(name, dtype, casts, tmp_path):
    """As PyTorch computes with the same weights in float32."""
    torch.manual_seed(0)
    images = torch.randn(3, 3, 64, 64).to(dtype)
    net = lively(BLOCKS[name](), images.float()).eval().to(dtype)
    path = tmp_path / "model.onnx"
    given = (FromFloat32(net, dtype).eval(), (images.float(),)) if casts else (net, (images,))
    options = {"input_names": ["x"], "dynamic_axes": {"x": {0: "N"}}, "dynamo": False}
    # Else the exporter folds the normalizations into the weights, and rounds those again.
    options |= {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    torch.onnx.export(*given, path, opset_version=17, verbose=False, **options)
    with torch.inference_mode():
        expected = net.float()(images.float()).numpy()
    with lenet_cpp.Predictor(path) as predictor:
        assert predictor.options["engine"] == "native"
        declared = "float32" if casts else str(dtype).removeprefix("torch.")
        specs = (predictor.input_spec.dtype, predictor.output_spec.dtype)
        assert specs == (declared, "float32")
        assert compare(expected, predictor.run(images.float().numpy())).agrees
        assert "widened to float32" in predictor.profile(1, runs=1).precision_reason


class Resized(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how = how
        self.first = nn.Conv2d(3, 6, 1)

    def forward(self, x):
        return nn.functional.interpolate(self.first(x), **self.how)


CORNERS = {"align_corners": True}


class MaskedAttention(nn.Module):
    """Attends to some of eight tokens, by a mask of one row, which is a buffer."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 36)
        self.register_buffer("mask", torch.tensor([0.0, 0, -1e4, 0, 0, 0, -1e4, -1e4]))

    def forward(self, x):
        queries, keys, values = self.linear(x).chunk(3, -1)
        return nn.functional.scaled_dot_product_attention(
            queries, keys, values, attn_mask=self.mask.reshape(1, 1, 1, 8)
        )


IMAGE_LAYERS = {
    "nearest": Resized({"scale_factor": 2}),
    "bilinear": Resized({"size": (7, 13), "mode": "bilinear"}),
    "bilinear corners": Resized({"scale_factor": 2, "mode": "bilinear"} | CORNERS),
    "bicubic": Resized({"scale_factor": (1.5, 2.25), "mode": "bicubic"}),
    "bicubic corners": Resized({"size": (5, 20), "mode": "bicubic"} | CORNERS),
    "antialias": Resized({"size": (5, 4), "mode": "bilinear", "antialias": True}),
    "transposed": nn.Sequential(nn.ConvTranspose2d(3, 8, 3, 2, 1, 1), nn.BatchNorm2d(8)),
    "shuffled": nn.Sequential(nn.Conv2d(3, 8, 1), nn.PixelShuffle(2), nn.PixelUnshuffle(4)),
    "pools": nn.Sequential(nn.MaxPool2d(3, 2, 1, 2), nn.AvgPool2d(3, 2, 1, ceil_mode=True)),
    "signals": nn.Sequential(nn.Flatten(2), nn.Conv1d(3, 4, 3, 2), nn.BatchNorm1d(4)),
    "masked attention": MaskedAttention(),
}


@pytest.mark.parametrize("exporter", ["legacy", pytest.param("dynamo", marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", IMAGE_LAYERS)
def test_layers_of_images(name, exporter, tmp_path):
    path, images = tmp_path / "model.onnx", torch.randn(3, 3, 8, 12)
    net = IMAGE_LAYERS[name].eval()
    if exporter == "dynamo":
        free = {"dynamic_shapes": ({0: torch.export.Dim("N")},), "opset_version": 18}
    elif name == "antialias":
        pytest.skip("this exporter of PyTorch cannot write the operator; the other one is tested")
    else:
        free = {"input_names": ["x"], "dynamic_axes": {"x": {0: "N"}}, "opset_version": 17}
    torch.onnx.export(net, (images,), path, dynamo=exporter == "dynamo", verbose=False, **free)
    with torch.inference_mode(), lenet_cpp.Predictor(path, engine="native") as predictor:
        assert compare(net(images).numpy(), predictor.run(images.numpy())).agrees


class Overwritten(nn.Module):
    """Writes into a part of what it computed, in place."""

    def __init__(self, write):
        super().__init__()
        self.write = write
        self.first = nn.Conv2d(3, 6, 1)

    def forward(self, x):
        x = self.first(x).clone()
        self.write(x)
        return x


def write_sum(x):
    x[:, :, 1:, 1:] = x[:, :, 1:, 1:] + x[:, :, :-1, :-1]


def write_every_second(x):
    x[:, 1:5:2, ::3] = x[:, :2, ::3] * 2


def write_one_channel(x):
    x[:, 2] = x[:, 3] - 1


def write_first_image(x):
    x[:1, 2:] = x[:1, :4] * 3


def write_from_first_image(x):
    x[:, 1:3] = x[:1, 3:5]


PARTS = {of: of.__name__ for of in (write_sum, write_every_second, write_one_channel)}
MIXED = {of: of.__name__ for of in (write_first_image, write_from_first_image)}


@pytest.mark.parametrize("exporter", ["legacy", "dynamo"])
@pytest.mark.parametrize("write", [*PARTS, *MIXED], ids=[*PARTS.values(), *MIXED.values()])
def test_parts_that_are_written_over(write, exporter, tmp_path):
    """MViT's positions: the older exporter writes indices that it computes from the sizes."""
    path, images = tmp_path / "model.onnx", torch.randn(3, 3, 8, 12)
    net = Overwritten(write).eval()
    if exporter == "dynamo":
        free = {"dynamic_shapes": ({0: torch.export.Dim("N", min=2)},), "opset_version": 18}
    else:
        free = {"input_names": ["x"], "dynamic_axes": {"x": {0: "N"}}, "opset_version": 17}
    torch.onnx.export(net, (images,), path, dynamo=exporter == "dynamo", verbose=False, **free)
    engine = "auto" if write in MIXED else "native"
    with torch.inference_mode(), lenet_cpp.Predictor(path, engine=engine) as predictor:
        assert compare(net(images).numpy(), predictor.run(images.numpy())).agrees
    if write in MIXED:
        with pytest.raises(lenet_cpp.Unsupported, match="could not prove that images stay apart"):
            lenet_cpp.Predictor(path, engine="native")


# ---- transformers whose tokens come first


class TokensFirst(nn.Module):
    """Whose images are [N, tokens, values], and inside of it [tokens, N, values]."""

    def __init__(self, whole, swaps):
        super().__init__()
        self.swaps = swaps
        if whole:
            layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)
            self.layer = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        else:
            self.layer = nn.MultiheadAttention(8, 2)
        self.whole = whole

    def forward(self, x):
        tokens = x.transpose(0, 1) if self.swaps else x
        found = self.layer(tokens) if self.whole else self.layer(tokens, tokens, tokens)[0]
        return found.transpose(0, 1) if self.swaps else found


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("whole", [False, True], ids=["attention", "encoder"])
@pytest.mark.parametrize("swaps", [False, True], ids=["as it is", "swapped"])
@pytest.mark.parametrize("images", [None, 3], ids=["open", "fixed"])
@pytest.mark.parametrize("exporter", ["legacy", "dynamo"])
def test_tokens_that_come_first(exporter, images, swaps, whole, tmp_path):
    """With as many tokens as images. Where the first axis is that of tokens, they are mixed."""
    torch.manual_seed(1)
    net, path, x = TokensFirst(whole, swaps).eval(), tmp_path / "model.onnx", torch.randn(3, 3, 8)
    options = {"dynamo": exporter == "dynamo", "opset_version": 18, "verbose": False}
    if images is None and exporter == "dynamo":
        options |= {"dynamic_shapes": ({0: torch.export.Dim("N", min=2)},)}
    elif images is None:
        options |= {"input_names": ["x"], "dynamic_axes": {"x": {0: "N"}}}
    torch.onnx.export(net, (x,), path, **options)
    with torch.inference_mode():
        expected = net(x).numpy()
    with lenet_cpp.Predictor(path) as predictor:
        assert compare(expected, predictor.run(x.numpy())).agrees
        assert predictor.options["engine"] == ("native" if swaps else "onnxruntime")
    if not swaps:
        with pytest.raises(lenet_cpp.Unsupported, match="could not prove that images stay apart"):
            lenet_cpp.Predictor(path, engine="native")
