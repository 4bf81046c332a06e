"""Small classifiers, one for each operator; run as a program it exports them with Paddle.

    operator_models.py FOLDER

writes NAME.pdmodel or NAME.json (as FLAGS_enable_pir_api says) with NAME.pdiparams, NAME.npy (what
the layer computes) and images.npy.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import paddle
from paddle import nn
from paddle.base.proto import framework_pb2
from paddle.nn import functional as F  # noqa: N812 - Paddle's own convention
from paddle.static import InputSpec
from paddle.vision.ops import DeformConv2D


class Function(nn.Layer):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Classifier(nn.Layer):
    """A convolution to 4 channels of 8 x 8, the layer in question, pooling, 5 classes."""

    def __init__(self, layer):
        super().__init__()
        self.convolution = nn.Conv2D(3, 4, 3, padding=1)
        self.layer = layer if isinstance(layer, nn.Layer) else Function(layer)
        self.last = nn.Linear(self.layer(paddle.zeros([1, 4, 8, 8])).shape[1], 5)

    def forward(self, x):
        x = self.layer(self.convolution(x))
        return self.last(paddle.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class Tokens(nn.Layer):
    """Attention among the 64 pixels, as in a vision transformer, and the first token's result.

    With a mask it is to the first 40 alone, by a row of numbers, which is a buffer.
    """

    def __init__(self, masked=False):
        super().__init__()
        self.attention = nn.MultiHeadAttention(4, 2)
        self.masked = masked
        self.register_buffer("mask", paddle.concat([paddle.zeros([40]), paddle.full([24], -1e4)]))

    def forward(self, x):
        tokens = paddle.transpose(paddle.flatten(x, 2), [0, 2, 1])
        tokens = self.attention(tokens, tokens, tokens, self.mask if self.masked else None)
        return paddle.reshape(tokens[:, 0], [-1, 4, 1, 1])


class DropoutJoined(nn.Layer):
    """What goes into a dropout that multiplies, and what comes out of it."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8, bias_attr=False)

    def forward(self, x):
        x = self.linear(x)
        return paddle.concat([F.dropout(x, mode="downscale_in_infer", training=False), x], 1)


class Heads(nn.Layer):
    """The products of pixels' values, in two heads."""

    def forward(self, x):
        heads = paddle.transpose(paddle.reshape(x, [-1, 4, 32, 2]), [0, 2, 1, 3])
        return paddle.matmul(heads, heads, transpose_y=True).reshape([-1, 4, 16, 8])


class ReshapedTokens(nn.Layer):
    """Tokens that were reshaped and then transposed: alone, and as keys of others."""

    def __init__(self):
        super().__init__()
        self.weight = self.create_parameter([4, 8])

    def forward(self, x):
        tokens = paddle.transpose(paddle.reshape(x, [-1, 4, 64]), [0, 2, 1])
        return paddle.matmul(tokens, self.weight).reshape([-1, 8, 8, 8])


class ReshapedKeys(nn.Layer):
    """The products of features, of which one side was reshaped and then transposed."""

    def forward(self, x):
        features = paddle.reshape(x, [-1, 4, 64])
        products = paddle.matmul(features, paddle.transpose(features, [0, 2, 1]))
        return products.reshape([-1, 4, 2, 2])


class ClassToken(nn.Layer):
    """A token that is repeated for each image, before the pixels, as in a vision transformer."""

    def __init__(self):
        super().__init__()
        self.token = self.create_parameter([1, 1, 4])

    def forward(self, x):
        tokens = paddle.transpose(paddle.flatten(x, 2), [0, 2, 1])
        tokens = paddle.concat([self.token.expand([x.shape[0], -1, -1]), tokens], 1)
        means = paddle.matmul(F.softmax(tokens), tokens.mean(1, keepdim=True).transpose([0, 2, 1]))
        return (tokens * means)[:, 0].reshape([-1, 4, 1, 1])


class Windows(nn.Layer):
    """Attention in each of four windows, which count as images for a while, as in Swin."""

    def forward(self, x):
        images = x.shape[0]
        windows = x.reshape([images, 4, 2, 4, 2, 4]).transpose([0, 2, 4, 3, 5, 1])
        windows = windows.reshape([-1, 16, 4])
        scores = F.softmax(paddle.matmul(windows, windows, transpose_y=True))
        windows = paddle.matmul(scores, windows).reshape([-1, 2, 2, 4, 4, 4])
        return windows.transpose([0, 5, 1, 3, 2, 4]).reshape([images, 4, 8, 8])


