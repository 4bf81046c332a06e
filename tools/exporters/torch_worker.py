"""Export by PyTorch's two exporters, from layers as torchvision and timm write them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import onnx
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2]))
from tools.exporters.networks import INPUTS, NETWORKS, draw, make_all

if TYPE_CHECKING:
    from tools.exporters.networks import Report

OPSETS = {"legacy": (11, 13, 17), "dynamo": (18, 20, 23)}


class Apply(nn.Module):
    """A function of a tensor and of layers as a layer."""

    def __init__(self, function: Any, *layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)

    def forward(self, x: Any) -> Any:
        return self.function(x, *self.layers)


class Tokens(nn.Module):
    """Patches, a class token before them, and their places."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(torch.zeros(1, count + 1, width))

    def forward(self, x: Any) -> Any:
        x = x.flatten(2).transpose(1, 2)
        return torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1) + self.places


def _shuffle(x: Any) -> Any:
    images, channels, height, width = x.shape
    x = x.view(images, 2, channels // 2, height, width).transpose(1, 2).contiguous()
    return x.view(images, channels, height, width)


def _halves(x: Any, branch: Any) -> Any:
    first, second = x.chunk(2, dim=1)
    return torch.cat([first, branch(second)], 1)


def _attention(x: Any, inner: Any, last: Any) -> Any:
    images, count, width = x.shape
    parts = inner(x).reshape(images, count, 3, 2, width // 2)
    q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
    weights = (q @ k.transpose(-2, -1) * (width // 2) ** -0.5).softmax(-1)
    return last((weights @ v).transpose(1, 2).reshape(images, count, width))


_ACTIVATIONS: dict[str, Any] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "silu": nn.SiLU,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "softmax": lambda: nn.Softmax(1),
}
LAYERS = SimpleNamespace(
    seq=nn.Sequential,
    norm=nn.BatchNorm2d,
    linear=nn.Linear,
    dropout=nn.Dropout,
    flatten=nn.Flatten,
    average_pool=nn.AvgPool2d,
    layer_norm=nn.LayerNorm,
    tokens=Tokens,
    conv=lambda cin, cout, size, **how: nn.Conv2d(cin, cout, size, **{"padding": size // 2} | how),
    act=lambda name: _ACTIVATIONS[name](),
    add=lambda *both: Apply(lambda x, a, b: a(x) + b(x), *both),
    multiply=lambda *both: Apply(lambda x, a, b: a(x) * b(x), *both),
    concatenate=lambda *both: Apply(lambda x, a, b: torch.cat([a(x), b(x)], 1), *both),
    max_pool=lambda size, stride, around: nn.MaxPool2d(size, stride, around),
    pool_to_1x1=lambda: nn.AdaptiveAvgPool2d(1),
    global_pool=lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    shuffle=lambda channels: Apply(_shuffle),
    halves=lambda channels, branch: Apply(_halves, branch),
    attention=lambda width: Apply(_attention, nn.Linear(width, 3 * width), nn.Linear(width, width)),
    channels_last=lambda: Apply(lambda x: x.permute(0, 2, 3, 1)),
    channels_first=lambda: Apply(lambda x: x.permute(0, 3, 1, 2)),
    first_token=lambda: Apply(lambda x: x[:, 0]),
)


def build(name: str) -> nn.Module:
    """Return a network with drawn parameters."""
    net: nn.Module = NETWORKS[name](LAYERS)
    state = {key: value for key, value in net.state_dict().items() if value.is_floating_point()}
    norms = {prefix for prefix, part in net.named_modules() if isinstance(part, nn.BatchNorm2d)}

    def is_positive(key: str) -> bool:
        prefix, _, last = key.rpartition(".")
        return prefix in norms and last in {"weight", "running_var"}

    drawn = draw(name, {key: value.shape for key, value in state.items()}, is_positive)
    tensors = {key: torch.tensor(v, dtype=torch.float32) for key, v in drawn.items()}
    net.load_state_dict(tensors, strict=False)
    return net.eval()


def make(folder: str, exporter: str, report: Report) -> dict[str, Any]:
    """Export each network in some operator sets, and one with open sizes and in other ways."""

    def export(
        network: str, path: Path, opset: int, axes: tuple[int, ...] = (0,), **how: Any
    ) -> None:
        image = (torch.zeros(2 if axes else 1, *INPUTS[network]),)
        names = {"input_names": ["x"], "output_names": ["y"], "opset_version": opset}
        if exporter == "legacy":
            open_axes = {"x": {axis: f"size{axis}" for axis in axes}, "y": {0: "size0"}}
            how |= {"dynamo": False, "dynamic_axes": open_axes if axes else None}
            torch.onnx.export(build(network), image, path, **names, **how)
            return
        dims = (dict.fromkeys(axes, torch.export.Dim.DYNAMIC),) if axes else None
        how |= {"dynamo": True, "dynamic_shapes": dims, "external_data": False, "verbose": False}
        torch.onnx.export(build(network), image, path, **names, **how)
        _remove_places(path)

    last = OPSETS[exporter][-1]
    cases: Any = [(f"{name}-{n}", name, {"opset": n}) for name in INPUTS for n in OPSETS[exporter]]
    cases.append(("squeezenet-open-sizes", "squeezenet", {"opset": last, "axes": (0, 2, 3)}))
    cases.append(("resnet-one-image", "resnet", {"opset": last, "axes": ()}))
    ways: dict[str, dict[str, Any]] = {"not-optimized": {"optimize": False, "opset": last}}
    if exporter == "legacy":
        training = torch.onnx.TrainingMode.TRAINING
        ways = {"training": {"training": training}, "no-folding": {"do_constant_folding": False}}
    cases += [(f"resnet-{way}", "resnet", {"opset": 13, **how}) for way, how in ways.items()]
    return make_all(folder, cases, export, report)


def _remove_places(path: Path) -> None:
    """Remove the call stacks, which name this machine's folders."""
    model = onnx.load(path)
    for node in model.graph.node:
        kept = [each for each in node.metadata_props if not each.key.endswith("stack_trace")]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    onnx.save(model, path)
