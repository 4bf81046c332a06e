"""The calls of the guides' own programs, with Paddle alone, as far as the C++ program.

Trained for one epoch on the sample, which stands in the place of the download.
"""

import os
import subprocess
import sys

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp.agreement import compare
from lenet_cpp.data.mnist import sample_dir

SAMPLE = f"""
import paddle.dataset.common

paddle.dataset.common.download = lambda url, *_: "{sample_dir()}/" + url.rpartition("/")[2]
"""

TRAIN_AND_SAVE = """
import paddle
import paddle.nn.functional as F
from paddle.jit import to_static
from paddle.static import InputSpec
from paddle.vision.datasets import MNIST
from paddle.vision.transforms import ToTensor


class LeNet(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv1 = paddle.nn.Conv2D(1, 6, kernel_size=5, padding=2)
        self.conv2 = paddle.nn.Conv2D(6, 16, kernel_size=5)
        self.pool = paddle.nn.MaxPool2D(kernel_size=2, stride=2)
        self.linear1 = paddle.nn.Linear(16 * 5 * 5, 120)
        self.linear2 = paddle.nn.Linear(120, 84)
        self.linear3 = paddle.nn.Linear(84, 10)

    def forward(self, x):
        x = self.pool(self.conv2(F.relu(self.pool(F.relu(self.conv1(x))))))
        x = paddle.flatten(x, start_axis=1, stop_axis=-1)
        return self.linear3(F.relu(self.linear2(F.relu(self.linear1(x)))))


paddle.seed(0)
digits = MNIST(mode="train", transform=ToTensor())
loader = paddle.io.DataLoader(digits, batch_size=64, shuffle=True)
model = LeNet()
optim = paddle.optimizer.Adam(learning_rate=0.001, parameters=model.parameters())
for batch_id, (x_data, y_data) in enumerate(loader()):
    predicts = model(x_data)
    loss = F.cross_entropy(predicts, y_data)
    acc = paddle.metric.accuracy(predicts, y_data)
    loss.backward()
    if batch_id % 300 == 0:
        print(f"loss is: {loss.numpy()}, acc is: {acc.numpy()}")
    optim.step()
    optim.clear_grad()
paddle.save(model.state_dict(), "lenet.pdparams")
paddle.save(optim.state_dict(), "lenet.pdopt")
model.set_state_dict(paddle.load("lenet.pdparams"))
optim.set_state_dict(paddle.load("lenet.pdopt"))
model.eval()
numpy = __import__("numpy")
x = numpy.random.default_rng(0).random((4, 1, 28, 28), "float32")
numpy.save("x.npy", x)
numpy.save("expected.npy", model(paddle.to_tensor(x)).numpy())
net = to_static(model, input_spec=[InputSpec(shape=[None, 1, 28, 28], name="x")])
paddle.jit.save(net, "inference_model/lenet")
"""

SAVE_SEPARATELY = """
import paddle

paddle.enable_static()
exe = paddle.static.Executor(paddle.CPUPlace())
program, _, _ = paddle.static.load_inference_model(
    path_prefix="inference_model", executor=exe, model_filename="lenet.pdmodel",
    params_filename="lenet.pdiparams")
paddle.static.save_vars(executor=exe, dirname="separate_persistables", main_program=program,
                        vars=None, predicate=paddle.static.io.is_persistable)
"""


def run_code(folder, code, **variables):
    quiet = {"GLOG_minloglevel": "2", "PYTHONWARNINGS": "ignore"}
    (folder / "program.py").write_text(code)  # to_static reads the source of a layer
    environment = {**os.environ, **quiet, **variables}
    command = (sys.executable, "program.py")
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("pir", ["1", "0"])
def test_from_training_to_the_cpp_program(tmp_path, run_program, pir):
    run_code(tmp_path, SAMPLE + TRAIN_AND_SAVE, FLAGS_enable_pir_api=pir)
    saved = tmp_path / "inference_model" / "lenet"
    assert saved.with_suffix(".json" if pir == "1" else ".pdmodel").is_file()
    expected = np.load(tmp_path / "expected.npy")
    files = [f"--input={tmp_path / 'x.npy'}", f"--output={tmp_path / 'y.npy'}"]
    for folder in (saved, saved.parent):
        done = run_program(f"--model_dir={folder}", *files)
        assert done.returncode == 0, done.stderr
        assert compare(expected, np.load(tmp_path / "y.npy")).agrees
    with lenet_cpp.Predictor(model_dir=saved) as predictor:
        assert compare(expected, predictor.run(np.load(tmp_path / "x.npy"))).agrees
    if pir == "0":  # in Paddle 3's own format the old call ends with an error of Unicode
        run_code(tmp_path, SAVE_SEPARATELY, FLAGS_enable_pir_api="0")
        stored = {path.name for path in (tmp_path / "separate_persistables").iterdir()}
        assert len(stored) == 10
        assert {"conv2d_0.w_0", "linear_2.b_0"} <= stored
