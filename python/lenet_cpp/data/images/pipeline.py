"""A complete preprocessing: from a source to the tensor, and its description in a file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp._base.files import write_text
from lenet_cpp._base.strict_json import read_json
from lenet_cpp.data.images._description import MODES, Step, describe, parse
from lenet_cpp.data.images.digit import Digit
from lenet_cpp.data.images.reading import ImageSource, describe_source, read_image
from lenet_cpp.data.images.steps import CenterCrop, Normalize, Resize, ToCHW
from lenet_cpp.errors import BadInput, BadModel, FileNotFound

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from numpy.typing import NDArray


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
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        """Check the order of the steps.

        Raises:
            BadInput: The mode is unknown, or the steps do not go together.
        """
        object.__setattr__(self, "steps", tuple(self.steps))
        if self.mode not in MODES:
            raise BadInput(f"mode: expected one of {', '.join(MODES)}, got {self.mode!r}")
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
        return MODES[self.mode]

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
            return Pipeline(*parse(read_json(file.read_bytes())))
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
            return Pipeline(*parse(document))
        except ValueError as error:
            raise BadModel(f"not a valid description of preprocessing: {error}") from error

    @staticmethod
    def of_metadata(document: Any, path: Path) -> Pipeline | None:
        """Return the pipeline in an ONNX file's metadata; None when there is none.

        Raises:
            BadModel: The metadata is damaged; the message has the file, the place and the problem.
        """
        try:
            return None if document is None else Pipeline(*parse(document))
        except ValueError as error:
            raise BadModel(
                f"{path}: the preprocessing in its metadata is damaged: not a valid description of"
                f" preprocessing: {error}"
            ) from error

    def to_dict(self) -> dict[str, Any]:
        """Return the contents of ``preprocess.json``."""
        return describe(self.mode, self.steps)
