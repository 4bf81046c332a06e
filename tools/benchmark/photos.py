"""From a photo to its class: decoding, preparing and running, side by side."""

from __future__ import annotations

import http.client
import json
import random
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

import lenet_cpp
from lenet_cpp._base.files import PREPROCESS_NAME
from lenet_cpp._base.worker import call
from lenet_cpp.data.images import imagenet
from lenet_cpp.errors import BackendFailure, Error
from lenet_cpp.inference.program import call_program
from lenet_cpp.verify.files import find_models
from tools.benchmark.child import block, resident
from tools.benchmark.contenders import PADDLEX
from tools.benchmark.disk import package_bytes, program_bytes
from tools.benchmark.photo_engines import PADDLEX_MODEL
from tools.benchmark.serve import Host
from tools.benchmark.subject import failure, prepare, subjects
from tools.benchmark.turns import CHILD, pinned
from tools.survey import machine
from tools.survey.summary import block_of, summarize

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from tools.benchmark.contenders import Contender
    from tools.benchmark.subject import Settings, Subject
    from tools.survey.summary import Block

    Files = dict[str, dict[str, str]]

PHOTOS = {
    "JPEG, 0.3 megapixels": (640, 480, "jpg"),
    "JPEG, 4.4 megapixels": (2560, 1706, "jpg"),
    "JPEG, 12 megapixels": (4032, 3024, "jpg"),
    "PNG, 4.4 megapixels": (2560, 1706, "png"),
    "WebP, 4.4 megapixels": (2560, 1706, "webp"),
}
"""The photos: width, height and suffix of each."""
RULES = {"opencv": "opencv", "pillow": None}
"""The ``library`` of ``images.imagenet`` that makes a description of each rule."""
BY_HAND = {"opencv": "cv2 and onnxruntime", "pillow": "Pillow and onnxruntime"}
"""The contender that the others are compared with, for each rule."""
_PACKAGES = {
    "Classifier": ("lenet-cpp",),
    "cv2 and onnxruntime": ("opencv-python-headless", "onnxruntime"),
    "Pillow and onnxruntime": ("pillow", "onnxruntime"),
}
# As PaddleClas writes it for PaddleX. The rule of resizing is that of OpenCV.
INFERENCE_YML = f"""\
Global:
  model_name: {PADDLEX_MODEL}
PreProcess:
  transform_ops:
  - ResizeImage:
      resize_short: 256
  - CropImage:
      size: 224
  - NormalizeImage:
      channel_num: 3
      mean: [0.485, 0.456, 0.406]
      order: ''
      scale: 0.00392156862745098
      std: [0.229, 0.224, 0.225]
  - ToCHWImage: null
PostProcess:
  Topk:
    topk: 1
"""
_INFER = "/v2/models/photo/infer?classification=1"
_ANSWER_SECONDS = 60
_TOLERANCE = 1e-3
_WARM_SECONDS = 0.2
# The memory of the process that starts a program counts as the program's, so a small one starts it.
_PEAK = """
import os, sys
_, status, used = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0)
print(used.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def write_photo(path: Path, width: int, height: int) -> None:
    """Write soft shapes with the noise of a camera, which compress as photos do."""
    from PIL import Image

    rng = np.random.default_rng(width)
    coarse = rng.integers(0, 256, (height // 64 + 2, width // 64 + 2, 3), np.uint8)
    soft = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noise = rng.normal(0, 3, (height, width, 3))
    pixels: NDArray[np.uint8] = np.clip(np.asarray(soft) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=88)


@dataclass
class Row:
    """A contender with a network, a photo and a rule.

    Attributes:
        photo: The file.
        model: What the contender's process gets.
        blocks: The times of each turn.
        first_ms: Of each turn, from the start of the process to the class of the first photo.
        peak_bytes: Of the process.
        answer: The class of the photo, and its probability.
        status: ``unavailable`` or ``refused`` where it cannot be measured, for this ``reason``.
    """

    names: dict[str, str]
    contender: Contender
    photo: Path
    model: dict[str, Any]
    blocks: list[Block] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    peak_bytes: int | None = None
    answer: tuple[int, float] | None = None
    status: str = "measured"
    reason: str = ""


def run_photos(settings: Settings, contenders: Sequence[Contender]) -> dict[str, Any]:
    """Measure contenders side by side on one processor, each turn in a process of its own.

    Each has to name the class that :class:`lenet_cpp.Classifier` names, with a probability within
    0.1 % of its; one that does not is not timed.
    """
    order = random.Random(settings.seed)
    about = machine.describe(settings, "opencv-python-headless", "pillow")
    if any(one.environment == PADDLEX and not one.missing() for one in contenders):
        about["versions"] |= dict(one.split("==") for one in PADDLEX.requirements[:2])
    result = {"kind": "photos", **about}
    rows: list[Row] = []
    for subject in subjects(settings):
        files, absent = prepare(contenders, subject, settings.program)
        for name in (one.name for one in contenders if one.factory is None):
            if not settings.program.with_name(name).is_file():
                reason = (
                    f"there is no {name} beside {settings.program.name}: build it with ./run.sh"
                )
                absent[name] = {"status": "unavailable", "reason": reason}
        made = list(_rows(subject, contenders, files, absent))
        for row in made:
            row.model["programs"] = str(settings.program.parent)
        groups: dict[tuple[str, str], list[Row]] = {}
        for row in made:
            groups.setdefault((row.names["photo"], row.names["rule"]), []).append(row)
        for names, group in tqdm(groups.items(), subject.name, disable=None):
            _measure(group, settings, order, " ".join(names))
        rows += made
    return {**result, "rows": [_summary(row, rows) for row in rows]}


def _rows(
    subject: Subject, contenders: Sequence[Contender], files: Files, absent: dict[str, Any]
) -> Iterator[Row]:
    folders = {rule: _write_folder(subject, rule) for rule in RULES}
    for name, (width, height, suffix) in PHOTOS.items():
        photo = subject.folder / f"{width}.{suffix}"
        write_photo(photo, width, height)
        for rule, folder in folders.items():
            for contender in contenders:
                if contender.rule not in {None, rule}:
                    continue
                names = {"network": subject.name, "photo": name, "rule": rule}
                model = {"threads": 1, "preprocess": str(folder / PREPROCESS_NAME)}
                model |= {"folder": str(folder), "cache": str(subject.folder)}
                model |= files.get(contender.reads, {})
                yield Row(names, contender, photo, model, **absent.get(contender.name, {}))


def _write_folder(subject: Subject, rule: str) -> Path:
    """Make a folder of the model and what describes its images by a rule, and return it."""
    folder = subject.folder / rule
    folder.mkdir()
    models = find_models(subject.model_dir)
    for path in {path for one in models for path in (one.program, one.params) if path is not None}:
        (folder / f"inference{path.suffix}").symlink_to(path.resolve())
    imagenet(library=RULES[rule]).save(folder / PREPROCESS_NAME)
    if rule == "opencv":
        (folder / "inference.yml").write_text(INFERENCE_YML, encoding="utf-8")
    return folder


def _measure(group: list[Row], settings: Settings, order: random.Random, doing: str) -> None:
    """Check what the contenders answer; then have those that are right take turns."""
    for row in group:
        _take_turn(row, settings, doing, count=2)
    right = next((row.answer for row in group if row.contender.name == "Classifier"), None)
    for row in group:
        if row.answer is not None and right is not None and not _agree(row.answer, right):
            row.status, row.reason = "refused", f"it answers {row.answer}, the Classifier {right}"
        row.blocks.clear()
        row.first_ms.clear()
    for _ in range(settings.rounds):
        for row in order.sample(group, len(group)):
            _take_turn(row, settings, doing)


def _agree(a: tuple[int, float], b: tuple[int, float]) -> bool:
    return a[0] == b[0] and abs(a[1] - b[1]) <= _TOLERANCE * b[1]


def _take_turn(row: Row, settings: Settings, doing: str, *, count: int = 0) -> None:
    """Start a contender's process, and time photo after photo; ``count`` photos, or for a time."""
    if row.status != "measured":
        return
    turns = {"lenet_classify": _program_turn, "lenet_serve": _server_turn}
    turn = turns.get(row.contender.name, _python_turn)
    try:
        with pinned(1):
            turn(row, 0.0 if count else settings.seconds / settings.rounds, doing)
    except Error as error:
        found = failure(error, "refused")
        row.status, row.reason = found["status"], found["reason"]