class Chosen(nn.Layer):
    """Channels in another order, one of them twice."""

    def __init__(self):
        super().__init__()
        self.register_buffer("places", paddle.to_tensor([2, 0, 1, 1, 3]))

    def forward(self, x):
        return paddle.index_select(x, self.places, axis=1)


class FlipNoAxis(nn.Layer):
    """A flip that leaves the image as it is."""

    def forward(self, x):
        flipped = paddle.flip(x, [])
        return flipped * x


class Numbers(nn.Layer):
    """Shapes without axes, of which a .json has lists without elements."""

    def __init__(self):
        super().__init__()
        self.weights = self.create_parameter([4])

    def forward(self, x):
        number = paddle.transpose(paddle.sum(self.weights), [])
        return x * paddle.expand_as(number, paddle.max(self.weights))


class Overwritten(nn.Layer):
    """Two channels by what is computed, one row of it, and pixels by numbers."""

    def forward(self, x):
        x[:, 1:3] = x[:, 1:3] * 2
        x[:, 0, 1] = x[:, 3, 2] - 1
        x[:, 2, -1] = 3
        x[:, :, 2:3, 3:4] = 0.5
        return x * x


class Named(nn.Layer):
    """A scale and an order of the channels that the program itself names."""

    def forward(self, x):
        scale = paddle.to_tensor([0.5, 1.5, -1, 2]).reshape([1, 4, 1, 1])
        return paddle.index_select(x * scale, paddle.to_tensor([0, 3, 1, 2]), axis=1)


class Deformable(nn.Layer):
    """A convolution whose windows' places and weights a convolution computes."""

    def __init__(self):
        super().__init__()
        self.places = nn.Conv2D(4, 27, 3, padding=1)
        self.convolution = DeformConv2D(4, 4, 3, padding=1)

    def forward(self, x):
        places, weights = paddle.split(self.places(x), [18, 9], 1)
        return self.convolution(x, places, F.sigmoid(weights))


class OneFeature(nn.Layer):
    """A linear layer of one feature, whose matrix is stored transposed, as PyTorch stores it."""

    def __init__(self):
        super().__init__()
        self.weight = self.create_parameter([6, 1])

    def forward(self, x):
        one = paddle.flatten(x[:, :, :, :1], 1, 2)
        return paddle.matmul(one, self.weight, transpose_y=True).reshape([-1, 4, 8, 6])


class Branches(nn.Layer):
    """An `if` within one, which take a parameter and values of outside, of which one is used on."""

    def __init__(self, threshold):
        super().__init__()
        self.threshold = threshold
        self.convolution = nn.Conv2D(4, 4, 1)

    def forward(self, x):
        if x.mean() > self.threshold:
            if x.max() < 100:  # noqa: SIM108 - a statement becomes control flow
                y = self.convolution(F.relu(x))
            else:
                y = x - 1
            z = F.relu(x) + y
        elif x.min() > 0:
            z = x * 2
        else:
            z = F.sigmoid(x) * self.convolution(x)
        return z + x


class Loop(nn.Layer):
    def forward(self, x):
        while x.mean() < 3:
            x = x + 1
        return x


class Recurrent(nn.Layer):
    """The rows of each image as steps."""

    def __init__(self, layer, features):
        super().__init__()
        self.layer = layer
        self.features = features

    def forward(self, x):
        steps, _ = self.layer(x.flatten(1, 2))
        return paddle.transpose(steps, [0, 2, 1]).reshape([-1, self.features, 8, 4])


def scaled_by_norms(x):
    """Return x times its 1-norm along axis 1 and its 2-norm along axis 2."""
    of_rows = paddle.norm(x, 1, 1, keepdim=True)
    of_columns = paddle.norm(x, 2, 2, keepdim=True)
    return x * of_rows * of_columns


