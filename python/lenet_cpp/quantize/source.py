"""The float model that is quantized."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_cpp._base.files import other_content
from lenet_cpp.errors import BadInput, BadModel, Unsupported
from lenet_cpp.export.checks import compare_with_program
from lenet_cpp.export.inference_model import export_model
from lenet_cpp.formats.manifest import CHECKSUMS_NAME, verify_checksums
from lenet_cpp.formats.source import Source, find_source
from lenet_cpp.inference.bundled import bundled_model_dir
from lenet_cpp.inference.model import Model, Overrides
from lenet_cpp.inference.predictor import Predictor
from lenet_cpp.models import ModelSpec, find, resolve
from lenet_cpp.models.building import build_layer
from lenet_cpp.models.state import load_state
from lenet_cpp.quantize.deployed import Deployed, run_all


@dataclass(frozen=True)
class FloatModel:
    """A float model in the files that the methods take: a ``.pdmodel`` with its ``.pdiparams``.

    The network, as :func:`lenet_cpp.models.resolve` takes it, its specification and its parameters
    are None when it is not known which it is.
    """

    model: Model
    network: str | None = None
    spec: ModelSpec | None = None
    state: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def program(self) -> Path:
        """The ``.pdmodel``."""
        return self.model.program

    @property
    def name(self) -> str:
        """What to call it: the network's name, or what the files are called."""
        return self.model.name if self.spec is None else self.spec.name

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Channels, height and width; 224 where the program takes any."""
        return tuple(224 if size < 0 else size for size in self.model.input_shape[1:])

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.model.output_spec.shape[1]

    @property
    def deployed(self) -> Deployed:
        """The model, to be run in float."""
        return Deployed(self.program, "fp32")

    def outputs(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Return float32 [N, classes], with which quantized models are compared; by Paddle."""
        with self.deployed.opened("lenet_cpp") as run:
            return run_all(run, images)

    @property
    def description(self) -> str:
        """One line: the file, and what it holds."""
        shape = " x ".join(map(str, self.input_shape))
        return f"{self.program} ({self.name}, input {shape}, {self.num_classes} classes)"

    def check_method(self, method: str) -> None:
        """Refuse a method that builds the network when it is not known, or not the program's."""
        if method == "static-ptq":
            return
        if self.network is None:
            raise Unsupported(
                f"{self.program}: {method} builds the network again, and it is not known which it"
                " is: name it with --model (a registered model, or FILE.py:SPEC), or use static-ptq"
            )
        if self.model.output_role == "probabilities":
            raise Unsupported(
                f"{self.program} ends in a softmax, which {method} would leave out: use static-ptq,"
                " or export the model without, and apply the softmax to what it returns"
            )


@contextmanager
def open_source(
    model: str | None = None,
    *,
    model_dir: str | Path | None = None,
    params: str | Path | None = None,
    seed: int | None = None,
    num_classes: int | None = None,
    image_size: int | None = None,
) -> Iterator[FloatModel]:
    """Find the float model, exporting it first when parameters or a seed are given.

    The network ``model`` is a name in :data:`lenet_cpp.models.MODELS` or ``FILE.py:NAME``; by
    default the one that the manifest of the exported model names, if any, and otherwise ``lenet``.
    ``model_dir`` is an exported model's folder or ``.pdmodel``, of any classifier, and the bundled
    LeNet's when nothing is given; ``params`` instead a ``.pdparams``, ``seed`` that of random
    parameters. The sizes are for these two, as for an export.

    Raises:
        BadInput: The model is unknown or needs parameters, or more than one source is given.
        FileNotFound: There is no such file.
        BadModel: The model is damaged or of another network.
        Unsupported: The model is not a ``.pdmodel`` of a classifier of images.
    """
    if sum(given is not None for given in (model_dir, params, seed)) > 1:
        raise BadInput("the model comes from a folder, from parameters or from a seed: give one")
    network = "lenet" if model is None and model_dir is None else model
    spec = None if network is None else resolve(network)
    with tempfile.TemporaryDirectory(prefix="lenet-") as work:
        if spec is not None and (params is not None or seed is not None):
            model_dir = Path(work, "float")
            export_model(
                params,
                model_dir,
                model=spec,
                formats=("pdmodel",),
                seed=seed,
                num_classes=num_classes,
                image_size=image_size,
            )
        elif model_dir is None:
            if spec is not None and spec.name != "lenet":
                raise BadInput(
                    f"{spec.name} needs its parameters (--params), an exported model"
                    " (--model-dir), or --seed N for random parameters"
                )
            model_dir = bundled_model_dir()
        yield _opened(_find(Path(model_dir)), network, spec)


def _find(path: Path) -> Source:
    if path.is_file() and path.suffix not in {".json", ".pdmodel"}:
        raise BadInput(
            f"{path} is not the folder of an exported model: {other_content(path, 'model')}"
        )
    source = find_source(path)
    if source.format != "pdmodel":
        others = f"others; lenet-cpp convert {path} --to pdmodel"
        if source.format == "json":
            others = "its new format; export the model with lenet-cpp export --format pdmodel"
        raise Unsupported(
            f"{source.path}: Paddle quantizes .pdmodel programs only, not those of {others}"
        )
    return source


def _opened(source: Source, network: str | None, spec: ModelSpec | None) -> FloatModel:
    program, params, folder = source.path, source.params, source.folder
    if (folder / CHECKSUMS_NAME).exists():
        verify_checksums(folder)
    with Predictor(program, params, engine="paddle", accelerator="plain") as predictor:
        model, state = Model.of(predictor), None
    manifest = model.manifest
    if manifest is not None:
        if manifest.quantization is not None:
            raise BadInput(f"{folder} holds a model that is quantized already")
        if spec is None:
            spec = find(manifest.topology)
            network = None if spec is None else spec.name
        elif manifest.topology not in {None, spec.name}:
            raise BadModel(f"{folder} holds a model {manifest.topology}, not {spec.name}")
    taken, given = model.input_shape, model.output_spec.shape
    if len(taken) != 4 or taken[1] < 1 or len(given) != 2 or given[1] < 1:
        raise Unsupported(
            f"{program} takes {list(taken)} and gives {list(given)}: classifiers of images are"
            " quantized, from [N, channels, height, width] to [N, classes]"
        )
    found = FloatModel(model.overridden(Overrides(network=network)), network, spec)
    if spec is not None:
        _, height, width = found.input_shape
        if height != width:
            raise Unsupported(
                f"{program}: networks of square images are built, not of {found.input_shape}"
            )
        layer = build_layer(spec, found.num_classes, width)
        state = load_state(source, model, layer)
        compare_with_program(layer, model)
    return replace(found, state=state)
