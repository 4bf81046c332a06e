"""A dozen architectures of classifiers, a few layers each, run with default options as exported.

tools/zoo runs those that people have trained. Each is the smallest that has what its paper brought
and what exporters make of that: windows that are rolled and masked, tokens that are resampled,
branches of several resolutions.
"""

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.nn import functional as F  # noqa: N812 - Paddle's own convention

import lenet_cpp
from lenet_cpp.agreement import compare
from references import check_references
from tools.survey.worker import seed_of
from tools.zoo.frameworks import Paddle, Torch

pytestmark = pytest.mark.filterwarnings("ignore")  # of exporters
CLASSES = 5


def convolution(inputs, outputs, size=3, act=nn.ReLU, **options):
    options.setdefault("padding", size // 2)
    layer = nn.Conv2D(inputs, outputs, size, bias_attr=False, **options)
    return nn.Sequential(layer, nn.BatchNorm2D(outputs), *([act()] if act else []))


def dense(width, factor=2, outputs=None):
    hidden = nn.Linear(width, factor * width)
    return nn.Sequential(hidden, nn.GELU(), nn.Linear(factor * width, outputs or width))


class Layer(nn.Layer):
    """A layer whose parts are given, and whose ``forward`` calls a function of it and the input."""

    def __init__(self, forward, *parts, **named):
        super().__init__()
        self.function, self.parts = forward, nn.LayerList(parts)
        for name, value in named.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.function(self, x)


def residual(*layers):
    return Layer(lambda self, x: x + self.parts[0](x), nn.Sequential(*layers))


def pooled(channels):
    return nn.Sequential(nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(channels, CLASSES))


def tokens(x):
    return x.flatten(2).transpose([0, 2, 1])


class Attention(nn.Layer):
    """Of tokens [N, tokens, width], with what is added to the scores, and keys of ``reduced``."""

    def __init__(self, width, heads=2, reduced=None):
        super().__init__()
        self.heads, self.width = heads, width
        self.queries, self.pairs = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.last, self.reduced = nn.Linear(width, width), reduced or nn.Identity()

    def forward(self, x, added=None):
        count, each = x.shape[1], self.width // self.heads
        queries = self.queries(x).reshape([-1, count, self.heads, each]).transpose([0, 2, 1, 3])
        x = self.reduced(x)
        pairs = self.pairs(x).reshape([-1, x.shape[1], 2, self.heads, each])
        keys, values = pairs.transpose([2, 0, 3, 1, 4])
        scores = (queries * each**-0.5) @ keys.transpose([0, 1, 3, 2])
        scores = scores if added is None else added(scores)
        x = (F.softmax(scores) @ values).transpose([0, 2, 1, 3])
        return self.last(x.reshape([-1, count, self.width]))


def block(width, attention=None):
    mixing = residual(nn.LayerNorm(width), attention or Attention(width))
    return nn.Sequential(mixing, residual(nn.LayerNorm(width), dense(width)))


class ViT(nn.Layer):
    """Dosovitskiy 2020: a token of the class, which is repeated for each image."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2D(3, 8, 8, stride=8)
        self.token = self.create_parameter([1, 1, 8])
        self.places = self.create_parameter([1, 17, 8])
        self.body, self.last = nn.Sequential(block(8), block(8)), nn.Linear(8, CLASSES)

    def forward(self, x):
        x = tokens(self.patches(x))
        x = paddle.concat([self.token.expand([x.shape[0], -1, -1]), x], 1) + self.places
        return self.last(self.body(x)[:, 0])


class Windows(nn.Layer):
    """Attention in windows of 4 x 4, shifted by 2 or not, with biases of relative places."""

    def __init__(self, width, side, shift):
        super().__init__()
        self.side, self.shift, self.attention = side, shift, Attention(width)
        self.biases = self.create_parameter([49, 2])
        places = np.stack(np.meshgrid(range(4), range(4), indexing="ij")).reshape(2, 16)
        between = places[:, :, None] - places[:, None] + 3
        self.register_buffer("index", paddle.to_tensor((between[0] * 7 + between[1]).ravel()))
        regions = np.zeros((side, side))
        for number, part in enumerate((slice(-4), slice(-4, -shift or None), slice(-shift, None))):
            regions[part] += 3 * number
            regions[:, part] += number
        regions = regions.reshape(side // 4, 4, side // 4, 4).transpose(0, 2, 1, 3).reshape(-1, 16)
        mask = np.where(regions[:, None] == regions[:, :, None], 0, -100).astype("float32")
        self.register_buffer("mask", paddle.to_tensor(mask[:, None]))

    def add(self, scores):
        biases = paddle.index_select(self.biases, self.index).reshape([16, 16, 2])
        scores = scores + biases.transpose([2, 0, 1]).unsqueeze(0)
        if self.shift:
            count = self.mask.shape[0]
            scores = scores.reshape([-1, count, 2, 16, 16]) + self.mask.unsqueeze(0)
            scores = scores.reshape([-1, 2, 16, 16])
        return scores

    def forward(self, x):
        side, width, parts = self.side, x.shape[2], self.side // 4
        x = x.reshape([-1, side, side, width])
        x = paddle.roll(x, [-self.shift, -self.shift], [1, 2]) if self.shift else x
        x = x.reshape([-1, parts, 4, parts, 4, width]).transpose([0, 1, 3, 2, 4, 5])
        x = self.attention(x.reshape([-1, 16, width]), self.add)
        x = x.reshape([-1, parts, parts, 4, 4, width]).transpose([0, 1, 3, 2, 4, 5])
        x = x.reshape([-1, side, side, width])
        x = paddle.roll(x, [self.shift, self.shift], [1, 2]) if self.shift else x
        return x.reshape([-1, side * side, width])


def swin():
    """Liu 2021: and patches that are merged, four into one."""

    def merge(self, x):
        x = x.reshape([-1, 8, 8, 8])
        corners = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        return self.parts[1](self.parts[0](paddle.concat(corners, -1).reshape([-1, 16, 32])))

    return nn.Sequential(
        *(nn.Conv2D(3, 8, 4, stride=4), Layer(lambda _, x: tokens(x))),
        *(block(8, Windows(8, 8, 0)), block(8, Windows(8, 8, 2))),
        *(Layer(merge, nn.LayerNorm(32), nn.Linear(32, 16)), block(16, Windows(16, 4, 0))),
        *(nn.LayerNorm(16), Layer(lambda _, x: x.mean(1)), nn.Linear(16, CLASSES)),
    )


def conv_next():
    """Liu 2022: depthwise 7 x 7, channels last within a block, a scale of each branch."""

    class Branch(nn.Layer):
        def __init__(self, width):
            super().__init__()
            self.depthwise = nn.Conv2D(width, width, 7, padding=3, groups=width)
            self.layers = nn.Sequential(nn.LayerNorm(width), dense(width, 4))
            self.gamma = self.create_parameter([width])

        def forward(self, x):
            x = self.gamma * self.layers(self.depthwise(x).transpose([0, 2, 3, 1]))
            return x.transpose([0, 3, 1, 2])

    def first(self, x):
        return self.parts[0](x.transpose([0, 2, 3, 1])).transpose([0, 3, 1, 2])

    return nn.Sequential(
        *(nn.Conv2D(3, 8, 4, stride=4), Layer(first, nn.LayerNorm(8)), residual(Branch(8))),
        *(Layer(first, nn.LayerNorm(8)), nn.Conv2D(8, 12, 2, stride=2), residual(Branch(12))),
        *(Layer(lambda _, x: x.mean([2, 3])), nn.LayerNorm(12), nn.Linear(12, CLASSES)),
    )


def mobile_vit():
    """Mehta 2021: attention among the pixels of the same place in their patches of 2 x 2."""

    def mix(self, x):
        local, body, norm, project, fuse = self.parts
        patches = local(x).reshape([-1, 2, 4, 2]).transpose([0, 2, 1, 3])
        patches = patches.reshape([-1, 8, 16, 4]).transpose([0, 3, 2, 1]).reshape([-1, 16, 8])
        patches = norm(body(patches)).reshape([-1, 4, 16, 8]).transpose([0, 3, 2, 1])
        patches = patches.reshape([-1, 4, 2, 2]).transpose([0, 2, 1, 3]).reshape([-1, 8, 8, 8])
        return fuse(paddle.concat([x, project(patches)], 1))

    local = nn.Sequential(convolution(8, 8, 3, nn.Silu), nn.Conv2D(8, 8, 1, bias_attr=False))
    ends = convolution(8, 8, 1, nn.Silu), convolution(16, 8, 3, nn.Silu)
    return nn.Sequential(
        *(convolution(3, 8, 3, nn.Silu, stride=2), convolution(8, 8, 3, nn.Silu, stride=2)),
        *(Layer(mix, local, block(8), nn.LayerNorm(8), *ends), pooled(8)),
    )


def levit():
    """Graham 2021: normalized linear layers, queries of a part of the tokens, Hardswish."""

    class Normalized(nn.Sequential):
        def __init__(self, inputs, outputs):
            super().__init__(nn.Linear(inputs, outputs, bias_attr=False), nn.BatchNorm1D(outputs))

        def forward(self, x):
            x = self[0](x)
            return self[1](x.flatten(0, 1)).reshape(x.shape)

    class Attending(nn.Layer):
        def __init__(self, width, outputs, side, stride):
            super().__init__()
            self.side, self.stride = side, stride
            self.pairs, self.queries = Normalized(width, 24), Normalized(width, 8)
            self.last = nn.Sequential(nn.Hardswish(), Normalized(16, outputs))
            self.biases = self.create_parameter([2, side * side])
            places = np.stack(np.meshgrid(range(side), range(side))).reshape(2, 1, -1)
            chosen = places.reshape(2, side, side)[:, ::stride, ::stride].reshape(2, -1, 1)
            between = np.abs(chosen - places)
            self.register_buffer("index", paddle.to_tensor(between[0] * side + between[1]))

        def forward(self, x):
            count = x.shape[1]
            pairs = self.pairs(x).reshape([x.shape[0], count, 2, 12])
            keys, values = paddle.split(pairs, [4, 8], 3)
            if self.stride > 1:
                x = x.reshape([x.shape[0], self.side, self.side, -1])
                x = x[:, :: self.stride, :: self.stride].reshape([x.shape[0], -1, x.shape[3]])
            queries = (
                self.queries(x).reshape([x.shape[0], x.shape[1], 2, 4]).transpose([0, 2, 1, 3])
            )
            biases = paddle.gather(self.biases.transpose([1, 0]), self.index.flatten())
            biases = biases.reshape([*self.index.shape, 2]).transpose([2, 0, 1])
            scores = queries @ keys.transpose([0, 2, 3, 1]) * 0.5 + biases
            x = F.softmax(scores) @ values.transpose([0, 2, 1, 3])
            return self.last(x.transpose([0, 2, 1, 3]).flatten(2))

    stem = [convolution(3, 8, 3, nn.Hardswish, stride=2), convolution(8, 8, 3, None, stride=4)]
    wide = residual(Normalized(8, 16), nn.Hardswish(), Normalized(16, 8))
    return nn.Sequential(
        *(*stem, Layer(lambda _, x: tokens(x)), residual(Attending(8, 8, 4, 1)), wide),
        *(Attending(8, 12, 4, 2), Layer(lambda _, x: x.mean(1))),
        *(nn.BatchNorm1D(12), nn.Linear(12, CLASSES)),
    )


def dual_path():
    """Chen 2017: a part of the channels is added, another one joined to those before it."""

    def path(self, x):
        shortcut, body = self.parts[0](x), self.parts[1](paddle.concat(x, 1))
        return shortcut[0] + body[:, :8], paddle.concat([shortcut[1], body[:, 8:]], 1)

    def first(_, x):
        return x[:, :8], x[:, 8:]

    def body(channels):
        layers = (nn.BatchNorm2D(channels), nn.ReLU(), nn.Conv2D(channels, 8, 1))
        middle = (nn.BatchNorm2D(8), nn.ReLU(), nn.Conv2D(8, 8, 3, padding=1, groups=4))
        return nn.Sequential(*layers, *middle, nn.BatchNorm2D(8), nn.ReLU(), nn.Conv2D(8, 11, 1))

    return nn.Sequential(
        *(convolution(3, 12, stride=2), Layer(first)),
        *(Layer(path, nn.Identity(), body(channels)) for channels in (12, 15, 18)),
        *(Layer(lambda _, x: paddle.concat(x, 1)), nn.BatchNorm2D(21), nn.ReLU(), pooled(21)),
    )


def hr_net():
    """Sun 2019: branches of three resolutions, each of which gets the sum of all."""

    def exchange(self, x):
        high, middle, low = (branch(each) for branch, each in zip(self.parts, x, strict=False))
        to_high, to_high_twice, to_middle, to_low, to_low_twice, up = self.parts[3:]
        twice = {"scale_factor": 2, "mode": "nearest"}
        high_sum = high + F.interpolate(to_high(middle), **twice)
        high_sum = high_sum + F.interpolate(to_high_twice(low), scale_factor=4, mode="nearest")
        middle_sum = to_middle(high) + middle + F.interpolate(up(low), **twice)
        low_sum = to_low(middle) + to_low_twice(high) + low
        return [F.relu(each) for each in (high_sum, middle_sum, low_sum)]

    def join(_, x):
        high, *others = x
        sizes = {"size": high.shape[2:], "mode": "bilinear"}
        return paddle.concat([high, *(F.interpolate(each, **sizes) for each in others)], 1)

    down = convolution(8, 8, stride=2), convolution(8, 8, stride=4)
    twice = nn.Sequential(convolution(8, 8, stride=2), convolution(8, 8, 3, None, stride=2))
    to_high, to_high_twice, up = (convolution(8, 8, 1, None) for _ in range(3))
    to_middle, to_low = (convolution(8, 8, 3, None, stride=2) for _ in range(2))
    fuse = to_high, to_high_twice, to_middle, to_low, twice, up
    branches = [residual(convolution(8, 8)) for _ in range(3)]
    return nn.Sequential(
        convolution(3, 8, stride=2),
        Layer(lambda self, x: [x, self.parts[0](x), self.parts[1](x)], *down),
        *(Layer(exchange, *branches, *fuse), Layer(join), convolution(24, 16, 1), pooled(16)),
    )


def ghost_net():
    """Han 2019: half of the channels by cheap depthwise convolutions of the others."""

    def ghost(inputs, outputs, act=nn.ReLU):
        half = (outputs + 1) // 2
        parts = convolution(inputs, half, 1, act), convolution(half, half, 3, act, groups=half)

        def forward(self, x):
            x = self.parts[0](x)
            return paddle.concat([x, self.parts[1](x)], 1)[:, :outputs]

        return Layer(forward, *parts)

    def excite(self, x):
        return x * self.parts[0](x)

    squeeze = nn.Sequential(
        *(nn.AdaptiveAvgPool2D(1), nn.Conv2D(15, 4, 1), nn.ReLU(), nn.Conv2D(4, 15, 1)),
        nn.Hardsigmoid(),
    )
    down = convolution(15, 15, 3, None, stride=2, groups=15)
    body = nn.Sequential(ghost(8, 15), down, Layer(excite, squeeze), ghost(15, 10, None))
    shortcut = nn.Sequential(convolution(8, 8, 3, None, stride=2, groups=8), convolution(8, 10, 1))
    both = Layer(lambda self, x: self.parts[0](x) + self.parts[1](x), body, shortcut)
    return nn.Sequential(convolution(3, 8, stride=2), both, pooled(10))


def pvt():
    """Wang 2021: keys and values of fewer tokens, by a convolution with a stride."""

    def reduce(self, x):
        x = x.transpose([0, 2, 1]).reshape([x.shape[0], 8, 8, 8])
        return self.parts[1](tokens(self.parts[0](x)))

    reduced = Layer(reduce, nn.Conv2D(8, 8, 4, stride=4), nn.LayerNorm(8))
    return nn.Sequential(
        *(nn.Conv2D(3, 8, 4, stride=4), Layer(lambda _, x: tokens(x))),
        *(block(8, Attention(8, 2, reduced)), nn.LayerNorm(8)),
        *(Layer(lambda _, x: x.mean(1)), nn.Linear(8, CLASSES)),
    )


def mixer():
    """Tolstikhin 2021: linear layers over the tokens, and over the channels."""

    def over_tokens(self, x):
        return self.parts[0](x.transpose([0, 2, 1])).transpose([0, 2, 1])

    def mixing():
        first = residual(nn.LayerNorm(8), Layer(over_tokens, dense(16, 1)))
        return nn.Sequential(first, residual(nn.LayerNorm(8), dense(8)))

    return nn.Sequential(
        *(nn.Conv2D(3, 8, 8, stride=8), Layer(lambda _, x: tokens(x)), mixing(), mixing()),
        *(nn.LayerNorm(8), Layer(lambda _, x: x.mean(1)), nn.Linear(8, CLASSES)),
    )


OF_PADDLE = {
    "ViT": ViT,
    "Swin": swin,
    "ConvNeXt": conv_next,
    "MobileViT": mobile_vit,
    "LeViT": levit,
    "DPN": dual_path,
    "HRNet": hr_net,
    "GhostNet": ghost_net,
    "PVT": pvt,
    "MLP-Mixer": mixer,
}


def of_torch():
    """Return CLIP's ViT and MaxViT, in PyTorch, by their names."""
    torch = pytest.importorskip("torch", reason="these are exported by torch.onnx")

    class Clip(torch.nn.Module):
        """Radford 2021, without the text: normalized first, x * sigmoid(1.702 x), a projection."""

        def __init__(self):
            super().__init__()
            self.patches = torch.nn.Conv2d(3, 8, 8, stride=8, bias=False)
            self.token = torch.nn.Parameter(torch.randn(8))
            self.places = torch.nn.Parameter(torch.randn(17, 8))
            self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(8) for _ in range(4))
            self.attention = torch.nn.MultiheadAttention(8, 2)
            self.wide, self.narrow = torch.nn.Linear(8, 16), torch.nn.Linear(16, 8)
            self.projection = torch.nn.Parameter(torch.randn(8, CLASSES))

        def forward(self, x):
            x = self.patches(x).flatten(2).transpose(1, 2)
            token = self.token.expand(x.shape[0], 1, 8)
            x = self.norms[0](torch.cat([token, x], 1) + self.places).transpose(0, 1)
            y = self.norms[1](x)
            x = x + self.attention(y, y, y, need_weights=False)[0]
            wide = self.wide(self.norms[2](x))
            x = x + self.narrow(wide * torch.sigmoid(1.702 * wide))
            return self.norms[3](x.transpose(0, 1)[:, 0]) @ self.projection

    class Partitioned(torch.nn.Module):
        """Attention within windows of 4 x 4, or among pixels that are 4 apart, which is a grid."""

        def __init__(self, grid):
            super().__init__()
            self.grid, self.norm = grid, torch.nn.LayerNorm(8)
            self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x):
            images, channels, height, width = x.shape
            shape = (
                (4, height // 4, 4, width // 4) if self.grid else (height // 4, 4, width // 4, 4)
            )
            order = (0, 3, 5, 2, 4, 1) if self.grid else (0, 2, 4, 3, 5, 1)
            back = [order.index(axis) for axis in range(6)]
            parts = x.reshape(images, channels, *shape).permute(*order)
            y = self.norm(parts.reshape(-1, 16, channels))
            y = self.attention(y, y, y, need_weights=False)[0].reshape(parts.shape)
            return x + y.permute(*back).reshape(x.shape)

    class Excited(torch.nn.Sequential):
        def forward(self, x):
            return x * super().forward(x.mean((2, 3), keepdim=True))

    def max_vit():
        """Tu 2022: an inverted bottleneck, attention in blocks, and in a grid."""
        conv, gelu = torch.nn.Conv2d, torch.nn.GELU(approximate="tanh")
        excited = Excited(conv(16, 4, 1), torch.nn.SiLU(), conv(4, 16, 1), torch.nn.Sigmoid())
        return torch.nn.Sequential(
            *(conv(3, 8, 3, 2, 1), torch.nn.BatchNorm2d(8), gelu, conv(8, 16, 1)),
            *(torch.nn.BatchNorm2d(16), gelu, conv(16, 16, 3, 2, 1, groups=16), gelu),
            *(excited, conv(16, 8, 1), Partitioned(grid=False), Partitioned(grid=True)),
            *(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.LayerNorm(8)),
            torch.nn.Linear(8, CLASSES),
        )

    return {"CLIP": Clip, "MaxViT": max_vit}


# They have a gelu, which today's Paddle cannot put into a .pdmodel any more.
JSON_ALONE = {"ViT", "Swin", "ConvNeXt", "MobileViT", "PVT", "MLP-Mixer"}
CASES = [(name, suffix) for name in OF_PADDLE for suffix in ("json", "pdmodel")]
CASES = [case for case in CASES if case[1] == "json" or case[0] not in JSON_ALONE]
CASES += [(name, "onnx") for name in ("CLIP", "MaxViT")]


@pytest.mark.parametrize(("name", "suffix"), CASES)
def test_architecture_with_default_options(name, suffix, tmp_path):
    random = np.random.RandomState(seed_of(name))
    images = random.standard_normal((3, 3, 32, 32)).astype("float32")
    framework, networks = (Torch, of_torch()) if suffix == "onnx" else (Paddle, OF_PADDLE)
    framework.seed(seed_of(name))
    network = networks[name]()
    made = framework(network, images, random)
    (expected,) = made.run(images)
    assert np.ptp(expected, axis=0).max() > 0.01
    path = made.export(tmp_path, suffix, images)
    with lenet_cpp.Predictor(path) as predictor:
        for count in (1, 3):
            assert compare(expected[:count], predictor.run(images[:count])).agrees, count
        if predictor.options["engine"] == "native":
            check_references(path, images=images, found=predictor.run_outputs(images))
