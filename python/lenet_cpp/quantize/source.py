"""The float model that is quantized."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lenet_cpp._base.files import other_content
from lenet_cpp.errors import BadInput, BadModel, FileNotFound, Unsupported
from lenet_cpp.export.checks import compare_with_program
from lenet_cpp.export.inference_model import export_model
from lenet_cpp.formats.manifest import CHECKSUMS_NAME, Manifest, find_manifest, verify_checksums
from lenet_cpp.formats.source import Source, find_source
from lenet_cpp.inference.bundled import bundled_model_dir
from lenet_cpp.inference.checked_model import CheckedModel
from lenet_cpp.inference.classification import InferenceEngine
from lenet_cpp.inference.predictor import Predictor
from lenet_cpp.models import ModelSpec, find, resolve
from lenet_cpp.models.registry import build_layer
from lenet_cpp.models.state import load_state
from lenet_cpp.quantize.deployed import Deployed, run_all

if TYPE_CHECKING:
    from lenet_cpp.data.images import Pipeline


@dataclass(frozen=True)
class FloatModel:
    """A float model in the files that the methods take.

    Attributes:
        program: The ``.pdmodel``, with its ``.pdiparams`` beside it.
        name: What to call it: the network's name, or what the files are called.
        manifest: Its manifest; None when there is none.
        pipeline: How images are prepared; None when nothing says so.
        input_name: What the program calls its input.
        input_shape: Channels, height and width; 224 where the program takes any.
        num_classes: Number of classes.
        output_kind: As :attr:`lenet_cpp.Predictor.output_kind`.
        network: What :func:`lenet_cpp.models.resolve` takes; None when the network is not known.
        spec: The network; None when it is not known.
        state: The network's parameters; None when it is not known.
    """

    program: Path
    name: str
    manifest: Manifest | None
    pipeline: Pipeline | None
    input_name: str
    input_shape: tuple[int, ...]
    num_classes: int
    output_kind: str
    network: str | None = None
    spec: ModelSpec | None = None
    state: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def deployed(self) -> Deployed:
        """The model, to be run in float."""
        return Deployed(self.program, "fp32")

    def outputs(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Return float32 [N, classes], with which quantized models are compared; by oneDNN."""
        with self.deployed.opened("lenet_cpp") as run:
            return run_all(run, images)

    @property
    def description(self) -> str:
        """One line: the file, and what it holds."""
        shape = " x ".join(map(str, self.input_shape))
        return f"{self.program} ({self.name}, input {shape}, {self.num_classes} classes)"

    def check_method(self, method: str) -> None:
        """Check that a method can take this model.

        Raises:
            Unsupported: The method builds the network, and it is not known, or not the program's.
        """
        if method == "static-ptq":
            return
        if self.network is None:
            raise Unsupported(
                f"{self.program}: {method} builds the network again, and it is not known which it"
                " is: name it with --model (a registered model, or FILE.py:SPEC), or use static-ptq"
            )
        if self.output_kind == "probabilities":
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

    Args:
        model: Name in :data:`lenet_cpp.models.MODELS`, or ``FILE.py:NAME``; by default the one
            that the manifest of the exported model names, if any, and otherwise ``lenet``.
        model_dir: An exported model's folder or ``.pdmodel``, of any classifier; the bundled
            LeNet's when nothing is given.
        params: Instead, a ``.pdparams``.
        seed: Instead, of random parameters.
        num_classes: With parameters or a seed; as for an export.
        image_size: With parameters or a seed; as for an export.

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
    manifest = find_manifest(folder)
    if manifest is not None:
        if manifest.quantization is not None:
            raise BadInput(f"{folder} holds a model that is quantized already")
        if spec is None:
            spec = find(manifest.topology)
            network = None if spec is None else spec.name
        elif manifest.topology not in {None, spec.name}:
            raise BadModel(f"{folder} holds a model {manifest.topology}, not {spec.name}")
    with Predictor(program, params, engine="paddle", accelerator="plain") as predictor:
        taken, given = predictor.input_spec, predictor.output_spec
        checked, state = CheckedModel.of(predictor), None
    if len(taken.shape) != 4 or taken.shape[1] < 1 or len(given.shape) != 2 or given.shape[1] < 1:
        raise Unsupported(
            f"{program} takes {list(taken.shape)} and gives {list(given.shape)}: classifiers of"
            " images are quantized, from [N, channels, height, width] to [N, classes]"
        )
    shape = tuple(224 if size < 0 else size for size in taken.shape[1:])
    with InferenceEngine("paddle", model_name=network).load_predictor(program, params) as engine:
        name, pipeline = engine.name, None
        with suppress(FileNotFound):
            pipeline = engine.pipeline
    if spec is not None:
        if shape[1] != shape[2]:
            raise Unsupported(f"{program}: networks of square images are built, not of {shape}")
        layer = build_layer(spec, given.shape[1], shape[-1])
        state = load_state(source, checked, layer)
        compare_with_program(layer, checked)
    return FloatModel(
        program=program,
        name=name if spec is None else spec.name,
        manifest=manifest,
        pipeline=pipeline,
        input_name=taken.name,
        input_shape=shape,
        num_classes=given.shape[1],
        output_kind=checked.output_kind,
        network=network,
        spec=spec,
        state=state,
    )
