"""What the three commands that predict have in common."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from lenet_cpp.cli._parsers import new_parser, positive
from lenet_cpp.errors import BadInput, FileNotFound, Unsupported
from lenet_cpp.inference.autolog import AutoLog
from lenet_cpp.inference.results import SUFFIXES, ImageResult, open_results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from lenet_cpp.inference.results import Prediction
    from lenet_cpp.models import InferenceEngine

EPILOG = """\
booleans: --name, --name=True and --name=1 switch on; --name=False and --name=0 switch off. Every
flag takes its value after a space or after '=' (-i photo.jpg, -i=photo.jpg, --i=photo.jpg), and may
be written with hyphens for underscores.

exit status: 0 done; 2 wrong usage; 3 a file is missing; 4 the model is damaged, or its files do not
fit each other; 5 an image cannot be read (with --skip_errors after all others are done), or a value
makes no sense; 6 not supported, such as a GPU; 7 another Paddle than this was built for; 8 Paddle
failed; 1 anything else, such as a full disk; 130 interrupted; 141 the reader of the output went.
"""

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def boolean(text: str) -> bool:
    """The type of a flag that is true or false, as Python and shell scripts write these."""
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def _natural(text: str) -> int:
    return 0 if text == "0" else positive(text)


def path(text: str) -> Path:
    """The type of a flag that names a file; nothing is the name of none."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    return Path(text)


def _results_file(text: str) -> Path:
    target = path(text)
    if target.suffix not in SUFFIXES:
        raise argparse.ArgumentTypeError(f"{text!r} does not end in {', '.join(SUFFIXES)}")
    return target


def make_parser(description: str, examples: str) -> argparse.ArgumentParser:
    """Make a parser with the flags that all three commands have."""
    parser = new_parser(description, f"{examples}\n{EPILOG}")
    parser.add_argument(
        *("-i", "--i", "--image_file"),
        dest="image_file",
        metavar="IMAGE",
        nargs="+",
        action="extend",
        required=True,
        type=path,
        help="image files, folders of them, globs, or .txt lists with a path in each line",
    )
    add = parser.add_argument
    add(
        *("-b", "--b", "--batch_size"),
        dest="batch_size",
        metavar="N",
        type=positive,
        default=1,
        help="images a run (default: %(default)s)",
    )
    add("--topk", metavar="K", type=positive, help="classes to print of an image (default: 5)")
    add(
        "--labels",
        metavar="FILE",
        type=path,
        help="names of the classes, one a line, or '0 NAME' and so on (default: the model's)",
    )
    add(
        "--preprocess",
        metavar="FILE",
        type=path,
        help="how images are prepared: preprocess.json, or PaddleClas's inference.yml (default: the"
        " file of that name beside the model, else what the registry has for the model)",
    )
    add(
        "--output",
        metavar="FILE",
        type=_results_file,
        help="write the predictions there instead of printing them: .csv, .json or .jsonl",
    )
    switch(
        add,
        "--skip_errors",
        explain="go on after an image that cannot be read; the exit status is 5 all the same",
    )
    switch(
        add,
        "--use_gpu",
        explain="compute on a GPU, which this build cannot (default: False; in PaddleClas True, for"
        " builds that can)",
    )
    add(
        *("--gpu_mem",),
        metavar="MB",
        type=_natural,
        help="memory that a GPU would reserve at first; no effect on the CPU",
    )
    switch(
        add,
        "--benchmark",
        "--enable_benchmark",
        explain="print AutoLog's report in the end: environment, settings, times of each stage",
    )
    add(
        "--warmup",
        metavar="N",
        type=_natural,
        default=1,
        help="with --benchmark, runs of the first batch before those that are timed (default:"
        " %(default)s)",
    )
    return parser


def switch(
    add: Callable[..., argparse.Action], *names: str, default: bool | None = False, explain: str
) -> None:
    """Add a flag that is true or false, and true when it stands alone."""
    add(*names, metavar="BOOL", type=boolean, nargs="?", const=True, default=default, help=explain)


def add_model_files(parser: argparse.ArgumentParser, folder_names: Sequence[str]) -> None:
    """Add the flags that name an exported model."""
    parser.add_argument(
        *folder_names,
        dest="model_dir",
        metavar="DIR",
        type=path,
        help="folder of an exported model, combined or with a file for each variable",
    )
    parser.add_argument(
        *("-m", "--m", "--model_file"),
        dest="model_file",
        metavar="FILE",
        type=path,
        help="the program: .pdmodel, .json or __model__, with predict.py also .onnx; with a folder,"
        " also a name in it",
    )
    parser.add_argument(
        *("-p", "--p", "--params_file"),
        dest="params_file",
        metavar="FILE",
        type=path,
        help="its parameters; with a folder, also a name in it (default: NAME.pdiparams beside the"
        " program)",
    )
    parser.add_argument(
        "--model_name",
        metavar="NAME",
        help="which model this is, for preprocessing and labels if there are none beside it, and"
        " for the report",
    )
    switch(
        parser.add_argument,
        "--check_program",
        default=True,
        explain="refuse programs with operators that are not known, which could crash Paddle; False"
        " is for a model that you trust (default: %(default)s)",
    )


