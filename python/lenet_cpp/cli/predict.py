"""``predict.py``: an inference engine runs an exported model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lenet_cpp.cli import run_cli
from lenet_cpp.cli._classify import (
    add_model_files,
    engine_options,
    make_parser,
    model_files,
    parse,
    predict,
    switch,
)
from lenet_cpp.cli._parsers import positive

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from lenet_cpp.models import InferenceEngine

_DESCRIPTION = """\
Classify images with an inference engine and an exported model.

The C++ predictor of this package runs it, in the fastest of its engines that can (--engine), or
paddle.inference with --engine=python. See also infer.py (training engine, trained parameters) and
py_infer.py (training engine, exported model).
"""

_EXAMPLES = """\
examples:
  %(prog)s -i=./test.jpeg -m=./resnet50-vd/inference.pdmodel -p=./resnet50-vd/inference.pdiparams
      the five most probable classes of one image
  %(prog)s -i photos --model_dir resnet50-vd -b 8 --topk 1 --output classes.csv
      every image in a folder, eight at a time
  %(prog)s -i test.jpeg --model_dir resnet50-vd --engine=python --use_onednn=False --benchmark
      with paddle.inference and Paddle's plain kernels, and AutoLog's report
  %(prog)s -i digit.png -m lenet.onnx --model_name lenet
      an ONNX model, prepared as the registry prepares images for LeNet
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments; those of the process when None.

    Returns:
        The exit code.
    """
    parser = make_parser(_DESCRIPTION, _EXAMPLES)
    add_model_files(parser, ("--model_dir", "-d", "--d"))
    add = parser.add_argument
    add(
        "--engine",
        choices=("auto", "native", "paddle", "onnxruntime", "python"),
        default="auto",
        help="in C++: native (own kernels, needs no Paddle), paddle, onnxruntime (for .onnx),"
        " or auto, the fastest of these that runs the model; python: paddle.inference (default:"
        " %(default)s)",
    )
    add(
        "--accelerator",
        choices=("auto", "plain", "onednn", "openvino"),
        help="what computes Paddle's operators (default: auto; that is the fastest by measurement"
        " with the paddle engine, oneDNN with python; the others have kernels of their own)",
    )
    switch(
        add,
        "--use_onednn",
        "--use_mkldnn",
        default=None,
        explain="True is --accelerator=onednn, False is --accelerator=plain",
    )
    add(
        "--cpu_threads",
        metavar="N",
        type=positive,
        default=1,
        help="CPU threads of a run (default: %(default)s)",
    )
    switch(
        add,
        "--ir_optim",
        default=True,
        explain="let Paddle fuse and rewrite operators (default: %(default)s)",
    )
    switch(
        add,
        "--memory_optim",
        explain="let intermediate results share memory (default: %(default)s)",
    )
    switch(
        add,
        "--use_tensorrt",
        explain="compute with TensorRT, which this build cannot (default: False, also with"
        " --benchmark)",
    )
    add(
        "--precision",
        choices=("fp32", "bf16", "int8"),
        help="of the arithmetic: fp32, bf16, or int8 for a quantized .pdmodel (default: fp32)",
    )
    add("--int8", action="store_true", help="the same as --precision=int8")
    options = parse(parser, argv)
    if options.int8:
        if options.precision not in {None, "int8"}:
            parser.error(f"--int8 and --precision={options.precision} contradict each other")
        options.precision = "int8"
    if options.use_onednn is not None:
        chosen = "onednn" if options.use_onednn else "plain"
        if options.accelerator not in {None, chosen}:
            parser.error(
                f"--use_onednn={options.use_onednn} and --accelerator={options.accelerator}"
                " contradict each other"
            )
        options.accelerator = chosen
    return run_cli(lambda: predict(options, lambda: _engine(options)))


def _engine(options: argparse.Namespace) -> InferenceEngine:
    from lenet_cpp.models import InferenceEngine

    return InferenceEngine(
        options.engine,
        **engine_options(options),
        accelerator=options.accelerator or "auto",
        threads=options.cpu_threads,
        ir_optim=options.ir_optim,
        memory_optim=options.memory_optim,
        precision=options.precision or "fp32",
    ).load_predictor(**model_files(options))


if __name__ == "__main__":
    raise SystemExit(main())
