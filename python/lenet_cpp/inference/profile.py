"""What each layer of a model costs, as the C++ library measures it."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class LayerProfile:
    """Layers that are computed together, or other work of a run.

    Shares are 1 for 100 %. Multiply-adds and bytes are those of the definition, so that Winograd's
    method, and layers whose data are in the caches, may exceed a limit.
    """

    name: str
    """The operators and their outputs, or the name of other work."""
    kernel: str
    """The method and the kernel of each operator; empty for other work."""
    layout: str
    """The layout of the output: NCHW, NCHW16c (16 channels a block), NHWC16n (16 images), NHWC."""
    output: tuple[int, ...]
    """The sizes for one image, of any rank, such as [channels, height, width]."""
    multiply_adds: int
    """For one image."""
    weight_bytes: int
    """Weights and biases, for any number of images."""
    activation_bytes: int
    """Inputs and output of one image."""
    microseconds: float
    """The median time for ``ProfilePart.at_once`` images."""
    time_share: float
    """Of the total of the part."""
    multiply_add_share: float
    """Of what ``Profile.multiply_add_limit`` allows in that time."""
    memory_share: float
    """Of what ``Profile.memory_limit`` allows in that time."""


@dataclass(frozen=True)
class ProfilePart:
    """Images that are computed in the same way."""

    images: int
    """The number of images of the batch, or of its first 64."""
    at_once: int
    """The number of images that the times are for."""
    layers: tuple[LayerProfile, ...]
    total: LayerProfile


@dataclass(frozen=True)
class Profile:
    """The result of :meth:`lenet_cpp.Predictor.profile`."""

    version: str
    engine: str
    reason: str
    """The reason for the choice of this engine."""
    instructions: str
    """The instruction set of the kernels."""
    precision: str
    computed_precision: str
    """The precision of the kernels: not that which was asked for where fp32 is faster than bf16."""
    precision_reason: str
    """The reason for it, or that another one may be faster; or empty."""
    model_file: str
    threads: int
    runs: int
    """The number of measured runs."""
    images: int
    """The number of images in the batch."""
    microseconds: float
    """The median time for the batch, without a clock between the layers."""
    multiply_adds: int
    """For one image."""
    multiply_add_share: float
    """Of the limit, for the batch."""
    multiply_add_limit: float
    """The multiply-adds per second of one core of this processor at best, in this precision."""
    memory_limit: float
    """The bytes per second that one core reads from memory, beyond the caches."""
    compiled_sizes: dict[str, int]
    """What a model with open sizes is compiled for, such as 3x48x192, and the bytes of the packed
    weights, with those that other sizes have too. The last used is the last."""
    compiled_bytes: int
    """Of the packed weights of all sizes; those that they share count once."""
    parts: tuple[ProfilePart, ...]
    table: str = field(repr=False)
    """All of it as a table for people."""
    json: str = field(repr=False)
    """The fields above as one JSON object."""
    trace: str = field(repr=False)
    """The layers as a Chrome trace, which Perfetto and ``chrome://tracing`` load from a file."""


def from_core(table: str, document: str, trace: str) -> Profile:
    """Read the profile of the C++ module."""
    found = json.loads(document)
    parts = found.pop("parts")
    for part in parts:
        part.update(layers=tuple(map(_layer, part["layers"])), total=_layer(part["total"]))
    parts = tuple(ProfilePart(**part) for part in parts)
    return Profile(**found, parts=parts, table=table, json=document, trace=trace)


def _layer(found: dict[str, Any]) -> LayerProfile:
    return LayerProfile(**found | {"output": tuple(found["output"])})
