"""Options that several commands take, each declared once."""

from __future__ import annotations

import shutil
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lenet_cpp.cli._command import FILE, FOLDER, POSITIVE, Options, argument, option, switch
from lenet_cpp.interchange.torch import models as torch_models
from lenet_cpp.models import MODELS

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.shell_completion import CompletionItem

    Decorator = Callable[[Any], Any]

MODEL, IMAGES, ENGINE, RESULTS = "Model", "Images", "Engine", "Results"
"""Headings of options in ``--help``."""


class _ModelName(click.types.StringParamType):
    """The name of a registered model or ``FILE.py:SPEC``, as the registry resolves it later."""

    name = "name"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        names = click.Choice(list(MODELS), case_sensitive=False)
        return names.shell_complete(ctx, param, incomplete)


def group(*decorators: Decorator) -> Decorator:
    """Make one decorator of several; ``--help`` shows the options in this order."""
    return lambda function: reduce(lambda done, each: each(done), reversed(decorators), function)


def model(text: str, *, default: str | None = None, required: bool = False) -> Decorator:
    """``--model``: which network it is."""
    return option(
        *("-m", "--model", "model"),
        also=("--model-name",),
        metavar="NAME",
        type=_ModelName(),
        default=default,
        required=required,
        help=text,
        group=MODEL,
    )


def params(text: str, *, type: Any = None, required: bool = False) -> Decorator:  # noqa: A002 - click's
    """``--params``: its trained parameters."""
    return option(
        *("-p", "--params", "params"),
        also=("--params-file", "--pretrained"),
        metavar="FILE",
        type=type,
        required=required,
        help=text,
        group=MODEL,
    )


def image_size(text: str) -> Decorator:
    """``--image-size``."""
    return option(
        "--image-size",
        also=("--img_size",),
        metavar="N",
        type=POSITIVE,
        help=f"height and width of the images, in pixels {text}",
        group=MODEL,
    )


def sizes(whose: str = "the model's") -> Decorator:
    """``--num-classes`` and ``--image-size``."""
    return group(
        option(
            "--num-classes",
            also=("--class_dim",),
            metavar="N",
            type=POSITIVE,
            help=f"number of classes (default: {whose})",
            group=MODEL,
        ),
        image_size(f"(default: {whose})"),
    )


def seed(text: str, default: int | None = None) -> Decorator:
    """``--seed``: of random numbers."""
    return option("--seed", metavar="N", type=int, default=default, help=text)


def batch_size(text: str, default: int | None = None, heading: str = "Options") -> Decorator:
    """``--batch-size``."""
    return option(
        *("-b", "--batch-size"),
        metavar="N",
        type=POSITIVE,
        default=default,
        help=text,
        group=heading,
    )


def threads(text: str = "CPU threads of a run") -> Decorator:
    """``--threads``."""
    return option(
        "--threads",
        also=("--cpu_threads",),
        metavar="N",
        type=POSITIVE,
        default=1,
        help=text,
        group=ENGINE,
    )


def output_dir(text: str, *also: str, required: bool = False) -> Decorator:
    """``--output-dir``: the folder to write."""
    return option(
        *("-o", "--output-dir"),
        also=also,
        metavar="DIR",
        type=FOLDER,
        required=required,
        help=text,
    )


def images(text: str, *, required: bool = True) -> Decorator:
    """The images, as arguments or after ``-i``."""
    return argument(
        "images",
        metavar="IMAGE",
        nargs=-1,
        required=required,
        type=FILE,
        also=("-i", "--image-file", "--img-path"),
        text=text,
    )


def _find_program(ctx: click.Context, _param: click.Parameter, value: Path | None) -> Path | None:
    if value is not None:
        return value
    built = Path((ctx.obj or {}).get("root", ""), "build", "lenet_infer_test")
    installed = shutil.which(built.name)
    return built if built.is_file() else Path(installed) if installed else None


