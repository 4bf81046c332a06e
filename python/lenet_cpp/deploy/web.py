"""Write a static page that runs a model in the browser (``web/`` of the repository)."""

import json
import shutil
import tempfile
from importlib.resources import files
from pathlib import Path

from lenet_cpp._base.files import PREPROCESS_NAME, naming, other_content
from lenet_cpp.errors import BadInput, Unsupported
from lenet_cpp.formats import find_source
from lenet_cpp.formats.manifest import read_origin
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
    output.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as staging,
        naming(output, Path(staging)),
    ):
        page = Path(shutil.copytree(PAGE, Path(staging, "page")))
        for name, content in files.items():
            (page / name).write_bytes(content)
        if output.exists():
            output.rename(Path(staging, "previous"))
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
    """Return the files of a model under the names that the page reads, after checking them."""
    if path.is_file() and path.suffix == ".onnx":
        raise Unsupported(f"{path}: {other_content(path, 'model') or 'not a .pdmodel'}")
    source = find_source(path)
    if source.format != "pdmodel" or source.params is None:
        raise Unsupported(
            f"{source.path} is in the format {source.format}, and the page reads a .pdmodel:"
            " convert it with lenet-cpp convert --to pdmodel"
        )
    with Predictor(source.path, source.params, engine="native", check_finite=True) as predictor:
        shape, outputs = predictor.input_spec.shape, predictor.output_spec.shape
        model = Model.of(predictor)
    pipeline = model.pipeline
    model.require_layout()
    channels, axis = pipeline.channels, 3 if pipeline.channels_last else 1
    if len(shape) != 4 or shape[0] > 1 or shape[axis] != channels:
        image = f"height, width, {channels}" if axis == 3 else f"{channels}, height, width"
        raise Unsupported(
            f"{source.path} takes {list(shape)}: the page runs models of one image, [N, {image}]"
            f" with the channels of {PREPROCESS_NAME}"
        )
    if len(outputs) != 2 or outputs[1] < 1:
        raise Unsupported(f"{source.path} gives {list(outputs)}: the page shows [N, classes]")
    if [*model.plan.wanted] != [0] or not model.plan.is_plain or model.plan.gives_several:
        tell = [model.outputs[number].name for number in model.plan.wanted]
        raise Unsupported(
            f"{source.path} tells its classes by the outputs {tell}: the page shows the values of"
            " all classes in the first output"
        )
    manifest = read_origin(source.folder, source.path.name)
    rule = pipeline.postprocess or {}
    pair = tuple(rule.get(name, "") for name in ("label_0", "label_1"))  # of ThreshOutput
    pair = pair if all(pair) and outputs[1] == len(pair) else ()
    names = (manifest.classes if manifest is not None else ()) or pair or model.labels
    about = {
        "name": source.path.stem if manifest is None else manifest.name,
        "classes": list(names) or [str(index) for index in range(outputs[1])],
        "output_role": model.outputs[0].role,
    }
    return {
        "model.pdmodel": source.path.read_bytes(),
        "model.pdiparams": source.params.read_bytes(),
        PREPROCESS_NAME: json.dumps(pipeline.to_dict()).encode(),
        _MODEL: json.dumps(about, ensure_ascii=False).encode(),
    }
