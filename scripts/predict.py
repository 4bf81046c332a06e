#!/usr/bin/env python3
"""Classify images in C++, as the guides' predict.py does; see --help.

infer.py and py_infer.py are beside it: lenet-cpp predict, with the flags of the guides.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from click import option

from lenet_cpp.cli import _options as cli
from lenet_cpp.cli.predict import Fallback, main
from lenet_cpp.data.images import CenterCrop, Resize
from lenet_cpp.errors import BadInput

if TYPE_CHECKING:
    from lenet_cpp import InferenceEngine

COMPUTED = ("accelerator", "precision", "threads", "ir_optim", "memory_optim")
EXPORTED = (
    option(
        "-d",
        "--model-dir",
        type=cli.FOLDER,
        help="folder of an exported model, in any layout (default: the bundled LeNet)",
    ),
    option(
        "-m",
        "--model-file",
        type=cli.FILE,
        help="the program: .pdmodel, .json, __model__, or"
        " .onnx for the C++ engines; with a folder, also a name in it",
    ),
    cli.params_file(
        help="its parameters; with a folder, also a name in it (default:"
        " NAME.pdiparams beside the program)"
    ),
)
GPU = cli.option_group(
    "Engine",
    cli.switch("--use-gpu", help="the same as --device=gpu"),
    option("--gpu-id", type=cli.NATURAL, default=0, help="with --use-gpu, which GPU"),
)


def _no_effect(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value is not None:
        said = f"{param.opts[-1]} has no effect: TensorRT is not used"
        print(f"{ctx.command_path}: {said}", file=sys.stderr)


def _refuse(_ctx: click.Context, _param: click.Parameter, value: Any) -> None:
    if value is not None:
        raise click.UsageError(
            "--model-dir: infer runs trained parameters; for an exported model: scripts/predict.py"
        )


unused = partial(option, type=cli.COUNT, callback=_no_effect, expose_value=False)


@cli.command(
    """
%prog -i=./test.jpeg -m=./resnet50-vd/inference.pdmodel -p=./resnet50-vd/inference.pdiparams
    the five most probable classes of an image
%prog -i photos --model_dir resnet50-vd -b 8 --topk 1 --output classes.csv
    every image of a folder, eight at a time, into a file
%prog -i digit.png
    a digit, by the bundled LeNet
"""
)
@cli.option_group("Model", *EXPORTED)
@GPU
@cli.option_group(
    "Engine",
    cli.switch(
        "--use-onednn",
        "--use_mkldnn",
        default=None,
        help="true is --accelerator=onednn, false is --accelerator=plain",
    ),
    option("--int8", is_flag=True, help="the same as --precision=int8"),
    cli.switch(
        "--use-tensorrt",
        help="the same as --accelerator=tensorrt --precision=tf32, for an .onnx on a GPU",
    ),
    unused("--max-batch-size", help="ignored"),
    unused("--min-subgraph-size", help="ignored"),
)
@cli.option_group(
    "Images",
    option(
        "--resize-size",
        type=cli.COUNT,
        help="the short side that the model's preprocessing resizes to, instead of its own",
    ),
    option(
        "--crop-size",
        type=cli.COUNT,
        help="height and width of the middle that it keeps, instead of its own",
    ),
)
def predict(
    use_onednn: bool | None,
    int8: bool,
    use_tensorrt: bool,
    resize_size: int | None,
    crop_size: int | None,
    **given: Any,
) -> int:
    """Classify images with an exported model, with the flags of the guides' predict.py."""
    kernels = None
    if use_onednn is not None:
        kernels = "onednn" if use_onednn else "plain"
    asked = {name: given[name] for name in ("accelerator", "precision")}
    for flag, name, chosen in (
        ("--int8", "precision", "int8" if int8 else None),
        (f"--use_onednn={use_onednn}", "accelerator", kernels),
        ("--use_tensorrt", "accelerator", "tensorrt" if use_tensorrt else None),
        ("--use_tensorrt", "precision", "tf32" if use_tensorrt else None),
    ):
        if chosen is not None and given[name] not in {None, chosen}:
            raise click.UsageError(f"{flag} and --{name}={given[name]} contradict each other")
        given[name] = given[name] or chosen

    def change(engine: InferenceEngine) -> None:
        resize = {"short_side": resize_size, "size": None}
        _change(engine, "--resize-size", Resize, resize_size and resize)
        _change(engine, "--crop-size", CenterCrop, crop_size and {"size": (crop_size,) * 2})

    fallbacks = []
    if use_tensorrt:
        reason = "it takes an .onnx, and a GPU with onnxruntime-gpu and TensorRT (docs/gpu.md)"
        fallbacks.append(Fallback("--use_tensorrt", asked, reason))
    return _run(given, fallbacks, change=change)


