"""The checks against hostile models accept what Paddle exports."""

import numpy as np
import paddle
import pytest
from paddle import nn
from paddle.vision.models import mobilenet_v2, resnet18

import lenet_cpp
from shared_models import both_formats

IMAGES = np.random.default_rng(3).random((2, 3, 32, 32), dtype=np.float32)


class Reshaped(nn.Layer):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3072, 10)

    def forward(self, x):
        return nn.functional.softmax(self.linear(paddle.reshape(x, [-1, 3072])))


ACCEPTED = {
    "softmax": lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 10), nn.Softmax()),
    "reshaped": Reshaped,
    "resnet18": lambda: resnet18(num_classes=10),
    "mobilenet_v2": lambda: mobilenet_v2(scale=0.25, num_classes=10),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Paddle, in its own networks
@pytest.mark.parametrize("name", ACCEPTED)
def test_exports_of_paddle_are_accepted(name, tmp_path):
    for program in both_formats(ACCEPTED[name](), (3, 32, 32), tmp_path):
        with lenet_cpp.Predictor(program, accelerator="plain") as predictor:
            assert predictor.run(IMAGES).shape == (2, 10)


def test_operator_that_is_not_known_needs_a_word_of_trust(tmp_path):
    layer = nn.Sequential(nn.Unfold(4, strides=4), nn.Flatten(), nn.Linear(3072, 10))
    expected = layer(paddle.to_tensor(IMAGES)).numpy()
    for program in both_formats(layer, (3, 32, 32), tmp_path):
        with pytest.raises(lenet_cpp.Unsupported, match=r"unfold.*check_program"):
            lenet_cpp.Predictor(program)
        trusted = lenet_cpp.Predictor(program, accelerator="plain", check_program=False)
        np.testing.assert_allclose(trusted.run(IMAGES), expected, atol=1e-5)
