"""The engines that need Paddle's Python package: ``python``, ``executor`` and ``dygraph``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lenet_cpp.errors import BadInput
from lenet_cpp.formats.source import find_parameters
from lenet_cpp.inference.checked_model import check_model
from lenet_cpp.inference.engine_loading import EngineKind, LoadedModel, described, registry
from lenet_cpp.models.dygraph_engine import DygraphEngine, ExecutorEngine
from lenet_cpp.models.paddle_inference_engine import PaddleInferenceEngine
from lenet_cpp.models.registry import build_layer, find, resolve
from lenet_cpp.models.weights import load_parameters

if TYPE_CHECKING:
    from lenet_cpp.inference.engine_loading import Source

_CHECKS = frozenset({"check_program", "check_hashes"})


def register() -> None:
    """Add these engines and the registry of networks to the loader of engines."""
    others = {"accelerator", "threads", "ir_optim", "memory_optim", "precision", "gpu_mem"}
    registry.engines["python"] = EngineKind(_load_python, _CHECKS | others | {"device"})
    registry.engines["executor"] = EngineKind(_load_executor, _CHECKS | {"device"})
    registry.engines["dygraph"] = EngineKind(
        _load_layer, frozenset({"num_classes", "image_size", "device"})
    )
    registry.find_network = find
    registry.resolve_network = resolve


def _load_python(*files: Source, model_dir: Source, **options: Any) -> LoadedModel:
    checks = {name: options.pop(name) for name in _CHECKS & options.keys()}
    precision = options.get("precision", "fp32")
    model = check_model(*files, model_dir=model_dir, precision=precision, **checks)
    return described(PaddleInferenceEngine(model, **options), model)


def _load_executor(*files: Source, device: str = "cpu", **checks: Any) -> LoadedModel:
    model = check_model(*files, **checks)
    return described(ExecutorEngine(model, device), model)


def _load_layer(
    network: Source,
    params_file: Source,
    *,
    model_dir: Source,
    num_classes: int | None = None,
    image_size: int | None = None,
    device: str = "cpu",
) -> LoadedModel:
    if network is None or params_file is None or model_dir is not None:
        raise BadInput("the dygraph engine takes a registered model's name and its parameters")
    spec = resolve(str(network))
    shape = spec.shape(image_size)
    params = find_parameters(params_file).path
    layer = build_layer(spec, num_classes, image_size)
    load_parameters(layer, params)
    return LoadedModel(
        DygraphEngine(layer, (-1, *shape), device),
        file=params,
        name=spec.name,
        spec=spec,
        labels=spec.class_names(num_classes),
        output_kind="logits",
    )
