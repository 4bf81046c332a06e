"""Export by paddle2onnx, from layers as PaddleClas writes them."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import paddle
import paddle2onnx
from paddle import nn

sys.path.insert(0, str(Path(__file__).parents[2]))
from tools.exporters.networks import INPUTS, NETWORKS, draw, make_all

if TYPE_CHECKING:
    from tools.exporters.networks import Report


class Apply(nn.Layer):
    """A function of a tensor and of layers as a layer."""

    def __init__(self, function: Any, *layers: Any) -> None:
        super().__init__()
        self.function, self.layers = function, nn.LayerList(layers)

    def forward(self, x: Any) -> Any:
        return self.function(x, *self.layers)


class Tokens(nn.Layer):
    """Patches, a class token before them, and their places."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.first = self.create_parameter((1, 1, width))
        self.places = self.create_parameter((1, count + 1, width))

    def forward(self, x: Any) -> Any:
        x = x.flatten(2).transpose((0, 2, 1))
        return paddle.concat([self.first.expand((x.shape[0], -1, -1)), x], 1) + self.places


def _shuffle(x: Any) -> Any:
    channels, height, width = x.shape[1:]
    x = x.reshape((-1, 2, channels // 2, height, width)).transpose((0, 2, 1, 3, 4))
    return x.reshape((-1, channels, height, width))


def _halves(x: Any, branch: Any) -> Any:
    first, second = paddle.split(x, 2, 1)
    return paddle.concat([first, branch(second)], 1)


def _conv(
    cin: int, cout: int, size: int, *, bias: bool = True, padding: int | None = None, **how: Any
) -> Any:
    padding = size // 2 if padding is None else padding
    how |= {} if bias else {"bias_attr": False}
    return nn.Conv2D(cin, cout, size, padding=padding, **how)


_ACTIVATIONS: dict[str, Any] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "silu": nn.Swish,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "softmax": nn.Softmax,
}
LAYERS = SimpleNamespace(
    seq=nn.Sequential,
    norm=nn.BatchNorm2D,
    linear=nn.Linear,
    dropout=nn.Dropout,
    flatten=nn.Flatten,
    average_pool=nn.AvgPool2D,
    layer_norm=nn.LayerNorm,
    tokens=Tokens,
    conv=_conv,
    act=lambda name: _ACTIVATIONS[name](),
    add=lambda *both: Apply(lambda x, a, b: a(x) + b(x), *both),
    multiply=lambda *both: Apply(lambda x, a, b: a(x) * b(x), *both),
    concatenate=lambda *both: Apply(lambda x, a, b: paddle.concat([a(x), b(x)], 1), *both),
    max_pool=lambda size, stride, around: nn.MaxPool2D(size, stride, around),
    pool_to_1x1=lambda: nn.AdaptiveAvgPool2D(1),
    global_pool=lambda: nn.Sequential(nn.AdaptiveAvgPool2D(1), nn.Flatten()),
    shuffle=lambda channels: Apply(_shuffle),
    halves=lambda channels, branch: Apply(_halves, branch),
    attention=lambda width: nn.MultiHeadAttention(width, 2),
    channels_last=lambda: Apply(lambda x: x.transpose((0, 2, 3, 1))),
    channels_first=lambda: Apply(lambda x: x.transpose((0, 3, 1, 2))),
    first_token=lambda: Apply(lambda x: x[:, 0]),
)


def build(name: str) -> Any:
    """Return a network with drawn parameters."""
    net = NETWORKS[name](LAYERS)
    norms = {prefix for prefix, part in net.named_sublayers() if isinstance(part, nn.BatchNorm2D)}

    def is_positive(key: str) -> bool:
        prefix, _, last = key.rpartition(".")
        return prefix in norms and last in {"weight", "_variance"}

    shapes = {key: value.shape for key, value in net.state_dict().items()}
    drawn = draw(name, shapes, is_positive)
    net.set_state_dict({key: value.astype("float32") for key, value in drawn.items()})
    net.eval()
    return net


def make(folder: str, opsets: list[int], report: Report) -> dict[str, Any]:
    """Export each network in some operator sets."""

    def export(network: str, path: Path, opset: int) -> None:
        spec = paddle.static.InputSpec([None, *INPUTS[network]], "float32", "x")
        with tempfile.TemporaryDirectory() as here:
            saved, made = Path(here, "model"), Path(here, "made.onnx")
            paddle.jit.save(build(network), str(saved), input_spec=[spec])
            files = (f"{saved}.json", f"{saved}.pdiparams", str(made))
            paddle2onnx.export(*files, opset_version=opset)
            shutil.copyfile(made, path)

    cases: Any = [(f"{name}-{n}", name, {"opset": n}) for name in INPUTS for n in opsets]
    return make_all(folder, cases, export, report)