MODELS = {
    "adaptive_average_pool_column": lambda: nn.AdaptiveAvgPool2D([3, 1]),
    "adaptive_max_pool": lambda: nn.AdaptiveMaxPool2D(2),
    "adaptive_max_pool_row": lambda: nn.AdaptiveMaxPool2D([1, 3]),
    "conv1d": lambda: nn.Sequential(nn.Flatten(2), nn.Conv1D(4, 4, 3), nn.Unflatten(2, [62, 1])),
    "average_pool_same": lambda: nn.AvgPool2D(2, 2, padding="SAME"),
    "average_zeros_after": lambda: nn.AvgPool2D(2, 1, padding=[0, 1, 0, 1], exclusive=False),
    "average_zeros_ceil": lambda: nn.AvgPool2D(3, 2, padding=1, exclusive=False, ceil_mode=True),
    "average_zeros_same": lambda: nn.AvgPool2D(3, 2, padding="SAME", exclusive=False),
    "batch_norm_plain": lambda: nn.BatchNorm2D(4, weight_attr=False, bias_attr=False),
    "backwards": lambda: lambda x: x[:, ::-1] * x[:, :, 6:1:-2, -2:0:-1].mean([2, 3], keepdim=True),
    "bicubic": lambda: nn.Upsample(scale_factor=2, mode="bicubic"),
    "bilinear": lambda: nn.Upsample(size=[5, 7], mode="bilinear"),
    "bilinear_corners": lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
    "celu": lambda: nn.CELU(),
    "chosen": lambda: Chosen(),
    "channel_shuffle": lambda: nn.ChannelShuffle(2),
    "convolution_pointwise_padded": lambda: nn.Sequential(
        nn.Conv2D(4, 4, 1), nn.Conv2D(4, 4, 1, stride=2, padding=1)
    ),
    "convolution_same_dilated": lambda: nn.Conv2D(4, 4, 3, padding="SAME", dilation=2),
    "compare_cast": lambda: lambda x: x * (x > 0.1).astype("float32"),
    "expand": lambda: lambda x: x * paddle.expand(x[:, :1, :1, :1], [-1, 4, 8, 8]),
    "flip_no_axis": lambda: FlipNoAxis(),
    "flip": lambda: lambda x: x[:, :, :, :5] - paddle.flip(x, [3])[:, :, :, :5],
    "group_norm": lambda: nn.Sequential(nn.GroupNorm(2, 4), nn.ReLU()),
    "group_norm_plain": lambda: nn.Sequential(
        nn.GroupNorm(2, 4, weight_attr=False, bias_attr=False), nn.ReLU()
    ),
    "dropout_joined": lambda: DropoutJoined(),
    "hard_shrink": lambda: nn.Hardshrink(),
    "hard_tanh": lambda: nn.Hardtanh(),
    "layouts": lambda: nn.Sequential(nn.Conv2D(4, 4, 1), nn.Conv2D(8, 8, 1, data_format="NHWC")),
    "largest": lambda: lambda x: paddle.topk(x.flatten(2), 3)[0].unsqueeze(3),
    "like": lambda: lambda x: paddle.where(x > 0.1, x, paddle.full_like(x, 0.25)),
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "log_sigmoid": lambda: nn.LogSigmoid(),
    "linear_of_pixels": lambda: nn.Linear(8, 5),
    # Of a window outside the image Paddle gives the lowest number.
    "max_pool_ceil": lambda: nn.Sequential(
        nn.MaxPool2D([3, 1], [1, 3], [1, 0], ceil_mode=True), nn.Hardtanh(-3, 3)
    ),
    "max_pool_ceil_padded": lambda: nn.Sequential(
        Function(lambda x: x[:, :, :, :7]), nn.MaxPool2D(2, padding=[1, 0], ceil_mode=True)
    ),
    "max_pool_same_wide": lambda: nn.MaxPool2D(11, 2, padding="SAME"),
    "maxout": lambda: nn.Maxout(2),
    "nearest": lambda: nn.Upsample(scale_factor=3, mode="nearest"),
    "nearest_pixel": lambda: lambda x: F.interpolate(x[:, :, 3:4, 3:4], scale_factor=8),
    "named_numbers": lambda: Named(),
    "pad_all_axes": lambda: lambda x: F.pad(x, [0, 0, 0, 0, 1, 2, 0, 1]),
    "pad_constant": lambda: nn.Pad2D([1, 2, 0, 1], value=0.5),
    "pad_reflect": lambda: nn.Pad2D([1, 2, 3, 0], mode="reflect"),
    "pad_replicate": lambda: nn.Pad2D([1, 2, 3, 0], mode="replicate"),
    "pixel_shuffle": lambda: nn.PixelShuffle(2),
    "power": lambda: lambda x: (x + 3) ** 2,
    "prelu": lambda: nn.PReLU(),
    "prelu_channels": lambda: nn.PReLU(4),
    "prelu_vectors": lambda: nn.Sequential(nn.Flatten(), nn.PReLU(), nn.Unflatten(1, [4, 8, 8])),
    "selu": lambda: nn.SELU(),
    "slice": lambda: lambda x: x[:, 1:3, 2:, :-1],
    "soft_shrink": lambda: nn.Softshrink(),
    "soft_sign": lambda: nn.Softsign(),
    "stack_pixels": lambda: lambda x: paddle.stack([x, x * x], 1).flatten(1, 2),
    "strided_slice": lambda: lambda x: x[:, :, ::2, 1::3],
    "tanh_shrink": lambda: nn.Tanhshrink(),
    "thresholded_relu": lambda: nn.ThresholdedReLU(),
    "tile": lambda: lambda x: paddle.tile(x, [1, 2, 1, 1]),
    "transposed": lambda: nn.Conv2DTranspose(4, 6, 4, stride=2, padding=1),
    "transposed_groups": lambda: nn.Conv2DTranspose(4, 4, 3, stride=2, groups=4),
    "transposed_padded": lambda: nn.Conv2DTranspose(4, 6, 3, stride=2, padding=1, output_padding=1),
    "unfold": lambda: lambda x: F.unfold(x, 3, 2, 1).reshape([-1, 36, 4, 4]),
    "unbind": lambda: lambda x: paddle.unbind(x, 1)[1].unsqueeze(1),
    "where": lambda: lambda x: paddle.where(x > 0.1, x, x * 0.1),
}

