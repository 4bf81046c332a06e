"""``lenet-cpp verify``: check that engines, C++ and Python give the same outputs."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import click
import numpy as np
from click import option
from click.core import ParameterSource
from numpy.typing import NDArray

from lenet_cpp._base.files import write_text
from lenet_cpp._base.optional import require_paddle
from lenet_cpp.agreement import TOLERANCES
from lenet_cpp.cli import _options as cli
from lenet_cpp.data.images import find_images
from lenet_cpp.data.mnist import load_mnist, to_model_input
from lenet_cpp.data.synthetic import made_images
from lenet_cpp.errors import BadInput, Unsupported
from lenet_cpp.export.inference_model import export_model
from lenet_cpp.formats.manifest import find_manifest
from lenet_cpp.formats.source import find_sources
from lenet_cpp.inference.model import Model, Overrides
from lenet_cpp.inference.options import Precision
from lenet_cpp.models import ModelSpec, resolve
from lenet_cpp.paddle_engines.classification import InferenceEngine
from lenet_cpp.verify import BATCH_SIZES, PRECISIONS, verify
from lenet_cpp.verify.across import across as compare_across
from lenet_cpp.verify.files import PROGRAM_FORMATS, find_models, random_seed
from lenet_cpp.verify.layers import compare_layers
from lenet_cpp.verify.plain import PLAIN_BATCH_SIZES, PLAIN_THREADS, Files, compare_with_plain
from lenet_cpp.verify.reprod import write_records
from lenet_cpp.verify.routes import ACCELERATORS
from lenet_cpp.verify.text import across_text, plain_text, report_document, report_text

_OTHER_BATCH_SIZES = (1, 3)
_MADE_IMAGES = 3
_DIGIT_SHAPE = (1, 28, 28)
_OF_ROUTES = (
    *("network", "params", "num_classes", "seed", "data_dir", "accelerators", "formats"),
    *("across", "torch", "program", "reprod_dir"),
)
"""Options that --plain has no use for."""
_SUFFIXES = {".pdmodel", ".json", ".onnx"}
"""Suffixes of a program: a path that ends with one names a file, also where there is none."""


@cli.command("""
%prog inference_model/lenet --layers
    verify the model that ./run.sh made, and find the first layer that differs
%prog resnet50-vd -p ResNet50_vd_pretrained.pdparams -i photos/ -i cat.jpg
    verify an exported model with published weights, on your own images
%prog model.onnx
    compare the engines with the plain program on random images; this needs no other library
%prog --across
    compare each pair of the installed frameworks: PyTorch, ONNX, Paddle, OpenVINO, C++, Caffe2
