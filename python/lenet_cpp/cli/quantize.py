"""``lenet-cpp quantize``: quantize a float model to 8-bit integers."""

import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from click import option
from numpy.typing import NDArray
from tqdm import tqdm

from lenet_cpp._base.files import write_text
from lenet_cpp._base.optional import require, require_paddle
from lenet_cpp._base.worker import Report
from lenet_cpp.cli import _options as cli
from lenet_cpp.errors import BadInput, BadModel, FileNotFound, Unsupported
from lenet_cpp.quantize import Images, Quantized, mnist_images, own_images, quantize, sensitivity
from lenet_cpp.quantize.report import analysis_text, make_report, report_text
from lenet_cpp.quantize.source import FloatModel, open_source
from lenet_cpp.quantize.task import METHODS, QuantizationSettings, check_settings


@cli.command("""
%prog --method all
    quantize the bundled LeNet with all four methods, to inference_model/lenet_METHOD
%prog resnet50 --method static-ptq --calibration photos
    quantize any classifier, calibrated with a folder of photos
%prog --analyse --plot sensitivity.png
    show how much accuracy each layer costs when only that layer is quantized
""")
@cli.exported(
    flags=("-d", "--model-dir"),
    help="the exported float model of any classifier: its folder or its .pdmodel (default: the"
    " bundled LeNet)",
)
@cli.option_group(
    "Model",
    cli.network(
        help="the network: a registered name (lenet-cpp models), or FILE.py:SPEC"
        " (default: the network that the manifest of MODEL names, or else lenet); not needed for"
        " static-ptq"
    ),
    cli.params(
        type=str,
        metavar="PARAMS",
        help="trained parameters to use instead of MODEL: a .pdparams file or its URL",
    ),
    cli.num_classes(help="number of classes, with --params or --seed (default: the network's)"),
    cli.image_size(
        help="height and width of the images, with --params or --seed (default: the network's)"
    ),
    cli.seed(help="use random parameters from this seed instead of MODEL"),
)
@option("--method", type=cli.choice(*METHODS, "all"), help="method of quantization")
@option(
    "--analyse",
    is_flag=True,
    help="instead of writing a model, quantize each layer alone with static-ptq, and show how much"
    " accuracy that costs",
)
@option(
    "--via",
    type=cli.choice("paddle", "paddleslim"),
    default="paddle",
    help="use Paddle's own methods or PaddleSlim's",
)
@option(
    "--max-drop",
    type=float,
    metavar="X",
    help="largest allowed loss of accuracy, in percentage points (default: 0.5); for images without"
    " labels, the largest percentage whose class may change (default: no limit)",
)
@cli.output_dir(
    help="the folder to write (default: inference_model/NAME_METHOD); with --method all, the folder"
    " in which each method writes a folder NAME_METHOD (default: inference_model)"
)
@cli.option_group(
    "Images",
    option(
        "--calibration",
        type=cli.FILE,
        metavar="PATH",
        help="your own images: a folder, a glob, a .txt list, an IDX file or a .npy file (default:"
        " MNIST for lenet; for other networks synthetic images, whose outputs say nothing about"
        " accuracy)",
    ),
    cli.preprocess(),
    cli.data_dir(),
    option(
        "--calibration-images",
        type=cli.COUNT,
        help="number of images for calibration, and also for training unless they are MNIST's"
        " (default: 512, but at most three quarters of the images; 32 synthetic images)",
    ),
    option(
        "--test-images",
        type=cli.COUNT,
        help="number of the remaining images whose outputs are compared (default: up to 512; 64"
        " synthetic images)",
    ),
)
@cli.option_group(
    "Calibration and training",
    option(
        "--algo",
        metavar="ALGORITHM",
        default="hist",
        help="how calibration finds the range of an activation: hist, KL, avg or abs_max;"
        " static-ptq also supports mse and emd",
    ),
    option("--epochs", type=cli.COUNT, default=1, help="epochs of training"),
    option("--steps", type=cli.COUNT, help="steps of training, instead of --epochs"),
    cli.batch_size(help="images per run (default: 64 with MNIST, else 8)"),
    cli.learning_rate(help="learning rate at the start (default: 1e-4 with MNIST, else 1e-5)"),
)
@cli.option_group(
    "Results",
    cli.as_json(),
    cli.report(),
    option("--plot", type=cli.FILE, help="with --analyse: also draw a picture; needs matplotlib"),
)
@cli.option_group(
    "Engine",
    cli.program(),
    cli.threads(help="CPU threads per timed run"),
    option(
        "--seconds",
        type=cli.SECONDS,
        default=0.5,
        metavar="SECONDS",
        help="measuring time of each model in each engine, at each batch size",
    ),
)
def main(
    model: Path | None,
    network: str | None,
    params: str | None,
    num_classes: int | None,
    image_size: int | None,
    seed: int | None,
    method: str | None,
    analyse: bool,
    via: str,
    max_drop: float | None,
    output_dir: Path | None,
    calibration: Path | None,
    preprocess: Path | None,
    data_dir: Path | None,
    calibration_images: int | None,
    test_images: int | None,
    algo: str,
    epochs: int,
    steps: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    as_json: bool,
    report: Path | None,
    plot: Path | None,
    program: Path | None,
    threads: int,
    seconds: float,
) -> int:
    """Quantize a float model to 8-bit integers, and compare it with the float model.

      static-ptq    calibrate an exported program with some images
      static-qat    train an exported program with rounded values
      dygraph-ptq   calibrate a paddle.nn.Layer with some images
      dygraph-qat   train a paddle.nn.Layer with rounded values

    Run the written folder with --precision int8. Nothing is written if accuracy falls by more than
    --max-drop, if a weight is not int8, or if no layer is computed in int8. Training needs no
    labels: the model learns to give the outputs of the float model.
    """
    _check_usage(method, plot, program, analyse=analyse)
    settings = QuantizationSettings(
        via=via,
        algo=algo,
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        max_drop=max_drop,
        learning_rate=learning_rate,
    )
    methods = tuple(METHODS) if method == "all" else (method or "static-ptq",)
    for each in methods:
        check_settings(each, settings)
    # With --json nothing but that is on standard output.
    say = partial(print, file=sys.stderr if as_json else sys.stdout, flush=True)
    with open_source(
        network,
        model_dir=model,
        params=params,
        num_classes=num_classes,
        image_size=image_size,
        seed=seed,
    ) as source:
        say(f"model: {source.description}")
        images = _images(
            source,
            calibration,
            data_dir,
            calibration_images=calibration_images,
            test_images=test_images,
            preprocess=preprocess,
        )
        say(f"data: {images.description}")
        if analyse:
            result, text = _analyse(source, images, settings, plot)
        else:
            folders = _folders(methods, source.name, output_dir)
            outcome = _quantize(source, images, settings, folders, say=say)
            with _progress("report") as bar:
                result = make_report(
                    source,
                    images,
                    settings,
                    outcome.models,
                    reference=outcome.reference,
                    refused=outcome.refused,
                    program=cli.find_program(program),
                    seconds=seconds,
                    threads=threads,
                    report=bar,
                )
            text = report_text(result)
    document = json.dumps(result, indent=2, allow_nan=False)
    print(document if as_json else f"\n{text}", flush=True)
    if report is not None:
        write_text(report, f"{document}\n")
    for written in filter(None, (report, plot)):
        say(f"written: {written}")
    return BadModel.exit_code if result.get("refused") else 0


