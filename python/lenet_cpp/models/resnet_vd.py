"""The ResNet-D family ("vd"), with the parameter names of PaddleClas 2.6.

After K. He, X. Zhang, S. Ren and J. Sun, "Deep residual learning for image recognition", 2015, in
the variant D of T. He et al., "Bag of tricks for image classification with convolutional neural
networks", 2018, section 4.1. Variant D changes three things:

* the stem is three 3x3 convolutions (32, 32 and 64 filters, the first with stride 2) where the
  original has one of 7x7;
* in a bottleneck the stride is in the 3x3 convolution, not in the 1x1 before it;
* where a shortcut halves the image, a 2x2 average-pooling does so, and the 1x1 convolution after
  it has stride 1, so that no pixel is skipped.

The names and shapes of parameters are those of PaddleClas, so that published weights load
(such as ``ResNet50_vd_pretrained.pdparams``). PaddleClas has a projection in the first
shortcut of every stage, in the first stage of the 18 and 34 layer networks too, where the original
adds the input itself.
"""

import math

import paddle
from paddle import nn
from paddle.nn import functional as F  # noqa: N812 - Paddle's own convention

_STEM = (32, 32, 64)
_WIDTHS = (64, 128, 256, 512)
# By the depth: the blocks of each stage.
_BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 12, 48, 3),
}
_LEAST_BOTTLENECKS = 50  # shallower networks have none


class _ConvNorm(nn.Layer):
    """A convolution without bias that keeps the image's size at stride 1, and its batch norm."""

    def __init__(self, inputs: int, filters: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2D(
            inputs, filters, kernel, stride=stride, padding=kernel // 2, bias_attr=False
        )
        self.bn = nn.BatchNorm2D(filters)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.bn(self.conv(x))


class _Shortcut(_ConvNorm):
    """A 1x1 projection, after an average-pooling when the block halves the image."""

    def __init__(self, inputs: int, filters: int, stride: int) -> None:
        super().__init__(inputs, filters, kernel=1)
        # An odd last row or column is a window of its own, whose average excludes the padding.
        self.pool = nn.AvgPool2D(2, stride=2, padding="SAME") if stride == 2 else None

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        if self.pool is not None:
            x = self.pool(x)
        return super().forward(x)


class _Block(nn.Layer):
    """The sum of a shortcut and two 3x3 convolutions, or one 3x3 between two 1x1."""

    def __init__(
        self, inputs: int, width: int, stride: int, *, bottleneck: bool, project: bool
    ) -> None:
        super().__init__()
        filters = 4 * width if bottleneck else width
        self.conv2: _ConvNorm | None = None
        if bottleneck:
            self.conv0 = _ConvNorm(inputs, width, 1)
            self.conv1 = _ConvNorm(width, width, 3, stride)
            self.conv2 = _ConvNorm(width, filters, 1)
        else:
            self.conv0 = _ConvNorm(inputs, width, 3, stride)
            self.conv1 = _ConvNorm(width, filters, 3)
        self.short = _Shortcut(inputs, filters, stride) if project else None

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        out = self.conv1(F.relu(self.conv0(x)))
        if self.conv2 is not None:
            out = self.conv2(F.relu(out))
        shortcut = x if self.short is None else self.short(x)
        return F.relu(out + shortcut)


class ResNetVd(nn.Layer):
    """A ResNet of variant D, with 18, 34, 50, 101, 152 or 200 layers."""

    def __init__(self, depth: int, num_classes: int = 1000) -> None:
        """Create the layers, with Paddle's default initialisation."""
        super().__init__()
        bottleneck = depth >= _LEAST_BOTTLENECKS
        self.stem = nn.Sequential(
            _ConvNorm(3, _STEM[0], 3, stride=2),
            _ConvNorm(_STEM[0], _STEM[1], 3),
            _ConvNorm(_STEM[1], _STEM[2], 3),
        )
        blocks = []
        inputs = _STEM[-1]
        for stage, (width, count) in enumerate(zip(_WIDTHS, _BLOCKS[depth], strict=True)):
            for i in range(count):
                stride = 2 if i == 0 and stage > 0 else 1
                blocks.append(_Block(inputs, width, stride, bottleneck=bottleneck, project=i == 0))
                inputs = 4 * width if bottleneck else width
        self.blocks = nn.Sequential(*blocks)
        bound = 1 / math.sqrt(inputs)
        self.fc = nn.Linear(
            inputs,
            num_classes,
            weight_attr=paddle.ParamAttr(initializer=nn.initializer.Uniform(-bound, bound)),
        )

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Compute the logits, float32 [N, num_classes], of normalised images, float32 [N, 3, H, W].

        For published weights they are 224 x 224.
        """
        for layer in self.stem:
            x = F.relu(layer(x))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        x = self.blocks(x)
        x = F.adaptive_avg_pool2d(x, 1)
        return self.fc(paddle.flatten(x, start_axis=1))
