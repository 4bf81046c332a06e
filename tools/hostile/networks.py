"""A small network as data: what is drawn, exported, minimised, saved and replayed."""

import copy
import json
import math
import re
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

IMAGES = 20  # enough to be computed side by side with a rest by every instruction set


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

    kind: str  # "paddle" or "onnx"
    shape: list[int]  # of the input, without images
    layers: list[Layer]
    outputs: list[int]  # the values that it gives; engines give the first
    seed: int = 0  # of the parameters and images
    # open_sizes; of an .onnx also opset, batch, constants_as_nodes, as_lists; images, of channel
    # traffic; nodes, of a graph whose layers are ONNX's nodes, and positive, of positive images.
    options: dict[str, Any] = field(default_factory=dict)

    def images(self):
        """Return float32 [IMAGES, ...] of about the size 1; the network may say how many."""
        generator = np.random.default_rng(self.seed)
        shape = (self.options.get("images", IMAGES), *self.shape)
        images = generator.standard_normal(shape).astype(np.float32)
        return np.abs(images) / 2 + np.float32(0.5) if "positive" in self.options else images

    def values(self, layer, place, shape, scale=1, least=None):
        """Return the values of a layer's parameter number ``place``, float32."""
        generator = np.random.default_rng([self.seed, layer, place])
        values = (generator.standard_normal(tuple(shape)) * scale).astype(np.float32)
        return values if least is None else np.abs(values) + np.float32(least)

    def pruned(self):
        """Return the network without the layers that no output needs."""
        needed = {0, *self.outputs}
        for i in range(len(self.layers), 0, -1):
            if i in needed:
                needed |= set(self.layers[i - 1].inputs)
        place = {old: new for new, old in enumerate(sorted(needed))}
        layers = []
        for old in [*place][1:]:
            layer = self.layers[old - 1]
            attributes = dict(layer.attributes)
            if "like" in attributes:
                attributes["like"] = place.get(attributes["like"], place[old])
            layers.append(Layer(layer.op, [place[i] for i in layer.inputs], attributes))
        return replace(self, layers=layers, outputs=[place[i] for i in self.outputs])

    def to_json(self):
        return asdict(self)

    @classmethod
    def from_json(cls, data):
        """Return the network of a description, which is trusted."""
        return cls(**{**data, "layers": [Layer(**layer) for layer in data["layers"]]})


def dump(data, depth=0):
    """Return JSON with one layer, or other short value, on each line."""
    flat = json.dumps(data)
    if len(flat) + depth <= 100 or not isinstance(data, dict | list):
        return flat
    keys = [f"{json.dumps(key)}: " for key in data] if isinstance(data, dict) else [""] * len(data)
    values = data.values() if isinstance(data, dict) else data
    pad = "\n" + " " * depth
    lines = zip(keys, values, strict=True)
    parts = (f"{pad} {key}{dump(value, depth + 1)}" for key, value in lines)
    return flat[0] + ",".join(parts) + pad + flat[-1]


def load(path):
    """Return the named networks of a file that ``networks`` or a person wrote."""
    data = json.loads(path.read_text(encoding="utf-8"))
    entries = data if isinstance(data, list) else [data]
    return [(each["name"], Network.from_json(each["network"])) for each in entries]


def weight(network):
    """Return what is made as small as possible: layers, then the description, then its numbers."""
    attributes = [layer.attributes for layer in network.layers]
    text = json.dumps([attributes, network.options])
    numbers = sum(min(int(each), 10**6) for each in re.findall(r"\d+", text)) + sum(network.shape)
    return len(network.layers) + len(network.outputs), len(text), numbers


def smaller(network):
    """Yield networks with less of something, candidates for the smallest that shows a fault.

    Not each of them is one that a framework takes.
    """
    seen = {json.dumps(network.to_json())}
    for candidate in _candidates(network):
        less = candidate.pruned()
        text = json.dumps(less.to_json())
        if less.layers and text not in seen and weight(less) < weight(network):
            seen.add(text)
            yield less


def _candidates(network):
    for i, layer in enumerate(network.layers, 1):
        for stand_in in set(layer.inputs):  # instead of what the layer gives
            less = copy.deepcopy(network)
            for each in less.layers:
                each.inputs = [stand_in if value == i else value for value in each.inputs]
            less.outputs = list(dict.fromkeys(stand_in if o == i else o for o in less.outputs))
            yield less
        yield replace(network, outputs=[i])
    for output in network.outputs:
        yield replace(network, outputs=[output])
    for i, layer in enumerate(network.layers):
        for attributes in _simpler(layer.attributes):
            simpler = replace(layer, attributes=attributes)
            yield replace(network, layers=[*network.layers[:i], simpler, *network.layers[i + 1 :]])
    for shape in _simpler(network.shape):
        if len(shape) == len(network.shape):
            yield replace(network, shape=shape)
    for options in _simpler(network.options):
        yield replace(network, options=options)


def _simpler(value):
    if isinstance(value, dict):
        for name in (name for name in value if name not in ("opset", "batch", "drawn")):
            yield {key: each for key, each in value.items() if key != name}
            yield from ({**value, name: simpler} for simpler in _simpler(value[name]))
    elif isinstance(value, list):
        for i, each in enumerate(value):
            for simpler in _simpler(each):
                yield [*value[:i], simpler, *value[i + 1 :]]
        if len(value) == 4:
            yield value[::2]
    elif isinstance(value, int) and not isinstance(value, bool) and value > 0:
        yield from {0, 1, value // 2, value - 1} - {value}


def moved(values, numbers, unit, terms=1):
    """Return values, moved at random as rounding does, by up to the share ``unit`` of each.

    The errors of a sum of n terms add up as a random walk does, to the square root of n of them.
    Only float64 is moved: of integers shapes are computed.
    """
    if values.dtype != np.float64:
        return values
    most = unit * math.sqrt(terms)
    return values * (1 + numbers.uniform(-most, most, values.shape))
