"""The models of lenet_cpp in PyTorch: networks, training, and files of their parameters.

Importing this module does not import PyTorch; each function does, and says what to install when
it is missing. :mod:`lenet_cpp.interchange.torch.state` takes the parameters from here to Paddle.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from lenet_cpp.errors import BadInput, Unsupported

if TYPE_CHECKING:
    from pathlib import Path

    import torch


@dataclass(frozen=True)
class TorchNetwork:
    """What is known of a network without building it.

    Attributes:
        name: What it is called here, as in torchvision.
        paddle: The same network's name in :data:`lenet_cpp.models.MODELS`.
        builder: Its class in :mod:`lenet_cpp.interchange.torch.networks`.
        classes: Number of classes by default.
        last: The layer whose outputs are the classes.
    """

    name: str
    paddle: str
    builder: str
    classes: int
    last: str


NETWORKS: dict[str, TorchNetwork] = {
    network.name: network
    for network in (
        TorchNetwork("lenet", "lenet", "LeNet", classes=10, last="linear3"),
        # Two classes, as the guide's binary classifier has.
        TorchNetwork("resnet18", "ResNet18", "ResNet18", classes=2, last="fc"),
    )
}


def get(name: str) -> TorchNetwork:
    """Look a network up by its name, in upper or lower case.

    Raises:
        BadInput: There is no such network.
    """
    found = NETWORKS.get(name.lower())
    if found is None:
        near = difflib.get_close_matches(name.lower(), NETWORKS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise BadInput(
            f"there is no network {name!r} in PyTorch, only {' and '.join(NETWORKS)}{hint}"
        )
    return found


def require_torch() -> None:
    """Import PyTorch.

    Raises:
        Unsupported: It is not installed, or is older than 2.6, whose reader of files can be made
            to run code from a file even when it is told to read nothing but parameters
            (CVE-2025-32434).
    """
    try:
        torch = import_module("torch")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise Unsupported("this needs PyTorch: pip install 'lenet-cpp[torch]'") from error
    version = str(torch.__version__)
    if tuple(int(part) for part in version.split(".")[:2]) < (2, 6):
        raise Unsupported(f"PyTorch {version} is too old: pip install 'torch>=2.6'")


def create_network(
    model: str, num_classes: int | None = None, *, seed: int | None = None
) -> torch.nn.Module:
    """Build a network, in training mode.

    Args:
        model: A key of :data:`NETWORKS`, in upper or lower case.
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

    from lenet_cpp.interchange.torch import networks

    builder = getattr(networks, network.builder)
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        module: torch.nn.Module = builder(classes)
    return module


def save_state(net: torch.nn.Module, path: str | Path) -> None:
    """Write a network's parameters; see :func:`.model_state.save_state`."""
    require_torch()
    from lenet_cpp.interchange.torch import model_state as state

    state.save_state(net, path)


def load_state(path: str | Path, *, weights_only: bool = True) -> dict[str, torch.Tensor]:
    """Read a network's parameters; see :func:`.model_state.load_state`."""
    require_torch()
    from lenet_cpp.interchange.torch import model_state as state

    return state.load_state(path, weights_only=weights_only)
