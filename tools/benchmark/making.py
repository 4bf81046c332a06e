"""Makes the models and reference outputs of the benchmark, or checks a model, in a child process.

In a child, because Paddle and ONNX Runtime would make the memory of the parent theirs, below which
the memory of other children cannot be told. Run as ``python -m tools.benchmark.making`` with
one argument, the task as JSON:

* ``{"do": "export", "network": R, "img_size": S or null, "target": D}`` exports the network R, a
  name or ``FILE.py:SPEC``, with random weights, into the folder D;
* ``{"do": "reference", "network": R, "model_dir": D, "params": F or null, "images": F,
  "outputs": F, "weights": F}`` builds the network that D was exported from, runs the images (.npy)
  with Paddle's training engine, and writes its outputs (.npy) and its weights (.npz);
* ``{"do": "onnx", "program": F, "params": F, "target": T}`` writes the exported model as ONNX;
* ``{"do": "quantize", "model_dir": D, "target": T}`` writes the exported LeNet D, quantized by
  static-ptq, into the folder T;
* ``{"do": "quantize_onnx", "source": F, "target": T}`` writes the ONNX file F, quantized, as T;
* ``{"do": "check", "program": F, "params": F}`` sees that a program of Paddle is a quantized one.

It prints lines of JSON: ``{"progress": [what, how far, of how much]}``, ``{"result": {...}}``, and
``{"error": name of the class, "message": text}`` when something is wrong.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp import errors
from lenet_cpp.data.mnist import read_mnist_dir, sample_dir, stratified_indices, to_model_input
from lenet_cpp.errors import BackendFailure, BadInput
from tools.benchmark.child import module_environment, start_child
from tools.benchmark.worker import die_with_parent, take_output

if TYPE_CHECKING:
    import paddle
    from numpy.typing import NDArray

__all__ = [
    "CALIBRATION_IMAGES",
    "Report",
    "calibration_images",
    "call_maker",
    "run_counted",
]

Report = Callable[[str, int, int], None]
"""Takes what is being done, how far it is, and how far it goes."""

CALIBRATION_IMAGES = 512
_MODULE = "tools.benchmark.making"
_SEED = 0
_BATCH = 64


def calibration_images() -> NDArray[np.float32]:
    """Return training images of the embedded sample, float32 [N, 1, 28, 28]."""
    train = read_mnist_dir(sample_dir()).train
    chosen = stratified_indices(train.labels, CALIBRATION_IMAGES, seed=(0,))
    return np.ascontiguousarray(to_model_input(train.images[chosen]), np.float32)


def call_maker(folder: Path, report: Report | None = None, **task: object) -> dict[str, Any]:
    """Do a task in a child process.

    Args:
        folder: Where it works.
        report: Takes the progress.
        **task: See the module.

    Returns:
        The result.

    Raises:
        lenet_cpp.Error: What the child said.
        BackendFailure: It failed without saying anything that is known.
    """
    command = [sys.executable, "-W", "ignore", "-m", _MODULE, json.dumps(task)]
    # What it leaves behind, should it be killed, goes with the folder.
    environment = module_environment(1) | {"TMPDIR": str(folder)}
    answer: dict[str, Any] = {}
    with start_child(command, folder, environment, interrupt=True) as child:
        for line in child.lines():
            answer = json.loads(line)
            if "progress" in answer and report is not None:
                report(*answer["progress"])
        how = child.failure()
    if "error" in answer:
        raise getattr(errors, answer["error"])(answer["message"])
    if how is not None:
        raise BackendFailure(f"making what the benchmark needs ({task['do']}): {how}")
    result: dict[str, Any] = answer.get("result", {})
    return result


def _export(network: str, img_size: int | None, target: str) -> None:
    from lenet_cpp.export.inference_model import export_model
    from lenet_cpp.models import resolve

    export_model(None, target, model=resolve(network), img_size=img_size, seed=_SEED)


def _reference(
    network: str, model_dir: str, params: str | None, images: str, outputs: str, weights: str
) -> dict[str, Any]:
    from lenet_cpp.models import resolve
    from lenet_cpp.verify.files import find_models, load_trained_layer, random_seed

    folder = Path(model_dir)
    if params is None and random_seed(folder) is None:
        raise BadInput(
            f"{folder} was exported from trained parameters, which the reference needs: --params"
            " FILE"
        )
    layer = load_trained_layer(
        find_models(folder)[0], None if params is None else Path(params), resolve(network)
    )
    found, multiply_adds = run_counted(layer, np.load(images))
    np.save(outputs, found)
    state: dict[str, Any] = {name: value.numpy() for name, value in layer.state_dict().items()}
    np.savez(weights, **state)
    return {"multiply_adds": multiply_adds}


def run_counted(
    layer: paddle.nn.Layer, images: NDArray[np.float32]
) -> tuple[NDArray[np.float32], int]:
    """Run a network with Paddle's training engine, image by image.

    Args:
        layer: The network, in evaluation mode.
        images: float32 [N, C, H, W], one or more.

    Returns:
        The outputs, float32 [N, classes], and how many multiply-adds its layers ``Conv2D`` and
        ``Linear`` do for one image, by the definition.
    """
    import paddle

    counted = 0

    def count(layer: Any, _: object, output: paddle.Tensor) -> None:
        nonlocal counted
        convolution = isinstance(layer, paddle.nn.Conv2D)
        each = layer.weight.shape[1:] if convolution else layer.weight.shape[:1]
        counted += int(np.prod(output.shape)) * int(np.prod(each))

    counting = [
        part.register_forward_post_hook(count)
        for part in layer.sublayers(include_self=True)
        if isinstance(part, (paddle.nn.Conv2D, paddle.nn.Linear))
    ]
    outputs = []
    with paddle.no_grad():
        for image in images:
            outputs.append(layer(paddle.to_tensor(image[None])).numpy())
            for hook in counting:
                hook.remove()
    return np.concatenate(outputs), counted


def _onnx(program: str, params: str, target: str) -> None:
    from lenet_cpp.interchange.onnx.export import export_paddle

    export_paddle(program, params, target)


def _quantize(model_dir: str, target: str, report: Report) -> None:
    from lenet_cpp.quantize import mnist_images, open_source, quantize

    with open_source("lenet", model_dir=model_dir) as source:
        images = mnist_images(sample_dir(), CALIBRATION_IMAGES)
        quantize(source, images, "static-ptq", target, report=report)


def _quantize_onnx(source: str, target: str) -> None:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    images = calibration_images()

    class Reader(CalibrationDataReader):  # type: ignore[misc] # the package has no types
        def __init__(self) -> None:
            starts = range(0, len(images), _BATCH)
            self._batches = iter([{"x": images[i : i + _BATCH]} for i in starts])

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(self._batches, None)

    # The pair of types that processors with VNNI multiply by one instruction.
    quantize_static(
        source,
        target,
        Reader(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def _check(program: str, params: str) -> None:
    from lenet_cpp.inference.predictor import Predictor

    # It refuses what paddle.inference would compute in float32, or wrongly, without a word.
    with Predictor(program, params, precision="int8"):
        pass


def _do(task: dict[str, Any], report: Report) -> dict[str, Any]:
    action = task.pop("do")
    if action == "reference":
        return _reference(**task)
    if action == "quantize":
        _quantize(**task, report=report)
        return {}
    others: dict[str, Callable[..., None]] = {
        "export": _export,
        "onnx": _onnx,
        "quantize_onnx": _quantize_onnx,
        "check": _check,
    }
    others[action](**task)
    return {}


def _main() -> None:
    answers = take_output()
    die_with_parent()
    task = json.loads(sys.argv[1])

    def say(**what: object) -> None:
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    try:
        say(result=_do(task, lambda *where: say(progress=where)))
    except errors.Error as error:
        say(error=type(error).__name__, message=str(error))
        sys.exit(error.exit_code)


if __name__ == "__main__":
    _main()
