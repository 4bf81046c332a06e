"""Load a model into the engine of a given name.

This module knows the C++ engines. :mod:`lenet_cpp.models` adds the engines that need Paddle's
Python package, and the registry of networks, when it is imported, so that this part of the package
depends on neither.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lenet_cpp.errors import BadInput
from lenet_cpp.formats.manifest import find_manifest
from lenet_cpp.formats.onnx_metadata import class_names, read_onnx_metadata
from lenet_cpp.inference.checked_model import CheckedModel
from lenet_cpp.inference.cpp_engine import CppEngine
from lenet_cpp.inference.predictor import Options, Predictor

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from lenet_cpp.data.images import Pipeline
    from lenet_cpp.inference.engine import Engine

    Source = str | os.PathLike[str] | None


class KnownNetwork(Protocol):
    """What a registry knows about a network."""

    @property
    def name(self) -> str:
        """The name in the registry."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The label of each class; empty when they are not known."""
        ...

    def pipeline(self, img_size: int | None = None) -> Pipeline:
        """Return the preprocessing of images of that size."""
        ...


@dataclass(frozen=True)
class LoadedModel:
    """A model in an engine, and what is known about it."""

    engine: Engine
    file: Path
    """The program; in the ``dygraph`` engine the parameters."""
    name: str
    spec: KnownNetwork | None
    """The registered network; None when it is not known."""
    labels: tuple[str, ...]
    """The label of each class; empty when they are not known."""
    gives_probabilities: bool
    """Whether the model ends in a softmax."""


class LoadRequest(NamedTuple):
    """The arguments of :func:`load`."""

    model_file: Source
    params_file: Source
    model_dir: Source
    class_dim: int | None
    img_size: int | None
    options: Mapping[str, Any]


@dataclass(frozen=True)
class EngineKind:
    """How to load a model into an engine.

    Attributes:
        load: The function that loads the model.
        options: The supported fields of :class:`lenet_cpp.Options`.
        takes_sizes: Whether the number of classes and the size of images are arguments; an
            exported model has its own.
    """

    load: Callable[[LoadRequest], LoadedModel]
    options: frozenset[str]
    takes_sizes: bool = False


def _no_network(_name: str | None) -> KnownNetwork | None:
    return None


def _unknown_network(reference: str) -> KnownNetwork:
    raise BadInput(f"unknown model {reference!r}: no registry of networks is imported")


@dataclass
class _Registry:
    """The engines that :func:`load` knows, and the networks that it knows by name."""

    engines: dict[str, EngineKind] = field(default_factory=dict)
    find_network: Callable[[str | None], KnownNetwork | None] = _no_network
    resolve_network: Callable[[str], KnownNetwork] = _unknown_network


registry = _Registry()
"""This module adds the C++ engines, :mod:`lenet_cpp.models` the others."""


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
        engine: The engine's name; :mod:`lenet_cpp.inference.engine` lists them.
        model_file: The program; for the ``dygraph`` engine the name of a registered model.
        params_file: Its parameters; for the ``dygraph`` engine a ``.pdparams`` file.
        model_dir: Instead of both, a folder with an exported model.
        class_dim: Number of classes; only for the ``dygraph`` engine.
        img_size: Height and width of the images, in pixels; only for the ``dygraph`` engine.
        options: Some of :class:`lenet_cpp.Options`.

    Raises:
        lenet_cpp.Error: An argument is wrong, or the model cannot be loaded.
    """
    kind = registry.engines.get(engine)
    if kind is None:
        raise BadInput(f"unknown engine {engine!r}; choose among {', '.join(registry.engines)}")
    if wrong := sorted(options.keys() - kind.options):
        known = sorted(kind.options)
        takes = f"it supports {', '.join(known)}" if known else "it supports none"
        raise BadInput(f"the {engine} engine does not support the option {wrong[0]}: {takes}")
    if not kind.takes_sizes and (class_dim is not None or img_size is not None):
        raise BadInput("an exported model has its own number of classes and size of images")
    return kind.load(LoadRequest(model_file, params_file, model_dir, class_dim, img_size, options))


def described(engine: Engine, model: CheckedModel) -> LoadedModel:
    """Add the facts in the manifest beside an exported model."""
    folder = model.program.parent
    manifest = find_manifest(folder)
    if manifest is not None and model.program.name not in manifest.models:
        manifest = None
    topology = manifest.topology if manifest else None
    known = manifest.softmax if manifest else None
    labels = manifest.classes if manifest else ()
    if model.program.suffix == ".onnx":
        labels = class_names(read_onnx_metadata(model.program).get("classes"))
    return LoadedModel(
        engine,
        file=model.program,
        name=topology or (manifest.name if manifest else _name_of(model.program)),
        spec=registry.find_network(topology),
        labels=labels,
        gives_probabilities=model.ends_in_softmax() if known is None else known,
    )


def _load_cpp(engine: str, request: LoadRequest) -> LoadedModel:
    predictor = Predictor(
        request.model_file,
        request.params_file,
        model_dir=request.model_dir,
        engine=engine,
        **request.options,
    )
    try:
        model = CheckedModel(
            predictor.model_file, predictor.params_file, predictor.input_spec.shape
        )
        return described(CppEngine(predictor), model)
    except BaseException:
        predictor.close()
        raise


def _name_of(program: Path) -> str:
    """Return a program's stem, or its folder's name when all models have that stem."""
    usual = program.stem in {"__model__", "inference", "model"}
    return program.absolute().parent.name if usual else program.stem


for _name in ("auto", "native", "paddle", "onnxruntime"):
    registry.engines[_name] = EngineKind(
        partial(_load_cpp, _name), frozenset(Options.__annotations__) - {"engine"}
    )
