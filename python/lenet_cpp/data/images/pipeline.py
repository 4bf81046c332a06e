"""A complete preprocessing: from a source to the tensor, and its description in a file."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from lenet_cpp._base.files import write_text
from lenet_cpp._base.strict_json import choice, integer, number, object_, read_json, sequence, wrong
from lenet_cpp.data.images.digit import Digit
from lenet_cpp.data.images.reading import ImageSource, describe_source, read_image
from lenet_cpp.data.images.steps import INTERPOLATIONS, CenterCrop, Normalize, Resize, ToCHW
from lenet_cpp.errors import BadInput, BadModel, FileNotFound

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

_FORMAT_VERSION = 1
_MODES = {"L": 1, "RGB": 3, "BGR": 3}  # and the number of channels

_Step: TypeAlias = Resize | CenterCrop | Digit | Normalize | ToCHW
_STEPS: dict[str, type[_Step]] = {
    step.__name__: step for step in (Resize, CenterCrop, Digit, Normalize, ToCHW)
}
# By the annotations of the steps' fields.
_PARSERS: dict[str, Callable[[Any, str], Any]] = {
    "int": integer,
    "float": number,
    "str": lambda value, where: choice(value, where, INTERPOLATIONS),
    "tuple[int, int]": partial(sequence, integer),
    "tuple[float, ...]": partial(sequence, number),
}


@dataclass(frozen=True)
class Pipeline:
    """Preprocessing as ``preprocess.json`` describes it.

    The steps are any number of Resize, CenterCrop and Digit (mode ``L`` only), which process 8-bit
    images, then one Normalize, then ToCHW.

    Thread-safety: may be called from any thread.

    Attributes:
        mode: The mode that the image is converted to first: ``L`` or ``RGB``; ``BGR`` is read as
            RGB, and its channels are reversed just before Normalize.
        steps: The steps, in this order.
    """

    mode: str
    steps: tuple[_Step, ...]

    def __post_init__(self) -> None:
        """Check the order of the steps.

        Raises:
            BadInput: The mode is unknown, or the steps do not go together.
        """
        object.__setattr__(self, "steps", tuple(self.steps))
        if self.mode not in _MODES:
            raise BadInput(f"mode: expected one of {', '.join(_MODES)}, got {self.mode!r}")
        *image_steps, normalize, last = (None, None, *self.steps)
        if not isinstance(normalize, Normalize) or not isinstance(last, ToCHW):
            raise BadInput("steps: expected Normalize and ToCHW at the end")
        if not all(isinstance(step, (Resize, CenterCrop, Digit)) for step in image_steps[2:]):
            raise BadInput("steps: expected only Resize, CenterCrop and Digit before Normalize")
        if self.mode != "L" and any(isinstance(step, Digit) for step in image_steps):
            raise BadInput(f"steps: Digit takes mode L, not {self.mode}")
        if len(normalize.mean) != self.channels:
            raise BadInput(
                f"steps: Normalize has {len(normalize.mean)} channels, mode {self.mode} has"
                f" {self.channels}"
            )

    @property
    def channels(self) -> int:
        """The number of channels of the result."""
        return _MODES[self.mode]

    @property
    def value_range(self) -> tuple[float, float]:
        """The least and the greatest value that the result can have."""
        normalize = next(step for step in self.steps if isinstance(step, Normalize))
        extremes = normalize(np.array([[[0], [255]]], np.uint8).repeat(self.channels, axis=2))
        return float(extremes.min()), float(extremes.max())

    def __call__(self, source: ImageSource) -> NDArray[np.float32]:
        """Return the tensor of an image.

        Args:
            source: An image, as for :func:`~lenet_cpp.data.images.read_image`.

        Returns:
            float32 [C, H, W], C-contiguous.

        Raises:
            FileNotFound: The file does not exist or cannot be read.
            BadInput: The image is not usable, or a step cannot process it; the message has the
                file.
        """
        image = read_image(source, "L" if self.mode == "L" else "RGB")
        steps: tuple[Any, ...] = self.steps  # __post_init__ knows which is which
        *image_steps, normalize, to_chw = steps
        try:
            for step in image_steps:
                image = step(image)
        except BadInput as error:
            raise BadInput(f"{describe_source(source)}: {error}") from error
        pixels = np.asarray(image).reshape(image.height, image.width, self.channels)
        if self.mode == "BGR":
            pixels = pixels[:, :, ::-1]
        tensor: NDArray[np.float32] = to_chw(normalize(pixels))
        return tensor

    def batch(self, sources: Sequence[ImageSource]) -> NDArray[np.float32]:
        """Return the tensors of N images, N at least 1.

        Returns:
            float32 [N, C, H, W], C-contiguous.

        Raises:
            FileNotFound: An image does not exist or cannot be read.
            BadInput: An image is not usable, there is no image, or the images differ in size after
                the steps.
        """
        if not sources:
            raise BadInput("expected at least one image, got none")
        tensors = [self(source) for source in sources]
        for source, tensor in zip(sources, tensors, strict=True):
            if tensor.shape != tensors[0].shape:
                raise BadInput(
                    f"{describe_source(source)}: {tensor.shape[2]} x {tensor.shape[1]} pixels after"
                    f" the steps, {describe_source(sources[0])} {tensors[0].shape[2]} x"
                    f" {tensors[0].shape[1]}: end the image steps with CenterCrop, or read them"
                    " one by one"
                )
        return np.stack(tensors)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> Pipeline:
        """Read a ``preprocess.json``.

        Raises:
            FileNotFound: The file does not exist or cannot be read.
            BadModel: The file is invalid; the message has the file, the place and the problem.
        """
        file = Path(path)
        try:
            return _parse(read_json(file.read_bytes()))
        except OSError as error:
            raise FileNotFound(f"cannot read {file}: {error.strerror}") from error
        except ValueError as error:
            raise BadModel(
                f"{file} is not a valid description of preprocessing: {error}"
            ) from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write ``preprocess.json`` atomically.

        Raises:
            OSError: The file cannot be written.
        """
        write_text(Path(path), json.dumps(self.to_dict(), indent=2) + "\n")

    @staticmethod
    def from_dict(document: Any) -> Pipeline:
        """Return the pipeline that a parsed ``preprocess.json`` describes.

        Raises:
            BadModel: The document is invalid; the message has the place and the problem.
        """
        try:
            return _parse(document)
        except ValueError as error:
            raise BadModel(f"not a valid description of preprocessing: {error}") from error

    @staticmethod
    def of_metadata(document: Any, path: Path) -> Pipeline | None:
        """Return the pipeline in an ONNX file's metadata; None when there is none.

        Raises:
            BadModel: The metadata is damaged; the message has the file, the place and the problem.
        """
        try:
            return None if document is None else Pipeline.from_dict(document)
        except BadModel as error:
            raise BadModel(
                f"{path}: the preprocessing in its metadata is damaged: {error}"
            ) from error

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of ``preprocess.json``, without the fields that are None."""
        steps = [
            {
                "type": type(step).__name__,
                **{
                    name: list(value) if isinstance(value, tuple) else value
                    for name, value in asdict(step).items()
                    if value is not None
                },
            }
            for step in self.steps
        ]
        return {"format_version": _FORMAT_VERSION, "mode": self.mode, "steps": steps}


def _parse(document: Any) -> Pipeline:
    whole = object_(document, "the document", {"format_version", "mode", "steps"})
    version = whole["format_version"]
    if type(version) is not int or version != _FORMAT_VERSION:
        raise wrong("format_version", str(_FORMAT_VERSION), version)
    mode = choice(whole["mode"], "mode", tuple(_MODES))
    return Pipeline(mode, sequence(_step, whole["steps"], "steps"))


def _step(value: Any, where: str) -> _Step:
    kind = _STEPS[choice(object_(value, where).get("type"), f"{where}.type", tuple(_STEPS))]
    parsers = {
        field.name: _PARSERS[str(field.type).removesuffix(" | None")] for field in fields(kind)
    }
    expected = {"type", *parsers}
    if kind is Resize:
        # one of the two; the step itself checks that it is not both
        expected -= {"short_side", "size"} - value.keys()
    found = object_(value, where, expected)
    found.pop("type")
    try:
        return kind(
            **{name: parsers[name](item, f"{where}.{name}") for name, item in found.items()}
        )
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith(where) else f"{where}: {text}") from error


def imagenet(img_size: int = 224) -> Pipeline:
    """Return the preprocessing of classifiers trained on ImageNet, such as AlexNet.

    The short side is resized to ``round(img_size * 256 / 224)``, bilinear, and the middle
    ``img_size`` x ``img_size`` is cropped. ImageNet's mean is subtracted from RGB in [0, 1], and
    the result is divided by its standard deviation.

    Args:
        img_size: Height and width of the model's input, in pixels.

    Returns:
        A pipeline to float32 [3, img_size, img_size].
    """
    return Pipeline(
        "RGB",
        (
            Resize(short_side=round(img_size * 256 / 224)),
            CenterCrop((img_size, img_size)),
            Normalize(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ToCHW(),
        ),
    )


def digit() -> Pipeline:
    """Return LeNet's preprocessing: the digit of a photo as in MNIST, in [0, 1].

    The pixels are divided by 255, as in :func:`lenet_cpp.predict` and Paddle's ToTensor. A
    multiplication by 1/255 would give other last bits.

    Returns:
        A pipeline to float32 [1, 28, 28].
    """
    return Pipeline("L", (Digit(size=28, box=20), Normalize(1.0, (0.0,), (255.0,)), ToCHW()))
