"""A small network for each family of operators of ``paddle.nn``, from Paddle 2 on.

It runs in the environment of one of these versions. Each entry makes a layer that takes an image,
float32 [N, 3, 16, 16].
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import paddle
import paddle.nn.functional as F  # noqa: N812 - its usual name
from paddle import nn

if TYPE_CHECKING:
    from collections.abc import Callable


class Apply(nn.Layer):
    """A function of the input and of layers."""

    def __init__(self, function: Callable[..., Any], *layers: Any) -> None:
        super().__init__()
        self.function = function
        self.layers = nn.LayerList(layers)

    def forward(self, x: Any) -> Any:
        return self.function(x, *self.layers)


class Weight(nn.Layer):
    """A parameter of its own."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.value = self.create_parameter(list(shape))


class Branch(nn.Layer):
    """An `if` within one; what is chosen goes with what was there before."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold
        self.inner = conv(4, 4, 1)

    def forward(self, x: Any) -> Any:
        if x.mean() > self.threshold:
            y = F.relu(x)
            if y.max() > -1:  # noqa: SIM108 - a statement becomes control flow
                y = self.inner(y)
            else:
                y = y * 2
        else:
            y = F.sigmoid(x) - 1
        return x + y


class Recurrent(nn.Layer):
    """The rows of each image as steps."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Any) -> Any:
        return self.layer(x.flatten(1, 2))[0]


def conv(inputs: int = 3, channels: int = 4, size: int = 3, **options: Any) -> Any:
    return nn.Conv2D(inputs, channels, size, **{"padding": size // 2, **options})


def chain(*parts: Any) -> Any:
    return nn.Sequential(*(part if isinstance(part, nn.Layer) else Apply(part) for part in parts))


def of_conv(*parts: Any) -> Any:
    return chain(conv(), *parts)


def of_wide_conv(*parts: Any) -> Any:
    return chain(conv(3, 8), *parts)


def positive(x: Any) -> Any:
    return paddle.square(x) + 0.5


def conv_norm(inputs: int, channels: int, act: Any = None, size: int = 3, **options: Any) -> Any:
    parts = [conv(inputs, channels, size, bias_attr=False, **options), nn.BatchNorm2D(channels)]
    return nn.Sequential(*parts, *([act] if act else []))


def gated(channels: int) -> Any:
    parts = (conv(channels, 4, 1), nn.ReLU(), conv(4, channels, 1), nn.Hardsigmoid())
    return Apply(lambda x, gate: x * gate(x), nn.Sequential(nn.AdaptiveAvgPool2D(1), *parts))


def head() -> Any:
    return nn.Sequential(nn.AvgPool2D(4, 4), nn.Flatten(), nn.Linear(48, 10))


def classifier(features: int) -> list[Any]:
    return [nn.Flatten(), nn.Linear(features, 10), nn.Softmax()]


def attention() -> Any:
    def attend(x: Any, embed: Any, mix: Any, norm: Any) -> Any:
        tokens = paddle.transpose(paddle.flatten(embed(x), 2), [0, 2, 1])
        mixed = paddle.reshape(mix(tokens), [-1, 16, 3, 2, 4])
        query, key, value = paddle.transpose(mixed, [2, 0, 3, 1, 4]).unbind(0)
        weights = F.softmax(paddle.matmul(query, key, transpose_y=True) * 0.5)
        y = paddle.transpose(paddle.matmul(weights, value), [0, 2, 1, 3])
        return norm(paddle.reshape(y, [-1, 16, 8]) + tokens)

    return Apply(attend, nn.Conv2D(3, 8, 4, 4), nn.Linear(8, 24), nn.LayerNorm(8))


def resnet_block() -> Any:
    short = nn.Sequential(nn.AvgPool2D(2, 2, ceil_mode=True), conv_norm(4, 8, size=1))
    body = nn.Sequential(conv_norm(4, 8, nn.ReLU(), stride=2), conv_norm(8, 8))
    block = Apply(lambda x, short, body: F.relu(short(x) + body(x)), short, body)
    stem = [conv_norm(3, 4, nn.ReLU()), nn.MaxPool2D(3, 2, 1)]
    return nn.Sequential(*stem, block, nn.AdaptiveAvgPool2D(1), *classifier(8))


def mobilenet_block() -> Any:
    body = nn.Sequential(conv_norm(8, 8, nn.ReLU6(), groups=8), gated(8), conv_norm(8, 8, size=1))
    block = Apply(lambda x, body: x + body(x), body)
    stem = conv_norm(3, 8, nn.Hardswish(), stride=2)
    return nn.Sequential(stem, block, nn.AdaptiveAvgPool2D(1), nn.Dropout(0.2), *classifier(8))


def lenet() -> Any:
    features = [
        conv(3, 6, 5),
        nn.ReLU(),
        nn.MaxPool2D(2, 2),
        nn.Conv2D(6, 8, 5),
        nn.MaxPool2D(2, 2),
    ]
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 10))


