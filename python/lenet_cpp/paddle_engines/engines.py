"""The engines that need Paddle's Python package: ``python``, ``executor`` and ``dygraph``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lenet_cpp.errors import BadInput
from lenet_cpp.formats.source import find_parameters
from lenet_cpp.formats.tensor_spec import TensorSpec
from lenet_cpp.inference.engine import EngineKind
from lenet_cpp.inference.model import Model, check_model
from lenet_cpp.models.registry import build_layer, resolve
from lenet_cpp.models.weights import load_parameters
from lenet_cpp.paddle_engines.dygraph import DygraphEngine, ExecutorEngine
from lenet_cpp.paddle_engines.paddle_inference import PaddleInferenceEngine

if TYPE_CHECKING:
    from lenet_cpp.inference.engine import Engine, Source

_CHECKS = frozenset({"check_program", "check_hashes"})


def _load_python(*files: Source, model_dir: Source, **options: Any) -> tuple[Engine, Model]:
    checks = {name: options.pop(name) for name in _CHECKS & options.keys()}
    precision = options.get("precision", "fp32")
    model = check_model(*files, model_dir=model_dir, precision=precision, **checks)
    return PaddleInferenceEngine(model, **options), model


def _load_executor(*files: Source, device: str = "cpu", **checks: Any) -> tuple[Engine, Model]:
    model = check_model(*files, **checks)
    return ExecutorEngine(model, device), model


def _load_layer(
    network: Source,
    params_file: Source,
    *,
    model_dir: Source,
    num_classes: int | None = None,
    image_size: int | None = None,
    device: str = "cpu",
) -> tuple[Engine, Model]:
    if network is None or params_file is None or model_dir is not None:
        raise BadInput("the dygraph engine takes a registered model's name and its parameters")
    spec = resolve(str(network))
    shape = (-1, *spec.shape(image_size))
    params = find_parameters(params_file).path
    layer = build_layer(spec, num_classes, image_size)
    load_parameters(layer, params)
    specs = (
        TensorSpec("", shape, "float32"),
        TensorSpec("", (-1, num_classes or spec.classes), "float32"),
    )
    model = Model(params, None, *specs, program_kind="logits")
    labels = spec.class_names(num_classes)
    model = model.knows(manifest=None, network=spec, own_name=spec.name, own_labels=labels)
    return DygraphEngine(layer, device), model


_OTHERS = {"accelerator", "threads", "ir_optim", "memory_optim", "precision", "gpu_mem"}
ENGINES = {
    "python": EngineKind(_load_python, _CHECKS | _OTHERS | {"device"}),
    "executor": EngineKind(_load_executor, _CHECKS | {"device"}),
    "dygraph": EngineKind(_load_layer, frozenset({"num_classes", "image_size", "device"})),
}
"""What :func:`lenet_cpp.inference.engine.load` knows besides the engines in C++."""
