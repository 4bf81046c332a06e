"""A complete preprocessing: from a source to the tensor, and its description in a file."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lenet_cpp import _core
from lenet_cpp._base.files import write_text
from lenet_cpp._base.memory import memory_errors
from lenet_cpp.data.images.reading import (
    PREFIX,
    ImageSource,
    as_pixels,
    describe_source,
    is_array,
    open_image_file,
    read_image,
    warn_of_dark,
)
from lenet_cpp.data.images.steps import CenterCrop, Digit, Normalize, Pad, Resize, ToCHW
from lenet_cpp.errors import BadInput, BadModel, Error

_FORMAT_VERSION = 1
_MAX_THREADS = 8  # each may hold an image of 256 MiB, and its result

_Step: TypeAlias = Resize | CenterCrop | Digit | Normalize | Pad | ToCHW
_STEPS: dict[str, type[_Step]] = {
    step.__name__: step for step in (Resize, CenterCrop, Digit, Normalize, Pad, ToCHW)
}


@dataclass(frozen=True)
class Pipeline:
    """Preprocessing as ``preprocess.json`` describes it, and what that says of the outputs.

    The steps are any number of Resize, CenterCrop and Digit (mode ``L`` only), which process 8-bit
    images, then one Normalize, perhaps Pad, then ToCHW. A description for a model whose channels
    come last, [N, H, W, C], leaves ToCHW out.

    Thread-safety: may be called from any thread.

    Attributes:
        mode: The mode that the image is converted to first: ``L`` or ``RGB``; ``BGR`` is read as
            RGB, and its channels are reversed just before Normalize.
        steps: The steps, in this order.
        labels: The name of each class, if the description has them.
        postprocess: How outputs become a result, as ``docs/preprocessing.md`` has it; None is the
            most probable classes.
        depth: The bits that samples of 16-bit pictures have, 10, 12 or 14; None is 16.
        compiled: The same in C++.
    """

    mode: str
    steps: tuple[_Step, ...]
    labels: tuple[str, ...] = ()
    postprocess: dict[str, Any] | None = field(default=None, hash=False)
    depth: int | None = None
    compiled: _core.ImagePipeline = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Have C++ check the steps.

        Raises:
            BadInput: The mode is unknown, a field is wrong, or the steps do not go together.
        """
        object.__setattr__(self, "steps", tuple(self.steps))
        try:
            description = json.dumps(self.to_dict(), default=repr)
            object.__setattr__(self, "compiled", _core.ImagePipeline(description))
        except (BadModel, TypeError) as error:
            raise BadInput(str(error)) from error

    def __reduce__(self) -> tuple[type[Pipeline], tuple[Any, ...]]:
        """Pickle the description."""
        return Pipeline, (self.mode, self.steps, self.labels, self.postprocess, self.depth)

    @property
    def channels(self) -> int:
        """The number of channels of the result."""
        return 1 if self.mode == "L" else 3

    @property
    def channels_last(self) -> bool:
        """Whether the result is [H, W, C]: the steps have no ToCHW."""
        return self.compiled.channels_last

    @property
    def value_range(self) -> tuple[float, float]:
        """The least and the greatest value that the result can have."""
        pixels = np.array([[[0], [255]]], np.uint8).repeat(self.channels, axis=2)
        values = (step for step in self.steps if isinstance(step, (Normalize, ToCHW)))
        extremes = Pipeline(self.mode, tuple(values)).compiled(pixels)
        return float(extremes.min()), float(extremes.max())

    @memory_errors("preparing an image")
    def __call__(self, source: ImageSource) -> NDArray[np.float32]:
        """Return the tensor of an image.

        Args:
            source: An image, as for :func:`~lenet_cpp.data.images.read_image`.

        Returns:
            float32 [C, H, W], or [H, W, C] without ToCHW, C-contiguous.

        Raises:
            lenet_cpp.Error: As that, and ``BadInput`` where a step cannot process the image, or the
                steps would process too many pixels of it; the message has the file.
        """
        name = describe_source(source)
        if isinstance(source, (str, os.PathLike, bytes, bytearray)):
            content = _decoded_in_cpp(source)
            prepared = None if content is None else self._prepare_file(content, name)
            if prepared is not None:
                return prepared
        if is_array(source):
            pixels = as_pixels(source)
        else:  # Pillow reads what C++ does not
            image = read_image(source, "L" if self.mode == "L" else "RGB", depth=self.depth or 16)
            pixels = np.asarray(image).reshape(image.height, image.width, self.channels)
        try:
            return self.compiled(pixels)
        except BadInput as error:
            raise BadInput(f"{name}: {error}") from error

    def _prepare_file(self, content: bytes, name: str) -> NDArray[np.float32] | None:
        """Return the tensor of an image file; None where C++ does not read its kind."""
        try:
            prepared = self.compiled.prepare_file(content)
        except Error as error:
            raise type(error)(f"{name}{error}") from None
        if prepared is None:
            return None
        tensor, is_dark = prepared
        if is_dark:
            warn_of_dark(name)
        return tensor

    @memory_errors("preparing images")
    def batch(self, sources: Sequence[ImageSource]) -> NDArray[np.float32]:
        """Return the tensors of N images, N at least 1, prepared by several threads.

        Returns:
            float32 [N, C, H, W], or [N, H, W, C] without ToCHW, C-contiguous.

        Raises:
            lenet_cpp.Error: As for one, and ``BadInput`` where there is no image, or they differ in
                size after the steps.
        """
        if not sources:
            raise BadInput("expected at least one image, got none")
        tensors = self._each(sources)
        rows = 0 if self.channels_last else 1
        for source, tensor in zip(sources, tensors, strict=True):
            if tensor.shape != tensors[0].shape:
                height, width = tensor.shape[rows : rows + 2]
                first_height, first_width = tensors[0].shape[rows : rows + 2]
                raise BadInput(
                    f"{describe_source(source)}: {width} x {height} pixels after the steps,"
                    f" {describe_source(sources[0])} {first_width} x {first_height}: end the image"
                    " steps with CenterCrop, or read them one by one"
                )
        return np.stack(tensors)

    def _each(self, sources: Sequence[ImageSource]) -> list[NDArray[np.float32]]:
        # Only one thread at a time may load a Pillow image, and it may be among them twice.
        threads = min(len(sources), len(os.sched_getaffinity(0)), _MAX_THREADS)
        if threads == 1 or any(hasattr(source, "load") for source in sources):
            return [self(source) for source in sources]
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self, sources))

    @staticmethod
    def load(path: str | os.PathLike[str], *, check_hashes: bool = False) -> Pipeline:
        """Read a ``preprocess.json``, or what a toolkit wrote beside a model.

        Those are the ``inference.yml`` of PaddleClas and PaddleX 3, with the op's own rounding and
        OpenCV's or Pillow's resize, labels and post-processing; PaddleX 2's ``model.yml``; Hugging
        Face's ``preprocessor_config.json``, with the labels of ``config.json`` beside it; timm's
        ``config.json``. The contents tell which it is.

        Args:
            path: The file.
            check_hashes: Compare the file with ``SHA256SUMS`` beside it when that lists it.

        Raises:
            FileNotFound: The file does not exist or cannot be read.
            BadModel: The file contradicts itself; the message has the file, the place and the
                problem.
            Unsupported: The file asks for something that has no counterpart here, or it is a .yml
                and this build has no libyaml.
        """
        text, note = _core.read_description(Path(path), check_hashes)
        if note:
            warnings.warn(note, stacklevel=2)
        return _parse(text)

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
        return _parse(json.dumps(document, default=repr))

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
        steps = [{"type": type(step).__name__, **_fields(step)} for step in self.steps]
        described = {"format_version": _FORMAT_VERSION, "mode": self.mode, "steps": steps}
        if self.depth is not None:
            described["depth"] = self.depth
        if self.labels:
            described["labels"] = list(self.labels)
        if self.postprocess is not None:
            described["postprocess"] = self.postprocess
        return described