@cli.command("%prog --i=./test.jpeg --m=ResNet50_vd --p=./ResNet50_vd_pretrained.pdparams")
@cli.option_group(
    "Model",
    cli.network(required=True),
    cli.params(
        required=True,
        help="its trained parameters: .pdparams, with or without the suffix, or a folder with a"
        " file for each variable",
    ),
    option("-d", "--model-dir", hidden=True, callback=_refuse, expose_value=False),
    cli.num_classes(),
    cli.image_size(),
)
@GPU
def infer(params: str, **given: Any) -> int:
    """Classify images with trained parameters, in Paddle's training engine.

    The network is a paddle.nn.Layer from the registry, as it was trained: nothing has to be
    exported. The parameters have to be exactly those of the network.
    """
    files = {"model": params, "model_dir": None, "model_file": None, "params_file": None}
    return _run({**given, **files}, [], engine="dygraph", check_program=None, gpu_mem=None)


@cli.command("%prog -i=./test.jpeg -d=./resnet50-vd -m=inference.json -p=inference.pdiparams")
@cli.option_group("Model", *EXPORTED)
@GPU
def py_infer(**given: Any) -> int:
    """Classify images with an exported model, in Paddle's training engine.

    paddle.static.Executor runs the program as it was exported, without fusing operators: the
    faster predict.py has to agree with it.
    """
    return _run(given, [], engine="executor", gpu_mem=None)


def _run(given: dict[str, Any], fallbacks: list[Fallback], **settings: Any) -> int:
    if not (given["images"] or given["image_file"]):
        raise click.UsageError("name images: -i FILE")
    device, number = given["device"], given.pop("gpu_id")
    if given.pop("use_gpu"):
        if device is not None and not device.startswith("gpu"):
            raise click.UsageError(f"--use_gpu and --device={device} contradict each other")
        settings["device"] = device or f"gpu:{number}"
        if device is None:
            fallbacks.append(Fallback("--use_gpu", {"device": None}))
    given.setdefault("model", None)
    named = ("model", "model_dir", "model_file")
    settings["bundled"] = all(given[name] is None for name in named)
    settings["fallbacks"] = fallbacks
    every = {**dict.fromkeys((*COMPUTED, "num_classes", "image_size")), **given, **settings}
    status: int = main.callback(**every)  # type: ignore[misc]
    return status


def _change(engine: InferenceEngine, flag: str, step: type, size: Any) -> None:
    """Give a step of the preprocessing another size, where a flag of AlexNet's guide names one."""
    if not size:
        return
    before = engine.pipeline
    if not any(isinstance(each, step) for each in before.steps):
        raise BadInput(f"{flag}: the preprocessing of {engine.model_file} has no {step.__name__}")
    steps = (replace(each, **size) if isinstance(each, step) else each for each in before.steps)
    engine.pipeline = replace(before, steps=tuple(steps))


def _inherit(command: cli.Command, *without: str) -> None:
    """Add the options of lenet-cpp predict that the command does not have yet."""
    named = {param.name for param in command.params} | {"model", "bundled", *without}
    command.params += [param for param in main.params if param.name not in named]


_inherit(predict, "num_classes", "image_size")
_inherit(infer, *COMPUTED, "engine", "check_program", "model_dir", "model_file", "params_file")
_inherit(py_infer, *COMPUTED, "engine", "num_classes", "image_size")

if __name__ == "__main__":
    sys.exit(predict())
