"""From image files to tensors: decoding, the steps, the description, the digit of a photo."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from digit_photos import KINDS, photo
from PIL import Image, ImageOps, ImageSequence

import lenet_cpp
from lenet_cpp.data import images
from lenet_cpp.data.images import CenterCrop, Digit, Normalize, Pipeline, Resize, ToCHW
from lenet_cpp.data.images.containers import essential_parts
from lenet_cpp.data.mnist import load_mnist, sample_dir
from lenet_cpp.formats.manifest import read_manifest, verify_checksums

IMAGENET_YML = """\
Global:
  infer_imgs: ./images
  inference_model_dir: ./models
PreProcess:
  transform_ops:
    - ResizeImage:
        resize_short: 256
    - CropImage:
        size: 224
    - NormalizeImage:
        scale: 0.00392157
        mean: [0.485, 0.456, 0.406]
        std: [0.229, 0.224, 0.225]
        order: ''
    - ToCHWImage:
PostProcess:
  name: Topk
  topk: 5
"""


@pytest.fixture(scope="module")
def digits():
    """The 1,000 embedded test images and their labels."""
    return load_mnist(sample_dir()).test


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


def over_white(values: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    exact = (values.astype(float) * alpha + 255.0 * (255 - alpha)) / 255
    return np.floor(exact + 0.5).astype(np.uint8)


# --- Decoding ---


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "ppm", "webp"])
def test_rgb_files_are_read_as_they_are(tmp_path: Path, suffix: str) -> None:
    pixels = random_pixels(13, 21, 3)
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(pixels).save(path, lossless=True) if suffix == "webp" else Image.fromarray(
        pixels
    ).save(path)
    assert np.array_equal(read(path), pixels)
    assert np.array_equal(read(str(path)), pixels)


def test_rgb_to_grey_is_itu_r_601_in_16_bit_fixed_point() -> None:
    pixels = random_pixels(50, 60, 3)
    red, green, blue = np.moveaxis(pixels.astype(np.int64), 2, 0)
    expected = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16
    assert np.array_equal(read(Image.fromarray(pixels), "L"), expected)


def test_grey_to_rgb_repeats_the_value(tmp_path: Path) -> None:
    pixels = random_pixels(7, 5)
    Image.fromarray(pixels).save(tmp_path / "grey.png")
    assert np.array_equal(read(tmp_path / "grey.png"), np.stack([pixels] * 3, axis=2))
    assert np.array_equal(read(tmp_path / "grey.png", "L"), pixels)


def test_alpha_is_composed_over_white(tmp_path: Path) -> None:
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
def test_what_white_would_hide_is_composed_over_black(
    tmp_path: Path, value: int, alphas: tuple[int, ...], over: int
) -> None:
    pixels = np.array([[[value, alpha] for alpha in alphas]], np.uint8)
    expected = [(value * alpha + over * (255 - alpha)) // 255 for alpha in alphas]
    Image.fromarray(pixels, "LA").save(tmp_path / "la.png")
    assert read(tmp_path / "la.png", "L").tolist() == [expected]
    rgba = pixels[:, :, [0, 0, 0, 1]]
    assert read(Image.fromarray(rgba)).tolist() == [[[grey] * 3 for grey in expected]]
    assert read(rgba, "L").tolist() == [expected]


def test_palette_with_transparency(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_transparent_colour_is_white(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "key.png"
    # Grey of 8 bits, of which 7 is transparent; RGB, of which (1, 2, 3) is.
    path.write_bytes(png(3, 1, 8, 0, bytes([0, 5, 7, 9]), more=b"tRNS\x00\x07"))
    assert read(path, "L").tolist() == [[5, 255, 9]]
    rows = bytes([0, 1, 2, 3, 3, 2, 1])
    path.write_bytes(png(2, 1, 8, 2, rows, more=b"tRNS\x00\x01\x00\x02\x00\x03"))
    assert read(path).tolist() == [[[255] * 3, [3, 2, 1]]]


def test_16_bit_samples_become_their_high_byte(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 1 << 16, (9, 11), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    (tmp_path / "grey.png").write_bytes(png(11, 9, 16, 0, rows))
    (tmp_path / "grey.pgm").write_bytes(b"P5 11 9 65535\n" + values.astype(">u2").tobytes())
    Image.fromarray(values).save(tmp_path / "grey.tiff")
    for name in ("grey.png", "grey.pgm", "grey.tiff"):
        assert np.array_equal(read(tmp_path / name, "L"), values >> 8), name
    assert np.array_equal(read(tmp_path / "grey.png")[..., 1], values >> 8)
    assert np.array_equal(read(Image.fromarray(values), "L"), values >> 8)
    colours = np.random.default_rng(1).integers(0, 1 << 16, (4, 5, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colours)
    (tmp_path / "rgb.png").write_bytes(png(5, 4, 16, 2, rows))
    assert np.array_equal(read(tmp_path / "rgb.png"), colours >> 8)
    key = int(values[2, 3])
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    transparent = png(11, 9, 16, 0, rows, more=b"tRNS" + struct.pack(">H", key))
    (tmp_path / "key.png").write_bytes(transparent)
    expected = np.where(values == key, 255, values >> 8)
    assert np.array_equal(read(tmp_path / "key.png", "L"), expected)


def test_one_bit_images(tmp_path: Path) -> None:
    (tmp_path / "bits.png").write_bytes(png(8, 1, 1, 0, bytes([0, 0b10110001])))
    assert read(tmp_path / "bits.png", "L").tolist() == [[255, 0, 255, 255, 0, 0, 0, 255]]


def test_cmyk(tmp_path: Path) -> None:
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
def test_exif_orientation(tmp_path: Path, orientation: int, suffix: str) -> None:
    pixels = random_pixels(6, 9, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    Image.fromarray(pixels).save(
        path, exif=exif, **({"lossless": True} if suffix == "webp" else {})
    )
    assert np.array_equal(read(path), UPRIGHT[orientation](pixels))
    with Image.open(path) as image:
        assert np.array_equal(read(image), UPRIGHT[orientation](pixels))


def test_jpeg_is_turned_too(tmp_path: Path) -> None:
    pixels = np.zeros((40, 80), np.uint8)
    pixels[:, :40] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    upright = read(tmp_path / "turned.jpg", "L")
    assert upright.shape == (80, 40)
    assert upright[:38].min() > 250
    assert upright[42:].max() < 5


def test_damaged_exif_does_not_stop_the_picture(tmp_path: Path) -> None:
    pixels = random_pixels(4, 4, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff")
    assert np.array_equal(read(tmp_path / "a.png"), pixels)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tiff"])
def test_the_first_frame_of_an_animation(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "lime", "blue")]
    path = tmp_path / f"frames.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    with Image.open(path) as image:
        assert sum(1 for _ in ImageSequence.Iterator(image)) == 3
    assert (read(path) == [255, 0, 0]).all()


def test_a_pillow_image_is_not_changed() -> None:
    image = Image.fromarray(random_pixels(5, 6, 4))
    before = image.copy()
    images.read_image(image, "L")
    assert image == before


@pytest.mark.parametrize("mode", ["F", "I"])
def test_samples_without_a_white_are_refused(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "samples.tiff"
    Image.new(mode, (4, 4), 1).save(path)
    for source, name in ((path, str(path)), (Image.new(mode, (4, 4)), "the image")):
        with pytest.raises(lenet_cpp.BadInput, match="white is not known: save it with") as caught:
            images.read_image(source, "L")
        assert str(caught.value).startswith(name)


def one_line(error: BaseException, path: Path) -> bool:
    return str(path) in str(error) and "\n" not in str(error)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tiff", "webp", "ppm"])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(random_pixels(40, 40, 3)).save(path)
    whole = path.read_bytes()
    for size in (1, 10, 17, 40, len(whole) // 3, len(whole) // 2, len(whole) * 9 // 10):
        path.write_bytes(whole[:size])
        with pytest.raises(lenet_cpp.BadInput) as caught:
            images.read_image(path, "RGB")
        assert one_line(caught.value, path), size


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tiff", "webp", "ppm"])
def test_damaged_files_give_an_image_or_bad_input(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(random_pixels(20, 20, 3)).save(path, exif=exif)
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    refusals = []
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(random.integers(1, 6)):
            damaged[random.integers(min(len(whole), 300))] = random.integers(256)
        path.write_bytes(damaged)
        refusals.append(refusal(path))
    assert any(refusals)
    assert all(error is None or one_line(error, path) for error in refusals)


def refusal(path: Path) -> lenet_cpp.BadInput | None:
    try:
        images.read_image(path, "RGB")
    except lenet_cpp.BadInput as error:
        return error
    return None


def of_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan, which refines one bit, stands there again and again."""
    file = io.BytesIO()
    Image.new("L", (16, 16), 200).save(file, "JPEG", progressive=True)
    body = file.getvalue()[:-2]
    last = body.rindex(b"\xff\xda")
    return body + body[last:] * (count - body.count(b"\xff\xda")) + b"\xff\xd9"


