"""``lenet-cpp match-preprocess``: find the preprocessing that gives the outputs of Python."""

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import click
import numpy as np
from click import option
from numpy.typing import NDArray
from tabulate import tabulate
from tqdm import tqdm

from lenet_cpp._base.files import reading
from lenet_cpp.cli import _options as cli
from lenet_cpp.data.images import (
    CenterCrop,
    Digit,
    Normalize,
    Pipeline,
    Resize,
    ToCHW,
    find_images,
    read_image,
)
from lenet_cpp.data.images.pipeline import change_pipeline
from lenet_cpp.errors import BadInput
from lenet_cpp.inference.input_range import InputRangeWarning
from lenet_cpp.inference.outputs import softmax
from lenet_cpp.inference.predictor import Predictor

# Differences are shares of the range of an image's outputs.
_FITS = 1e-3  # ten times what other libraries and devices are off
_SAME = 1e-5  # less is no difference between two preparations
_PAIRS = 8  # of a size and values, for the second round
_KEPT = 15  # to be compared for all images

# The most usual first: of several that are the same it is the one that is named.
_RESIZES = [("pillow", "bilinear"), ("opencv", "bilinear"), ("pillow", "bicubic")]
_RESIZES += [("opencv", name) for name in ("area", "bicubic", "nearest")] + [("pillow", "nearest")]
_ENDS = [_RESIZES[0], ("opencv", "nearest")]  # the smoothest and the sharpest
_ROUNDINGS = {  # of the long side and of the crop: torchvision's, PaddleClas's
    "pillow": ((None, None), ("half_even", "down")),
    "opencv": (("half_even", "down"), (None, None)),
}
_CONVENTIONS = ("torchvision", "PaddleClas")
_CLIP = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_VALUES = {
    "ImageNet": (1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "mean 0.5, std 0.5": (1 / 255, (0.5,) * 3, (0.5,) * 3),
    "0 to 1": (1 / 255, (0.0,) * 3, (1.0,) * 3),
    "CLIP": (1 / 255, *_CLIP),
    "0 to 255": (1.0, (0.0,) * 3, (1.0,) * 3),
    "Keras's caffe": (1.0, (103.939, 116.779, 123.68), (1.0,) * 3),
}
_GREY = {
    "0 to 1": (1 / 255, (0.0,), (1.0,)),
    "mean 0.5, std 0.5": (1 / 255, (0.5,), (0.5,)),
    "MNIST": (1 / 255, (0.1307,), (0.3081,)),
    "0 to 255": (1.0, (0.0,), (1.0,)),
}


_Geometry = tuple[str, ...]
_Values = tuple[str, str]  # the mode, and a name in _VALUES or _GREY
_Pair = tuple[_Geometry, _Values]
_Key = tuple[int, _Values]  # the number of a way, and the values


class _Way(NamedTuple):
    """How an image becomes as large as the input."""

    words: tuple[str, ...]
    geometry: _Geometry
    steps: tuple[Resize | CenterCrop | Digit, ...]
    end: int  # of _ENDS; -1: none


class _Distance(NamedTuple):
    share: float  # of the range of the outputs
    largest: float


class _Layout(NamedTuple):
    """The images that a model takes."""

    channels: int
    height: int
    width: int
    channels_last: bool

    @property
    def is_grey(self) -> bool:
        return self.channels == 1


def _layout_of(shape: tuple[int, ...], size: int | None) -> _Layout:
    """Read the shape of a model's input; ``size``, or 224, is taken for sides of any size."""
    channels_last = len(shape) == 4 and shape[1] not in {1, 3}
    if len(shape) != 4 or shape[3 if channels_last else 1] not in {1, 3}:
        raise BadInput(
            f"the model takes {list(shape)}: expected [N, 1 or 3, height, width] or"
            " [N, height, width, 1 or 3]"
        )
    channels, sides = (shape[3], shape[1:3]) if channels_last else (shape[1], shape[2:])
    height, width = (size or 224 if side < 0 else side for side in sides)
    return _Layout(channels, height, width, channels_last)


def _ways(layout: _Layout) -> Iterator[_Way]:
    """Yield every way to make an image as large as the input, the most usual one first."""
    height, width = layout.height, layout.width
    for (library, name), number, size in product(_RESIZES, (0, 1), _sizes(height, width)):
        rounding, middle = _ROUNDINGS[library][number]
        known = library if library == "opencv" else None
        resize = replace(size, interpolation=name, library=known, rounding=rounding)
        resized = f"short side {size.short_side}"
        if size.size is not None:
            resized = " x ".join(map(str, size.size))
        geometry = resized, f"{height} x {width}"
        end = _ENDS.index((library, name)) if (library, name) in _ENDS and number == 0 else -1
        convention = _CONVENTIONS[rounding is not None]
        steps = resize, CenterCrop((height, width), middle)
        yield _Way((f"{library} {name}", *geometry, convention), geometry, steps, end)
    for rounding, convention in zip((None, "down"), _CONVENTIONS, strict=True):
        fill = None if rounding else (0,) * layout.channels  # torchvision adds a black border
        crop = CenterCrop((height, width), rounding, fill=fill)
        words = ("none", "", f"{height} x {width}", convention)
        yield _Way(words, words[1:3], (crop,), -1 if rounding else 0)
    if layout.is_grey and (height, width) == (28, 28):
        yield _Way(("Digit", "", "", ""), (), (Digit(),), 0)


def _sizes(height: int, width: int) -> list[Resize]:
    """Return the sizes that an image gets before it is cropped."""
    side = min(height, width)
    shorts = dict.fromkeys((side, int(side / 0.9), int(side / 0.95)))
    return [
        Resize(short_side=round(side * 256 / 224)),
        Resize(size=(height, width)),
        *(Resize(short_side=short) for short in shorts),
        Resize(size=(round(height * 256 / 224), round(width * 256 / 224))),
    ]


def _values_of(layout: _Layout, known: Mapping[str, str]) -> dict[_Values, Pipeline]:
    """Return the preparations of an image that has its size, by the mode and what it is called.

    Args:
        layout: The images.
        known: The texts of ``--mean`` and ``--std``; empty where the user does not know them.
    """
    modes, values = (("L",), _GREY) if layout.is_grey else (("RGB", "BGR"), _VALUES)
    end = () if layout.channels_last else (ToCHW(),)
    if known:
        unit = Normalize(*values["0 to 1"])
        return {
            (mode, "given"): change_pipeline(Pipeline(mode, (unit, *end)), known)[0]
            for mode in modes
        }
    return {
        (mode, name): Pipeline(mode, (Normalize(*numbers), *end))
        for name, numbers in values.items()
        for mode in modes
    }


def _is_probabilities(outputs: NDArray[Any]) -> bool:
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=1), 1, atol=1e-3))


