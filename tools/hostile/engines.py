"""What runs in child processes: draw and export a network, and run it with an engine."""

import importlib
import json
import os
from pathlib import Path

import numpy as np

import lenet_cpp
from lenet_cpp import agreement
from lenet_cpp.inference.program import call_program
from tools.hostile.draw import WITH_PARAMETERS, Draw, draw_paddle
from tools.hostile.networks import IMAGES, InvalidNetworkError, Network

PROGRAM = Path(__file__).parents[2] / "build" / "lenet_infer_test"
COUNTS = (IMAGES, 1, 3)
# What rounding may change, as a share of what the rule allows: more, and no engine can be held to
# the rule. Such a network is drawn anew.
CONDITION = 0.3
INSTRUCTION_SETS = ("scalar", "sse42", "avx2", "avx512")
_REFUSED = set()


def targets(kind, *, program):
    """Return every FORMAT/ENGINE[/ACCELERATOR or INSTRUCTION SET][/program]."""
    native = ["native", *(f"native/{name}" for name in INSTRUCTION_SETS)]
    paddle = [f"paddle/{name}" for name in ("plain", "onednn", "openvino", "auto")]
    if kind == "onnx":
        ways = {"onnx": [*native, "onnxruntime", "auto"]}
    else:
        ways = {form: [*native, *paddle, "auto"] for form in ("json", "pdmodel")}
        ways["separate"] = ["native", *paddle[:2], "auto"]
    found = [f"{form}/{way}" for form in ways for way in ways[form]]
    return found + [f"{each}/program" for each in found if program and "native/" not in each]


def framework(kind):
    """Return what has shapes(), answers() and export() for networks of a kind."""
    return importlib.import_module(f"tools.hostile.{kind}_networks")


def export_network(step, folder):
    """Export a network, which is drawn when it is given by seed and number."""
    number, entry = step
    target = Path(folder, str(number))
    target.mkdir(exist_ok=True)
    try:
        given = entry.get("network")
        network = Network.from_json(given) if given else drawn(entry["seed"], entry["number"])
        expected, judge = answers(network)
        formats = {each.split("/")[0] for each in entry.get("targets", [])}
        framework(network.kind).export(network, target, formats)
    except InvalidNetworkError as error:
        return {"invalid": str(error)}
    for name, array in {"images": network.images(), "expected": expected, "judge": judge}.items():
        np.save(target / f"{name}.npy", array)
    (target / "network.json").write_text(json.dumps(network.to_json()), encoding="utf-8")
    program = entry.get("program") and len(network.shape) == 3
    return {"targets": entry.get("targets") or targets(network.kind, program=program)}


def drawn(seed, number):
    """Return a network of which the answers are well defined."""
    d = Draw(f"{seed}/{number}")
    kind, error = "onnx" if number % 3 == 2 else "paddle", "nothing was drawn"
    for _ in range(10):
        draw = draw_paddle if kind == "paddle" else framework(kind).draw_onnx
        network = draw(d, framework(kind).shapes).pruned()
        try:
            if kind == "onnx" or WITH_PARAMETERS & {layer.op for layer in network.layers}:
                answers(network)
                return network
        except InvalidNetworkError as invalid:
            error = str(invalid)
    raise InvalidNetworkError(error)


def answers(network):
    """Return the framework's own answer, and one to judge by: of Paddle, that of float64."""
    images = network.images()
    noise = np.random.default_rng(2).standard_normal(images.shape)
    nudged = images * (1 + 3e-7 * noise).astype(np.float32)
    expected, *others = framework(network.kind).answers(network, images, nudged)
    if expected.ndim == 0 or expected.shape[0] != IMAGES or not np.isfinite(expected).all():
        raise InvalidNetworkError(f"the output has shape {expected.shape}, or is not finite")
    if not all(share(expected, other) <= CONDITION for other in others):
        raise InvalidNetworkError("rounding decides the answer")
    return expected, others[0]


def run_target(step, folder):
    """Return the outcome of a target and what there is to say of it; nothing when it has none."""
    number, name = step
    target = Path(folder, str(number))
    form = name.split("/")[0]
    model = target / ("separate/__model__" if form == "separate" else f"net.{form}")
    if not model.is_file() or (number, name.rpartition("/")[0]) in _REFUSED:
        return {}
    network = Network.from_json(json.loads((target / "network.json").read_text("utf-8")))
    outcome, detail = run(network, target, name, model)
    if outcome == "Unsupported":
        _REFUSED.add((number, name))  # with each instruction set
    return {"outcome": outcome, "detail": detail}


def run(network, folder, name, model):
    form, engine, *rest = name.split("/")
    how = rest[0] if rest and rest[0] != "program" else ""
    options = {"model_dir": model.parent} if form == "separate" else {"model_file": model}
    options["engine"] = engine
    os.environ.pop("LENET_NATIVE_ISA", None)
    if engine == "native" and how:
        os.environ["LENET_NATIVE_ISA"] = how
    elif how:
        options["accelerator"] = how
    images = np.load(folder / "images.npy")
    try:
        if "program" in rest:
            output = folder / "output.npy"
            output.unlink(missing_ok=True)
            options |= {"input": folder / "images.npy", "output": output}
            call_program(PROGRAM, *(f"--{option}={value}" for option, value in options.items()))
            return compare(network, folder, np.load(output))
        with lenet_cpp.Predictor(**options) as predictor:
            found = {count: predictor.run(images[:count]) for count in COUNTS}
            spec = predictor.output_spec.shape
    except lenet_cpp.Error as error:
        return type(error).__name__, str(error)
    for count in COUNTS[1:]:
        if engine == "native" and found[count].tobytes() != found[IMAGES][:count].tobytes():
            return "bits", f"{count} images have other bits than among {IMAGES}"
    shape = found[IMAGES].shape
    if form == "onnx" and not spec:
        spec = (-1,) * len(shape)  # where it cannot infer a shape, it tells none
    inferred = [size if size == -1 else told for size, told in zip(spec, shape, strict=False)]
    if len(spec) != len(shape) or list(spec[1:]) != inferred[1:]:
        return "shape", f"output_spec has {spec}, the output {shape}"
    compared = [compare(network, folder, found[count]) for count in COUNTS]
    return next((each for each in compared if each[0] != "equal"), compared[0])


def compare(network, folder, found):
    """Compare by the rule; where two disagree, float64 says who is wrong."""
    expected = np.load(folder / "expected.npy")[: len(found)]
    if found.shape != expected.shape:
        return "shape", f"{found.shape} instead of {expected.shape}"
    comparison = agreement.compare(expected, found.astype(expected.dtype))
    if comparison.agrees:
        return "equal", f"{comparison.share:.3g}"
    judge = np.load(folder / "judge.npy")[: len(found)]
    if network.kind == "onnx":
        images = np.load(folder / "images.npy")[: len(found)]
        judge = framework("onnx").judge(network, images)
    ours, theirs = share(judge, found), share(judge, expected)
    return "equal" if ours <= 1 else "wrong", (
        f"{comparison.mismatch}; the largest output is {np.abs(expected).max():.3g}; from float64,"
        f" as a share of the tolerance, the engine {ours:.3g}, the reference {theirs:.3g}"
    )


def share(reference, found):
    """Return the largest difference as a share of the tolerance; infinite if not finite."""
    return float(agreement.differences(reference, found)[1].max(initial=0))