def _python_turn(row: Row, seconds: float, doing: str) -> None:
    given: dict[str, Any] = {
        "factory": row.contender.factory,
        "model": row.model,
        "path": str(row.photo),
        "seconds": seconds,
        "warmup": min(_WARM_SECONDS, seconds),
    }
    environment = row.contender.environment
    python = None if environment is None else environment.find()
    started = time.monotonic()
    what = f"{row.contender.name}, {doing}"
    found = call(f"{CHILD}:photo", given, doing=what, python=python).result
    row.first_ms.append(1e3 * (found["done"] - started))
    row.answer = tuple(found["answer"])
    row.blocks.append(block_of(found["ns"]))
    row.peak_bytes = max(row.peak_bytes or 0, found["peak_bytes"])


def _program_turn(row: Row, seconds: float, doing: str) -> None:
    """Time the program with one photo and with many: the difference is that of the others.

    The many take at least four times as long as the one, so that starts, some of which take longer
    than others, change the difference by little.
    """
    one, (row.answer,) = _time_program(row, 1)
    row.first_ms.append(1e3 * one)
    more = max(3, round(seconds / max(one / 3, 1e-3)))
    if row.peak_bytes is None:
        row.peak_bytes = _peak_of_program(*_program_command(row, 1 + more))
    elapsed, answers = _time_program(row, 1 + more)
    while seconds and elapsed < 4 * one:
        more *= 2
        elapsed, answers = _time_program(row, 1 + more)
    if len(answers) != 1 + more:
        raise BackendFailure(f"{doing}: it answers too few photos")
    # On a busy machine one photo may take longer than all: then the start counts too.
    each = (elapsed - one) / more if elapsed > one else elapsed / (1 + more)
    row.blocks.append(block_of([round(1e9 * each)] * more))


