"""The networks of lenet_cpp in PyTorch, by name.

Importing this module does not import PyTorch; :mod:`lenet_cpp.interchange.torch.state` takes the
parameters from here to Paddle.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lenet_cpp import models
from lenet_cpp.errors import BadInput
from lenet_cpp.interchange.torch.model_state import load_state, require_torch, save_state
from lenet_cpp.models.registry import is_file_reference, load_from_file

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch


__all__ = [
    "NETWORKS",
    "TorchNetwork",
    "create_network",
    "get",
    "load_state",
    "require_torch",
    "save_state",
]


@dataclass(frozen=True)
class TorchNetwork:
    """What is known of a network without building it.

    Attributes:
        name: What it is called here, as in torchvision.
        paddle: The same network's name in :data:`lenet_cpp.models.MODELS`, or its specification.
        builder: What gives the ``torch.nn.Module`` for a number of classes; or its class in
            :mod:`lenet_cpp.interchange.torch.networks`.
        classes: Number of classes by default.
        last: The layer whose outputs are the classes.
    """

    name: str
    paddle: str | models.ModelSpec
    builder: str | Callable[[int], torch.nn.Module]
    classes: int
    last: str

    @property
    def spec(self) -> models.ModelSpec:
        """The same network in Paddle."""
        return models.get(self.paddle) if isinstance(self.paddle, str) else self.paddle


NETWORKS: dict[str, TorchNetwork] = {
    network.name: network
    for network in (
        TorchNetwork("lenet", "lenet", "LeNet", classes=10, last="linear3"),
        # Two classes, as the guide's binary classifier has.
        TorchNetwork("resnet18", "ResNet18", "ResNet18", classes=2, last="fc"),
    )
}


def get(name: str | TorchNetwork) -> TorchNetwork:
    """Look a network up by its name, in upper or lower case.

    Args:
        name: A key of :data:`NETWORKS`; or ``FILE.py:NAME``, a :class:`TorchNetwork` in a Python
            file, which is run; or such a network, which is returned.

    Raises:
        BadInput: There is no such network.
        FileNotFound: There is no such file.
    """
    if isinstance(name, TorchNetwork):
        return name
    if is_file_reference(name):
        return load_from_file(name, TorchNetwork)
    found = NETWORKS.get(name.lower())
    if found is None:
        near = difflib.get_close_matches(name.lower(), NETWORKS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise BadInput(
            f"there is no network {name!r} in PyTorch, only {' and '.join(NETWORKS)}, or"
            f" FILE.py:NAME, a TorchNetwork of your own{hint}"
        )
    return found


def create_network(
    model: str | TorchNetwork, num_classes: int | None = None, *, seed: int | None = None
) -> torch.nn.Module:
    """Build a network, in training mode.

    Args:
        model: A key of :data:`NETWORKS`, in upper or lower case, or ``FILE.py:NAME``.
        num_classes: Length of the output row; that of the network's specification when None.
        seed: Of its initial parameters, which are then the same every time, and the caller's
            random state stays as it was; PyTorch's global random state when None.

    Returns:
        For ``lenet`` it takes float32 [N, 1, 28, 28], for ``resnet18`` float32 [N, 3, H, W] with
        sides of 32 or more; both give logits, float32 [N, num_classes].

    Raises:
        BadInput: There is no such network, or no such number of classes.
        Unsupported: PyTorch is missing or too old.
    """
    network = get(model)
    classes = network.classes if num_classes is None else num_classes
    if classes < 1:
        raise BadInput(f"the number of classes is {classes}; expected 1 or more")
    require_torch()
    import torch

    builder = network.builder
    if isinstance(builder, str):
        from lenet_cpp.interchange.torch import networks

        builder = getattr(networks, builder)
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        net: torch.nn.Module = builder(classes)
    return net
