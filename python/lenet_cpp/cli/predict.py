"""``lenet-cpp predict``: classify images with a model, in any engine."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import click
import numpy as np
from click import option
from numpy.typing import NDArray

from lenet_cpp import _core
from lenet_cpp._base.files import hint_of_missing
from lenet_cpp._base.lazy import Unpack
from lenet_cpp._base.text import printable
from lenet_cpp.bulk.table_names import is_table
from lenet_cpp.cli import _options as cli
from lenet_cpp.data.images import IMAGE_SUFFIXES, find_images
from lenet_cpp.errors import BadInput, FileNotFound, Unsupported
from lenet_cpp.inference.bundled import bundled_model_dir
from lenet_cpp.inference.options import Accelerator, AnyEngine, Precision
from lenet_cpp.inference.results import (
    NOTHING,
    SUFFIXES,
    ImageResult,
    document,
    open_results,
)
from lenet_cpp.paddle_engines.classification import InferenceEngine

if TYPE_CHECKING:
    from lenet_cpp.paddle_engines.autolog import AutoLog

Files = dict[str, Path | None]
Outputs = tuple[NDArray[Any], ...]
"""The outputs of a batch that tell the classes, [N, ...] each."""


class Computed(TypedDict):
    """The options of an engine; None is its default."""

    device: str | None
    gpu_mem: int | None
    accelerator: Accelerator | None
    precision: Precision | None
    threads: int | None
    ir_optim: bool | None
    memory_optim: bool | None
    output_name: str | None


class Fallback(NamedTuple):
    """Options that replace those of a flag that the machine or the model does not support."""

    flag: str
    options: dict[str, Any]
    reason: str = ""
    """Why they are used; empty for the error that the flag's options raised."""


_FORMS = "MODEL IMAGE..., or --bundled IMAGE... for the package's model of digits"
ENGINES = ("auto", "native", "paddle", "onnxruntime", "plain", "python", "executor", "dygraph")


def model_and_images(function: Callable[..., int]) -> Callable[..., int]:
    """Give a command ``files``, as ``load_predictor`` takes them, and ``images``.

    They are MODEL and IMAGE..., or, when a flag names the model, all arguments are images.
    """

    @wraps(function)
    def call(
        model: Path | None,
        images: tuple[Path, ...],
        image_file: tuple[Path, ...],
        bundled: bool,
        model_dir: Path | None,
        model_file: Path | None,
        params_file: Path | None,
        **more: Any,
    ) -> int:
        if bundled and (model_dir or model_file):
            raise click.UsageError("--bundled cannot be combined with another model; leave one out")
        if bundled or model_dir or model_file:
            images = images if model is None else (model, *images)
        elif model is not None:
            if model.suffix.lower() in IMAGE_SUFFIXES and model.is_file():
                raise click.UsageError(f"{model} is an image, not a model: give {_FORMS}")
            model_file = model
        if params_file is not None and model_file is None:
            raise click.UsageError(
                "-p needs the program of these parameters: give it as MODEL or -m"
            )
        if not (images or image_file) or not (bundled or model_dir or model_file):
            raise click.UsageError(f"give {_FORMS}")
        files: Files = {"model_dir": bundled_model_dir() if bundled else model_dir}
        if model_file is not None:
            files = {"model_file": model_file, "params_file": params_file}
            if model_dir is not None:  # where these may be names
                files = {key: _within(model_dir, file) for key, file in files.items()}
        return function(files=files, images=[*image_file, *images], **more)

    return cli.option_group(
        "Model",
        cli.argument(
            "model",
            metavar="MODEL",
            required=False,
            type=cli.FILE,
            help="folder of an exported model, or its program: .pdmodel, .json, __model__ or .onnx,"
            " also without the suffix (also -d, --model-dir, -m, --model-file)",
        ),
        cli.argument(
            "images",
            metavar="IMAGE...",
            nargs=-1,
            type=cli.FILE,
            help="image files, folders, globs, or .txt lists of paths (also -i, --image-file)",
        ),
        option("-d", "--model-dir", type=cli.FOLDER, hidden=True),
        option("-m", "--model-file", type=cli.FILE, hidden=True),
        option(
            "-i", "--image-file", "--img-path", "--input", type=cli.FILE, multiple=True, hidden=True
        ),
        option(
            "--bundled", is_flag=True, help="use the digit model of the package instead of MODEL"
        ),
        cli.params_file(),
    )(call)


