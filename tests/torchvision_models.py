"""torchvision's own classifiers, which several test files use.

torchvision's wheels want the operators of a PyTorch with CUDA; its classifiers do without:
pip install --no-deps torchvision==0.28.0 is enough.
"""

from importlib import import_module
from importlib.util import find_spec

import pytest

from tools.zoo.sources import define_torchvision_operators


def of_torchvision(name):
    def make():
        if find_spec("torchvision") is None:
            # Not in the test group: with its dependencies pip would install PyTorch for CUDA.
            pytest.skip("torchvision brings CUDA: pip install --no-deps torchvision==0.28.0")
        define_torchvision_operators()
        models = import_module("torchvision").models
        options = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        return getattr(models, name)(num_classes=10, **options)

    return make
