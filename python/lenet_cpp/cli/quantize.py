"""``quantize.py``: from a float model to a model of 8-bit integers."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_cpp._base.files import write_text
from lenet_cpp._base.optional import require, require_paddle
from lenet_cpp.cli import run_cli
from lenet_cpp.cli._parsers import new_parser, positive
from lenet_cpp.errors import BadInput, BadModel, Unsupported
from lenet_cpp.quantize import (
    METHODS,
    FloatModel,
    Images,
    QuantizationSettings,
    Quantized,
    check_settings,
    mnist_images,
    open_source,
    own_images,
    quantize,
)
from lenet_cpp.quantize.deployed import outputs
from lenet_cpp.quantize.report import analysis_text, make_report, report_text
from lenet_cpp.quantize.sensitivity import analyse, plot

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from lenet_cpp._base.worker import Report

_DESCRIPTION = """\
Turn a float model into a model of 8-bit integers, check it as it will be deployed, and compare it
with the float model by every route.

  static-ptq    a program, calibrated with some images
  static-qat    a program, trained with rounded values
  dygraph-ptq   a layer, calibrated with some images
  dygraph-qat   a layer, trained with rounded values

The output folder gets NAME.pdmodel, NAME.pdiparams, preprocess.json, manifest.json and SHA256SUMS,
as that of any exported model; run it with predict.py --int8 (lenet_infer_test and lenet_classify
have that flag too) or lenet_cpp.Predictor(precision="int8"). Nothing is written when more is lost
than --max-drop, when a weight is not int8, or when oneDNN computes nothing in int8.

Training needs no labels: the model learns to answer as the float model does.
"""

_EPILOG = """\
examples:
  %(prog)s --method all
      the bundled LeNet by all four methods, to inference_model/lenet_METHOD
  %(prog)s --method static-ptq --data-dir mnist --calibration-images 1000 --algo KL
      full MNIST from a folder, another way to calibrate
  %(prog)s --method dygraph-qat --params checkpoints/lenet/lenet.pdparams --epochs 2
      a LeNet of your own
  %(prog)s --method static-ptq --model-dir resnet50 --calibration photos
      any classifier, with a folder of photos
  %(prog)s --method static-ptq --model ResNet50_vd --seed 0
      random parameters and made images: to see the speed
  %(prog)s --method all --via paddleslim
      by PaddleSlim, which is installed into an environment of its own the first time
  %(prog)s --analyse --plot sensitivity.png
      what each layer costs when it is quantized alone