def test_a_jpeg_of_many_scans_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scans.jpg"
    path.write_bytes(of_scans(100))
    assert (read(path, "L") == 200).all()
    path.write_bytes(of_scans(101))
    with pytest.raises(lenet_cpp.BadInput, match=r"more than 100 scans.*: save it anew") as caught:
        read(path)
    assert one_line(caught.value, path)
    # Not decoded yet; and one that is in memory.
    with Image.open(path) as image, pytest.raises(lenet_cpp.BadInput, match="100 scans"):
        read(image)
    image = Image.open(io.BytesIO(of_scans(100)))
    assert (read(image, "L") == 200).all()
    assert (read(image, "L") == 200).all()


def test_bytes_of_image_files() -> None:
    """As the file they would be; what Pillow makes of it has no name."""
    file = io.BytesIO()
    pixels = random_pixels(5, 6, 3)
    Image.fromarray(pixels).save(file, "PNG")
    assert np.array_equal(read(file.getvalue()), pixels)
    assert np.array_equal(read(bytearray(file.getvalue())), pixels)
    for content, problem in ((b"", "is empty"), (b"text", "is not an image"), (b"GIF89a", "damag")):
        with pytest.raises(lenet_cpp.BadInput, match=f"^the image .*{problem}"):
            read(content)


def test_pillow_gets_only_what_the_pixels_need() -> None:
    """Its work on other parts grows with their square, or a thousand times as fast as the file."""
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(random_pixels(8, 8, 3)).save(file, "JPEG", exif=exif, progressive=True)
    jpeg = file.getvalue()
    first = jpeg.index(b"\xff\xdb")  # after the JFIF and Exif segments
    more = b"\xff\xe1\0\x0aExif\0\0ab\xff\xe2\0\x04ab\xff\xfe\0\x04ab" * 3
    assert essential_parts(jpeg[:first] + more + jpeg[first:] + more, "") == jpeg

    file = io.BytesIO()
    Image.fromarray(random_pixels(8, 8, 4)).save(file, "PNG", exif=exif)
    png_file = file.getvalue()
    text = struct.pack(">I", 4) + b"zTXta\0\0a" + struct.pack(">I", zlib.crc32(b"zTXta\0\0a"))
    at = png_file.index(b"IDAT") - 4
    assert essential_parts(png_file[:at] + text * 3 + png_file[at:] + text, "") == png_file
    with pytest.raises(lenet_cpp.BadInput, match="checksum of its chunk 'zTXt'"):
        read(png_file[:at] + text.replace(b"a", b"b") + png_file[at:])


