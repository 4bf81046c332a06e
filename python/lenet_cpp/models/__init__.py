"""The networks of lenet_cpp: a registry of their specifications by name.

Importing this module does not import Paddle; building a network does. Your own network does not
need to be in the registry: write a :class:`ModelSpec` in a Python file and name it ``FILE.py:NAME``
wherever a command takes a model, or pass it to the functions that take one. To add a network to the
registry, write a module beside this one with a ``paddle.nn.Layer``, and add its specification to
``MODELS`` in :mod:`lenet_cpp.models.specs`.

:mod:`lenet_cpp.models.weights` has published weights, and
:mod:`lenet_cpp.models.random_parameters` random ones of a seed.
"""

from typing import TYPE_CHECKING

from lenet_cpp._base.lazy import lazy_exports
from lenet_cpp.models.specs import MODELS, ModelSpec, find, get, resolve
from lenet_cpp.models.specs import list_names as list  # noqa: A004 - users call models.list()

if TYPE_CHECKING:
    from lenet_cpp.models.building import build
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

# Predicting reads the registry, and needs none of these.
__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "build": "lenet_cpp.models.building",
        "load_parameters": "lenet_cpp.models.weights",
        "load_pretrained": "lenet_cpp.models.weights",
    },
)
