"""Draw and export a network, and run it with an engine, in child processes."""

import importlib
import json
import os
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from onnx import TensorProto

import lenet_cpp
from lenet_cpp import agreement
from lenet_cpp.inference.program import call_program
from tools.hostile import blocks, graph, onnx_networks, paddle_tokens, tokens, traffic
from tools.hostile.draw import WITH_PARAMETERS, Draw, draw_paddle
from tools.hostile.networks import InvalidNetworkError, Network
from tools.hostile.operators import STEPS

PROGRAM = Path(__file__).parents[2] / "build" / "lenet_infer_test"
# What rounding may change, as a share of what the rule allows: more, and no engine can be held to
# the rule. Such a network is drawn anew.
CONDITION = 0.3
# Values of a network of blocks are also moved by so many times more, and may then change by as much
# more: a step that rounding nearly decides changes them by far more.
MORE = 30
# The largest number of a network of blocks: masks add as much.
LARGE = 1e10
# If rounding changes an output by more, as a share of the tolerance, nothing can be said of it but
# that it has to be finite.
HOPELESS = 1e3
# If the float32 of the reference is off by more, such as behind the reciprocal of a sum that is
# nearly 0, nothing can be said of an engine that is off by up to FARTHER times as much.
FAR_OFF = 30
FARTHER = 10
# The most that rounding changes a value by, as a share of the value.
UNITS = {"fp32": onnx_networks.FLOAT32_UNIT, "bf16": 2**-9}
# How often the judge draws the rounding: one draw may be a tenth of another.
DRAWS = 3
INSTRUCTION_SETS = ("scalar", "sse42", "avx2", "avx512")
TRAFFIC_TARGETS = [f"onnx/native/{name}" for name in (*INSTRUCTION_SETS, "bf16")]
TOKENS_TARGETS = [*TRAFFIC_TARGETS, "onnx/native", "onnx/auto"]
PADDLE_TOKENS_TARGETS = ["json/native", "pdmodel/native"]
BLOCKS_TARGETS = ["onnx/native", *TRAFFIC_TARGETS]
# What judges the native engine besides onnxruntime is compared with onnxruntime too.
JUDGES = ["onnx/native/no_passes", "onnx/plain"]
DRAWERS = {
    "traffic": traffic.draw,
    "tokens": tokens.draw,
    "paddle_tokens": paddle_tokens.draw,
}
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
        if "network" in entry:
            network = Network.from_json(entry["network"])
            expected = answers(network)
        else:
            network, expected = drawn(entry["seed"], entry["number"], entry["kind"])
        formats = {each.split("/")[0] for each in entry.get("targets", [])}
        framework(network.kind).export(network, target, formats)
    except InvalidNetworkError as error:
        return {"invalid": str(error)}
    np.save(target / "images.npy", network.images())
    np.savez(target / "expected.npz", *expected)
    (target / "network.json").write_text(json.dumps(network.to_json()), encoding="utf-8")
    program = entry.get("program") and len(network.shape) == 3
    named = entry.get("targets") or targets(network.kind, program=program)
    steps = "nodes" in network.options and STEPS & {layer.op for layer in network.layers}
    if steps or "int8" in network.options:  # bf16 may turn any step
        named = [each.replace("/bf16", "") for each in named]
    return {"targets": named}


def drawn(seed, number, kind):
    """Return a network of which the answers are well defined, and the answers."""
    d = Draw(f"{seed}/{number}")
    d.where = seed, number
    kind = kind or ("onnx" if number % 3 == 2 else "paddle")
    error = "nothing was drawn"
    for _ in range(10):
        try:
            if kind == "blocks":
                return settled(blocks.draw(d))
            network = draw_of(d, kind).pruned()
            if network.kind != "paddle" or WITH_PARAMETERS & {layer.op for layer in network.layers}:
                return network, answers(network)
        except InvalidNetworkError as invalid:  # noqa: PERF203 - a few times
            error = str(invalid)
    raise InvalidNetworkError(error)


def draw_of(d, kind):
    """Draw a network of a kind."""
    if kind in DRAWERS:
        return DRAWERS[kind](d)
    draw = draw_paddle if kind == "paddle" else framework(kind).draw_onnx
    return draw(d, framework(kind).shapes)


