"""Synthetic images for checks, when the user gives none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lenet_cpp._base.lazy import LazyModule

if TYPE_CHECKING:
    from PIL import Image
else:
    Image = LazyModule("PIL.Image")

_SEED = 20_261_120
# Width and height: landscape, portrait and square, smaller and larger than models take.
_SIZES = ((320, 240), (200, 300), (256, 256), (640, 480))


def made_images(count: int) -> list[Image.Image]:
    """Make photo-like images of several sizes, always the same: smooth colours, noise, a box."""
    random = np.random.default_rng(_SEED)
    images = []
    for index in range(count):
        size = _SIZES[index % len(_SIZES)]
        coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        smooth = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        pixels = np.asarray(smooth, np.int16)
        pixels = pixels + random.integers(-12, 13, pixels.shape, dtype=np.int16)
        x, y = (int(random.integers(0, length // 2)) for length in size)
        pixels[y : y + 60, x : x + 80] = random.integers(0, 256, 3)
        images.append(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)))
    return images