def test_what_is_not_an_image_file(tmp_path: Path) -> None:
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
        with pytest.raises(lenet_cpp.BadInput, match=problem) as caught:
            images.read_image(tmp_path / name, "L")
        assert one_line(caught.value, tmp_path / name)
    for path in (tmp_path / "missing.png", tmp_path / ("long" * 100)):
        with pytest.raises(lenet_cpp.FileNotFound) as caught:
            images.read_image(path, "L")
        assert one_line(caught.value, path)
    with pytest.raises(lenet_cpp.FileNotFound):
        images.read_image("null\0.png", "L")
    with pytest.raises(lenet_cpp.BadInput, match="got int"):
        images.read_image(3, "L")
    with pytest.raises(lenet_cpp.BadInput, match="mode"):
        images.read_image(tmp_path / "text.png", "CMYK")


def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    Image.new("L", (3, 3)).save(path)
    path.chmod(0)
    command = [
        sys.executable,
        "-c",
        "import sys; from lenet_cpp import images; images.read_image(sys.argv[1], 'L')",
    ]
    if os.geteuid() == 0:  # who may read every file
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *command]
    done = subprocess.run([*command, path], capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert last == f"lenet_cpp.errors.FileNotFound: cannot read {path}: Permission denied"


@pytest.mark.parametrize("side", [9460, 13400, 20_000, 60_000])
def test_bombs_are_refused_before_decoding(tmp_path: Path, side: int) -> None:
    """In the range where Pillow only warns, too; every warning is an error here."""
    # Valid headers; a decoder that went on would find the data short.
    (tmp_path / "bomb.png").write_bytes(png(side, side, 8, 2, b"\0" * 100))
    (tmp_path / "bomb.bmp").write_bytes(
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 100, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    )
    (tmp_path / "bomb.ppm").write_bytes(b"P6 %d %d 255\n" % (side, side))
    for name in ("bomb.png", "bomb.bmp", "bomb.ppm"):
        path = tmp_path / name
        with pytest.raises(lenet_cpp.BadInput, match=f"{side} x {side} pixels, over") as caught:
            images.read_image(path, "RGB")
        assert one_line(caught.value, path)


def test_the_largest_image_is_read_without_a_warning() -> None:
    assert images.MAX_PIXELS == Image.MAX_IMAGE_PIXELS
    side = 9459  # 9459 * 9459 <= MAX_PIXELS < 9460 * 9460
    assert images.read_image(Image.new("L", (side, side)), "L").size == (side, side)


# --- The steps ---


@pytest.mark.parametrize("size", [(300, 400), (401, 333), (256, 700), (257, 256), (90, 61)])
def test_imagenet_is_what_paddle_makes_of_it(size: tuple[int, int]) -> None:
    from paddle.vision import transforms

    image = Image.fromarray(random_pixels(*size, 3))
    expected = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )(image).numpy()
    result = images.imagenet()(image)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    # Paddle divides by 255 where we multiply with 1/255: some units in the last place.
    assert np.abs(result - expected).max() < 1e-6


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("shape", [(31, 57), (57, 31), (40, 40), (300, 20)])
def test_image_steps_are_exactly_paddles(shape: tuple[int, int], interpolation: str) -> None:
    from paddle.vision import transforms

    image = Image.fromarray(random_pixels(*shape, 3))
    ours = Resize(short_side=24, interpolation=interpolation)(image)
    assert np.array_equal(ours, transforms.Resize(24, interpolation)(image))
    ours = Resize(size=(33, 44), interpolation=interpolation)(image)
    assert np.array_equal(ours, transforms.Resize((33, 44), interpolation)(image))
    crop = transforms.CenterCrop((17, 20))
    assert np.array_equal(CenterCrop((17, 20))(image), crop(image))


def test_the_longer_side_is_truncated() -> None:
    # 502 * 256 / 375 = 342.70, 1000 * 256 / 601 = 425.96
    assert Resize(short_side=256)(Image.new("L", (502, 375))).size == (342, 256)
    assert Resize(short_side=256)(Image.new("L", (601, 1000))).size == (256, 425)


def test_resize_leaves_the_right_size_alone() -> None:
    image = Image.fromarray(random_pixels(24, 60, 3))
    assert Resize(short_side=24)(image) is image
    assert Resize(size=(24, 60), interpolation="bicubic")(image) is image


def test_center_crop_rounds_half_to_even() -> None:
    """2.5 is cut at 2 and 3.5 at 4."""
    pixels = random_pixels(10, 12)
    crop = CenterCrop((5, 5))(Image.fromarray(pixels))
    assert np.array_equal(crop, pixels[2:7, 4:9])


def test_normalize_rounds_to_float32_after_each_operation() -> None:
    mean, std, scale = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1 / 255
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)

    def single(value: float) -> float:
        return struct.unpack("f", struct.pack("f", value))[0]

    # One operation in double, rounded to single, is the operation in single: 53 >= 2 * 24 + 2.
    expected = np.empty(pixels.shape, np.float32)
    for index, pixel in np.ndenumerate(pixels):
        t = single(float(pixel) * single(scale))
        t = single(t - single(mean[index[2]]))
        expected[index] = single(t / single(std[index[2]]))
    result = Normalize(scale, mean, std)(pixels)
    assert np.array_equal(result, expected)
    chw = ToCHW()(result)
    assert chw.flags.c_contiguous
    assert all(np.array_equal(chw[c], expected[:, :, c]) for c in range(3))