def settled(network):
    """Return a graph without values that are infinite or decided by rounding, and its answers.

    Its outputs are all values that nothing reads, and those that the drawer chose besides. The
    option ``mixes`` says whether an image's answers depend on others, or are not on the first axis.
    """
    known = graph.known(network)
    every = [i for i, (_, kind) in enumerate(known) if i and kind == TensorProto.FLOAT]
    chosen, images = network.outputs, network.images()
    network = replace(network, outputs=every)
    if "int8" in network.options:
        round_products(network, onnx_networks.run_onnx(onnx_networks.model(network), images))
    run = partial(onnx_networks.run_onnx, onnx_networks.model(network))
    found = dict(zip(every, run(images), strict=True))
    moved_little = dict(zip(every, run(nudged(images)), strict=True))
    moved_more = dict(zip(every, run(nudged(images, MORE * 3e-7)), strict=True))
    kept = {0}
    for i, layer in enumerate(network.layers, 1):
        good = i not in found or (
            is_settled(found[i], moved_little[i], CONDITION)
            and is_settled(found[i], moved_more[i], CONDITION * MORE)
        )
        if good and kept.issuperset(layer.inputs):
            kept.add(i)
    read = {x for i in kept if i for x in network.layers[i - 1].inputs}
    outputs = [i for i in every if i in kept and (i not in read or i in chosen)]
    if not outputs:
        raise InvalidNetworkError("every value is infinite, or decided by rounding")
    batch = network.options["batch"]
    if batch == "N":
        kept_images, others = slice(1), images[:1]
    else:  # the first of each piece, among others
        kept_images, others = slice(None, None, batch), np.roll(images, 1, axis=0)
        others[kept_images] = images[kept_images]
    again = dict(zip(every, run(others), strict=True))
    shapes = [shape for shape, _ in graph.known(network, graph.COUNTS[0])]
    # Another axis may have the size of a few images, and a -1 of Reshape may be more of them.
    first = [
        shapes[i][:1] == [graph.COUNTS[0]] and found[i].shape[:1] == (len(images),) for i in outputs
    ]
    pairs = [(found[i][kept_images], again[i][kept_images]) for i in outputs]
    if not all(first) or not all(a.shape == b.shape and share(a, b) < 1 for a, b in pairs):
        network.options["mixes"] = True
        if batch != "N":
            network.options["images"] = batch
            found = dict(zip(every, run(network.images()), strict=True))
    for i, layer in enumerate(network.layers, 1):
        layer.attributes["drawn"] = i  # pruned() gives another number
    network = replace(network, outputs=outputs).pruned()
    if not any("rounded" in layer.attributes for layer in network.layers):
        network.options.pop("int8", None)
    return network, [found[i] for i in outputs]


def round_products(network, found):
    """Have products round their inputs and weights to int8, by scales of the values found."""
    known = dict(zip([0, *network.outputs], [network.images(), *found], strict=True))
    for layer in network.layers:
        weights = layer.attributes.get("constants", {}).get("1", {})
        if (
            layer.op in {"Conv", "MatMul", "Gemm"}
            and "shape" in weights
            and layer.inputs[0] in known
        ):
            largest = np.abs(known[layer.inputs[0]]).max(initial=0)
            if 0 < largest < LARGE:
                layer.attributes["rounded"] = float(np.float32(largest / 127))


def nudged(images, by=3e-7):
    """Return images that are moved, by default by about what rounds them."""
    noise = np.random.default_rng(2).standard_normal(images.shape)
    return images * (1 + by * noise).astype(np.float32)


def is_settled(values, others, most):
    """Return whether the values of two runs are finite, of a usual size, and alike.

    ``most`` is the largest share of the tolerance by which they may differ.
    """
    if values.ndim == 0 or not np.isfinite(values).all() or np.abs(values).max(initial=0) > LARGE:
        return False
    return values.shape == others.shape and share(values, others) <= most


def answers(network):
    """Return the framework's own outputs, where rounding does not decide them."""
    images = network.images()
    expected, *others = framework(network.kind).answers(network, images, nudged(images))
    for i, output in enumerate(expected):
        of_images = output.ndim and (len(output) == len(images) or "nodes" in network.options)
        if not of_images or not np.isfinite(output).all():
            raise InvalidNetworkError(f"the output has shape {output.shape}, or is not finite")
        if not all(share(output, other[i]) <= CONDITION for other in others):
            raise InvalidNetworkError("rounding decides the answer")
    return expected


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
    os.environ["LENET_NATIVE_BF16"] = "on"  # also where float32 is faster
    os.environ["LENET_NATIVE_FORGET"] = str(int(network.options.get("forget", True)))
    if "int8" in network.options and engine == "native":
        options["precision"] = "int8"
    if how == "bf16":
        options["precision"] = how
    elif how == "no_passes":
        options["ir_optim"] = False
    elif engine == "native" and how:
        os.environ["LENET_NATIVE_ISA"] = how
    elif how:
        options["accelerator"] = how
    try:
        if "program" in rest:
            return run_program(network, folder, options)
        images = np.load(folder / "images.npy")
        if engine == "plain" and "nodes" in network.options:
            images = images[: network.options["batch"] if fixed(network) else None]  # no pieces
        answers = run_predictor(network, images, options)
    except lenet_cpp.Error as error:
        return type(error).__name__, str(error)
    wrong = well_formed(network, answers, form)
    if wrong or engine != "native":
        return wrong or compare_all(network, folder, answers, model)
    return same_everywhere(network, answers) or compare_all(network, folder, answers, model)