def _within(folder: Path, file: Path | None) -> Path | None:
    is_name = file is not None and (not file.exists() or (folder / file).exists())
    return folder / file if is_name and file is not None else file


described = (
    option(
        "-n",
        "--network",
        "--model-name",
        type=cli.NETWORK,
        metavar="NAME",
        help="the network, which says how images are prepared and what the classes are if no file"
        " beside the model does: a registered name (lenet-cpp models), or FILE.py:SPEC",
    ),
    cli.switch(
        "--check-program",
        default=None,
        help="refuse unknown operators, which could crash Paddle (default: true)",
    ),
)
of_images = (
    cli.preprocess(),
    cli.switch(
        "--skip-errors",
        help="exit with 0 if at least one image was classified; by default the exit status is 5 if"
        " an image cannot be classified",
    ),
)
of_results = (
    option(
        "--threshold",
        type=float,
        metavar="X",
        help="omit classes below X (default: the thresholds of the description)",
    ),
    option(
        "--labels",
        type=cli.FILE,
        help="names of the classes, one in each line, as NAME or '0 NAME' (default: the model's)",
    ),
)
computed_by = (
    option("--device", metavar="DEVICE", help="cpu, gpu or gpu:ID (default: cpu)"),
    option(
        "--gpu-mem",
        type=cli.NATURAL,
        metavar="MB",
        help="GPU memory: Paddle allocates this much at first (default: 100), onnxruntime at most",
    ),
    cli.accelerator(),
    cli.precision(),
    cli.threads(default=None, help="CPU threads per run (default: 1)"),
    cli.switch("--ir-optim", default=None, help="let Paddle fuse operators (default: true)"),
    cli.switch(
        "--memory-optim",
        default=None,
        help="let intermediate results share memory, in Paddle (default: false)",
    ),
    option(
        "--output-name",
        metavar="NAME",
        help="the output that holds the classes, if the model has several outputs (default: the"
        " one with as many values as there are names, or else probabilities, or else logits)",
    ),
)


