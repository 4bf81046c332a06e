"""What is a little less than a network: candidates for the smallest that shows a fault."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.differential.networks import Network


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