def parse(parser: argparse.ArgumentParser, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse arguments, and check that a model is named."""
    options = parser.parse_args(argv)
    if "model_dir" in options:
        if options.model_dir is None and options.model_file is None:
            parser.error("which model? give --model_dir DIR, or -m FILE and -p FILE")
        if options.params_file is not None and options.model_file is None:
            parser.error("-p goes with -m, the program whose parameters they are")
    return options


def model_files(options: argparse.Namespace) -> dict[str, Path | None]:
    """The model that the flags of :func:`add_model_files` name, for ``load_predictor``."""
    folder, program = options.model_dir, options.model_file
    if folder is None or program is None:
        return {
            "model_file": program,
            "params_file": options.params_file,
            "model_dir": folder,
        }
    if not folder.is_dir():
        raise FileNotFound(f"there is no folder {folder}")

    def within(file: Path | None) -> Path | None:
        return folder / file if file is not None and (folder / file).exists() else file

    return {"model_file": within(program), "params_file": within(options.params_file)}


def engine_options(options: argparse.Namespace) -> dict[str, Any]:
    """What the flags that all three commands have say to ``InferenceEngine``."""
    from lenet_cpp.inference.classification import read_labels

    return {
        "preprocess": options.preprocess,
        "model_name": getattr(options, "model_name", None),
        "labels": options.labels and read_labels(options.labels),
        "check_program": getattr(options, "check_program", None),
    }


def predict(options: argparse.Namespace, open_engine: Callable[[], InferenceEngine]) -> int:
    """Classify the images and say what was found.

    Args:
        options: The parsed flags.
        open_engine: Loads the model.

    Returns:
        The exit code.

    Raises:
        lenet_cpp.Error: Something was refused, or failed.
    """
    from lenet_cpp.data.images import find_images

    _refuse_gpu(options)
    images = find_images(options.image_file)
    rows: list[list[object]] = []
    skipped = 0
    with contextlib.ExitStack() as stack:
        write = (
            _table_writer(rows)
            if options.output is None
            else stack.enter_context(open_results(options.output))
        )
        engine = stack.enter_context(open_engine())
        _ = engine.pipeline  # what says how to read images is missing now, or never
        log = AutoLog(engine.name, warmup=options.warmup if options.benchmark else 0)
        for result in _classify(engine, images, options, log):
            write(result)
            if result.error is not None:
                skipped += 1
                tqdm.write(f"skipped {_printable(result.error)}", file=sys.stderr)
        settings = engine.settings(log.batch_size) if log.batch_size else None
    if options.output is None:
        print(tabulate(rows, ["file", "class_id", "label", "probability"], disable_numparse=True))
    else:
        target = _printable(str(options.output))
        print(f"wrote the predictions for {len(images) - skipped} images to {target}")
    if options.benchmark and settings is not None:
        log.report(settings)
    sys.stdout.flush()  # here, where a closed pipe is still noticed
    if skipped:
        raise BadInput(f"{skipped} of {len(images)} images could not be read and were skipped")
    return 0


def _refuse_gpu(options: argparse.Namespace) -> None:
    if getattr(options, "use_tensorrt", False):
        raise Unsupported(
            "--use_tensorrt: TensorRT needs a GPU, and this build computes on the CPU only; leave"
            " --use_tensorrt out"
        )
    if options.use_gpu:
        raise Unsupported(
            "--use_gpu: this build computes on the CPU only; leave --use_gpu out, or say"
            " --use_gpu=False"
        )


def _classify(
    engine: InferenceEngine, images: Sequence[Path], options: argparse.Namespace, log: AutoLog
) -> Iterator[ImageResult]:
    size = options.batch_size
    for _ in range(log.warmup):
        _run(engine, images[:size], options, AutoLog(log.model_name))
    with tqdm(total=len(images), desc="predict", unit="image", disable=None) as bar:
        for begin in range(0, len(images), size):
            yield from _run(engine, images[begin : begin + size], options, log)
            bar.update(len(images[begin : begin + size]))


def _run(
    engine: InferenceEngine, images: Sequence[Path], options: argparse.Namespace, log: AutoLog
) -> list[ImageResult]:
    """Classify one batch."""
    log.start()
    batch, errors = _read(engine, images, skip_errors=options.skip_errors)
    log.stamp()
    classes: list[tuple[Prediction, ...]] = []
    if batch is not None:
        outputs = engine.run(batch)
        log.stamp()
        classes = engine.topk(outputs, options.topk)
        log.stamp()
        log.end(batch.shape)
    found = iter(classes)
    return [
        ImageResult(str(image), error=errors[image])
        if image in errors
        else ImageResult(str(image), next(found))
        for image in images
    ]


def _read(
    engine: InferenceEngine, images: Sequence[Path], *, skip_errors: bool
) -> tuple[NDArray[np.float32] | None, dict[Path, str]]:
    """Read a batch; with ``skip_errors`` without the images that cannot be read."""
    if not skip_errors:
        return engine.preprocess(images), {}
    tensors, errors = [], {}
    for image in images:
        try:
            tensors.append(engine.preprocess(image))
        except (BadInput, FileNotFound) as error:  # noqa: PERF203 - one image must not stop others
            errors[image] = str(error)
    return (np.concatenate(tensors) if tensors else None), errors


def _table_writer(rows: list[list[object]]) -> Callable[[ImageResult], None]:
    def write(result: ImageResult) -> None:
        name = _printable(result.file)
        for class_id, label, probability in result.predictions:
            shown = "-" if label is None else _printable(label)
            rows.append([name, class_id, shown, f"{probability:.6f}"])
            name = ""

    return write


def _printable(text: str) -> str:
    """Escape what would break a line or a terminal; file names can hold anything."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
