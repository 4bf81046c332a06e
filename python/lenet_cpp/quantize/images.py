"""Images to calibrate, train and test with."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lenet_cpp.data.arrays import as_batch
from lenet_cpp.data.images import find_images
from lenet_cpp.data.mnist import load_mnist, read_idx, stratified_indices
from lenet_cpp.data.synthetic import made_images
from lenet_cpp.errors import BadInput
from lenet_cpp.inference.model import Overrides
from lenet_cpp.quantize.source import FloatModel

_MOST = 512
_IDX_STARTS = (b"\0\0\x08", b"\x1f\x8b\x08")  # plain and gzipped


@dataclass(frozen=True)
class Images:
    """Images as :func:`lenet_cpp.quantize.deployed.as_input` takes them.

    Attributes:
        calibration: To find the ranges of activations with; from the training images.
        test: Only to measure with.
        labels: int64 [N] of the test images; None when they are not known.
        kind: A word for records.
    """

    calibration: npt.NDArray[Any]
    training: npt.NDArray[Any]
    test: npt.NDArray[Any]
    labels: npt.NDArray[np.int64] | None
    description: str
    kind: str


def mnist_images(data_dir: Path | None, calibration: int = _MOST, *, seed: int = 0) -> Images:
    """Take images of digits, as :func:`lenet_cpp.data.mnist.load_mnist` finds them.

    So many images are to calibrate on, with the shares that the classes have.

    Raises:
        BadInput: There are not that many images, or the data is damaged.
        FileNotFound: The data is missing.
    """
    mnist = load_mnist(data_dir)
    chosen = stratified_indices(mnist.train.labels, calibration, seed=(seed,))
    return Images(
        calibration=mnist.train.images[chosen],
        training=mnist.train.images,
        test=mnist.test.images,
        labels=mnist.test.labels,
        description=mnist.describe(),
        kind=mnist.kind,
    )


def own_images(
    source: FloatModel,
    path: Path | None,
    calibration: int | None = None,
    test: int | None = None,
    *,
    preprocess: Path | None = None,
    seed: int = 0,
) -> Images:
    """Take a user's images, or make some, and prepare them as the model's ``preprocess.json`` says.

    The images that are not drawn to calibrate and train with are there to test with; when none is
    left, they are the same.

    The path is what :func:`lenet_cpp.data.images.find_images` takes: a folder, a glob, a list or an
    image; or an IDX file or a ``.npy``. Its uint8 values are pixels, [N, H, W] or [N, H, W, 3], and
    prepared likewise; float values are taken as they are. None makes images, which show nothing.

    By default 512 are to calibrate and train with, but at most three quarters, and 32 that are
    made; of the others at most 512 to test with, and 64 that are made. ``preprocess`` takes the
    place of the file beside the model; the seed is that of the choice.

    Raises:
        BadInput: There are not that many images, or one cannot be read or does not fit the model.
        FileNotFound: A file is missing, or it is not known how to prepare images.
    """
    if path is None:
        calibration, test = calibration or 32, test or 64
        found: Sequence[Any] | npt.NDArray[Any] = made_images(calibration + test)
        kind, name = "made", "synthetic images, whose outputs say nothing about accuracy"
    else:
        found, kind, name = _read(path), "own", str(path)
    if calibration is None:
        calibration = min(_MOST, max(1, len(found) * 3 // 4))
    if calibration > len(found):
        raise BadInput(f"{path}: cannot draw {calibration} of {len(found)} images")
    order = np.random.default_rng(seed).permutation(len(found))
    chosen, others = order[:calibration], order[calibration:][: test or _MOST]
    model = source.model.overridden(Overrides(preprocess=preprocess, network=source.network))

    def prepare(indices: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        if isinstance(found, np.ndarray) and found.dtype != np.uint8:
            return as_batch(found[np.sort(indices)], model.input_shape)
        return model.prepare([found[index] for index in np.sort(indices)])

    first = prepare(chosen)
    second = prepare(others) if len(others) else first
    which = "others to test" if len(others) else "to test, which are the same"
    said = f"{name}: {len(first)} to calibrate, {len(second)} {which}"
    return Images(first, first, second, labels=None, description=said, kind=kind)


def _read(path: Path) -> Sequence[Path] | npt.NDArray[Any]:
    """Return the image files, or the array, that a path names."""
    start = b""
    if path.is_file():
        with path.open("rb") as file:
            start = file.read(3)
    if start in _IDX_STARTS:
        array: npt.NDArray[Any] = read_idx(path)
    elif path.is_file() and path.suffix == ".npy":
        try:
            array = np.load(path, allow_pickle=False)
        except ValueError as error:
            raise BadInput(f"{path} is not a .npy of numbers: {error}") from error
    else:
        return find_images(path)
    if array.ndim < 3 or len(array) == 0:
        raise BadInput(f"{path}: expected images, got an array of shape {list(array.shape)}")
    return array
