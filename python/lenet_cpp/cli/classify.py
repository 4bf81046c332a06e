"""``lenet-cpp predict``, ``infer`` and ``py-infer``: the same, each with engines of its own."""

from __future__ import annotations

import contextlib
import re
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from lenet_cpp import _core
from lenet_cpp.cli._options import Options, command
from lenet_cpp.data.images import PREPROCESS_NAME, CenterCrop, Resize, find_images, imagenet
from lenet_cpp.errors import BadInput, FileNotFound, Unsupported
from lenet_cpp.inference import tables
from lenet_cpp.inference.autolog import AutoLog
from lenet_cpp.inference.batch_predictor import BatchPredictor
from lenet_cpp.inference.bulk import predict_all
from lenet_cpp.inference.bundled import bundled_model_dir
from lenet_cpp.inference.classification import NoPreprocessing, value_name
from lenet_cpp.inference.results import NOTHING, SUFFIXES, ImageResult, open_results
from lenet_cpp.inference.tables import is_table
from lenet_cpp.models import InferenceEngine
from lenet_cpp.verify.reprod import RECORD_NAMES, TRAINING_NAME, entries, write_record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from lenet_cpp.inference.results import Finding

_COMMON = """
Arguments:
  IMAGE...  image files, folders of them, globs, or .txt lists with a path in each line [also: -i,
      --image-file, --img-path]
Images:
  --batch-size  [default: 1]
  --preprocess
      (default: that beside the model, else what the registry has for the model, else for a Paddle
      model with an input of [N, 3, 224, 224] ImageNet's)
  --skip-errors [BOOL]
      go on after an image that cannot be read; the exit status is 5 all the same [default: False]
Results:
  --topk N  the N most probable classes (default: what the description says, else 5)
  --threshold X  leave classes below it out; in place of the thresholds of the description
  --labels FILE  names of the classes, one a line, or '0 NAME' and so on (default: the model's)
  --output FILE  write the predictions there instead of printing them: .csv, .json or .jsonl
  --reprod-dir DIR  also write the outputs there as reprod_log does: output_inference_engine.npy
      (predict) or output_training_engine.npy (infer, py-infer)
  --benchmark [BOOL]  print AutoLog's report in the end: environment, settings, times of each stage
      [also: --enable_benchmark] [default: False]
  --warmup RUNS  with --benchmark, runs of the first batch before those that are timed [default: 1]
"""
_EXPORTED = """
Model:
  -d, --model-dir DIR  folder of an exported model, in any layout (default: the bundled LeNet)
  -m, --model-file FILE  the program: .pdmodel, .json, __model__, or .onnx for the C++ engines; with
      a folder, also a name in it
  -p, --params-file FILE
      its parameters; with a folder, also a name in it (default: NAME.pdiparams beside the program)
  --model-name NAME  which model this is, a registered name or FILE.py:SPEC, for preprocessing and
      labels if there are none beside it, and for the report
  --check-program [BOOL]  refuse programs with operators that are not known, which could crash
      Paddle; False is for a model that you trust [default: True]
"""
_ENGINE = """
Engine:
  --device DEVICE
      cpu, gpu or gpu:ID; a GPU needs a Paddle, or for .onnx an onnxruntime, that was built with
      CUDA (default: cpu)
  --use-gpu [BOOL]
      the same as --device=gpu (PaddleClas has True by default) [default: False]
  --gpu-id ID  with --use-gpu, which GPU [default: 0]
  --gpu-mem MB  memory of the GPU that Paddle takes at first (default: 100), or onnxruntime at most
"""


_BULK = """
Many images, in parts: with --workers, --on, .parquet, .npy or IDX files, or --output NAME.parquet
  --workers N  processes (default: as many as there are processors for them)
  --on CLUSTER  compute on a cluster: ray, spark, or either with ://HOST:PORT, whose machines see
      the same files under the same names
  --column NAME  the column of images in .parquet files: pixels, image files or paths
      [default: image]
  --keep NAME,...  further columns of .parquet files to write
  --probabilities [BOOL]  also write the probability of every class [default: False]
  --logits [BOOL]  also write the model's raw outputs [default: False]
  --part-rows N  about how many images a part has (default: 1024 files, 16384 rows of a table)
"""


