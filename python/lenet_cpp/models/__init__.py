"""The models of lenet_cpp: one registry, name to specification.

Importing this module does not import Paddle; building a model does. To add a model, write a
module beside this one with a ``paddle.nn.Layer`` and add one :class:`ModelSpec` to ``MODELS``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lenet_cpp.errors import BadInput

if TYPE_CHECKING:
    import paddle

__all__ = ["MODELS", "ModelSpec", "build", "get"]


@dataclass(frozen=True)
class ModelSpec:
    """What is known of a model without building it.

    Attributes:
        name: The registry name; also the stem of checkpoint and model files.
        builder: ``package.module:Class`` of the ``paddle.nn.Layer``, imported when it is built.
        input_shape: Shape of one image as the model takes it, channels first.
        classes: Number of classes: the length of the output row.
        labels: The name of each class, in output order.
        description: One line.
    """

    name: str
    builder: str
    input_shape: tuple[int, ...]
    classes: int
    labels: tuple[str, ...]
    description: str

    def build(self, **options: Any) -> paddle.nn.Layer:
        """Build the layer with freshly initialised parameters.

        Args:
            **options: Passed to the layer's constructor.
        """
        module, _, attribute = self.builder.partition(":")
        layer: paddle.nn.Layer = getattr(import_module(module), attribute)(**options)
        return layer


MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec(
            name="lenet",
            builder="lenet_cpp.models.lenet:LeNet",
            input_shape=(1, 28, 28),
            classes=10,
            labels=tuple("0123456789"),
            description="LeNet for 28x28 grey-scale digits: 2 convolutions, 3 linear layers",
        ),
    )
}


def get(name: str) -> ModelSpec:
    """Look a model up.

    Args:
        name: A key of ``MODELS``.

    Raises:
        BadInput: There is no such model; the message lists those there are.
    """
    try:
        return MODELS[name]
    except KeyError:
        raise BadInput(f"unknown model {name!r}; known: {', '.join(sorted(MODELS))}") from None


def build(name: str, **options: Any) -> paddle.nn.Layer:
    """Build a model by name; see :meth:`ModelSpec.build`.

    Raises:
        BadInput: There is no such model.
    """
    return get(name).build(**options)