def _check_usage(
    method: str | None, plot: Path | None, program: Path | None, *, analyse: bool
) -> None:
    """Refuse options that do not go together, a missing package and a missing program."""
    if analyse == (method is not None):
        raise click.UsageError("give one of --method and --analyse")
    if plot is not None and not analyse:
        raise click.UsageError("--plot goes with --analyse")
    if analyse:
        cli.refuse("output_dir", "via", why="does not go with --analyse, which writes no model")
    if program is not None and not program.is_file():
        raise FileNotFound(f"--program {program} does not exist; check the path, or build it")
    require_paddle()
    if plot is not None:
        require("matplotlib", extra="bench")


def _folders(methods: Sequence[str], name: str, output_dir: Path | None) -> dict[str, Path]:
    """Return the folder that each method writes."""
    if output_dir is not None and len(methods) == 1:
        return {methods[0]: output_dir}
    parent = output_dir or Path("inference_model")
    return {method: parent / f"{name}_{method}" for method in methods}


def _images(
    source: FloatModel,
    calibration: Path | None,
    data_dir: Path | None,
    *,
    calibration_images: int | None,
    test_images: int | None,
    preprocess: Path | None,
) -> Images:
    digits = source.spec is not None and source.spec.name == "lenet" and source.num_classes == 10
    if calibration is None and digits:
        if test_images is not None:
            raise BadInput("--test-images is for --calibration; lenet is tested on MNIST's images")
        return mnist_images(data_dir, calibration_images or 512)
    if data_dir is not None:
        raise BadInput("--data-dir is MNIST, for lenet: name images of your own by --calibration")
    return own_images(source, calibration, calibration_images, test_images, preprocess=preprocess)


