"""Random parameters that are the same on every machine.

This module imports no Paddle: it uses only the state dict of the layer that it is given.
"""

import zlib
from typing import Any

import numpy as np
import numpy.typing as npt

from lenet_cpp.errors import BadInput


def seed_parameters(layer: Any, seed: int) -> None:
    """Give a layer random parameters that depend on the seed and their names only.

    They serve to check an untrained network: every parameter differs from what a fault would leave
    (no zero biases, no means of 0 and variances of 1), and the outputs keep the size of the input
    at any depth. Weights are drawn as by K. He et al., "Delving deep into
    rectifiers", 2015. Scales of normalizations are below 1: with running statistics
    instead of a batch's own, each residual block would otherwise double the variance.

    Args:
        layer: A ``paddle.nn.Layer``.
        seed: 0 or more.

    Raises:
        BadInput: The seed is negative.
    """
    if seed < 0:
        raise BadInput(f"the seed is {seed}; expected 0 or more")
    state = layer.state_dict()
    for name, tensor in state.items():
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        values = _draw(random, name, tuple(tensor.shape))
        tensor.set_value(values.astype(str(tensor.dtype).removeprefix("paddle.")))


def _draw(
    random: np.random.Generator, name: str, shape: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    kind = name.rpartition(".")[2]
    if kind == "_variance":
        return random.uniform(0.8, 1.25, shape)
    if len(shape) > 1:
        # A linear layer's matrix is [inputs, outputs], a convolution's filter [outputs, inputs...].
        inputs = shape[0] if len(shape) == 2 else int(np.prod(shape[1:]))
        return random.normal(0, np.sqrt(2 / inputs), shape)
    if kind == "weight":
        return random.uniform(0.6, 0.8, shape)
    return random.normal(0, 0.03, shape)
