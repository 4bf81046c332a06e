"""The float model that is quantized."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp._base.files import other_content
from lenet_cpp.data.images import PREPROCESS_NAME
from lenet_cpp.errors import BadInput, BadModel, FileNotFound, Unsupported
from lenet_cpp.formats.manifest import CHECKSUMS_NAME, Manifest, find_manifest
from lenet_cpp.formats.manifest import verify_checksums as verify
from lenet_cpp.quantize.deployed import Deployed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lenet_cpp.models import ModelSpec


@dataclass(frozen=True)
class FloatModel:
    """A float model in the files that the methods take.

    Attributes:
        program: The ``.pdmodel``.
        params: Its ``.pdiparams``.
        preprocess: The ``preprocess.json`` beside it; None when there is none.
        manifest: Its manifest; None when there is none.
        model: What :func:`lenet_cpp.models.resolve` takes.
        spec: The network.
        state: ``.npz`` with the network's parameters.
        input_shape: Channels, height and width.
        seed: Of random parameters; None for trained ones.
    """

    program: Path
    params: Path
    preprocess: Path | None
    manifest: Manifest | None
    model: str
    spec: ModelSpec
    state: Path
    input_shape: tuple[int, ...]
    class_dim: int
    seed: int | None = None

    @property
    def deployed(self) -> Deployed:
        """The model, to be run in float."""
        return Deployed(self.program, self.params, int8=False)


@contextmanager
def open_source(
    model: str = "lenet",
    *,
    model_dir: str | Path | None = None,
    params: str | Path | None = None,
    seed: int | None = None,
    class_dim: int | None = None,
    img_size: int | None = None,
) -> Iterator[FloatModel]:
    """Find the float model, exporting it first when parameters or a seed are given.

    Args:
        model: Name in :data:`lenet_cpp.models.MODELS`, or ``FILE.py:NAME``.
        model_dir: An exported model's folder; the bundled LeNet's when nothing is given.
        params: Instead, a ``.pdparams``.
        seed: Instead, of random parameters.
        class_dim: With parameters or a seed; as for an export.
        img_size: With parameters or a seed; as for an export.

    Raises:
        BadInput: The model is unknown or needs parameters, or more than one source is given.
        FileNotFound: There is no such file.
        BadModel: The model is damaged or of another network.
        Unsupported: The model is a ``.json`` only, or ends in a softmax.
    """
    from lenet_cpp.inference.bundled import bundled_model_dir
    from lenet_cpp.models import resolve

    spec = resolve(model)
    if sum(given is not None for given in (model_dir, params, seed)) > 1:
        raise BadInput("the model comes from a folder, from parameters or from a seed: give one")
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lenet-")))
        if params is not None or seed is not None:
            from lenet_cpp.export.inference_model import export_model

            export_model(
                params,
                work / "float",
                model=spec,
                formats=("pdmodel",),
                seed=seed,
                class_dim=class_dim,
                img_size=img_size,
            )
            model_dir = work / "float"
        elif model_dir is None:
            if spec.name != "lenet":
                raise BadInput(
                    f"{spec.name} needs its parameters (--params), an exported model"
                    " (--model-dir), or --seed N for random parameters"
                )
            model_dir = bundled_model_dir()
        yield _opened(Path(model_dir), model, spec, work, seed)


def _opened(path: Path, model: str, spec: ModelSpec, work: Path, seed: int | None) -> FloatModel:
    program = _program(path)
    folder = program.parent
    params = program.with_suffix(".pdiparams")
    if (folder / CHECKSUMS_NAME).exists():
        verify(folder)
    manifest = find_manifest(folder)
    if manifest is not None:
        if manifest.quantization is not None:
            raise BadInput(f"{folder} holds a model that is quantized already")
        if manifest.topology not in {None, spec.name}:
            raise BadModel(f"{folder} holds a model {manifest.topology}, not {spec.name}")
    state, shape, classes = _state(program, params, spec, work)
    preprocess = folder / PREPROCESS_NAME
    return FloatModel(
        program=program,
        params=params,
        preprocess=preprocess if preprocess.is_file() else None,
        manifest=manifest,
        model=model,
        spec=spec,
        state=state,
        input_shape=shape,
        class_dim=classes,
        seed=seed,
    )


def _program(path: Path) -> Path:
    if path.is_file() and path.suffix in {".json", ".pdmodel"}:
        if path.suffix == ".json":
            raise _json_only(path)
        return path
    if path.is_file():
        raise BadInput(
            f"{path} is not the folder of an exported model: {other_content(path, 'model')}"
        )
    if not path.is_dir():
        raise FileNotFound(f"there is no folder {path}")
    found = sorted(path.glob("*.pdmodel"))
    if not found and (programs := sorted(filter(_is_program, path.glob("*.json")))):
        raise _json_only(programs[0])
    if len(found) != 1:
        raise FileNotFound(f"expected one .pdmodel in {path}, found {len(found)}")
    return found[0]


def _is_program(path: Path) -> bool:
    return path.with_suffix(".pdiparams").is_file()


def _json_only(path: Path) -> Unsupported:
    return Unsupported(
        f"{path}: Paddle quantizes .pdmodel programs only, not those of its new format; export the"
        " model with scripts/export_model.py --format pdmodel"
    )


def _state(
    program: Path, params: Path, spec: ModelSpec, work: Path
) -> tuple[Path, tuple[int, ...], int]:
    """Write the parameters as the network has them; return the shapes of input and output."""
    from lenet_cpp.export.checks import compare_with_program
    from lenet_cpp.formats.source import Source
    from lenet_cpp.inference.checked_model import check_model
    from lenet_cpp.inference.predictor import Predictor
    from lenet_cpp.models.registry import build_layer
    from lenet_cpp.models.state import load_state

    checked = check_model(program, params)
    with Predictor(program, params) as predictor:
        shape, output = predictor.input_spec.shape, predictor.output_spec.shape
    classes = int(output[-1])
    layer = build_layer(spec, classes, _square(shape))
    arrays: dict[str, Any] = load_state(Source("pdmodel", program, params), checked, layer)
    softmax, _ = compare_with_program(layer, checked)
    if softmax:
        raise Unsupported(
            f"{program} ends in a softmax: quantize a model that was exported without, and apply"
            " the softmax to what it returns"
        )
    target = work / "state.npz"
    np.savez(target, **arrays)
    return target, tuple(shape[1:]), classes


def _square(shape: tuple[int, ...]) -> int:
    if len(shape) != 4 or shape[2] != shape[3] or shape[2] < 1:
        raise Unsupported(f"models of square images are quantized; this one takes {list(shape)}")
    return int(shape[2])
