"""Quantized models that several test files use; each set is made once per run of the suite.

Run as a script, ``quantized_models.py MODEL_DIR TARGET``, this file has Paddle itself quantize a
LeNet, in a process of its own.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from lenet_cpp.data.images import imagenet
from lenet_cpp.data.mnist import read_mnist_dir, sample_dir, to_model_input
from lenet_cpp.quantize import QuantizationSettings, mnist_images, open_source
from lenet_cpp.quantize.task import make_task, run_tasks
from shared_models import once
from snippets import read_snippets, run_snippet

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "quantization.md"

NETWORK = """
import paddle
from lenet_cpp.models import ModelSpec


class Residual(paddle.nn.Layer):
    def __init__(self, num_classes):
        super().__init__()
        self.stem = paddle.nn.Conv2D(3, 8, 3, 2, 1, bias_attr=False)
        self.norm = paddle.nn.BatchNorm2D(8)
        self.first = paddle.nn.Conv2D(8, 16, 3, 2, 1)
        self.second = paddle.nn.Conv2D(16, 16, 3, 1, 1)
        self.shortcut = paddle.nn.Conv2D(8, 16, 1, 2)
        self.fc = paddle.nn.Linear(16, num_classes)

    def forward(self, x):
        relu = paddle.nn.functional.relu
        x = relu(self.norm(self.stem(x)))
        x = relu(self.second(relu(self.first(x))) + self.shortcut(x))
        return self.fc(paddle.nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


SPEC = ModelSpec("residual", Residual, (3, 24, 24), classes=10)
"""
"""A small network with what is hard to quantize: a normalization, and a short cut."""


def quantized_by_page(program, *, whole):
    """A folder in which the commands of the first half of docs/quantization.md were typed.

    All of them when it is to be the whole, otherwise LeNet alone, with 20 steps of training.
    ``inference_model/lenet_METHOD`` has LeNet by all four methods, ``printed.txt`` what the
    commands said.
    """

    def make(folder):
        (folder / "data").symlink_to(ROOT / "data")
        (folder / "build").symlink_to(program.parent)
        _make_classifier(folder)
        text = PAGE.read_text(encoding="utf-8")
        end = 1 + text.count("\n", 0, text.index("\n## Running"))
        printed = ""
        for snippet in read_snippets(PAGE):
            if snippet.line >= end or snippet.language != "sh":
                continue
            if not whole and re.search("ResNet18|classifier|--analyse", snippet.text):
                continue
            typed = snippet.text if whole else snippet.text.replace(" all ", " all --steps 20 ")
            command = snippet._replace(text=typed)
            done = run_snippet(command, folder, Path(sys.prefix), HOME=str(folder))
            assert done.returncode == 0, f"{snippet.place}\n{done.stdout[-2000:]}{done.stderr}"
            assert done.stderr == "", snippet.place  # nor what Paddle's passes say
            printed += done.stdout
        (folder / "printed.txt").write_text(printed, encoding="utf-8")

    return once("quantized-by-page", make)


def _make_classifier(folder):
    """Export a network that no registry has, without a manifest, and save photos for it."""
    code = f"""{NETWORK}
paddle.seed(0)
layer = paddle.nn.Sequential(Residual(10), paddle.nn.Softmax())
layer.eval()
spec = [paddle.static.InputSpec([None, 3, 24, 24], "float32", name="image")]
paddle.jit.save(layer, "classifier/inference", input_spec=spec)
"""
    environment = {"FLAGS_enable_pir_api": "0", "HOME": str(folder)}
    command = [sys.executable, "-W", "ignore", "-c", code]
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    (folder / "classifier" / "inference.pdiparams.info").unlink(missing_ok=True)
    imagenet(24).save(folder / "classifier" / "preprocess.json")
    (folder / "photos").mkdir()
    random = np.random.default_rng(0)
    for index in range(12):
        photo = Image.fromarray(random.integers(0, 256, (6, 5 + index, 3), np.uint8))
        photo.resize((40, 30 + index)).save(folder / "photos" / f"{index:02}.png")


def lenet_in_int8():
    """Return the program of the bundled LeNet in int8, calibrated with 64 digits."""

    def make(folder):
        with open_source("lenet") as source:
            options = (mnist_images(sample_dir(), 64), "static-ptq", QuantizationSettings())
            run_tasks([make_task(source, *options, folder, folder)])

    return once("lenet-in-int8", make) / "lenet.pdmodel"


def model_of(made, method):
    return made / "inference_model" / f"lenet_{method}" / "lenet.pdmodel"


def quantized_by_paddle(model_dir):
    """Have Paddle itself quantize LeNet; return the folder.

    In each folder of it are ``lenet.pdmodel`` and ``lenet.pdiparams``:

    * ``onnx``: post-training quantization in Paddle's ONNX format, as it is deployed;
    * ``floats``: the same with the weights as integers in float32, which is how
      ``paddle.quantization`` leaves them;
    * ``old``: the format before that (``onnx_format=False``).
    """

    def make(target):
        command = [sys.executable, "-W", "ignore", __file__, str(model_dir), str(target)]
        # The old representation of programs is chosen before paddle is imported.
        environment = {"FLAGS_enable_pir_api": "0", "OMP_NUM_THREADS": "1", "HOME": str(target)}
        output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        done = subprocess.run(command, env=environment, check=False, timeout=300, **output)
        assert done.returncode == 0, done.stderr[-3000:]

    return once("quantized-by-paddle", make)


def _quantize(model_dir, target):
    import paddle
    from paddle.static.quantization import PostTrainingQuantization

    paddle.enable_static()
    place = paddle.CPUPlace()
    executor = paddle.static.Executor(place)
    names = {"model_filename": "lenet.pdmodel", "params_filename": "lenet.pdiparams"}
    images = to_model_input(read_mnist_dir(sample_dir()).train.images[:128])
    for name, onnx_format in (("onnx", True), ("old", False)):
        quantization = PostTrainingQuantization(
            executor=executor,
            model_dir=str(model_dir),
            **names,
            data_loader=lambda: ({"x": images[i : i + 32]} for i in range(0, len(images), 32)),
            batch_nums=len(images) // 32,
            algo="hist",
            onnx_format=onnx_format,
        )
        quantization.quantize()
        quantization.save_quantized_model(str(target / name), **names)
    with paddle.static.scope_guard(paddle.static.Scope()):
        folder = str(target / "onnx")
        program, feeds, fetches = paddle.static.load_inference_model(folder, executor, **names)
        for variable in filter(paddle.static.io.is_persistable, program.list_vars()):
            tensor = paddle.static.global_scope().find_var(variable.name).get_tensor()
            if np.array(tensor).dtype == np.int8:
                tensor.set(np.array(tensor).astype(np.float32), place)
        inputs = [program.global_block().var(name) for name in feeds]
        params = paddle.static.serialize_persistables(inputs, fetches, executor, program=program)
    (target / "floats").mkdir()
    (target / "floats" / "lenet.pdiparams").write_bytes(params)
    shutil.copy(target / "onnx" / "lenet.pdmodel", target / "floats")


if __name__ == "__main__":
    _quantize(Path(sys.argv[1]), Path(sys.argv[2]))