def change_pipeline(
    pipeline: Pipeline, changes: Mapping[str, str], source: str = "", file: str = ""
) -> tuple[Pipeline, str]:
    """Replace steps of a pipeline, as ``--mean`` and the options beside it do.

    Args:
        pipeline: The pipeline.
        changes: The texts of these options, by their names.
        source: What the note calls the pipeline.
        file: Where the result can be written; empty where there is no such file.

    Returns:
        The new pipeline, and a note that says how to keep it.

    Raises:
        BadInput: A change is wrong, or does not go with the pipeline.
    """
    described = json.dumps(pipeline.to_dict())
    text, note = _core.changed_description(described, source, file, changes)
    return _parse(text), note


def _decoded_in_cpp(source: str | os.PathLike[str] | bytes | bytearray) -> bytes | None:
    """Return the bytes of an image file, or None where Pillow decodes its kind.

    Raises:
        FileNotFound, BadInput: As :func:`open_image_file`.
    """
    if isinstance(source, (bytes, bytearray)):
        content = bytes(source)  # another thread may change a bytearray while C++ reads it
        return content if _core.is_decoded_in_cpp(content[:PREFIX]) else None
    with open_image_file(source) as file:
        begin = file.read(PREFIX)
        return begin + file.read() if _core.is_decoded_in_cpp(begin) else None


