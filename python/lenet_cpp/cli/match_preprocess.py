"""``lenet-cpp match-preprocess``: the preparation of images that gives the outputs of Python."""

import os
import warnings
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from click import option
from numpy.typing import NDArray
from tabulate import tabulate
from tqdm import tqdm

from lenet_cpp._base.files import reading
from lenet_cpp.cli import _options as cli
from lenet_cpp.data.images import (
    CenterCrop,
    Normalize,
    Pipeline,
    Resize,
    ToCHW,
    digit,
    find_images,
    read_image,
)
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


_Values = tuple[str, str]
_Key = tuple[int, _Values]  # the number of a way, and the values


class _Way(NamedTuple):
    """How an image becomes as large as the input."""

    words: tuple[str, ...]
    geometry: tuple[str, ...]
    steps: tuple[Any, ...]
    end: int  # of _ENDS; -1: none


class _Distance(NamedTuple):
    share: float  # of the range of the outputs
    largest: float


def _ways(height: int, width: int, *, grey: bool) -> Iterator[_Way]:
    side = min(height, width)
    sizes: list[dict[str, Any]] = [{"short_side": round(side * 256 / 224)}]
    sizes += [{"size": (height, width)}]
    shorts = dict.fromkeys((side, int(side / 0.9), int(side / 0.95)))
    sizes += [{"short_side": short} for short in shorts]
    sizes += [{"size": (round(height * 256 / 224), round(width * 256 / 224))}]
    for (library, name), number, size in product(_RESIZES, (0, 1), sizes):
        rounding, middle = _ROUNDINGS[library][number]
        known = library if library == "opencv" else None
        steps: tuple[Any, ...] = (
            Resize(**size, interpolation=name, library=known, rounding=rounding),
            CenterCrop((height, width), middle),
        )
        words = f"short side {size.get('short_side')}", f"{height} x {width}"
        if "size" in size:
            words = " x ".join(map(str, size["size"])), words[1]
        end = _ENDS.index((library, name)) if (library, name) in _ENDS and number == 0 else -1
        convention = _CONVENTIONS[rounding is not None]
        yield _Way((f"{library} {name}", *words, convention), words, steps, end)
    if grey and (height, width) == (28, 28):
        yield _Way(("Digit", "", "", ""), (), digit().steps[:1], 0)


def _is_probabilities(outputs: NDArray[Any]) -> bool:
    return bool((outputs >= 0).all() and np.allclose(outputs.sum(axis=1), 1, atol=1e-3))


