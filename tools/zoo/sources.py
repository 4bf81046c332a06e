"""The packages whose networks are exported: their names, families and sizes of images.

What is imported from them here is imported in a child process only: paddleclas and timm lie in an
environment of their own, and each network is built in a process of its own.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from lenet_cpp.quantize.environments import Environment

if TYPE_CHECKING:
    from collections.abc import Callable

ENVIRONMENT = Environment(
    name="zoo",
    title="the packages of networks",
    requirements=("paddleclas==2.6.0", "timm==1.0.31", "torchvision==0.28.0"),
    trial="import importlib.util as u; assert all(map(u.find_spec, ('paddleclas', 'timm')))",
    remedy="it needs the network and 50 MB of space",
    # Their dependencies are another Paddle, another PyTorch, and what only training needs.
    pip_options=("--no-deps",),
)
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Source:
    """A package of networks.

    Attributes:
        framework: ``paddle`` or ``torch``.
        package: The one whose version is stored with the results.
        families: Returns the names of the networks by their family, the file that defines them.
        build: Returns a network of this name, and the shape of an image.
    """

    framework: str
    package: str
    families: Callable[[], dict[str, list[str]]]
    build: Callable[[str], tuple[Any, Shape]]


def _square(size: int) -> Shape:
    return (3, size, size)


def _by_family(names: list[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for family, name in sorted(names):
        found.setdefault(family, []).append(name)
    return found


def _public_functions(module: ModuleType, names: list[str]) -> dict[str, list[str]]:
    made = {name: getattr(module, name) for name in names}
    return _by_family(
        [
            (function.__module__.rpartition(".")[2], name)
            for name, function in made.items()
            if isinstance(function, FunctionType) or name in {"LeNet", "WideResNet"}
        ]
    )


def _paddle_vision() -> Any:
    return importlib.import_module("paddle.vision.models")


def _build_paddle_vision(name: str) -> tuple[Any, Shape]:
    if name == "LeNet":
        return _paddle_vision().LeNet(), (1, 28, 28)
    return getattr(_paddle_vision(), name)(), _square(299 if name.startswith("inception") else 224)


class _AttrDict(dict[str, Any]):
    def __getattr__(self, name: str) -> Any:
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def _paddleclas() -> Any:
    """Import its architectures alone: the rest of it wants packages that only training needs."""
    if "paddleclas" not in sys.modules:
        spec = importlib.util.find_spec("paddleclas")
        root = Path(spec.origin).parent if spec and spec.origin else Path()
        of_utils = {"logger": logging.getLogger("paddleclas")}
        contents: dict[str, dict[str, Any]] = {
            "": {},
            "ppcls": {},
            "ppcls/arch": {},
            "ppcls/utils": of_utils,
            "ppcls/utils/config": {"AttrDict": _AttrDict},
            "ppcls/utils/save_load": {"load_dygraph_pretrain": lambda *_, **__: None},
            "ppcls/utils/download": {"get_weights_path_from_url": lambda *_, **__: None},
        }
        for path, names in contents.items():
            module = ModuleType(f"paddleclas/{path}".strip("/").replace("/", "."))
            module.__dict__.update(names, __path__=[str(root / path)])
            sys.modules[module.__name__] = module
    return importlib.import_module("paddleclas.ppcls.arch.backbone")


_PADDLECLAS_SIZES = {
    r"SVTR_": (3, 48, 320),
    r"AdaFace|MobileFaceNet": _square(112),
    r"Inception|^Xception": _square(299),
    r"window(8|16)_256|MobileViTV2": _square(256),
}


def _build_paddleclas(name: str) -> tuple[Any, Shape]:
    size = re.search(r"_(2[245]\d|3[38]\d)(?=_|$)", name)
    for pattern, shape in _PADDLECLAS_SIZES.items():
        if re.search(pattern, name):
            return getattr(_paddleclas(), name)(), shape
    if name == "WideResNet":  # for CIFAR; it has no default sizes
        return _paddleclas().WideResNet(16, 2, 0.0, 10), _square(32)
    return getattr(_paddleclas(), name)(), _square(int(size[1]) if size else 224)


@cache
def define_torchvision_operators() -> Any:
    """Define those that torchvision, whose library is for another build of torch, asks for."""
    library = importlib.import_module("torch").library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float threshold) -> Tensor")
    return library


def _torchvision() -> Any:
    define_torchvision_operators()
    return importlib.import_module("torchvision.models")


def _torchvision_families() -> dict[str, list[str]]:
    models = _torchvision()
    names = models.list_models(module=models)
    modules = {name: models.get_model_builder(name).__module__ for name in names}
    return _by_family([(module.rpartition(".")[2], name) for name, module in modules.items()])


def _build_torchvision(name: str) -> tuple[Any, Shape]:
    own = {"init_weights": False} if name in {"googlenet", "inception_v3"} else {}
    network = _torchvision().get_model(name, weights=None, **own)
    return network, _square(299 if name == "inception_v3" else 224)


def _timm() -> Any:
    _torchvision()  # which it imports
    return importlib.import_module("timm")


def _timm_families() -> dict[str, list[str]]:
    timm = _timm()
    return _by_family(
        [
            (timm.models.model_entrypoint(name).__module__.rpartition(".")[2], name)
            for name in timm.list_models()
            if not name.startswith("test_")  # nobody trained these for their answers
        ]
    )


def _build_timm(name: str) -> tuple[Any, Shape]:
    network = _timm().create_model(name, exportable=True)
    return network, tuple(network.default_cfg["input_size"])


SOURCES = {
    "paddle.vision": Source(
        "paddle",
        "paddlepaddle",
        lambda: _public_functions(
            _paddle_vision(),
            ["LeNet", *(name for name in _paddle_vision().__all__ if name.islower())],
        ),
        _build_paddle_vision,
    ),
    "PaddleClas": Source(
        "paddle",
        "paddleclas",
        lambda: _public_functions(_paddleclas(), _paddleclas().__all__),
        _build_paddleclas,
    ),
    "torchvision": Source("torch", "torchvision", _torchvision_families, _build_torchvision),
    "timm": Source("torch", "timm", _timm_families, _build_timm),
}