exit status: 0 done; 2 wrong usage; 3 a file is missing; 4 a model is damaged, or lost too much;
5 a setting, a name or a folder cannot be used; 6 not supported; 8 Paddle or PaddleSlim failed;
1 anything else, such as a full disk; 130 interrupted.
"""


def main(argv: Sequence[str] | None = None, *, root: Path | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments; those of the process when None.
        root: The repository, for the C++ program; the working folder when None.

    Returns:
        The exit code.
    """
    root = Path() if root is None else root
    parser = new_parser(_DESCRIPTION, _EPILOG)
    add = parser.add_argument
    add("--method", choices=(*METHODS, "all"), help="how to quantize")
    add(
        "--analyse",
        action="store_true",
        help="instead: quantize each layer alone, by static-ptq, and show what that costs",
    )
    add(
        "--via",
        choices=("paddle", "paddleslim"),
        default="paddle",
        help="Paddle's own methods, or PaddleSlim's (default: %(default)s)",
    )
    add(
        "--model-dir",
        metavar="DIR",
        type=Path,
        help="the exported float model of any classifier: a folder, or its .pdmodel (default: the"
        " bundled LeNet)",
    )
    add(
        "--model",
        metavar="NAME",
        help="the network, a registered one or FILE.py:SPEC (default: the one that the manifest of"
        " the exported model names, else lenet); static-ptq needs none",
    )
    add("--params", metavar="FILE", help="instead, its trained parameters, a .pdparams")
    add("--seed", metavar="N", type=int, help="instead, random parameters from this seed")
    add("--class_dim", metavar="N", type=int, help="with --params or --seed: number of classes")
    add("--img_size", metavar="S", type=int, help="with --params or --seed: size of the images")
    add(
        "--calibration",
        metavar="PATH",
        type=Path,
        help="images of your own: a folder, a glob, a .txt list, an IDX file or a .npy (default:"
        " MNIST for lenet; made images, which show nothing, for others)",
    )
    add(
        "--preprocess",
        metavar="FILE",
        type=Path,
        help="how images are prepared: preprocess.json, or PaddleClas's inference.yml (default: the"
        " file of that name beside the model, else what the registry has for the network)",
    )
    add(
        "--data-dir",
        metavar="DIR",
        type=Path,
        help="the four files of MNIST, for lenet (default: Paddle's cache, or else the embedded"
        " sample)",
    )
    add(
        "--calibration-images",
        metavar="N",
        type=positive,
        help="images to calibrate with, and to train with unless they are MNIST's (default: 512, at"
        " most three quarters; 32 made ones)",
    )
    add(
        "--test-images",
        metavar="N",
        type=positive,
        help="how many of the other images to compare outputs on (default: up to 512; 64 made"
        " ones)",
    )
    add(
        "--algo",
        default="hist",
        help="how calibration finds the range of an activation: hist, KL, avg, abs_max; static-ptq"
        " has mse and emd as well (default: %(default)s)",
    )
    add("--epochs", metavar="N", type=positive, default=1, help="of training (default: 1)")
    add("--steps", metavar="N", type=positive, help="of training, instead of --epochs")
    add("--batch-size", metavar="N", type=positive, help="in calibration and training (default: 64"
        " with MNIST, else 8)")  # fmt: skip
    add("--learning-rate", metavar="X", type=float, help="of training, at its start (default: 1e-4"
        " with MNIST, else 1e-5, because few steps are trained)")  # fmt: skip
    add(
        "--max-drop",
        metavar="POINTS",
        type=float,
        help="the most that the accuracy may fall, in percentage points (default: 0.5); of"
        " images without labels the most that may be classified otherwise (default: any)",
    )
    add(
        "-o",
        "--output-dir",
        metavar="DIR",
        type=Path,
        help="the folder to write (default: inference_model/NAME_METHOD); with --method all the"
        " folder that gets a folder NAME_METHOD of each (default: inference_model)",
    )
    add(
        "--program",
        metavar="FILE",
        type=Path,
        help="the C++ program (default: build/lenet_infer_test if it is there)",
    )
    add("--threads", metavar="N", type=positive, default=1, help="of the times (default: 1)")
    add("--seconds", metavar="S", type=float, default=0.5, help="a model is timed at each batch"
        " size (default: %(default)s)")  # fmt: skip
    add("--report", metavar="FILE", type=Path, help="also write the report as JSON")
    add("--plot", metavar="FILE", type=Path, help="with --analyse: a picture; needs matplotlib")
    options = parser.parse_args(argv)
    if options.analyse == (options.method is not None):
        parser.error("give one of --method and --analyse")
    if options.plot is not None and not options.analyse:
        parser.error("--plot goes with --analyse")
    if options.analyse and options.output_dir is not None:
        parser.error("--analyse writes no model: --output-dir does not go with it")
    if options.analyse and options.via != "paddle":
        parser.error("--analyse uses Paddle's own static-ptq: --via does not go with it")
    if options.program is None and (root / "build" / "lenet_infer_test").is_file():
        options.program = root / "build" / "lenet_infer_test"
    return run_cli(lambda: _command(options))


def _command(options: argparse.Namespace) -> int:
    require_paddle()
    if options.plot is not None:
        require("matplotlib", extra="bench")
    settings = QuantizationSettings(
        via=options.via,
        algo=options.algo,
        epochs=options.epochs,
        steps=options.steps,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        max_drop=options.max_drop,
    )
    methods = tuple(METHODS) if options.method == "all" else (options.method or "static-ptq",)
    for method in methods:
        check_settings(method, settings)
    with open_source(
        options.model,
        model_dir=options.model_dir,
        params=options.params,
        seed=options.seed,
        class_dim=options.class_dim,
        img_size=options.img_size,
    ) as source:
        print(f"model: {source.description}", flush=True)
        images = _images(options, source)
        print(f"data: {images.description}", flush=True)
        if options.analyse:
            return _analyse(options, source, images, settings)
        return _quantize(options, source, images, settings, methods)