class _Search:
    """What was tried with a model and images, of which ``expected`` are the outputs elsewhere."""

    softmax = ""  # whose outputs get one

    def __init__(
        self, predictor: Predictor, images: list[Path], expected: NDArray[Any], size: int | None
    ) -> None:
        shape = predictor.input_spec.shape
        last = len(shape) == 4 and shape[1] not in {1, 3}
        if len(shape) != 4 or shape[3 if last else 1] not in {1, 3}:
            raise BadInput(
                f"the model takes {list(shape)}: expected [N, 1 or 3, height, width] or"
                " [N, height, width, 1 or 3]"
            )
        if expected.ndim != 2 or len(expected) != len(images) or expected.dtype.kind != "f":
            raise BadInput(
                f"the expected outputs are {expected.dtype} {list(expected.shape)}: give floats,"
                f" [{len(images)}, classes], a row for each image"
            )
        if not np.isfinite(expected).all():
            raise BadInput("the expected outputs are not all finite")
        self.predictor, self.expected = predictor, expected.astype(np.float64)
        grey = shape[3 if last else 1] == 1
        self.mode, channels = ("L", 1) if grey else ("RGB", 3)
        sides = shape[1:3] if last else shape[2:]
        height, width = (size or 224 if each < 0 else each for each in sides)
        read = [read_image(each, self.mode) for each in images]
        self.pixels = [np.asarray(each).reshape(each.height, each.width, -1) for each in read]
        self.plain = (Normalize(1.0, (0.0,) * channels, (1.0,) * channels),)
        end = () if last else (ToCHW(),)
        self.ways = list(_ways(height, width, grey=grey))
        self.values = {
            (mode, name): Pipeline(mode, (Normalize(*numbers), *end))
            for name, numbers in (_GREY if grey else _VALUES).items()
            for mode in (("L",) if grey else ("RGB", "BGR"))
        }
        self.known: dict[tuple[Any, ...], NDArray[Any]] = {}

    def run(self) -> list[tuple[_Distance, int, _Values]]:
        """Return what is best: the distance, the number of the way, the values.

        The second round resizes in every way what the first, which resizes in one way, found best.
        Where nothing fits, the third resizes in the way that is farthest from the first's, and the
        fourth in every way what is near, as far as these two are apart.
        """
        # Of a square image every short side is the whole.
        probe = int(np.argmax([abs(len(each) - each.shape[1]) for each in self.pixels]))
        rows: dict[_Key, NDArray[Any]] = {}
        found: dict[_Key, _Distance] = {}
        with tqdm(desc="match-preprocess", total=0, disable=None, leave=False) as bar:

            def tries(wanted: Callable[[_Way, _Values], bool]) -> None:
                chosen = {}
                for i, way in enumerate(self.ways):
                    left = (each for each in self.values if (i, each) not in found)
                    if values := [each for each in left if wanted(way, each)]:
                        chosen[i] = values
                bar.total = bar.n + len(chosen)
                for i, values in chosen.items():
                    for each, row in zip(values, self._outputs(i, values, probe), strict=True):
                        rows[i, each], found[i, each] = row, self._distance(row, probe)
                    bar.update()

            tries(lambda way, _: way.end == 0)
            best = sorted(found, key=lambda each: found[each])[:_PAIRS]
            pairs = {(self.ways[way].geometry, values) for way, values in best}
            tries(lambda way, values: (way.geometry, values) in pairs)
            if min(found.values()).share > _FITS:
                tries(lambda way, _: way.end == 1)
                near = self._near(rows, probe)
                tries(lambda way, values: (way.geometry, values) in near)
            ranked = sorted(found, key=lambda each: (found[each], each[0]))
            kept = [key for i, key in enumerate(ranked) if i < _KEPT or found[key].share <= _FITS]
            bar.total = bar.n + len(kept)
            matches = []
            for way, values in kept:
                each = (self._outputs(way, [values], i)[0] for i in range(len(self.pixels)))
                furthest = max(self._distance(row, i) for i, row in enumerate(each))
                matches.append((furthest, way, values))
                bar.update()
        return sorted(matches, key=lambda each: (max(each[0].share, _SAME), each[1]))

    def _near(self, rows: dict[_Key, NDArray[Any]], image: int) -> set[tuple[Any, _Values]]:
        """Return the sizes and values of which some way of resizing may fit."""
        # In photos and noise none was farther from both ends than 0.66 times their distance.
        ends: tuple[dict[Any, NDArray[Any]], ...] = ({}, {}, {})
        for (i, values), row in rows.items():
            ends[self.ways[i].end][self.ways[i].geometry, values] = row
        return {
            pair
            for pair, sharp in ends[1].items()
            if min(self._distance(row, image).largest for row in (sharp, ends[0][pair]))
            <= np.abs(sharp - ends[0][pair]).max()
        }

    def _outputs(self, way: int, values: list[_Values], image: int) -> list[NDArray[Any]]:
        resize = Pipeline(self.mode, (*self.ways[way].steps, *self.plain))
        try:
            pixels = resize.compiled(self.pixels[image]).astype(np.uint8)
        except BadInput:  # such as no digit
            return [np.full(self.expected.shape[1], np.inf)] * len(values)
        digest = sha256(pixels.tobytes()).digest()  # many ways give the same
        keys = [(image, digest, each) for each in values]
        missing = {key: key[2] for key in keys if key not in self.known}
        if missing:
            batch = np.stack([self.values[each].compiled(pixels) for each in missing.values()])
            count = self.predictor.input_spec.shape[0]
            parts = [batch] if count < 0 else np.repeat(batch[:, None], count, axis=1)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", InputRangeWarning)
                runs = [self.predictor.run(part) for part in parts]
            outputs = np.concatenate([run if count < 0 else run[:1] for run in runs])
            self.known |= zip(missing, self._comparable(outputs), strict=True)
        return [self.known[key] for key in keys]

    def _comparable(self, outputs: NDArray[Any]) -> NDArray[Any]:
        given = outputs.reshape(len(outputs), -1).astype(np.float64)
        if given.shape[1] != self.expected.shape[1]:
            raise BadInput(
                f"the model has {given.shape[1]} outputs for an image, {self.expected.shape[1]} are"
                " expected"
            )
        are_probabilities = _is_probabilities(self.expected)
        if not self.softmax and are_probabilities and not _is_probabilities(given):
            self.softmax = "the model's outputs"
        elif not self.softmax and not are_probabilities and _is_probabilities(given):
            self.softmax = "the expected outputs"
            self.expected = softmax(self.expected)
        return softmax(given) if self.softmax == "the model's outputs" else given

    def _distance(self, row: NDArray[Any], image: int) -> _Distance:
        largest = float(np.abs(row - self.expected[image]).max())
        return _Distance(largest / max(float(np.ptp(self.expected[image])), 1e-30), largest)


def _read_expected(path: Path) -> NDArray[Any]:
    try:
        with reading(path), path.open("rb") as file:
            return np.atleast_2d(np.lib.format.read_array(file, allow_pickle=False))
    except ValueError as error:
        raise BadInput(f"{path} is no .npy file: {error}") from error


@cli.command("""
%prog resnet18.onnx cat.jpg --expect scores.npy -o preprocess.json
    what numpy.save("scores.npy", scores) wrote where the numbers are right
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
def main(
    model: Path,
    images: tuple[Path, ...],
    params_file: Path | None,
    expect: Path,
    top: int,
    output: Path | None,
    image_size: int | None,
) -> int:
    """Find out how images were prepared, from the outputs that a model gave for them in Python.

    Tries the usual preparations of PaddleClas, PaddleX, torchvision and timm: how an image is
    resized, the crop, RGB or BGR, scale, mean and standard deviation. One fits when no output
    differs by more than a thousandth of their range; the exit status is 1 when none does. Take a
    photo that is large and not square; several tell more.
    """
    expected = _read_expected(expect)
    files = find_images(images)
    with cli.load_model(model, params_file, threads=len(os.sched_getaffinity(0))) as predictor:
        search = _Search(predictor, files, expected, image_size)
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
    if search.softmax:
        print(f"compared with the softmax of {search.softmax}")
    best, way, values = matches[0]
    if best.share > _FITS:
        print(
            f"none of {len(search.ways) * len(search.values)} preparations fits, of which those are"
            " run that come near: another one was used, or the outputs are those of another model"
            " or of other images"
        )
        return 1
    limit = min(max(4 * best.share, _SAME), _FITS)
    same = sum(each.share <= limit for each, _, _ in matches)
    if same > 1:
        print(
            f"these images do not tell the first {same} apart; the most usual is named first: a"
            " larger photo that is not square tells more"
        )
    if output is not None:
        steps = (*search.ways[way].steps, *search.values[values].steps)
        Pipeline(values[0], steps).save(output)
        print(f"wrote {output}")
    return 0