def _time_program(row: Row, count: int) -> tuple[float, list[tuple[int, float]]]:
    """Return the seconds that the program takes for photos, and what it answers."""
    started = time.monotonic()
    answers = _call_program(row, count)
    return time.monotonic() - started, answers


def _server_turn(row: Row, seconds: float, doing: str) -> None:
    """Time a client in Python that sends the photo's file to lenet_serve over one connection."""
    program = Path(row.model["programs"], "lenet_serve")
    with tempfile.TemporaryDirectory(prefix="lenet-benchmark-") as folder, ExitStack() as stack:
        host = Host(program, Path(folder), stack)
        started = time.monotonic()
        server = host.start(
            program, f"photo={row.model['folder']}", "--port={port}", "--engine=native"
        )
        client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=_ANSWER_SECONDS)
        stack.enter_context(closing(client))

        def run(photo: Path) -> tuple[int, float]:
            try:
                client.request("PUT", _INFER, photo.read_bytes())
                response = client.getresponse()
                body = response.read()
            except (OSError, http.client.HTTPException) as error:
                raise BackendFailure(f"{doing}: lenet_serve does not answer: {error}") from error
            if response.status != 200:
                raise BackendFailure(f"{doing}: lenet_serve answers {response.status}: {body!r}")
            (best,) = json.loads(body)
            return best["class"], best["probability"]

        row.answer = run(row.photo)
        row.first_ms.append(1e3 * (time.monotonic() - started))
        row.blocks.append(block_of(block(run, row.photo, seconds, min(_WARM_SECONDS, seconds))))
        row.peak_bytes = max(row.peak_bytes or 0, resident("VmHWM", server.process))


def _program_command(row: Row, count: int) -> list[str]:
    options = {
        "preprocess": row.model["preprocess"],
        "threads": row.model["threads"],
        "model_file": row.model["program"],
        "params_file": row.model["params"],
        "engine": "native",
        "format": "json",
        "topk": 1,
    }
    program = str(Path(row.model["programs"], "lenet_classify").absolute())
    flags = (f"--{key}={value}" for key, value in options.items())
    return [program, *flags, *[str(row.photo)] * count]


def _call_program(row: Row, count: int) -> list[tuple[int, float]]:
    program, *arguments = _program_command(row, count)
    printed = call_program(Path(program), *arguments)
    best = [image["predictions"][0] for image in json.loads(printed)]
    return [(each["class_id"], each["probability"]) for each in best]


def _peak_of_program(*command: str) -> int:
    """Run a program, and return the peak of its resident memory."""
    printed = call_program(Path(sys.executable), "-I", "-S", "-c", _PEAK, *command)
    return 1024 * int(printed.split()[-1])


def _disk_bytes(contender: Contender, programs: Path) -> int | None:
    """Return the bytes of what a user of a contender installs, beside Python; None if not known."""
    if contender.factory is None:
        return program_bytes(programs / contender.name)
    if contender.environment is not None:
        (site,) = contender.environment.folder.glob("lib/python*/site-packages")
        return package_bytes(contender.environment.requirements, site)
    own = Path(lenet_cpp.__file__).parent if contender.name == "Classifier" else None
    return package_bytes(_PACKAGES[contender.name], sources=own)


def _summary(row: Row, rows: Sequence[Row]) -> dict[str, Any]:
    found: dict[str, Any] = {**row.names, "contender": row.contender.name}
    if row.status != "measured":
        return found | {"status": row.status, "reason": row.reason}
    found |= {"status": "measured", **summarize(row.blocks), "peak_bytes": row.peak_bytes}
    found["disk_bytes"] = _disk_bytes(row.contender, Path(row.model["programs"]))
    if row.contender.name == "lenet_classify":  # it tells no single times
        found |= {"p90_us": None, "p99_us": None}
    found["first_ms"] = float(np.median(row.first_ms))
    hand = [
        other
        for other in rows
        if other.names == row.names and other.contender.name == BY_HAND[row.names["rule"]]
    ]
    if hand and hand[0].status == "measured":
        pairs = zip(row.blocks, hand[0].blocks, strict=True)
        found["ratio"] = float(np.median([mine.median / other.median for mine, other in pairs]))
    return found
