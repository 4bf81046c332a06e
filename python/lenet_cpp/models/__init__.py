"""The networks of lenet_cpp: a registry of their specifications by name.

Importing this module does not import Paddle; building a network does. Your own network does not
need to be in the registry: write a :class:`ModelSpec` in a Python file and name it ``FILE.py:NAME``
wherever a command takes a model, or pass it to the functions that take one. To add a network to the
registry, write a module beside this one with a ``paddle.nn.Layer``, and add its specification to
``MODELS`` in :mod:`lenet_cpp.models.registry`.

:mod:`lenet_cpp.models.weights` has published weights and seeded random ones.
"""

from lenet_cpp.models.registry import MODELS, ModelSpec, build, find, get, resolve
from lenet_cpp.models.registry import list_names as list  # noqa: A004 - as in timm
from lenet_cpp.models.weights import load_parameters, load_pretrained

__all__ = [
    "MODELS",
    "ModelSpec",
    "build",
    "find",
    "get",
    "list",
    "load_parameters",
    "load_pretrained",
    "resolve",
]
