"""The calls of the guides' own programs, with Paddle alone, as far as the C++ program.

Trained for 20 steps on the sample, which ``docs/guides/train.md`` names in place of the download.
"""

import os
import sys
from functools import partial

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp.agreement import compare
from snippets import printed_by

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
digits = MNIST(image_path='data/mnist_sample/train-images-idx3-ubyte.gz',
               label_path='data/mnist_sample/train-labels-idx1-ubyte.gz',
               mode='train', transform=ToTensor())
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
    if batch_id == 20:
        break
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


PREDICT = """\
./build/lenet_infer_test --model_file=inference_model/lenet/lenet.pdmodel \
--params_file=inference_model/lenet/lenet.pdiparams
"""


def run_code(folder, code, **variables):
    quiet = {"GLOG_minloglevel": "2", "PYTHONWARNINGS": "ignore"}
    (folder / "program.py").write_text(code)  # to_static reads the source of a layer
    printed_by(sys.executable, "program.py", cwd=folder, env=os.environ | quiet | variables)


@pytest.mark.parametrize("pir", ["1", "0"])
def test_from_training_to_the_cpp_program(tmp_path, root, run_program, monkeypatch, pir):
    monkeypatch.chdir(tmp_path)
    for name in ("build", "data"):
        (tmp_path / name).symlink_to(root / name)
    run_code(tmp_path, TRAIN_AND_SAVE, FLAGS_enable_pir_api=pir)
    saved = tmp_path / "inference_model" / "lenet"
    assert saved.with_suffix(".json" if pir == "1" else ".pdmodel").is_file()
    expected = np.load(tmp_path / "expected.npy")
    files = [f"--input={tmp_path / 'x.npy'}", f"--output={tmp_path / 'y.npy'}"]
    for folder in (saved, saved.parent):
        done = run_program(f"--model_dir={folder}", *files)
        assert done.returncode == 0, done.stderr
        assert compare(expected, np.load(tmp_path / "y.npy")).agrees
    # The guides' own paths, of which there is nothing.
    found = f"running inference_model/lenet{'.json' if pir == '1' else '.pdmodel'}"
    done = run_program("-c", PREDICT, program="/bin/sh")
    assert (done.returncode, len(done.stderr.splitlines())) == (0, 1)
    assert found in done.stderr.replace("'", "")
    files = [f"inference_model/lenet/lenet.{suffix}" for suffix in ("pdmodel", "pdiparams")]
    for load in (lenet_cpp.Predictor, partial(lenet_cpp.PredictorPool, size=1)):
        with pytest.warns(UserWarning, match=found) as warned:
            predictor = load(*files)
        assert compare(expected, predictor.run(np.load(tmp_path / "x.npy"))).agrees
        assert [each.filename for each in warned] == [__file__]
    if pir == "0":  # in Paddle 3's own format the old call ends with an error of Unicode
        run_code(tmp_path, SAVE_SEPARATELY, FLAGS_enable_pir_api="0")
        stored = {path.name for path in (tmp_path / "separate_persistables").iterdir()}
        assert len(stored) == 10
        assert {"conv2d_0.w_0", "linear_2.b_0"} <= stored