# What today's Paddle cannot put into a .pdmodel any more.
PIR_MODELS = {
    "arranged": lambda: lambda x: paddle.argsort(x, 1).astype("float32") * x,
    "cosines": lambda: lambda x: paddle.tan(F.tanh(x)) + paddle.sinh(F.tanh(x)) * paddle.sign(x),
    "convolution_3d": lambda: nn.Sequential(
        nn.Unflatten(1, [2, 2]),
        nn.Conv3D(2, 4, [1, 3, 3], stride=[1, 2, 1], padding=[0, 1, 0]),
        nn.MaxPool3D([2, 1, 1]),
        nn.Flatten(1, 2),
    ),
    "counted": lambda: lambda x: paddle.sum(x, [2, 3], keepdim=True) / paddle.numel(x[:, :1]) * x,
    "deformable": lambda: Deformable(),
    "deviation": lambda: lambda x: paddle.std(x, [2], keepdim=True)
    + paddle.var(x, 1, keepdim=True),
    "numbers": lambda: Numbers(),
    "gathered": lambda: lambda x: paddle.gather_nd(
        x.transpose([1, 0, 2, 3]), paddle.to_tensor([[3], [1]])
    ).transpose([1, 0, 2, 3]),
    "instance_norm_1d": lambda: nn.Sequential(
        nn.Flatten(2), nn.InstanceNorm1D(4), nn.ReLU(), nn.Unflatten(2, [8, 8])
    ),
    "like_another": lambda: lambda x: paddle.expand_as(x[:, :1, :1, :1], x) * x,
    "masked_by_infinity": lambda: lambda x: F.softmax(
        x + paddle.to_tensor([0.0, -float("inf"), 0.0, 1.0]).reshape([4, 1, 1]), 1
    ),
    "one_hot": lambda: lambda x: F.one_hot((F.sigmoid(x[:, 0]) * 4).astype("int64"), 4).transpose(
        [0, 3, 1, 2]
    ),
    "powers": lambda: nn.LPPool2D(2, 2),
    "random_slopes": lambda: nn.RReLU(),
    "spaced": lambda: lambda x: x * paddle.linspace(-1, 1, 8) * paddle.arange(8).astype("float32"),
    "spectrum": lambda: lambda x: paddle.abs(paddle.fft.rfft2(x)) * 0.1,
    "sums_so_far": lambda: lambda x: paddle.cumsum(x, 2) * 0.1 + paddle.cumprod(x, 1),
    "taken_along": lambda: lambda x: paddle.take_along_axis(x, paddle.argsort(x, 1)[:, :2], 1),
    "amax": lambda: lambda x: paddle.amax(x, [1], keepdim=True),
    "attention": lambda: Tokens(),
    "attention_masked": lambda: Tokens(masked=True),
    "branch_taken": lambda: Branches(-100),
    "branch_not_taken": lambda: Branches(100),
    "bmm": lambda: lambda x: paddle.bmm(x[:, 0], x[:, 1]).unsqueeze(1),
    "class_token": lambda: ClassToken(),
    "gru": lambda: Recurrent(nn.GRU(8, 4), 4),
    "equation": lambda: lambda x: paddle.einsum("nchw,nkhw->nckh", x, x * 0.1),
    "glu": lambda: lambda x: F.glu(x, 1),
    "largest_channel": lambda: lambda x: paddle.argmax(x, 1, keepdim=True).astype("float32") * x,
    "local_response": lambda: nn.LocalResponseNorm(3, alpha=0.5),
    "log": lambda: lambda x: paddle.log(paddle.abs(x) + 1) + paddle.log1p(x * x),
    "logsumexp": lambda: lambda x: paddle.logsumexp(x, 1, keepdim=True),
    "heads": lambda: Heads(),
    "loop": lambda: Loop(),
    "lstm": lambda: Recurrent(nn.LSTM(8, 3, num_layers=2, direction="bidirect"), 6),
    "matmul_one_feature": lambda: lambda x: x[:, :, :, :1] @ x[:, :, :1, :],
    "matmul_one_feature_transposed": lambda: OneFeature(),
    "normalize": lambda: lambda x: F.normalize(x, axis=1),
    "pixel_unshuffle": lambda: nn.PixelUnshuffle(2),
    "reshaped_keys": lambda: ReshapedKeys(),
    "reshaped_tokens": lambda: ReshapedTokens(),
    "rnn": lambda: Recurrent(nn.SimpleRNN(8, 4, activation="relu"), 4),
    "reciprocal": lambda: lambda x: paddle.reciprocal(paddle.abs(x) + 1),
    "roll": lambda: lambda x: x * paddle.roll(x, [1, -2], [2, 3]),
    "overwritten": lambda: Overwritten(),
    "windows": lambda: Windows(),
    "waves": lambda: lambda x: paddle.sin(x) + paddle.cos(x) * paddle.floor(x) + paddle.erf(x),
    "softplus_threshold": lambda: nn.Softplus(2, 1),
    "norms": lambda: scaled_by_norms,
}


