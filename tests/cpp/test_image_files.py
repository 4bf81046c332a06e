"""Images as C++ decodes and prepares them: the bits are Pillow's and those of the Python package.

``lenet_api_call``, one call of the C++ API as a program, gives tensors of any size.
"""

import io
import resource
import struct
import zlib
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image, ImageOps

import lenet_cpp
from lenet_cpp.data.images import CenterCrop, Normalize, Pipeline, Resize, ToCHW, read_image
from pictures import png, refused


@pytest.fixture
def cpp_tensor(built, tmp_path, run_ok):
    """What C++ makes of an image with a pipeline; the line of its error when it refuses it."""
    route = built("lenet_api_call")

    def cpp_tensor(pipeline, image, memory=None):
        preprocess, output = tmp_path / "route.json", tmp_path / "route.npy"
        pipeline.save(preprocess)
        # Only with a limit: what runs Python first copies all page tables of this process.
        limit = partial(resource.setrlimit, resource.RLIMIT_AS, (memory, memory))
        printed = run_ok(
            *(f"image={image}", f"preprocess={preprocess}", f"output={output}"),
            program=route,
            preexec_fn=limit if memory else None,
        )
        return np.load(output) if printed.startswith("image ") else printed.strip()

    return cpp_tensor


def raw(mode):
    """The pixels as they are."""
    channels = 1 if mode == "L" else 3
    return Pipeline(mode, (Normalize(1.0, (0.0,) * channels, (1.0,) * channels), ToCHW()))


def by_pillow(pipeline, file):
    """Return what the pipeline makes of a file that Pillow reads."""
    mode = "L" if pipeline.mode == "L" else "RGB"
    return pipeline(np.asarray(read_image(file, mode, depth=pipeline.depth or 16)))


def assert_same_bits(actual, expected):
    assert isinstance(actual, np.ndarray), actual
    assert actual.shape == expected.shape
    assert actual.tobytes() == expected.tobytes()