@cli.command("""
%prog resnet50-vd photos -b 8 --topk 1 -o classes.csv
    classify every image of a folder, eight at a time, and write a file
%prog --bundled digit.png
    a digit, with the digit model of the package
%prog ResNet50_vd_pretrained.pdparams photo.jpg --engine dygraph -n ResNet50_vd
    classify with trained parameters that were not exported
""")
@model_and_images
@cli.option_group(
    "Model",
    *described,
    cli.num_classes(help="with --engine dygraph: number of classes (default: the network's)"),
    cli.image_size(
        help="with --engine dygraph: height and width of the images (default: the network's)"
    ),
)
@cli.option_group("Images", cli.batch_size(default=1), *of_images, *cli.STEP_CHANGES)
@cli.option_group(
    "Results",
    option(
        "--topk",
        type=cli.COUNT,
        help="number of classes to report (default: the number in the description, or else 5)",
    ),
    *of_results,
    option(
        "-o",
        "--output",
        type=cli.FILE,
        help="write the predictions to a .csv, .json or .jsonl file instead of printing them",
    ),
    cli.as_json(),
    option(
        "--reprod-dir",
        type=cli.FOLDER,
        help="also write the outputs to this folder in the format of reprod_log",
    ),
    cli.switch("--benchmark", "--enable_benchmark", help="print AutoLog's report at the end"),
    option("--warmup", type=cli.NATURAL, default=1, help="untimed runs before the timed ones"),
)
@cli.option_group(
    "Engine",
    option(
        "--engine",
        type=cli.choice(*ENGINES),
        default="auto",
        help="in C++: native (own kernels), paddle, onnxruntime (for .onnx), or auto, the fastest"
        " of them that runs the model; in Paddle's Python package: python (paddle.inference),"
        " executor (the training engine) or dygraph (the network -n with the .pdparams MODEL)",
    ),
    *computed_by,
)
def main(
    files: Files,
    images: list[Path],
    network: str | None,
    check_program: bool | None,
    num_classes: int | None,
    image_size: int | None,
    batch_size: int,
    preprocess: Path | None,
    mean: str | None,
    std: str | None,
    resize: str | None,
    crop: str | None,
    library: str | None,
    skip_errors: bool,
    topk: int | None,
    threshold: float | None,
    labels: Path | None,
    output: Path | None,
    as_json: bool,
    reprod_dir: Path | None,
    benchmark: bool,
    warmup: int,
    engine: AnyEngine,
    change: Callable[[InferenceEngine], None] = lambda _: None,
    fallbacks: Sequence[Fallback] = (),
    **computed: Unpack[Computed],
) -> int:
    """Classify images with a model.

    For millions of images, for tables and for clusters use lenet-cpp predict-many.
    """
    named = network
    if engine == "dygraph":  # where the network takes the place of the program
        files, named = _parameters(files, network), None
    if as_json:
        cli.refuse("benchmark", "output", why="cannot be combined with --json")
    _refuse_tables(images)
    check_output(output, SUFFIXES)
    found = find_images(images)
    make = partial(
        InferenceEngine,
        engine,
        preprocess=preprocess,
        model_name=named,
        labels=read_labels(labels),
        num_classes=num_classes,
        image_size=image_size,
        check_program=check_program,
        changes={"mean": mean, "std": std, "resize": resize, "crop": crop, "library": library},
    )
    results: list[ImageResult] = []
    outputs: list[Outputs] | None = None if reprod_dir is None else []  # of each batch
    settings = None
    with ExitStack() as stack:
        loaded = stack.enter_context(_load(make, files, {**computed}, fallbacks))
        loaded.model.load_pipeline()  # what says how to read images is missing now, or never
        if loaded.model.change_note:
            cli.note(loaded.model.change_note)
        several = _check_outputs(loaded, output, labels)
        value = loaded.model.value_name
        write = stack.enter_context(_open(output, results, value=value, heads=several))
        change(loaded)
        alone = len(found) == 1 and not skip_errors
        run = partial(_run, loaded, topk=topk, threshold=threshold, stops=alone)
        log = None
        if benchmark:
            log = _log_after_warmup(run, found[:batch_size], name=loaded.name, warmup=warmup)
        timed = partial(run, log=log or _NoLog())
        errors = _classify(timed, found, batch_size, write=write, outputs=outputs)
        if log is not None and log.batch_size:
            settings = loaded.settings(log.batch_size)
        if reprod_dir is not None and outputs:
            _record(reprod_dir, engine, outputs, loaded.output_role)
    if output is not None:
        print(f"wrote the predictions for {len(found) - len(errors)} images to {printable(output)}")
    else:
        print(_json(results) if as_json else _table(results, value))
    if log is not None and settings is not None:
        log.report(settings)
    return status_of(len(errors), len(found), errors, skip_errors=skip_errors)


@contextmanager
def _open(
    output: Path | None, results: list[ImageResult], *, value: str, heads: bool
) -> Iterator[Callable[[ImageResult], None]]:
    """Give the block what writes a result: to a file, as ``open_results`` does, or to the list."""
    if output is None:
        yield results.append
        return
    with open_results(output, value, heads=heads) as write:
        yield write


class _NoLog:
    """Takes the calls of an AutoLog if no report is wanted, and does nothing."""

    def start(self) -> None:
        """Begin a batch."""

    def stamp(self) -> None:
        """End a stage."""

    def end(self, shape: tuple[int, ...]) -> None:
        """End a batch of this shape."""


def _log_after_warmup(
    run: Callable[..., object], images: Sequence[Path], *, name: str, warmup: int
) -> "AutoLog":
    """Run these images ``warmup`` times, and return a log that has no batch yet.

    The runs use separate logs, because a bad image may leave a log in the middle of a batch.
    """
    from lenet_cpp.paddle_engines.autolog import AutoLog

    log = AutoLog(name)
    log.warmup = warmup
    for _ in range(warmup):
        run(images, log=AutoLog(name))
    return log


def _classify(
    run: Callable[[Sequence[Path]], tuple[list[ImageResult], Outputs | None]],
    images: Sequence[Path],
    batch_size: int,
    *,
    write: Callable[[ImageResult], None],
    outputs: list[Outputs] | None,
) -> list[str]:
    """Run all batches.

    Args:
        run: Classifies one batch, as :func:`_run` does.
        images: The image files.
        batch_size: Images per run.
        write: Is called with each result, in order.
        outputs: Gets the outputs of each batch, unless it is None.

    Returns:
        What was wrong with the images that have no class.
    """
    errors: list[str] = []
    with _progress(len(images)) as count:
        for begin in range(0, len(images), batch_size):
            batch = images[begin : begin + batch_size]
            results, given = run(batch)
            if outputs is not None and given is not None:
                outputs.append(given)
            for result in results:
                write(result)
                if result.error is not None:
                    errors.append(result.error)
            count(len(batch))
    return errors


