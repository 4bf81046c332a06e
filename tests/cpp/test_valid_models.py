"""The checks against hostile models accept what Paddle exports."""

import os
import subprocess
import sys

import numpy as np
import pytest

import lenet_cpp

EXPORT = """
import sys
import numpy as np
import paddle
from paddle import nn
from paddle.static import InputSpec

class Reshaped(nn.Layer):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3072, 10)
    def forward(self, x):
        return nn.functional.softmax(self.linear(paddle.reshape(x, [-1, 3072])))

paddle.seed(1)
models = {
    "softmax": nn.Sequential(nn.Flatten(), nn.Linear(3072, 10), nn.Softmax()),
    "reshaped": Reshaped(),
    "unfold": nn.Sequential(nn.Unfold(4, strides=4), nn.Flatten(), nn.Linear(3072, 10)),
    "resnet18": paddle.vision.models.resnet18(num_classes=10),
    "mobilenet_v2": paddle.vision.models.mobilenet_v2(scale=0.25, num_classes=10),
}
for name, model in models.items():
    model.eval()
    spec = [InputSpec([None, 3, 32, 32], "float32", name="x")]
    paddle.jit.save(model, f"{sys.argv[1]}/{name}", input_spec=spec)
images = np.random.default_rng(3).random((2, 3, 32, 32), dtype=np.float32)
np.save(f"{sys.argv[1]}/unfold.npy", models["unfold"](paddle.to_tensor(images)).numpy())
"""
IMAGES = np.random.default_rng(3).random((2, 3, 32, 32), dtype=np.float32)


@pytest.fixture(scope="module", params=["pdmodel", "json"])
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    script = folder / "export.py"  # Paddle reads the source of a forward
    script.write_text(EXPORT)
    environment = {**os.environ, "FLAGS_enable_pir_api": str(int(request.param == "json"))}
    command = [sys.executable, "-W", "ignore", script, folder]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return folder, request.param


@pytest.mark.parametrize("name", ["softmax", "reshaped", "resnet18", "mobilenet_v2"])
def test_exports_of_paddle_are_accepted(exported, name):
    folder, suffix = exported
    with lenet_cpp.Predictor(folder / f"{name}.{suffix}", accelerator="plain") as predictor:
        assert predictor.run(IMAGES).shape == (2, 10)


def test_operator_that_is_not_known_needs_a_word_of_trust(exported):
    folder, suffix = exported
    program = folder / f"unfold.{suffix}"
    with pytest.raises(lenet_cpp.Unsupported, match=r"unfold.*check_program"):
        lenet_cpp.Predictor(program)
    trusted = lenet_cpp.Predictor(program, accelerator="plain", check_program=False)
    np.testing.assert_allclose(trusted.run(IMAGES), np.load(folder / "unfold.npy"), atol=1e-5)
