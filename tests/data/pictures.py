"""Pictures for the tests of images, and what is asked of every error."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from lenet_cpp.data import images


def random_pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).integers(0, 256, shape, dtype=np.uint8)


def png(
    width: int, height: int, depth: int, colour: int, rows: bytes, *, more: bytes = b""
) -> bytes:
    """A PNG by its definition; ``rows`` has a filter byte before each row."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    extra = chunk(more[:4], more[4:]) if more else b""
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + data + chunk(b"IEND", b"")


def read(source: object, mode: str = "RGB") -> np.ndarray:
    return np.asarray(images.read_image(source, mode))


def one_line(error: BaseException, path: Path) -> bool:
    return str(path) in str(error) and "\n" not in str(error)
