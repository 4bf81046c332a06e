"""The step that turns the photo of a digit into an image like those of MNIST."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp.data.images.steps import check_size
from lenet_cpp.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    Grid = NDArray[np.int64]
    Mask = NDArray[np.bool_]

_WORK = 256  # longer side, in pixels, of the image in which the digit is searched
_NO_DIGIT = (
    "found no digit: nothing stands out from the background; write it larger or take the photo"
    " nearer, in better light"
)


@dataclass(frozen=True)
class Digit:
    """Find the digit; the result is light on dark, ``box`` pixels long in ``size`` x ``size``.

    The definition follows. All arithmetic is in integers, except one formula in step 4; ``a // b``
    rounds down, below zero too; round(a / b) is (2a + b) // (2b); the median of n values is number
    (n - 1) // 2 of them in ascending order, counted from 0; windows end where the image ends.

    1. An image of ``size`` x ``size`` is returned unchanged when the sum of its outermost ring is
       less than 64 * (4 size - 4): it looks like an image of MNIST already.
    2. Reduce the H x W image: k = ceil(max(H, W) / 256), ky = min(k, H), kx = min(k, W); each
       block of ky rows and kx columns, counted from the top left, becomes round(sum / (ky kx)).
       Incomplete blocks at the right and at the bottom are dropped. This gives g, h x w.
    3. Remove the background. Let level(a, n, q, keep) be this surface: n x n nodes; node (i, j) is
       the median of a[y, x] where keep holds, for abs(y - i (h - 1) // (n - 1)) <= h // q and
       likewise x with j and w; 0 when there is none. Between the nodes it is bilinear: with
       H' = max(1, h - 1), i = min(y (n - 1) // H', n - 2), f = y (n - 1) - i H', and likewise W',
       j and e for x, it is round of ((H' - f)(W' - e) m[i, j] + (H' - f) e m[i, j + 1]
       + f (W' - e) m[i + 1, j] + f e m[i + 1, j + 1]) / (H' W').
       First r = g - level(g, 5, 4, all). Then, with m the median of abs(r),
       r = r - level(r, 9, 8, abs(r) <= max(8, 3 m)). At last noise = the median of abs(r).
    4. Ink. Where the sum of the r with abs(r) > 2 max(1, noise) is at most 0, the ink is dark and
       d = -r, else d = r; then d = min(255, d), and 0 where d <= 2 noise. Otsu's threshold: of t
       from 0 to 254 with n0 > 0 pixels of d <= t, of sum s0, and n1 = N - n0 > 0 above, of N with
       sum S, the first with the greatest a * a / (double(n0) * double(n1)),
       a = double(S n0 - N s0). Ink is d > t. When there is no such t: no digit.
    5. Parts are the 8-connected sets of ink. Drop those of less than 1/64 of the greatest one's
       pixels; then those with more than 1/16 of the pixels of the image's outermost ring (it has
       2 (h + w) - 4 when h, w > 1; that number is taken always), unless that would drop all; then
       those of less than 1/16 of the greatest one left. "Less than 1/k": k * pixels < greatest.
    6. Ink becomes 255: top = number (n - 1) * 3 // 4, in ascending order, of the n values of d in
       the ink left. If top < max(12, 4 noise): no digit. With low = top // 4,
       v = min(255, max(0, (d - low) * 255 // (top - low))) in the ink and its 8 neighbours, and 0
       elsewhere.
    7. Crop v, and the ink, to the rows and columns from the first to the last with v >= 32.
    8. Thicken thin strokes. A = pixels of ink; P = pairs of a pixel of ink and a 4-neighbour that
       is not, or is outside; L = the longer side; t = (L P - 20 A + 10 P) // (20 P). If t > 0, add
       t zeros on each side of v, and let each pixel be the greatest of those within t rows and t
       columns.
    9. Scale to h2 x w2, of the new h, w and L: h2 = max(1, round(h box / L)), w2 likewise. Each
       pixel (i, j) is round(sum over y, x of v[y, x] o(i, y) p(j, x) / (h w)), o(i, y) =
       max(0, min((i + 1) h, (y + 1) h2) - max(i h, y h2)), the overlap of the two, and p likewise
       with w and w2.
    10. Put it into size x size zeros with the centre of mass on pixel c = size // 2 as in MNIST:
       with S the sum of all pixels and Y the sum of pixel times row, the top row is
       round((c S - Y) / S), but at least 0 and at most size - h2; the left column likewise.

    Attributes:
        size: Height and width of the result, in pixels.
        box: The longer side of the digit in it; less than ``size``.
    """

    size: int = 28
    box: int = 20

    def __post_init__(self) -> None:
        """Check the fields."""
        check_size("Digit.size", self.size)
        check_size("Digit.box", self.box)
        if not self.box < self.size <= 1024:
            raise BadInput("Digit: expected box below size, and size of at most 1024")

    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the digit of a grey image (mode ``L``), in mode ``L``.

        Raises:
            BadInput: Nothing stands out from the background.
        """
        from PIL import Image

        pixels = np.asarray(image)
        if pixels.shape == (self.size, self.size) and _has_dark_ring(pixels):
            return image
        return Image.fromarray(self._extract(pixels))

    def _extract(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        residual, noise = _without_background(_reduced(pixels))
        strength = _strength(residual, noise)
        ink = _without_specks(_otsu_mask(strength))
        values = _ink_values(strength, ink, noise)
        rows, columns = (np.flatnonzero((values >= 32).any(axis)) for axis in (1, 0))
        crop = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return self._centred(self._scaled(_thickened(values[crop], ink[crop])))

    def _scaled(self, values: Grid) -> Grid:
        height, width = values.shape
        longer = max(height, width)
        new_height, new_width = (
            max(1, _divide(side * self.box, longer)) for side in (height, width)
        )
        total = _overlaps(new_height, height) @ values @ _overlaps(new_width, width).T
        return np.asarray(_divide(total, height * width))

    def _centred(self, values: Grid) -> NDArray[np.uint8]:
        total = int(values.sum())
        corner = []
        for axis, length in enumerate(values.shape):
            moment = int((values.sum(1 - axis) * np.arange(length)).sum())
            first = _divide(self.size // 2 * total - moment, total)
            corner.append(min(max(0, first), self.size - length))
        result = np.zeros((self.size, self.size), np.uint8)
        (top, left), (height, width) = corner, values.shape
        result[top : top + height, left : left + width] = values
        return result


def _divide(a: Any, b: int) -> Any:
    """Return round(a / b), halves up, of an integer or an array of them."""
    return (2 * a + b) // (2 * b)


def _median(values: Grid) -> int:
    """Return the lower median."""
    middle = (values.size - 1) // 2
    return int(np.partition(values, middle, axis=None)[middle])


def _has_dark_ring(pixels: NDArray[np.uint8]) -> bool:
    size = len(pixels)
    ring = int(pixels.sum(dtype=np.int64)) - int(pixels[1:-1, 1:-1].sum(dtype=np.int64))
    return ring < 64 * (4 * size - 4)


def _reduced(pixels: NDArray[np.uint8]) -> Grid:
    height, width = pixels.shape
    factor = -(-max(height, width) // _WORK)
    rows, columns = min(factor, height), min(factor, width)
    whole = pixels[: height // rows * rows, : width // columns * columns]
    blocks = whole.reshape(height // rows, rows, width // columns, columns)
    return np.asarray(_divide(blocks.sum(axis=(1, 3), dtype=np.int64), rows * columns))


def _without_background(grey: Grid) -> tuple[Grid, int]:
    residual = grey - _level(grey, 5, 4, np.ones(grey.shape, bool))
    magnitude = np.abs(residual)
    residual = residual - _level(residual, 9, 8, magnitude <= max(8, 3 * _median(magnitude)))
    return residual, _median(np.abs(residual))


def _level(values: Grid, nodes: int, part: int, keep: Mask) -> Grid:
    """Return the surface through the medians of ``nodes`` x ``nodes`` windows."""

    def windows(length: int) -> list[slice]:
        centres = [i * (length - 1) // (nodes - 1) for i in range(nodes)]
        reach = length // part
        return [slice(max(0, centre - reach), centre + reach + 1) for centre in centres]

    def median(window: tuple[slice, slice]) -> int:
        kept = values[window][keep[window]]
        return _median(kept) if kept.size else 0

    def between(length: int) -> tuple[Grid, Grid, int]:
        spacing = max(1, length - 1)
        position = np.arange(length) * (nodes - 1)
        node = np.minimum(position // spacing, nodes - 2)
        return node, position - node * spacing, spacing

    height, width = values.shape
    medians = np.array([[median((y, x)) for x in windows(width)] for y in windows(height)])
    i, f, spacing_y = between(height)
    j, e, spacing_x = between(width)
    rows = (spacing_y - f)[:, None] * medians[i] + f[:, None] * medians[i + 1]
    surface = (spacing_x - e) * rows[:, j] + e * rows[:, j + 1]
    return np.asarray(_divide(surface, spacing_y * spacing_x))


def _strength(residual: Grid, noise: int) -> Grid:
    outstanding = residual[np.abs(residual) > 2 * max(1, noise)]
    ink = -residual if outstanding.sum() <= 0 else residual
    return np.where(ink > 2 * noise, ink.clip(0, 255), 0)


def _otsu_mask(strength: Grid) -> Mask:
    counts = np.bincount(strength.ravel(), minlength=256)
    below = counts.cumsum()[:-1]
    sums = (counts * np.arange(256)).cumsum()
    total, whole = strength.size, int(sums[-1])
    above = total - below
    split = (below > 0) & (above > 0)
    if not split.any():
        raise BadInput(_NO_DIGIT)
    difference = (whole * below - total * sums[:-1]).astype(np.float64)
    weight = below.astype(np.float64) * above.astype(np.float64)
    between = np.divide(difference * difference, weight, out=np.zeros(255), where=split)
    return strength > int(between.argmax())


def _without_specks(ink: Mask) -> Mask:
    height, width = ink.shape
    parts = _connected(ink)
    greatest = max(map(len, parts))
    parts = [part for part in parts if 64 * len(part) >= greatest]
    outermost = np.ones(ink.shape, bool)
    outermost[1:-1, 1:-1] = False
    flat = outermost.ravel()
    ring = 2 * (height + width) - 4
    parts = [part for part in parts if 16 * int(flat[part].sum()) <= ring] or parts
    greatest = max(map(len, parts))
    kept = np.zeros(ink.size, bool)
    for part in parts:
        if 16 * len(part) >= greatest:
            kept[part] = True
    return kept.reshape(ink.shape)


def _connected(mask: Mask) -> list[Grid]:
    """Return the indices into the flattened mask of each 8-connected part."""
    width = mask.shape[1]
    stride = width + 2
    todo = bytearray(np.pad(mask, 1).tobytes())
    steps = (-stride - 1, -stride, -stride + 1, -1, 1, stride - 1, stride, stride + 1)
    parts = []
    start = todo.find(1)
    while start >= 0:
        todo[start] = 0
        part = [start]
        for at in part:  # grows while it is walked
            for step in steps:
                if todo[at + step]:
                    todo[at + step] = 0
                    part.append(at + step)
        rows, columns = np.divmod(np.array(part), stride)
        parts.append((rows - 1) * width + columns - 1)
        start = todo.find(1, start)
    return parts


def _ink_values(strength: Grid, ink: Mask, noise: int) -> Grid:
    ordered = np.sort(strength[ink])
    top = int(ordered[(len(ordered) - 1) * 3 // 4])
    if top < max(12, 4 * noise):
        raise BadInput(_NO_DIGIT)
    low = top // 4
    values = ((strength - low) * 255 // (top - low)).clip(0, 255)
    return np.asarray(np.where(_greatest_within(ink, 1), values, 0))


def _greatest_within(values: NDArray[Any], reach: int) -> NDArray[Any]:
    """Return the greatest of the values within ``reach`` rows and columns of each."""
    for axis in (0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (reach, reach)
        padded = np.pad(values, pad)
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=axis)
        values = windows.max(axis=-1)
    return values


def _thickened(values: Grid, ink: Mask) -> Grid:
    area = int(ink.sum())
    padded = np.pad(ink, 1)
    sides = sum(
        int((padded & ~np.roll(padded, shift, axis)).sum()) for axis in (0, 1) for shift in (-1, 1)
    )
    reach = (max(values.shape) * sides - 20 * area + 10 * sides) // (20 * sides)
    return _greatest_within(np.pad(values, reach), reach) if reach > 0 else values


def _overlaps(new: int, old: int) -> Grid:
    """Return [new, old], how much of each old pixel lies in each new one, in 1 / (new * old)."""
    i = np.arange(new)[:, None]
    y = np.arange(old)
    overlap = np.minimum((i + 1) * old, (y + 1) * new) - np.maximum(i * old, y * new)
    return np.asarray(overlap.clip(0))
