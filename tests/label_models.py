"""A classifier that takes a label beside the image and gives its accuracy; run as a program.

    label_models.py FOLDER

writes the model of its own Paddle format (as FLAGS_enable_pir_api says), images.npy and the scores
that the layer computes of them, scores.npy.
"""

import sys
from pathlib import Path

import numpy as np
import paddle
from paddle.static import InputSpec


class Network(paddle.nn.Layer):
    """Two outputs: the accuracy, which needs the label, and the scores."""

    def __init__(self):
        super().__init__()
        self.convolution = paddle.nn.Conv2D(3, 8, 3)
        self.linear = paddle.nn.Linear(8 * 6 * 6, 5)

    def scores(self, image):
        """Return [N, 5]."""
        return paddle.nn.functional.softmax(self.linear(self.convolution(image).flatten(1)))

    def forward(self, image, label):
        """Return the accuracy, a scalar, and the scores."""
        scores = self.scores(image)
        return paddle.metric.accuracy(scores, label), scores


def main(folder):
    """Write the files."""
    paddle.seed(1)
    network = Network()
    network.eval()
    images = np.random.default_rng(0).random((3, 3, 8, 8), np.float32)
    np.save(folder / "images.npy", images)
    np.save(folder / "scores.npy", network.scores(paddle.to_tensor(images)).numpy())
    specs = [InputSpec([None, 3, 8, 8], "float32", "image"), InputSpec([None, 1], "int64", "label")]
    paddle.jit.save(network, str(folder / "label"), input_spec=specs)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
