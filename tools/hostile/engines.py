"""What runs in child processes: draw and export a network, and run it with an engine."""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import lenet_cpp
from lenet_cpp import agreement
from tools.hostile.draw import WITH_PARAMETERS, Draw, draw_paddle
from tools.hostile.draw_onnx import draw_onnx
from tools.hostile.networks import IMAGES, InvalidNetworkError, Network

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "build" / "lenet_infer_test"
COUNTS = (IMAGES, 1, 3)
CONDITION = 0.3
"""What rounding may change, as a share of what the rule allows: more, and no engine can be held to
the rule. Such a network is drawn anew."""
FLAGS = {
    "scalar": set(),
    "sse42": {"sse4_2"},
    "avx2": {"avx2", "fma"},
    "avx512": {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
}
ERRORS = {2: "usage", 3: "FileNotFound", 4: "BadModel", 5: "BadInput", 6: "Unsupported",
          7: "VersionMismatch", 8: "BackendFailure"}  # fmt: skip


@cache
def instruction_sets() -> list[str]:
    """Return those of the native engine that this processor has."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return [name for name, needed in FLAGS.items() if needed <= set(flags)]


def targets(kind: str, *, program: bool) -> list[str]:
    """Return every FORMAT/ENGINE[/ACCELERATOR or INSTRUCTION SET][/program]."""
    native = ["native", *(f"native/{name}" for name in instruction_sets())]
    if kind == "onnx":
        found = [f"onnx/{way}" for way in (*native, "onnxruntime", "auto")]
    else:
        paddle = [f"paddle/{name}" for name in ("plain", "onednn", "openvino", "auto")]
        found = [
            f"{form}/{way}" for form in ("json", "pdmodel") for way in (*native, *paddle, "auto")
        ]
        found += [
            "separate/native",
            "separate/paddle/plain",
            "separate/paddle/onednn",
            "separate/auto",
        ]
    return found + [f"{each}/program" for each in found if program and "native/" not in each]


# ---- export


def export_network(step: tuple[int, dict[str, Any]], folder: str) -> dict[str, Any]:
    """Export a network, which is drawn when it is given by seed and number."""
    number, entry = step
    target = Path(folder, str(number))
    target.mkdir(exist_ok=True)
    try:
        if "network" in entry:
            network = Network.from_json(entry["network"])
        else:
            network = drawn(entry["seed"], entry["number"])
        expected, judge = answers(network)
        (paddle_networks() if network.kind == "paddle" else onnx_networks()).export(
            network, target, {each.split("/")[0] for each in entry.get("targets", [])}
        )
    except InvalidNetworkError as error:
        return {"invalid": str(error)}
    np.save(target / "images.npy", network.images())
    np.save(target / "expected.npy", expected)
    if judge is not None:
        np.save(target / "judge.npy", judge)
    (target / "network.json").write_text(json.dumps(network.to_json()), encoding="utf-8")
    program = bool(entry.get("program")) and len(network.shape) == 3
    return {"targets": entry.get("targets") or targets(network.kind, program=program)}


def paddle_networks() -> Any:
    from tools.hostile import paddle_networks as found

    return found


def onnx_networks() -> Any:
    from tools.hostile import onnx_networks as found

    return found


def drawn(seed: int, number: int) -> Network:
    """Return a network of which the answers are well defined."""
    d = Draw(seed, number)
    error = "nothing was drawn"
    for _ in range(10):
        if number % 3 == 2:
            network = draw_onnx(d, onnx_networks().shapes)
        else:
            network = draw_paddle(d, paddle_shapes)
        network = network.pruned()
        try:
            if "onnx" in network.kind or WITH_PARAMETERS & {layer.op for layer in network.layers}:
                answers(network)
                return network
        except InvalidNetworkError as invalid:
            error = str(invalid)
    raise InvalidNetworkError(error)


def paddle_shapes(network: Network) -> list[Any]:
    values = paddle_networks().evaluate(network, network.images()[:2])
    if any(str(value.dtype) != "paddle.float32" for value in values):
        raise InvalidNetworkError("another type than float32")
    return [tuple(value.shape) for value in values]


def answers(network: Network) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the framework's own answer and, of Paddle, that of float64.

    Raises:
        InvalidNetworkError: The framework refuses the network, or rounding decides its answer.
    """
    images = network.images()
    if network.kind == "onnx":
        expected = onnx_networks().answer(network, images)
        others = [onnx_networks().answer(network, nudged(images))]
    else:
        answer = paddle_networks().answer
        expected = answer(network, images)
        others = [
            answer(network, images, "float64"),
            answer(network, nudged(images), "float64", 3e-7),
        ]
    if expected.ndim == 0 or expected.shape[0] != IMAGES or not np.isfinite(expected).all():
        raise InvalidNetworkError(f"the output has shape {expected.shape}, or is not finite")
    for other in others:
        if not share(expected, other) <= CONDITION:
            raise InvalidNetworkError("rounding decides the answer")
    return expected, others[0] if network.kind == "paddle" else None


def nudged(images: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(2).standard_normal(images.shape)
    return images * (1 + 3e-7 * noise).astype(np.float32)


# ---- run


_REFUSED: set[tuple[int, str]] = set()


def run_target(step: tuple[int, str], folder: str) -> dict[str, str]:
    """Return the outcome of a target and what there is to say of it; nothing when it has none."""
    number, name = step
    target = Path(folder, str(number))
    if not model_path(target, name).is_file() or (number, name.rpartition("/")[0]) in _REFUSED:
        return {}
    network = Network.from_json(json.loads((target / "network.json").read_text("utf-8")))
    outcome, detail = run(network, target, name)
    if outcome == "Unsupported":
        _REFUSED.add((number, name))  # with each instruction set
    return {"outcome": outcome, "detail": detail}


def model_path(folder: Path, target: str) -> Path:
    form = target.split("/")[0]
    return folder / ("separate/__model__" if form == "separate" else f"net.{form}")


def run(network: Network, folder: Path, name: str) -> tuple[str, str]:
    form, engine, *rest = name.split("/")
    program = "program" in rest
    how = rest[0] if rest and rest[0] != "program" else ""
    model = model_path(folder, name)
    options: dict[str, Any] = {"engine": engine}
    os.environ.pop("LENET_NATIVE_ISA", None)
    if engine == "native" and how:
        os.environ["LENET_NATIVE_ISA"] = how
    elif how:
        options["accelerator"] = how
    where = {"model_dir": model.parent} if form == "separate" else {"model_file": model}
    images = np.load(folder / "images.npy")
    if program:
        return run_program(network, folder, {**where, **options})
    try:
        with lenet_cpp.Predictor(**where, **options) as predictor:
            found = {count: predictor.run(images[:count]) for count in COUNTS}
            spec = predictor.output_spec.shape
    except lenet_cpp.Error as error:
        return type(error).__name__, str(error)
    if engine == "native":
        for count in COUNTS[1:]:
            if (found[count].view(np.uint32) != found[IMAGES][:count].view(np.uint32)).any():
                return "bits", f"{count} images have other bits than among {IMAGES}"
    shape = found[IMAGES].shape
    if form == "onnx" and not spec:
        spec = (-1,) * len(shape)  # where it cannot infer a shape, it tells none
    if len(spec) != len(shape) or any(
        a not in (-1, b) for a, b in zip(spec[1:], shape[1:], strict=True)
    ):
        return "shape", f"output_spec has {spec}, the output {shape}"
    compared = [compare(network, folder, found[count]) for count in COUNTS]
    return next((each for each in compared if each[0] != "equal"), compared[0])


def compare(network: Network, folder: Path, found: np.ndarray) -> tuple[str, str]:
    """Compare by the rule; where two disagree, float64 says who is wrong."""
    expected = np.load(folder / "expected.npy")[: len(found)]
    if found.shape != expected.shape:
        return "shape", f"{found.shape} instead of {expected.shape}"
    comparison = agreement.compare(expected, found.astype(expected.dtype))
    if comparison.agrees:
        return "equal", f"{comparison.share:.3g}"
    if network.kind == "onnx":
        judge = onnx_networks().judge(network, np.load(folder / "images.npy")[: len(found)])
    else:
        judge = np.load(folder / "judge.npy")[: len(found)]
    ours, theirs = share(judge, found), share(judge, expected)
    detail = (
        f"{comparison.mismatch}; the largest output is {np.abs(expected).max():.3g}; from float64,"
        f" as a share of the tolerance, the engine {ours:.3g}, the reference {theirs:.3g}"
    )
    return "equal" if ours <= 1 else "wrong", detail


def share(reference: np.ndarray, found: np.ndarray) -> float:
    """Return the largest difference as a share of the tolerance; infinite if not finite."""
    return float(agreement.differences(reference, found)[1].max(initial=0))


def run_program(network: Network, folder: Path, options: dict[str, Any]) -> tuple[str, str]:
    output = folder / "output.npy"
    output.unlink(missing_ok=True)
    command = [PROGRAM, f"--input={folder / 'images.npy'}", f"--output={output}"]
    command += [f"--{name}={value}" for name, value in options.items()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode == 0:
        return compare(network, folder, np.load(output))
    name = ERRORS.get(done.returncode, f"exit {done.returncode}")
    return name, done.stderr.strip()[-500:]
