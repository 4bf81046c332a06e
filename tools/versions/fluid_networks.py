"""A small network for each family of operators of Paddle 1.8's ``fluid.layers``.

It runs in Paddle 1.8.5's environment, which is of Python 3.7. Each entry takes an image,
float32 [N, C, H, W], and gives the output of a network.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from paddle import fluid
from paddle.fluid.dygraph import BatchNorm, Conv2D, Dropout, Pool2D

L = fluid.layers

if TYPE_CHECKING:
    from collections.abc import Callable

    Build = Callable[[Any], Any]


def conv(x: Any, channels: int = 4, size: Any = 3, **options: Any) -> Any:
    padding = options.pop("padding", None)
    return L.conv2d(x, channels, size, padding=size // 2 if padding is None else padding, **options)


def conv_norm(x: Any, channels: int, act: Any = None, **options: Any) -> Any:
    return L.batch_norm(conv(x, channels, bias_attr=False, **options), act=act)


def head(x: Any, outputs: int = 10, **options: Any) -> Any:
    return L.fc(L.pool2d(x, 4, "avg", 4), outputs, **options)


def parameter(shape: Any, name: str) -> Any:
    return L.create_parameter(shape, "float32", name=name)


def positive(x: Any) -> Any:
    """Return values from 0.5 on: of logarithms and roots."""
    return L.abs(conv(x)) + 0.5


def of_positive(function: Build, x: Any) -> Any:
    return function(positive(x))


def squeeze_excite(x: Any) -> Any:
    y = conv(x, 8, act="relu")
    pooled = L.reshape(L.pool2d(y, pool_type="avg", global_pooling=True), [-1, 8])
    gate = L.fc(L.fc(pooled, 4, act="relu"), 8, act="sigmoid")
    return L.elementwise_mul(y, gate, axis=0)


def resnet_block(x: Any) -> Any:
    y = L.pool2d(conv_norm(x, 4, "relu"), 3, "max", 2, 1)
    short = conv_norm(L.pool2d(y, 2, "avg", 2, ceil_mode=True), 8, size=1)
    body = conv_norm(conv_norm(y, 8, "relu", stride=2), 8)
    y = L.elementwise_add(short, body, act="relu")
    return L.fc(L.pool2d(y, pool_type="avg", global_pooling=True), 10, act="softmax")


def mobilenet_block(x: Any) -> Any:
    y = conv_norm(x, 8, "hard_swish", stride=2)
    z = conv_norm(y, 8, "relu6", groups=8, use_cudnn=False)
    pooled = L.pool2d(z, pool_type="avg", global_pooling=True)
    gate = conv(conv(pooled, 4, 1, act="relu"), 8, 1, act="hard_sigmoid")
    y = L.elementwise_add(y, conv_norm(L.elementwise_mul(z, gate, axis=0), 8, size=1))
    y = L.dropout(L.pool2d(y, pool_type="avg", global_pooling=True), 0.2)
    return L.softmax(L.fc(y, 10))


def lenet(x: Any) -> Any:
    y = L.pool2d(conv(x, 6, 5, act="relu"), 2, "max", 2)
    y = L.pool2d(conv(y, 8, 5, padding=0), 2, "max", 2)
    return L.fc(L.fc(L.fc(y, 16, act="relu"), 12, act="relu"), 10, act="softmax")


def attention(x: Any) -> Any:
    tokens = L.transpose(L.reshape(conv(x, 8, 4, stride=4, padding=0), [0, 8, -1]), [0, 2, 1])
    query, key, value = L.split(L.fc(tokens, 24, num_flatten_dims=2), 3, dim=2)
    weights = L.softmax(L.matmul(query, key, transpose_y=True, alpha=8**-0.5))
    return L.layer_norm(L.matmul(weights, value) + tokens, begin_norm_axis=2)


def two_inputs(x: Any) -> Any:
    return L.fc([L.pool2d(x, 4, "avg", 4), L.pool2d(x, 8, "max", 8)], 10, act="relu")


def sliced(x: Any) -> Any:
    y = conv(x, 8)
    first = L.slice(y, axes=[1, 3], starts=[0, 2], ends=[4, 10])
    last = L.slice(y, axes=[1, 3], starts=[-4, -9], ends=[10000, -1])
    return L.elementwise_sub(first, last)


def reduced(kind: str) -> Build:
    def build(x: Any) -> Any:
        reduce = getattr(L, "reduce_" + kind)
        y = conv(x)
        return L.concat(
            [reduce(y, dim=[2, 3]), reduce(reduce(y, dim=[-1], keep_dim=True), [1, 3])], 1
        )

    return build


def broadcast(kind: str) -> Build:
    def build(x: Any) -> Any:
        function = getattr(L, "elementwise_" + kind)
        y = positive(x)
        by_channel = function(y, L.abs(parameter([4], "channels")) + 0.5, axis=1)
        return function(by_channel, positive(x), act="relu")

    return build


def of_conv(function: Build) -> Build:
    return lambda x: function(conv(x))


def of_wide_conv(function: Build) -> Build:
    return lambda x: function(conv(x, 8))


NETWORKS: dict[str, Build] = {
    "conv": lambda x: conv(conv(x, act="relu"), 8, 1),
    "conv_plain": lambda x: conv(x, 8, bias_attr=False, stride=2),
    "conv_grouped": of_wide_conv(lambda x: conv(x, 8, groups=2, act="relu")),
    "conv_depthwise": of_wide_conv(lambda x: conv(x, 8, groups=8, use_cudnn=False)),
    "conv_dilated": of_conv(lambda x: conv(x, 4, [3, 1], dilation=[2, 1], padding=[2, 0])),
    "conv_same": of_conv(lambda x: conv(x, 4, 4, stride=2, padding="SAME")),
    "conv_four_paddings": of_conv(lambda x: conv(x, 4, 4, padding=[1, 2, 0, 3])),
    "conv_transpose": of_conv(
        lambda x: L.conv2d_transpose(x, 4, filter_size=4, stride=2, padding=1)
    ),
    "conv_transpose_grouped": of_conv(
        lambda x: L.conv2d_transpose(x, 4, filter_size=3, stride=2, groups=2, bias_attr=False)
    ),
    "conv_transpose_size": of_conv(
        lambda x: L.conv2d_transpose(x, 4, [32, 32], filter_size=3, stride=2, padding=1)
    ),
    "batch_norm": lambda x: L.batch_norm(conv(x), act="relu", is_test=True),
    "batch_norm_cloned": lambda x: conv_norm(x, 4, "relu"),
    "batch_norm_not_cloned": lambda x: conv_norm(x, 4, "relu"),
    "batch_norm_global": lambda x: L.batch_norm(conv(x), use_global_stats=True),
    "pool_max": of_conv(lambda x: L.pool2d(x, 3, "max", 2, 1)),
    "pool_avg": of_conv(lambda x: L.pool2d(x, 3, "avg", 2, 1)),
    "pool_not_exclusive": of_conv(lambda x: L.pool2d(x, 3, "avg", 2, 1, exclusive=False)),
    "pool_ceil": of_conv(lambda x: L.pool2d(x, 3, "avg", 2, ceil_mode=True)),
    "pool_max_ceil": of_conv(lambda x: L.pool2d(x, 3, "max", 2, ceil_mode=True)),
    "pool_same": of_conv(lambda x: L.pool2d(x, 3, "max", 2, "SAME")),
    "pool_global": of_conv(lambda x: L.pool2d(x, pool_type="max", global_pooling=True)),
    "pool_adaptive_avg": of_conv(lambda x: L.adaptive_pool2d(x, [3, 5], "avg")),
    "pool_adaptive_max": of_conv(lambda x: L.adaptive_pool2d(x, [3, 5], "max")),
    "pool_adaptive_index": of_conv(lambda x: L.adaptive_pool2d(x, 4, "max", require_index=True)[0]),
    "fc": lambda x: head(x, act="relu"),
    "fc_rows": lambda x: L.fc(x, 4, num_flatten_dims=3, act="tanh"),
    "fc_two_inputs": two_inputs,
    "mul": lambda x: L.mul(L.pool2d(x, 4, "avg", 4), parameter([4, 6], "w"), x_num_col_dims=3),
    "flatten": lambda x: L.fc(L.flatten(L.pool2d(x, 4, "avg", 4)), 10),
    "flatten_axis": lambda x: L.reduce_mean(L.flatten(conv(x), axis=2), dim=1),
    "matmul": of_conv(lambda x: L.matmul(x, x, transpose_y=True, alpha=0.25)),
    "matmul_parameter": of_conv(lambda x: L.matmul(x, parameter([16, 4], "w"))),
    "bmm": of_conv(lambda x: L.bmm(x[:, 1], x[:, 2])),
    "attention": attention,
    "squeeze_excite": squeeze_excite,
    "elementwise_scalar": of_conv(lambda x: (2.0 - x) * x / 3.0 + x),
    "prelu_all": of_conv(lambda x: L.prelu(x, "all")),
    "prelu_channel": of_conv(lambda x: L.prelu(x, "channel")),
    "prelu_element": of_conv(lambda x: L.prelu(x, "element")),
    "dropout": of_conv(lambda x: L.dropout(x, 0.3, is_test=True)),
    "dropout_upscale": of_conv(
        lambda x: L.dropout(x, 0.3, is_test=True, dropout_implementation="upscale_in_train")
    ),
    "dropout_cloned": of_conv(lambda x: L.dropout(x, 0.3)),
    "dropout_not_cloned": of_conv(
        lambda x: L.dropout(x, 0.3, seed=7, dropout_implementation="upscale_in_train")
    ),
    "concat": lambda x: L.concat([conv(x), conv(x, 8, 1), x], axis=1),
    "split": of_wide_conv(lambda x: L.sums(L.split(x, 2, dim=1))),
    "split_sections": of_wide_conv(lambda x: L.concat(L.split(x, [2, 5, -1], dim=1)[::-1], axis=1)),
    "slice": sliced,
    "slice_decreased": of_conv(lambda x: x[:, 1] + x[:, 2]),
    "strided_slice": of_conv(lambda x: L.strided_slice(x, [2, 3], [0, 1], [16, 15], [2, 3])),
    # Not reduced: 1.8.5 reduces tensors of rank 5 wrongly.
    "stack": lambda x: L.reshape(L.stack([conv(x), conv(x)], axis=1), [0, 8, 16, 16]),
    "unstack": of_conv(lambda x: L.sums(L.unstack(x, axis=1)[:2])),
    "gather": of_conv(lambda x: L.gather(x, L.fill_constant([2], "int32", 0))),
    "reshape": of_wide_conv(lambda x: L.reshape(L.reshape(x, [0, 2, 4, 16, 16]), [0, -1, 16, 4])),
    "reshape_inplace": of_conv(lambda x: head(L.reshape(x, [0, 8, 8, 16], inplace=True), 4)),
    "reshape_act": of_conv(lambda x: L.reshape(x, [-1, 1024], act="relu")),
    "transpose": of_conv(lambda x: L.transpose(x, [0, 2, 3, 1])),
    "squeeze": lambda x: L.squeeze(L.pool2d(conv(x), pool_type="avg", global_pooling=True), [2, 3]),
    "unsqueeze": of_conv(lambda x: L.unsqueeze(L.reduce_mean(x, dim=[2, 3]), [2, 3]) * x),
    "nearest": of_conv(lambda x: L.resize_nearest(x, scale=2.0, align_corners=False)),
    "nearest_corners": of_conv(lambda x: L.resize_nearest(x, [24, 20])),
    "bilinear": of_conv(
        lambda x: L.resize_bilinear(x, [24, 20], align_corners=False, align_mode=0)
    ),
    "bilinear_mode": of_conv(lambda x: L.resize_bilinear(x, scale=1.5, align_corners=False)),
    "bilinear_corners": of_conv(lambda x: L.resize_bilinear(x, [24, 20])),
    "bicubic": of_conv(lambda x: L.interpolate(x, [24, 20], resample="BICUBIC")),
    "softmax": lambda x: L.softmax(head(x)),
    "softmax_axis": of_wide_conv(lambda x: L.softmax(x, axis=1)),
    "log_softmax": lambda x: L.log_softmax(head(x)),
    "layer_norm": of_conv(lambda x: L.layer_norm(x, begin_norm_axis=1)),
    "layer_norm_plain": of_conv(lambda x: L.layer_norm(x, False, False, begin_norm_axis=3)),
    "group_norm": of_wide_conv(lambda x: L.group_norm(x, groups=2)),
    "instance_norm": of_conv(L.instance_norm),
    "lrn": of_wide_conv(lambda x: L.lrn(x, n=3)),
    "l2_normalize": of_conv(lambda x: L.l2_normalize(x, axis=1)),
    "spectral_norm": lambda x: L.matmul(
        conv(x), L.spectral_norm(parameter([16, 16], "w"), dim=0, power_iters=1)
    ),
    "affine_channel": of_conv(
        lambda x: L.affine_channel(x, parameter([4], "scale"), parameter([4], "shift"))
    ),
    "shuffle_channel": of_wide_conv(lambda x: L.shuffle_channel(x, group=2)),
    "pixel_shuffle": of_wide_conv(lambda x: L.pixel_shuffle(x, 2)),
    "space_to_depth": of_conv(lambda x: L.space_to_depth(x, 2)),
    "expand": lambda x: L.expand(L.pool2d(conv(x), 4, "avg", 4), [1, 2, 1, 3]),
    "mean_of_sums": lambda x: L.sum([conv(x), conv(x), conv(x)]) / 3.0,
    "scale": of_conv(lambda x: L.scale(x, 2.0, 0.5, bias_after_scale=False, act="relu")),
    "clip": of_conv(lambda x: L.clip(x, -0.5, 0.75)),
    "pow": lambda x: L.pow(positive(x), 1.5),
    "pad2d": of_conv(lambda x: L.pad2d(x, [1, 2, 0, 3], pad_value=0.5)),
    "pad2d_reflect": of_conv(lambda x: L.pad2d(x, [1, 2, 0, 3], mode="reflect")),
    "pad2d_edge": of_conv(lambda x: L.pad2d(x, [1, 2, 0, 3], mode="edge")),
    "pad": of_conv(lambda x: L.pad(x, [0, 0, 1, 0, 0, 2, 3, 0], 0.25)),
    "maxout": of_wide_conv(lambda x: L.maxout(x, 2)),
    "cast": of_conv(lambda x: L.cast(L.cast(x, "int32"), "float32") + x),
    "flip": of_conv(lambda x: L.reverse(x, [3])),
    "argmax": lambda x: L.argmax(head(x), axis=1),
    "topk": lambda x: L.topk(head(x), 3)[0],
    "constants": lambda x: head(x, 4) + L.fill_constant([4], "float32", 0.25),
    "like": lambda x: head(x, 4) * L.fill_constant_batch_size_like(x, [-1, 4], "float32", 0.5),
    "compare": of_conv(lambda x: L.cast(x > 0.25, "float32") * x),
    "data_layer": lambda x: head(conv(x, act="relu"), act="softmax"),
    "open_sizes": lambda x: L.fc(L.adaptive_pool2d(conv_norm(x, 4, "relu"), 1, "avg"), 10),
    "resnet_block": resnet_block,
    "mobilenet_block": mobilenet_block,
    "lenet": lenet,
}
for _kind in ("add", "sub", "mul", "div", "max", "min", "pow"):
    NETWORKS["elementwise_" + _kind] = broadcast(_kind)
for _kind in ("mean", "sum", "max", "min"):
    NETWORKS["reduce_" + _kind] = reduced(_kind)
for _kind in (
    "relu relu6 leaky_relu elu selu sigmoid tanh hard_sigmoid hard_swish swish softplus gelu mish"
    " softsign tanh_shrink logsigmoid brelu softshrink hard_shrink thresholded_relu soft_relu stanh"
    " exp square abs sin cos floor ceil round erf"
).split():
    NETWORKS[_kind] = of_conv(getattr(L, _kind))
for _kind in ("sqrt", "rsqrt", "log", "reciprocal", "log1p"):
    NETWORKS[_kind] = partial(of_positive, getattr(L, _kind))


def tail(y: Any) -> Any:
    """Make a large output small: the corpus has to be."""
    if len(y.shape) < 3 or y.dtype != fluid.core.VarDesc.VarType.FP32:
        return y
    if len(y.shape) == 3:
        return L.reduce_mean(y, dim=[1])
    step = min(y.shape[2:]) // 2
    return L.pool2d(y, step, "avg", step) if step > 1 else y


class Classifier(fluid.dygraph.Layer):
    """A network in the imperative style of 1.8, which is traced."""

    def __init__(self, size: int, *features: Any) -> None:
        super().__init__()
        self.features = fluid.dygraph.Sequential(*features)
        self.linear = fluid.dygraph.Linear(size, 10)

    def forward(self, x: Any) -> Any:
        return L.softmax(self.linear(L.flatten(self.features(x))))


def traced_norm() -> Any:
    parts = [Conv2D(3, 4, 3, padding=1), BatchNorm(4, act="relu"), Pool2D(2, "max", 2)]
    return Classifier(72, *parts, Conv2D(4, 8, 3, groups=2), Dropout(0.3), Pool2D(2, "avg", 2))


def traced_lenet() -> Any:
    return Classifier(216, Conv2D(3, 6, 5, act="relu"), Pool2D(2, "max", 2))


TRACED = {"traced_norm": traced_norm, "traced_lenet": traced_lenet}
