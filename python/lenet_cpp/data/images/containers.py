"""Reduce a JPEG or PNG to the parts with its pixels and its orientation, before Pillow reads it.

A file may hold any number of other parts, and Pillow's work on them can grow with the square of
the file's size, or a thousand times as fast as the file.
"""

import math
import re
import struct
import zlib

from lenet_cpp.errors import BadInput

MAX_SCANS = 100
"""The largest number of scans in a JPEG. libtiff and our C++ code have the same limit."""

SCANS_OF_LARGEST_IMAGE = 16
"""A JPEG's scans times its pixels are at most this many times the limit of pixels.

Each scan may pass over all pixels, even one of few bytes. Cameras and encoders write about 10
scans. Our C++ code has the same limit.
"""

_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"

# Bytes of ones before a marker are padding; zeros, TEM and restarts stand within data.
_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd7])")
_END_OF_IMAGE, _SCAN, _APP1 = 0xD9, 0xDA, 0xE1
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
# Frames and Huffman tables, a scan, quantization, restart intervals, JFIF's and Adobe's markers.
_JPEG_PARTS = frozenset({*range(0xC0, 0xD0), _SCAN, 0xDB, 0xDD, 0xE0, 0xEE})
_PNG_PARTS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf", b"IEND"})


def is_jpeg_or_png(prefix: bytes) -> bool:
    """Return whether a file that begins with these bytes is a JPEG or PNG."""
    return prefix.startswith((_JPEG, _PNG))


def essential_parts(content: bytes, name: str, max_pixels: int) -> bytes:
    """Return a JPEG or PNG without the parts that its pixels do not need.

    Damaged parts are left to Pillow. ``name`` is the image's in errors. ``max_pixels`` is the
    limit of pixels, which the caller checks.

    Raises:
        BadInput: A JPEG has more than :data:`MAX_SCANS` scans, or more than
            :data:`SCANS_OF_LARGEST_IMAGE` times ``max_pixels`` pixels in all scans together, or a
            segment of less than 2 bytes; or the checksum of a PNG's chunk is wrong.
    """
    if content.startswith(_JPEG):
        return b"".join(_jpeg_parts(content, name, max_pixels))
    return b"".join(_png_parts(content, name))


def _jpeg_parts(content: bytes, name: str, max_pixels: int) -> list[memoryview]:
    view = memoryview(content)
    height = width = 0  # of the largest frame: a valid file has one
    parts = [view[:2]]
    at = 2
    scans = 0
    exif_seen = False
    while found := _MARKER.search(content, at):
        marker = found[1][0]
        if marker == _END_OF_IMAGE:
            parts.append(view[found.start() : found.end()])
            break
        length = int.from_bytes(view[found.end() : found.end() + 2], "big")
        if length < 2:  # of which it is itself the first two bytes
            raise BadInput(
                f"{name} is truncated or damaged (a segment of {length} bytes): copy or save it"
                " anew"
            )
        at = found.end() + length
        if marker in _FRAMES and len(size := content[found.end() + 3 : found.end() + 7]) == 4:
            height, width = max((height, width), struct.unpack(">HH", size), key=math.prod)
        if marker == _SCAN:
            scans += 1
            if scans > MAX_SCANS:
                raise BadInput(
                    f"{name} is a JPEG of more than {MAX_SCANS} scans, each of which may take as"
                    " long as an image: save it anew, as baseline JPEG or PNG"
                )
            following = _MARKER.search(content, at)
            at = following.start() if following else len(content)
        is_exif = marker == _APP1 and content.startswith(b"Exif\0\0", found.end() + 2)
        if marker in _JPEG_PARTS or (is_exif and not exif_seen):
            parts.append(view[found.start() : at])
        exif_seen = exif_seen or is_exif
    most = SCANS_OF_LARGEST_IMAGE * max_pixels
    if width * height <= max_pixels and scans * width * height > most:
        raise BadInput(
            f"{name} has {scans} scans of {width} x {height} pixels, together over the limit of"
            f" {most}: save it anew, as baseline JPEG or PNG"
        )
    return parts


def _png_parts(content: bytes, name: str) -> list[memoryview]:
    view = memoryview(content)
    parts = [view[: len(_PNG)]]
    at = len(_PNG)
    while at + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        end = at + 12 + length
        if kind in _PNG_PARTS or end > len(content):
            parts.append(view[at:end])
        elif zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            raise BadInput(
                f"{name} is truncated or damaged (the checksum of its chunk"
                f" {kind.decode('latin-1')!r} does not fit): copy or save it anew"
            )
        at = end
        if kind == b"IEND":
            break
    else:
        parts.append(view[at:])
    return parts