def fixed(network):
    """Return whether an .onnx takes one number of images alone."""
    return network.options.get("batch", "N") != "N"


def run_program(network, folder, options):
    output = folder / "output.npy"
    output.unlink(missing_ok=True)
    given = {**options, "input": folder / "images.npy", "output": output}
    call_program(PROGRAM, *(f"--{option}={value}" for option, value in given.items()))
    return compare(network, folder, read_expected(folder), [np.load(output)])


def read_expected(folder):
    with np.load(folder / "expected.npz") as file:
        return [*file.values()]


def well_formed(network, answers, form):
    """Return what is wrong with the number and the shapes of outputs, if anything."""
    every, spec = answers.every, answers.spec
    if network.kind == "onnx" and len(every) != len(network.outputs):
        return "shape", f"{len(every)} outputs instead of {len(network.outputs)}"
    shape = every[0].shape
    if form == "onnx" and not spec:
        spec = (-1,) * len(shape)  # where it cannot infer a shape, it tells none
    inferred = [size if size == -1 else told for size, told in zip(spec, shape, strict=False)]
    if len(spec) != len(shape) or list(spec[1:]) != inferred[1:]:
        return "shape", f"output_spec has {spec}, the output {shape}"
    return None


def same_everywhere(network, answers):
    """Return where an image has other bits in another batch, or with more threads, if anywhere."""
    if not all(map(same_bits, answers.threads, answers.every)):
        return "bits", f"{network.options['threads']} threads give other bits than one"
    for (first, last), found in answers.few.items():
        whole = [each[first:last] for each in answers.every]
        if "mixes" not in network.options and not all(map(same_bits, found, whole)):
            return "bits", f"images {first} to {last} have other bits than among all"
    return None


def compare_all(network, folder, answers, model):
    """Compare all outputs with those that are expected."""
    expected = read_expected(folder)
    tolerance = agreement.TOLERANCES[answers.precision]
    if "int8" in network.options:  # both compute the same rounded values, but for ties
        tolerance = agreement.ROUNDING_TOLERANCE
    check = partial(compare, network, folder, tolerance=tolerance)
    compared = [check(expected, answers.every)]
    images = np.load(folder / "images.npy")
    for (first, last), outputs in answers.few.items():
        if "mixes" in network.options:  # what is right depends on the batch
            some = images[first:last]
            truth = framework(network.kind).answers(network, some, some)[0]
            compared.append(check(truth, outputs, part=slice(first, last)))
        elif first == 0:
            compared.append(check(expected, outputs))
    last = len(answers.every) - 1
    compared += [check(expected, [output], first=last) for output in answers.cut]
    found = worst(compared)
    if found[0] == "wrong" and answers.engine == "onnxruntime":
        own = framework("onnx").run_onnx(model.read_bytes(), images, optimize=True)
        if all(map(same_bits, answers.every, own)):
            return "own", found[1]
    return found


def same_bits(one, other):
    return one.tobytes() == other.tobytes()


@dataclass
class Answers:
    """What a predictor gives of a network.

    Attributes:
        few: The outputs of the first image, of the first three, and in the native engine of the
            last alone, by the first of the images and the one behind the last.
        every: The outputs of all images: the first output, or all of a network with several.
        spec: The shape that the first is declared to have.
        engine: The one that ran.
        precision: That of the predictor.
        cut: Of the native engine, the last output again, from predictors that compute nothing else,
            and every value besides.
        threads: Of the native engine, the outputs with several threads, where the network says how
            many.
    """

    few: dict[tuple[int, int], list[np.ndarray]]
    every: list[np.ndarray]
    spec: tuple[int, ...]
    engine: str
    precision: str
    cut: list[np.ndarray] = field(default_factory=list)
    threads: list[np.ndarray] = field(default_factory=list)


