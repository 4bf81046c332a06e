"""Write a static page that runs a model in the browser (``web/`` of the repository)."""

import json
import shutil
from importlib.resources import files
from pathlib import Path

from lenet_cpp._base.files import PREPROCESS_NAME, folder_beside, other_content
from lenet_cpp.data.images import Pipeline
from lenet_cpp.errors import BadInput, Unsupported
from lenet_cpp.formats import Source, find_source
from lenet_cpp.formats.manifest import Manifest, read_origin
from lenet_cpp.inference.model import Model
from lenet_cpp.inference.options import BUNDLED_DIR
from lenet_cpp.inference.predictor import Predictor

PAGE = Path(str(files("lenet_cpp") / "deploy" / "page"))
"""What the build has installed: the page, and ``lenet.wasm`` if there was Emscripten."""

_MODULE = "lenet.wasm"
_MODEL = "model.json"


def write_page(model: str | Path | None, output: str | Path) -> list[Path]:
    """Write a folder with a page and a model, for any web server or for ``lenet_serve``.

    The folder appears complete, or not at all. A page that was written there before is replaced.

    The model is the folder of an exported one, or its ``.pdmodel``; the bundled LeNet when None.
    Images are prepared as for :class:`lenet_cpp.Classifier`. Returns the files.

    Raises:
        Unsupported: This installation has no ``lenet.wasm``; or the model is not a ``.pdmodel``,
            is quantized, has no single grey or colour image as its input or has an operator that
            the native engine does not support.
        FileNotFound: There is no such model, or nothing tells how images are prepared.
        BadModel: A file of the model is damaged.
        BadInput: The output is a file, or a folder with something else in it.
    """
    output = Path(output)
    if not (PAGE / _MODULE).is_file():
        raise Unsupported(
            f"this installation has no {_MODULE}: install Emscripten (Debian: apt-get install"
            " emscripten), and then this package from its source, pip install ."
        )
    files = _checked_model(Path(BUNDLED_DIR if model is None else model))
    _require_page(output, {*(path.name for path in PAGE.iterdir()), *files})
    with folder_beside(output) as staging:
        page = Path(shutil.copytree(PAGE, staging / "page"))
        for name, content in files.items():
            (page / name).write_bytes(content)
        if output.exists():
            output.rename(staging / "previous")
        page.rename(output)
    return sorted(output.iterdir())


def _require_page(output: Path, names: set[str]) -> None:
    """Refuse to replace anything but a page, of which ``names`` are all files.

    Raises:
        BadInput: There is something else, or something besides.
    """
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise BadInput(f"{output} is not a page that was written before: choose another folder")
    found = {path.name for path in output.iterdir()} if output.exists() else set()
    if found and _MODULE not in found:
        raise BadInput(f"{output} is not a page that was written before: choose another folder")
    if foreign := sorted(found - names):
        raise BadInput(
            f"{output} holds {foreign[0]!r} besides a page, and would be replaced as a whole: move"
            " it away, or choose another folder"
        )


def _checked_model(path: Path) -> dict[str, bytes]:
    """Return the files of a model under the names that the page reads, after checking them.

    Raises:
        Unsupported: The page cannot run the model, or cannot show its outputs.
        lenet_cpp.Error: The model cannot be loaded by the native engine.
    """
    source, params = _find_pdmodel(path)
    with Predictor(source.path, params, engine="native", check_finite=True) as predictor:
        model = Model.of(predictor)
    pipeline = model.load_pipeline()
    model.require_layout()
    _require_pictures(model, pipeline)
    classes = _require_plain_classes(model)
    manifest = read_origin(source.folder, source.path.name)
    names = _class_names(model, pipeline, manifest, classes)
    about = {
        "name": source.path.stem if manifest is None else manifest.name,
        "classes": list(names) or [str(index) for index in range(classes)],
        "output_role": model.outputs[0].role,
    }
    return {
        "model.pdmodel": source.path.read_bytes(),
        "model.pdiparams": params.read_bytes(),
        PREPROCESS_NAME: json.dumps(pipeline.to_dict()).encode(),
        _MODEL: json.dumps(about, ensure_ascii=False).encode(),
    }


def _find_pdmodel(path: Path) -> tuple[Source, Path]:
    """Return the model that a path names, and its parameters; Unsupported in another format."""
    if path.is_file() and path.suffix == ".onnx":
        raise Unsupported(f"{path}: {other_content(path, 'model') or 'not a .pdmodel'}")
    source = find_source(path)
    exports = sorted(path.glob("*.onnx")) if path.is_dir() else []
    if exports and not source.has_program:
        raise Unsupported(
            f"{exports[0]} is an ONNX model, and the page reads a .pdmodel: make one with"
            f" lenet-cpp import {exports[0]} -o FOLDER, and name that folder"
        )
    if source.format != "pdmodel" or source.params is None:
        raise Unsupported(
            f"{source.path} is in the format {source.format}, and the page reads a .pdmodel:"
            " convert it with lenet-cpp convert --to pdmodel"
        )
    return source, source.params


def _require_pictures(model: Model, pipeline: Pipeline) -> None:
    """Refuse a model that does not take one image at a time, as the preprocessing gives it."""
    shape, channels = model.input_shape, pipeline.channels
    axis = 3 if pipeline.channels_last else 1
    if len(shape) != 4 or shape[0] > 1 or shape[axis] != channels:
        image = f"height, width, {channels}" if axis == 3 else f"{channels}, height, width"
        raise Unsupported(
            f"{model.program} takes {list(shape)}: the page runs models of one image, [N, {image}]"
            f" with the channels of {PREPROCESS_NAME}"
        )


def _require_plain_classes(model: Model) -> int:
    """Return the number of classes of a model whose first output is [N, classes]; refuse others."""
    shape, plan = model.outputs[0].shape, model.plan
    if len(shape) != 2 or shape[1] < 1:
        raise Unsupported(f"{model.program} gives {list(shape)}: the page shows [N, classes]")
    if [*plan.wanted] != [0] or not plan.is_plain or plan.gives_several:
        tell = [model.outputs[number].name for number in plan.wanted]
        raise Unsupported(
            f"{model.program} tells its classes by the outputs {tell}: the page shows the values of"
            " all classes in the first output"
        )
    return shape[1]


def _class_names(
    model: Model, pipeline: Pipeline, manifest: Manifest | None, classes: int
) -> tuple[str, ...]:
    """Return the name of each class, by the manifest, the description or the model's files."""
    if manifest is not None and manifest.classes:
        return manifest.classes
    rule = pipeline.postprocess or {}
    pair = (rule.get("label_0", ""), rule.get("label_1", ""))  # of a rule ThreshOutput
    if all(pair) and classes == len(pair):
        return pair
    return model.labels
