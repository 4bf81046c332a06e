"""Which images a path names, and the digit in a photo."""

import hashlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image, ImageOps

import lenet_cpp
from digit_photos import KINDS, photo
from lenet_cpp.data import images
from lenet_cpp.data.images import Digit, Normalize, Pipeline, ToCHW
from lenet_cpp.formats.manifest import read_manifest, verify_checksums
from pictures import read, refused


def raw(size=28, box=20):
    """The pixels as they are."""
    return Pipeline("L", (Digit(size, box), Normalize(1.0, (0.0,), (1.0,)), ToCHW()))


def found_in(image):
    return raw()(image)[0]


@pytest.fixture
def gallery(tmp_path):
    for name in ("b.png", "a.JPG", "c.webp", ".hidden.png", "notes.md", "below/d.png", "x y.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return tmp_path


def test_folders_globs_and_files(gallery):
    a, b, c, d, x = (gallery / n for n in ("a.JPG", "b.png", "c.webp", "below/d.png", "x y.png"))
    assert images.find_images([gallery]) == [a, b, c, x]
    assert images.find_images(str(gallery)) == [a, b, c, x]
    assert images.find_images([gallery / "*.png"]) == [b, x]
    assert images.find_images([gallery / "**" / "*.png"]) == [b, d, x]
    assert images.find_images([gallery / "[ab].*"]) == [a, b]
    assert images.find_images([b, gallery / "below", a, b]) == [b, d, a, b]
    assert images.find_images([gallery / "notes.md"]) == [gallery / "notes.md"]
    # A file whose name looks like a pattern is the file.
    (gallery / "[ab].png").touch()
    assert images.find_images([gallery / "[ab].png"]) == [gallery / "[ab].png"]


def test_list_files(gallery):
    lists = gallery / "below" / "list.txt"
    text = "\ufeff../b.png 3\r\n\n../x y.png\n../x y.png\t7\n  d.png 0,1\n"
    lists.write_text(text, encoding="utf-8")
    names = ["../b.png", "../x y.png", "../x y.png", "d.png"]
    assert images.find_images([lists]) == [gallery / "below" / name for name in names]
    lists.write_text(f"{gallery / 'b.png'} 5\n")  # absolute
    assert images.find_images([lists]) == [gallery / "b.png"]


def test_sources_without_images(gallery):
    (gallery / "none").mkdir()
    (gallery / "empty.txt").write_text("\n\n")
    (gallery / "wrong.txt").write_text("b.png 1\ngone.png 2\n")
    for source, problem in {
        "none": "no image in this folder; looked for .avif .bmp",
        "*.nope": "no image that matches",
        "gone.png": r"^(?!cannot read).*gone.png does not exist",
        "empty.txt": "lists no image",
        "wrong.txt": "is read as a list of images, .*line 2: .*gone.png does not exist",
    }.items():
        with refused(lenet_cpp.FileNotFound, problem, gallery / source):
            images.find_images([gallery / source])
    (gallery / "binary.txt").write_bytes(b"\xff\xfe\x00")
    for sources, problem in (([gallery / "binary.txt"], "not a list of im"), ([], "at least one")):
        with pytest.raises(lenet_cpp.BadInput, match=problem):
            images.find_images(sources)


def test_mnist_images_come_through_unchanged(mnist_test, tmp_path):
    sources = [Image.fromarray(image) for image in mnist_test.images]
    expected = mnist_test.images[:, None].astype(np.float32) / np.float32(255)
    assert np.array_equal(images.digit().batch(sources), expected)
    logits = lenet_cpp.predict(mnist_test.images)
    assert np.array_equal(lenet_cpp.predict(images.digit().batch(sources)), logits)
    for source, image in zip(sources[:3], mnist_test.images, strict=False):
        source.save(tmp_path / "digit.png")
        assert np.array_equal(read(tmp_path / "digit.png", "L"), image)
        same = lenet_cpp.classify(tmp_path / "digit.png").probabilities
        assert np.array_equal(same, lenet_cpp.classify(image).probabilities)


def test_the_bundled_description(model_dir):
    assert Pipeline.load(model_dir / images.PREPROCESS_NAME) == images.digit()
    assert images.PREPROCESS_NAME in read_manifest(model_dir).files
    assert images.PREPROCESS_NAME in verify_checksums(model_dir)


def bar(shape, box, paper, ink):
    pixels = np.full(shape, paper, np.uint8)
    top, left, height, width = box
    pixels[top : top + height, left : left + width] = ink
    return Image.fromarray(pixels)


@pytest.mark.parametrize(("paper", "ink"), [(230, 30), (20, 200), (250, 235)])
@pytest.mark.parametrize("place", [(7, 5), (50, 80), (2, 2)])
def test_a_bar_by_hand(paper, ink, place):
    """40 x 10 pixels become 20 x 5; rows 0 to 19 have their mass at 9.5, which goes to 14."""
    image = bar((100, 130), (*place, 40, 10), paper, ink)
    expected = np.zeros((28, 28), np.uint8)
    expected[5:25, 12:17] = 255  # 14 - 9.5 rounds to 5; 14 - 2
    assert np.array_equal(found_in(image), expected)
    assert np.array_equal(found_in(image.transpose(Image.Transpose.TRANSPOSE)), expected.T)


def test_a_hair_is_thickened_by_hand():
    """1 x 100 pixels: A = 100, P = 202, t = (100 * 202 - 2000 + 2020) // 4040 = 5: 11 x 110."""
    expected = np.zeros((28, 28), np.uint8)
    expected[5:25, 14:16] = 255  # round(14 - 0.5) is 14
    assert np.array_equal(found_in(bar((200, 200), (30, 60, 100, 1), 240, 10)), expected)


def test_large_images_are_reduced_by_blocks():
    """1000 x 800: blocks of 4 x 4, so a bar on their grid keeps its edges."""
    small = bar((250, 200), (30, 50, 80, 20), 230, 30)
    large = small.resize((800, 1000), Image.Resampling.NEAREST)
    expected = found_in(small)
    assert np.array_equal(found_in(large), expected)
    # What is left over, less than a block, is dropped.
    assert np.array_equal(found_in(ImageOps.expand(large, (0, 0, 3, 2), 0)), expected)


def test_specks_and_a_dark_rim_are_left_out():
    image = bar((200, 200), (60, 90, 80, 20), 230, 30)
    expected = found_in(image)
    image.paste(30, (20, 20, 23, 23))  # 9 pixels of 1600
    image.paste(30, (0, 195, 200, 200))
    assert np.array_equal(found_in(image), expected)


def on_uneven_paper(digit, number):
    """A picture in integers, the same with every version of NumPy and Pillow."""
    side = 1 + number % 23
    ink = np.kron(digit, np.ones((side, side), int))
    height, width = (length * (5 + (number + i) % 9) // 5 for i, length in enumerate(ink.shape))
    y, x = np.mgrid[:height, :width]
    top, left = (height - len(ink)) * (number % 4) // 3, (width - len(ink)) * (number % 3) // 2
    noise = ((y * 73856093 ^ x * 19349663 ^ number * 83492791) >> 5) % (1 + number % 31)
    paper = 230 - 60 * x * number // (width * 150) - noise
    if number % 8:
        paper[top : top + len(ink), left : left + len(ink)] -= ink * (20 + number) // 255
    return (paper if number % 2 else 255 - paper).clip(0, 255).astype(np.uint8)


def test_the_bits_of_the_reference(mnist_test):
    """NumPy's implementation of digit.md, which commit 46aa10e still has, gave this sum."""
    found, refused = hashlib.sha256(), 0
    for number, digit in enumerate(mnist_test.images[:150]):
        pipeline = raw(*((28, 20), (9, 8), (64, 40))[number % 3])
        try:
            found.update(pipeline(on_uneven_paper(digit, number)).astype(np.uint8))
        except lenet_cpp.BadInput:
            refused += 1
    assert refused == 19
    assert found.hexdigest() == "258d336440fcb46baa875fedb7fb25ff874e5838d45cab533e53e4a8ed690f05"


@pytest.mark.parametrize("size", [(28, 28), (100, 80), (640, 480), (1, 1), (1, 300), (2000, 3)])
@pytest.mark.parametrize("noise", [0, 10])
def test_blank_paper_has_no_digit(size, noise, tmp_path):
    random = np.random.default_rng(0)
    light = np.linspace(220, 150, size[0])[None, :]
    pixels = (light + random.normal(0, noise, size[::-1])).clip(0, 255).astype(np.uint8)
    path = tmp_path / "blank.png"
    Image.fromarray(pixels).save(path)
    with refused(lenet_cpp.BadInput, "found no digit: nothing stands out", path):
        lenet_cpp.classify(path)


@pytest.mark.parametrize(("kind", "lost"), [*zip(KINDS, [2, 2, 1, 4, 2, 4], strict=True)])
def test_photos_are_read_as_well_as_the_originals(mnist_test, kind, lost):
    """Against the labels; ``lost`` more than of the originals may be wrong."""
    chosen = slice(0, 30 if kind in {"far", "pen"} else 100)  # those are larger
    labels = mnist_test.labels[chosen]
    originals = (lenet_cpp.predict(mnist_test.images[chosen]).argmax(1) == labels).sum()
    right = 0
    for number, (digit, label) in enumerate(zip(mnist_test.images[chosen], labels, strict=True)):
        with suppress(lenet_cpp.BadInput):
            right += lenet_cpp.classify(photo(digit, kind, [5, number])).labels == [str(label)]
    assert right >= originals - lost


def test_classify_takes_files_images_and_lists(mnist_test, tmp_path):
    picture = photo(mnist_test.images[0], "paper", 0)
    upright = tmp_path / "upright.png"
    picture.save(upright)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right by a quarter
    turned = tmp_path / "turned.png"
    picture.transpose(Image.Transpose.ROTATE_90).save(turned, exif=exif)
    result = lenet_cpp.classify([upright, str(turned), picture])
    assert result.labels == [str(mnist_test.labels[0])] * 3
    assert result.probabilities.shape == (3, 10)
    assert (result.probabilities == result.probabilities[0]).all()
    pixels, content = np.asarray(picture), upright.read_bytes()
    assert pixels.ndim == 2
    rgb = pixels[:, :, None].repeat(3, axis=2)
    for source in (
        upright,
        str(turned),
        picture,
        (picture,),
        content,
        [bytearray(content)],
        pixels,
        pixels.copy("F"),
        rgb,
        np.dstack([rgb, np.full_like(pixels, 255)]),
    ):
        one = lenet_cpp.classify(source)
        assert one.labels == result.labels[:1]
        assert np.allclose(one.probabilities[0], result.probabilities[0], atol=1e-6)
    with pytest.raises(lenet_cpp.FileNotFound, match="gone"):
        lenet_cpp.classify([upright, tmp_path / "gone.png"])
    with pytest.raises(lenet_cpp.BadInput, match="got list"):
        lenet_cpp.classify([upright, [1.0]])


def test_arrays_of_another_size_are_told_what_to_do():
    """Floats, whose white is not known, and what is meant for predict."""
    for shape in ((200, 200), (200, 200, 3)):
        with pytest.raises(lenet_cpp.BadInput, match=r"float64 of shape \[200, 200.*: convert it"):
            lenet_cpp.classify(np.zeros(shape))
    for function in (lenet_cpp.classify, lenet_cpp.predict):
        with pytest.raises(lenet_cpp.BadInput, match=r"got \[5, 200, 200\]: pictures .*classify"):
            function(np.zeros((5, 200, 200), np.uint8))
    for pixels in (np.zeros((5, 200, 200), np.uint8), np.zeros((2, 2)), np.zeros((2, 2, 2), "u1")):
        with pytest.raises(lenet_cpp.BadInput, match="an array of pixels is uint8 from 0 to 255"):
            read(pixels)
    with pytest.raises(lenet_cpp.BadInput, match="must have at least one"):
        read(np.zeros((0, 5), np.uint8))


def test_digits_on_a_transparent_canvas(mnist_test, tmp_path):
    """White and black ones, as drawing programs save them."""
    path = tmp_path / "digit.png"
    found = {"white": [], "black": []}
    for digit in mnist_test.images[:20]:
        alpha = Image.fromarray(digit).resize((200, 200), Image.Resampling.BICUBIC)
        for colour, labels in found.items():
            picture = Image.new("RGBA", alpha.size, colour)
            picture.putalpha(alpha)
            picture.save(path)
            labels.extend(lenet_cpp.classify(path).labels)
    assert found["white"] == found["black"]
    assert (np.array(found["white"], int) == mnist_test.labels[:20]).sum() >= 19