def write_older(folder):
    """Write the numbers of a .pdmodel as Paddle before 2.5 did: in four lists, by type."""
    program = framework_pb2.ProgramDesc.FromString((folder / "named_numbers.pdmodel").read_bytes())
    for op in program.blocks[0].ops:
        if op.type != "assign_value":
            continue
        (named,) = (one for one in op.attrs if one.name == "values")
        real = named.scalars[0].type == framework_pb2.Scalar.FLOAT64
        op.attrs.remove(named)
        op.attrs.add(name="bool_values", type=framework_pb2.INTS)
        op.attrs.add(name="int32_values", type=framework_pb2.INTS)
        floats = [number.r for number in named.scalars if real]
        op.attrs.add(name="fp32_values", type=framework_pb2.FLOATS, floats=floats)
        longs = [number.i for number in named.scalars if not real]
        op.attrs.add(name="int64_values", type=framework_pb2.LONGS, longs=longs)
    versions = program.op_version_map.pair
    versions.remove(next(pair for pair in versions if pair.op_name == "assign_value"))
    (folder / "named_numbers_older.pdmodel").write_bytes(program.SerializeToString())
    shutil.copy(folder / "named_numbers.pdiparams", folder / "named_numbers_older.pdiparams")


def main(folder):
    images = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype("float32")
    np.save(folder / "images.npy", images)
    pir = paddle.get_flags(["FLAGS_enable_pir_api"])["FLAGS_enable_pir_api"]
    for name, make in (MODELS | (PIR_MODELS if pir else {})).items():
        model = Classifier(make())
        model.eval()
        for number, (key, parameter) in enumerate(model.named_parameters()):
            values = np.random.default_rng(number).normal(0, 0.5, parameter.shape)
            values = np.abs(values) if key.endswith("_variance") else values
            parameter.set_value(values.astype("float32"))
        np.save(folder / f"{name}.npy", model(paddle.to_tensor(images)).numpy())
        spec = [InputSpec([None, 3, 8, 8], "float32", name="x")]
        paddle.jit.save(model, str(folder / name), input_spec=spec)
    if not pir:
        write_older(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
