"""The registry of networks: name to specification.

This module imports no Paddle and nothing that does: :mod:`lenet_cpp.inference` reads it.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from importlib import import_module
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from lenet_cpp._base.optional import require_paddle
from lenet_cpp.data.images import Pipeline, digit, imagenet
from lenet_cpp.errors import BadInput, FileNotFound

_Kind = TypeVar("_Kind")


def _digit(_image_size: int) -> Pipeline:
    return digit()


@dataclass(frozen=True)
class ModelSpec:
    """The facts about a network that are known without building it.

    Attributes:
        name: The registry name.
        builder: A callable that takes ``num_classes`` and ``options`` and returns the
            ``paddle.nn.Layer``; or its place as ``package.module:attribute``, which is imported
            when the network is built. The layer returns ``num_classes`` logits for each image.
        input_shape: The default shape of one image, channels first.
        classes: The default number of classes, which is the length of the output row.
        description: One line of text.
        labels: The label of each class, in output order; empty when they are not known.
        image_sizes: The supported image sizes (height and width, in pixels); only that of
            ``input_shape`` when it is empty.
        preprocess: The function from the image size to the preprocessing.
        stem: The stem of the exported files.
        options: Additional arguments of the builder.
    """

    name: str
    builder: str | Callable[..., Any]
    input_shape: tuple[int, ...] = (3, 224, 224)
    classes: int = 1000
    description: str = ""
    labels: tuple[str, ...] = ()
    image_sizes: range = range(0)
    preprocess: Callable[[int], Pipeline] = imagenet
    stem: str = "inference"
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def shape(self, image_size: int | None = None) -> tuple[int, ...]:
        """Return the shape of one image, channels first, of this height and width or the usual.

        Raises:
            BadInput: The network does not support that size; the message has the supported ones.
        """
        if image_size is None or (image_size, image_size) == self.input_shape[1:]:
            return self.input_shape
        if image_size not in self.image_sizes:
            sizes = self.image_sizes or self.input_shape[1:2]
            known = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
            raise BadInput(f"{self.name} takes images of size {known}, not {image_size}")
        return (self.input_shape[0], image_size, image_size)

    def class_names(self, num_classes: int | None = None) -> tuple[str, ...]:
        """Return the labels if there are ``num_classes`` classes, and otherwise nothing."""
        return self.labels if num_classes in {None, len(self.labels)} else ()

    def pipeline(self, image_size: int | None = None) -> Pipeline:
        """Return the preprocessing of images for the network.

        Raises:
            BadInput: The network does not support images of that size.
        """
        return self.preprocess(self.shape(image_size)[-1])

    def build(
        self,
        num_classes: int | None = None,
        image_size: int | None = None,
        *,
        seed: int | None = None,
        **options: Any,
    ) -> Any:
        """Build the network, a ``paddle.nn.Layer``.

        Args:
            num_classes: Number of classes; ``classes`` when None.
            image_size: Height and width of the images, which are only checked.
            seed: The seed of random parameters that are the same on every machine and keep the
                outputs in proportion, as
                :func:`lenet_cpp.models.random_parameters.seed_parameters` draws them; when None,
                Paddle's own initialisation from its global state.
            **options: Additional arguments of the builder.

        Raises:
            BadInput: The network does not support the size of images or the number of classes.
        """
        require_paddle()
        self.shape(image_size)
        if num_classes is not None:
            if num_classes < 1:
                raise BadInput(f"the number of classes is {num_classes}; expected 1 or more")
            options["num_classes"] = num_classes
        options = {"num_classes": self.classes, **self.options, **options}
        builder = self.builder
        if isinstance(builder, str):
            module, _, attribute = builder.partition(":")
            builder = getattr(import_module(module), attribute)
        layer = builder(**options)
        if seed is not None:
            from lenet_cpp.models.random_parameters import seed_parameters

            seed_parameters(layer, seed)
        return layer


# Below 32 the last maps, 1/32 of the image, consist of padding only. The upper limit is arbitrary.
_SIZES = range(32, 1025)


# Name to the function of paddle.vision.models, and what it is.
_OF_VISION = {
    "AlexNet": ("alexnet", "AlexNet (Krizhevsky et al., 2012)"),
    **{
        f"ResNet{depth}": (f"resnet{depth}", f"ResNet of {depth} layers (He et al., 2015)")
        for depth in (18, 34, 50, 101, 152)
    },
    **{
        f"VGG{depth}": (f"vgg{depth}", f"VGG of {depth} layers (Simonyan et al., 2014)")
        for depth in (11, 13, 16, 19)
    },
    "MobileNetV1": ("mobilenet_v1", "MobileNet (Howard et al., 2017)"),
    "MobileNetV2": ("mobilenet_v2", "MobileNetV2 (Sandler et al., 2018)"),
    "MobileNetV3_small": ("mobilenet_v3_small", "Small MobileNetV3 (Howard et al., 2019)"),
    "MobileNetV3_large": ("mobilenet_v3_large", "Large MobileNetV3 (Howard et al., 2019)"),
    "ResNeXt50_32x4d": ("resnext50_32x4d", "ResNeXt of 50 layers (Xie et al., 2016)"),
    "WideResNet50_2": ("wide_resnet50_2", "Wide ResNet of 50 layers (Zagoruyko, 2016)"),
    "SqueezeNet1_0": ("squeezenet1_0", "SqueezeNet 1.0 (Iandola et al., 2016)"),
    "SqueezeNet1_1": ("squeezenet1_1", "SqueezeNet 1.1 (Iandola et al., 2016)"),
    "ShuffleNetV2": ("shufflenet_v2_x1_0", "ShuffleNetV2 x1.0 (Ma et al., 2018)"),
    "DenseNet121": ("densenet121", "DenseNet of 121 layers (Huang et al., 2016)"),
    "InceptionV3": ("inception_v3", "Inception v3 (Szegedy et al., 2015)"),
}
_OTHER_FACTS: dict[str, dict[str, Any]] = {
    # Its first linear layer takes a map of 6 x 6, which these sizes give.
    "AlexNet": {"image_sizes": range(223, 255)},
    "InceptionV3": {"input_shape": (3, 299, 299), "image_sizes": range(75, 1025)},
}

MODELS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec(
            name="lenet",
            builder="lenet_cpp.models.lenet:LeNet",
            input_shape=(1, 28, 28),
            classes=10,
            labels=tuple("0123456789"),
            description="LeNet for 28x28 grey-scale digits: 2 convolutions, 3 linear layers",
            preprocess=_digit,
            stem="lenet",
        ),
        *(
            ModelSpec(
                name=name,
                builder=f"paddle.vision.models:{builder}",
                description=f"{what}, as paddle.vision has it",
                **({"image_sizes": _SIZES} | _OTHER_FACTS.get(name, {})),
            )
            for name, (builder, what) in _OF_VISION.items()
        ),
        *(
            ModelSpec(
                name=f"ResNet{depth}_vd",
                builder="lenet_cpp.models.resnet_vd:ResNetVd",
                description=f"ResNet-D of {depth} layers, as PaddleClas 2.6 has it",
                image_sizes=_SIZES,
                preprocess=partial(imagenet, library="opencv"),
                options={"depth": depth},
            )
            for depth in (18, 34, 50, 101, 152, 200)
        ),
    )
}


def list_names(pattern: str = "*") -> list[str]:
    """Return the names that fit a pattern of the shell in any case, such as ``"ResNet[15]*"``."""
    return [name for name in MODELS if fnmatchcase(name.lower(), pattern.lower())]


def find(name: str | None) -> ModelSpec | None:
    """Return the network of a name; None when the registry does not have the name."""
    known = (spec for key, spec in MODELS.items() if name and key.lower() == name.lower())
    return next(known, None)


def get(name: str) -> ModelSpec:
    """Return the network of a name, which is a key of ``MODELS`` in upper or lower case.

    Raises:
        BadInput: There is no such network; the message has the nearest names, or all names.
    """
    if found := find(name):
        return found
    import difflib  # for the message only: it takes longer to import than this module

    by_lower = {key.lower(): key for key in MODELS}
    hint = f"known: {', '.join(MODELS)}; or FILE.py:NAME, a ModelSpec of your own"
    if near := difflib.get_close_matches(name.lower(), by_lower):
        hint = f"did you mean {' or '.join(map(by_lower.__getitem__, near))}?"
    raise BadInput(f"unknown model {name!r}; {hint}")


def resolve(reference: str | ModelSpec) -> ModelSpec:
    """Find a network by a user's reference, which may run code.

    That is a name in the registry; or ``FILE.py:NAME``, the name of a :class:`ModelSpec` in a
    Python file, which is run; or a specification, which is returned. For a name in an untrusted
    file, use :func:`get`.

    Raises:
        BadInput: There is no such network, or the file has no such specification.
        FileNotFound: There is no such file.
    """
    if isinstance(reference, ModelSpec):
        return reference
    return load_from_file(reference, ModelSpec) if is_file_reference(reference) else get(reference)


def is_file_reference(reference: str) -> bool:
    """Tell whether a name is ``FILE.py:NAME``."""
    return reference.rpartition(":")[0].endswith(".py")


def load_from_file(reference: str, kind: type[_Kind]) -> _Kind:
    """Run the Python file of ``FILE.py:NAME``, and return what is called so in it.

    Raises:
        BadInput: The file cannot be run, or has nothing of that kind under the name.
        FileNotFound: There is no such file.
    """
    file, _, attribute = reference.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise FileNotFound(f"cannot read {path}: no such file; check the path")
    loader = SourceFileLoader(f"lenet_cpp.models.file_{path.stem}", str(path))
    module = ModuleType(loader.name)
    module.__file__ = str(path)
    # Data classes look up their module by name.
    sys.modules[loader.name] = module
    try:
        loader.exec_module(module)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "paddle":
            require_paddle()
        reason = " ".join(str(error).split())
        raise BadInput(f"{path} cannot be run: {type(error).__name__}: {reason}") from error
    found = getattr(module, attribute, None)
    if not isinstance(found, kind):
        raise BadInput(f"{path} has no {kind.__name__} called {attribute!r}")
    return found
