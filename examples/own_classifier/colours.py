"""A classifier of your own: is a picture mostly red, green or blue?"""

import paddle

from lenet_cpp.models import ModelSpec


class Colours(paddle.nn.Layer):
    def __init__(self, num_classes):
        super().__init__()
        self.convolution = paddle.nn.Conv2D(3, 8, kernel_size=3, stride=2)
        self.linear = paddle.nn.Linear(8, num_classes)

    def forward(self, x):
        x = paddle.nn.functional.relu(self.convolution(x))
        return self.linear(paddle.nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


SPEC = ModelSpec("colours", Colours, (3, 64, 64), classes=3, labels=("red", "green", "blue"))
