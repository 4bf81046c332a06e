"""What the three commands that classify images have in common."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from lenet_cpp.cli import _shared as shared
from lenet_cpp.cli._command import NATURAL, Options, option
from lenet_cpp.cli._shared import ENGINE, IMAGES, RESULTS
from lenet_cpp.errors import BadInput, FileNotFound, Unsupported
from lenet_cpp.inference.autolog import AutoLog
from lenet_cpp.inference.bundled import bundled_model_dir
from lenet_cpp.inference.results import SUFFIXES, ImageResult, open_results
from lenet_cpp.verify.reprod import TRAINING_NAME, entries, write_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lenet_cpp.inference.results import Prediction
    from lenet_cpp.models import InferenceEngine


def _results_file(_ctx: click.Context, _param: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and value.suffix not in SUFFIXES:
        raise click.BadParameter(f"'{value}' does not end in {', '.join(SUFFIXES)}")
    return value


common = shared.group(
    shared.images("image files, folders of them, globs, or .txt lists with a path in each line"),
    shared.batch_size("images a run", 1, IMAGES),
    shared.preprocess,
    option(
        "--skip-errors [BOOL]",
        "go on after an image that cannot be read; the exit status is 5 all the same",
        group=IMAGES,
    ),
    option("--topk N", "classes to print of an image (default: 5)", group=RESULTS),
    option(
        "--labels FILE",
        "names of the classes, one a line, or '0 NAME' and so on (default: the model's)",
        group=RESULTS,
    ),
    option(
        "--output FILE",
        "write the predictions there instead of printing them: .csv, .json or .jsonl",
        group=RESULTS,
        callback=_results_file,
    ),
    option(
        "--reprod-dir DIR",
        "also write the outputs there as reprod_log does: output_inference_engine.npy (predict) or"
        " output_training_engine.npy (infer, py-infer)",
        group=RESULTS,
    ),
    option(
        "--benchmark [BOOL]",
        "print AutoLog's report in the end: environment, settings, times of each stage",
        also="--enable_benchmark",
        group=RESULTS,
    ),
    option(
        "--warmup N",
        "with --benchmark, runs of the first batch before those that are timed",
        group=RESULTS,
        type=NATURAL,
        default=1,
    ),
    option(
        "--use-gpu [BOOL]",
        "compute on a GPU, which this build cannot (PaddleClas has True by default)",
        group=ENGINE,
    ),
    option(
        "--gpu-mem MB",
        "memory that a GPU would reserve at first; no effect on the CPU",
        group=ENGINE,
        type=NATURAL,
    ),
)
"""The options that all three have."""


def choose_model(options: Options) -> None:
    """Take the bundled model when the options name none.

    Raises:
        click.UsageError: Parameters are named without their program.
    """
    if options.params_file is not None and options.model_file is None:
        raise click.UsageError("-p goes with -m, the program whose parameters they are")
    if options.model_dir is None and options.model_file is None:
        options.model_dir = bundled_model_dir()


def model_files(options: Options) -> dict[str, Path | None]:
    """The model that the options of ``model_files`` name, for ``load_predictor``."""
    folder, program = options.model_dir, options.model_file
    if folder is None or program is None:
        return {"model_file": program, "params_file": options.params_file, "model_dir": folder}
    if not folder.is_dir():
        raise FileNotFound(f"there is no folder {folder}")

    def within(file: Path | None) -> Path | None:
        return folder / file if file is not None and (folder / file).exists() else file

    return {"model_file": within(program), "params_file": within(options.params_file)}


def engine_options(options: Options) -> dict[str, Any]:
    """What the flags that all three commands have say to ``InferenceEngine``."""
    from lenet_cpp.inference.classification import read_labels

    return {
        "preprocess": options.preprocess,
        "model_name": getattr(options, "model_name", None),
        "labels": options.labels and read_labels(options.labels),
        "check_program": getattr(options, "check_program", None),
    }


def predict(
    options: Options, open_engine: Callable[[], InferenceEngine], record_name: str = TRAINING_NAME
) -> int:
    """Classify the images and say what was found.

    Args:
        options: The parsed flags.
        open_engine: Loads the model.
        record_name: The file in ``--reprod-dir``.

    Returns:
        The exit code.

    Raises:
        lenet_cpp.Error: Something was refused, or failed.
    """
    from lenet_cpp.data.images import find_images

    _refuse_gpu(options)
    images = find_images(options.images)
    rows: list[list[object]] = []
    outputs: list[NDArray[np.float32]] = []
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
        for result in _classify(engine, images, options, log, outputs):
            write(result)
            if result.error is not None:
                skipped += 1
                tqdm.write(f"skipped {_printable(result.error)}", file=sys.stderr)
        settings = engine.settings(log.batch_size) if log.batch_size else None
        if options.reprod_dir is not None and outputs:
            output = np.concatenate(outputs)
            found = entries(engine.probabilities(output), probabilities=True)
            write_record(options.reprod_dir / record_name, {**found, "output": output})
    if options.output is None:
        print(tabulate(rows, ["file", "class_id", "label", "probability"], disable_numparse=True))
    else:
        target = _printable(str(options.output))
        print(f"wrote the predictions for {len(images) - skipped} images to {target}")
    if options.benchmark and settings is not None:
        log.report(settings)
    if skipped:
        raise BadInput(f"{skipped} of {len(images)} images could not be read and were skipped")
    return 0


def _refuse_gpu(options: Options) -> None:
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
    engine: InferenceEngine,
    images: Sequence[Path],
    options: Options,
    log: AutoLog,
    outputs: list[NDArray[np.float32]],
) -> Iterator[ImageResult]:
    size = options.batch_size
    for _ in range(log.warmup):
        _run(engine, images[:size], options, AutoLog(log.model_name), [])
    with tqdm(total=len(images), desc="predict", unit="image", disable=None) as bar:
        for begin in range(0, len(images), size):
            yield from _run(engine, images[begin : begin + size], options, log, outputs)
            bar.update(len(images[begin : begin + size]))


def _run(
    engine: InferenceEngine,
    images: Sequence[Path],
    options: Options,
    log: AutoLog,
    kept: list[NDArray[np.float32]],
) -> list[ImageResult]:
    """Classify one batch; keep its outputs when they will be recorded."""
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
        kept += [outputs] if options.reprod_dir is not None else []
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
