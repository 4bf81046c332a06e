"""The steps from pixels to a model's input, and preprocess.json."""

import json
import pickle
import struct

import numpy as np
import pytest
from PIL import Image

import lenet_cpp
from lenet_cpp import BadModel
from lenet_cpp.data import images
from lenet_cpp.data.images import CenterCrop, Normalize, Pad, Pipeline, Resize, ToCHW
from pictures import random_pixels, refused

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("size", [(300, 400), (401, 333), (256, 700), (257, 256), (90, 61)])
def test_imagenet_is_what_paddle_makes_of_it(size):
    from paddle.vision import transforms

    image = Image.fromarray(random_pixels(*size, 3))
    steps = transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()
    expected = transforms.Compose([*steps, transforms.Normalize(MEAN, STD)])(image).numpy()
    result = images.imagenet()(image)
    assert (result.dtype, result.flags.c_contiguous) == (np.float32, True)
    # Paddle divides by 255 where we multiply with 1/255: some units in the last place.
    assert np.abs(result - expected).max() < 1e-6


def raw(*steps):
    """The steps, and the pixels that come out of them, [H, W, 3]."""
    pipeline = Pipeline("RGB", (*steps, Normalize(1, (0, 0, 0), (1, 1, 1)), ToCHW()))
    return lambda image: pipeline(image).transpose(1, 2, 0)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("shape", [(31, 57), (57, 31), (300, 200), (700, 513)])
def test_image_steps_are_exactly_paddles(shape, interpolation):
    from paddle.vision import transforms

    image = Image.fromarray(random_pixels(*shape, 3))
    ours = raw(Resize(short_side=24, interpolation=interpolation))(image)
    assert np.array_equal(ours, transforms.Resize(24, interpolation)(image))
    for size in ((33, 44), (200, 41), (300, 20), (99, 100), (100, 100)):  # columns first, or rows
        ours = raw(Resize(size=size, interpolation=interpolation))(image)
        assert np.array_equal(ours, transforms.Resize(size, interpolation)(image))
    crop = transforms.CenterCrop((17, 20))
    assert np.array_equal(raw(CenterCrop((17, 20)))(image), crop(image))


@pytest.mark.parametrize(("fit", "choose"), [("inside", max), ("outside", min)])
def test_a_resize_that_keeps_the_proportions(fit, choose):
    for height, width in ((31, 57), (57, 31), (100, 100), (20, 90), (3, 400), (45, 35)):
        image = Image.fromarray(random_pixels(height, width, 3))
        # As timm's ResizeKeepRatio; Python's round is half to even.
        ratio = choose(height / 28, width / 36)
        size = max(round(width / ratio), 1), max(round(height / ratio), 1)
        ours = raw(Resize(size=(28, 36), fit=fit))(image)
        assert np.array_equal(ours, image.resize(size, Image.Resampling.BILINEAR)), (height, width)


