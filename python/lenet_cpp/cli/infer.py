"""``lenet-cpp infer``: a training engine runs a registered model with trained parameters."""

from __future__ import annotations

from lenet_cpp.cli import _shared as shared
from lenet_cpp.cli._classify import common, engine_options, predict
from lenet_cpp.cli._command import Options, command
from lenet_cpp.models import InferenceEngine


@command(
    examples="""\
  {prog} --i=./test.jpeg --m=ResNet50_vd --p=./ResNet50_vd_pretrained.pdparams
      the five most probable classes of one image
  {prog} -i photos -m AlexNet -p alexnet.pdparams --class_dim 10 --output classes.json
      every image in a folder, with parameters trained for ten classes
"""
)
@common
@shared.model(
    "the model: a name in the registry, or FILE.py:SPEC, a ModelSpec of your own", required=True
)
@shared.params("its trained parameters, with or without .pdparams", required=True)
@shared.sizes()
def main(options: Options) -> int:
    """Classify images with Paddle's training engine and trained parameters (.pdparams).

    The network is a paddle.nn.Layer from the registry, as it was trained: nothing has to be
    exported. The parameters have to be exactly those of the network; what is missing, unexpected
    or of another shape is listed.
    """
    return predict(options, lambda: _engine(options))


def _engine(options: Options) -> InferenceEngine:
    return InferenceEngine(
        "dygraph",
        **engine_options(options),
        class_dim=options.num_classes,
        img_size=options.image_size,
    ).load_predictor(options.model, options.params)
