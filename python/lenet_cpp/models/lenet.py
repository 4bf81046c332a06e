"""LeNet in the form of Paddle's deployment guide."""

import paddle
from paddle.nn import functional as F  # noqa: N812 - Paddle's own convention


class LeNet(paddle.nn.Layer):
    """LeNet: 61,706 parameters and 416,520 multiply-adds per 28x28 image.

    After Y. LeCun, L. Bottou, Y. Bengio and P. Haffner, "Gradient-based learning applied to
    document recognition", Proceedings of the IEEE, 1998, with rectifiers and max-pooling.
    There is no rectifier between the second convolution and its pooling: this is the published
    topology of the guide, with its parameter names.
    """

    def __init__(self, num_classes: int = 10) -> None:
        """Create the layers, with Paddle's default initialisation."""
        super().__init__()
        self.conv1 = paddle.nn.Conv2D(1, 6, kernel_size=5, stride=1, padding=2)
        self.max_pool1 = paddle.nn.MaxPool2D(kernel_size=2, stride=2)
        self.conv2 = paddle.nn.Conv2D(6, 16, kernel_size=5, stride=1)
        self.max_pool2 = paddle.nn.MaxPool2D(kernel_size=2, stride=2)
        self.linear1 = paddle.nn.Linear(16 * 5 * 5, 120)
        self.linear2 = paddle.nn.Linear(120, 84)
        self.linear3 = paddle.nn.Linear(84, num_classes)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Compute the logits, float32 [N, num_classes], of [N, 1, 28, 28] with pixels in [0, 1]."""
        x = F.relu(self.max_pool1(F.relu(self.conv1(x))))
        x = self.max_pool2(self.conv2(x))
        x = paddle.flatten(x, start_axis=1)
        x = F.relu(self.linear1(x))
        x = F.relu(self.linear2(x))
        return self.linear3(x)
