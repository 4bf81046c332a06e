"""The models of lenet_cpp: one registry, name to specification.

Importing this module does not import Paddle; building a model does. A model of your own needs no
place in the registry: write a :class:`ModelSpec` in a file of yours and name it ``FILE.py:NAME``
wherever a command takes a model, or hand it to the functions that take one. To add one to the
registry, write a module beside this one with a ``paddle.nn.Layer`` and add its specification to
``MODELS`` in :mod:`lenet_cpp.models.registry`.

Published weights and seeded random ones are in :mod:`lenet_cpp.models.weights`.
"""

from __future__ import annotations

from lenet_cpp.inference.classification import InferenceEngine as InferenceEngine
from lenet_cpp.models import engines
from lenet_cpp.models.registry import MODELS, ModelSpec, build, find, get, resolve
from lenet_cpp.models.weights import load_parameters, load_pretrained

__all__ = [
    "MODELS",
    "ModelSpec",
    "build",
    "find",
    "get",
    "load_parameters",
    "load_pretrained",
    "resolve",
]

engines.register()
