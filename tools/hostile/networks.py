"""A small network as data: what is drawn, exported, minimised, saved and replayed."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Shape = tuple[int, ...]
IMAGES = 20
"""Enough to be computed side by side with a rest by every instruction set."""


class InvalidNetworkError(Exception):
    """The framework itself refuses the network, or its answers are not well defined."""


@dataclass
class Layer:
    """An operator, the values that it takes (0 is the input, i what layer i gave), attributes.

    The attribute ``like`` is the number of a layer whose parameters this one uses too.
    """

    op: str
    inputs: list[int]
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass
class Network:
    """Layers in the order in which they run."""

    kind: str
    """``"paddle"`` or ``"onnx"``."""
    shape: list[int]
    """Of the input, without images."""
    layers: list[Layer]
    outputs: list[int]
    """The values that it gives; engines give the first."""
    seed: int = 0
    """Of the parameters and images."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of an .onnx: opset, batch, constants_as_nodes, as_lists."""

    def images(self) -> np.ndarray:
        """Return float32 [IMAGES, ...] of about the size 1."""
        generator = np.random.default_rng(self.seed)
        return generator.standard_normal((IMAGES, *self.shape)).astype(np.float32)

    def values(self, layer: int, place: int, shape: Shape, scale: float = 1) -> np.ndarray:
        """Return the values of a layer's parameter number ``place``, float32."""
        generator = np.random.default_rng([self.seed, layer, place])
        return (generator.standard_normal(shape) * scale).astype(np.float32)

    def pruned(self) -> Network:
        """Return the network without the layers that no output needs."""
        needed = set(self.outputs)
        for i in range(len(self.layers), 0, -1):
            if i in needed:
                needed |= set(self.layers[i - 1].inputs)
        place = {old: new for new, old in enumerate(sorted(needed | {0}))}
        layers = []
        for old in sorted(needed - {0}):
            layer = self.layers[old - 1]
            attributes = dict(layer.attributes)
            if "like" in attributes:
                attributes["like"] = place.get(attributes["like"], place[old])
            layers.append(Layer(layer.op, [place[i] for i in layer.inputs], attributes))
        outputs = [place[i] for i in self.outputs]
        return Network(self.kind, self.shape, layers, outputs, self.seed, self.options)

    def to_json(self) -> dict[str, Any]:
        """Return what :meth:`from_json` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Network:
        """Return the network of a description, which is trusted."""
        return cls(**{**data, "layers": [Layer(**layer) for layer in data["layers"]]})


def dump(data: Any) -> str:
    """Return JSON with one layer, or other short value, on each line."""
    return _lines(data, 0) + "\n"


def _lines(data: Any, depth: int) -> str:
    flat = json.dumps(data)
    if len(flat) + depth <= 100 or not isinstance(data, dict | list) or not data:
        return flat
    pad = " " * (depth + 1)
    if isinstance(data, dict):
        parts = [f"{pad}{json.dumps(key)}: {_lines(data[key], depth + 1)}" for key in data]
    else:
        parts = [pad + _lines(value, depth + 1) for value in data]
    brackets = "{}" if isinstance(data, dict) else "[]"
    return brackets[0] + "\n" + ",\n".join(parts) + "\n" + " " * depth + brackets[1]


def load(path: Path) -> list[tuple[str, Network]]:
    """Return the named networks of a file that :mod:`finds` or a person wrote."""
    data = json.loads(path.read_text(encoding="utf-8"))
    entries = data if isinstance(data, list) else [data]
    return [(each["name"], Network.from_json(each["network"])) for each in entries]


# ---- what is a little less than a network: candidates for the smallest that shows a fault


def weight(network: Network) -> tuple[int, int, int]:
    """Return what is made as small as possible: layers, then the description, then its numbers."""
    text = json.dumps(
        [network.layers and [layer.attributes for layer in network.layers], network.options]
    )
    digits = "".join(c if c.isdigit() else " " for c in text).split()
    numbers = sum(min(int(digit), 10**6) for digit in digits) + sum(network.shape)
    return len(network.layers) + len(network.outputs), len(text), numbers


def smaller(network: Network) -> Iterator[Network]:
    """Yield networks with less of something; not each of them is one that a framework takes."""
    seen = {json.dumps(network.to_json())}
    for candidate in _candidates(network):
        less = candidate.pruned()
        text = json.dumps(less.to_json())
        if less.layers and text not in seen and weight(less) < weight(network):
            seen.add(text)
            yield less


def _candidates(network: Network) -> Iterator[Network]:
    def changed() -> Network:
        return copy.deepcopy(network)

    for i in range(1, len(network.layers) + 1):
        for stand_in in set(network.layers[i - 1].inputs):  # instead of what the layer gives
            less = changed()
            for layer in less.layers:
                layer.inputs = [stand_in if value == i else value for value in layer.inputs]
            less.outputs = list(dict.fromkeys(stand_in if o == i else o for o in less.outputs))
            yield less
        less = changed()
        less.outputs = [i]
        yield less
    if len(network.outputs) > 1:
        for output in network.outputs:
            less = changed()
            less.outputs = [output]
            yield less
    for i, layer in enumerate(network.layers):
        for name, value in layer.attributes.items():
            less = changed()
            del less.layers[i].attributes[name]
            yield less
            for simpler in _simpler(value):
                less = changed()
                less.layers[i].attributes[name] = simpler
                yield less
    for i, size in enumerate(network.shape):
        for simpler in _simpler(size):
            less = changed()
            less.shape[i] = simpler
            yield less
    for name in network.options:
        if name not in ("opset", "batch"):
            less = changed()
            del less.options[name]
            yield less


def _simpler(value: Any) -> Iterator[Any]:
    if isinstance(value, bool | str) or value is None:
        return
    if isinstance(value, list):
        for i, each in enumerate(value):
            for simpler in _simpler(each):
                yield [*value[:i], simpler, *value[i + 1 :]]
        if len(value) == 4:
            yield value[::2]
    elif isinstance(value, int) and value > 0:
        yield from {0, 1, value // 2, value - 1} - {value}