def test_bgr_is_rgb_with_the_channels_turned_round() -> None:
    image = Image.fromarray(random_pixels(4, 5, 3))
    normalize = Normalize(1.0, (1.0, 2.0, 3.0), (1.0, 1.0, 1.0))
    result = Pipeline("BGR", (normalize, ToCHW()))(image)
    blue = np.asarray(image)[..., 2]
    assert np.array_equal(result[0], blue.astype(np.float32) - 1)


def test_an_image_that_a_step_cannot_take(tmp_path: Path) -> None:
    path = tmp_path / "small.png"
    Image.new("RGB", (30, 20)).save(path)
    pipeline = Pipeline("RGB", (CenterCrop((24, 24)), *images.imagenet().steps[2:]))
    with pytest.raises(
        lenet_cpp.BadInput, match="cannot crop 24 x 24 pixels from 30 x 20"
    ) as caught:
        pipeline(path)
    assert one_line(caught.value, path)
    Image.new("L", (100_000, 1)).save(path)
    with pytest.raises(lenet_cpp.BadInput, match="25600000 x 256 is over the limit") as caught:
        images.imagenet()(path)
    assert one_line(caught.value, path)


def test_batch(tmp_path: Path) -> None:
    sources = [Image.fromarray(random_pixels(80 + i, 90, 3)) for i in range(3)]
    pipeline = images.imagenet(64)
    batch = pipeline.batch(sources)
    assert batch.shape == (3, 3, 64, 64)
    assert all(
        np.array_equal(row, pipeline(source)) for row, source in zip(batch, sources, strict=True)
    )
    with pytest.raises(lenet_cpp.BadInput, match="at least one"):
        pipeline.batch([])
    sources[2].save(tmp_path / "wide.png")
    with pytest.raises(lenet_cpp.BadInput, match=r"wide\.png: 90 x 82 pixels after .* 90 x 80"):
        Pipeline("RGB", pipeline.steps[2:]).batch([sources[0], tmp_path / "wide.png"])


def test_threads_get_the_same() -> None:
    sources = [Image.fromarray(random_pixels(60 + i, 70, 3)) for i in range(8)]
    pipeline = images.imagenet(32)
    expected = [pipeline(source) for source in sources]
    results: list[bool] = []

    def run(number: int) -> None:
        results.extend(
            np.array_equal(pipeline(sources[number]), expected[number]) for _ in range(20)
        )

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 160


# --- The description ---


def test_the_format_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "preprocess.json"
    images.imagenet().save(path)
    assert json.loads(path.read_text()) == {
        "format_version": 1,
        "mode": "RGB",
        "steps": [
            {"type": "Resize", "short_side": 256, "interpolation": "bilinear"},
            {"type": "CenterCrop", "size": [224, 224]},
            {
                "type": "Normalize",
                "scale": 0.00392156862745098,
                "mean": [0.485, 0.456, 0.406],
                "std": [0.229, 0.224, 0.225],
            },
            {"type": "ToCHW"},
        ],
    }


@pytest.mark.parametrize(
    "pipeline",
    [
        images.imagenet(),
        images.imagenet(299),
        images.digit(),
        Pipeline("L", (Resize(size=(30, 40), interpolation="bicubic"), *images.digit().steps[1:])),
        Pipeline("BGR", (Normalize(0.1, (1.0, 2.0, 1e-7), (3.0, 1 / 3, 1.0)), ToCHW())),
    ],
)
def test_descriptions_come_back_the_same(tmp_path: Path, pipeline: Pipeline) -> None:
    pipeline.save(tmp_path / "preprocess.json")
    assert Pipeline.load(tmp_path / "preprocess.json") == pipeline
    assert Pipeline.from_dict(pipeline.to_dict()) == pipeline


def changed(change: object) -> str:
    document = images.imagenet().to_dict()
    change(document)
    return json.dumps(document)


