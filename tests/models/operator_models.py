"""Small classifiers, one for each operator; run as a program it exports them with Paddle.

    operator_models.py FOLDER

writes NAME.pdmodel or NAME.json (as FLAGS_enable_pir_api says) with NAME.pdiparams, NAME.npy (what
the layer computes) and images.npy.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F  # noqa: N812 - Paddle's own convention
from paddle.static import InputSpec


class Function(nn.Layer):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Classifier(nn.Layer):
    """A convolution to 4 channels of 8 x 8, the layer in question, pooling, 5 classes."""

    def __init__(self, layer, channels=4):
        super().__init__()
        self.convolution = nn.Conv2D(3, 4, 3, padding=1)
        self.layer = layer if isinstance(layer, nn.Layer) else Function(layer)
        self.last = nn.Linear(channels, 5)

    def forward(self, x):
        x = self.layer(self.convolution(x))
        return self.last(paddle.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class Tokens(nn.Layer):
    """Attention among the 64 pixels, as in a vision transformer, and the first token's result."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiHeadAttention(4, 2)

    def forward(self, x):
        tokens = paddle.transpose(paddle.flatten(x, 2), [0, 2, 1])
        tokens = self.attention(tokens, tokens, tokens)
        return paddle.reshape(tokens[:, 0], [-1, 4, 1, 1])


class Heads(nn.Layer):
    """The products of pixels' values, in two heads."""

    def forward(self, x):
        heads = paddle.transpose(paddle.reshape(x, [-1, 4, 32, 2]), [0, 2, 1, 3])
        return paddle.matmul(heads, heads, transpose_y=True).reshape([-1, 4, 16, 8])


class OneFeature(nn.Layer):
    """A linear layer of one feature, whose matrix is stored transposed, as PyTorch stores it."""

    def __init__(self):
        super().__init__()
        self.weight = self.create_parameter([6, 1])

    def forward(self, x):
        one = paddle.flatten(x[:, :, :, :1], 1, 2)
        return paddle.matmul(one, self.weight, transpose_y=True).reshape([-1, 4, 8, 6])


MODELS = {
    "adaptive_average_pool_column": lambda: Classifier(nn.AdaptiveAvgPool2D([3, 1])),
    "adaptive_max_pool": lambda: Classifier(nn.AdaptiveMaxPool2D(2)),
    "adaptive_max_pool_row": lambda: Classifier(nn.AdaptiveMaxPool2D([1, 3])),
    "conv1d": lambda: Classifier(
        nn.Sequential(nn.Flatten(2), nn.Conv1D(4, 4, 3), Function(lambda x: x.unsqueeze(3)))
    ),
    "average_pool_same": lambda: Classifier(nn.AvgPool2D(2, 2, padding="SAME")),
    "average_zeros_after": lambda: Classifier(
        nn.AvgPool2D(2, 1, padding=[0, 1, 0, 1], exclusive=False)
    ),
    "average_zeros_ceil": lambda: Classifier(
        nn.AvgPool2D(3, 2, padding=1, exclusive=False, ceil_mode=True)
    ),
    "average_zeros_same": lambda: Classifier(nn.AvgPool2D(3, 2, padding="SAME", exclusive=False)),
    "bicubic": lambda: Classifier(nn.Upsample(scale_factor=2, mode="bicubic")),
    "bilinear": lambda: Classifier(nn.Upsample(size=[5, 7], mode="bilinear")),
    "bilinear_corners": lambda: Classifier(
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
    ),
    "celu": lambda: Classifier(nn.CELU()),
    "channel_shuffle": lambda: Classifier(nn.ChannelShuffle(2)),
    "convolution_pointwise_padded": lambda: Classifier(
        nn.Sequential(nn.Conv2D(4, 4, 1), nn.Conv2D(4, 4, 1, stride=2, padding=1))
    ),
    "convolution_same_dilated": lambda: Classifier(nn.Conv2D(4, 4, 3, padding="SAME", dilation=2)),
    "compare_cast": lambda: Classifier(lambda x: x * (x > 0.1).astype("float32")),
    "expand": lambda: Classifier(lambda x: x * paddle.expand(x[:, :1, :1, :1], [-1, 4, 8, 8])),
    "flip": lambda: Classifier(lambda x: x[:, :, :, :5] - paddle.flip(x, [3])[:, :, :, :5]),
    "group_norm": lambda: Classifier(nn.Sequential(nn.GroupNorm(2, 4), nn.ReLU())),
    "group_norm_plain": lambda: Classifier(
        nn.Sequential(nn.GroupNorm(2, 4, weight_attr=False, bias_attr=False), nn.ReLU())
    ),
    "hard_shrink": lambda: Classifier(nn.Hardshrink()),
    "hard_tanh": lambda: Classifier(nn.Hardtanh()),
    "layouts": lambda: Classifier(
        nn.Sequential(nn.Conv2D(4, 4, 1), nn.Conv2D(8, 8, 1, data_format="NHWC"))
    ),
    "leaky_relu": lambda: Classifier(nn.LeakyReLU(0.2)),
    "log_sigmoid": lambda: Classifier(nn.LogSigmoid()),
    "linear_of_pixels": lambda: Classifier(nn.Linear(8, 5)),
    "max_pool_ceil": lambda: Classifier(
        # Of a window outside the image Paddle gives the lowest number.
        nn.Sequential(nn.MaxPool2D([3, 1], [1, 3], [1, 0], ceil_mode=True), nn.Hardtanh(-3, 3))
    ),
    "max_pool_ceil_padded": lambda: Classifier(
        nn.Sequential(
            Function(lambda x: x[:, :, :, :7]), nn.MaxPool2D(2, padding=[1, 0], ceil_mode=True)
        )
    ),
    "max_pool_same_wide": lambda: Classifier(nn.MaxPool2D(11, 2, padding="SAME")),
    "maxout": lambda: Classifier(nn.Maxout(2), 2),
    "nearest": lambda: Classifier(nn.Upsample(scale_factor=3, mode="nearest")),
    "pad_constant": lambda: Classifier(nn.Pad2D([1, 2, 0, 1], value=0.5)),
    "pad_reflect": lambda: Classifier(nn.Pad2D([1, 2, 3, 0], mode="reflect")),
    "pad_replicate": lambda: Classifier(nn.Pad2D([1, 2, 3, 0], mode="replicate")),
    "pixel_shuffle": lambda: Classifier(nn.PixelShuffle(2), 1),
    "power": lambda: Classifier(lambda x: (x + 3) ** 2),
    "prelu": lambda: Classifier(nn.PReLU()),
    "prelu_channels": lambda: Classifier(nn.PReLU(4)),
    "selu": lambda: Classifier(nn.SELU()),
    "slice": lambda: Classifier(lambda x: x[:, 1:3, 2:, :-1], 2),
    "soft_shrink": lambda: Classifier(nn.Softshrink()),
    "soft_sign": lambda: Classifier(nn.Softsign()),
    "stack_pixels": lambda: Classifier(lambda x: paddle.stack([x, x * x], 1).flatten(1, 2), 8),
    "strided_slice": lambda: Classifier(lambda x: x[:, :, ::2, 1::3]),
    "tanh_shrink": lambda: Classifier(nn.Tanhshrink()),
    "thresholded_relu": lambda: Classifier(nn.ThresholdedReLU()),
    "tile": lambda: Classifier(lambda x: paddle.tile(x, [1, 2, 1, 1]), 8),
    "transposed": lambda: Classifier(nn.Conv2DTranspose(4, 6, 4, stride=2, padding=1), 6),
    "transposed_groups": lambda: Classifier(nn.Conv2DTranspose(4, 4, 3, stride=2, groups=4)),
    "transposed_padded": lambda: Classifier(
        nn.Conv2DTranspose(4, 6, 3, stride=2, padding=1, output_padding=1), 6
    ),
    "unbind": lambda: Classifier(lambda x: paddle.unbind(x, 1)[1].unsqueeze(1), 1),
    "where": lambda: Classifier(lambda x: paddle.where(x > 0.1, x, x * 0.1)),
}

