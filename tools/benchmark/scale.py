"""Measure bulk prediction and two predictors at once: ``python -m tools.benchmark.scale``.

Processor time, so that other work on the machine changes little, except where two processes or
threads work. Writes docs/results/scale.json, of which ``python -m tools.pages`` makes the tables.
"""

from __future__ import annotations

import io
import json
import resource
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

import lenet_cpp
from lenet_cpp.bulk.parts import predict_all
from lenet_cpp.data.mnist import read_idx
from tools.benchmark.making import make
from tools.survey.machine import describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Work = tuple[lenet_cpp.Predictor, NDArray[np.float32]]

ROOT = Path(__file__).parents[2]
COUNT = 200_000
PHOTOS = 60


def processor_seconds() -> float:
    """Return the processor time of this process and its ended children."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def least(call: Callable[[], object], runs: int = 2) -> tuple[float, float]:
    """Return the least processor time and the least time of several calls, in seconds."""
    found = []
    for _ in range(runs):
        processor, clock = processor_seconds(), time.perf_counter()
        call()
        found.append((processor_seconds() - processor, time.perf_counter() - clock))
    return min(one for one, _ in found), min(other for _, other in found)


def write_digits(folder: Path) -> NDArray[np.uint8]:
    """Write digits of the sample with noise as .parquet with a binary column; return them."""
    digits = read_idx(ROOT / "data" / "mnist_sample" / "train-images-idx3-ubyte.gz")
    random = np.random.default_rng(0)
    images = digits[random.integers(0, len(digits), COUNT)]
    np.minimum(images, 240, out=images)
    images += random.integers(0, 16, images.shape, dtype=np.uint8)
    size = COUNT // 20
    for number in range(20):
        column = pa.array([image.tobytes() for image in images[number * size :][:size]])
        table = pa.table({"image": column})
        parquet.write_table(table, folder / f"{number:02}.parquet", row_group_size=2000)
    return images


def photos(digits: NDArray[np.uint8]) -> list[bytes]:
    """Return JPEG files of 640 x 480 pixels, each a digit with noise."""
    random = np.random.default_rng(0)
    files = []
    for digit in digits[:PHOTOS]:
        wide = np.asarray(Image.fromarray(digit).resize((640, 480), Image.Resampling.BICUBIC))
        noisy = np.clip(wide.astype(np.int16) + random.integers(0, 20, wide.shape), 0, 255)
        file = io.BytesIO()
        Image.fromarray(np.stack([noisy.astype(np.uint8)] * 3, 2)).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def runs_a_second(work: list[Work], seconds: float = 1.5) -> list[float]:
    """Return how often predictors run, each in a thread of its own, at the same time."""
    until = time.perf_counter() + seconds

    def count(one: Work) -> float:
        runs = 0
        while time.perf_counter() < until:
            one[0].run(one[1])
            runs += 1
        return runs / seconds

    with ThreadPoolExecutor(len(work)) as pool:
        return list(pool.map(count, work))


def gain(first: Work, second: Work) -> float:
    """Return how many times as much two predictors do at once as in turn: the median of five."""
    found = []
    for _ in range(5):
        alone = [runs_a_second([one])[0] for one in (first, second)]
        together = runs_a_second([first, second])
        found.append(sum(both / one for both, one in zip(together, alone, strict=True)))
    return float(np.median(found))


def gains(folder: Path) -> dict[str, float]:
    """Measure the native engine: two predictors of LeNet, of ResNet18, and one of each."""
    make("export", folder, network="ResNet18", image_size=None, target=folder / "resnet18")
    random = np.random.default_rng(0)

    def two(where: Path | None, images: int) -> tuple[Work, Work]:
        predictor = lenet_cpp.Predictor(model_dir=where, engine="native")
        array = random.random((images, *predictor.input_spec.shape[1:]), np.float32)
        return (predictor, array), (predictor.clone(), array)

    lenet, resnet = two(None, 64), two(folder / "resnet18", 1)
    pairs = {"lenet": lenet, "resnet18": resnet, "both": (lenet[0], resnet[0])}
    return {name: gain(*pair) for name, pair in pairs.items()}


def main() -> None:
    """Measure, print and write."""
    model = lenet_cpp.Predictor()
    predictor = lenet_cpp.BatchPredictor()
    with tempfile.TemporaryDirectory() as name:
        folder, gallery = Path(name, "digits"), Path(name, "photos")
        folder.mkdir()
        gallery.mkdir()
        images = write_digits(folder)
        pieces = [images[at : at + 1024] for at in range(0, COUNT, 1024)]
        files = photos(images)
        for number, file in enumerate(files):
            (gallery / f"{number:02}.jpg").write_bytes(file)

        def bulk(names: list[Path], workers: int, rows: int | None = None) -> Callable[[], object]:
            target = Path(name, "out.parquet")
            return lambda: predict_all(predictor, names, target, workers=workers, part_rows=rows)

        bulk([folder], 1)()
        memory, _ = least(lambda: [model.run(piece) for piece in pieces])
        one, _ = least(bulk([folder], 1))
        # So many that starting the processes and joining the parts is little beside the work.
        digit_clocks = [least(bulk([folder] * 20, workers), 1)[1] for workers in (1, 2)]
        photo_clocks = [least(bulk([gallery] * 50, workers, 50), 1)[1] for workers in (1, 2)]
        predictors = gains(Path(name))

    def pillow() -> None:
        for file in files:
            np.asarray(Image.open(io.BytesIO(file)).convert("L"))

    decoding, _ = least(pillow, 5)
    whole, _ = least(lambda: predictor.columns(files), 5)
    results = {
        **describe(SimpleNamespace(images=COUNT, photos=PHOTOS)),
        "digits": {
            "in_memory_us": memory / COUNT * 1e6,
            "one_process_us": one / COUNT * 1e6,
            "one_seconds": digit_clocks[0],
            "two_seconds": digit_clocks[1],
        },
        "photos": {
            "pillow_ms": decoding / PHOTOS * 1e3,
            "predicted_ms": whole / PHOTOS * 1e3,
            "bytes": sum(map(len, files)) // PHOTOS,
            "one_seconds": photo_clocks[0],
            "two_seconds": photo_clocks[1],
        },
        "predictors": predictors,
    }
    text = json.dumps(results, indent=1) + "\n"
    (ROOT / "docs" / "results" / "scale.json").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
