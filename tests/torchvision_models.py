"""torchvision's own classifiers, which several test files use.

torchvision's wheels want the operators of a PyTorch with CUDA; its classifiers do without:
pip install --no-deps torchvision==0.28.0 is enough.
"""

from functools import cache
from importlib import import_module
from importlib.util import find_spec

import pytest
import torch


@cache
def define_operators():
    """Define those that torchvision, whose library is for another build of torch, asks for."""
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float threshold) -> Tensor")
    return library


def of_torchvision(name):
    def make():
        if find_spec("torchvision") is None:
            # Not in the test group: with its dependencies pip would install PyTorch for CUDA.
            pytest.skip("torchvision brings CUDA: pip install --no-deps torchvision==0.28.0")
        define_operators()
        models = import_module("torchvision").models
        options = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        return getattr(models, name)(num_classes=10, **options)

    return make
