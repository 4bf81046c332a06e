"""Models as they are deployed: what they answer, how well, how fast, and with what.

By several routes: ``paddle.inference`` and :class:`lenet_cpp.Predictor` with each of its engines,
in a child process; and the C++ program.
"""

import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from timeit import Timer
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from lenet_cpp import errors
from lenet_cpp._base.worker import PROGRAM_DESC, Report, call
from lenet_cpp.agreement import TOLERANCES, compare
from lenet_cpp.errors import BadModel, Error, Unsupported
from lenet_cpp.inference.options import Accelerator, EngineName, Precision
from lenet_cpp.inference.predictor import Predictor
from lenet_cpp.inference.program import call_program
from lenet_cpp.paddle_engines.classification import InferenceEngine
from lenet_cpp.quantize.int8_weights import QUANTIZED_OPS

T = TypeVar("T")
Run = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]

PADDLE = "paddle.inference"
PROGRAM = "C++ program"
ENGINES: dict[str, EngineName] = {"lenet_cpp": "paddle", "native": "native"}
"""Routes through :class:`lenet_cpp.Predictor`, and the engine of each."""
_MAX_DROP = 0.5
# Rounding to 8 bits costs a few hundredths in a deep network; wrong weights cost about 1.
_MAX_RELATIVE_ERROR = 0.5
_LEAST_RUNS = 3
# Values of the input of a run, by the memory that a deep network then takes.
_RUN_VALUES = 8 * 3 * 224 * 224
_PRIMITIVE = re.compile(
    r"onednn_verbose,(?:v1,)?(?:primitive,)?exec,cpu,(convolution|inner_product|matmul)"
    r",[^,]*,[^,]*,([^,]*)"
)


@dataclass(frozen=True)
class Deployed:
    """A ``.pdmodel`` with its ``.pdiparams``, and the precision that it is run in."""

    program: Path
    precision: Precision

    @property
    def params(self) -> Path:
        """The ``.pdiparams``."""
        return self.program.with_suffix(".pdiparams")

    @contextmanager
    def opened(self, route: str, threads: int = 1) -> Iterator[Run]:
        """Load the model into what runs it by a route; yield a function from images to outputs."""
        how: Any = {"precision": self.precision, "threads": threads}

        def load(accelerator: Accelerator) -> InferenceEngine | Predictor:
            if route == PADDLE:
                engine = InferenceEngine("python", accelerator=accelerator, **how)
                return engine.load_predictor(self.program, self.params)
            if ENGINES[route] == "paddle":
                how["accelerator"] = accelerator
            return Predictor(self.program, self.params, engine=ENGINES[route], **how)

        with self.by_onednn(load) as model:
            run: Any = model.run  # one output, as quantize requires
            yield run

    def by_onednn(self, use: Callable[[Accelerator], T]) -> T:
        """Return the result of ``use`` for oneDNN, or for plain if oneDNN refuses a float model.

        oneDNN computes some products of two tensors wrongly, so that transformers are refused.
        """
        try:
            return use("onednn")
        except Unsupported:
            if self.precision != "fp32":
                raise
            return use("plain")


@dataclass(frozen=True)
class Served:
    """What a model answered by one route, float32 [N, classes]; nothing when it failed.

    ``seconds`` is the median of the runs, by batch size; ``engine`` what a user gets who names
    none, and empty when that was not asked.
    """

    outputs: npt.NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    seconds: dict[str, float] = field(default_factory=dict)
    engine: str = ""
    error: Error | None = None