def reduced(function: Any) -> Any:
    def reduce(x: Any) -> Any:
        rows = function(function(x, axis=-1, keepdim=True), axis=[1, 3])
        return paddle.concat([function(x, axis=[2, 3]), rows], axis=1)

    return of_conv(reduce)


def both(function: Any) -> Any:
    """Combine with a value for each channel, and with an image."""

    def combine(x: Any, first: Any, second: Any, channels: Any) -> Any:
        by_channel = function(positive(first(x)), positive(channels.value))
        return function(by_channel, positive(second(x)))

    return Apply(combine, conv(), conv(), Weight(4, 1, 1))


def resized(**options: Any) -> Any:
    return of_conv(lambda x: F.interpolate(x, **options))


NETWORKS: dict[str, Callable[[], Any]] = {
    "conv": lambda: of_conv(nn.ReLU(), conv(4, 8, 1)),
    "conv_plain": lambda: conv(3, 8, stride=2, bias_attr=False),
    "conv_grouped": lambda: of_wide_conv(conv(8, 8, groups=2), nn.ReLU()),
    "conv_depthwise": lambda: of_wide_conv(conv(8, 8, groups=8)),
    "conv_dilated": lambda: of_conv(nn.Conv2D(4, 4, [3, 1], dilation=[2, 1], padding=[2, 0])),
    "conv_same": lambda: of_conv(nn.Conv2D(4, 4, 4, 2, padding="SAME")),
    "conv_four_paddings": lambda: of_conv(nn.Conv2D(4, 4, 4, padding=[1, 2, 0, 3])),
    "conv_transpose": lambda: of_conv(nn.Conv2DTranspose(4, 4, 4, stride=2, padding=1)),
    "conv_transpose_grouped": lambda: of_conv(
        nn.Conv2DTranspose(4, 4, 3, stride=2, groups=2, output_padding=1, bias_attr=False)
    ),
    "batch_norm": lambda: conv_norm(3, 4, nn.ReLU()),
    "batch_norm_global": lambda: of_conv(nn.BatchNorm2D(4, use_global_stats=True)),
    "pool_max": lambda: of_conv(nn.MaxPool2D(3, 2, 1)),
    "pool_avg": lambda: of_conv(nn.AvgPool2D(3, 2, 1)),
    "pool_not_exclusive": lambda: of_conv(nn.AvgPool2D(3, 2, 1, exclusive=False)),
    "pool_ceil": lambda: of_conv(nn.AvgPool2D(3, 2, ceil_mode=True)),
    "pool_max_ceil": lambda: of_conv(nn.MaxPool2D(3, 2, ceil_mode=True)),
    "pool_same": lambda: of_conv(nn.MaxPool2D(3, 2, padding="SAME")),
    "pool_global": lambda: of_conv(nn.AdaptiveAvgPool2D(1)),
    "pool_adaptive_avg": lambda: of_conv(nn.AdaptiveAvgPool2D([3, 5])),
    "pool_adaptive_max": lambda: of_conv(nn.AdaptiveMaxPool2D([3, 5])),
    "pool_adaptive_index": lambda: of_conv(
        lambda x: F.adaptive_max_pool2d(x, 4, return_mask=True)[0]
    ),
    "linear": lambda: chain(head(), nn.ReLU()),
    "linear_rows": lambda: of_conv(nn.Linear(16, 4, bias_attr=False), nn.ReLU()),
    "flatten": lambda: of_conv(
        nn.AvgPool2D(4, 4), lambda x: paddle.flatten(x, 1, 2), nn.Linear(4, 4)
    ),
    "matmul": lambda: of_conv(lambda x: paddle.matmul(x, x, transpose_y=True)),
    "matmul_parameter": lambda: Apply(
        lambda x, w: paddle.matmul(x, w.value, transpose_x=True), Weight(16, 4)
    ),
    "bmm": lambda: of_conv(lambda x: paddle.bmm(x[:, 1], x[:, 2])),
    "attention": attention,
    "squeeze_excite": lambda: chain(conv(3, 8), gated(8)),
    "elementwise_scalar": lambda: of_conv(lambda x: (2.0 - x) * x / 3.0 + x),
    "compare": lambda: of_conv(lambda x: paddle.where(x > 0.25, x, paddle.zeros_like(x))),
    "prelu_all": lambda: of_conv(nn.PReLU()),
    "prelu_channel": lambda: of_conv(nn.PReLU(4)),
    "dropout": lambda: of_conv(nn.Dropout(0.3), nn.Dropout2D(0.3)),
    "dropout_downscale": lambda: of_conv(nn.Dropout(0.3, mode="downscale_in_infer")),
    "concat": lambda: Apply(
        lambda x, a, b: paddle.concat([a(x), b(x), x], 1), conv(), conv(3, 8, 1)
    ),
    "split": lambda: of_wide_conv(lambda x: paddle.add_n(paddle.split(x, 2, axis=1))),
    "split_sections": lambda: of_wide_conv(
        lambda x: paddle.concat(paddle.split(x, [2, 5, -1], 1)[::-1], 1)
    ),
    "slice": lambda: of_wide_conv(lambda x: x[:, 0:4, :, 2:10] - x[:, -4:, :, -9:-1]),
    "slice_decreased": lambda: of_conv(lambda x: x[:, 1] + x[:, 2]),
    "strided_slice": lambda: of_conv(
        lambda x: paddle.strided_slice(x, [2, 3], [0, 1], [16, 15], [2, 3])
    ),
    "stack": lambda: Apply(lambda x, a, b: paddle.stack([a(x), b(x)], 1).max(1), conv(), conv()),
    "unbind": lambda: of_conv(lambda x: paddle.add_n(paddle.unbind(x, 1)[:2])),
    "gather": lambda: of_conv(lambda x: paddle.index_select(x, paddle.to_tensor([3, 1]), axis=1)),
    "reshape": lambda: of_wide_conv(lambda x: x.reshape([0, 2, 4, 16, 16]).reshape([0, -1, 16, 4])),
    "reshape_inplace": lambda: of_conv(lambda x: paddle.reshape_(x, [0, 8, 8, 16])),
    "relu_inplace": lambda: of_conv(lambda x: F.relu_(x)),
    "transpose": lambda: of_conv(lambda x: paddle.transpose(x, [0, 2, 3, 1])),
    "squeeze": lambda: of_conv(lambda x: paddle.squeeze(F.adaptive_avg_pool2d(x, 1), [2, 3])),
    "unsqueeze": lambda: of_conv(lambda x: paddle.unsqueeze(x.mean([2, 3]), [2, 3]) * x),
    "nearest": lambda: resized(scale_factor=2, mode="nearest"),
    "bilinear": lambda: resized(size=[24, 20], mode="bilinear"),
    "bilinear_mode": lambda: resized(scale_factor=1.5, mode="bilinear", align_mode=1),
    "bilinear_corners": lambda: resized(size=[24, 20], mode="bilinear", align_corners=True),
    "bicubic": lambda: resized(size=[24, 20], mode="bicubic"),
    "softmax": lambda: chain(head(), nn.Softmax()),
    "softmax_axis": lambda: of_wide_conv(nn.Softmax(1)),
    "log_softmax": lambda: chain(head(), nn.LogSoftmax()),
    "layer_norm": lambda: of_conv(nn.LayerNorm([4, 16, 16])),
    "layer_norm_plain": lambda: of_conv(nn.LayerNorm(16, weight_attr=False, bias_attr=False)),
    "group_norm": lambda: of_wide_conv(nn.GroupNorm(2, 8)),
    "instance_norm": lambda: of_conv(nn.InstanceNorm2D(4)),
    "lrn": lambda: of_wide_conv(nn.LocalResponseNorm(3)),
    "l2_normalize": lambda: of_conv(lambda x: F.normalize(x, axis=1)),
    "p_norm": lambda: of_conv(lambda x: paddle.norm(x, p=3, axis=1, keepdim=True)),
    "spectral_norm": lambda: Apply(
        lambda x, norm, w: paddle.matmul(x, norm(w.value)),
        nn.SpectralNorm([16, 16]),
        Weight(16, 16),
    ),
    "channel_shuffle": lambda: of_wide_conv(nn.ChannelShuffle(2)),
    "pixel_shuffle": lambda: of_wide_conv(nn.PixelShuffle(2)),
    "pixel_unshuffle": lambda: of_conv(nn.PixelUnshuffle(2)),
    "expand": lambda: of_conv(nn.AdaptiveAvgPool2D(1), lambda x: paddle.expand(x, [-1, 4, 2, 3])),
    "tile": lambda: of_conv(nn.AvgPool2D(4, 4), lambda x: paddle.tile(x, [1, 2, 1, 3])),
    "mean_of_sums": lambda: Apply(
        lambda x, *all_: paddle.add_n([one(x) for one in all_]) / 3.0, conv(), conv(), conv()
    ),
    "scale": lambda: of_conv(lambda x: paddle.scale(x, 2.0, 0.5, bias_after_scale=False)),
    "clip": lambda: of_conv(lambda x: paddle.clip(x, -0.5, 0.75)),
    "pow": lambda: of_conv(lambda x: paddle.pow(positive(x), 1.5)),
    "pad": lambda: of_conv(nn.Pad2D([1, 2, 0, 3], value=0.5)),
    "pad_reflect": lambda: of_conv(nn.Pad2D([1, 2, 0, 3], mode="reflect")),
    "pad_edge": lambda: of_conv(nn.Pad2D([1, 2, 0, 3], mode="replicate")),
    "maxout": lambda: of_wide_conv(nn.Maxout(2)),
    "cast": lambda: of_conv(lambda x: x.astype("int32").astype("float32") + x),
    "flip": lambda: of_conv(lambda x: paddle.flip(x, [3])),
    "argmax": lambda: chain(head(), lambda x: paddle.argmax(x, 1)),
    "topk": lambda: chain(head(), lambda x: paddle.topk(x, 3)[0]),
    "logsumexp": lambda: of_conv(lambda x: paddle.logsumexp(x, [2, 3])),
    "unfold": lambda: of_conv(lambda x: F.unfold(x, 4, 4).mean(1)),
    "open_sizes": lambda: chain(conv_norm(3, 4), nn.AdaptiveAvgPool2D(1), *classifier(4)),
    "backwards": lambda: of_conv(lambda x: x[:, ::-1, 12:3:-2]),
    "branch_taken": lambda: of_conv(Branch(-100)),
    "branch_not_taken": lambda: of_conv(Branch(100)),
    "gru": lambda: of_conv(Recurrent(nn.GRU(16, 6))),
    "lstm": lambda: of_conv(Recurrent(nn.LSTM(16, 4, 2, direction="bidirect"))),
    "resnet_block": resnet_block,
    "mobilenet_block": mobilenet_block,
    "lenet": lenet,
}
for _name in ("add", "subtract", "multiply", "divide", "maximum", "minimum", "pow"):
    NETWORKS["elementwise_" + _name] = partial(both, getattr(paddle, _name))
for _name in ("mean", "sum", "max", "min", "amax", "amin"):
    NETWORKS["reduce_" + _name] = partial(reduced, getattr(paddle, _name))
for _name in (
    "relu relu6 leaky_relu elu celu selu sigmoid tanh hardsigmoid hardswish hardtanh swish silu"
    " softplus gelu mish softsign tanhshrink log_sigmoid softshrink hardshrink thresholded_relu"
).split():
    NETWORKS[_name] = partial(of_conv, getattr(F, _name))
for _name in "exp square abs sin cos floor ceil round erf stanh".split():
    NETWORKS[_name] = partial(of_conv, getattr(paddle, _name))
for _name in ("sqrt", "rsqrt", "log", "reciprocal", "log1p"):
    NETWORKS[_name] = partial(of_conv, positive, getattr(paddle, _name))
NETWORKS["gelu_tanh"] = lambda: of_conv(nn.GELU(approximate=True))


def tail(shape: tuple[int, ...]) -> list[Any]:
    """Return layers that make a large output small: the corpus has to be."""
    if len(shape) == 4 and min(shape[2:]) >= 4:
        return [nn.AvgPool2D(min(shape[2:]) // 2)]
    return [Apply(lambda x: x.mean(1))] if len(shape) == 3 else []
