"""``infer.py``: a training engine runs a registered model with trained parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lenet_cpp.cli import run_cli
from lenet_cpp.cli._classify import engine_options, make_parser, parse, path, predict
from lenet_cpp.cli._parsers import positive

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from lenet_cpp.models import InferenceEngine

_DESCRIPTION = """\
Classify images with Paddle's training engine and trained parameters (.pdparams).

The network is a paddle.nn.Layer from the registry, as it was trained: nothing has to be exported.
The parameters have to be exactly those of the network; what is missing, unexpected or of another
shape is listed.
"""

_EXAMPLES = """\
examples:
  %(prog)s --i=./test.jpeg --m=ResNet50_vd --p=./ResNet50_vd_pretrained.pdparams
      the five most probable classes of one image
  %(prog)s -i photos -m AlexNet -p alexnet.pdparams --class_dim 10 --output classes.json
      every image in a folder, with parameters trained for ten classes
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments; those of the process when None.

    Returns:
        The exit code.
    """
    parser = make_parser(_DESCRIPTION, _EXAMPLES)
    add = parser.add_argument
    add(
        *("-m", "--m", "--model", "--model_name"),
        dest="model",
        metavar="NAME",
        required=True,
        help="the model: a name in the registry, or FILE.py:NAME, a ModelSpec of your own",
    )
    add(
        *("-p", "--p", "--params_file"),
        dest="params_file",
        metavar="PERSISTABLE",
        type=path,
        required=True,
        help="its trained parameters, with or without .pdparams",
    )
    add(
        "--class_dim",
        metavar="N",
        type=positive,
        help="number of classes (default: the model's in the registry)",
    )
    add(
        "--img_size",
        metavar="N",
        type=positive,
        help="height and width of the images, in pixels (default: as --class_dim)",
    )
    options = parse(parser, argv)
    return run_cli(lambda: predict(options, lambda: _engine(options)))


def _engine(options: argparse.Namespace) -> InferenceEngine:
    from lenet_cpp.models import InferenceEngine

    return InferenceEngine(
        "dygraph",
        **engine_options(options),
        class_dim=options.class_dim,
        img_size=options.img_size,
    ).load_predictor(options.model, options.params_file)


if __name__ == "__main__":
    raise SystemExit(main())
