"""``lenet-cpp quantize``: from a float model to a model of 8-bit integers."""

from __future__ import annotations

import json
import logging
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from lenet_cpp._base.files import write_text
from lenet_cpp._base.optional import require, require_paddle
from lenet_cpp.cli._options import Options, command, find_program
from lenet_cpp.errors import BadInput, BadModel, Unsupported
from lenet_cpp.quantize import Images, Quantized, mnist_images, own_images, quantize
from lenet_cpp.quantize.report import analysis_text, make_report, report_text
from lenet_cpp.quantize.sensitivity import analyse, plot
from lenet_cpp.quantize.source import FloatModel, open_source
from lenet_cpp.quantize.task import METHODS, QuantizationSettings, check_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lenet_cpp._base.worker import Report


@command(
    f"""
Arguments:
  [MODEL]  the exported float model of any classifier: its folder, or its .pdmodel (default: the
      bundled LeNet) [also: -d, --model-dir]
Model:
  --model  the network, a registered one or FILE.py:SPEC (default: the one that the manifest of
      MODEL names, else lenet); static-ptq needs none
  -p, --params PARAMS  instead of MODEL, trained parameters, a .pdparams or its URL [also:
      --params-file, --pretrained]
  --num-classes  (default: the network's; with --params or --seed)
  --image-size  (default: the network's; with --params or --seed)
  --seed  instead of MODEL, random parameters from this seed
Options:
  --method {"|".join(METHODS)}|all  how to quantize
  --analyse  instead: quantize each layer alone, by static-ptq, and show what that costs
  --via paddle|paddleslim  Paddle's own methods, or PaddleSlim's [default: paddle]
  --max-drop X  the most that the accuracy may fall, in percentage points (default: 0.5); of images
      without labels the most that may be classified otherwise (default: any)
  --output-dir  the folder to write (default: inference_model/NAME_METHOD); with --method all the
      folder that gets a folder NAME_METHOD of each (default: inference_model)
Images:
  --calibration PATH  images of your own: a folder, a glob, a .txt list, an IDX file or a .npy
      (default: MNIST for lenet; made images, which show nothing, for others)
  --preprocess
  --data-dir
  --calibration-images N  images to calibrate with, and to train with unless they are MNIST's
      (default: 512, at most three quarters; 32 made ones)
  --test-images N
      how many of the other images to compare outputs on (default: up to 512; 64 made ones)
Calibration and training:
  --algo ALGORITHM  how calibration finds the range of an activation: hist, KL, avg, abs_max;
      static-ptq has mse and emd as well [default: hist]
  --epochs N  of training [default: 1]
  --steps N  of training, instead of --epochs
  --batch-size  images at a time (default: 64 with MNIST, else 8)
  --lr
      of training, at its start (default: 1e-4 with MNIST, else 1e-5, because few steps are trained)
Results:
  --report
  --plot FILE  with --analyse: a picture; needs matplotlib
Engine:
  --program  (default: build/lenet_infer_test, or the one in PATH, if there is one)
  --threads  CPU threads of a run that is timed
  --seconds SECONDS  how long each model is timed in each engine, at each batch size [default: 0.5]
Examples:
  %prog --method all  the bundled LeNet by all four methods, to inference_model/lenet_METHOD
  %prog resnet50 --method static-ptq --calibration photos  any classifier, with a folder of photos
  %prog --method static-ptq --data-dir mnist --calibration-images 1000 --algo KL
      full MNIST from a folder, another way to calibrate
  %prog --method dygraph-qat --params checkpoints/lenet/lenet.pdparams --epochs 2
      a LeNet of your own
  %prog --method static-ptq --model ResNet50_vd --seed 0
      random parameters and made images: to see the speed
  %prog --method all --via paddleslim
      by PaddleSlim, which is installed into an environment of its own the first time
  %prog --analyse --plot sensitivity.png  what each layer costs when it is quantized alone
"""
)
def main(options: Options) -> int:
    """Turn a float model into a model of 8-bit integers, and compare it with the float model.

      static-ptq    a program, calibrated with some images
      static-qat    a program, trained with rounded values
      dygraph-ptq   a layer, calibrated with some images
      dygraph-qat   a layer, trained with rounded values

    The output folder gets NAME.pdmodel, NAME.pdiparams, preprocess.json, manifest.json and
    SHA256SUMS, as that of any exported model; run it with lenet-cpp predict --int8, the flag --int8
    of lenet_infer_test and lenet_classify, or lenet_cpp.Predictor(precision="int8"). Nothing is
    written when more is lost than --max-drop, when a weight is not int8, or when oneDNN computes
    nothing in int8.

    Training needs no labels: the model learns to answer as the float model does.
    """
    if options.analyse == (options.method is not None):
        raise click.UsageError("give one of --method and --analyse")
    if options.plot is not None and not options.analyse:
        raise click.UsageError("--plot goes with --analyse")
    if options.analyse and options.output_dir is not None:
        raise click.UsageError("--analyse writes no model: --output-dir does not go with it")
    if options.analyse and options.via != "paddle":
        raise click.UsageError("--analyse uses Paddle's own static-ptq: --via does not go with it")
    require_paddle()
    if options.plot is not None:
        require("matplotlib", extra="bench")
    settings = QuantizationSettings(
        learning_rate=options.lr,
        **options.only("via", "algo", "epochs", "steps", "batch_size", "max_drop"),
    )
    methods = tuple(METHODS) if options.method == "all" else (options.method or "static-ptq",)
    for method in methods:
        check_settings(method, settings)
    with open_source(
        options.model,
        num_classes=options.num_classes,
        image_size=options.image_size,
        **options.only("model_dir", "params", "seed"),
    ) as source:
        print(f"model: {source.description}", flush=True)
        images = _images(options, source)
        print(f"data: {images.description}", flush=True)
        if options.analyse:
            return _analyse(options, source, images, settings)
        return _quantize(options, source, images, settings, methods)


def _images(options: Options, source: FloatModel) -> Images:
    digits = source.spec is not None and source.spec.name == "lenet" and source.num_classes == 10
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


def _quantize(
    options: Options,
    source: FloatModel,
    images: Images,
    settings: QuantizationSettings,
    methods: Sequence[str],
) -> int:
    done: list[Quantized] = []
    refused: dict[str, str] = {}
    reference = source.outputs(images.test)
    for method in methods:
        folder = options.output_dir or Path("inference_model")
        if options.output_dir is None or options.method == "all":
            folder /= f"{source.name}_{method}"
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
            reference=reference, refused=refused, program=find_program(options),
            seconds=options.seconds, threads=options.threads, report=report,
        )  # fmt: skip
    print()
    print(report_text(result), flush=True)
    _write(options, result)
    return BadModel.exit_code if refused else 0


def _analyse(
    options: Options, source: FloatModel, images: Images, settings: QuantizationSettings
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
        "layers": [asdict(one) for one in found],
    }
    _write(options, result)
    if options.plot is not None:
        # Paddle has every logger's messages shown.
        logging.getLogger("matplotlib").setLevel(logging.WARNING)
        title = f"{source.name}: each layer quantized alone ({len(images.test)} images)"
        plot(found, options.plot, title)
        print(f"written: {options.plot}")
    return 0


def _write(options: Options, result: dict[str, Any]) -> None:
    if options.report is not None:
        write_text(options.report, json.dumps(result, indent=2, allow_nan=False) + "\n")
        print(f"\nwritten: {options.report}")


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
