"""Compare what a bundle prints with what the same program prints for the model in its own place."""

import os
import re
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lenet_cpp.errors import BackendFailure, BadInput, BadModel, Error, Unsupported
from lenet_cpp.inference.predictor import Predictor
from lenet_cpp.inference.program import call_program, error_of

INFER = ("lenet_infer_native", "lenet_infer_test")
CLASSIFY = "lenet_classify"
_SERVE = ("lenet_serve", "lenet_serve_grpc")
_NATIVE = "--engine=native"  # the other computer may have no other engine
_SECONDS = 120
_LISTENS = re.compile(r"listening on http://127\.0\.0\.1:(\d+)\n")
# Sides of images for a model that leaves them open: those of ImageNet, and smaller ones.
_SIDES = (224, 64, 32)


@dataclass(frozen=True)
class Source:
    """The model that is bundled, in its own place.

    Attributes:
        program: The file of its program.
        sample: Images and the outputs for them, both float32 with the batch first; None when the
            model takes none of the sizes that were tried.
        picture: A picture for the model, uint8 [height, width, 3].
    """

    program: Path
    sample: tuple[NDArray[np.float32], NDArray[np.float32]] | None
    picture: NDArray[np.uint8]

    @classmethod
    def of(cls, predictor: Predictor) -> "Source":
        """Return what a bundle of this predictor's model is compared with."""
        shape = predictor.input_spec.shape
        return cls(predictor.model_file, _sample(predictor), _picture(shape))


def _sample(predictor: Predictor) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Return random images and the outputs for them, as in :attr:`Source.sample`."""
    batch, *shape = predictor.input_spec.shape
    count = batch if batch > 0 else 3
    is_open = min(shape) <= 0
    for side in _SIDES:
        sizes = [size if size > 0 else side for size in shape]
        images = np.random.default_rng(0).random((count, *sizes), np.float32)
        try:
            return images, predictor.run(images)
        except (BadInput, Unsupported):
            if not is_open:
                raise
    return None


def _picture(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return a picture of the size that a model takes: uint8 [height, width, 3].

    It is a dark bar, which is a digit too, on bright paper with noise. ``shape`` is that of the
    model's input.
    """
    height, width = 256, 256
    if len(shape) == 4:
        is_channels_last = shape[3] in {1, 3, 4}
        sides = shape[1:3] if is_channels_last else shape[2:4]
        if min(sides) > 0:
            height, width = sides
    pixels = np.random.default_rng(0).integers(200, 240, (height, width, 3), np.uint8)
    pixels[height // 5 : -(height // 5) or None, width * 3 // 7 : width * 4 // 7] -= 170
    pixels[..., 2] -= 20
    return pixels


def compare(
    start: Path, program: Path, source: Source, folder: Path, shown: Callable[[str], str]
) -> str:
    """Run what was written, and compare what it says; return a sentence about that.

    Args:
        start: The file that a user of the bundle runs.
        program: The program that was bundled.
        source: The model that was bundled.
        folder: Where temporary files are written.
        shown: Replaces paths in ``folder`` in a text.

    Raises:
        BackendFailure: The bundle gives something else than its source.
        lenet_cpp.Error: The bundle's program refuses its model.
    """
    name = program.name
    try:
        if name in INFER:
            return _compare_outputs(start, source, folder)
        if name == CLASSIFY:
            return _compare_classes(_classify, program, start, source, folder)
        if name in _SERVE:
            return _compare_classes(_serve, program, start, source, folder)
    except Error as error:
        raise type(error)(shown(str(error))) from error
    return f"not run: {name} is no program of this project; run it with a picture before you use it"


def _compare_outputs(start: Path, source: Source, folder: Path) -> str:
    if source.sample is None:
        return "not run: the model takes images of any size, but none of the sizes that were tried"
    images, expected = source.sample
    np.save(folder / "x.npy", images)
    call_program(start, _NATIVE, f"--input={folder}/x.npy", f"--output={folder}/y.npy")
    found = np.load(folder / "y.npy")
    if not np.array_equal(found, expected):
        raise BackendFailure(
            f"the bundle was not written: {start} gives other outputs than lenet_cpp.Predictor,"
            f" {_few(found)} instead of {_few(expected)}"
        )
    return "checked: it ran, with the same outputs as lenet_cpp.Predictor"


def _few(values: NDArray[np.float32]) -> str:
    return np.array2string(values.ravel()[:3], precision=9, separator=", ")


_Ask = Callable[[Path, Path | None, Path], str]
"""Gives what a program says of a picture, with a model, or with its own where that is None."""


def _compare_classes(ask: _Ask, program: Path, start: Path, source: Source, folder: Path) -> str:
    """Compare what a program says of a picture, with the model in its folder and in the bundle."""
    picture = folder / "picture.bmp"
    Image.fromarray(source.picture).save(picture)
    try:
        expected = ask(program, source.program, picture)
    except (BackendFailure, BadModel):
        raise
    except Error as error:
        return (
            f"not compared: {program.name} with {source.program} refuses a test picture:"
            f" {str(error).replace(str(picture), picture.name)}"
        )
    found = ask(start, None, picture)
    if found != expected:
        raise BackendFailure(
            f"the bundle was not written: for a test picture {start} printed {found!r}, and"
            f" {program} with {source.program} printed {expected!r}"
        )
    return (
        f"checked: it printed for a test picture what {program.name} prints with {source.program}"
    )


def _classify(program: Path, model: Path | None, picture: Path) -> str:
    named = [] if model is None else [f"--model_dir={model}"]
    return call_program(program, *named, _NATIVE, "--format=json", str(picture))


def _serve(program: Path, model: Path | None, picture: Path) -> str:
    """Start the server, and return its response to a picture. A bundle's model is ``model``."""
    named = [] if model is None else [f"model={model}"]
    command = [str(program), *named, _NATIVE, "--port=0"]
    variables = {name: each for name, each in os.environ.items() if name != "LENET_SERVE_TOKEN"}
    log = picture.with_name("log")
    with (
        log.open("w") as written,
        # The user names the program to bundle, and no shell reads the command: a bundle's server
        # has to run, so that its response can be compared.
        subprocess.Popen(  # noqa: S603 - see above
            command, stdout=subprocess.PIPE, stderr=written, env=variables, text=True
        ) as server,
    ):
        try:
            first = server.stdout.readline() if server.stdout else ""
            listens = _LISTENS.fullmatch(first)
            if listens is None:
                if first:
                    raise BackendFailure(f"{program} does not start: it printed {first!r}")
                # Its output has ended, so it ends.
                code = server.wait(_SECONDS)
                raise error_of(program, code, log.read_text(errors="replace"))
            with closing(HTTPConnection("127.0.0.1", int(listens[1]), timeout=_SECONDS)) as client:
                client.request("PUT", "/v2/models/model/infer", picture.read_bytes())
                response = client.getresponse()
                said = response.read().decode(errors="replace").strip()
                if response.status != HTTPStatus.OK:
                    raise BadInput(f"{program} responds with {response.status}: {said}")
                return said
        except (OSError, HTTPException, subprocess.TimeoutExpired) as error:
            raise BackendFailure(f"{program} does not respond: {error}") from error
        finally:
            server.kill()