@contextmanager
def _progress(images: int) -> Iterator[Callable[[int], object]]:
    """Give the block what counts images; on a terminal a progress bar shows them."""
    if not sys.stderr.isatty():  # tqdm would show nothing, and importing it takes time
        yield lambda _: None
        return
    from tqdm import tqdm

    with tqdm(total=images, desc="predict", unit="image") as bar:
        yield bar.update


def _record(folder: Path, engine: AnyEngine, outputs: Sequence[Outputs], role: str) -> None:
    """Write the first output of all batches, whose role is given, as ``reprod_log`` does."""
    from lenet_cpp.paddle_engines import records

    training = engine in {"executor", "dygraph"}
    name = records.TRAINING_NAME if training else records.RECORD_NAMES["paddle.inference"]
    values = np.concatenate([first for first, *_ in outputs])
    records.write_record(folder / name, records.entries(values, role))


def _refuse_tables(images: Sequence[Path]) -> None:
    if any(is_table(image) for image in images):
        raise click.UsageError("predict does not read tables of images; use lenet-cpp predict-many")


def _parameters(files: Files, network: str | None) -> Files:
    if network is None:
        raise click.UsageError("--engine dygraph needs -n, the network of the parameters")
    if files.get("params_file") is not None:
        raise click.UsageError(
            "-p cannot be used with --engine dygraph, where MODEL names the parameters"
        )
    return {"model_file": Path(network), "params_file": next(filter(None, files.values()))}


def check_output(output: Path | None, suffixes: Sequence[str]) -> None:
    """Raise a usage error for any other suffix; refuse a file in a folder that is missing.

    Raises:
        FileNotFound: There is no such folder. It is not created, because the name may be wrong.
    """
    if output is None:
        return
    if output.suffix not in suffixes:
        expected = ", ".join(suffixes)
        many = "; lenet-cpp predict-many writes .parquet" * (output.suffix == ".parquet")
        raise click.UsageError(f"--output: '{output}' does not end in {expected}{many}")
    if not output.parent.exists():
        remedy = hint_of_missing(output) or "create it, or name another file"
        raise FileNotFound(f"cannot write {output}: there is no folder {output.parent}; {remedy}")


def status_of(bad: int, images: int, errors: Sequence[str], *, skip_errors: bool) -> int:
    """Return 0, the exit status, and note that images were skipped.

    Args:
        bad: Number of images that could not be classified.
        images: Number of all images.
        errors: What was wrong with some of them, in order.
        skip_errors: Whether skipped images count as success.

    Raises:
        BadInput: Images were skipped and ``skip_errors`` is false, or all images were skipped.
    """
    if bad == 0:
        return 0
    said = f"{bad} of {images} images could not be classified"
    if errors:
        said += f"{', for example' if bad > 1 else ''}: {errors[0]}"
    if not skip_errors:
        raise BadInput(f"{said}; with --skip-errors the exit status is 0")
    if bad == images:
        raise BadInput(said)
    cli.note(said)
    return 0


def _load(
    make: Callable[..., InferenceEngine],
    files: Files,
    options: dict[str, Any],
    fallbacks: Sequence[Fallback],
) -> InferenceEngine:
    """Load the model; if that is not supported, try with one more fallback at a time, and say so.

    Raises:
        Unsupported: The model is not supported with all fallbacks either.
    """
    taken: list[Fallback] = []
    reason = ""
    while True:
        try:
            engine = make(**options).load_predictor(**files)
            break
        except Unsupported as error:
            if len(taken) == len(fallbacks):
                raise
            taken.append(fallbacks[len(taken)])
            options = options | taken[-1].options
            reason = taken[-1].reason or str(error)
    if taken:
        flags = " and ".join(fallback.flag for fallback in taken)
        place = "GPU" if options["device"] else "CPU"
        cli.note(f"this runs on the {place}, without {flags}: {reason}")
    return engine