def as_input(images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return float32 [N, C, H, W]; uint8 [N, H, W] is divided by 255."""
    if images.dtype == np.uint8:
        return images[:, np.newaxis].astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(images, np.float32)


def batch_size(images: npt.NDArray[Any]) -> int:
    """Return how many of these images are run at a time: up to 64, as memory allows."""
    return min(64, max(1, _RUN_VALUES // int(images[0].size)))


def batches(images: npt.NDArray[Any], size: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the images, so many at a time, as :func:`as_input` returns them."""
    return (as_input(images[begin : begin + size]) for begin in range(0, len(images), size))


def outputs(
    model: Deployed, images: npt.NDArray[Any], *, report: Report | None = None
) -> tuple[npt.NDArray[np.float32], dict[str, tuple[int, int]]]:
    """Run a quantized model by ``paddle.inference``, and count what oneDNN computes in int8.

    oneDNN has no int8 product of two tensors: a transformer runs by the native engine instead, and
    that engine's layers are counted.

    The images are as :func:`as_input` takes them. Returns float32 [N, classes]; and for each kind
    of layer with weights (convolution, inner_product, matmul) how many of one run compute with
    int8 (s8 or u8) values and int8 weights, and how many there are.

    Raises:
        BackendFailure: Paddle could not load or run the model.
        lenet_cpp.Error: The model has other weights than its precision needs.
    """
    (served,), printed = serve([model], images, PADDLE, verbose=True, report=report)
    if isinstance(served.error, Unsupported):
        with model.opened("native") as run:
            return run_all(run, images), _native_primitives(model)
    if served.error is not None:
        raise served.error
    runs = -(-len(images) // batch_size(images))
    primitives = parse_primitives(printed)
    return served.outputs, {kind: (a // runs, b // runs) for kind, (a, b) in primitives.items()}


def _native_primitives(model: Deployed) -> dict[str, tuple[int, int]]:
    """Count the layers with weights as :func:`outputs` says, by a profile of the native engine."""
    with Predictor(model.program, model.params, engine="native", precision="int8") as predictor:
        layers = predictor.profile(images=1, runs=1).parts[0].layers
    total: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for layer in layers:
        operator = layer.name.partition(" ")[0]
        if operator in QUANTIZED_OPS and layer.weight_bytes:
            kind = "convolution" if "conv" in operator else "matmul"
            total[kind] += 1
            whole[kind] += layer.kernel.endswith("_int8")
    return {kind: (whole[kind], total[kind]) for kind in sorted(total)}


def parse_primitives(printed: str) -> dict[str, tuple[int, int]]:
    """Read oneDNN's record of what it ran; see :func:`outputs`."""
    found = _PRIMITIVE.findall(printed)
    total = Counter(kind for kind, _ in found)
    whole = Counter(
        kind for kind, memory in found if re.search(r"src[_:][us]8.* wei[_:]s8", memory)
    )
    return {kind: (whole[kind], total[kind]) for kind in sorted(total)}


def serve(
    models: Sequence[Deployed],
    images: npt.NDArray[Any],
    route: str,
    *,
    batch_sizes: Sequence[int] = (),
    seconds: float = 0.0,
    threads: int = 1,
    verbose: bool = False,
    report: Report | None = None,
) -> tuple[list[Served], str]:
    """Run models in a child process, one after the other, and then time them in turns.

    The route is :data:`PADDLE` or one of :data:`ENGINES`. Each model is timed for about so many
    seconds at each batch size, for which the images are repeated. ``verbose`` has oneDNN print what
    it runs. Returns what each model answered, where a crash is an error of all, and what was
    printed.
    """
    timing = {"batch_sizes": list(batch_sizes), "seconds": seconds, "threads": threads}
    described = [[str(model.program), model.precision] for model in models]
    with tempfile.TemporaryDirectory(prefix="lenet-") as folder:
        np.save(Path(folder, "images.npy"), images)
        try:
            answer = call(
                "lenet_cpp.quantize.deployed:run_in_child",
                {"models": described, "route": route, "folder": folder, **timing},
                doing="running the model",
                report=report,
                variables=PROGRAM_DESC
                | dict.fromkeys(("ONEDNN_VERBOSE", "DNNL_VERBOSE"), str(int(verbose))),
            )
        except Error as error:
            return [Served(error=error)] * len(models), ""
        served = [
            Served(error=getattr(errors, found["error"])(found["message"]))
            if "error" in found
            else Served(np.load(Path(folder, f"{index}.npy")), **found)
            for index, found in enumerate(answer.result)
        ]
        return served, answer.printed


def run_in_child(
    models: list[tuple[str, Precision]],
    route: str,
    folder: str,
    batch_sizes: Sequence[int],
    seconds: float,
    threads: int,
    report: Report,
) -> list[dict[str, Any]]:
    """Do what :func:`serve` says, with the images and the outputs in files of a folder.

    Returns of each model ``engine`` and ``seconds`` as :class:`Served` has them; or the class of an
    ``error``, and its ``message``.
    """
    images = np.load(Path(folder, "images.npy"))
    answers: list[dict[str, Any]] = []
    runs: list[Run] = []
    with ExitStack() as stack:
        for index, (program, precision) in enumerate(models):
            model = Deployed(Path(program), precision)
            engine = ""
            try:
                run = stack.enter_context(model.opened(route, threads))
                np.save(Path(folder, f"{index}.npy"), run_all(run, images))
                if route in ENGINES:
                    with Predictor(program, model.params, precision=precision) as predictor:
                        engine = predictor.options["engine"]
            except Error as error:
                answers.append({"error": type(error).__name__, "message": str(error)})
                continue
            runs.append(run)
            answers.append({"engine": engine, "seconds": {}})
            report("checking", index + 1, len(models))
        timed = [answer["seconds"] for answer in answers if "seconds" in answer]
        for size in batch_sizes if timed else ():
            batch = as_input(images[np.arange(size) % len(images)])
            for times, median in zip(timed, _medians(runs, batch, seconds, report), strict=True):
                times[str(size)] = median
    return answers


def run_all(run: Run, images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Run as many images at a time as memory allows; return the outputs of all."""
    return np.concatenate([run(batch) for batch in batches(images, batch_size(images))])


def _medians(
    runs: Sequence[Run], batch: npt.NDArray[np.float32], seconds: float, report: Report
) -> list[float]:
    """Time functions in turns; return the median of each, in seconds."""
    timers = [Timer(partial(run, batch)) for run in runs]
    for timer in timers:
        timer.timeit(1)  # the first run chooses and prepares what computes
    times: list[list[float]] = []
    begun, wanted = time.perf_counter(), seconds * len(runs)
    while len(times) < _LEAST_RUNS or time.perf_counter() - begun < wanted:
        times.append([timer.timeit(1) for timer in timers])
        if len(times) % 20 == 1:
            passed = min(100, round(100 * (time.perf_counter() - begun) / wanted))
            report(f"timing {len(batch)}", passed, 100)
    return [float(median) for median in np.median(times, axis=0)]


def serve_by_program(program: Path, model: Deployed, images: npt.NDArray[Any]) -> Served:
    """Run a model by the C++ program and its paddle engine; it is not timed."""
    with tempfile.TemporaryDirectory(prefix="lenet-") as folder:
        source, target = Path(folder, "images.npy"), Path(folder, "outputs.npy")
        np.save(source, as_input(images))
        files = [f"--model_file={model.program}", f"--params_file={model.params}"]
        files += [f"--input={source}", f"--output={target}"]
        files += ["--engine=paddle", f"--precision={model.precision}"]
        files += [f"--batch_size={batch_size(images)}"]
        try:
            model.by_onednn(lambda name: call_program(program, *files, f"--accelerator={name}"))
        except Error as error:
            return Served(error=error)
        return Served(np.load(target))


@dataclass(frozen=True)
class Quality:
    """How the outputs of a quantized model compare with the float model's, on the same images.

    Without labels the first three of these are None.

    Attributes:
        correct: How many the quantized model classified correctly.
        accuracy: Their share.
        float_accuracy: The share that the float model classified correctly.
        equal: How many got the same class from both.
        agreement: Their share.
        drop: What was lost, in percentage points: accuracy, or agreement without labels.
        largest_difference: Of a logit.
        relative_error: Root of the mean square of the differences, relative to the spread of the
            float model's logits.
    """

    images: int
    correct: int | None
    accuracy: float | None
    float_accuracy: float | None
    equal: int
    agreement: float
    drop: float
    largest_difference: float
    relative_error: float


def measure_quality(
    reference: npt.NDArray[np.float32],
    outputs: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64] | None,
) -> Quality:
    """Compare the float model's outputs, float32 [N, classes], with those of a quantized one.

    Raises:
        BadModel: The shapes differ, or an output is not finite.
    """
    if reference.shape != outputs.shape or not np.isfinite(outputs).all():
        raise BadModel(
            f"the quantized model returns {list(outputs.shape)} where {list(reference.shape)} was"
            " expected, or values that are not finite"
        )
    compared = compare(reference, outputs, tolerance=TOLERANCES["int8"])
    images, equal = len(reference), compared.equal_predictions
    correct = accuracy = float_accuracy = None
    drop = 100 * (images - equal) / images
    if labels is not None:
        correct, before = (int((x.argmax(axis=1) == labels).sum()) for x in (outputs, reference))
        accuracy, float_accuracy = correct / images, before / images
        drop = 100 * (before - correct) / images
    spread = float(reference.std()) or 1.0
    error = float(np.sqrt(((outputs.astype(np.float64) - reference) ** 2).mean()))
    return Quality(
        images=images,
        correct=correct,
        accuracy=accuracy,
        float_accuracy=float_accuracy,
        equal=equal,
        agreement=equal / images,
        drop=drop,
        largest_difference=compared.largest_difference,
        relative_error=error / spread,
    )


def check_quality(method: str, quality: Quality, max_drop: float | None) -> None:
    """Refuse a model that lost more than :attr:`QuantizationSettings.max_drop`: BadModel."""
    most, refusal = max_drop, ""
    lost = f"classifies {quality.drop:.2f} % of the images otherwise than the float model"
    if quality.accuracy is not None and quality.float_accuracy is not None:
        most = _MAX_DROP if max_drop is None else max_drop
        lost = (
            f"reaches {100 * quality.accuracy:.2f} % where the float model reaches"
            f" {100 * quality.float_accuracy:.2f} %"
        )
    if most is not None and quality.drop > most:
        refusal = f"the quantized model {lost}, more than the {most:g} points of --max-drop"
    elif quality.relative_error > _MAX_RELATIVE_ERROR:
        share = f"{100 * quality.relative_error:.0f} %"
        refusal = f"the outputs of the quantized model are off by {share} of their spread"
    if refusal:
        raise BadModel(
            f"{method}: {refusal}: nothing was written; calibrate with more images, by another"
            " --algo, or train (qat)"
        )
