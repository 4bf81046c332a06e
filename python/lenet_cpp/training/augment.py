"""Random distortion of digit images, a batch at a time.

One warp per image: an affine map (rotation, scale, shear, shift) and an elastic displacement
field, applied by one bilinear resampling. After P. Y. Simard, D. Steinkraus and J. C. Platt,
"Best practices for convolutional neural networks applied to visual document analysis", ICDAR
2003. Their displacement field is white noise smoothed by a Gaussian; here the noise is drawn on
a coarse grid and interpolated by the same Gaussian, which costs a fraction and looks the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from lenet_cpp._base.frameworks import paddle


@dataclass(frozen=True)
class Augmentation:
    """How strongly images are distorted; zeros leave them unchanged.

    Attributes:
        rotation: Largest rotation in degrees, uniform in both directions.
        scale: Largest change of size as a fraction, uniform in both directions, for each axis.
        shear: Largest horizontal shear in pixels per pixel, uniform in both directions.
        shift: Largest shift in pixels, uniform in both directions, for each axis.
        elastic: Standard deviation of the elastic displacement, pixels.
        elastic_sigma: Width of the Gaussian that smooths the displacement, pixels.
    """

    rotation: float = 0.0
    scale: float = 0.0
    shear: float = 0.0
    shift: float = 0.0
    elastic: float = 0.0
    elastic_sigma: float = 4.0


def sampling_grid(
    augmentation: Augmentation, count: int, size: int, generator: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Draw the position from which each pixel of ``count`` square images is read.

    Returns float32 [count, size, size, 2]: x and y, in the -1..1 of ``grid_sample`` with
    ``align_corners=True``, that is from the first to the last pixel's centre. The generator's state
    determines it.
    """
    half = (size - 1) / 2

    def uniform(limit: float, *shape: int) -> npt.NDArray[np.float64]:
        return generator.uniform(-limit, limit, (count, *shape))

    angle = uniform(np.deg2rad(augmentation.rotation))
    scale = 1 + uniform(augmentation.scale, 2)
    shear = uniform(augmentation.shear)
    shift = uniform(augmentation.shift / half, 2)
    cosine, sine = np.cos(angle), np.sin(angle)
    # Rotation times shear times scale: output coordinates to input coordinates.
    matrix = np.empty((count, 2, 2))
    matrix[:, 0, 0] = cosine * scale[:, 0]
    matrix[:, 0, 1] = (cosine * shear - sine) * scale[:, 1]
    matrix[:, 1, 0] = sine * scale[:, 0]
    matrix[:, 1, 1] = (sine * shear + cosine) * scale[:, 1]
    axis = np.linspace(-1, 1, size)
    points = np.stack(np.meshgrid(axis, axis, indexing="xy"), axis=-1).reshape(-1, 2)
    grid = points.astype(np.float32) @ matrix.transpose(0, 2, 1).astype(np.float32)
    grid += shift[:, np.newaxis].astype(np.float32)
    if augmentation.elastic:
        basis = _gaussian_basis(size, augmentation.elastic_sigma)
        knots = basis.shape[1]
        noise = generator.standard_normal((count, 2, knots, knots), dtype=np.float32)
        field = basis @ noise @ basis.T * np.float32(augmentation.elastic / half)
        grid += field.reshape(count, 2, -1).transpose(0, 2, 1)
    return grid.reshape(count, size, size, 2)


@lru_cache(maxsize=8)
def _gaussian_basis(size: int, sigma: float) -> npt.NDArray[np.float32]:
    """Return [size, knots] so that unit noise on the knots gives unit variance at each pixel."""
    spacing = sigma  # one standard deviation apart, Gaussians sum to a flat line within 1 %
    knots = np.arange(-2 * spacing, size - 1 + 2 * spacing + spacing / 2, spacing)
    basis = np.exp(-0.5 * ((np.arange(size)[:, np.newaxis] - knots) / sigma) ** 2)
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    return basis.astype(np.float32)


def warp(
    images: npt.NDArray[np.float32], augmentation: Augmentation, generator: np.random.Generator
) -> paddle.Tensor:
    """Distort a batch, float32 [N, 1, H, H]; pixels from outside an image are background (0)."""
    grid = sampling_grid(augmentation, len(images), images.shape[-1], generator)
    # By default bilinear, and with zeros outside.
    tensors = paddle.to_tensor(images), paddle.to_tensor(grid)
    return paddle.nn.functional.grid_sample(*tensors, align_corners=True)
