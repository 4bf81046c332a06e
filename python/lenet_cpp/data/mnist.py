"""MNIST: read and write IDX files, find the data, and describe what was used.

The IDX format is that of the MNIST files: two zero bytes, an element type, the number of
dimensions, each dimension as a big-endian 32-bit integer, then the elements in C order.
"""

import gzip
import hashlib
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from lenet_cpp._base.files import atomic_path
from lenet_cpp.data.download import download as download_mnist
from lenet_cpp.errors import BadInput, FileNotFound

# The usual names, without .gz, and the MD5 of the uncompressed files of the full data set.
IDX_FILES = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
_FULL_COUNTS = {"train": 60_000, "t10k": 10_000}
_KINDS = {
    "full": "full MNIST, checksums verified",
    "sample": "embedded MNIST sample",
    "other": "IDX files that are not the full MNIST",
}
_UINT8 = 0x08
# Far above MNIST; a damaged header must not make us allocate terabytes.
_MAX_BYTES = 1 << 31


@dataclass(frozen=True)
class Split:
    """Images and their labels."""

    images: npt.NDArray[np.uint8]
    """[N, 28, 28], 0 background to 255 ink."""
    labels: npt.NDArray[np.int64]
    """[N], 0 to 9."""

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)


@dataclass(frozen=True)
class Mnist:
    """A data set and its origin."""

    train: Split
    test: Split
    kind: str
    """``full`` (all four files have the known MD5s), ``sample`` (embedded) or ``other``."""
    folder: Path
    """The folder of the files."""
    md5: dict[str, str]
    """Each file's name and the MD5 of its contents, both uncompressed."""

    def describe(self) -> str:
        """Return one line that describes the data."""
        counts = f"{len(self.train)} training and {len(self.test)} test images"
        return f"{_KINDS[self.kind]}: {counts}, {self.folder}"

    def record(self) -> dict[str, Any]:
        """Return the entry of a training record: without paths, so that it can be published."""
        return {
            "kind": self.kind,
            "train_images": len(self.train),
            "test_images": len(self.test),
            "md5": dict(self.md5),
        }


