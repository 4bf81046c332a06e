"""Makes the models and reference outputs of the benchmark, in child processes.

In children, because importing Paddle changes the process: its threads, its signal handlers, its
memory. :func:`make` calls the other functions so; each also gets a report of the progress.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp._base.worker import call
from lenet_cpp.data.mnist import read_mnist_dir, sample_dir, stratified_indices, to_model_input
from tools.benchmark.contenders import PEER_ENGINES, PEERS

if TYPE_CHECKING:
    import paddle
    from numpy.typing import NDArray

    from lenet_cpp._base.worker import Report

_CALIBRATION_IMAGES = 512
_SEED = 0
_BATCH = 64


def make(what: str, folder: Path, **arguments: object) -> Any:
    """Call a function of this module in a child process; what it leaves behind is in the folder."""
    given = {k: str(v) if isinstance(v, Path) else v for k, v in arguments.items()}
    doing, variables = f"making what the benchmark needs ({what})", {"TMPDIR": str(folder)}
    function = f"{__name__}:{what}"
    return call(function, given, doing=doing, variables=variables).result


def make_in_peers(what: str, folder: Path, **arguments: object) -> Any:
    """Call a function of ``peer_engines.py`` in a process of the environment of the peers."""
    given = {k: str(v) if isinstance(v, Path) else v for k, v in arguments.items()}
    return call(
        f"{PEER_ENGINES}:{what}",
        {**given, "cache": str(folder)},
        doing=f"making what the benchmark needs ({what})",
        python=PEERS.find(),
        variables={"TMPDIR": str(folder)},
    ).result


def calibration_images() -> NDArray[np.float32]:
    """Return training images of the embedded sample, float32 [N, 1, 28, 28]."""
    train = read_mnist_dir(sample_dir()).train
    chosen = stratified_indices(train.labels, _CALIBRATION_IMAGES, seed=(0,))
    return np.ascontiguousarray(to_model_input(train.images[chosen]), np.float32)


def export(network: str, image_size: int | None, target: str, **_: object) -> None:
    """Export a network, a name or ``FILE.py:SPEC``, with random weights into a folder."""
    from lenet_cpp.export.inference_model import export_model
    from lenet_cpp.models import resolve

    export_model(None, target, model=resolve(network), image_size=image_size, seed=_SEED)


def reference(network: str, model_dir: str, images: str, target: str, **_: object) -> int:
    """Run an exported network with Paddle's training engine, in float64.

    Returns one image's multiply-adds.
    The outputs go to ``expected.npy`` in the folder ``target``, the weights to ``state.npz``.
    """
    from lenet_cpp.inference.model import check_model
    from lenet_cpp.models import resolve
    from lenet_cpp.verify.files import find_models, load_trained_layer

    found = find_models(Path(model_dir))[0]
    layer = load_trained_layer(check_model(found.program, found.params), None, resolve(network))
    state: dict[str, Any] = {name: value.numpy() for name, value in layer.state_dict().items()}
    np.savez(Path(target, "state.npz"), **state)
    outputs, multiply_adds = run_counted(layer, np.load(images))
    np.save(Path(target, "expected.npy"), outputs)
    return multiply_adds


def image_shape(report: Report, **file: str) -> list[int]:  # noqa: ARG001 - a worker's function is given it
    """Return the shape of an image of a model file; -1 is an open size."""
    from lenet_cpp import Predictor

    with Predictor(file.get("program") or file["onnx"], file.get("params")) as predictor:
        return list(predictor.input_spec.shape[1:])


def file_reference(images: str, target: str, report: Report, **file: str) -> None:  # noqa: ARG001 - each worker gets a report
    """Run a model file by Paddle's plain kernels, or onnxruntime without optimizations.

    The outputs go to ``expected.npy`` in the folder ``target``.
    """
    batches = [image[None] for image in np.load(images)]
    if "onnx" in file:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(
            file["onnx"], options, providers=["CPUExecutionProvider"]
        )
        name = session.get_inputs()[0].name
        outputs = [session.run(None, {name: batch})[0] for batch in batches]
    else:
        from lenet_cpp.paddle_engines.running import inference_config, run_config

        config = inference_config(
            Path(file["program"]), Path(file["params"]), accelerator="plain", cache=target
        )
        outputs = [found[0] for found in run_config(config, batches).outputs]
    np.save(Path(target, "expected.npy"), np.concatenate(outputs))


def run_counted(
    layer: paddle.nn.Layer, images: NDArray[np.float32]
) -> tuple[NDArray[np.float64], int]:
    """Run a network with Paddle's training engine in float64, image by image.

    The network computes in float64 ever after.

    Returns:
        The outputs, float64 [N, classes], and how many multiply-adds its layers ``Conv2D`` and
        ``Linear`` do for one image, by the definition.
    """
    import paddle

    counted = 0
    layer.to(dtype="float64")

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
            outputs.append(layer(paddle.to_tensor(image[None].astype(np.float64))).numpy())
            for hook in counting:
                hook.remove()
    return np.concatenate(outputs), counted


def onnx(program: str, params: str, target: str, **_: object) -> None:
    """Write an exported model as ONNX."""
    from lenet_cpp.interchange.onnx.export import export_paddle

    export_paddle(program, params, target)


def quantized(model_dir: str, images: str, target: str, **_: object) -> None:
    """Write an exported network, quantized by static-ptq, into a folder."""
    from lenet_cpp.quantize import open_source, own_images, quantize

    with open_source(model_dir=model_dir) as source:
        count = len(np.load(images, mmap_mode="r"))
        quantize(source, own_images(source, Path(images), count), "static-ptq", target)


def onnx_int8(source: str, images: str, target: str, **_: object) -> None:
    """Write an ONNX file, quantized by ONNX Runtime, each output channel's weights by a step."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    some = np.load(images)
    batches = iter([{"x": some[i : i + _BATCH]} for i in range(0, len(some), _BATCH)])

    class Reader(quantization.CalibrationDataReader):
        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(batches, None)

    # The pair of types that processors with VNNI multiply by one instruction.
    types = quantization.QuantType
    simplified = f"{target}.simplified"
    quant_pre_process(source, simplified, skip_symbolic_shape=True)
    quantization.quantize_static(
        simplified,
        target,
        Reader(),
        activation_type=types.QUInt8,
        weight_type=types.QInt8,
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
    )