def _images(options: argparse.Namespace, source: FloatModel) -> Images:
    digits = source.spec is not None and source.spec.name == "lenet" and source.class_dim == 10
    if options.calibration is None and digits:
        if options.test_images is not None:
            raise BadInput("--test-images is for --calibration; lenet is tested on MNIST's images")
        return mnist_images(options.data_dir, options.calibration_images or 512)
    if options.data_dir is not None:
        raise BadInput("--data-dir is MNIST, for lenet: name images of your own by --calibration")
    return own_images(
        source,
        options.calibration,
        options.calibration_images,
        options.test_images,
        preprocess=options.preprocess,
    )


def _folder(options: argparse.Namespace, source: FloatModel, method: str) -> Path:
    root = options.output_dir or Path("inference_model")
    alone = options.output_dir is not None and options.method != "all"
    return root if alone else root / f"{source.name}_{method}"


def _quantize(
    options: argparse.Namespace,
    source: FloatModel,
    images: Images,
    settings: QuantizationSettings,
    methods: Sequence[str],
) -> int:
    done: list[Quantized] = []
    refused: dict[str, str] = {}
    with _progress("float") as report:
        reference, _ = outputs(source.deployed, images.test, report=report)
    for method in methods:
        folder = _folder(options, source, method)
        print(f"{method}: to {folder}", flush=True)
        try:
            with _progress(method) as report:
                one = quantize(
                    source, images, method, folder, settings, reference=reference, report=report
                )
        except (BadModel, Unsupported) as error:
            if len(methods) == 1:
                raise
            refused[method] = str(error)  # the others may do better
        else:
            done.append(one)
            print(f"wrote {folder}", flush=True)
    if not done:
        raise BadModel("; ".join(refused.values()))
    with _progress("report") as report:
        result = make_report(
            source, images, settings, done,
            reference=reference, refused=refused, program=options.program,
            seconds=options.seconds, threads=options.threads, report=report,
        )  # fmt: skip
    print()
    print(report_text(result), flush=True)
    _write(options, result)
    return BadModel.exit_code if refused else 0


def _analyse(
    options: argparse.Namespace, source: FloatModel, images: Images, settings: QuantizationSettings
) -> int:
    with _progress("analysis") as report:
        found = analyse(source, images, settings, report=report)
    print()
    print(analysis_text(found), flush=True)
    result = {
        "model": source.name,
        "images": images.kind,
        "test_images": len(images.test),
        "calibration_images": len(images.calibration),
        "algo": settings.algo,
        "layers": [one.record() for one in found],
    }
    _write(options, result)
    if options.plot is not None:
        # Paddle has every logger's messages shown.
        logging.getLogger("matplotlib").setLevel(logging.WARNING)
        title = f"{source.name}: each layer quantized alone ({len(images.test)} images)"
        plot(found, options.plot, title)
        print(f"written: {options.plot}")
    return 0


def _write(options: argparse.Namespace, result: dict[str, Any]) -> None:
    if options.report is not None:
        write_text(options.report, json.dumps(result, indent=2, allow_nan=False) + "\n")
        print(f"\nwritten: {options.report}")


@contextmanager
def _progress(name: str) -> Iterator[Report]:
    """Yield what shows progress as a bar, when standard error is a terminal."""
    from tqdm import tqdm

    bar = tqdm(desc=name, total=1, disable=None, leave=False)
    shown: list[tuple[str, int]] = [("", 1)]

    def report(what: str, done: int, total: int) -> None:
        if bar.disable:
            return
        if shown[0] != (what, total):
            shown[0] = (what, total)
            bar.reset(total)
            bar.set_description(f"{name}: {what}", refresh=False)
        bar.update(done - bar.n)

    with bar:
        yield report


if __name__ == "__main__":
    raise SystemExit(main())
