"""The windows of Caffe2's convolutions and poolings, with all the ways to write them down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lenet_cpp.errors import BadModel, Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lenet_cpp.interchange.caffe2.files import Operator

_EXPLICIT, _VALID, _SAME, _AS_CAFFE = range(4)  # legacy_pad
_MOST = 1 << 15


@dataclass(frozen=True)
class Window:
    """A window that slides over an image.

    Attributes:
        kernel: Its height and width; 0 of a global pooling that says none.
        strides: How far it moves.
        pads: Zeros above, left, below and right of the image.
        dilations: The distance of its pixels.
        ceil: Whether it may stick out at the end.
        same: Whether the output is to have 1/stride of the image's side; pads are then 0.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    pads: tuple[int, ...]
    dilations: tuple[int, ...]
    ceil: bool = False
    same: bool = False

    def attributes(self, *, dilations: bool = False) -> dict[str, Any]:
        """Return the attributes of ONNX's operator, perhaps with the dilations."""
        found: dict[str, Any] = {"kernel_shape": self.kernel, "strides": self.strides}
        if self.same:
            found["auto_pad"] = "SAME_UPPER"
        else:
            found["pads"] = self.pads
        if self.ceil:
            found["ceil_mode"] = 1
        if dilations:
            found["dilations"] = self.dilations
        return found

    def output(self, sides: Sequence[int | None]) -> list[int | None]:
        """Return height and width of the output for those of the image."""
        return [
            None if side is None else self._steps(axis, side) for axis, side in enumerate(sides)
        ]

    def _steps(self, axis: int, side: int) -> int:
        stride = self.strides[axis]
        if self.same:
            return -(-side // stride)
        covered = self.dilations[axis] * (self.kernel[axis] - 1) + 1
        room = side + self.pads[axis] + self.pads[axis + 2] - covered
        return (-(-room // stride) if self.ceil else room // stride) + 1


def read_window(op: Operator) -> Window:
    """Read the window of a convolution or a pooling.

    Raises:
        BadModel: It is none.
        Unsupported: It has other than two dimensions, or padding that ONNX has no word for.
    """
    is_global = bool(op.arguments.integer("global_pooling", 0))
    window = Window(
        kernel=_several(op, "kernel", "_h _w", 0),
        strides=_several(op, "stride", "_h _w", 1),
        pads=_several(op, "pad", "_t _l _b _r", 0),
        dilations=_several(op, "dilation", "_h _w", 1),
    )
    limits = [(window.kernel, 0 if is_global else 1), (window.pads, 0)]
    limits += [(window.strides, 1), (window.dilations, 1)]
    if any(not least <= one <= _MOST for numbers, least in limits for one in numbers):
        raise BadModel(f"{op.place} has a window that is none: {window}")
    legacy = op.arguments.integer("legacy_pad", _EXPLICIT)
    return window if is_global or legacy == _EXPLICIT else _legacy(op, window, legacy)


def _legacy(op: Operator, window: Window, legacy: int) -> Window:
    top, left, bottom, right = window.pads
    if legacy == _AS_CAFFE and "Pool" in op.type:
        # Caffe rounds the size of the output up; where it pads too, it drops some windows again.
        ceil = window.strides != (1, 1)
        if (top, left) != (bottom, right) or (ceil and (top or left or not _covers(window))):
            raise Unsupported(f"{op.place}: Caffe's pooling with strides and padding")
        return replace(window, ceil=ceil)
    if legacy in {_VALID, _SAME} and any(window.pads):
        raise BadModel(f"{op.place} has padding of its own beside legacy_pad")
    if legacy == _VALID:
        return window
    if legacy == _SAME and window.dilations == (1, 1):
        if window.strides == (1, 1):
            rows, columns = (side - 1 for side in window.kernel)
            pads = (rows // 2, columns // 2, rows - rows // 2, columns - columns // 2)
            return replace(window, pads=pads)
        if _covers(window):
            return replace(window, same=True)
    raise Unsupported(f"{op.place}: legacy_pad {legacy} is not supported here")


def _covers(window: Window) -> bool:
    """Tell whether the window leaves out no pixel on its way."""
    return all(k >= s for k, s in zip(window.kernel, window.strides, strict=True))


def _several(op: Operator, name: str, endings: str, default: int) -> tuple[int, ...]:
    """Read numbers that may be written as one for all, as a list, or each by its name."""
    get, many = op.arguments, f"{name}s"
    each = [name + ending for ending in endings.split()]
    if many in get and name in get:
        raise BadModel(f"{op.place} has both {name} and {many}")
    if many in get:
        found = get.integers(many)
    elif name not in get and all(one in get for one in each):
        found = tuple(get.integer(one, default) for one in each)
    else:
        found = (get.integer(name, default),) * len(each)
    if len(found) != len(each):
        raise Unsupported(f"{op.place}: only windows of two dimensions are supported")
    return found
