"""Options that several commands take, each declared once."""

from __future__ import annotations

import shutil
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lenet_cpp.cli._command import FILE, Options, argument, option
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

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Complete the registry's names."""
        names = click.Choice(list(MODELS), case_sensitive=False)
        return names.shell_complete(ctx, param, incomplete)


NETWORK = _ModelName()


def group(*decorators: Decorator) -> Decorator:
    """Make one decorator of several; ``--help`` shows the options in this order."""
    return lambda function: reduce(lambda done, each: each(done), reversed(decorators), function)


# The model


def model(text: str, **settings: Any) -> Decorator:
    """``--model``: which registered network it is."""
    also = "--model-name"
    return option("-m, --model NAME", text, also=also, group=MODEL, type=NETWORK, **settings)


def params(text: str, **settings: Any) -> Decorator:
    """``--params``: the trained parameters."""
    also = "--params-file --pretrained"
    return option("-p, --params FILE", text, also=also, group=MODEL, **settings)


def image_size(text: str) -> Decorator:
    """``--image-size``."""
    text = f"height and width of the images, in pixels {text}"
    return option("--image-size N", text, also="--img_size", group=MODEL)


def sizes(whose: str = "the model's") -> Decorator:
    """``--num-classes`` and ``--image-size``."""
    text = f"number of classes (default: {whose})"
    classes = option("--num-classes N", text, also="--class_dim", group=MODEL)
    return group(classes, image_size(f"(default: {whose})"))


model_name = option(
    "--model-name NAME",
    "which model this is, a registered name or FILE.py:SPEC, for preprocessing and labels if there"
    " are none beside it, and for the report",
    group=MODEL,
    type=NETWORK,
)
check_program = option(
    "--check-program [BOOL]",
    "refuse programs with operators that are not known, which could crash Paddle; False is for a"
    " model that you trust",
    group=MODEL,
    default=True,
)
model_files = group(
    option(
        "-d, --model-dir DIR",
        "folder of an exported model, in any layout (default: the bundled LeNet)",
        group=MODEL,
    ),
    option(
        "-m, --model-file FILE",
        "the program: .pdmodel, .json, __model__, or .onnx for the C++ engines; with a folder, also"
        " a name in it",
        group=MODEL,
    ),
    option(
        "-p, --params-file FILE",
        "its parameters; with a folder, also a name in it (default: NAME.pdiparams beside the"
        " program)",
        group=MODEL,
    ),
    model_name,
    check_program,
)
exported_model = group(
    argument(
        "model",
        "folder of an exported model, or its program: .pdmodel, .json or .onnx (default: the"
        " bundled LeNet)",
        also="-m --model-file -d --model-dir",
        metavar="[MODEL]",
        required=False,
        type=FILE,
    ),
    option(
        "-p, --params-file FILE",
        "its parameters (default: NAME.pdiparams beside the program)",
        group=MODEL,
    ),
)
torch_model = option(
    "-m, --model NAME",
    f"the network of PyTorch parameters: {', '.join(torch_models.NETWORKS)} or FILE.py:NAME",
    group=MODEL,
)


def predictor_files(options: Options) -> dict[str, Any]:
    """The model that the options of ``exported_model`` name, as a predictor takes it."""
    if options.model is not None and options.model.is_dir():
        return {"model_dir": options.model, "params_file": options.params_file}
    return {"model_file": options.model, "params_file": options.params_file}


# Images and data


def images(text: str, **settings: Any) -> Decorator:
    """The images, as arguments or after ``-i``."""
    also = "-i --image-file --img-path"
    settings = {"nargs": -1, "required": True, "type": FILE, "metavar": "IMAGE", **settings}
    return argument("images", text, also=also, **settings)


def batch_size(text: str, default: int | None = None, heading: str = "Options") -> Decorator:
    """``--batch-size``."""
    return option("-b, --batch-size N", text, group=heading, default=default)


preprocess = option(
    "--preprocess FILE",
    "how images are prepared: preprocess.json, or PaddleClas's inference.yml (default: the file of"
    " that name beside the model, else what the registry has for the model)",
    group=IMAGES,
)
data_dir = option(
    "--data-dir DIR",
    "folder with the four MNIST files in IDX format, gzipped or not (default: Paddle's cache when"
    " it is complete, else the embedded sample of 6,000 images)",
    group=IMAGES,
)

# The engine


def threads(text: str = "CPU threads of a run", **settings: Any) -> Decorator:
    """``--threads``."""
    settings = {"spec": "--threads N", "default": 1, **settings}
    return option(text=text, also="--cpu_threads", group=ENGINE, **settings)


def _find_program(ctx: click.Context, _param: click.Parameter, value: Path | None) -> Path | None:
    if value is not None:
        return value
    built = Path((ctx.obj or {}).get("root", ""), "build", "lenet_infer_test")
    installed = shutil.which(built.name)
    return built if built.is_file() else Path(installed) if installed else None


def program(text: str = "") -> Decorator:
    """``--program``: the C++ program, which a wheel does not contain."""
    text = f"the C++ program (default: build/lenet_infer_test, or the one in PATH{text})"
    return option("--program FILE", text, group=ENGINE, callback=_find_program)


accelerator = option(
    "--accelerator auto|plain|onednn|openvino",
    "what computes Paddle's operators (default: auto; that is the fastest by measurement with the"
    " paddle engine, oneDNN with python; the others have kernels of their own)",
    group=ENGINE,
)
precision = option(
    "--precision fp32|bf16|int8",
    "of the arithmetic; int8 is for a quantized model (default: fp32)",
    group=ENGINE,
)

# Training, and what is written


def seed(text: str, default: int | None = None) -> Decorator:
    """``--seed``: of random numbers."""
    return option("--seed N", text, type=int, default=default)


def output_dir(text: str, *, also: str = "", required: bool = False) -> Decorator:
    """``--output-dir``: the folder to write."""
    return option("-o, --output-dir DIR", text, also=also, required=required)


learning_rate = option("--lr X", "peak learning rate", also="--learning-rate")
softmax = option(
    "--softmax/--no-softmax",
    "append a softmax, so that the output is probabilities (default: logits)",
    default=None,
)
stem = option("--name STEM", "stem of the files (default: the source's)")
as_json = option("--json", "print JSON", group=RESULTS)
report = option("--report FILE", "also write the report as JSON", group=RESULTS)