class _Outcome(NamedTuple):
    """What quantizing gave."""

    models: list[Quantized]
    refused: dict[str, str]  # the methods without a model, and why
    reference: NDArray[np.float32]  # the float model's outputs for the images to test with


def _quantize(
    source: FloatModel,
    images: Images,
    settings: QuantizationSettings,
    folders: Mapping[str, Path],
    *,
    say: Callable[[str], None],
) -> _Outcome:
    """Quantize by each method into its folder.

    Raises:
        BadModel: No method gave a model.
        lenet_cpp.Error: The only method failed, or one of several did for another reason than the
            model.
    """
    outcome = _Outcome([], {}, source.outputs(images.test))
    for method, folder in folders.items():
        say(f"{method}: to {folder}")
        try:
            with _progress(method) as report:
                model = quantize(
                    source,
                    images,
                    method,
                    folder,
                    settings=settings,
                    reference=outcome.reference,
                    report=report,
                )
        except (BadModel, Unsupported) as error:
            if len(folders) == 1:
                raise
            outcome.refused[method] = str(error)  # the others may do better
        else:
            outcome.models.append(model)
            say(f"wrote {folder}")
    if not outcome.models:
        raise BadModel("; ".join(outcome.refused.values()))
    return outcome


def _analyse(
    source: FloatModel, images: Images, settings: QuantizationSettings, picture: Path | None
) -> tuple[dict[str, Any], str]:
    """Return what each layer costs, also as a text."""
    with _progress("analysis") as report:
        found = sensitivity.analyse(source, images, settings, report=report)
    if picture is not None:
        # Paddle has every logger's messages shown.
        logging.getLogger("matplotlib").setLevel(logging.WARNING)
        title = f"{source.name}: each layer quantized alone ({len(images.test)} images)"
        sensitivity.plot(found, picture, title)
    document = {
        "model": source.name,
        "images": images.kind,
        "test_images": len(images.test),
        "calibration_images": len(images.calibration),
        "algo": settings.algo,
        "layers": [asdict(one) for one in found],
    }
    return document, analysis_text(found)


@contextmanager
def _progress(name: str) -> Iterator[Report]:
    """Yield what shows progress as a bar, when standard error is a terminal."""
    bar = tqdm(desc=name, total=1, disable=None, leave=False)

    def report(what: str, done: int, total: int) -> None:
        title = f"{name}: {what}"
        if not bar.disable:
            if (bar.desc, bar.total) != (title, total):
                bar.reset(total)
                bar.set_description_str(title, refresh=False)
            bar.update(done - bar.n)

    with bar:
        yield report