""")
@cli.exported(
    flags=("-d", "--model-dir"),
    help="an exported model: its folder, or .pdmodel, .json or .onnx (default: the folder"
    " inference_model/NAME; if that does not exist, the parameters, or random ones from --seed, are"
    " exported to a temporary folder)",
)
@cli.option_group(
    "Model",
    cli.network(
        help="the network: a registered name (lenet-cpp models), or FILE.py:SPEC"
        " (default: the one that the model's manifest names, or lenet)"
    ),
    cli.params(
        help="the .pdparams from which the model was exported (default: for the default folder"
        " checkpoints/NAME/NAME.pdparams, and random ones if the manifest says so; otherwise the"
        " route dygraph is skipped)"
    ),
    cli.num_classes(help="number of classes of a network that is not exported yet"),
    cli.image_size(
        help="height and width of the images, for a network that is not exported yet, or of random"
        " images for a model that takes any size"
    ),
    cli.seed(default=0, help="seed of random parameters, if there are no trained ones"),
)
@cli.option_group(
    "Images",
    option(
        "-i",
        "--image-file",
        "--img-path",
        type=cli.FILE,
        multiple=True,
        metavar="FILE...",
        help="an image, a folder, a glob or a .txt list of paths; may be repeated (default: digits,"
        " or generated images; with --plain random ones)",
    ),
    cli.preprocess(),
    cli.data_dir(),
    option(
        "--images",
        "count",
        type=cli.COUNT,
        help=f"use the first N images (default: all, or {_MADE_IMAGES} generated images)",
    ),
)
@cli.option_group(
    "What is compared",
    option(
        "--batch-sizes",
        type=cli.Several(cli.COUNT),
        help=f"images per run, 1 to 1024 (default: {','.join(map(str, BATCH_SIZES))} for digits,"
        f" {','.join(map(str, _OTHER_BATCH_SIZES))} for other images,"
        f" {','.join(map(str, PLAIN_BATCH_SIZES))} with --plain)",
    ),
    option(
        "--accelerators",
        type=cli.Several(cli.choice(*ACCELERATORS)),
        metavar="NAME,...",
        help=f"compare these: {', '.join(ACCELERATORS)} (default: all that support the precision)",
    ),
    cli.precision(
        type=cli.choice(*PRECISIONS),
        default="fp32",
        help="precision of the exported model's arithmetic; the reference is computed in float32",
    ),
    option(
        "--formats",
        type=cli.Several(cli.choice(*PROGRAM_FORMATS)),
        metavar="NAME,...",
        help=f"compare these: {', '.join(PROGRAM_FORMATS)} (default: those of the model)",
    ),
    option(
        "--threshold",
        type=float,
        metavar="X",
        help="tolerance, which is multiplied by max(1, |a|) (default:"
        f" {', '.join(f'{TOLERANCES[name]:g} in {name}' for name in PRECISIONS)})",
    ),
    option(
        "--plain",
        is_flag=True,
        help="compare the engines with the plain program, which computes each operator by its"
        " definition (default for a single file, for a folder of .onnx and without Paddle)",
    ),
    option(
        "--across",
        is_flag=True,
        help="run the model's weights in every installed framework instead (PyTorch, its ONNX in"
        " onnxruntime, dygraph, paddle.inference, Paddle's ONNX, OpenVINO, the C++ program,"
        " lenet_cpp, Caffe2), and compare each pair",
    ),
    option(
        "--torch",
        type=cli.FILE,
        help="with --across: parameters for PyTorch, such as the file from which the model was"
        " imported (default: the model's parameters)",
    ),
)
@cli.option_group(
    "Engine",
    cli.threads(
        default=None,
        help="CPU threads per run (default: 1; with --plain"
        f" {' and '.join(map(str, PLAIN_THREADS))})",
    ),
    cli.program(
        help="the C++ program (default: build/lenet_infer_test, or the one in PATH; if there is"
        " none, that route is skipped)"
    ),
)
@cli.option_group(
    "Results",
    option(
        "--layers",
        is_flag=True,
        help="also find the first layer that differs; --plain always does",
    ),
    option(
        "--reprod-dir",
        type=cli.FOLDER,
        help="also write the outputs of each route in the format of reprod_log; without trained"
        " parameters the training engine runs the exported model",
    ),
    cli.as_json(),
    cli.report(),
)
def main(
    model: Path | None,
    network: str | None,
    params: Path | None,
    num_classes: int | None,
    image_size: int | None,
    seed: int,
    image_file: tuple[Path, ...],
    preprocess: Path | None,
    data_dir: Path | None,
    count: int | None,
    batch_sizes: tuple[int, ...] | None,
    accelerators: tuple[str, ...] | None,
    precision: Precision,
    formats: tuple[str, ...] | None,
    threshold: float | None,
    plain: bool,
    across: bool,
    torch: Path | None,
    threads: int | None,
    program: Path | None,
    layers: bool,
    reprod_dir: Path | None,
    as_json: bool,
    report: Path | None,
) -> int:
    """Run the same images through four routes and compare the outputs.

      dygraph           the trained network itself, in Python, on Paddle's training engine
      paddle.inference  the exported model, in Python
      C++ program       the exported model, in lenet_infer_test
      lenet_cpp         the exported model, in the Python binding of the C++ library

    The last three use the same engine and have to give the same bits; the last two also run in the
    native engine. Between engines, every output has to be within 1e-05 * max(1, |a|) (see
    --threshold), where |a| is the largest output of that image, and the predicted class has to be
    the same unless the two largest outputs are closer than that. Integers and bools have to be
    equal. All outputs are compared, by name. The exit status is 1 if they differ.

    A model that does not take digits gets the images of -i, or photo-like images from a seed.

    A single file, a folder of .onnx, and without Paddle any model is compared otherwise, as with
    --plain: each engine that reads it with the plain program, which computes every operator by its
    definition in float64. Where the native engine differs, the layer is named at which its values
    become wrong. An engine that refuses the model is listed with the reason.
    """
    _check_usage(image_file, data_dir, torch, across=across)
    if plain or _needs_plain(model):
        cli.refuse(*_OF_ROUTES, why="cannot be combined with --plain")
        root = cli.of_script("root", Path())
        answer = _plain(
            model or Path(root, "inference_model", "lenet"),
            image_file,
            preprocess,
            count,
            image_size=image_size,
            precision=precision,
            batch_sizes=batch_sizes or PLAIN_BATCH_SIZES,
            threads=(threads,) if threads else PLAIN_THREADS,
            tolerance=threshold,
        )
        return _write(answer, report, as_json=as_json)
    require_paddle()
    spec = None if network is None else resolve(network)
    if model is None:
        model, params = _usual_files(spec, params)
    notes: tuple[str, ...] = ()
    with ExitStack() as stack:
        if spec is not None and not model.is_dir():
            model = Path(stack.enter_context(TemporaryDirectory(prefix="lenet_cpp-")))
            note = _export(
                spec, params, model, num_classes=num_classes, image_size=image_size, seed=seed
            )
            notes = (note,)
        if layers and params is None and random_seed(find_manifest(model)) is None:
            raise click.UsageError("--layers needs the trained parameters: --params FILE")
        sources = image_file or data_dir
        images, labels, data = _images(model, spec, sources, count, preprocess, formats)
        common: dict[str, Any] = {
            "formats": formats,
            "threads": threads or 1,
            "program": cli.find_program(program),
            "spec": spec,
            "tolerance": threshold,
            "progress": True,
        }
        compared = _Compared(model, images, labels, f"{len(images):,} {data}", common)
        if across:
            answer = _across(compared, torch)
        else:
            sizes = _OTHER_BATCH_SIZES if labels is None else BATCH_SIZES
            answer = _routes(
                compared,
                params=params,
                batch_sizes=batch_sizes or sizes,
                accelerators=accelerators,
                precision=precision,
                layers=layers,
                reprod_dir=reprod_dir,
                notes=notes,
            )
    answer.document["data"] = data
    return _write(answer, report, as_json=as_json)


def _write(answer: "_Answer", report: Path | None, *, as_json: bool) -> int:
    """Print what was found, and write the report; return the exit status."""
    document = json.dumps(answer.document, allow_nan=False)
    if report is not None:
        write_text(report, document + "\n")
    print(document if as_json else answer.text)
    return 0 if answer.agrees else 1


def _needs_plain(model: Path | None) -> bool:
    """Return whether the routes of Paddle do not run a model, or not here."""
    if model is not None and (model.is_file() or model.suffix in _SUFFIXES):
        return True
    if model is not None and model.is_dir():
        formats = {source.format for source in find_sources(model)}
        if any(model.glob("*.onnx")) and formats.isdisjoint(PROGRAM_FORMATS):
            return True
    given = click.get_current_context().get_parameter_source
    if any(given(name) is ParameterSource.COMMANDLINE for name in ("layers", *_OF_ROUTES)):
        return False  # the routes say that they need Paddle
    if model is not None and not model.is_dir() and any(map(Path.is_file, _with_suffixes(model))):
        return True
    try:
        require_paddle()
    except Unsupported:
        return True
    return False


def _with_suffixes(path: Path) -> list[Path]:
    """Return the programs that a path without suffix may stand for."""
    return [path.with_name(path.name + suffix) for suffix in sorted(_SUFFIXES)]


def _plain(
    model: Path,
    image_file: tuple[Path, ...],
    preprocess: Path | None,
    count: int | None,
    **settings: Any,
) -> "_Answer":
    """Compare the engines with the plain program; ``settings`` are those of the comparison."""

    def prepare(opened: Model) -> NDArray[np.float32]:
        overrides = Overrides(preprocess=preprocess)
        return opened.overridden(overrides).prepare(find_images(image_file)[:count])

    files = Files(model_dir=model) if model.is_dir() else Files(model_file=model)
    found = compare_with_plain(
        files,
        prepare if image_file else None,
        count=count or _MADE_IMAGES,
        progress=True,
        **settings,
    )
    data = f"{found.images} {'image files' if image_file else 'random images'}"
    return _Answer(found.agrees, {"data": data, **found.to_dict()}, plain_text(found, data))


def _check_usage(
    image_file: tuple[Path, ...], data_dir: Path | None, torch: Path | None, *, across: bool
) -> None:
    """Raise a usage error for options that cannot be combined."""
    if image_file and data_dir is not None:
        raise click.UsageError("--image-file cannot be combined with --data-dir; leave one out")
    if torch is not None and not across:
        raise click.UsageError("--torch needs --across")
    if across:
        cli.refuse(
            "layers",
            "reprod_dir",
            "batch_sizes",
            "precision",
            why="cannot be combined with --across",
        )


class _Compared(NamedTuple):
    """The model that is compared, and the images with which it is compared."""

    model: Path
    """The folder."""
    images: NDArray[np.float32]
    """[N, channels, height, width]."""
    labels: NDArray[np.int64] | None
    """[N], of digits."""
    shown: str
    """What the images are, for the text."""
    common: dict[str, Any]
    """The arguments of every comparison."""


class _Answer(NamedTuple):
    """What a comparison found: whether all agree, as JSON and as text."""

    agrees: bool
    document: dict[str, Any]
    text: str


def _usual_files(spec: ModelSpec | None, params: Path | None) -> tuple[Path, Path | None]:
    """Return the folder that ``./run.sh`` exports to, and the parameters beside it, if any."""
    root, name = cli.of_script("root", Path()), "lenet" if spec is None else spec.name
    trained = Path(root, "checkpoints", name, f"{name}.pdparams")
    if params is None and trained.is_file():
        params = trained
    return Path(root, "inference_model", name), params


def _export(
    spec: ModelSpec,
    params: Path | None,
    folder: Path,
    *,
    num_classes: int | None,
    image_size: int | None,
    seed: int,
) -> str:
    """Export a network to a folder, with random parameters when there are none; return a note."""
    export_model(
        params,
        folder,
        model=spec,
        num_classes=num_classes,
        image_size=image_size,
        seed=seed if params is None else None,
    )
    source = params or f"random parameters, seed {seed}"
    return f"{spec.name} was exported for this check only, with {source}"


def _across(compared: _Compared, torch_params: Path | None) -> _Answer:
    """Compare every two frameworks."""
    found = compare_across(
        compared.model,
        compared.images,
        compared.labels,
        torch_params=torch_params,
        more_routes=cli.of_script("more_routes", None),
        **compared.common,
    )
    return _Answer(found.agrees, found.to_dict(), across_text(found, compared.shown))


def _routes(
    compared: _Compared,
    *,
    params: Path | None,
    layers: bool,
    reprod_dir: Path | None,
    notes: Sequence[str],
    **settings: Any,
) -> _Answer:
    """Compare the routes and, with ``layers``, the layers; write the records to ``reprod_dir``.

    The notes come before those of the report. ``settings`` are arguments of ``verify``.
    """
    recorded = reprod_dir is not None
    found = verify(
        compared.model,
        compared.images,
        compared.labels,
        params=params,
        training_engine=recorded,
        record=recorded,
        **settings,
        **compared.common,
    )
    found = replace(found, notes=(*notes, *found.notes))
    by_layer = None
    if layers:
        given = {name: compared.common[name] for name in ("formats", "spec")}
        # None as well for a network without layers, which has no table.
        by_layer = compare_layers(compared.model, compared.images, params=params, **given) or None
    text = report_text(found, by_layer, compared.shown)
    if reprod_dir is not None:
        names = ", ".join(path.name for path in write_records(reprod_dir, found))
        text += f"\nrecorded in {reprod_dir}: {names}"
    return _Answer(found.agrees, report_document(found, by_layer), text)


def _images(
    model_dir: Path,
    spec: ModelSpec | None,
    source: tuple[Path, ...] | Path | None,
    count: int | None,
    preprocess: Path | None,
    formats: tuple[str, ...] | None,
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None, str]:
    """Return the images, their labels when they are digits, and what they are.

    ``source`` are image files, or the folder of MNIST.
    """
    model = find_models(model_dir, formats)[0]
    name = None if spec is None else spec.name
    engine = InferenceEngine("paddle", accelerator="plain", model_name=name, preprocess=preprocess)
    with engine.load_predictor(model.program, model.params):
        if isinstance(source, tuple):
            return engine.preprocess(find_images(source)[:count]), None, "image files"
        if engine.input_shape[1:] != _DIGIT_SHAPE:
            if source is not None:
                raise BadInput(
                    f"{model.program} does not take digits: use -i instead of --data-dir"
                )
            made = made_images(count or _MADE_IMAGES)
            return engine.preprocess(made), None, "synthetic images"
    mnist = load_mnist(source)
    count = len(mnist.test) if count is None else count
    if count > len(mnist.test):
        raise BadInput(f"--images {count}: {mnist.folder} has {len(mnist.test)} test images")
    images = to_model_input(mnist.test.images[:count])
    return images, mnist.test.labels[:count], f"images of the {mnist.describe()}"
