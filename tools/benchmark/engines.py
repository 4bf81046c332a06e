"""How each engine loads the model and runs a batch; what a child process of the benchmark imports.

The module is loaded by its path and imports nothing of the package, so that the time from process
start to the first result is the engine's own (but for dygraph, which needs the network, and
``paddle.inference`` in bf16 and int8, whose many switches stand in one place). Each function takes
a model and returns what runs a batch: float32 [N, C, H, W] in, float32 [N, classes] out, both NumPy
arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]

__all__ = [
    "Model",
    "compile_openvino",
    "dygraph",
    "lenet_cpp",
    "litert",
    "onnxruntime",
    "openvino",
    "paddle_inference",
]


class Model(TypedDict, total=False):
    """The model and how to run it; a contender uses what it needs."""

    program: str
    """``.pdmodel`` or ``.json``, quantized for int8."""
    params: str
    """``.pdiparams``."""
    onnx: str
    tflite: str
    weights: str
    """``.npz`` with the arrays of the layer's state dict."""
    network: str
    """What builds the layer: a name in the registry, or ``FILE.py:SPEC``."""
    classes: int
    accelerator: str
    engine: str
    """Of lenet_cpp."""
    precision: str
    """``fp32`` when it is not there."""
    threads: int
    onednn_shapes: int | None
    """How many input shapes oneDNN keeps primitives for; None for Paddle's default."""
    cache: str
    """An empty folder, for what OpenVINO writes."""


# As paddle_engine.cc has it.
_ONEDNN_SHAPES = 16


def dygraph(model: Model) -> Run:
    """The network itself, in eager mode. Its threads are those of OMP_NUM_THREADS."""
    import paddle

    from lenet_cpp.models import resolve

    layer = resolve(model["network"]).build(model["classes"])
    weights = np.load(model["weights"])
    layer.set_state_dict({name: paddle.to_tensor(weights[name]) for name in weights.files})
    layer.eval()

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with paddle.no_grad():
            output: NDArray[np.float32] = layer(paddle.to_tensor(batch)).numpy()
        return output

    return run


def _onednn(config: Any, name: str) -> Callable[..., None]:
    # Paddle 3.1 knows oneDNN only by its older name, for which later versions print a warning.
    method: Callable[..., None] | None = getattr(config, name, None)
    return method or getattr(config, name.replace("onednn", "mkldnn"))


def paddle_inference(model: Model) -> Run:
    """``paddle.inference``, configured as ``paddle_engine.cc`` does."""
    from paddle.inference import create_predictor

    predictor = create_predictor(
        _float_config(model) if model.get("precision", "fp32") == "fp32" else _reduced_config(model)
    )
    source = predictor.get_input_handle(predictor.get_input_names()[0])
    output = predictor.get_output_handle(predictor.get_output_names()[0])

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        source.reshape(batch.shape)
        source.copy_from_cpu(batch)
        predictor.run()
        result: NDArray[np.float32] = output.copy_to_cpu()
        return result

    return run


def _reduced_config(model: Model) -> Any:
    from pathlib import Path

    from lenet_cpp.models.paddle_run import inference_config

    return inference_config(
        Path(model["program"]),
        Path(model["params"]),
        pir=model["program"].endswith(".json"),
        accelerator=model["accelerator"],
        threads=model["threads"],
        precision=model["precision"],
        cache=model["cache"],
    )


def _float_config(model: Model) -> Any:
    from paddle.inference import Config, PrecisionType

    config = Config(model["program"], model["params"])
    config.disable_gpu()
    config.disable_glog_info()
    config.set_cpu_math_library_num_threads(model["threads"])
    config.switch_ir_optim(True)
    if model["program"].endswith(".json"):
        config.enable_new_executor(True)
        config.enable_new_ir(True)
    else:
        config.enable_memory_optim(False)
    if model["accelerator"] == "onednn":
        _onednn(config, "enable_onednn")()
        shapes = model.get("onednn_shapes", _ONEDNN_SHAPES)
        if shapes is not None:
            _onednn(config, "set_onednn_cache_capacity")(shapes)
    else:
        _onednn(config, "disable_onednn")()
    if model["accelerator"] == "openvino":
        config.set_optim_cache_dir(model["cache"])
        config.enable_openvino_engine(PrecisionType.Float32)
    return config


def lenet_cpp(model: Model) -> Run:
    """``lenet_cpp.Predictor``."""
    from lenet_cpp import Predictor

    predictor = Predictor(
        model["program"],
        model["params"],
        engine=model.get("engine", "paddle"),
        accelerator=model["accelerator"],
        threads=model["threads"],
        precision=model.get("precision", "fp32"),
    )
    return predictor.run


def onnxruntime(model: Model) -> Run:
    """ONNX Runtime's CPU provider."""
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = model["threads"]
    options.inter_op_num_threads = 1
    session = InferenceSession(model["onnx"], options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = session.run(None, {name: batch})[0]
        return result

    return run


def openvino(model: Model) -> Run:
    """OpenVINO of its own package, which reads the ``.pdmodel`` itself; for int8 the ONNX file."""
    request = compile_openvino(model).create_infer_request()

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        result: NDArray[np.float32] = request.infer([batch], share_inputs=True)[0]
        return result

    return run


def compile_openvino(model: Model) -> Any:
    """Return OpenVINO's compiled model; its runtime model says how each layer is computed."""
    from openvino import Core

    core = Core()
    precision = model.get("precision", "fp32")
    # A quantized model says by itself what is to be computed in int8; the rest is float32.
    source = [model["onnx"]] if precision == "int8" else [model["program"], model["params"]]
    return core.compile_model(
        core.read_model(*source),
        "CPU",
        {
            "INFERENCE_NUM_THREADS": model["threads"],
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        },
    )


def litert(model: Model) -> Run:
    """LiteRT's interpreter with its default XNNPACK delegate; of LeNet only."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(model_path=model["tflite"], num_threads=model["threads"])
    source = interpreter.get_input_details()[0]["index"]
    output = interpreter.get_output_details()[0]["index"]
    images = 0

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        nonlocal images
        if len(batch) != images:
            interpreter.resize_tensor_input(source, [len(batch), 28, 28, 1])
            interpreter.allocate_tensors()
            images = len(batch)
        # One channel: NCHW and NHWC are the same bytes.
        interpreter.set_tensor(source, batch.reshape(-1, 28, 28, 1))
        interpreter.invoke()
        result: NDArray[np.float32] = interpreter.get_tensor(output)
        return result

    return run
