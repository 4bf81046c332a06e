"""``py_infer.py``: a training engine runs an exported model."""

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
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from lenet_cpp.models import InferenceEngine

_DESCRIPTION = """\
Classify images with Paddle's training engine and an exported model.

paddle.static.Executor runs the program as it was exported, without fusing operators: what the
faster predict.py has to agree with. Combined models (.pdmodel or .json, with .pdiparams) and those
with one file for each variable (__model__) are taken alike.
"""

_EXAMPLES = """\
examples:
  %(prog)s -i=./test.jpeg -d=./resnet50-vd
      the model in a folder
  %(prog)s -i=./test.jpeg -d=./resnet50-vd -m=inference.json -p=inference.pdiparams
      one of the programs in it
  %(prog)s -i photos -m=./resnet50-vd/inference.pdmodel --output classes.jsonl
      every image in a folder
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments; those of the process when None.

    Returns:
        The exit code.
    """
    parser = make_parser(_DESCRIPTION, _EXAMPLES)
    add_model_files(parser, ("-d", "--d", "--model_dir"))
    options = parse(parser, argv)
    return run_cli(lambda: predict(options, lambda: _engine(options)))


def _engine(options: argparse.Namespace) -> InferenceEngine:
    from lenet_cpp.models import InferenceEngine

    return InferenceEngine("executor", **engine_options(options)).load_predictor(
        **model_files(options)
    )


if __name__ == "__main__":
    raise SystemExit(main())