def photo(height, width, seed=0):
    """Soft shapes with some noise, as photos have."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), np.uint8)
    soft = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    noisy = soft.astype(int) + rng.integers(-10, 11, soft.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


WIDTH, HEIGHT = 83, 61


def deep(channels, height=HEIGHT, width=WIDTH):
    return np.random.default_rng(2).integers(0, 1 << 16, (height, width, channels)).astype(">u2")


def png_16(samples, colour, more=b""):
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    return png(samples.shape[1], samples.shape[0], 16, colour, rows, more=more)


def interlaced_16(samples, more=b""):
    """Grey in the seven passes of Adam7."""
    starts = (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)
    rows = b"".join(
        b"\0" + row.tobytes()
        for y, x, down, right in (*starts, (1, 0, 2, 1))
        for row in samples[y::down, x::right]
        if row.size
    )
    file = bytearray(png(samples.shape[1], samples.shape[0], 16, 0, rows, more=more))
    file[28] = 1  # of the header, behind which is its checksum
    file[29:33] = struct.pack(">I", zlib.crc32(file[12:29]))
    return bytes(file)


def lossless():
    """File name to content: each kind of pixel that the containers have."""
    files = {}

    def save(name, image, **options):
        file = io.BytesIO()
        image.save(file, {"pgm": "PPM"}.get(name[-3:], name[-3:]), **options)
        files[name] = file.getvalue()

    opaque, transparent = photo(HEIGHT, WIDTH), photo(HEIGHT, WIDTH)
    alpha = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH), np.uint8)
    transparent.putalpha(Image.fromarray(alpha))
    white = Image.new("RGBA", (WIDTH, HEIGHT), "white")
    white.putalpha(transparent.getchannel("A").point(lambda alpha: alpha * (alpha < 128)))
    for mode in ("1", "L", "P", "RGB"):
        save(f"{mode}.png", opaque.convert(mode))
        save(f"{mode}.bmp", opaque.convert(mode))
    for kind, image in (("", transparent), ("white_", white)):
        save(f"{kind}LA.png", image.convert("LA"))
        save(f"{kind}RGBA.png", image)
        save(f"{kind}RGBA.bmp", image)
    save("palette_alpha.png", transparent.quantize(64))
    save("palette_colour.png", opaque.convert("P"), transparency=3)
    save("RGB.ppm", opaque)
    save("L.pgm", opaque.convert("L"))
    for colour, channels in ((0, 1), (2, 3), (4, 2), (6, 4)):
        files[f"16_bits_{channels}.png"] = png_16(deep(channels), colour)
    sample = deep(1)[3, 4, 0].tobytes()
    files["16_bits_transparent.png"] = png_16(deep(1), 0, b"tRNS" + sample)
    colour = deep(3)[3, 4].tobytes()
    files["16_bits_transparent_colour.png"] = png_16(deep(3), 2, b"tRNS" + colour)
    for name, more in (("interlaced", b""), ("interlaced_transparent", b"tRNS" + sample)):
        files[f"16_bits_{name}.png"] = interlaced_16(deep(1), more)
    bits = np.random.default_rng(3).integers(0, 256, (HEIGHT, 1 + (WIDTH + 3) // 4), np.uint8)
    bits[:, 0] = 0
    files["2_bits.png"] = png(WIDTH, HEIGHT, 2, 0, bits.tobytes())
    return files


LOSSLESS = lossless()


@pytest.mark.parametrize("name", LOSSLESS)
def test_same_bits(name, cpp_tensor, tmp_path):
    file = tmp_path / name
    file.write_bytes(LOSSLESS[name])
    for pipeline in (raw("L"), raw("RGB")):
        assert_same_bits(cpp_tensor(pipeline, file), by_pillow(pipeline, file))


@pytest.mark.parametrize("size", [(375, 500), (17, 33), (1, 1)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webp_has_pillow_s_bits(mode, size, cpp_tensor, tmp_path):
    image, file = photo(*size), tmp_path / "image.webp"
    if mode == "RGBA":
        image.putalpha(photo(*size, seed=1).convert("L"))
    options = {"quality": 80}, {"quality": 20, "alpha_quality": 30}, {"lossless": True}
    for option in (*options, {"lossless": True, "exact": True}):
        image.save(file, **option)
        with Image.open(file) as decoded:
            assert decoded.mode == mode
        assert_same_bits(cpp_tensor(raw("RGB"), file), by_pillow(raw("RGB"), file))


def test_the_first_frame_of_an_animated_webp(cpp_tensor, tmp_path):
    """A frame that fills a part of the picture, over nothing; and with alpha."""
    file = tmp_path / "image.webp"
    for background, mode in (((0, 0, 0, 0), "RGBA"), ((9, 9, 9, 255), "RGB")):
        first, second = Image.new(mode, (90, 70), background[: len(mode)]), photo(70, 90)
        first.paste(photo(30, 40), (20, 10))
        first.save(file, save_all=True, append_images=[second.convert(mode)], quality=70)
        assert b"ANMF" in file.read_bytes()
        assert_same_bits(cpp_tensor(raw("RGB"), file), by_pillow(raw("RGB"), file))


XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation{}/></x:xmpmeta>'


def test_the_orientation_of_a_webp_may_stand_in_xmp(cpp_tensor, tmp_path):
    file, silent, upright = tmp_path / "image.webp", Image.Exif(), Image.Exif()
    silent[0x010F], upright[0x0112] = "a camera", 1
    turned = []
    for exif in (None, silent, upright):
        for text in ('="6"', ">5<", "x>8", '="x" tiff:Orientation="3"'):
            more = {} if exif is None else {"exif": exif}
            photo(HEIGHT, WIDTH).save(file, xmp=XMP.format(text).encode(), **more)
            expected = by_pillow(raw("RGB"), file)
            turned.append(expected.shape[1] == WIDTH)
            assert_same_bits(cpp_tensor(raw("RGB"), file), expected)
    assert turned == [True, True, False, False] * 2 + [False] * 4


@pytest.mark.parametrize("depth", [10, 12, 14])
def test_depth(depth, cpp_tensor, tmp_path):
    samples = np.random.default_rng(depth).integers(0, 1 << depth, (HEIGHT, WIDTH), np.uint16)
    Image.fromarray(samples).save(tmp_path / "deep.png")
    pipeline = replace(raw("L"), depth=depth)
    tensor = cpp_tensor(pipeline, tmp_path / "deep.png")
    assert np.array_equal(tensor[0], samples >> (depth - 8))
    assert_same_bits(tensor, by_pillow(pipeline, tmp_path / "deep.png"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation, cpp_tensor, tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif[0x0112] = orientation
    image, file = photo(HEIGHT, WIDTH), tmp_path / "image"
    image.save(file, "PNG", exif=exif)
    assert_same_bits(cpp_tensor(raw("RGB"), file), by_pillow(raw("RGB"), file))
    image.save(file, "JPEG", exif=exif)
    assert_same_bits(cpp_tensor(raw("RGB"), file), by_pillow(raw("RGB"), file))
    image.save(file, "WEBP", exif=exif)
    assert_same_bits(cpp_tensor(raw("RGB"), file), by_pillow(raw("RGB"), file))


ENTRY = struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
TIFF = b"MM\0*\0\0\0\x08\0\x01" + ENTRY + bytes(4)
ODD_EXIF = {
    "Exif twice": b"Exif\0\0" + TIFF,
    "an entry cut short": TIFF[:21],
    "a whole last entry": TIFF[:22],
    "no values": TIFF.replace(ENTRY, struct.pack(">HHIHH", 0x0112, 3, 0, 6, 0)),
    "two values": TIFF.replace(ENTRY, struct.pack(">HHIHH", 0x0112, 3, 2, 6, 6)),
    "values elsewhere": TIFF.replace(ENTRY, struct.pack(">HHIHH", 0x0112, 3, 3, 0, 26))
    + struct.pack(">HHH", 6, 3, 3),
    "values beyond the end": TIFF.replace(ENTRY, struct.pack(">HHIHH", 0x0112, 3, 3, 0, 26))
    + struct.pack(">HH", 6, 3),
    "very many values": TIFF.replace(ENTRY, struct.pack(">HHIHH", 0x0112, 3, 1 << 31, 0, 26)),
    "two entries": TIFF[:9] + b"\2" + ENTRY + ENTRY.replace(b"\6", b"\3") + bytes(4),
}


@pytest.mark.filterwarnings("ignore")  # Pillow's, of data that are cut short
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("name", ODD_EXIF)
def test_odd_exif_data_turn_an_image_as_in_pillow(name, kind, cpp_tensor, tmp_path):
    file = tmp_path / "image"
    photo(HEIGHT, WIDTH).save(file, kind, exif=b"Exif\0\0" + ODD_EXIF[name])
    if kind == "PNG":  # in which Pillow writes the data without the header that JPEG has
        assert b"eXIf" + ODD_EXIF[name][:6] in file.read_bytes()
    with Image.open(file) as image:
        expected = np.asarray(ImageOps.exif_transpose(image)).transpose(2, 0, 1)
    upright = {"an entry cut short", "no values", "values beyond the end", "very many values"}
    assert (expected.shape[1] == HEIGHT) == (name in upright)
    for tensor in (cpp_tensor(raw("RGB"), file), by_pillow(raw("RGB"), file)):
        assert_same_bits(tensor, expected.astype(np.float32))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("size", [(375, 500), (17, 33), (1, 1)])
def test_jpegs_have_pillow_s_bits(mode, size, cpp_tensor, tmp_path):
    file = tmp_path / "image.jpg"
    image = photo(*size).convert(mode)
    more = {"quality": 30, "progressive": True}, {"restart_marker_rows": 1}, {"keep_rgb": True}
    for options in (*({"quality": 90, "subsampling": i} for i in range(3)), *more):
        image.save(file, **options)
        with Image.open(file) as decoded:
            expected = np.asarray(decoded.convert("RGB")).transpose(2, 0, 1)
        assert_same_bits(cpp_tensor(raw("RGB"), file), expected.astype(np.float32))


PREPARED = {
    "a crop behind a resize": (Resize(40), CenterCrop((33, 32))),
    "a small crop": (Resize(110), CenterCrop((20, 24))),
    "a small crop, as OpenCV does": (Resize(110, library="opencv"), CenterCrop((20, 24))),
    "OpenCV's bicubic": (Resize(40, interpolation="bicubic", library="opencv"),),
    "OpenCV's area": (Resize(size=(41, 53), interpolation="area", library="opencv"),),
    "the mean of blocks": (Resize(size=(60, 90), interpolation="area", library="opencv"),),
    "the nearest": (Resize(40, interpolation="nearest"), CenterCrop((30, 30))),
    "columns before rows": (Resize(size=(20, 170)),),
    "rows of one height": (Resize(size=(120, 70)),),
    "more columns than weights are held for": (Resize(size=(9, 9000), interpolation="bicubic"),),
    "larger": (Resize(size=(300, 301)), CenterCrop((100, 99)), Resize(21)),
}


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("steps", PREPARED.values(), ids=PREPARED)
def test_jpegs_are_resized_while_they_are_decoded(steps, mode, cpp_tensor, tmp_path):
    """In Python the file, its bytes and the pixels that Pillow reads give the same."""
    file = tmp_path / "image.jpg"
    options = [{"subsampling": i} for i in range(3)]
    for option in (*options, {"progressive": True}, {"restart_marker_blocks": 7}):
        photo(120, 180).convert(mode).save(file, quality=90, **option)
        for pipeline in (raw("L"), raw("RGB")):
            prepared = replace(pipeline, steps=(*steps, *pipeline.steps))
            expected = by_pillow(prepared, file)
            for given in (file, file.read_bytes()):
                assert_same_bits(prepared(given), expected)
    assert_same_bits(cpp_tensor(prepared, file), expected)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("steps", PREPARED.values(), ids=PREPARED)
def test_pictures_that_are_turned_afterwards(steps, orientation, suffix, tmp_path):
    """The bits are those of a picture that is turned first."""
    exif, file = Image.Exif(), tmp_path / f"image.{suffix}"
    exif[0x0112] = orientation
    for height, width in ((120, 180), (161, 97), (90, 90)):
        photo(height, width).save(file, exif=exif)
        for pipeline in (raw("L"), raw("RGB")):
            prepared = replace(pipeline, steps=(*steps, *pipeline.steps))
            assert_same_bits(prepared(file), by_pillow(prepared, file))


def saved_png(image, **options):
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


PNGS = {
    "black and white": lambda *size: saved_png(photo(*size).convert("1")),
    "grey": lambda *size: saved_png(photo(*size).convert("L")),
    "colour": lambda *size: saved_png(photo(*size)),
    "palette": lambda *size: saved_png(photo(*size).quantize(100)),
    "palette of 4 colours": lambda *size: saved_png(photo(*size).quantize(4), bits=2),
    "16 bits, grey": lambda *size: png_16(deep(1, *size), 0),
    "16 bits, colour": lambda *size: png_16(deep(3, *size), 2),
    "interlaced": lambda *size: interlaced_16(deep(1, *size)),
    "alpha": lambda *size: saved_png(photo(*size).convert("RGBA")),
    "a transparent colour": lambda *size: saved_png(photo(*size), transparency=(9, 9, 9)),
}


@pytest.mark.parametrize("kind", PNGS)
@pytest.mark.parametrize("steps", PREPARED.values(), ids=PREPARED)
def test_pngs_are_resized_while_they_are_decoded(steps, kind):
    for size in (120, 180), (333, 256), (300, 7), (3, 250):
        content = PNGS[kind](*size)
        for pipeline in (raw("L"), raw("RGB")):
            prepared = replace(pipeline, steps=(*steps, *pipeline.steps))
            assert_same_bits(prepared(content), by_pillow(prepared, content))


def test_damage_that_a_crop_cuts_off_is_found(cpp_tensor, tmp_path):
    """A JPEG is damaged wherever its data are, also in rows that no pixel of the result needs."""
    file = tmp_path / "image.jpg"
    photo(400, 60).save(file, quality=90)
    content = file.read_bytes()
    # Ones that no code begins with, in the last rows alone.
    file.write_bytes(content[:-300] + b"\xff\0" * 100 + content[-100:])
    upper = replace(raw("RGB"), steps=(Resize(60), CenterCrop((20, 20)), *raw("RGB").steps))
    for pipeline in (raw("RGB"), upper):
        with pytest.raises(lenet_cpp.BadInput, match="is a damaged JPEG"):
            pipeline(file)
        assert "is a damaged JPEG" in cpp_tensor(pipeline, file)


UPPER = Resize(60), CenterCrop((20, 20))
LAST_ROW = {
    "of an unknown filter": ("damaged PNG: bad adaptive filter", 8, 2, b"\x09" + bytes(180)),
    "cut short": ("damaged PNG: Not enough image data", 8, 2, bytes(100)),
    "of a colour that is not in the palette": ("not in its palette", 8, 3, bytes(60) + b"\3"),
    "of a sample that needs 13 bits": ("a sample of 4096, which", 16, 0, bytes(119) + b"\x10\0"),
}


@pytest.mark.parametrize("name", LAST_ROW)
def test_the_last_row_of_a_png_is_checked_though_a_crop_cuts_it_off(name, cpp_tensor, tmp_path):
    words, depth, colour, last_row = LAST_ROW[name]
    row_bytes = 60 * depth * (3 if colour == 2 else 1) // 8
    palette = b"PLTE" + bytes(9) if colour == 3 else b""
    file = tmp_path / "image.png"
    file.write_bytes(
        png(60, 400, depth, colour, bytes(399 * (1 + row_bytes)) + last_row, more=palette)
    )
    for steps in (), UPPER:
        pipeline = replace(raw("RGB"), steps=(*steps, *raw("RGB").steps), depth=12)
        with pytest.raises(lenet_cpp.BadInput, match=words):
            pipeline(file)
        assert words in cpp_tensor(pipeline, file)


@pytest.mark.parametrize("kind", PNGS)
def test_a_png_that_is_cut_short_is_refused(kind):
    content = PNGS[kind](400, 60)
    upper = replace(raw("RGB"), steps=(*UPPER, *raw("RGB").steps))
    for end in (60, len(content) // 2, len(content) - 100, len(content) - 13, len(content) - 1):
        for pipeline in (raw("RGB"), upper):
            with pytest.raises(lenet_cpp.BadInput, match="is a damaged PNG: it is cut short"):
                pipeline(content[:end])


def chunk(kind, content):
    return kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def riff(*parts):
    chunks = map(chunk, parts[::2], parts[1::2])
    return chunk(b"RIFF", b"WEBP" + b"".join(chunks))


def jpeg_header(height, width):
    """Return a JPEG up to its first scan."""
    size = struct.pack(">HH", height, width)
    return b"\xff\xd8\xff\xc0\0\x0b\x08" + size + b"\x01\x01\x11\0"


SCAN = b"\xff\xda\0\x08\x01\x01\0\0\x3f\0"
PNG_KEY = b"\0\0\0\x02tRNS\0\x01" + struct.pack(">I", zlib.crc32(b"tRNS\0\x01"))
JPEG = b"\xff\xd8\xff\xe2\0"
BMP = struct.pack("<IiiHHIIiiII", 40, 1, 1, 1, 8, 0, 4, 0, 0, 2, 0) + b"abcdefgh" + bytes(4)
# cpp/tests/test_image_pipeline.cc has files that are damaged, cut short or of another kind.
BAD = {
    "20,000 x 20,000": (
        "has 20000 x 20000 pixels, over the limit",
        png(20000, 20000, 8, 2, bytes(1 << 20)),
    ),
    "JPEG of 65,500 x 65,500": (
        "over the limit",
        jpeg_header(65500, 65500) + SCAN + b"\xff\xd9",
    ),
    "JPEG of 17 scans of 9,459 x 9,459 pixels": (
        "has 17 scans of 9459 x 9459 pixels, together over the limit of 1431655760",
        jpeg_header(9459, 9459) + 17 * SCAN + b"\xff\xd9",
    ),
    "JPEG of 101 scans": ("more than 100 scans", b"\xff\xd8" + 101 * SCAN + b"\xff\xd9"),
    "BMP of 30,000 x 30,000": (
        "over the limit",
        b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 30000, 30000, 1, 24, *[0] * 6),
    ),
    "WebP of 16,384 x 16,384": ("over the limit", riff(b"VP8L", b"/\xff\xff\xff\x0f" + bytes(9))),
    "WebP whose picture has 2^24 x 255 pixels, and its frame 1": (
        "over the limit",
        riff(
            b"VP8X",
            b"\x02\0\0\0\xff\xff\xff\xfe\0\0",
            b"ANIM",
            bytes(6),
            b"ANMF",
            bytes(16) + chunk(b"VP8L", b"/" + bytes(5)),
        ),
    ),
    "PPM of 30,000 x 30,000": ("damaged", b"P6 30000 30000 255 x"),
    "2 x 2 pixels that unpack to 256 MiB": ("damaged", png(2, 2, 8, 2, bytes(1 << 28))),
    "palette index out of range": ("damaged", png(1, 1, 8, 3, b"\0\x09")),
    "PNG without a palette": ("damaged PNG", png(1, 1, 8, 3, b"\0\0")),
    "transparency of another kind of pixel": (
        "damaged PNG: tRNS",
        png(1, 1, 8, 2, bytes(4), more=b"tRNS\0\1"),
    ),
    "transparency behind the pixels": (
        "damaged PNG: tRNS",
        png(1, 1, 8, 0, bytes(2)).replace(b"\0\0\0\0IEND", PNG_KEY + b"\0\0\0\0IEND"),
    ),
    "JPEG segment of one byte": ("a segment of 1 bytes", JPEG + b"\1" + bytes(9) + b"\xff\xd9"),
    "JPEG segment of no bytes": ("a segment of 0 bytes", JPEG + b"\0" + bytes(9) + b"\xff\xd9"),
    "BMP of 41 bytes of header": (
        "header has 41 bytes",
        b"BM" + struct.pack("<III", 0, 0, 62) + b"\x29" + BMP[1:],
    ),
    "BMP of 2^32 - 1 bytes of header": (
        "header has 4294967295 bytes",
        b"BM" + struct.pack("<III", 0, 0, 62) + b"\xff" * 4 + BMP[4:],
    ),
    "BMP of 2^32 - 1 colours": (
        "within its header or palette",
        b"BM" + struct.pack("<III", 0, 0, 62) + BMP[:32] + b"\xff" * 4 + BMP[36:],
    ),
    "PGM of 255 and a comma": ("damaged", b"P5 1 1 255,x"),
    "PGM of 1x": ("damaged", b"P5 1x1 255 x"),
    "PGM of a magic number of 3 digits": ("damaged", b"P55 1 255 x"),
} | {
    f"BMP of pixels at {at}": (
        "within its header or palette",
        b"BM" + struct.pack("<III", 0, 0, at) + BMP,
    )
    for at in (0, 14, 53, 54, 61)
}


@pytest.mark.parametrize("name", BAD)
def test_bad_image(name, cpp_tensor, tmp_path):
    words, content = BAD[name]
    file = tmp_path / "image"
    file.write_bytes(content)
    # In little memory: nothing is made of a size that a header claims.
    said = str(cpp_tensor(raw("L"), file, memory=1 << 27))
    assert said.startswith(f"BadInput '{file}' ")
    assert words in said


@pytest.mark.parametrize(
    "name",
    [
        "palette index out of range",
        "PNG without a palette",
        "transparency of another kind of pixel",
        "JPEG segment of one byte",
        "JPEG segment of no bytes",
        "BMP of 41 bytes of header",
        "BMP of 2^32 - 1 bytes of header",
        "BMP of 2^32 - 1 colours",
        "PGM of 255 and a comma",
        "PGM of 1x",
        "PGM of a magic number of 3 digits",
    ],
)
def test_bad_image_in_python(name, tmp_path):
    (tmp_path / "image").write_bytes(BAD[name][1])
    with refused(lenet_cpp.BadInput, "", tmp_path / "image"):
        raw("L")(tmp_path / "image")


def test_a_bmp_whose_palette_is_whole(cpp_tensor, tmp_path):
    (tmp_path / "image").write_bytes(b"BM" + struct.pack("<III", 0, 0, 62) + BMP)
    tensor = cpp_tensor(raw("RGB"), tmp_path / "image")
    assert tensor.ravel().tolist() == [*b"cba"]  # the file has blue first
    assert_same_bits(tensor, raw("RGB")(tmp_path / "image"))
