"""From the name of an engine and the files of a model to the engine that runs it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_cpp import models
from lenet_cpp._extras import require_paddle
from lenet_cpp.engines.checked_model import CheckedModel, check_model
from lenet_cpp.engines.cpp import CppEngine
from lenet_cpp.errors import BadInput
from lenet_cpp.manifest import has_manifest, read_manifest
from lenet_cpp.predictor import Options, Predictor

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from lenet_cpp.engines import Engine
    from lenet_cpp.models import ModelSpec

    Source = str | os.PathLike[str] | None

__all__ = ["ENGINES", "LoadedModel", "load"]


@dataclass(frozen=True)
class LoadedModel:
    """A model in an engine, and what is known of it."""

    engine: Engine
    file: Path
    """The program; with the ``dygraph`` engine the parameters."""
    name: str
    spec: ModelSpec | None
    """What the registry has for it; None when it is not known which model it is."""
    labels: tuple[str, ...]
    """The name of each class; empty when they are not known."""
    gives_probabilities: bool
    """Whether the model ends in a softmax."""


def load(
    engine: str,
    model_file: Source = None,
    params_file: Source = None,
    *,
    model_dir: Source = None,
    class_dim: int | None = None,
    img_size: int | None = None,
    options: Mapping[str, Any],
) -> LoadedModel:
    """Load a model.

    Args:
        engine: One of :data:`ENGINES`.
        model_file: The program; with the ``dygraph`` engine the name of a registered model.
        params_file: Its parameters; with the ``dygraph`` engine a ``.pdparams`` file.
        model_dir: Instead of both, a folder with an exported model.
        class_dim: Number of classes; with the ``dygraph`` engine only.
        img_size: Height and width of the images, in pixels; with the ``dygraph`` engine only.
        options: Some of :class:`lenet_cpp.Options`.

    Raises:
        lenet_cpp.Error: An argument is wrong, or the model cannot be loaded.
    """
    if engine not in ENGINES:
        raise BadInput(f"unknown engine {engine!r}; choose among {', '.join(ENGINES)}")
    if engine not in _CPP:
        require_paddle()
    known = _OPTIONS[engine]
    if wrong := sorted(options.keys() - known):
        takes = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
        raise BadInput(f"option {wrong[0]} does not go with the engine {engine}: {takes}")
    if engine == "dygraph":
        if model_file is None or params_file is None or model_dir is not None:
            raise BadInput("the engine dygraph takes a registered model's name and its parameters")
        return _load_layer(str(model_file), Path(params_file), class_dim, img_size)
    if class_dim is not None or img_size is not None:
        raise BadInput("an exported model has its own number of classes and size of images")
    return _LOADERS[engine](model_file, params_file, model_dir, options)


def _load_cpp(
    engine: str,
    model_file: Source,
    params_file: Source,
    model_dir: Source,
    options: Mapping[str, Any],
) -> LoadedModel:
    predictor = Predictor(model_file, params_file, model_dir=model_dir, engine=engine, **options)
    try:
        model = CheckedModel(
            predictor.model_file, predictor.params_file, predictor.input_spec.shape
        )
        return _described(CppEngine(predictor), model)
    except BaseException:
        predictor.close()
        raise


def _load_python(
    model_file: Source, params_file: Source, model_dir: Source, options: Mapping[str, Any]
) -> LoadedModel:
    from lenet_cpp.engines.paddle_inference import PaddleInferenceEngine

    checks = {name: value for name, value in options.items() if name in _CHECKS}
    others = {name: value for name, value in options.items() if name not in _CHECKS}
    precision = options.get("precision", "fp32")
    model = check_model(model_file, params_file, model_dir=model_dir, precision=precision, **checks)
    return _described(PaddleInferenceEngine(model, **others), model)


def _load_executor(
    model_file: Source, params_file: Source, model_dir: Source, options: Mapping[str, Any]
) -> LoadedModel:
    from lenet_cpp.engines.training import ExecutorEngine

    model = check_model(model_file, params_file, model_dir=model_dir, **options)
    return _described(ExecutorEngine(model), model)


def _load_layer(
    reference: str, params: Path, class_dim: int | None, img_size: int | None
) -> LoadedModel:
    from lenet_cpp.checkpoint import load_parameters
    from lenet_cpp.engines.training import DygraphEngine

    spec = models.resolve(reference)
    shape = spec.shape(img_size)
    # Paddle 1 and 2 name the parameters by what comes before the suffix.
    if params.suffix != ".pdparams" and not params.is_file():
        params = params.with_name(params.name + ".pdparams")
    layer = spec.build(class_dim, img_size)
    load_parameters(layer, params)
    return LoadedModel(
        DygraphEngine(layer, (-1, *shape)),
        file=params,
        name=spec.name,
        spec=spec,
        labels=spec.class_names(class_dim),
        gives_probabilities=False,
    )


def _described(engine: Engine, model: CheckedModel) -> LoadedModel:
    """Add what the manifest beside an exported model says of it."""
    folder = model.program.parent
    manifest = read_manifest(folder) if has_manifest(folder) else None
    if manifest is not None and model.program.name not in manifest.models:
        manifest = None
    topology = manifest.topology if manifest else None
    spec = models.get(topology) if topology and is_registered(topology) else None
    known = manifest.softmax if manifest else None
    return LoadedModel(
        engine,
        file=model.program,
        name=topology or (manifest.name if manifest else _name_of(model.program)),
        spec=spec,
        labels=manifest.classes if manifest else (),
        gives_probabilities=model.ends_in_softmax() if known is None else known,
    )


def is_registered(name: str) -> bool:
    """Whether the registry has a model of this name."""
    return name.lower() in {known.lower() for known in models.MODELS}


def _name_of(program: Path) -> str:
    """The stem of a program, or its folder's name when the stem is the same for all models."""
    usual = program.stem in {"__model__", "inference", "model"}
    return program.absolute().parent.name if usual else program.stem


_CPP = ("auto", "native", "paddle", "onnxruntime")
_LOADERS: dict[str, Callable[[Source, Source, Source, Mapping[str, Any]], LoadedModel]] = {
    **{name: partial(_load_cpp, name) for name in _CPP},
    "python": _load_python,
    "executor": _load_executor,
}
_CHECKS = frozenset({"check_program", "check_hashes"})
_PREDICTOR = frozenset(Options.__annotations__) - {"engine"}
_OPTIONS: dict[str, frozenset[str]] = {
    **dict.fromkeys(_CPP, _PREDICTOR),
    "python": _CHECKS | {"accelerator", "threads", "ir_optim", "memory_optim", "precision"},
    "executor": _CHECKS,
    "dygraph": frozenset(),
}
ENGINES = tuple(_OPTIONS)
"""The names of the engines; :mod:`lenet_cpp.engines` says what they are."""