def run_predictor(network, images, options):
    """Return what a predictor of these options gives, and the native engine in other ways."""
    several = network.kind == "onnx" and len(network.outputs) > 1
    native, count = options["engine"] == "native", len(images)
    parts = {(0, 1), (0, min(3, count)), *([(count - 1, count)] if native else [])}
    if "nodes" in network.options:
        batch = network.options["batch"]
        step = 1 if batch == "N" else batch
        parts = {(0, n) for n in (1, 2, 3) if n % step == 0 and n <= count}
    with lenet_cpp.Predictor(**options) as predictor:

        def run(some):
            return [*predictor.run_outputs(some).values()] if several else [predictor.run(some)]

        few = {part: run(images[slice(*part)]) for part in sorted(parts)}
        answers = Answers(
            few=few,
            every=run(images),
            spec=predictor.output_spec.shape,
            engine=predictor.options["engine"],
            precision=options.get("precision", "fp32"),
        )
        name = predictor.output_spec.name
    if not native:
        return answers
    last = f"v{network.outputs[-1]}" if network.kind == "onnx" else name
    for name in (last, "*"):
        with lenet_cpp.Predictor(**options, output_name=name) as predictor:
            answers.cut += predictor.run_outputs(images, last).values()
    if threads := network.options.get("threads"):
        with lenet_cpp.Predictor(**options, threads=threads) as predictor:
            answers.threads += predictor.run_outputs(images).values()
    return answers


def compare(network, folder, expected, outputs, tolerance=agreement.TOLERANCE, first=0, part=None):
    """Compare outputs, from the first of these on, by the rule.

    ``part`` is the slice of the images that they are of, where it is not as many as they are long.
    """
    if part is None and "mixes" in network.options:
        part = slice(None)
    compared = [
        compare_one(network, folder, i, found, one[: len(found)], tolerance, part)
        for i, (found, one) in enumerate(zip(outputs, expected[first:], strict=False), first)
    ]
    return worst(compared)


def compare_one(network, folder, number, found, expected, tolerance, part=None):
    """Compare an output; where two disagree, float64 says who is wrong.

    Some networks enlarge the rounding of a value in their middle, such as a norm of values that are
    nearly equal. ``answers`` does not notice them where the rounding of the input fades away. If
    rounding each value alone already moves an output by more than CONDITION of the tolerance, the
    engine may be as much farther from float64. Where the reference is off by more than the
    tolerance itself, the engine may be off by twice as much. Where rounding moves it by more than
    HOPELESS, or the reference is off by more than FAR_OFF, the outcome is "not judged".
    """
    if found.shape != expected.shape:
        return "shape", f"{found.shape} instead of {expected.shape}"
    comparison = agreement.compare(expected, found.astype(expected.dtype), tolerance=tolerance)
    if comparison.agrees:
        return "equal", f"{comparison.share:.3g}"
    judge = partial(framework(network.kind).judge, network)
    images = np.load(folder / "images.npy")[part or slice(len(found))]
    try:
        truth = judge(images)[number]
    except InvalidNetworkError as error:
        return "not judged", str(error)
    engine_error = share(truth, found, tolerance)
    reference_error = share(truth, expected, tolerance)
    rounding = 0.0
    if engine_error > 1:
        precision = "bf16" if tolerance == agreement.TOLERANCES["bf16"] else "fp32"
        draws = [judge(images, UNITS[precision], draw)[number] for draw in range(DRAWS)]
        rounding = max(share(truth, each, tolerance) for each in draws)
    return verdict(engine_error, reference_error, rounding), (
        f"{comparison.mismatch}; the largest output is {np.abs(expected).max():.3g}; from float64,"
        f" as a share of the tolerance, the engine {engine_error:.3g}, the reference"
        f" {reference_error:.3g}, rounding of each value {rounding:.3g}"
    )


def verdict(engine_error, reference_error, rounding):
    """Return what the errors say of an engine, each as a share of the tolerance."""
    if engine_error <= 1:
        return "equal"
    if np.isinf(engine_error) and np.isfinite(rounding):
        return "wrong"
    if rounding >= HOPELESS:
        return "not judged"
    most = max(1, rounding / CONDITION)
    if np.isinf(reference_error):  # which says nothing about how far an engine may be off
        return "equal" if engine_error <= most else "wrong"
    if reference_error > FAR_OFF:
        return "not judged" if engine_error <= max(most, FARTHER * reference_error) else "wrong"
    if reference_error > 1:
        most = max(most, 2 * reference_error)
    return "equal" if engine_error <= most else "wrong"


def worst(compared):
    """Return the first outcome that is a fault; else the first that says least; each with words."""
    ranks = {"equal": 0, "not judged": 1}
    return max(compared, key=lambda each: ranks.get(each[0], 2))


def share(reference, found, tolerance=agreement.TOLERANCE):
    """Return the largest difference as a share of the tolerance; infinite if not finite."""
    return float(agreement.differences(reference, found, tolerance)[1].max(initial=0))