class _Expected:
    """The outputs elsewhere, with which those of the model are compared."""

    softmax = ""  # whose outputs get one

    def __init__(self, outputs: NDArray[Any], images: int) -> None:
        if outputs.ndim != 2 or len(outputs) != images or outputs.dtype.kind != "f":
            raise BadInput(
                f"the expected outputs are {outputs.dtype} {list(outputs.shape)}: give floats,"
                f" [{images}, classes], a row for each image"
            )
        if not np.isfinite(outputs).all():
            raise BadInput("the expected outputs are not all finite")
        self._outputs = outputs.astype(np.float64)
        self.classes: int = outputs.shape[1]

    def comparable(self, outputs: NDArray[Any]) -> NDArray[np.float64]:
        """Return the model's outputs as the expected ones are: both logits or probabilities."""
        given = outputs.reshape(len(outputs), -1).astype(np.float64)
        if given.shape[1] != self.classes:
            raise BadInput(
                f"the model has {given.shape[1]} outputs for an image, {self.classes} are expected"
            )
        are_probabilities = _is_probabilities(self._outputs)
        if not self.softmax and are_probabilities and not _is_probabilities(given):
            self.softmax = "the model's outputs"
        elif not self.softmax and not are_probabilities and _is_probabilities(given):
            self.softmax = "the expected outputs"
            self._outputs = softmax(self._outputs)
        return softmax(given) if self.softmax == "the model's outputs" else given

    def distance(self, row: NDArray[np.float64], image: int) -> _Distance:
        """Return how far an image's outputs are from the expected ones."""
        expected = self._outputs[image]
        largest = float(np.abs(row - expected).max())
        return _Distance(largest / max(float(np.ptp(expected)), 1e-30), largest)


