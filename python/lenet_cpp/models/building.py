"""Build networks of the registry, which needs Paddle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lenet_cpp._base.frameworks import paddle
from lenet_cpp._base.optional import require_paddle
from lenet_cpp.models.specs import ModelSpec, get


def build(
    name: str,
    num_classes: int | None = None,
    image_size: int | None = None,
    *,
    seed: int | None = None,
    **options: Any,
) -> paddle.nn.Layer:
    """Build a network by name; see :meth:`ModelSpec.build`.

    Raises:
        BadInput: There is no such network, or it does not support the sizes.
    """
    layer: paddle.nn.Layer = get(name).build(num_classes, image_size, seed=seed, **options)
    return layer


@contextmanager
def construction(seed: int | None = None) -> Iterator[None]:
    """Number generated names from zero in the block, as files and checkpoints need them.

    Without the seed of Paddle's initial parameters, its random state stays as it was.
    """
    require_paddle()
    state = paddle.get_rng_state()
    if seed is not None:
        paddle.seed(seed)
    try:
        with paddle.utils.unique_name.guard():
            yield
    finally:
        if seed is None:
            paddle.set_rng_state(state)


def build_layer(
    spec: ModelSpec, num_classes: int | None, image_size: int | None
) -> paddle.nn.Layer:
    """Build a network for inference, whose parameters will be replaced."""
    with construction():
        layer: paddle.nn.Layer = spec.build(num_classes, image_size)
    layer.eval()
    return layer
