"""Load the model and run batches in each engine; a child process of the benchmark imports this.

The module is loaded by its path and imports nothing of the package, so that the time from process
start to the first result is the engine's own (but for dygraph, which needs the network, and
``paddle.inference``, whose many switches stand in one place). Each function takes a model and
returns what runs a batch: float32 [N, C, H, W] in, float32 [N, classes] out, both NumPy arrays.
A model has what :func:`tools.benchmark.turns.task_of` puts there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Run = Callable[[NDArray[np.float32]], Any]
    Model = Mapping[str, Any]


def dygraph(model: Model) -> Run:
    """Run the network itself, in eager mode. Its threads are those of OMP_NUM_THREADS."""
    import paddle

    from lenet_cpp.models import resolve

    layer = resolve(model["network"]).build(model["classes"])
    weights = np.load(model["weights"])
    layer.set_state_dict({name: paddle.to_tensor(weights[name]) for name in weights.files})
    layer.eval()

    def run(batch: NDArray[np.float32]) -> Any:
        with paddle.no_grad():
            return layer(paddle.to_tensor(batch)).numpy()

    return run


def paddle_inference(model: Model) -> Run:
    """Run ``paddle.inference``, configured as ``load_predictor.cc`` does."""
    from paddle.inference import create_predictor

    from lenet_cpp.paddle_engines.running import inference_config

    program, params = Path(model["program"]), Path(model["params"])
    options = {k: model[k] for k in ("accelerator", "threads", "precision", "cache")}
    config = inference_config(program, params, **options)
    predictor = create_predictor(config)
    source = predictor.get_input_handle(predictor.get_input_names()[0])
    output = predictor.get_output_handle(predictor.get_output_names()[0])

    def run(batch: NDArray[np.float32]) -> Any:
        source.reshape(batch.shape)
        source.copy_from_cpu(batch)
        predictor.run()
        return output.copy_to_cpu()

    return run


def lenet_cpp(model: Model) -> Run:
    """Run ``lenet_cpp.Predictor``, by what every version of the package has."""
    from lenet_cpp import Predictor

    options = {k: model[k] for k in ("engine", "accelerator", "threads", "precision")}
    return Predictor(model.get("program") or model["onnx"], model.get("params"), **options).run


def onnxruntime(model: Model) -> Run:
    """Run ONNX Runtime's CPU provider."""
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = model["threads"]
    options.inter_op_num_threads = 1
    session = InferenceSession(model["onnx"], options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]


def openvino(model: Model) -> Run:
    """Run OpenVINO of its own package, which reads a ``.pdmodel`` itself; else an ``.onnx``."""
    request = compile_openvino(model).create_infer_request()
    return lambda batch: request.infer([batch], share_inputs=True)[0]


def compile_openvino(model: Model) -> Any:
    """Return OpenVINO's compiled model; its runtime model says how each layer is computed."""
    from openvino import Core

    core = Core()
    precision = model["precision"]
    # A quantized model says by itself what is to be computed in int8; the rest is float32.
    source = [model["onnx"]] if "onnx" in model else [model["program"], model["params"]]
    options = {
        "INFERENCE_NUM_THREADS": model["threads"],
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    return core.compile_model(core.read_model(*source), "CPU", options)


def litert(model: Model) -> Run:
    """Run LiteRT's interpreter with its default XNNPACK delegate; LeNet only."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(model_path=model["tflite"], num_threads=model["threads"])
    source = interpreter.get_input_details()[0]["index"]
    output = interpreter.get_output_details()[0]["index"]
    images = 0

    def run(batch: NDArray[np.float32]) -> Any:
        nonlocal images
        if len(batch) != images:
            interpreter.resize_tensor_input(source, [len(batch), 28, 28, 1])
            interpreter.allocate_tensors()
            images = len(batch)
        # One channel: NCHW and NHWC are the same bytes.
        interpreter.set_tensor(source, batch.reshape(-1, 28, 28, 1))
        interpreter.invoke()
        return interpreter.get_tensor(output)

    return run
