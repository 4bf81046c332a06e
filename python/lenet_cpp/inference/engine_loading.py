"""Load a model into the engine of a given name.

This module knows the C++ engines. :mod:`lenet_cpp.models` adds the engines that need Paddle's
Python package, and the registry of networks, when it is imported, so that this part of the package
depends on neither.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, get_args

from lenet_cpp import _core
from lenet_cpp.errors import BadInput
from lenet_cpp.formats.manifest import find_manifest
from lenet_cpp.formats.onnx_metadata import class_names, read_onnx_metadata
from lenet_cpp.inference.checked_model import CheckedModel
from lenet_cpp.inference.engine import RunSettings
from lenet_cpp.inference.options import EngineName, Options, replaces_output
from lenet_cpp.inference.paddle_package import library_facts
from lenet_cpp.inference.predictor import Predictor

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from pathlib import Path

    from lenet_cpp.data.images import Pipeline
    from lenet_cpp.formats.manifest import Manifest
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

    def pipeline(self, image_size: int | None = None) -> Pipeline:
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
    output_kind: str
    """As :attr:`lenet_cpp.Predictor.output_kind`."""


class EngineKind(NamedTuple):
    """How to load a model into an engine."""

    load: Callable[..., LoadedModel]
    """Loads the model; it takes the arguments of :func:`load`, except for the first."""
    options: frozenset[str]
    """The supported options."""


class CppEngine:
    """An engine that owns and runs a :class:`lenet_cpp.Predictor`."""

    def __init__(self, predictor: Predictor) -> None:
        """Take over a loaded predictor."""
        self._predictor = predictor
        self.input_shape = predictor.input_spec.shape
        self.run = predictor.run
        self.close = predictor.close

    def settings(self, batch_size: int) -> RunSettings:
        """Return how batches of this size are computed."""
        options = self._predictor.options
        version = _core.engine_version("paddle") if options["engine"] == "paddle" else "none"
        accelerator = self._predictor.accelerator(batch_size)
        return RunSettings(
            engine=options["engine"],
            **library_facts(version),
            accelerator=accelerator,
            tensorrt=accelerator == "tensorrt",
            ir_optim=options["ir_optim"],
            memory_optim=options["memory_optim"],
            threads=options["threads"],
            precision=options["precision"],
            runtime_device=options["device"].partition(":")[0],
        )


@dataclass
class _Registry:
    """The engines that :func:`load` knows, and the networks that it knows by name."""

    engines: dict[str, EngineKind] = field(default_factory=dict)
    find_network: Callable[[str | None], KnownNetwork | None] = lambda _: None
    resolve_network: Callable[[str], KnownNetwork | None] = lambda _: None


registry = _Registry()
"""This module adds the C++ engines, :mod:`lenet_cpp.models` the others."""


def load(
    engine: str,
    model_file: Source = None,
    params_file: Source = None,
    *,
    model_dir: Source = None,
    **options: Any,
) -> LoadedModel:
    """Load a model.

    Args:
        engine: The engine's name; :mod:`lenet_cpp.inference.engine` lists them.
        model_file: The program; for the ``dygraph`` engine the name of a registered model.
        params_file: Its parameters; for the ``dygraph`` engine a ``.pdparams`` file.
        model_dir: Instead of both, a folder with an exported model.
        **options: Some of :class:`lenet_cpp.Options`; for the ``dygraph`` engine ``num_classes``,
            the number of classes, and ``image_size``, height and width of the images in pixels.

    Raises:
        lenet_cpp.Error: An argument is wrong, or the model cannot be loaded.
    """
    kind = registry.engines.get(engine)
    if kind is None:
        raise BadInput(f"unknown engine {engine!r}; choose among {', '.join(registry.engines)}")
    if wrong := sorted(options.keys() - kind.options):
        if wrong[0] in {"num_classes", "image_size"}:
            raise BadInput("an exported model has its own number of classes and size of images")
        known = ", ".join(sorted(kind.options))
        raise BadInput(
            f"the {engine} engine does not support the option {wrong[0]}: it supports {known}"
        )
    return kind.load(model_file, params_file, model_dir=model_dir, **options)


def described(engine: Engine, model: CheckedModel, *, another_output: bool = False) -> LoadedModel:
    """Add the facts in the manifest beside an exported model, which are of its own output."""
    folder = model.program.parent
    manifest = find_manifest(folder)
    if manifest is not None and model.program.name not in manifest.models:
        manifest = None
    topology = manifest.topology if manifest else None
    labels = manifest.classes if manifest else ()
    if model.program.suffix == ".onnx":
        labels = class_names(read_onnx_metadata(model.program).get("classes"))
    usual = model.program.stem in {"__model__", "inference", "model"}
    stem = folder.absolute().name if usual else model.program.stem
    return LoadedModel(
        engine,
        file=model.program,
        name=topology or (manifest.name if manifest else stem),
        spec=registry.find_network(topology),
        labels=labels,
        output_kind=known_kind(model.output_kind, None if another_output else manifest),
    )


def known_kind(found: str, manifest: Manifest | None) -> str:
    """Return the kind of a program's outputs, by its manifest where the program does not tell."""
    if found != "unknown" or manifest is None or manifest.softmax is None:
        return found
    return "probabilities" if manifest.softmax else "logits"


def _load_cpp(engine: EngineName, *files: Source, **options: Any) -> LoadedModel:
    predictor = Predictor(*files, engine=engine, **options)
    try:
        checked, another = CheckedModel.of(predictor), replaces_output(predictor.options)
        return described(CppEngine(predictor), checked, another_output=another)
    except BaseException:
        predictor.close()
        raise


for _name in get_args(EngineName):
    registry.engines[_name] = EngineKind(
        partial(_load_cpp, _name), frozenset(Options.__annotations__) - {"engine"}
    )
