"""Ten small networks, each described once for PyTorch, Keras and Paddle, and what makes files.

``f`` holds what makes the layers of a framework, in ``torch_worker``, ``keras_worker`` or
``paddle_worker``. This module runs in environments with NumPy alone.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.survey.worker import parameter_values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Report = Callable[[str, int, int], None]
    Case = tuple[str, str, dict[str, Any]]  # the file's name, its network, options

CLASSES = 5
Layer = Any


def unit(
    f: Any, cin: int, cout: int, size: int = 3, act: str | None = "relu", **conv: int
) -> Layer:
    """Return a convolution without bias, a normalization, and an activation."""
    layers = [f.conv(cin, cout, size, bias=False, **conv), f.norm(cout)]
    return f.seq(*layers, *([f.act(act)] if act else []))


def gate(f: Any, channels: int, act: str, last: str) -> Layer:
    """Return squeeze-and-excitation."""
    inner = [f.conv(channels, 2, 1), f.act(act), f.conv(2, channels, 1), f.act(last)]
    return f.multiply(f.seq(), f.seq(f.pool_to_1x1(), *inner))


def head(f: Any, channels: int) -> tuple[Layer, ...]:
    return f.global_pool(), f.linear(channels, CLASSES)


def lenet(f: Any) -> Layer:
    first = [f.conv(1, 3, 5), f.act("relu"), f.max_pool(2, 2, 0)]
    second = [f.conv(3, 4, 3), f.act("relu"), f.max_pool(2, 2, 0), f.flatten()]
    dense = [f.linear(64, 6), f.act("relu"), f.linear(6, CLASSES)]
    return f.seq(*first, *second, *dense)


def resnet(f: Any) -> Layer:
    first = f.add(f.seq(unit(f, 4, 4), unit(f, 4, 4, act=None)), f.seq())
    body = f.seq(unit(f, 4, 6, stride=2), unit(f, 6, 6, act=None))
    second = f.add(body, unit(f, 4, 6, 1, act=None, stride=2))
    stem = [unit(f, 3, 4, stride=2), f.max_pool(3, 2, 1)]
    return f.seq(*stem, first, f.act("relu"), second, f.act("relu"), *head(f, 6))


def mobilenetv2(f: Any) -> Layer:
    inner = [unit(f, 4, 16, 1, "relu6"), unit(f, 16, 16, 3, "relu6", groups=16)]
    block = f.add(f.seq(), f.seq(*inner, unit(f, 16, 4, 1, None)))
    down = [unit(f, 4, 4, 3, "relu6", groups=4, stride=2), unit(f, 4, 6, 1, None)]
    pool, dense = head(f, 6)
    return f.seq(unit(f, 3, 4, 3, "relu6", stride=2), block, *down, pool, f.dropout(), dense)


def mobilenetv3(f: Any) -> Layer:
    inner = [unit(f, 4, 8, 1, "hardswish"), unit(f, 8, 8, 5, "hardswish", groups=8)]
    squeeze = gate(f, 8, "relu", "hardsigmoid")
    block = f.add(f.seq(), f.seq(*inner, squeeze, unit(f, 8, 4, 1, None)))
    dense = [f.linear(4, 8), f.act("hardswish"), f.dropout(), f.linear(8, CLASSES)]
    return f.seq(unit(f, 3, 4, 3, "hardswish", stride=2), block, f.global_pool(), *dense)


def shufflenet(f: Any) -> Layer:
    left = f.seq(unit(f, 4, 4, 3, None, groups=4, stride=2), unit(f, 4, 4, 1))
    right = f.seq(unit(f, 4, 4, 1), unit(f, 4, 4, 3, None, groups=4, stride=2), unit(f, 4, 4, 1))
    branch = f.seq(unit(f, 4, 4, 1), unit(f, 4, 4, 3, None, groups=4), unit(f, 4, 4, 1))
    units = [f.concatenate(left, right), f.shuffle(8), f.halves(8, branch), f.shuffle(8)]
    return f.seq(unit(f, 3, 4, stride=2), *units, *head(f, 8))


def squeezenet(f: Any) -> Layer:
    def fire(channels: int) -> Layer:
        wide = [f.seq(f.conv(3, 4, size), f.act("relu")) for size in (1, 3)]
        return f.seq(f.conv(channels, 3, 1), f.act("relu"), f.concatenate(*wide))

    last = [f.dropout(), f.conv(8, CLASSES, 1), f.act("relu"), f.global_pool()]
    stem = [f.conv(3, 4, 3, stride=2), f.act("relu"), f.max_pool(3, 2, 1)]
    return f.seq(*stem, fire(4), fire(8), *last, f.act("softmax"))


def densenet(f: Any) -> Layer:
    def dense(channels: int) -> Layer:
        layers = [f.norm(channels), f.act("relu"), f.conv(channels, 2, 3, bias=False)]
        return f.concatenate(f.seq(), f.seq(*layers))

    down = [f.norm(8), f.act("relu"), f.conv(8, 4, 1, bias=False), f.average_pool(2)]
    last = [dense(4), f.norm(6), f.act("relu"), *head(f, 6)]
    return f.seq(unit(f, 3, 4, stride=2), dense(4), dense(6), *down, *last)


def efficientnet(f: Any) -> Layer:
    inner = [unit(f, 4, 8, 1, "silu"), unit(f, 8, 8, 3, "silu", groups=8)]
    squeeze = gate(f, 8, "silu", "sigmoid")
    block = f.add(f.seq(*inner, squeeze, unit(f, 8, 4, 1, None)), f.seq())
    return f.seq(unit(f, 3, 4, 3, "silu", stride=2), block, unit(f, 4, 6, 1, "silu"), *head(f, 6))


def convnext(f: Any) -> Layer:
    inner = [f.layer_norm(4), f.linear(4, 8), f.act("gelu"), f.linear(8, 4)]
    branch = f.seq(f.conv(4, 4, 7, groups=4), f.channels_last(), *inner, f.channels_first())
    return f.seq(f.conv(3, 4, 4, padding=0, stride=4), f.add(f.seq(), branch), *head(f, 4))


def vit(f: Any) -> Layer:
    attention = f.add(f.seq(), f.seq(f.layer_norm(4), f.attention(4)))
    dense = [f.layer_norm(4), f.linear(4, 8), f.act("gelu"), f.linear(8, 4)]
    patches = [f.conv(3, 4, 4, padding=0, stride=4), f.tokens(4, 16)]
    body = [attention, f.add(f.seq(), f.seq(*dense)), f.layer_norm(4)]
    return f.seq(*patches, *body, f.first_token(), f.linear(4, CLASSES))


NETWORKS = {
    each.__name__: each
    for each in (
        lenet,
        resnet,
        mobilenetv2,
        mobilenetv3,
        shufflenet,
        squeezenet,
        densenet,
        efficientnet,
        convnext,
        vit,
    )
}
INPUTS = {name: (1 if name == "lenet" else 3, 16, 16) for name in NETWORKS}
CONVOLUTIONAL = tuple(INPUTS)[:-2]


def draw(name: str, shapes: dict[str, Any], is_positive: Callable[[str], bool]) -> Any:
    """Return parameters by their names, with which the answer depends on the image."""

    def scale(key: str, rank: int) -> float:
        if is_positive(key):
            return 1.0
        return 1.5 if rank > 1 else 0.25

    values = parameter_values(name, shapes, is_positive)
    return {key: value * scale(key, value.ndim) for key, value in values.items()}


def base(folder: str, network: str) -> str:
    """Return the file of PyTorch's legacy exporter from which other tools make theirs."""
    return str(Path(folder, f"{network}-17.onnx"))


def make_all(
    folder: str, cases: Iterable[Case], make: Callable[..., None], report: Report
) -> dict[str, Any]:
    """Call ``make(network, path, **options)`` for each case.

    Returns:
        The files, as NAME: network, and what the tool cannot write, with what it says of it.
    """
    made: dict[str, str] = {}
    failed: dict[str, str] = {}
    cases = list(cases)
    for number, (name, network, options) in enumerate(cases):
        report(name, number, len(cases))
        path = Path(folder, f"{name}.onnx")
        try:
            make(network, path, **options)
            made[name] = network
        except Exception as error:  # noqa: BLE001 - whatever a tool raises is its result
            path.unlink(missing_ok=True)
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            message = re.sub(
                r"\S*/(?=\S+\.py)", "", (lines or ["nothing"])[0]
            )  # this machine's folder
            failed[name] = f"{type(error).__name__}: {message}"
    return {"files": made, "failed": failed}