@pytest.mark.parametrize("border", [None, "after", "before"])
def test_a_crop_of_a_smaller_image_has_a_border(border):
    fill = (7, 0, 255)
    for height, width in ((4, 5), (5, 4), (9, 2), (2, 9), (1, 1), (6, 6), (3, 8)):
        pixels = random_pixels(height, width, 3)
        sides = []
        for old in (height, width):  # from which pixel on, and what is before it
            less = max(6 - old, 0)
            before = (less + 1) // 2 if border == "before" else less // 2
            sides.append((max(old - 6, 0) // 2, before, less - before))
        (top, above, below), (left, west, east) = sides
        middle = pixels[top : top + 6, left : left + 6]
        expected = np.empty((6, 6, 3), np.uint8)
        expected[:] = fill
        expected[above : 6 - below, west : 6 - east] = middle
        step = CenterCrop((6, 6), "down", fill=fill, border=border)
        assert np.array_equal(raw(step)(pixels), expected), (height, width)
        if height < 6 or width < 6:
            with pytest.raises(lenet_cpp.BadInput, match="cannot crop 6 x 6 pixels from"):
                raw(CenterCrop((6, 6)))(pixels)


def test_a_crop_by_a_share_of_the_shorter_side():
    for height, width in ((40, 50), (50, 40), (31, 31), (1, 3)):
        pixels = random_pixels(height, width, 3)
        rows, columns = (max(int(share * min(height, width)), 1) for share in (224 / 256, 0.5))
        top, left = (height - rows) // 2, (width - columns) // 2
        expected = pixels[top : top + rows, left : left + columns]
        step = CenterCrop(share=(224 / 256, 0.5))
        assert np.array_equal(raw(step)(pixels), expected), (height, width)


def test_zeros_behind_the_normalized_values():
    steps = Normalize(1, (100, 0, 0), (2, 1, 1)), Pad((6, 9)), ToCHW()
    pixels = random_pixels(5, 7, 3)
    expected = np.zeros((3, 6, 9), np.float32)
    expected[:, :5, :7] = (pixels.transpose(2, 0, 1) - np.float32([[[100]], [[0]], [[0]]])) / (
        np.float32([[[2]], [[1]], [[1]]])
    )
    pipeline = Pipeline("RGB", steps)
    assert np.array_equal(pipeline(pixels), expected)
    assert pipeline.value_range == (-50, 255)
    assert pickle.loads(pickle.dumps(pipeline)) == pipeline
    with pytest.raises(lenet_cpp.BadInput, match="cannot pad 7 x 7 pixels to 9 x 6"):
        pipeline(random_pixels(7, 7, 3))


# Windows of more weights than are held at once, columns in several parts, and both.
EXTREME = [
    ((1, 200_001), (1, 1)),
    ((150_001, 1), (2, 1)),
    ((2, 100_003), (1, 2)),
    ((3, 70_001), (2, 5)),
    ((4, 33_000), (4, 1)),
    ((2, 30), (3, 40_001)),
    ((30, 2), (40_001, 3)),
    ((3, 20_001), (2, 19_998)),
]


@pytest.mark.parametrize(("old", "new"), EXTREME)
def test_extreme_shapes_have_the_librarys_bits_too(old, new):
    import cv2

    pixels = random_pixels(*old, 3)
    image = Image.fromarray(pixels)
    for name in ("nearest", "bilinear", "bicubic", "lanczos"):
        ours = raw(Resize(size=new, interpolation=name))(image)
        assert np.array_equal(ours, image.resize(new[::-1], Image.Resampling[name.upper()])), name
    for name, flag in OPENCV.items():
        ours = raw(Resize(size=new, interpolation=name, library="opencv"))(image)
        off = np.abs(ours - cv2.resize(pixels, new[::-1], interpolation=flag)).max()
        assert off <= (name == "bicubic"), name


def test_the_steps_of_an_image_have_a_limit(tmp_path):
    """Any number of large steps is refused with the sizes alone, before a pixel is computed."""
    large = Resize(size=(9459, 9459), interpolation="bicubic")
    steps = (*(large,) * 500, Resize(size=(4, 4)), *images.imagenet().steps[2:])
    path = tmp_path / "small.png"
    Image.new("RGB", (30, 20)).save(path)
    with refused(lenet_cpp.BadInput, "the first 3 steps .* over the limit of 357913940", path):
        Pipeline("RGB", steps)(path)


OPENCV = {"nearest": 0, "bilinear": 1, "bicubic": 2, "area": 3}  # cv2.INTER_NEAREST and so on


def test_resize_is_exactly_opencvs():
    import cv2

    random = np.random.default_rng(0)
    for number in range(180):
        channels = (1, 3)[number % 2]
        old, new = random.integers(1, 200, (2, 2))
        ratios = random.integers(1, 6, 2)
        wide = int(random.integers(500, 3000))
        # Exactly half, where bilinear is area; whole ratios; one row or column; one axis only.
        old, new = (
            (old, new),
            (2 * new, new),
            (ratios * new, new),
            (old, ratios * old),
            ((1, old[1]), new),
            ((old[0], 1), new),
            (old, (old[0], new[1])),
            (old, (1, 1)),
            ((old[0], wide), new),
            (old, (new[0], wide)),
        )[number % 10]
        if np.array_equal(old, new):
            continue
        height, width = map(int, new)
        image = random.integers(0, 256, (*old, channels), np.uint8)
        if number % 3 == 0:  # where rounding goes furthest
            image = np.uint8(255) * (image > 128)
        for interpolation, flag in OPENCV.items():
            expected = cv2.resize(image, (width, height), interpolation=flag)
            step = Resize(size=(height, width), interpolation=interpolation, library="opencv")
            ours = raw(step)(image.squeeze(2) if channels == 1 else image)[..., :channels]
            off = np.abs(ours - expected.reshape(ours.shape)).max()
            # OpenCV's own builds differ in bicubic.
            assert off <= (interpolation == "bicubic"), (number, interpolation, old, new)


@pytest.mark.parametrize("size", [(301, 417), (517, 333), (224, 224), (256, 255), (97, 61)])
def test_imagenet_is_what_paddleclas_makes_of_it(size):
    """Compare with OpenCV's functions in PaddleClas's order: both sides rounded, the crop down."""
    import cv2

    pixels = random_pixels(*size, 3)
    percent = 256 / min(size)
    height, width = (round(side * percent) for side in size)
    resized = cv2.resize(pixels, (width, height))
    top, left = (height - 224) // 2, (width - 224) // 2
    crop = resized[top : top + 224, left : left + 224].astype(np.float32)
    expected = (crop * np.float32(1 / 255) - np.float32(MEAN)) / np.float32(STD)
    pipeline = images.imagenet(library="opencv")
    assert np.array_equal(pipeline(pixels), expected.transpose(2, 0, 1))
    if height != width:
        assert not np.array_equal(pipeline(pixels), images.imagenet()(pixels))


def test_normalize_rounds_to_float32_after_each_operation():
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)

    def single(value):
        return struct.unpack("f", struct.pack("f", value))[0]

    # One operation in double, rounded to single, is the operation in single: 53 >= 2 * 24 + 2.
    expected = np.empty(pixels.shape, np.float32)
    for index, pixel in np.ndenumerate(pixels):
        t = single(float(pixel) * single(1 / 255))
        t = single(t - single(MEAN[index[2]]))
        expected[index] = single(t / single(STD[index[2]]))
    pipeline = Pipeline("RGB", images.imagenet().steps[-2:])
    result = pipeline(pixels)
    assert result.flags.c_contiguous
    assert np.array_equal(result, np.moveaxis(expected, 2, 0))
    assert pipeline.value_range == (result.min(), result.max())


def test_bgr_is_rgb_with_the_channels_turned_round():
    image = Image.fromarray(random_pixels(4, 5, 3))
    steps = Normalize(1.0, (1.0, 2.0, 3.0), (1.0, 1.0, 1.0)), ToCHW()
    blue = np.asarray(image)[..., 2].astype(np.float32)
    assert np.array_equal(Pipeline("BGR", steps)(image)[0], blue - 1)


@pytest.mark.parametrize(
    ("channels", "view"),
    [
        (3, lambda pixels: pixels[..., ::-1]),  # as of OpenCV's
        (3, lambda pixels: pixels[3:40, 5:44]),
        (3, lambda pixels: pixels[3:40, 5:44, ::-1]),
        (3, lambda pixels: pixels[::-1, ::-1]),
        (3, lambda pixels: pixels[::2, ::3]),
        (3, lambda pixels: pixels.transpose(1, 0, 2)),
        (3, lambda pixels: pixels[:1]),
        (4, lambda pixels: pixels[3:40]),
        (4, lambda pixels: pixels[..., 1:]),
        (4, lambda pixels: pixels[..., 0]),
        (1, lambda pixels: pixels[..., 0]),
        (1, lambda pixels: pixels[:, 3:4]),
    ],
)
def test_pixels_are_read_where_they_lie(channels, view):
    """A view gives what Pillow makes of a copy of its pixels."""
    pixels = view(random_pixels(50, 60, channels))
    copy = np.ascontiguousarray(pixels)
    picture = Image.fromarray(copy[..., 0] if copy.shape[2:] == (1,) else copy)
    for pipeline in (
        raw(Resize(20), CenterCrop((16, 16))),
        Pipeline("L", images.digit().steps[1:]),
    ):
        assert np.array_equal(pipeline(pixels), pipeline(picture))


def test_an_image_that_a_step_cannot_take(tmp_path):
    path = tmp_path / "small.png"
    Image.new("RGB", (30, 20)).save(path)
    pipeline = Pipeline("RGB", (CenterCrop((24, 24)), *images.imagenet().steps[2:]))
    with refused(lenet_cpp.BadInput, "cannot crop 24 x 24 pixels from 30 x 20", path):
        pipeline(path)
    Image.new("L", (100_000, 1)).save(path)
    with refused(lenet_cpp.BadInput, "25600000 x 256 is over the limit", path):
        images.imagenet()(path)


def test_batch(tmp_path):
    sources = [Image.fromarray(random_pixels(80 + i, 90, 3)) for i in range(3)]
    pipeline = images.imagenet(64)
    batch = pipeline.batch(sources)
    assert batch.shape == (3, 3, 64, 64)
    assert np.array_equal(batch, [pipeline(source) for source in sources])
    assert np.array_equal(batch, pipeline.batch(list(map(np.asarray, sources))))  # in threads
    with pytest.raises(lenet_cpp.BadInput, match="at least one"):
        pipeline.batch([])
    sources[2].save(tmp_path / "wide.png")
    with pytest.raises(lenet_cpp.BadInput, match=r"wide\.png: 90 x 82 pixels after .* 90 x 80"):
        Pipeline("RGB", pipeline.steps[2:]).batch([sources[0], tmp_path / "wide.png"])


def test_the_format_of_the_file(tmp_path):
    path = tmp_path / "preprocess.json"
    images.imagenet().save(path)
    assert json.loads(path.read_text()) == {
        "format_version": 1,
        "mode": "RGB",
        "steps": [
            {"type": "Resize", "short_side": 256, "interpolation": "bilinear"},
            {"type": "CenterCrop", "size": [224, 224]},
            {"type": "Normalize", "scale": 0.00392156862745098, "mean": [*MEAN], "std": [*STD]},
            {"type": "ToCHW"},
        ],
    }


@pytest.mark.parametrize(
    "pipeline",
    [
        images.imagenet(),
        images.imagenet(299),
        images.digit(),
        images.imagenet(library="opencv"),
        Pipeline("L", (Resize(size=(30, 40), interpolation="bicubic"), *images.digit().steps[1:])),
        Pipeline("BGR", (Normalize(0.1, (1.0, 2.0, 1e-7), (3.0, 1 / 3, 1.0)), ToCHW())),
    ],
)
def test_descriptions_come_back_the_same(tmp_path, pipeline):
    pipeline.save(tmp_path / "preprocess.json")
    assert Pipeline.load(tmp_path / "preprocess.json") == pipeline
    assert Pipeline.from_dict(pipeline.to_dict()) == pipeline
    assert pickle.loads(pickle.dumps(pipeline)) == pipeline


def test_bad_descriptions(tmp_path):
    """C++ reads them; cpp/tests/test_image_pipeline.cc has what is wrong with one."""
    path = tmp_path / "preprocess.json"
    document = images.imagenet().to_dict()
    document["steps"][1]["size"] = [1, True]
    for content, problem in (
        (b"[" * 100_000, "recursion|depth|nest"),
        (b"\xff\x00\xfe", "parse error|UTF-8"),
        (json.dumps(document).encode(), r"steps\[1\]\.size\[1\]: expected an integer"),
    ):
        path.write_bytes(content)
        with refused(BadModel, problem, path) as caught:
            Pipeline.load(path)
        assert len(str(caught.value)) < 400
    for path in (tmp_path, tmp_path / "missing.json"):
        with refused(lenet_cpp.FileNotFound, "", path):
            Pipeline.load(path)
    with pytest.raises(BadModel, match="the document"):
        Pipeline.from_dict(None)


@pytest.mark.parametrize(
    ("mode", "steps", "problem"),
    [
        ("CMYK", images.digit().steps, "mode: expected one of L, RGB, BGR"),
        ("L", (Resize(size=(28, np.int64(28))), *images.digit().steps[1:]), r"size\[1\]: expected"),
        ("L", ("Resize", *images.digit().steps), "dataclass"),
    ],
)
def test_steps_that_make_no_pipeline(mode, steps, problem):
    with pytest.raises(lenet_cpp.BadInput, match=problem):
        Pipeline(mode, steps)
