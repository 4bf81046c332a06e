"""Makes 'photos' of digits on paper out of MNIST images, whose labels stay true.

``python tests/digit_photos.py examples/photos`` writes those that the documents show.
"""

import io
import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

KINDS = ("paper", "small", "far", "shadow", "board", "pen")
EXAMPLES = {"pen": 94, "paper": 13, "board": 219, "shadow": 80}
"""Kinds, and test images of the embedded sample: a 2, a 3, a 5 and a 7."""


def photo(digit, kind, seed):
    """Return a grey JPEG: a digit (uint8 [28, 28] of MNIST) written on a sheet and photographed.

    Every photo has its own size, place, rotation up to 10 degrees either way, paper and ink, light
    that falls off to one side and to the corners, noise, and JPEG quality. ``small``: 28 to 60
    pixels a side; ``far``: the sheet 2.5 to 5 times as long as the digit; ``shadow``: with the edge
    of a shadow across; ``board``: chalk, light on dark; ``pen``: ``far`` with a thin stroke.
    """
    random = np.random.default_rng(seed)
    sheet = _placed(_written(digit, kind, random), kind, random)
    paper = random.uniform(170, 250)
    pigment = random.uniform(10, min(90, paper - 90))
    if kind == "board":
        paper, pigment = pigment, paper
    seen = (paper + (pigment - paper) * sheet) * _light(sheet.shape, kind, random)
    seen += random.normal(0, random.uniform(2, 12), seen.shape)
    file = io.BytesIO()
    Image.fromarray(seen.clip(0, 255).astype(np.uint8)).save(
        file, "JPEG", quality=int(random.integers(50, 95))
    )
    return Image.open(file)


def _written(digit, kind, random):
    side = round(math.exp(random.uniform(math.log(40), math.log(500))))
    if kind == "small":
        side = int(random.integers(28, 60))
    image = Image.fromarray(digit)
    if kind == "pen":
        side = max(side, 100)
        image = np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC))
        image = Image.fromarray(_skeleton(image > 110) * np.uint8(255))
        image = image.filter(ImageFilter.MaxFilter(int(random.choice([3, 5, 7]))))
        image = image.filter(ImageFilter.GaussianBlur(1))
    image = image.resize((side, side), Image.Resampling.BICUBIC)
    return image.rotate(random.uniform(-10, 10), Image.Resampling.BICUBIC, expand=True)


def _placed(ink, kind, random):
    least, most = (2.5, 5) if kind in {"far", "pen"} else (1.05, 1.6)
    sheet = np.zeros([int(side * random.uniform(least, most)) for side in (ink.height, ink.width)])
    top = int(random.integers(0, sheet.shape[0] - ink.height + 1))
    left = int(random.integers(0, sheet.shape[1] - ink.width + 1))
    sheet[top : top + ink.height, left : left + ink.width] = np.asarray(ink) / 255
    return sheet


def _light(shape, kind, random):
    y, x = (np.arange(side) / side - 0.5 for side in shape)
    y = y[:, None]

    def across():
        angle = random.uniform(0, 2 * math.pi)
        return x * math.cos(angle) + y * math.sin(angle)

    light = 1 - random.uniform(0, 0.5) * (0.5 + across()) - random.uniform(0, 0.4) * (x * x + y * y)
    if kind == "shadow":
        distance = across() - random.uniform(-0.3, 0.3)
        steep = random.uniform(20, 80)
        light *= 1 - random.uniform(0.2, 0.45) / (1 + np.exp(-distance * steep))
    return light


def _skeleton(mask):
    """Thin a shape to its middle line, after T. Y. Zhang and C. Y. Suen, 1984."""
    shape = np.pad(mask.astype(np.uint8), 1)
    around = ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))
    changed = True
    while changed:
        changed = False
        for half in (0, 1):
            p = [np.roll(shape, shift, (0, 1)) for shift in around]
            neighbours = sum(p)
            rises = sum((p[i] == 0) & (p[(i + 1) % 8] == 1) for i in range(8))
            north, east, south, west = p[::2]
            one, two = ((south * east, east * west), (west * east, north * west))[half]
            open_side = (north * one == 0) & (south * two == 0)
            gone = (shape == 1) & (neighbours >= 2) & (neighbours <= 6) & (rises == 1) & open_side
            shape[gone] = 0
            changed |= bool(gone.any())
    return shape[1:-1, 1:-1]


def write_examples(folder):
    """Write a photo of each kind of EXAMPLES, named after its digit."""
    from lenet_cpp.data.mnist import read_mnist_dir, sample_dir

    test = read_mnist_dir(sample_dir()).test
    for kind, number in EXAMPLES.items():
        image = photo(test.images[number], kind, number)
        Path(folder, f"{test.labels[number]}-{kind}.jpg").write_bytes(image.fp.getvalue())


if __name__ == "__main__":
    write_examples(sys.argv[1])
