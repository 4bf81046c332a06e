"""The engines that need Paddle's Python package: ``python``, ``executor`` and ``dygraph``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lenet_cpp._base.optional import require_paddle
from lenet_cpp.errors import BadInput
from lenet_cpp.inference.checked_model import check_model
from lenet_cpp.inference.engine_loading import EngineKind, LoadedModel, described, registry
from lenet_cpp.models.dygraph_engine import DygraphEngine, ExecutorEngine
from lenet_cpp.models.paddle_inference_engine import PaddleInferenceEngine
from lenet_cpp.models.registry import find, resolve
from lenet_cpp.models.weights import load_parameters

if TYPE_CHECKING:
    from lenet_cpp.inference.engine_loading import LoadRequest

_CHECKS = frozenset({"check_program", "check_hashes"})


def register() -> None:
    """Add these engines and the registry of networks to the loader of engines."""
    others = {"accelerator", "threads", "ir_optim", "memory_optim", "precision"}
    registry.engines["python"] = EngineKind(_load_python, _CHECKS | others)
    registry.engines["executor"] = EngineKind(_load_executor, _CHECKS)
    registry.engines["dygraph"] = EngineKind(_load_layer, frozenset(), takes_sizes=True)
    registry.find_network = find
    registry.resolve_network = resolve


def _load_python(request: LoadRequest) -> LoadedModel:
    require_paddle()
    options = request.options
    checks = {name: value for name, value in options.items() if name in _CHECKS}
    others = {name: value for name, value in options.items() if name not in _CHECKS}
    model = check_model(
        request.model_file,
        request.params_file,
        model_dir=request.model_dir,
        precision=options.get("precision", "fp32"),
        **checks,
    )
    return described(PaddleInferenceEngine(model, **others), model)


def _load_executor(request: LoadRequest) -> LoadedModel:
    require_paddle()
    model = check_model(
        request.model_file, request.params_file, model_dir=request.model_dir, **request.options
    )
    return described(ExecutorEngine(model), model)


def _load_layer(request: LoadRequest) -> LoadedModel:
    require_paddle()
    if request.model_file is None or request.params_file is None or request.model_dir is not None:
        raise BadInput("the dygraph engine takes a registered model's name and its parameters")
    spec = resolve(str(request.model_file))
    shape = spec.shape(request.img_size)
    params = Path(request.params_file)
    # Paddle 1 and 2 name the parameters without the suffix.
    if params.suffix != ".pdparams" and not params.is_file():
        params = params.with_name(params.name + ".pdparams")
    layer = spec.build(request.class_dim, request.img_size)
    load_parameters(layer, params)
    return LoadedModel(
        DygraphEngine(layer, (-1, *shape)),
        file=params,
        name=spec.name,
        spec=spec,
        labels=spec.class_names(request.class_dim),
        gives_probabilities=False,
    )
