"""Caffe2 as one of the ways of ``scripts/verify.py --across``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lenet_cpp.errors import Unsupported
from lenet_cpp.interchange.torch.models import save_state
from lenet_cpp.verify.across import softmax_of
from tools.caffe2.environment import require_environment, run_nets
from tools.caffe2.roundtrip import IMAGE_SHAPES, round_trip

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lenet_cpp.verify.across import Context


def run(context: Context) -> NDArray[np.float32]:
    """Run the nets that PyTorch's ONNX file became, in Caffe2's own environment."""
    require_environment()
    name, net = context.torch_name(), context.net
    wanted = IMAGE_SHAPES[name]
    if context.images.shape[1:] != wanted:
        raise Unsupported(f"the nets are made for images {list(wanted)} only")
    params, folder = context.work / "net.prm", context.work / "caffe2"
    save_state(net, params)
    round_trip(name, context.images[:1], folder, params=params)
    nets = folder / "init_net.pb", folder / "predict_net.pb"
    return softmax_of(context, run_nets(*nets, context.images, batch_size=1))