@command(
    f"""{_COMMON}{_BULK}{_EXPORTED}{_ENGINE}
  --engine auto|native|paddle|onnxruntime|python
      in C++: native (own kernels, needs no Paddle), paddle, onnxruntime (for .onnx), or auto, the
      fastest of these that runs the model; python: paddle.inference [default: auto]
  --accelerator
  --use-onednn [BOOL]
      True is --accelerator=onednn, False is --accelerator=plain [also: --use_mkldnn]
  --threads
  --ir-optim [BOOL]  let Paddle fuse and rewrite operators [default: True]
  --memory-optim [BOOL]  let intermediate results share memory [default: False]
  --use-tensorrt [BOOL]
      the same as --accelerator=tensorrt --precision=tf32, for an .onnx on a GPU [default: False]
  --precision
  --int8  the same as --precision=int8
Images:
  --resize-size N  the short side that the model's preprocessing resizes to, instead of its own
  --crop-size N  height and width of the middle that it keeps, instead of its own
Examples:
  %prog digit.png  a digit, by the bundled LeNet
  %prog -i=./test.jpeg -m=./resnet50-vd/inference.pdmodel -p=./resnet50-vd/inference.pdiparams
      the five most probable classes of one image
  %prog -i photos --model_dir resnet50-vd -b 8 --topk 1 --output classes.csv
      every image in a folder, eight at a time
  %prog -i test.jpeg --model_dir resnet50-vd --engine=python --use_onednn=False --benchmark
      with paddle.inference and Paddle's plain kernels, and AutoLog's report
  %prog photos --workers 8 --skip-errors --output classes.parquet
      a million images; the same command goes on where it was stopped
  %prog -i digit.png -m lenet.onnx --model_name lenet
      an ONNX model, prepared as the registry prepares images for LeNet
"""
)
def predict(options: Options) -> int:
    """Classify images with an inference engine and an exported model.

    The C++ predictor of this package runs it, in the fastest of its engines that can (--engine),
    or paddle.inference with --engine=python. See also infer (training engine, trained parameters)
    and py-infer (training engine, exported model).
    """
    onednn = options.use_onednn
    kernels = None if onednn is None else "onednn" if onednn else "plain"
    for flag, name, chosen in (
        ("--int8", "precision", "int8" if options.int8 else None),
        (f"--use_onednn={onednn}", "accelerator", kernels),
        ("--use_tensorrt", "accelerator", "tensorrt" if options.use_tensorrt else None),
        ("--use_tensorrt", "precision", "tf32" if options.use_tensorrt else None),
    ):
        given = getattr(options, name)
        if chosen is not None and given not in {None, chosen}:
            raise click.UsageError(f"{flag} and --{name}={given} contradict each other")
        setattr(options, name, given or chosen)
    if (
        options.workers or options.on
        or (options.output is not None and options.output.suffix == ".parquet")
        or any(map(is_table, options.image_file))
    ):  # fmt: skip
        return _predict_all(options)
    for flag in ("keep", "probabilities", "logits", "part_rows"):
        if getattr(options, flag):
            raise click.UsageError(f"--{flag.replace('_', '-')} goes with --workers")
    return _classify(
        options,
        options.engine,
        _exported(options),
        RECORD_NAMES["paddle.inference"],
        **options.only("threads", "ir_optim", "memory_optim", "gpu_mem"),
        accelerator=options.accelerator or "auto",
        precision=options.precision or "fp32",
    )


@command(
    f"""{_COMMON}
Model:
  --model  the model: a name in the registry, or FILE.py:SPEC, a ModelSpec of your own [required]
  --params  its trained parameters: .pdparams, with or without the suffix, or a folder with a file
      for each variable [required]
  --num-classes
  --image-size
  -d, --model-dir DIR  [refused: infer runs trained parameters; for an exported model:
      scripts/predict.py]
{_ENGINE}
Examples:
  %prog --i=./test.jpeg --m=ResNet50_vd --p=./ResNet50_vd_pretrained.pdparams
      the five most probable classes of one image
  %prog -i photos -m AlexNet -p alexnet.pdparams --class_dim 10 --output classes.json
      every image in a folder, with parameters trained for ten classes
"""
)
def infer(options: Options) -> int:
    """Classify images with Paddle's training engine and trained parameters (.pdparams).

    The network is a paddle.nn.Layer from the registry, as it was trained: nothing has to be
    exported. The parameters have to be exactly those of the network; what is missing, unexpected
    or of another shape is listed.
    """
    _refuse(options)
    sizes = {"num_classes": options.num_classes, "image_size": options.image_size}
    model = {"model_file": options.model, "params_file": options.params}
    return _classify(options, "dygraph", model, **sizes)


@command(
    f"""{_COMMON}{_EXPORTED}{_ENGINE}
Examples:
  %prog -i=./test.jpeg -d=./resnet50-vd  the model in a folder
  %prog -i=./test.jpeg -d=./resnet50-vd -m=inference.json -p=inference.pdiparams
      one of the programs in it
  %prog -i photos -m=./resnet50-vd/inference.pdmodel --output classes.jsonl  every image in a folder
"""
)
def py_infer(options: Options) -> int:
    """Classify images with Paddle's training engine and an exported model.

    paddle.static.Executor runs the program as it was exported, without fusing operators: the
    faster predict has to agree with it. Combined models (.pdmodel or .json, with .pdiparams) and
    those with one file for each variable (__model__) are taken alike.
    """
    return _classify(options, "executor", _exported(options))