BAD_DESCRIPTIONS = {
    "": "Expecting value",
    "{": "Expecting",
    "[]": "the document: expected an object",
    "[" * 100_000: "recursion|depth|nest",
    '{"format_version": 1, "mode": "L", "mode": "RGB", "steps": []}': "'mode' comes a second time",
    changed(lambda d: d.update(format_version=2)): "format_version: expected 1, found 2",
    changed(lambda d: d.update(format_version=True)): "format_version: expected 1, found true",
    changed(lambda d: d.update(format_version=1.0)): "format_version: expected 1, found 1.0",
    changed(lambda d: d.pop("mode")): "the document: mode missing",
    changed(lambda d: d.update(more=1)): "the document: unknown more",
    changed(lambda d: d.update(mode="CMYK")): 'mode: expected one of L, RGB, BGR, found "CMYK"',
    changed(lambda d: d.update(mode="L")): "Normalize has 3 channels, mode L has 1",
    changed(lambda d: d.update(steps={})): "steps: expected a list",
    changed(lambda d: d.update(steps=[])): "steps: expected Normalize and ToCHW at the end",
    changed(lambda d: d["steps"].pop()): "steps: expected Normalize and ToCHW at the end",
    changed(lambda d: d["steps"].reverse()): "steps: expected Normalize and ToCHW at the end",
    changed(lambda d: d["steps"].insert(0, d["steps"][2])): "only Resize, CenterCrop and Digit",
    changed(lambda d: d["steps"].insert(0, 7)): r"steps\[0\]: expected an object, found 7",
    changed(lambda d: d["steps"].insert(0, {})): r"steps\[0\]\.type: expected one of",
    changed(
        lambda d: d["steps"][0].update(type="Rotate")
    ): r"steps\[0\]\.type: .* found \"Rotate\"",
    changed(lambda d: d["steps"][0].update(type=["a"])): r"steps\[0\]\.type: expected one of",
    changed(lambda d: d["steps"][0].update(antialias=True)): r"steps\[0\]: unknown antialias",
    changed(lambda d: d["steps"][0].update(size=[1, 2])): r"steps\[0\]: Resize: expected either",
    changed(lambda d: d["steps"][0].pop("short_side")): r"steps\[0\]: Resize: expected either",
    changed(lambda d: d["steps"][0].pop("interpolation")): r"steps\[0\]: interpolation missing",
    changed(lambda d: d["steps"][0].update(interpolation="area")): 'interpolation: .* found "area"',
    changed(lambda d: d["steps"][0].update(short_side=0)): "short_side: expected an integer from 1",
    changed(lambda d: d["steps"][0].update(short_side=1 << 64)): "short_side: expected an integer",
    changed(lambda d: d["steps"][0].update(short_side=256.0)): "short_side: expected an integer",
    changed(lambda d: d["steps"][0].update(short_side=None)): "short_side: expected an integer",
    changed(lambda d: d["steps"][1].update(size=224)): r"steps\[1\]\.size: expected a list",
    changed(lambda d: d["steps"][1].update(size=[224])): r"size: expected \(height, width\)",
    changed(lambda d: d["steps"][1].update(size=[1, True])): r"size\[1\]: expected an integer",
    changed(lambda d: d["steps"][1].update(size=[20_000, 20_000])): "over the limit",
    changed(lambda d: d["steps"][2].update(scale="1/255")): r"steps\[2\]\.scale: expected a number",
    changed(lambda d: d["steps"][2].update(scale=0)): "scale other than 0",
    changed(lambda d: d["steps"][2].update(scale=1e39)): "scale: expected a number that float32",
    changed(lambda d: d["steps"][2].update(std=[1, 1, 0])): "std above 0",
    changed(lambda d: d["steps"][2].update(std=[1, 1, 1e-50])): "std above 0 in float32",
    changed(lambda d: d["steps"][2].update(std=[1, 1])): "as many std as mean",
    changed(lambda d: d["steps"][2].update(mean=[0, 0, "0"])): r"mean\[2\]: expected a number",
    changed(lambda d: d["steps"][2].update(mean=[0, 0, float("nan")])): "NaN is not a JSON number",
    changed(lambda d: d["steps"][3].update(order="chw")): r"steps\[3\]: unknown order",
    changed(
        lambda d: d["steps"].insert(0, {"type": "Digit", "size": 28, "box": 20})
    ): "Digit takes mode L, not RGB",
    changed(
        lambda d: d["steps"].insert(0, {"type": "Digit", "size": 28, "box": 28})
    ): "expected box below size",
}


