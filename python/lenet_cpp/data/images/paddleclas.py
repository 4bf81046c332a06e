"""Read the preprocessing that PaddleClas describes in ``inference.yml``."""

from __future__ import annotations

import re
import reprlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_cpp.data.images.pipeline import Pipeline
from lenet_cpp.data.images.steps import CenterCrop, Normalize, Resize, ToCHW
from lenet_cpp.errors import BadModel, FileNotFound, Unsupported

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

_NUMBER = r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*"
_RATIO = re.compile(f"{_NUMBER}(?:/{_NUMBER})?")
# The default values of NormalizeImage.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_LIBRARIES = {"cv2": "opencv", "pil": "pillow"}


def from_inference_yml(path: str | os.PathLike[str]) -> Pipeline:
    """Return the pipeline that an ``inference.yml`` of PaddleClas describes.

    The function reads ``PreProcess.transform_ops``, and supports these ops:

    - DecodeImage: ``to_rgb``; false gives mode ``BGR``. Without the op the mode is RGB, as in
      PaddleClas.
    - ResizeImage: ``resize_short``, or ``size`` as a number or [width, height]; ``backend`` cv2
      (the default) or pil; ``interpolation`` nearest, bilinear (the default), bicubic or, of cv2,
      area.
    - CropImage: ``size`` as a number or [width, height].
    - NormalizeImage: ``scale`` as a number or a text such as ``1.0/255.0`` (never evaluated),
      ``mean``, ``std``; an ``order`` of ``chw`` must come after ToCHWImage, any other before it.
    - ToCHWImage.

    Everything else in the file is ignored.

    Raises:
        FileNotFound: The file does not exist or cannot be read.
        BadModel: The file is not YAML, or a value is missing or wrong; the message has the file
            and the op.
        Unsupported: An op, or one of its values, has no counterpart here.
    """
    import yaml

    file = Path(path)
    try:
        document = yaml.safe_load(file.read_bytes())
    except OSError as error:
        raise FileNotFound(f"cannot read {file}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        detail = " ".join(str(error).split())
        raise BadModel(f"{file} is not YAML: {detail}") from error
    try:
        return _pipeline(_ops(document))
    except Unsupported as error:
        raise Unsupported(f"{file}: {error}") from error
    except (ValueError, TypeError) as error:
        raise BadModel(f"{file} does not describe a preprocessing: {error}") from error


def _ops(document: Any) -> list[tuple[str, dict[str, Any]]]:
    section = document.get("PreProcess") if isinstance(document, dict) else None
    ops = section.get("transform_ops") if isinstance(section, dict) else None
    if not isinstance(ops, list) or not ops:
        raise ValueError("expected a list at PreProcess.transform_ops")
    return [_op(op) for op in ops]


def _op(op: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(op, dict) or len(op) != 1:
        raise ValueError(f"transform_ops: expected the name of one op, found {reprlib.repr(op)}")
    ((name, values),) = op.items()
    if name not in _OPS:
        known = ", ".join(_OPS)
        raise Unsupported(f"the op {reprlib.repr(name)} is not known, only {known}")
    if not isinstance(values, (dict, type(None))):
        raise TypeError(f"{name}: expected values by name, found {reprlib.repr(values)}")
    values = values or {}
    if unknown := sorted(str(key) for key in values.keys() - _OPS[name][0]):
        raise Unsupported(f"{name}.{unknown[0]} is not known")
    return str(name), values


def _pipeline(ops: list[tuple[str, dict[str, Any]]]) -> Pipeline:
    names = [name for name, _ in ops]
    for name in ("NormalizeImage", "ToCHWImage"):
        if names.count(name) != 1:
            raise Unsupported(f"expected {name} once, found it {names.count(name)} times")
    image_ops = [name for name in names if name in {"DecodeImage", "ResizeImage", "CropImage"}]
    if names[: len(image_ops)] != image_ops or "DecodeImage" in names[1:]:
        raise Unsupported(f"the order {', '.join(names)}")
    mode = "RGB"
    steps: list[Any] = []
    for name, values in ops:
        try:
            if name == "NormalizeImage":
                _check_order(values, after="ToCHWImage" in names[: names.index(name)])
            made = _OPS[name][1](values)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{name}: {error}") from error
        if name == "DecodeImage":
            mode = made
        elif name != "ToCHWImage":
            steps.append(made)
    # Either order of the last two gives the same numbers.
    return Pipeline(mode, (*steps, ToCHW()))


def _mode(values: dict[str, Any]) -> str:
    if values.get("channel_first"):
        raise Unsupported("DecodeImage.channel_first")
    to_rgb = values.get("to_rgb", True)
    if not isinstance(to_rgb, bool):
        raise TypeError(f"to_rgb: expected true or false, found {reprlib.repr(to_rgb)}")
    return "RGB" if to_rgb else "BGR"


def _resize(values: dict[str, Any]) -> Resize:
    library = _LIBRARIES.get(str(values.get("backend", "cv2")).lower())
    if library is None:
        raise Unsupported(f"ResizeImage.backend {reprlib.repr(values['backend'])}")
    name = values.get("interpolation")
    interpolation = "bilinear" if name is None else str(name).lower()
    known = {"nearest", "bilinear", "bicubic"} | ({"area"} if library == "opencv" else set())
    if interpolation not in known:
        raise Unsupported(f"ResizeImage.interpolation {reprlib.repr(name)} of {library}")
    resize = Resize(interpolation=interpolation, library=library)
    if short_side := values.get("resize_short"):
        return replace(resize, short_side=short_side, rounding="half_even")
    return replace(resize, size=_height_width(values))


def _height_width(values: dict[str, Any]) -> tuple[int, int]:
    size = values.get("size")
    if isinstance(size, list) and len(size) == 2:
        return size[1], size[0]
    if type(size) is not int:
        raise TypeError(f"size: expected a number or two, found {reprlib.repr(size)}")
    return size, size


def _check_order(values: dict[str, Any], *, after: bool) -> None:
    order = values.get("order", "chw")
    if (order == "chw") != after:
        raise ValueError(
            f"order {reprlib.repr(order)} does not fit its place"
            f" {'after' if after else 'before'} ToCHWImage"
        )


def _normalize(values: dict[str, Any]) -> Normalize:
    if values.get("output_fp16"):
        raise Unsupported("NormalizeImage.output_fp16")
    if values.get("channel_num", 3) != 3:
        raise Unsupported(f"NormalizeImage.channel_num {reprlib.repr(values['channel_num'])}")
    mean, std = values.get("mean"), values.get("std")
    return Normalize(
        scale=_scale(values.get("scale")),
        mean=_IMAGENET_MEAN if mean is None else tuple(mean),
        std=_IMAGENET_STD if std is None else tuple(std),
    )


def _scale(value: Any) -> Any:
    if value is None:
        return 1 / 255
    if not isinstance(value, str):
        return value
    match = _RATIO.fullmatch(value)
    if match is None:
        raise ValueError(f"scale: expected a number or a ratio of two, found {reprlib.repr(value)}")
    divisor = float(match[2] or 1)
    if divisor == 0:
        raise ValueError(f"scale: {value!r} divides by zero")
    return float(match[1]) / divisor


# Each op and its values. Values that only choose an implementation in PaddleClas are ignored.
_OPS: dict[str, tuple[set[str], Callable[[dict[str, Any]], Any]]] = {
    "DecodeImage": ({"to_rgb", "to_np", "channel_first"}, _mode),
    "ResizeImage": ({"size", "resize_short", "interpolation", "backend", "return_numpy"}, _resize),
    "CropImage": ({"size"}, lambda values: CenterCrop(_height_width(values), "down")),
    "NormalizeImage": ({"scale", "mean", "std", "order", "output_fp16", "channel_num"}, _normalize),
    "ToCHWImage": (set(), lambda _values: ToCHW()),
}