def _predict_all(options: Options) -> int:
    """Predict many images in parts; return the status."""
    if options.output is None or options.output.suffix not in tables.SUFFIXES:
        endings = ", ".join(tables.SUFFIXES)
        raise click.UsageError(f"many images need --output with a name that ends in {endings}")
    for flag in ("topk", "reprod_dir", "benchmark", "resize_size", "crop_size"):
        if getattr(options, flag):
            raise click.UsageError(f"--{flag.replace('_', '-')} is for images without parts")
    if options.engine == "python":
        raise Unsupported("--engine=python predicts no parts: choose an engine in C++")
    if options.on is not None and not re.fullmatch(r"(ray|spark)(://.+)?", options.on):
        raise click.UsageError(
            f"--on: expected ray, spark, ray://HOST:PORT or spark://HOST:PORT, got {options.on}"
        )
    model: dict[str, Any] = {**_exported(options)}
    settings = {"device": _device(options), **options.only("gpu_mem")}
    settings |= options.only("engine", "accelerator", "precision", "threads", "check_program")
    settings |= options.only("ir_optim", "memory_optim")
    predictor = BatchPredictor(
        **model,
        preprocess=options.preprocess,
        labels=options.labels and _core.read_class_names(options.labels),
        model_name=options.model_name,
        threshold=options.threshold,
        **{name: value for name, value in settings.items() if value is not None},
    )
    outputs = [name for name in ("probabilities", "logits") if getattr(options, name)]
    with contextlib.ExitStack() as stack:

        def start(total: int, done: int) -> Callable[[int], object]:
            bar = tqdm(total=total, initial=done, desc="predict", unit="image", disable=None)
            return stack.enter_context(bar).update

        total = predict_all(
            predictor,
            options.image_file,
            options.output,
            outputs=[*predictor.usual_outputs, *outputs],
            start=start,
            skipped=lambda why: tqdm.write(f"skipped {_printable(why)}", file=sys.stderr),
            keep=options.keep or (),
            **options.only("column", "skip_errors", "workers", "threads", "on", "part_rows"),
        )
    earlier = f", {total.resumed} of them in an earlier run" if total.resumed else ""
    good = total.rows - total.skipped
    print(f"wrote the predictions for {good} images to {_printable(str(options.output))}{earlier}")
    if total.skipped:
        left_out = f"{total.skipped} of {total.rows} images"
        raise BadInput(f"{left_out} could not be classified and were skipped")
    return 0


def _exported(options: Options) -> dict[str, Path | None]:
    """Return the exported model that the options name, the bundled one when they name none."""
    _refuse(options)
    program, params = options.model_file, options.params_file
    folder = options.model_dir
    if program is None:
        if params is not None:
            raise click.UsageError("-p goes with -m, the program whose parameters they are")
        return {"model_dir": folder or bundled_model_dir()}
    if folder is not None:
        program, params = (
            file if file is None or (file.exists() and not (folder / file).exists())
            else folder / file
            for file in (program, params)
        )  # fmt: skip
    return {"model_file": program, "params_file": params}


def _classify(
    options: Options,
    engine_name: Any,
    model: dict[str, Path | None],
    record_name: str = TRAINING_NAME,
    **settings: Any,
) -> int:
    """Classify the images by ``model``, the arguments of ``load_predictor``; return the status."""
    images = find_images(options.image_file)
    made = InferenceEngine(
        engine_name,
        preprocess=options.preprocess,
        model_name=getattr(options, "model_name", None),
        labels=options.labels and _core.read_class_names(options.labels),
        check_program=getattr(options, "check_program", None),
        device=_device(options),
        **settings,
    )
    results: list[ImageResult] = []
    outputs: list[NDArray[np.float32]] = []
    skipped = 0
    with contextlib.ExitStack() as stack:
        write: Callable[[ImageResult], None] = results.append
        engine = stack.enter_context(made.load_predictor(**model))
        _find_pipeline(engine)  # what says how to read images is missing now, or never
        value = value_name(engine.reported_kind)
        if options.output is not None:
            write = stack.enter_context(open_results(options.output, value))
        _change(engine, "--resize-size", Resize, getattr(options, "resize_size", None))
        _change(engine, "--crop-size", CenterCrop, getattr(options, "crop_size", None))
        log = AutoLog(engine.name)
        log.warmup = options.warmup if options.benchmark else 0
        for _ in range(log.warmup):  # in a log of their own: a bad image must not move them on
            _run(engine, images[: options.batch_size], options, AutoLog(log.model_name), [])
        bar = tqdm(total=len(images), desc="predict", unit="image", disable=None)
        stack.enter_context(bar)
        for begin in range(0, len(images), options.batch_size):
            batch = images[begin : begin + options.batch_size]
            for result in _run(engine, batch, options, log, outputs):
                write(result)
                if result.error is not None:
                    skipped += 1
                    tqdm.write(f"skipped {_printable(result.error)}", file=sys.stderr)
            bar.update(len(batch))
        config = engine.settings(log.batch_size) if log.batch_size else None
        if options.reprod_dir is not None and outputs:
            output = np.concatenate(outputs)
            write_record(options.reprod_dir / record_name, entries(output, engine.output_kind))
    if options.output is None:
        header = ["file", "class_id", "label", value]
        print(tabulate(_rows(results), header, disable_numparse=True))
    else:
        target = _printable(str(options.output))
        print(f"wrote the predictions for {len(images) - skipped} images to {target}")
    if options.benchmark and config is not None:
        log.report(config)
    if skipped:
        left_out = f"{skipped} of {len(images)} images"
        raise BadInput(f"{left_out} could not be classified and were skipped")
    return 0