@pytest.mark.parametrize(
    ("text", "problem"), [*BAD_DESCRIPTIONS.items()], ids=range(len(BAD_DESCRIPTIONS))
)
def test_bad_descriptions(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "preprocess.json"
    path.write_text(text)
    with pytest.raises(lenet_cpp.BadModel, match=problem) as caught:
        Pipeline.load(path)
    assert one_line(caught.value, path)
    assert len(str(caught.value)) < 400


def test_a_description_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.json"):
        with pytest.raises(lenet_cpp.FileNotFound) as caught:
            Pipeline.load(path)
        assert one_line(caught.value, path)
    (tmp_path / "binary.json").write_bytes(b"\xff\x00\xfe")
    with pytest.raises(lenet_cpp.BadModel):
        Pipeline.load(tmp_path / "binary.json")
    with pytest.raises(lenet_cpp.BadModel, match="the document"):
        Pipeline.from_dict(None)


# --- PaddleClas ---


def yml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "inference.yml"
    path.write_text(text)
    return path


def with_ops(*ops: str) -> str:
    return "PreProcess:\n  transform_ops:\n" + "".join(f"    - {op}\n" for op in ops)


NORMALIZE = "NormalizeImage: {scale: 1.0/255.0, mean: [0, 0, 0], std: [1, 1, 1], order: ''}"


def test_the_default_inference_yml(tmp_path: Path) -> None:
    assert images.from_inference_yml(yml(tmp_path, IMAGENET_YML)) == Pipeline(
        "RGB",
        (
            Resize(short_side=256),
            CenterCrop((224, 224)),
            Normalize(0.00392157, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ToCHW(),
        ),
    )


@pytest.mark.parametrize(
    ("scale", "value"),
    [
        ("1.0/255.0", 1 / 255),
        ("1./255.", 1 / 255),
        ("'1/255'", 1 / 255),
        ("' 1.0 / 255 '", 1 / 255),
        ("0.5", 0.5),
        ("'1e-2'", 0.01),
        ("null", 1 / 255),
        ("2", 2.0),
    ],
)
def test_scales(tmp_path: Path, scale: str, value: float) -> None:
    text = with_ops(f"NormalizeImage: {{scale: {scale}, order: hwc}}", "ToCHWImage: null")
    pipeline = images.from_inference_yml(yml(tmp_path, text))
    # Left out, mean and std are ImageNet's.
    assert pipeline.steps == (
        Normalize(value, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ToCHW(),
    )


def test_sizes_are_width_and_height_there(tmp_path: Path) -> None:
    text = with_ops(
        "DecodeImage: {to_rgb: False, channel_first: False}",
        "ResizeImage: {size: [320, 240], interpolation: BICUBIC, backend: pil}",
        "CropImage: {size: [300, 200]}",
        "ToCHWImage:",
        "NormalizeImage: {scale: 1, mean: [1, 2, 3], std: [4, 5, 6], order: chw}",
    )
    assert images.from_inference_yml(yml(tmp_path, text)) == Pipeline(
        "BGR",
        (
            Resize(size=(240, 320), interpolation="bicubic"),
            CenterCrop((200, 300)),
            Normalize(1, (1, 2, 3), (4, 5, 6)),
            ToCHW(),
        ),
    )


@pytest.mark.parametrize(
    ("text", "error", "problem"),
    [
        ("a: [", lenet_cpp.BadModel, "is not YAML"),
        ("!!python/object/apply:os.system ['exit 1']", lenet_cpp.BadModel, "is not YAML"),
        ("", lenet_cpp.BadModel, "expected a list at PreProcess.transform_ops"),
        ("PreProcess: {transform_ops: []}", lenet_cpp.BadModel, "expected a list"),
        (with_ops("3"), lenet_cpp.BadModel, "expected the name of one op, found 3"),
        (with_ops("RandFlipImage: {}"), lenet_cpp.Unsupported, "'RandFlipImage' is not known"),
        (with_ops("{ToCHWImage: 3}"), lenet_cpp.BadModel, "ToCHWImage: expected values by name"),
        (with_ops("CropImage: {sise: 3}"), lenet_cpp.Unsupported, "CropImage.sise is not known"),
        (with_ops(NORMALIZE), lenet_cpp.Unsupported, "ToCHWImage once, found it 0 times"),
        (with_ops("ToCHWImage:"), lenet_cpp.Unsupported, "NormalizeImage once"),
        (
            with_ops(NORMALIZE, "CropImage: {size: 3}", "ToCHWImage:"),
            lenet_cpp.Unsupported,
            "the order NormalizeImage, CropImage, ToCHWImage",
        ),
        (
            with_ops(NORMALIZE.replace("''", "chw"), "ToCHWImage:"),
            lenet_cpp.BadModel,
            "order 'chw' does not fit its place before ToCHWImage",
        ),
        (
            with_ops(NORMALIZE.replace("1.0/255.0", "'().__class__'"), "ToCHWImage:"),
            lenet_cpp.BadModel,
            r"NormalizeImage: scale: .*'\(\)\.__class__'",
        ),
        (
            with_ops(NORMALIZE.replace("255.0", "0"), "ToCHWImage:"),
            lenet_cpp.BadModel,
            "divides by zero",
        ),
        (
            with_ops(NORMALIZE.replace("[1, 1, 1]", "[1, 1]"), "ToCHWImage:"),
            lenet_cpp.BadModel,
            "NormalizeImage: Normalize: expected as many std as mean",
        ),
        (
            with_ops(NORMALIZE.replace("[1, 1, 1]", "7"), "ToCHWImage:"),
            lenet_cpp.BadModel,
            "NormalizeImage: ",
        ),
        (
            with_ops(
                "ResizeImage: {resize_short: 9, interpolation: area}", NORMALIZE, "ToCHWImage:"
            ),
            lenet_cpp.Unsupported,
            "ResizeImage.interpolation 'area'",
        ),
        (
            with_ops("ResizeImage: {}", NORMALIZE, "ToCHWImage:"),
            lenet_cpp.BadModel,
            "ResizeImage: size: expected",
        ),
        (
            with_ops("DecodeImage: {channel_first: true}", NORMALIZE, "ToCHWImage:"),
            lenet_cpp.Unsupported,
            "DecodeImage.channel_first",
        ),
        (
            with_ops("NormalizeImage: {order: '', channel_num: 4}", "ToCHWImage:"),
            lenet_cpp.Unsupported,
            "channel_num 4",
        ),
    ],
)
def test_bad_inference_yml(
    tmp_path: Path, text: str, error: type[lenet_cpp.Error], problem: str
) -> None:
    path = yml(tmp_path, text)
    with pytest.raises(error, match=problem) as caught:
        images.from_inference_yml(path)
    assert one_line(caught.value, path)


def test_a_missing_inference_yml(tmp_path: Path) -> None:
    with pytest.raises(lenet_cpp.FileNotFound, match=r"missing\.yml"):
        images.from_inference_yml(tmp_path / "missing.yml")


# --- Sources ---


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    for name in ("b.png", "a.JPG", "c.webp", ".hidden.png", "notes.md", "below/d.png", "x y.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def test_folders_globs_and_files(gallery: Path) -> None:
    a, b, c, d, x = (gallery / n for n in ("a.JPG", "b.png", "c.webp", "below/d.png", "x y.png"))
    assert images.find_images([gallery]) == [a, b, c, x]
    assert images.find_images(str(gallery)) == [a, b, c, x]
    assert images.find_images([gallery / "*.png"]) == [b, x]
    assert images.find_images([gallery / "**" / "*.png"]) == [b, d, x]
    assert images.find_images([gallery / "[ab].*"]) == [a, b]
    assert images.find_images([b, gallery / "below", a, b]) == [b, d, a, b]
    assert images.find_images([gallery / "notes.md"]) == [gallery / "notes.md"]
    # A file whose name looks like a pattern is the file.
    odd = gallery / "[ab].png"
    odd.touch()
    assert images.find_images([odd]) == [odd]


def test_list_files(gallery: Path) -> None:
    lists = gallery / "below" / "list.txt"
    lists.write_text(
        "\ufeff../b.png 3\r\n\n../x y.png\n../x y.png\t7\n  d.png 0,1\n", encoding="utf-8"
    )
    names = ["../b.png", "../x y.png", "../x y.png", "d.png"]
    assert images.find_images([lists]) == [gallery / "below" / name for name in names]
    absolute = gallery / "absolute.txt"
    absolute.write_text(f"{gallery / 'b.png'} 5\n")
    assert images.find_images([absolute]) == [gallery / "b.png"]


def test_sources_without_images(gallery: Path) -> None:
    (gallery / "none").mkdir()
    (gallery / "empty.txt").write_text("\n\n")
    (gallery / "wrong.txt").write_text("b.png 1\ngone.png 2\n")
    for source, problem in {
        "none": "no image in this folder; looked for .bmp",
        "*.nope": "no image that matches",
        "gone.png": "does not exist",
        "empty.txt": "lists no image",
        "wrong.txt": "line 2: .*gone.png does not exist",
    }.items():
        with pytest.raises(lenet_cpp.FileNotFound, match=problem) as caught:
            images.find_images([gallery / source])
        assert one_line(caught.value, gallery / source)
    (gallery / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(lenet_cpp.BadInput, match="not a list of images"):
        images.find_images([gallery / "binary.txt"])
    with pytest.raises(lenet_cpp.BadInput, match="at least one"):
        images.find_images([])


# --- The digit ---


def test_mnist_images_come_through_unchanged(digits, tmp_path: Path) -> None:
    sources = [Image.fromarray(image) for image in digits.images]
    expected = digits.images[:, None].astype(np.float32) / np.float32(255)
    assert np.array_equal(images.digit().batch(sources), expected)
    logits = lenet_cpp.predict(digits.images)
    assert np.array_equal(lenet_cpp.predict(images.digit().batch(sources)), logits)
    for source, image in zip(sources[:3], digits.images, strict=False):
        source.save(tmp_path / "digit.png")
        assert np.array_equal(read(tmp_path / "digit.png", "L"), image)
        same = lenet_cpp.classify(tmp_path / "digit.png").probabilities
        assert np.array_equal(same, lenet_cpp.classify(image).probabilities)


def test_the_bundled_description(model_dir: Path) -> None:
    assert Pipeline.load(model_dir / images.PREPROCESS_NAME) == images.digit()
    assert images.PREPROCESS_NAME in read_manifest(model_dir).files
    assert images.PREPROCESS_NAME in verify_checksums(model_dir)


def bar(
    shape: tuple[int, int], box: tuple[int, int, int, int], paper: int, ink: int
) -> Image.Image:
    pixels = np.full(shape, paper, np.uint8)
    top, left, height, width = box
    pixels[top : top + height, left : left + width] = ink
    return Image.fromarray(pixels)


@pytest.mark.parametrize(("paper", "ink"), [(230, 30), (20, 200), (250, 235)])
@pytest.mark.parametrize("place", [(7, 5), (50, 80), (2, 2)])
def test_a_bar_by_hand(paper: int, ink: int, place: tuple[int, int]) -> None:
    """40 x 10 pixels become 20 x 5; rows 0 to 19 have their mass at 9.5, which goes to 14."""
    image = bar((100, 130), (*place, 40, 10), paper, ink)
    expected = np.zeros((28, 28), np.uint8)
    expected[5:25, 12:17] = 255  # 14 - 9.5 rounds to 5; 14 - 2
    assert np.array_equal(Digit()(image), expected)
    assert np.array_equal(Digit()(image.transpose(Image.Transpose.TRANSPOSE)), expected.T)


def test_a_hair_is_thickened_by_hand() -> None:
    """1 x 100 pixels: A = 100, P = 202, t = (100 * 202 - 2000 + 2020) // 4040 = 5: 11 x 110."""
    expected = np.zeros((28, 28), np.uint8)
    expected[5:25, 14:16] = 255  # round(14 - 0.5) is 14
    assert np.array_equal(Digit()(bar((200, 200), (30, 60, 100, 1), 240, 10)), expected)


def test_large_images_are_reduced_by_blocks() -> None:
    """1000 x 800: blocks of 4 x 4, so a bar on their grid keeps its edges."""
    small = bar((250, 200), (30, 50, 80, 20), 230, 30)
    large = small.resize((800, 1000), Image.Resampling.NEAREST)
    expected = Digit()(small)
    assert np.array_equal(Digit()(large), expected)
    # What is left over, less than a block, is dropped.
    assert np.array_equal(Digit()(ImageOps.expand(large, (0, 0, 3, 2), 0)), expected)


def test_specks_and_a_dark_rim_are_left_out() -> None:
    image = bar((200, 200), (60, 90, 80, 20), 230, 30)
    expected = np.asarray(Digit()(image))
    image.paste(30, (20, 20, 23, 23))  # 9 pixels of 1600
    image.paste(30, (0, 195, 200, 200))
    assert np.array_equal(Digit()(image), expected)


def test_longer_side_and_centre_of_mass(digits) -> None:
    for number, digit in enumerate(digits.images[:50]):
        result = np.asarray(Digit()(photo(digit, "paper", number).convert("L"))).astype(int)
        rows, columns = (np.flatnonzero(result.any(axis)) for axis in (1, 0))
        longer = max(np.ptp(rows), np.ptp(columns)) + 1
        assert 18 <= longer <= 20, number  # its faint ends may round to 0
        for axis, found in ((0, rows), (1, columns)):
            centre = (result.sum(1 - axis) * np.arange(28)).sum() / result.sum()
            at_the_rim = found[0] == 0 or found[-1] == 27
            assert at_the_rim or abs(centre - 14) <= 0.5, number


@pytest.mark.parametrize("size", [(28, 28), (100, 80), (640, 480), (1, 1), (1, 300), (2000, 3)])
@pytest.mark.parametrize("noise", [0, 10])
def test_blank_paper_has_no_digit(size: tuple[int, int], noise: int, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    light = np.linspace(220, 150, size[0])[None, :]
    pixels = (light + random.normal(0, noise, size[::-1])).clip(0, 255).astype(np.uint8)
    path = tmp_path / "blank.png"
    Image.fromarray(pixels).save(path)
    with pytest.raises(lenet_cpp.BadInput, match="found no digit: nothing stands out") as caught:
        lenet_cpp.classify(path)
    assert one_line(caught.value, path)


@pytest.mark.parametrize(("kind", "lost"), [*zip(KINDS, [2, 2, 2, 4, 2, 8], strict=True)])
def test_photos_are_read_as_well_as_the_originals(digits, kind: str, lost: int) -> None:
    """Against the labels; ``lost`` more than of the originals may be wrong."""
    chosen = slice(0, 60 if kind in {"far", "pen"} else 200)  # those are larger
    labels = digits.labels[chosen]
    originals = (lenet_cpp.predict(digits.images[chosen]).argmax(1) == labels).sum()
    photos = [photo(digit, kind, [5, number]) for number, digit in enumerate(digits.images[chosen])]
    found = np.array([label_of(source) for source in photos])
    assert (found == labels).sum() >= originals - lost


def label_of(source: Image.Image) -> int:
    try:
        return int(lenet_cpp.classify(source).labels[0])
    except lenet_cpp.BadInput:
        return -1


def test_classify_takes_files_images_and_lists(digits, tmp_path: Path) -> None:
    picture = photo(digits.images[0], "paper", 0)
    upright = tmp_path / "upright.png"
    picture.save(upright)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right by a quarter
    turned = tmp_path / "turned.png"
    picture.transpose(Image.Transpose.ROTATE_90).save(turned, exif=exif)
    result = lenet_cpp.classify([upright, str(turned), picture])
    assert result.labels == [str(digits.labels[0])] * 3
    assert result.probabilities.shape == (3, 10)
    assert (result.probabilities == result.probabilities[0]).all()
    pixels = np.asarray(picture)
    assert pixels.ndim == 2
    rgb = pixels[:, :, None].repeat(3, axis=2)
    content = upright.read_bytes()
    for source in (
        *(upright, str(turned), picture, (picture,), content, [bytearray(content)]),
        *(pixels, pixels.copy("F"), rgb, np.dstack([rgb, np.full_like(pixels, 255)])),
    ):
        one = lenet_cpp.classify(source)
        assert one.labels == result.labels[:1]
        assert np.allclose(one.probabilities[0], result.probabilities[0], atol=1e-6)
    with pytest.raises(lenet_cpp.FileNotFound, match="gone"):
        lenet_cpp.classify([upright, tmp_path / "gone.png"])
    with pytest.raises(lenet_cpp.BadInput, match="got list"):
        lenet_cpp.classify([upright, [1.0]])


def test_arrays_of_another_size_are_told_what_to_do() -> None:
    """Floats, whose white is not known, and what is meant for predict."""
    for shape in ((200, 200), (200, 200, 3)):
        with pytest.raises(lenet_cpp.BadInput, match=r"float64 of shape \[200, 200.*: convert it"):
            lenet_cpp.classify(np.zeros(shape))
    for function in (lenet_cpp.classify, lenet_cpp.predict):
        with pytest.raises(lenet_cpp.BadInput, match=r"got \[5, 200, 200\]; pictures .*classify"):
            function(np.zeros((5, 200, 200), np.uint8))
    for pixels in (np.zeros((5, 200, 200), np.uint8), np.zeros((2, 2)), np.zeros((2, 2, 2), "u1")):
        with pytest.raises(lenet_cpp.BadInput, match="an array of pixels is uint8 from 0 to 255"):
            read(pixels)
    with pytest.raises(lenet_cpp.BadInput, match="must have at least one"):
        read(np.zeros((0, 5), np.uint8))


def test_digits_on_a_transparent_canvas(digits, tmp_path: Path) -> None:
    """White and black ones, as drawing programs save them."""
    path = tmp_path / "digit.png"
    found = {white: [] for white in (True, False)}
    for digit in digits.images[:20]:
        alpha = Image.fromarray(digit).resize((200, 200), Image.Resampling.BICUBIC)
        for white in (True, False):
            picture = Image.new("RGBA", alpha.size, "white" if white else "black")
            picture.putalpha(alpha)
            picture.save(path)
            found[white] += lenet_cpp.classify(path).labels
    assert found[True] == found[False]
    right = [
        label == str(digit) for label, digit in zip(found[True], digits.labels[:20], strict=True)
    ]
    assert sum(right) >= 19


def test_importing_is_quick() -> None:
    code = (
        "import sys, lenet_cpp, lenet_cpp.data.images\n"
        "print([name for name in ('PIL', 'yaml', 'paddle') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


def test_reading_from_memory() -> None:
    """Pillow images that were never files, JPEG included."""
    file = io.BytesIO()
    Image.new("RGB", (20, 10), "red").save(file, "JPEG")
    assert images.read_image(Image.open(file), "RGB").size == (20, 10)
    broken = Image.open(io.BytesIO(file.getvalue()[:-4]))
    with pytest.raises(lenet_cpp.BadInput, match="the image is truncated or damaged"):
        images.read_image(broken, "RGB")