def _check_outputs(engine: InferenceEngine, output: Path | None, labels: Path | None) -> bool:
    """Return whether the model gives several answers for an image; note which output is used.

    Raises:
        Unsupported: The model gives no classes, which a ``.csv`` has.
        BadInput, BadModel: There are not as many labels as classes.
    """
    model = engine.model
    if not model.gives_classes and model.overrides.labels is not None:
        raise BadInput(f"labels name classes; {model.program} gives features, which have none")
    if not model.gives_classes and output is not None and output.suffix == ".csv":
        raise Unsupported(f"{model.program} gives features instead of classes: write a .json")
    if model.plan.note:
        cli.note(model.plan.note)
    with labels_from(labels):
        model.find_labels()
    return model.plan.gives_several


def read_labels(file: Path | None) -> list[str] | None:
    """Return the names of classes in the user's file; None without one."""
    return None if file is None else _core.read_class_names(file)


@contextmanager
def labels_from(file: Path | None) -> Iterator[None]:
    """Name the user's file of labels in what is said when they are not as many as the classes."""
    try:
        yield
    except BadInput as error:
        raise BadInput(str(error) if file is None else f"{file}: {error}") from error


def _run(
    engine: InferenceEngine,
    images: Sequence[Path],
    *,
    log: "AutoLog | _NoLog",
    topk: int | None,
    threshold: float | None,
    stops: bool,
) -> tuple[list[ImageResult], Outputs | None]:
    """Classify one batch; return the results and the outputs, None where no image can be read.

    A bad image costs itself alone; with ``stops`` what is wrong with it is raised.
    """
    log.start()
    batch, errors = _read(engine, images, stops=stops)
    log.stamp()
    if batch is None:
        return [ImageResult(str(image), NOTHING, errors[image]) for image in images], None
    given = engine.run(batch)
    outputs = given if isinstance(given, tuple) else (given,)
    log.stamp()
    read = [image for image in images if image not in errors]
    problems = engine.problems(outputs, batch, [str(image) for image in read])
    for number, problem in problems.items():
        if stops:
            raise BadInput(problem)
        errors[read[number]] = problem
    sound = tuple(np.delete(output, [*problems], axis=0) for output in outputs)
    findings = iter(engine.interpret(sound, topk, threshold) if len(sound[0]) else ())
    log.stamp()
    log.end(batch.shape)
    results = [
        ImageResult(str(image), NOTHING if image in errors else next(findings), errors.get(image))
        for image in images
    ]
    return results, outputs


def _read(
    engine: InferenceEngine, images: Sequence[Path], *, stops: bool
) -> tuple[NDArray[np.float32] | None, dict[Path, str]]:
    """Read a batch, without the images that cannot be read; with ``stops`` these are raised."""
    if stops:
        return engine.preprocess(images), {}
    tensors: list[NDArray[np.float32]] = []
    errors = {}
    for image in images:
        try:
            tensor = engine.preprocess(image)
        except (BadInput, FileNotFound) as error:
            errors[image] = str(error)
            continue
        if tensors and tensor.shape != tensors[0].shape:
            size = " x ".join(map(str, tensor.shape[:1:-1]))
            errors[image] = f"{image}: {size} pixels after the steps, unlike the first: use -b=1"
        else:
            tensors.append(tensor)
    return (np.concatenate(tensors) if tensors else None), errors


def _json(results: list[ImageResult]) -> str:
    return json.dumps([document(result) for result in results])


def _table(results: list[ImageResult], value: str) -> str:
    """Return the table of all results, and below it a line for each image with an error."""
    from tabulate import tabulate

    columns = ["file", "head", "class_id", "label", value]
    rows: list[list[object]] = []
    for result in results:
        if result.error is None:
            for place, cells in enumerate(_cells_of(result)):
                rows.append([printable(result.file) if place == 0 else "", *cells])
    if not any(head for _, head, *_ in rows):
        rows = [[file, *others] for file, _, *others in rows]
        columns.remove("head")
    table = tabulate(rows, columns, disable_numparse=True)
    errors = [printable(result.error) for result in results if result.error is not None]
    return "\n".join([table, *errors])


def _cells_of(result: ImageResult) -> list[tuple[object, ...]]:
    """Return the head, class_id, label and value of each line about an image; at least one line."""
    found = result.found
    if found.features:
        return [("", "", f"{len(found.features)} features; --json prints them", "")]
    if found.predictions:
        return [
            (
                printable(one.head or ""),
                one.class_id,
                printable(one.label or "-"),
                "-" if one.score is None else f"{one.value:.6f}",
            )
            for one in found.predictions
        ]
    texts = found.attributes or ("no class reaches the threshold",)
    return [("", "", printable(text), "") for text in texts]