# What today's Paddle cannot put into a .pdmodel any more.
PIR_MODELS = {
    "amax": lambda: Classifier(lambda x: paddle.amax(x, [1], keepdim=True), 1),
    "attention": lambda: Classifier(Tokens()),
    "bmm": lambda: Classifier(
        lambda x: paddle.bmm(x.flatten(2), x.flatten(2).transpose([0, 2, 1])).unsqueeze(1), 1
    ),
    "glu": lambda: Classifier(lambda x: F.glu(x, 1), 2),
    "log": lambda: Classifier(lambda x: paddle.log(paddle.abs(x) + 1) + paddle.log1p(x * x)),
    "logsumexp": lambda: Classifier(lambda x: paddle.logsumexp(x, 1, keepdim=True), 1),
    "heads": lambda: Classifier(Heads()),
    "matmul_one_feature": lambda: Classifier(lambda x: x[:, :, :, :1] @ x[:, :, :1, :]),
    "matmul_one_feature_transposed": lambda: Classifier(OneFeature()),
    "normalize": lambda: Classifier(lambda x: F.normalize(x, axis=1)),
    "pixel_unshuffle": lambda: Classifier(nn.PixelUnshuffle(2), 16),
    "reciprocal": lambda: Classifier(lambda x: paddle.reciprocal(paddle.abs(x) + 1)),
    "roll": lambda: Classifier(lambda x: x * paddle.roll(x, [1, -2], [2, 3])),
    "waves": lambda: Classifier(
        lambda x: paddle.sin(x) + paddle.cos(x) * paddle.floor(x) + paddle.erf(x)
    ),
    "softplus_threshold": lambda: Classifier(nn.Softplus(2, 1)),
}


def main(folder: Path) -> None:
    images = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype("float32")
    np.save(folder / "images.npy", images)
    pir = paddle.get_flags(["FLAGS_enable_pir_api"])["FLAGS_enable_pir_api"]
    for name, make in (MODELS | (PIR_MODELS if pir else {})).items():
        model = make()
        model.eval()
        for number, parameter in enumerate(model.parameters()):
            values = np.random.default_rng(number).normal(0, 0.5, parameter.shape)
            parameter.set_value(values.astype("float32"))
        np.save(folder / f"{name}.npy", model(paddle.to_tensor(images)).numpy())
        spec = [InputSpec([None, 3, 8, 8], "float32", name="x")]
        paddle.jit.save(model, str(folder / name), input_spec=spec)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
