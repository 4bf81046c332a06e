"""PaddleSlim: its four methods, and the environment of its own that they run in.

PaddleSlim 2.6.0 wants NumPy 1 and does not declare all that it imports. It is kept out of the
user's environment: made once, when it is asked for, in the user's cache folder.
"""

import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from lenet_cpp._base.frameworks import paddle
from lenet_cpp.errors import Unsupported
from lenet_cpp.quantize.environments import Environment
from lenet_cpp.quantize.int8_weights import opened_program, save_program

PADDLESLIM = "2.6.0"

ROUNDING = {
    "weight_quantize_type": "channel_wise_abs_max",
    "activation_quantize_type": "moving_average_abs_max",
    "onnx_format": True,
}
QUANTIZERS = {"hist": "HistQuantizer", "KL": "KLQuantizer", "abs_max": "AbsmaxQuantizer"}
"""How dygraph-ptq finds the range of an activation: our name to PaddleSlim's."""


def environment() -> Environment:
    """Return the environment, which may not be made yet.

    It gets PaddleSlim, what that does not declare, and our Paddle.

    Raises:
        Unsupported: Paddle was not installed by pip.
    """
    try:
        paddle = metadata.version("paddlepaddle")
    except metadata.PackageNotFoundError as error:
        raise Unsupported(
            "PaddleSlim needs the same paddlepaddle as ours, which is not installed by pip:"
            " use --via paddle"
        ) from error
    others = ("numpy>=1.24,<2", "six", "requests", "decorator", "setuptools")
    return Environment(
        name=f"paddleslim-{PADDLESLIM}",
        title="PaddleSlim",
        requirements=(f"paddlepaddle=={paddle}", f"paddleslim=={PADDLESLIM}", *others),
        trial="import paddleslim",
        remedy="it needs the network and 1.5 GB of space, or use --via paddle",
        key=(sys.version, sys.prefix),
    )


# The methods, which run in that environment; lenet_cpp.quantize.methods calls them.


def static_ptq(output: Path, options: dict[str, Any]) -> None:
    """Calibrate a program, and write it, with what Paddle's own method takes as well."""
    from paddleslim.quant import quant_post_static

    quant_post_static(
        **options,
        quantize_model_path=str(output.parent),
        save_model_filename=output.name,
        save_params_filename=output.with_suffix(".pdiparams").name,
        hist_percent=0.99999,
    )


def qat_functions() -> tuple[Any, Any]:
    """Return ``quant_aware`` and ``convert``, which static-qat takes."""
    from paddleslim.quant import convert, quant_aware

    return quant_aware, convert


def dygraph(method: str, algo: str) -> Any:
    """Return the object with ``quantize`` and ``save_quantized_model``."""
    from paddleslim import PTQ, QAT

    if method == "dygraph-ptq":
        return PTQ(
            activation_quantizer=QUANTIZERS[algo], weight_quantizer="PerChannelAbsmaxQuantizer"
        )
    return QAT(config=dict(ROUNDING))


def round_weights(program_path: Path) -> None:
    """Turn the simulated rounding that ``PTQ`` leaves, with float weights, into the ONNX form."""
    from paddle.base import core
    from paddle.base.framework import IrGraph
    from paddle.static.quantization import QuantWeightPass, ReplaceFakeQuantDequantPass

    with opened_program(program_path) as (program, feeds, fetches, scope):
        graph = IrGraph(core.Graph(program.desc), for_test=True)
        place = paddle.CPUPlace()
        ReplaceFakeQuantDequantPass(scope, place, quant_bits=8).apply(graph)
        QuantWeightPass(scope, place).apply(graph)
        save_program(program_path, graph.to_program(), feeds, fetches)
