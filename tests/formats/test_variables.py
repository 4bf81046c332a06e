"""Files of variables, by the definition of the format and as Paddle writes them."""

import struct

import numpy as np
import paddle
import pytest

from lenet_cpp import errors
from lenet_cpp.formats.tensors import read_combined, read_variable

# Files of variables.


def variable(values, kind, *, packed):
    """A variable's file, from the definition of the format; for fewer than 128 in a dimension."""
    dims = bytes(values.shape)
    shape = (
        bytes([0x12, len(dims)]) + dims if packed else b"".join(b"\x10" + bytes([n]) for n in dims)
    )
    message = bytes([0x08, kind]) + shape
    return struct.pack("<IQIi", 0, 0, 0, len(message)) + message + values.tobytes()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("dtype", "kind"), [("float32", 5), ("float64", 6), ("int64", 3), ("uint8", 20), ("bool", 0)]
)
def test_variables_by_definition(dtype, kind, packed, tmp_path):
    values = np.arange(24).reshape(2, 3, 4).astype(dtype)
    (tmp_path / "v").write_bytes(variable(values, kind, packed=packed))
    found = read_variable(tmp_path / "v")
    assert found.dtype == values.dtype
    assert np.array_equal(found, values)
    two = variable(values, kind, packed=packed) + variable(values[0], kind, packed=packed)
    (tmp_path / "two").write_bytes(two)
    both = read_combined(tmp_path / "two", ["b_10", "b_9"])
    assert [value.shape for value in both.values()] == [(2, 3, 4), (3, 4)]
    assert list(both) == ["b_10", "b_9"]  # as text: 1 comes before 9
    (tmp_path / "none").write_bytes(variable(values[:0], kind, packed=packed))
    assert read_variable(tmp_path / "none").shape == (0, 3, 4)


def test_variables_as_paddle_writes_them(tmp_path):
    values = np.random.default_rng(0).random((300, 2, 1)).astype("float32")
    paddle.save(paddle.to_tensor(values), str(tmp_path / "v"), use_binary_format=True)
    assert np.array_equal(read_variable(tmp_path / "v"), values)


def shaped(shape):
    """What stands before the float32 values of a variable."""
    message = b"\x08\x05" + b"".join(b"\x10" + varint(size) for size in shape)
    return struct.pack("<IQIi", 0, 0, 0, len(message)) + message


def varint(value):
    more = value >> 7
    return bytes([value & 127 | 128]) + varint(more) if more else bytes([value])


GOOD = variable(np.ones((2, 3), np.float32), 5, packed=False)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", errors.BadModel),
        (GOOD[:-1], errors.BadModel),
        (GOOD + b"\0", errors.BadModel),
        (b"\1" + GOOD[1:], errors.BadModel),  # another version
        (GOOD[:16] + struct.pack("<i", -1) + GOOD[20:], errors.BadModel),
        (GOOD[:16] + struct.pack("<i", 1 << 30) + GOOD[20:], errors.BadModel),
        (GOOD[:21] + bytes([22]) + GOOD[22:-12], errors.Unsupported),  # bfloat16, of half the size
        (GOOD[:16] + struct.pack("<i", 4) + GOOD[22:], errors.BadModel),  # no type
        (struct.pack("<IQIi", 0, 0, 0, 4) + b"\x0a\0\x10\1\1", errors.BadModel),  # nor a number
        (shaped([0, 1 << 62, 1 << 62]), errors.Unsupported),
        (shaped([1] * 100) + b"\0" * 4, errors.Unsupported),
        (GOOD[:23] + b"\x7f" + GOOD[24:], errors.BadModel),  # longer than the file
        (b"\x80\x04" + GOOD, errors.BadModel),  # a pickle
        (GOOD[:20] + b"\xff" * 6 + GOOD[26:], errors.BadModel),
    ],
)
def test_damaged_variable(content, error, tmp_path):
    (tmp_path / "v").write_bytes(content)
    with pytest.raises(error, match=str(tmp_path / "v")):
        read_variable(tmp_path / "v")