def _fields(step: _Step) -> dict[str, Any]:
    named = {name: value for name, value in asdict(step).items() if value is not None}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in named.items()}


def _parse(text: str) -> Pipeline:
    _core.ImagePipeline(text)  # raises BadModel; what it accepts needs no other checks
    document = json.loads(text)
    steps = tuple(map(_step, document["steps"]))
    labels = tuple(document.get("labels") or ())
    postprocess, depth = document.get("postprocess"), document.get("depth")
    return Pipeline(document["mode"], steps, labels, postprocess, depth)


def _step(fields: dict[str, Any]) -> _Step:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }
    kind: Callable[..., _Step] = _STEPS[values.pop("type")]
    return kind(**values)


def imagenet(image_size: int = 224, *, library: str | None = None) -> Pipeline:
    """Return the preprocessing of classifiers trained on ImageNet, such as AlexNet.

    The short side is resized to ``round(image_size * 256 / 224)``, bilinear, and the middle
    ``image_size`` x ``image_size`` is cropped. ImageNet's mean is subtracted from RGB in [0, 1],
    and the result is divided by its standard deviation.

    Args:
        image_size: Height and width of the model's input, in pixels.
        library: ``opencv`` resizes and rounds as PaddleClas; None as paddle.vision and
            torchvision, with Pillow.

    Raises:
        BadInput: The library is another.
    """
    of_long_side, of_crop = ("half_even", "down") if library == "opencv" else (None, None)
    return Pipeline(
        "RGB",
        (
            Resize(round(image_size * 256 / 224), library=library, rounding=of_long_side),
            CenterCrop((image_size, image_size), of_crop),
            Normalize(1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ToCHW(),
        ),
    )


_KERAS = {  # mode of the pixels, scale, mean and standard deviation, in the order of the mode
    "caffe": ("BGR", 1.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0)),
    "tf": ("RGB", 1 / 127.5, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    "torch": ("RGB", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


def keras(
    mode: str, image_size: int = 224, *, interpolation: str = "nearest", channels_last: bool = True
) -> Pipeline:
    """Return the preprocessing of a classifier of ``keras.applications``.

    The image is resized to ``image_size`` x ``image_size`` as ``keras.utils.load_img`` does it, and
    its values are those of ``keras.applications.imagenet_utils.preprocess_input``.

    Args:
        mode: ``caffe`` subtracts the means 103.939, 116.779 and 123.68 from BGR in [0, 255];
            ``tf`` maps RGB to [-1, 1]; ``torch`` subtracts ImageNet's mean from RGB in [0, 1] and
            divides by its standard deviation.
        image_size: Height and width of the model's input, in pixels.
        interpolation: Pillow's filter, by default that of ``load_img``: ``nearest``, ``bilinear``,
            ``bicubic`` or ``lanczos``.
        channels_last: Whether the model takes [N, H, W, 3], as Keras exports it, and no
            [N, 3, H, W].

    Raises:
        BadInput: The mode or the interpolation is another.
    """
    if mode not in _KERAS:
        raise BadInput(f"mode is {mode!r}; expected one of {', '.join(_KERAS)}")
    pixels, scale, mean, std = _KERAS[mode]
    resize = Resize(size=(image_size, image_size), interpolation=interpolation)
    end = () if channels_last else (ToCHW(),)
    return Pipeline(pixels, (resize, Normalize(scale, mean, std), *end))


def digit() -> Pipeline:
    """Return LeNet's preprocessing: the digit of a photo as in MNIST, in [0, 1], 28 x 28.

    The pixels are divided by 255, as in :func:`lenet_cpp.predict` and Paddle's ToTensor. A
    multiplication by 1/255 would give other last bits.
    """
    return Pipeline("L", (Digit(size=28, box=20), Normalize(1.0, (0.0,), (255.0,)), ToCHW()))