def _find_pipeline(engine: InferenceEngine) -> None:
    """Find the preprocessing, which is ImageNet's where only the size of the images tells.

    The tools of PaddleClas 1 have it inside, and what they wrote has no description of it.

    Raises:
        NoPreprocessing: Nothing describes it, and the model is an ONNX model or takes images of
            another size.
    """
    try:
        _ = engine.pipeline
    except NoPreprocessing:
        if engine.input_shape[1:] != (3, 224, 224) or engine.model_file.suffix == ".onnx":
            raise
        engine.pipeline = imagenet(library="opencv")
        print(
            f"no {PREPROCESS_NAME} beside {_printable(str(engine.model_file))}: images are prepared"
            " as for ImageNet in PaddleClas 1 (short side 256, middle 224 x 224, ImageNet's mean"
            " and standard deviation); --preprocess names another way",
            file=sys.stderr,
        )


def _change(engine: InferenceEngine, flag: str, step: type, pixels: int | None) -> None:
    """Give a step of the preprocessing another size, where a flag of AlexNet's guide names one."""
    if pixels is None:
        return
    size: dict[str, Any] = {"size": (pixels, pixels)}
    if step is Resize:
        size = {"short_side": pixels, "size": None}
    before = engine.pipeline
    if not any(isinstance(each, step) for each in before.steps):
        raise BadInput(f"{flag}: the preprocessing of {engine.model_file} has no {step.__name__}")
    steps = (replace(each, **size) if isinstance(each, step) else each for each in before.steps)
    engine.pipeline = replace(before, steps=tuple(steps))


def _refuse(options: Options) -> None:
    endings = (*SUFFIXES, *tables.SUFFIXES) if hasattr(options, "workers") else SUFFIXES
    if options.output is not None and options.output.suffix not in endings:
        expected = ", ".join(dict.fromkeys(endings))
        raise click.UsageError(f"--output: '{options.output}' does not end in {expected}")


def _device(options: Options) -> str | None:
    """Return what computes; None when no flag says so."""
    device: str | None = options.device
    if not options.use_gpu:
        return device
    if device is not None and not device.startswith("gpu"):
        raise click.UsageError(f"--use_gpu and --device={device} contradict each other")
    return device or f"gpu:{options.gpu_id}"


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
    found: Iterator[Finding] = iter(())
    if batch is not None:
        outputs = engine.run(batch)
        log.stamp()
        found = iter(engine.interpret(outputs, options.topk, options.threshold))
        log.stamp()
        log.end(batch.shape)
        kept += [outputs] if options.reprod_dir is not None else []
    return [
        ImageResult(str(image), NOTHING if image in errors else next(found), errors.get(image))
        for image in images
    ]


def _read(
    engine: InferenceEngine, images: Sequence[Path], *, skip_errors: bool
) -> tuple[NDArray[np.float32] | None, dict[Path, str]]:
    """Read a batch; with ``skip_errors`` without the images that cannot be read."""
    if not skip_errors:
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


def _rows(results: list[ImageResult]) -> list[list[object]]:
    rows: list[list[object]] = []
    for result in results:
        if result.error is not None:
            continue
        found = [
            [one.class_id, one.label or "-", "-" if one.score is None else f"{one.value:.6f}"]
            for one in result.found.predictions
        ] + [["", attribute, ""] for attribute in result.found.attributes]
        found = found or [["", "no class reaches the threshold", ""]]
        for place, (number, label, value) in enumerate(found):
            file = "" if place else _printable(result.file)
            rows.append([file, number, _printable(str(label)), value])
    return rows


def _printable(text: str) -> str:
    """Escape what would break a line or a terminal; file names can hold anything."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