def to_model_input(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Scale pixels as ``ToTensor`` does, by a float32 division by 255.

    From uint8 [N, 28, 28] to float32 [N, 1, 28, 28] in [0, 1].
    """
    return images[:, np.newaxis].astype(np.float32) / np.float32(255)


def read_idx(path: Path, *, dimensions: int | None = None) -> npt.NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes, gzipped or not.

    Args:
        path: The file; its contents tell whether it is gzipped, not its name.
        dimensions: The required number of dimensions (3 for images, 1 for labels); None for any.

    Raises:
        FileNotFound: There is no such file, or it cannot be read.
        BadInput: The file is not an IDX file of unsigned bytes, or is damaged, too short or too
            long.
    """
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            return _parse_idx(path, gzip.GzipFile(fileobj=raw) if zipped else raw, dimensions)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadInput(f"{path} is a damaged gzip file: {error}") from error
    except OSError as error:
        raise FileNotFound(f"cannot read {path}: {error.strerror or error}") from error


def _parse_idx(
    path: Path, file: IO[bytes] | gzip.GzipFile, dimensions: int | None
) -> npt.NDArray[np.uint8]:
    magic = file.read(4)
    if not magic:
        raise BadInput(f"{path} is empty (0 bytes); copy it again")
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise BadInput(f"{path} is not an IDX file: it begins with {magic.hex(' ')}")
    if magic[2] != _UINT8:
        raise BadInput(f"{path}: element type 0x{magic[2]:02x}, expected 0x08 (unsigned byte)")
    rank = magic[3]
    if rank == 0 or (dimensions is not None and rank != dimensions):
        raise BadInput(f"{path}: {rank} dimensions, expected {dimensions or 'at least 1'}")
    header = file.read(4 * rank)
    if len(header) < 4 * rank:
        raise BadInput(f"{path} is truncated in its header")
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4"))
    size = math.prod(shape)
    if size > _MAX_BYTES:
        raise BadInput(f"{path} claims an absurd shape, {list(shape)}")
    content = file.read(size + 1)
    if len(content) < size:
        raise BadInput(f"{path} is truncated: {len(content)} of {size} bytes for {list(shape)}")
    if len(content) > size:
        raise BadInput(f"{path} has more data than its shape {list(shape)} says")
    return np.frombuffer(content, np.uint8).reshape(shape)


def write_idx(path: Path, array: npt.NDArray[np.uint8]) -> None:
    """Write an IDX file atomically; compress it when the name ends in ``.gz``.

    The same array gives the same bytes, because the gzip header has no time and no name.

    Raises:
        BadInput: The array has another dtype than uint8, or no dimension.
    """
    if array.dtype != np.uint8 or array.ndim == 0:
        raise BadInput(f"an IDX file takes uint8 arrays, not {array.dtype}[{array.ndim}-d]")
    content = _idx_bytes(array)
    if path.suffix == ".gz":
        content = gzip.compress(content, compresslevel=9, mtime=0)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def _idx_bytes(array: npt.NDArray[np.uint8]) -> bytes:
    header = bytes([0, 0, _UINT8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.tobytes()


def stratified_indices(
    labels: npt.NDArray[np.int64], count: int, *, seed: tuple[int, ...]
) -> npt.NDArray[np.int64]:
    """Draw images without replacement so that every class keeps its share.

    The share of each class is rounded by the largest-remainder method. Returns ascending indices
    into ``labels`` [N]; BadInput when ``count`` is not between 1 and N.
    """
    if not 1 <= count <= len(labels):
        raise BadInput(f"cannot draw {count} of {len(labels)} images")
    sizes = np.bincount(labels)
    shares = sizes * count // len(labels)
    remainders = sizes * count % len(labels)
    largest = np.argsort(-remainders, kind="stable")[: count - shares.sum()]
    shares[largest] += 1
    generator = np.random.default_rng(seed)
    drawn = [
        generator.choice(np.flatnonzero(labels == digit), size=share, replace=False)
        for digit, share in enumerate(shares)
    ]
    return np.sort(np.concatenate(drawn))


def sample_dir() -> Path:
    """Return the folder of the embedded sample; FileNotFound where the installation lacks it."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "mnist_sample", package.parents[1] / "data" / "mnist_sample"):
        if folder.is_dir():
            return folder
    raise FileNotFound(f"the embedded MNIST sample is missing from {package}: reinstall lenet_cpp")


def paddle_cache_dir() -> Path:
    """Return the folder where Paddle's own loader keeps MNIST."""
    return Path.home() / ".cache" / "paddle" / "dataset" / "mnist"


def load_mnist(data_dir: Path | None = None, *, download: bool = False) -> Mnist:
    """Find and read MNIST.

    The first applicable source is used: ``data_dir``; Paddle's cache when it has all four files;
    a download into that cache when ``download`` is set; the embedded sample.

    Args:
        data_dir: A folder with the four IDX files, gzipped or not.
        download: Fetch the full data set by Paddle's own loader when the cache is incomplete.

    Raises:
        lenet_cpp.Error: As :func:`read_mnist_dir`, and ``BackendFailure`` when the download failed
            or stalled.
    """
    if data_dir is not None:
        return read_mnist_dir(data_dir)
    cache = paddle_cache_dir()
    if not all(_find(cache, name) for name in IDX_FILES):
        if not download:
            return read_mnist_dir(sample_dir(), kind="sample")
        download_mnist(cache, [f"{name}.gz" for name in IDX_FILES])
    return read_mnist_dir(cache)


def read_mnist_dir(folder: Path, *, kind: str | None = None) -> Mnist:
    """Read the four IDX files of a folder.

    Args:
        folder: The folder with ``train-images-idx3-ubyte`` and so on, each with or without
            ``.gz``.
        kind: The kind of data; the checksums decide when None.

    Raises:
        FileNotFound: The folder or a file is missing.
        BadInput: A file is damaged, does not fit the other file of its split, or has the size but
            not the MD5 of the full data set's file.
    """
    if not folder.is_dir():
        raise FileNotFound(f"there is no folder {folder}: check the path")
    arrays: dict[str, npt.NDArray[np.uint8]] = {}
    md5 = {}
    for name, full_md5 in IDX_FILES.items():
        path = _find(folder, name)
        if path is None:
            raise FileNotFound(f"{folder} has neither {name}.gz nor {name}")
        array = read_idx(path, dimensions=3 if "images" in name else 1)
        md5[name] = hashlib.md5(_idx_bytes(array), usedforsecurity=False).hexdigest()
        if len(array) == _FULL_COUNTS[name.partition("-")[0]] and md5[name] != full_md5:
            raise BadInput(
                f"{path} has the size of MNIST's file but not its contents (MD5 {md5[name]},"
                f" expected {full_md5}): it is damaged or is another data set"
            )
        arrays[name] = array
    kind = kind or ("full" if md5 == IDX_FILES else "other")
    return Mnist(_split(folder, arrays, "train"), _split(folder, arrays, "t10k"), kind, folder, md5)


def _find(folder: Path, name: str) -> Path | None:
    candidates = (folder / f"{name}.gz", folder / name)
    return next((path for path in candidates if path.is_file()), None)


def _split(folder: Path, arrays: dict[str, npt.NDArray[np.uint8]], prefix: str) -> Split:
    images = arrays[f"{prefix}-images-idx3-ubyte"]
    labels = arrays[f"{prefix}-labels-idx1-ubyte"]
    where = f"the {prefix} files of {folder}"
    if images.shape[1:] != (28, 28):
        raise BadInput(f"{where}: images of {list(images.shape[1:])}, expected [28, 28]")
    if len(images) != len(labels):
        raise BadInput(f"{where}: {len(images)} images but {len(labels)} labels")
    if len(labels) == 0:
        raise BadInput(f"{where} are empty")
    if labels.max() > 9:
        raise BadInput(f"{where}: label {labels.max()}, expected 0 to 9")
    return Split(images, labels.astype(np.int64))