class _Search:
    """The preparations that were tried with a model and images."""

    def __init__(
        self,
        predictor: Predictor,
        images: list[Path],
        expected: NDArray[Any],
        size: int | None,
        known: Mapping[str, str],
    ) -> None:
        layout = _layout_of(predictor.input_spec.shape, size)
        self.expected = _Expected(expected, len(images))
        self.ways = list(_ways(layout))
        self.values = _values_of(layout, known)
        self._predictor = predictor
        self._mode = "L" if layout.is_grey else "RGB"
        self._as_pixels = Normalize(1.0, (0.0,) * layout.channels, (1.0,) * layout.channels)
        self._images = [_pixels_of(path, self._mode) for path in images]
        # A square image cannot tell the rules for the short side from the others.
        self._probe = int(np.argmax([abs(len(each) - each.shape[1]) for each in self._images]))
        self._rows: dict[_Key, NDArray[np.float64]] = {}  # the outputs for the probe
        self._found: dict[_Key, _Distance] = {}
        self._known: dict[tuple[int, bytes, _Values], NDArray[np.float64]] = {}

    def run(self) -> list[tuple[_Distance, int, _Values]]:
        """Return what is best: the distance, the number of the way, the values.

        The second round resizes in every way what the first, which resizes in one way, found best.
        Where nothing fits, the third resizes in the way that is farthest from the first's, and the
        fourth in every way what is near, as far as these two are apart.
        """
        with tqdm(desc="match-preprocess", total=0, disable=None, leave=False) as bar:
            self._try(bar, lambda way, _: way.end == 0)
            best = sorted(self._found, key=lambda each: self._found[each])[:_PAIRS]
            pairs = {(self.ways[way].geometry, values) for way, values in best}
            self._try(bar, lambda way, values: (way.geometry, values) in pairs)
            if min(self._found.values()).share > _FITS:
                self._try(bar, lambda way, _: way.end == 1)
                near = self._near()
                self._try(bar, lambda way, values: (way.geometry, values) in near)
            kept = self._kept()
            bar.total = bar.n + len(kept)
            matches = []
            for way, values in kept:
                matches.append((self._furthest(way, values), way, values))
                bar.update()
        return sorted(matches, key=lambda each: (max(each[0].share, _SAME), each[1]))

    def _try(self, bar: "tqdm[NoReturn]", wanted: Callable[[_Way, _Values], bool]) -> None:
        """Run what is wanted and was not tried yet, for the probe."""
        chosen: dict[int, list[_Values]] = {}
        for number, way in enumerate(self.ways):
            left = [each for each in self.values if (number, each) not in self._found]
            if values := [each for each in left if wanted(way, each)]:
                chosen[number] = values
        bar.total = bar.n + len(chosen)
        for number, values in chosen.items():
            rows = self._outputs(number, values, self._probe)
            for each, row in zip(values, rows, strict=True):
                self._rows[number, each] = row
                self._found[number, each] = self.expected.distance(row, self._probe)
            bar.update()

    def _near(self) -> set[_Pair]:
        """Return the sizes and values of which some way of resizing may fit."""
        smooth: dict[_Pair, NDArray[np.float64]] = {}
        sharp: dict[_Pair, NDArray[np.float64]] = {}
        for (number, values), row in self._rows.items():
            way = self.ways[number]
            if way.end == 0:
                smooth[way.geometry, values] = row
            elif way.end == 1:
                sharp[way.geometry, values] = row
        near = set()
        for pair, row in sharp.items():
            ends = row, smooth[pair]
            nearest = min(self.expected.distance(each, self._probe).largest for each in ends)
            # In photos and noise none was farther from both ends than 0.66 times their distance.
            if nearest <= np.abs(row - smooth[pair]).max():
                near.add(pair)
        return near

    def _kept(self) -> list[_Key]:
        """Return what is compared for all images: all that fits the probe, or comes nearest."""
        found = self._found
        ranked = sorted(found, key=lambda each: (found[each], each[0]))
        return [key for i, key in enumerate(ranked) if i < _KEPT or found[key].share <= _FITS]

    def _furthest(self, way: int, values: _Values) -> _Distance:
        """Return the greatest distance of all images."""
        return max(
            self.expected.distance(self._outputs(way, [values], image)[0], image)
            for image in range(len(self._images))
        )

    def _outputs(self, way: int, values: list[_Values], image: int) -> list[NDArray[np.float64]]:
        """Return the outputs for an image that is resized in a way, with each of the values."""
        resize = Pipeline(self._mode, (*self.ways[way].steps, self._as_pixels))
        try:
            pixels = resize.compiled(self._images[image]).astype(np.uint8)
        except BadInput:  # such as no digit
            return [np.full(self.expected.classes, np.inf)] * len(values)
        digest = sha256(pixels.tobytes()).digest()  # many ways give the same
        missing = [each for each in values if (image, digest, each) not in self._known]
        if missing:
            batch = np.stack([self.values[each].compiled(pixels) for each in missing])
            outputs = self.expected.comparable(self._run(batch))
            for each, row in zip(missing, outputs, strict=True):
                self._known[image, digest, each] = row
        return [self._known[image, digest, each] for each in values]

    def _run(self, batch: NDArray[np.float32]) -> NDArray[Any]:
        """Return the outputs for images, also of a model that takes another number of them."""
        count = self._predictor.input_spec.shape[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InputRangeWarning)
            if count < 0:
                return self._predictor.run(batch)
            repeated = np.repeat(batch[:, None], count, axis=1)
            return np.concatenate([self._predictor.run(each)[:1] for each in repeated])


