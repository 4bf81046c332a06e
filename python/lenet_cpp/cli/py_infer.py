"""``lenet-cpp py-infer``: a training engine runs an exported model."""

from __future__ import annotations

from lenet_cpp.cli import _shared as shared
from lenet_cpp.cli._classify import choose_model, common, engine_options, model_files, predict
from lenet_cpp.cli._command import Options, command
from lenet_cpp.models import InferenceEngine


@command(
    examples="""\
  {prog} -i=./test.jpeg -d=./resnet50-vd
      the model in a folder
  {prog} -i=./test.jpeg -d=./resnet50-vd -m=inference.json -p=inference.pdiparams
      one of the programs in it
  {prog} -i photos -m=./resnet50-vd/inference.pdmodel --output classes.jsonl
      every image in a folder
"""
)
@common
@shared.model_files
def main(options: Options) -> int:
    """Classify images with Paddle's training engine and an exported model.

    paddle.static.Executor runs the program as it was exported, without fusing operators: the
    faster predict has to agree with it. Combined models (.pdmodel or .json, with .pdiparams) and
    those with one file for each variable (__model__) are taken alike.
    """
    choose_model(options)
    return predict(options, lambda: _engine(options))


def _engine(options: Options) -> InferenceEngine:
    return InferenceEngine("executor", **engine_options(options)).load_predictor(
        **model_files(options)
    )
