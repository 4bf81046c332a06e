"""``lenet-cpp predict``: an inference engine runs an exported model."""

from __future__ import annotations

import click

from lenet_cpp.cli import _shared as shared
from lenet_cpp.cli._classify import choose_model, common, engine_options, model_files, predict
from lenet_cpp.cli._command import Options, command, option
from lenet_cpp.cli._shared import ENGINE
from lenet_cpp.models import InferenceEngine


@command(
    examples="""\
  {prog} digit.png
      a digit, by the bundled LeNet
  {prog} -i=./test.jpeg -m=./resnet50-vd/inference.pdmodel -p=./resnet50-vd/inference.pdiparams
      the five most probable classes of one image
  {prog} -i photos --model_dir resnet50-vd -b 8 --topk 1 --output classes.csv
      every image in a folder, eight at a time
  {prog} -i test.jpeg --model_dir resnet50-vd --engine=python --use_onednn=False --benchmark
      with paddle.inference and Paddle's plain kernels, and AutoLog's report
  {prog} -i digit.png -m lenet.onnx --model_name lenet
      an ONNX model, prepared as the registry prepares images for LeNet
"""
)
@common
@shared.model_files
@option(
    "--engine auto|native|paddle|onnxruntime|python",
    "in C++: native (own kernels, needs no Paddle), paddle, onnxruntime (for .onnx), or auto, the"
    " fastest of these that runs the model; python: paddle.inference",
    group=ENGINE,
    default="auto",
)
@shared.accelerator
@option(
    "--use-onednn [BOOL]",
    "True is --accelerator=onednn, False is --accelerator=plain",
    also="--use_mkldnn",
    group=ENGINE,
    default=None,
)
@shared.threads()
@option("--ir-optim [BOOL]", "let Paddle fuse and rewrite operators", group=ENGINE, default=True)
@option("--memory-optim [BOOL]", "let intermediate results share memory", group=ENGINE)
@option("--use-tensorrt [BOOL]", "compute with TensorRT, which this build cannot", group=ENGINE)
@shared.precision
@option("--int8", "the same as --precision=int8", group=ENGINE)
def main(options: Options) -> int:
    """Classify images with an inference engine and an exported model.

    The C++ predictor of this package runs it, in the fastest of its engines that can (--engine),
    or paddle.inference with --engine=python. See also infer (training engine, trained parameters)
    and py-infer (training engine, exported model).
    """
    choose_model(options)
    if options.int8:
        if options.precision not in {None, "int8"}:
            raise click.UsageError(
                f"--int8 and --precision={options.precision} contradict each other"
            )
        options.precision = "int8"
    if options.use_onednn is not None:
        chosen = "onednn" if options.use_onednn else "plain"
        if options.accelerator not in {None, chosen}:
            raise click.UsageError(
                f"--use_onednn={options.use_onednn} and --accelerator={options.accelerator}"
                " contradict each other"
            )
        options.accelerator = chosen
    return predict(options, lambda: _engine(options), "output_inference_engine.npy")


def _engine(options: Options) -> InferenceEngine:
    return InferenceEngine(
        options.engine,
        **engine_options(options),
        accelerator=options.accelerator or "auto",
        threads=options.threads,
        ir_optim=options.ir_optim,
        memory_optim=options.memory_optim,
        precision=options.precision or "fp32",
    ).load_predictor(**model_files(options))