def _pixels_of(path: Path, mode: str) -> NDArray[np.uint8]:
    """Return an image as [H, W, C]."""
    image = read_image(path, mode)
    return np.asarray(image).reshape(image.height, image.width, -1)


def _read_expected(path: Path) -> NDArray[Any]:
    try:
        with reading(path), path.open("rb") as file:
            return np.atleast_2d(np.lib.format.read_array(file, allow_pickle=False))
    except ValueError as error:
        raise BadInput(f"{path} is no .npy file: {error}") from error


@cli.command("""
%prog resnet18.onnx cat.jpg --expect scores.npy -o preprocess.json
    numpy.save("scores.npy", scores) wrote the file in the Python program
""")
@cli.exported(
    metavar="MODEL",
    required=True,
    flags=("-d", "--model-dir", "-m", "--model-file"),
    help="folder of an exported model, or its program: .pdmodel, .json or .onnx",
)
@cli.argument(
    "images",
    metavar="IMAGE...",
    nargs=-1,
    required=True,
    type=cli.FILE,
    help="image files, folders of them or globs",
)
@cli.params_file()
@option(
    "--expect",
    type=cli.FILE,
    required=True,
    help=".npy of the outputs in Python, [images, classes]: logits or probabilities",
)
@option("--top", type=cli.COUNT, default=5, help="how many preparations to print")
@option("-o", "--output", type=cli.FILE, help="write the best one, if it fits, as preprocess.json")
@cli.image_size(
    help="height and width of the images (default: the model's, or 224 where it leaves them open)"
)
@cli.step_change(
    "mean",
    "the mean, if you know it, with --std: for each channel, or for all, for"
    " pixels from 0 to 1; for pixels from 0 to 255 end it with /255: 123.675,116.28,103.53/255",
)
@cli.step_change("std", "the standard deviation, in the same form, with --mean")
def main(
    model: Path,
    images: tuple[Path, ...],
    params_file: Path | None,
    expect: Path,
    top: int,
    output: Path | None,
    image_size: int | None,
    mean: str | None,
    std: str | None,
) -> int:
    """Find out how images were preprocessed, from the outputs that a model gave for them in Python.

    The command tries the usual preprocessing of PaddleClas, PaddleX, torchvision and timm: resize,
    or none, crop, RGB or BGR, scale, mean and standard deviation. A preprocessing fits if no output
    of any image differs by more than a thousandth of the range of the outputs; the exit status is 1
    if none fits. Use large photos that are not square, and more than one if the result is not
    unique.
    """
    if (mean is None) != (std is None):
        raise click.UsageError("--mean and --std are needed together")
    known = {} if mean is None or std is None else {"mean": mean, "std": std}
    expected = _read_expected(expect)
    files = find_images(images)
    with cli.load_model(model, params_file, threads=len(os.sched_getaffinity(0))) as predictor:
        search = _Search(predictor, files, expected, image_size, known)
        matches = search.run()
    rows = [
        [f"{each.largest:.2g}", f"{100 * each.share:.2g} %", *search.ways[way].words, *values]
        for each, way, values in matches[:top]
    ]
    heads = (
        *("difference", "of the range", "resize", "to"),
        *("crop", "rounded as", "channels", "values"),
    )
    print(tabulate(rows, heads, disable_numparse=True))
    if search.expected.softmax:
        print(f"compared with the softmax of {search.expected.softmax}")
    best, way, values = matches[0]
    if best.share > _FITS:
        hint = "a photo may have an EXIF orientation"
        if not known:
            hint = f"give --mean and --std if you know them; {hint}"
        print(
            f"none of {len(search.ways) * len(search.values)} preparations fits: the images were"
            " prepared in another way, or the outputs belong to another model or to other images;"
            f" {hint}"
        )
        return 1
    limit = min(max(4 * best.share, _SAME), _FITS)
    same = sum(each.share <= limit for each, _, _ in matches)
    if same > 1:
        print(
            f"the first {same} preparations fit these images equally well, and the most usual one"
            " is named first; a larger photo that is not square may tell them apart"
        )
    if output is not None:
        steps = (*search.ways[way].steps, *search.values[values].steps)
        Pipeline(values[0], steps).save(output)
        print(f"wrote {output}")
    return 0
