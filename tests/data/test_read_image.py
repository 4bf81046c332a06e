"""From image files to pixels: every format and depth, what is damaged, what is too large."""

import io
import os
import struct
import sys
import types
import warnings
import zlib
from importlib.machinery import ModuleSpec

import numpy as np
import pytest
from PIL import Image, ImageSequence, features

import lenet_cpp
from lenet_cpp.data import images
from lenet_cpp.data.images import read_image
from lenet_cpp.data.images.containers import essential_parts
from pictures import png, random_pixels, read, refused
from snippets import run_command


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def saved(pixels, kind, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def over_white(values, alpha):
    exact = (values.astype(float) * alpha + 255.0 * (255 - alpha)) / 255
    return np.floor(exact + 0.5).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm", "webp"])
def test_rgb_files_are_read_as_they_are(tmp_path, suffix):
    pixels = random_pixels(13, 21, 3)
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(pixels).save(path, lossless=True)
    assert np.array_equal(read(path), pixels)
    assert np.array_equal(read(str(path)), pixels)


def test_grey_and_colour_become_each_other(tmp_path):
    """ITU-R 601 in 16-bit fixed point, and the value three times."""
    pixels = random_pixels(50, 60, 3)
    expected = (pixels @ np.array([19595, 38470, 7471]) + 32768) >> 16
    assert np.array_equal(read(Image.fromarray(pixels), "L"), expected)
    Image.fromarray(grey := random_pixels(7, 5)).save(tmp_path / "grey.png")
    assert np.array_equal(read(tmp_path / "grey.png"), np.stack([grey] * 3, axis=2))
    assert np.array_equal(read(tmp_path / "grey.png", "L"), grey)


def test_alpha_is_composed_over_white(tmp_path):
    pixels = random_pixels(40, 50, 4)
    expected = over_white(pixels[..., :3], pixels[..., 3:])
    for name in ("rgba.png", "rgba.tiff"):
        Image.fromarray(pixels).save(tmp_path / name)
        assert np.array_equal(read(tmp_path / name), expected)
    grey = random_pixels(30, 20, 2)
    Image.fromarray(grey, "LA").save(tmp_path / "la.png")
    assert np.array_equal(read(tmp_path / "la.png", "L"), over_white(grey[..., 0], grey[..., 1]))


@pytest.mark.parametrize(
    ("value", "alphas", "over"),
    [
        (255, (0, 51, 0, 255), 0),
        (240, (0, 255, 0, 0), 0),
        (239, (0, 255, 0, 0), 255),  # dark enough to be seen on white
        (255, (0, 255, 255, 0), 255),  # half is opaque: as a sheet with its corners cut off
        (255, (0, 0, 0, 0), 255),
    ],
)
def test_what_white_would_hide_is_composed_over_black(tmp_path, value, alphas, over):
    pixels = np.array([[[value, alpha] for alpha in alphas]], np.uint8)
    expected = [(value * alpha + over * (255 - alpha)) // 255 for alpha in alphas]
    Image.fromarray(pixels, "LA").save(tmp_path / "la.png")
    assert read(tmp_path / "la.png", "L").tolist() == [expected]
    rgba = pixels[:, :, [0, 0, 0, 1]]
    assert read(Image.fromarray(rgba)).tolist() == [[[grey] * 3 for grey in expected]]
    assert read(rgba, "L").tolist() == [expected]


def test_palette_with_transparency(tmp_path):
    # Entries: red opaque, green half, blue clear; the file by its definition.
    palette = b"PLTE" + bytes([255, 0, 0, 0, 255, 0, 0, 0, 255])
    rows = bytes([0, 0, 1, 2])
    plain = tmp_path / "palette.png"
    plain.write_bytes(png(3, 1, 8, 3, rows, more=palette))
    assert read(plain).tolist() == [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]
    image = Image.open(plain)
    image.load()
    image.save(tmp_path / "clear.png", transparency=bytes([255, 128, 0]))
    assert read(tmp_path / "clear.png").tolist() == [[[255, 0, 0], [127, 255, 127], [255] * 3]]
    image.save(tmp_path / "clear.gif", transparency=2)
    assert read(tmp_path / "clear.gif").tolist() == [[[255, 0, 0], [0, 255, 0], [255] * 3]]


def test_a_transparent_colour_is_white(tmp_path):
    path = tmp_path / "key.png"
    # Grey of 8 bits, of which 7 is transparent; RGB, of which (1, 2, 3) is.
    path.write_bytes(png(3, 1, 8, 0, bytes([0, 5, 7, 9]), more=b"tRNS\x00\x07"))
    assert read(path, "L").tolist() == [[5, 255, 9]]
    rows = bytes([0, 1, 2, 3, 3, 2, 1])
    path.write_bytes(png(2, 1, 8, 2, rows, more=b"tRNS\x00\x01\x00\x02\x00\x03"))
    assert read(path).tolist() == [[[255] * 3, [3, 2, 1]]]


def test_16_bit_samples_become_their_high_byte(tmp_path):
    def rows_of(samples):
        return b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)

    values = np.random.default_rng(0).integers(0, 1 << 16, (9, 11), dtype=np.uint16)
    rows = rows_of(values)
    (tmp_path / "grey.png").write_bytes(png(11, 9, 16, 0, rows))
    (tmp_path / "grey.pgm").write_bytes(b"P5 11 9 65535\n" + values.astype(">u2").tobytes())
    Image.fromarray(values).save(tmp_path / "grey.tiff")
    for name in ("grey.png", "grey.pgm", "grey.tiff"):
        assert np.array_equal(read(tmp_path / name, "L"), values >> 8), name
    assert np.array_equal(read(tmp_path / "grey.png")[..., 1], values >> 8)
    assert np.array_equal(read(Image.fromarray(values), "L"), values >> 8)
    colours = np.random.default_rng(1).integers(0, 1 << 16, (4, 5, 3), dtype=np.uint16)
    (tmp_path / "rgb.png").write_bytes(png(5, 4, 16, 2, rows_of(colours)))
    assert np.array_equal(read(tmp_path / "rgb.png"), colours >> 8)
    for alpha, kind in ((2, 4), (4, 6)):
        layers = np.random.default_rng(alpha).integers(0, 1 << 16, (9, 11, alpha), dtype=np.uint16)
        (tmp_path / "alpha.png").write_bytes(png(11, 9, 16, kind, rows_of(layers)))
        upper = (layers >> 8).astype(np.uint8)
        expected = over_white(upper[..., :-1], upper[..., -1:])
        assert np.array_equal(read(tmp_path / "alpha.png")[..., : alpha - 1], expected)
    key = int(values[2, 3])
    transparent = png(11, 9, 16, 0, rows, more=b"tRNS" + struct.pack(">H", key))
    (tmp_path / "key.png").write_bytes(transparent)
    expected = np.where(values == key, 255, values >> 8)
    assert np.array_equal(read(tmp_path / "key.png", "L"), expected)


def test_a_transparent_colour_of_16_bits_is_compared_in_all_bits(tmp_path):
    """As the PNG specification says. Pillow would compare the upper 8 bits with the key's lower."""
    path = tmp_path / "key.png"
    for key in ([0x1234, 0x5678, 0x9ABC], [7, 8, 9], [0, 0, 0]):
        pixels = [key, [sample | 0xFF for sample in key], [sample & 0xFF00 for sample in key]]
        pixels += [[(sample << 8) & 0xFFFF for sample in key], [0x1234, 0x5678, 0xFFFF]]
        colours = np.array([pixels], np.uint16)
        rows = b"\0" + colours.astype(">u2").tobytes()
        path.write_bytes(png(5, 1, 16, 2, rows, more=b"tRNS" + struct.pack(">HHH", *key)))
        clear = (colours == key).all(axis=2, keepdims=True)
        expected = np.where(clear, 255, colours >> 8)
        assert np.array_equal(read(path), expected)
        assert np.array_equal(read(path.read_bytes()), expected)
        with Image.open(path) as image:
            assert np.array_equal(read(image), expected)
            assert image.mode == "RGB"
    exif = turned(3).tobytes()
    chunks = b"tRNS" + struct.pack(">HHH", *key)
    body = png(5, 1, 16, 2, rows, more=chunks)
    part = struct.pack(">I4s", len(exif), b"eXIf") + exif
    path.write_bytes(body[:33] + part + struct.pack(">I", zlib.crc32(part[4:])) + body[33:])
    assert np.array_equal(read(path), expected[:, ::-1])


def test_depth_of_an_image_that_pillow_has_loaded(tmp_path):
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    Image.fromarray(values).save(tmp_path / "grey.png")
    with Image.open(tmp_path / "grey.png") as image:
        for each in (image, image, Image.fromarray(values)):
            assert np.array_equal(np.asarray(read_image(each, "L", depth=12)), values >> 4)
    for wrong in (8, 13, 20):
        with pytest.raises(lenet_cpp.BadInput, match="expected 10, 12, 14 or 16"):
            read_image(tmp_path / "grey.png", "L", depth=wrong)


def test_depth_is_how_many_bits_16_bit_samples_have(tmp_path):
    values = np.random.default_rng(0).integers(0, 4096, (9, 11), dtype=np.uint16)
    values[0, 0] = 4095
    Image.fromarray(values).save(tmp_path / "grey.png")
    Image.fromarray(values).save(tmp_path / "grey.tiff")
    for path in (tmp_path / "grey.png", tmp_path / "grey.tiff"):
        assert np.array_equal(np.asarray(read_image(path, "L", depth=12)), values >> 4)
        assert np.array_equal(np.asarray(read_image(path, "L", depth=14)), values >> 6)
        with pytest.warns(UserWarning, match="no sample of this 16-bit picture is above 4,095"):
            assert np.array_equal(read(path, "L"), values >> 8)
        with pytest.raises(
            lenet_cpp.BadInput, match="a sample of 4095, which needs more than the 10 bits"
        ):
            read_image(path, "L", depth=10)
    values[0, 0] = 4096
    Image.fromarray(values).save(tmp_path / "grey.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read(tmp_path / "grey.png", "L")
        rows = b"\0" + np.array([[16, 0, 4096]], ">u2").tobytes()
        (tmp_path / "rgb.png").write_bytes(png(1, 1, 16, 2, rows))
        read(tmp_path / "rgb.png")
    rows = b"\0" + np.array([[16, 4095, 0]], ">u2").tobytes()
    (tmp_path / "rgb.png").write_bytes(png(1, 1, 16, 2, rows))
    with pytest.warns(UserWarning, match=r"rgb\.png: no sample"):
        read(tmp_path / "rgb.png")
    with pytest.raises(lenet_cpp.Unsupported, match="Pillow reads the upper 8 bits only"):
        read_image(tmp_path / "rgb.png", "RGB", depth=12)
    eight = saved(np.full((2, 2), 200, np.uint8), "PNG")
    assert np.asarray(read_image(eight, "L", depth=12)).max() == 200


def test_one_bit_images(tmp_path):
    (tmp_path / "bits.png").write_bytes(png(8, 1, 1, 0, bytes([0, 0b10110001])))
    assert read(tmp_path / "bits.png", "L").tolist() == [[255, 0, 255, 255, 0, 0, 0, 255]]


def test_cmyk(tmp_path):
    inks = {(0, 0, 0, 0): [255] * 3, (0, 0, 0, 255): [0] * 3, (255, 0, 0, 0): [0, 255, 255]}
    for number, (ink, colour) in enumerate(inks.items()):
        for suffix in ("tiff", "jpg"):
            path = tmp_path / f"{number}.{suffix}"
            Image.new("CMYK", (8, 8), ink).save(path)
            assert np.abs(read(path).astype(int) - colour).max() <= 2, (ink, suffix)


# What EXIF says row 0 and column 0 of the stored image are: the turn that makes it upright.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", [*UPRIGHT])
@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
def test_exif_orientation(tmp_path, orientation, suffix):
    pixels = random_pixels(6, 9, 3)
    path = tmp_path / f"turned.{suffix}"
    Image.fromarray(pixels).save(path, exif=turned(orientation), lossless=True)
    assert np.array_equal(read(path), UPRIGHT[orientation](pixels))
    with Image.open(path) as image:
        assert np.array_equal(read(image), UPRIGHT[orientation](pixels))


def test_jpeg_is_turned_too(tmp_path):
    pixels = np.zeros((40, 80), np.uint8)
    pixels[:, :40] = 255
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=turned(6), quality=95)
    upright = read(tmp_path / "turned.jpg", "L")
    # Damaged, it does not stop the picture.
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff")
    assert np.array_equal(read(tmp_path / "a.png", "L"), pixels)
    assert upright.shape == (80, 40)
    assert upright[:38].min() > 250
    assert upright[42:].max() < 5


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tiff"])
def test_the_first_frame_of_an_animation(tmp_path, suffix):
    first, *more = (Image.new("RGB", (5, 4), colour) for colour in ("red", "lime", "blue"))
    path = tmp_path / f"frames.{suffix}"
    first.save(path, save_all=True, append_images=more, lossless=True)
    with Image.open(path) as image:
        assert sum(1 for _ in ImageSequence.Iterator(image)) == 3
    assert (read(path) == [255, 0, 0]).all()


def test_a_pillow_image_is_not_changed():
    image = Image.fromarray(random_pixels(5, 6, 4))
    before = image.copy()
    images.read_image(image, "L")
    assert image == before


@pytest.mark.parametrize("mode", ["F", "I"])
def test_samples_without_a_white_are_refused(tmp_path, mode):
    path = tmp_path / "samples.tiff"
    Image.new(mode, (4, 4), 1).save(path)
    for source, name in ((path, str(path)), (Image.new(mode, (4, 4)), "the image")):
        with refused(lenet_cpp.BadInput, "white is not known: save it with", name):
            images.read_image(source, "L")


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tiff", "webp", "ppm"])
def test_truncated_files_are_refused(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(random_pixels(40, 40, 3)).save(path)
    whole = path.read_bytes()
    for size in (1, 10, 17, 40, len(whole) // 3, len(whole) // 2, len(whole) * 9 // 10):
        path.write_bytes(whole[:size])
        with refused(lenet_cpp.BadInput, "", path):
            read(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tiff", "webp", "ppm"])
def test_damaged_files_give_an_image_or_bad_input(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(random_pixels(20, 20, 3)).save(path, exif=turned(6))
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    refusals = []
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(random.integers(1, 6)):
            damaged[random.integers(min(len(whole), 300))] = random.integers(256)
        path.write_bytes(damaged)
        try:
            read(path)
        except lenet_cpp.BadInput as error:
            refusals.append(str(error))
    assert refusals
    assert all(str(path) in error and "\n" not in error for error in refusals)


def of_scans(count):
    """A progressive JPEG whose last scan, which refines one bit, stands there again and again."""
    body = saved(np.full((16, 16), 200, np.uint8), "JPEG", progressive=True)[:-2]
    last = body.rindex(b"\xff\xda")
    return body + body[last:] * (count - body.count(b"\xff\xda")) + b"\xff\xd9"


def test_a_jpeg_of_many_scans_is_refused(tmp_path):
    path = tmp_path / "scans.jpg"
    path.write_bytes(of_scans(100))
    assert (read(path, "L") == 200).all()
    path.write_bytes(of_scans(101))
    with refused(lenet_cpp.BadInput, r"more than 100 scans.*: save it anew", path):
        read(path)
    # Not decoded yet; and one that is in memory.
    with Image.open(path) as image, pytest.raises(lenet_cpp.BadInput, match="100 scans"):
        read(image)
    image = Image.open(io.BytesIO(of_scans(100)))
    assert (read(image, "L") == 200).all()
    assert (read(image, "L") == 200).all()


def test_scans_and_pixels_of_a_jpeg_are_limited_together():
    """As in C++, of which tests/serve has the same picture: 16 times the limit of pixels."""
    content = of_scans(20)
    assert essential_parts(content, "it", 320)
    with pytest.raises(lenet_cpp.BadInput, match=r"it has 20 scans of 16 x 16 pixels.* of 5104:"):
        essential_parts(content, "it", 319)


def test_images_in_memory():
    """Bytes are read as the file they would be; Pillow images that were never files, JPEG too."""
    pixels = random_pixels(5, 6, 3)
    content = saved(pixels, "PNG")
    assert np.array_equal(read(content), pixels)
    assert np.array_equal(read(bytearray(content)), pixels)
    # Without the end of the file, of 12 bytes, and with another chunk there, whose checksum is 0.
    last = content[:-12] + struct.pack(">I4sI", 0, b"tEXt", 0)
    for content, problem in (
        (b"", "is empty"),
        (b"text", "is not an image"),
        (b"GIF89a", "damag"),
        (last, "the checksum of its chunk 'tEXt' does not fit"),
    ):
        with pytest.raises(lenet_cpp.BadInput, match=f"^the image .*{problem}"):
            read(content)
    content = saved(random_pixels(10, 20, 3), "JPEG")
    assert read(Image.open(io.BytesIO(content))).shape == (10, 20, 3)
    with pytest.raises(lenet_cpp.BadInput, match="the image is truncated or damaged"):
        read(Image.open(io.BytesIO(content[:-4])))


def test_pillow_gets_only_what_the_pixels_need():
    """Its work on other parts grows with their square, or a thousand times as fast as the file."""
    jpeg = saved(random_pixels(8, 8, 3), "JPEG", exif=turned(6), progressive=True)
    first = jpeg.index(b"\xff\xdb")  # after the JFIF and Exif segments
    more = b"\xff\xe1\0\x0aExif\0\0ab\xff\xe2\0\x04ab\xff\xfe\0\x04ab" * 3
    assert essential_parts(jpeg[:first] + more + jpeg[first:] + more, "", 64) == jpeg

    png_file = saved(random_pixels(8, 8, 4), "PNG", exif=turned(6))
    text = struct.pack(">I", 4) + b"zTXta\0\0a" + struct.pack(">I", zlib.crc32(b"zTXta\0\0a"))
    at = png_file.index(b"IDAT") - 4
    assert essential_parts(png_file[:at] + text * 3 + png_file[at:] + text, "", 64) == png_file
    with pytest.raises(lenet_cpp.BadInput, match="checksum of its chunk 'zTXt'"):
        read(png_file[:at] + text.replace(b"a", b"b") + png_file[at:])


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_large_exif_data_are_read_for_the_orientation_alone(kind):
    """Each of 28,000 values is all of the data, of which Pillow would make 9 GB."""
    entries = [struct.pack(">HHII", 0x0112, 3, 1, 6 << 16)]
    entries += [struct.pack(">HHII", 0x9000 + i, 7, 330_000, 8) for i in range(28_000)]
    tiff = b"MM\0*" + struct.pack(">IH", 8, 65_535) + b"".join(sorted(entries))
    pixels = random_pixels(6, 9, 3)
    file = saved(pixels, kind, exif=b"Exif\0\0" + tiff, lossless=True)
    assert np.array_equal(read(file), UPRIGHT[6](pixels))


def test_exif_of_each_orientation_is_pillows_where_it_is_large():
    pixels = random_pixels(6, 9, 3)
    for orientation, expected in UPRIGHT.items():
        exif = turned(orientation)
        exif[0x010E] = "x" * 5000
        assert np.array_equal(read(saved(pixels, "PNG", exif=exif)), expected(pixels))


HEIC = struct.pack(">I", 28) + b"ftypheic\0\0\0\0mif1heicmiaf"


def test_a_heic_needs_pillow_heif(tmp_path, monkeypatch):
    """Say what to install; with the package, its class reads the file, and Pillow stays alike."""
    pixels = random_pixels(5, 7, 3)
    content = HEIC + saved(pixels, "PNG")
    (tmp_path / "x.jpg").write_bytes(content)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    problem = r"is a HEIC: .* pip install pillow-heif; or save it anew as PNG or JPEG"
    with refused(lenet_cpp.Unsupported, problem, tmp_path / "x.jpg"):
        read(tmp_path / "x.jpg")
    standin = types.ModuleType("pillow_heif")
    standin.__spec__ = ModuleSpec("pillow_heif", None)
    standin.HeifImageFile = lambda file, _: Image.open(io.BytesIO(file.read()[len(HEIC) :]))
    monkeypatch.setitem(sys.modules, "pillow_heif", standin)
    assert np.array_equal(read(content), pixels)
    assert np.array_equal(read(tmp_path / "x.jpg"), pixels)
    with pytest.raises(lenet_cpp.BadInput, match="the image is truncated or damaged"):
        read(HEIC)
    assert "HEIF" not in Image.OPEN
    for film in (b"isom\0\0\2\0isomiso2mp41", b"qt  ", b""):
        with pytest.raises(lenet_cpp.BadInput, match="is not an image"):
            read(b"\0\0\0\x1cftyp" + film)


def test_pillow_heif_and_pillow_read_heic_and_avif(monkeypatch):
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    row, column = np.mgrid[:64, :96].astype(np.uint8)
    pixels = np.stack([2 * row, 2 * column, row + column], axis=2)
    file = io.BytesIO()
    heif.from_bytes("RGB", pixels.shape[1::-1], pixels.tobytes()).save(file, quality=95)
    given = read(file.getvalue()).astype(int)
    assert np.abs(given - pixels).mean() < 2
    if not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    content = saved(pixels, "AVIF", quality=95)
    given = read(content).astype(int)
    assert np.abs(given - pixels).mean() < 2
    with pytest.raises(lenet_cpp.BadInput, match="the image is truncated or damaged"):
        read(content[:100])
    monkeypatch.delitem(Image.OPEN, "AVIF")
    with pytest.raises(lenet_cpp.Unsupported, match=r"is an AVIF.* pip install 'pillow>=11.3'"):
        read(content)


def test_what_is_not_an_image_file(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not an image\n")
    (tmp_path / "plot.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    os.mkfifo(tmp_path / "pipe.png")
    for name, problem in {
        "empty.png": "is empty",
        "text.png": "is not an image .*: save it anew as PNG or JPEG",
        "plot.eps": "is not an image",  # no renderer is started
        "pipe.png": "not a regular file",
        ".": "is a folder",
    }.items():
        with refused(lenet_cpp.BadInput, problem, tmp_path / name):
            read(tmp_path / name)
    for path in (tmp_path / "missing.png", tmp_path / ("long" * 100)):
        with refused(lenet_cpp.FileNotFound, "", path):
            read(path)
    with pytest.raises(lenet_cpp.FileNotFound):
        read("null\0.png")
    for source, mode, problem in ((3, "RGB", "got int"), (tmp_path / "text.png", "CMYK", "mode")):
        with pytest.raises(lenet_cpp.BadInput, match=problem):
            read(source, mode)


def test_unreadable_file(tmp_path):
    path = tmp_path / "secret.png"
    Image.new("L", (3, 3)).save(path)
    path.chmod(0)
    code = "import sys; from lenet_cpp.data import images; images.read_image(sys.argv[1], 'L')"
    command = [sys.executable, "-c", code]
    if os.geteuid() == 0:  # who may read every file
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    last = run_command(*command, path).stderr.splitlines()[-1]
    assert last == f"lenet_cpp.errors.FileNotFound: cannot read {path}: Permission denied"


def test_bombs_are_refused_before_decoding(tmp_path):
    """In the range where Pillow only warns, too; every warning is an error here."""
    for side in (9460, 20_000, 60_000):
        # Valid headers; a decoder that went on would find the data short.
        (tmp_path / "bomb.png").write_bytes(png(side, side, 8, 2, b"\0" * 100))
        header = (100, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
        (tmp_path / "bomb.bmp").write_bytes(b"BM" + struct.pack("<IIIIiiHHIIiiII", *header))
        (tmp_path / "bomb.ppm").write_bytes(b"P6 %d %d 255\n" % (side, side))
        for path in tmp_path.iterdir():
            with refused(lenet_cpp.BadInput, f"{side} x {side} pixels, over", path):
                read(path)
    assert images.MAX_PIXELS == Image.MAX_IMAGE_PIXELS
    side = 9459  # 9459 * 9459 <= MAX_PIXELS < 9460 * 9460: without a warning
    assert images.read_image(Image.new("L", (side, side)), "L").size == (side, side)