def program(text: str = "") -> Decorator:
    """``--program``: the C++ program, which a wheel has not."""
    return option(
        "--program",
        metavar="FILE",
        type=FILE,
        callback=_find_program,
        help=f"the C++ program (default: build/lenet_infer_test, or the one in PATH{text})",
        group=ENGINE,
    )


preprocess = option(
    "--preprocess",
    metavar="FILE",
    type=FILE,
    help="how images are prepared: preprocess.json, or PaddleClas's inference.yml (default: the"
    " file of that name beside the model, else what the registry has for the model)",
    group=IMAGES,
)

exported_model = group(
    argument(
        "model",
        metavar="[MODEL]",
        required=False,
        type=FILE,
        also=("-m", "--model-file", "-d", "--model-dir"),
        text="folder of an exported model, or its program: .pdmodel, .json or .onnx (default: the"
        " bundled LeNet)",
    ),
    option(
        *("-p", "--params-file"),
        metavar="FILE",
        type=FILE,
        help="its parameters (default: NAME.pdiparams beside the program)",
        group=MODEL,
    ),
)


def predictor_files(options: Options) -> dict[str, Any]:
    """The model that the options of ``exported_model`` name, as a predictor takes it."""
    if options.model is not None and options.model.is_dir():
        return {"model_dir": options.model, "params_file": options.params_file}
    return {"model_file": options.model, "params_file": options.params_file}


model_name = option(
    "--model-name",
    metavar="NAME",
    type=_ModelName(),
    help="which model this is, for preprocessing and labels if there are none beside it, and for"
    " the report; a registered name, or FILE.py:SPEC",
    group=MODEL,
)

model_files = group(
    option(
        *("-d", "--model-dir"),
        metavar="DIR",
        type=FOLDER,
        help="folder of an exported model, combined or with a file for each variable",
        group=MODEL,
    ),
    option(
        *("-m", "--model-file"),
        metavar="FILE",
        type=FILE,
        help="the program: .pdmodel, .json, __model__, or .onnx for the C++ engines; with a folder,"
        " also a name in it",
        group=MODEL,
    ),
    option(
        *("-p", "--params-file"),
        metavar="FILE",
        type=FILE,
        help="its parameters; with a folder, also a name in it (default: NAME.pdiparams beside the"
        " program)",
        group=MODEL,
    ),
    model_name,
    switch(
        "--check-program",
        default=True,
        help="refuse programs with operators that are not known, which could crash Paddle; False is"
        " for a model that you trust",
        group=MODEL,
    ),
)

softmax = option(
    *("--softmax/--no-softmax",),
    default=None,
    help="append a softmax, so that the output is probabilities (default: logits)",
)

as_json = option("--json", is_flag=True, help="print JSON", group=RESULTS)

report = option("--report", metavar="FILE", type=FILE, help="also write the report as JSON")

accelerator = option(
    "--accelerator",
    type=click.Choice(("auto", "plain", "onednn", "openvino")),
    help="what computes Paddle's operators (default: auto; that is the fastest by measurement with"
    " the paddle engine, oneDNN with python; the others have kernels of their own)",
    group=ENGINE,
)

precision = option(
    "--precision",
    type=click.Choice(("fp32", "bf16", "int8")),
    help="of the arithmetic: fp32, bf16, or int8 for a quantized .pdmodel (default: fp32)",
    group=ENGINE,
)

data_dir = option(
    "--data-dir",
    metavar="DIR",
    type=FOLDER,
    help="folder with the four MNIST files in IDX format, gzipped or not (default: Paddle's cache"
    " when it is complete, else the embedded sample of 6,000 images)",
)

learning_rate = option(
    *("--lr", "learning_rate"),
    also=("--learning-rate",),
    metavar="X",
    type=float,
    help="peak learning rate",
)

torch_model = option(
    *("-m", "--model"),
    metavar="NAME",
    help=f"the network of PyTorch parameters: {', '.join(torch_models.NETWORKS)} or FILE.py:NAME",
    group=MODEL,
)

stem = option("--name", metavar="STEM", help="stem of the files (default: the source's)")
