"""Classifiers in every form, the three scripts that classify images, and all that parse flags."""

import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from lenet_cpp.cli import COMMANDS, load
from lenet_cpp.data.mnist import read_idx
from scripts.predict import infer, predict, py_infer
from snippets import run_command

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "data" / "mnist_sample"
MAINS = {"predict": predict, "infer": infer, "py_infer": py_infer}
"""Of scripts, which take the flags of the guides."""
# serve hands its arguments on to a C++ program.
PARSED = {name: load(name) for name in COMMANDS if name != "serve"}
FORMATS = ("pdmodel", "json", "separate")
ENGINES = ("native", "paddle", "python", "executor")


class Case(NamedTuple):
    """A model in every form, and images for it."""

    name: str
    params: Path
    exported: Path
    separate: Path
    photos: Path
    sizes: dict

    def files(self, format_):
        if format_ == "separate":
            return {"model_dir": self.separate}
        (program,) = self.exported.glob("*.pdmodel")
        return {"model_file": program.with_suffix(f".{format_}")}

    def flags(self, format_):
        return [f"--{name}={path}" for name, path in self.files(format_).items()]

    def infer_flags(self):
        sizes = [f"--{name}={size}" for name, size in self.sizes.items()]
        return [f"--m={self.name}", f"--p={self.params}", *sizes]


def write_digits(folder, count):
    """Write real digits as PNG files; return what they are."""
    folder.mkdir(exist_ok=True)
    for number, image in enumerate(read_idx(SAMPLE / "t10k-images-idx3-ubyte.gz")[:count]):
        Image.fromarray(image).save(folder / f"{number:03d}.png")
    return read_idx(SAMPLE / "t10k-labels-idx1-ubyte.gz")[:count].tolist()


def write_photos(folder, count):
    """Write smooth pictures of several sizes, so that resizing and cropping have work to do."""
    folder.mkdir()
    random = np.random.default_rng(4)
    for number in range(count):
        small = Image.fromarray(random.integers(0, 256, (5 + number, 7, 3), dtype=np.uint8))
        picture = small.resize((300 - 40 * number, 200 + 50 * number))
        picture.save(folder / f"{number}.jpg", quality=95)


def run(name, *arguments, **options):
    """Run a command as a user does."""
    command = (sys.executable, ROOT / "scripts" / f"{name}.py", *arguments)
    return run_command(*command, timeout=120, **options)


def fails(code, words, name, *arguments):
    """Return the one line with which a command fails."""
    done = run(name, *arguments)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert words in line
    return line


def answers(path):
    """What a JSON file of predictions says of each image."""
    return {
        Path(found["file"]).name: [
            (one["class_id"], one["label"], one["probability"]) for one in found["predictions"]
        ]
        for found in json.loads(path.read_text())
    }
