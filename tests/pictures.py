"""Pictures for the tests of images, and what is asked of every error."""

import struct
import zlib
from contextlib import contextmanager

import numpy as np
import pytest

from lenet_cpp.data import images


def random_pixels(*shape):
    return np.random.default_rng(shape).integers(0, 256, shape, dtype=np.uint8)


def png(width, height, depth, colour, rows, *, more=b""):
    """A PNG by its definition; ``rows`` has a filter byte before each row."""

    def chunk(name, data):
        body = name + data
        return struct.pack(f">I{len(body)}sI", len(data), body, zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    extra = chunk(more[:4], more[4:]) if more else b""
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + data + chunk(b"IEND", b"")


def read(source, mode="RGB"):
    return np.asarray(images.read_image(source, mode))


@contextmanager
def refused(kind, problem, name=""):
    """Expect an error of one line that has the problem, a pattern, and the name."""
    with pytest.raises(kind, match=problem or None) as caught:
        yield caught
    assert str(name) in str(caught.value)
    assert "\n" not in str(caught.value)
