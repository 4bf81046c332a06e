"""Parity: the same images through four routes, and whether the answers agree.

The routes are

* ``dygraph``: the ``paddle.nn.Layer`` with the trained ``.pdparams``, in Python;
* ``paddle.inference``: the exported model, in Python;
* ``C++ program``: the exported model, by ``lenet_infer_test`` in a process of its own;
* ``lenet_cpp``: the exported model, by this package.

The last three use one engine: with the same options their outputs have to be the same bits. The
layer's own arithmetic and each accelerator's differ in the order of additions: there every output
has to be within ``1e-5 * max(1, |a|)`` of the reference, with ``|a|`` the largest output of that
image, and the predicted class the same unless the two largest outputs are closer than that.

Paddle is imported when a check runs, not with this module.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from lenet_cpp import _core, errors, models
from lenet_cpp.errors import BackendFailure, BadInput, BadModel, FileNotFound
from lenet_cpp.manifest import has_manifest, read_manifest, sha256_file
from lenet_cpp.predictor import Predictor
from lenet_cpp.tolerance import TOLERANCE, allowed_difference

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import paddle
    from numpy.typing import NDArray

    from lenet_cpp.predictor import LayerOutput

__all__ = [
    "ACCELERATORS",
    "BATCH_SIZES",
    "FORMATS",
    "ROUTES",
    "Case",
    "Comparison",
    "ExportedModel",
    "LayerComparison",
    "Report",
    "Row",
    "compare",
    "compare_layers",
    "find_models",
    "run_dygraph",
    "run_lenet_cpp",
    "run_paddle_inference",
    "run_program",
    "verify",
]

FORMATS = ("pdmodel", "json")
ACCELERATORS = ("plain", "onednn", "openvino")
BATCH_SIZES = (1, 3, 64, 1000)
ROUTES = ("dygraph", "paddle.inference", "C++ program", "lenet_cpp")

# As paddle_engine.cc has it.
_ONEDNN_SHAPES = 16
_LAYER_IMAGES = 64


@dataclass(frozen=True)
class ExportedModel:
    """One program of an exported model, with its parameters."""

    format: str
    """``pdmodel`` or ``json``."""
    program: Path
    params: Path


@dataclass(frozen=True)
class Case:
    """How one row of the table is run; the same for every route."""

    model: ExportedModel
    accelerator: str
    batch_size: int
    threads: int = 1
    check_finite: bool = True


@dataclass(frozen=True)
class Comparison:
    """The outputs of two routes, side by side."""

    first: str
    second: str
    exact: bool
    """Whether they have to be the same bits; otherwise the tolerance applies."""
    identical: bool
    within: bool
    """Whether every output is within the tolerance and every class the same, but near ties."""
    largest_difference: float
    """Largest absolute difference; infinity when one of two values is not finite."""
    equal_predictions: int
    images: int

    @property
    def agrees(self) -> bool:
        """Whether the two are as equal as they have to be."""
        return self.identical or (self.within and not self.exact)

    @property
    def verdict(self) -> str:
        """``identical``, ``within 1e-05`` or ``DIFFERS``."""
        if self.identical:
            return "identical"
        return "within tolerance" if self.agrees else "DIFFERS"


@dataclass(frozen=True)
class Row:
    """One case, compared."""

    case: Case
    comparisons: tuple[Comparison, ...]
    equal_predictions: int
    """The images that every route puts into the same class."""

    @property
    def agrees(self) -> bool:
        """Whether every comparison came out as it has to."""
        return all(comparison.agrees for comparison in self.comparisons)

    @property
    def verdict(self) -> str:
        """The worst of the comparisons' verdicts."""
        worst = max(self.comparisons, key=lambda one: (not one.agrees, not one.identical))
        return worst.verdict


@dataclass(frozen=True)
class LayerComparison:
    """One layer of the trained network and the operator that exporting made of it."""

    format: str
    layer: str
    kind: str
    operator: str
    """The operator's type; empty when it is not known which one it is."""
    shape: tuple[int, ...]
    largest_difference: float
    departs: bool


@dataclass(frozen=True)
class Report:
    """What :func:`verify` found."""

    model_dir: Path
    images: int
    reference: str
    """What ``paddle.inference`` is compared with: ``dygraph``, or its own plain kernels when the
    trained parameters are not at hand."""
    rows: tuple[Row, ...]
    unavailable: dict[tuple[str, str], str]
    """Format and accelerator to why they do not go together."""
    correct: dict[str, int] = field(default_factory=dict)
    """Route to correct predictions, the fewest of all rows; empty without labels."""
    notes: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether every row agrees."""
        return all(row.agrees for row in self.rows)

    @property
    def largest_difference(self) -> float:
        """Of all comparisons."""
        return max(one.largest_difference for row in self.rows for one in row.comparisons)

    @property
    def equal_predictions(self) -> int:
        """The images put into the same class by every route, the fewest of all rows."""
        return min(row.equal_predictions for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values that JSON takes; differences that are not finite as None."""
        return {
            "agrees": self.agrees,
            "images": self.images,
            "equal_predictions": self.equal_predictions,
            "largest_difference": _finite(self.largest_difference),
            "tolerance": TOLERANCE,
            "reference": self.reference,
            "accuracy": {
                route: {"correct": correct, "total": self.images, "fraction": correct / self.images}
                for route, correct in self.correct.items()
            },
            "rows": [
                {
                    "format": row.case.model.format,
                    "accelerator": row.case.accelerator,
                    "batch_size": row.case.batch_size,
                    "threads": row.case.threads,
                    "equal_predictions": row.equal_predictions,
                    "verdict": row.verdict,
                    "comparisons": [
                        {
                            "routes": [one.first, one.second],
                            "largest_difference": _finite(one.largest_difference),
                            "equal_predictions": one.equal_predictions,
                            "verdict": one.verdict,
                        }
                        for one in row.comparisons
                    ],
                }
                for row in self.rows
            ],
            "unavailable": [
                {"format": format_, "accelerator": accelerator, "reason": reason}
                for (format_, accelerator), reason in self.unavailable.items()
            ],
            "notes": list(self.notes),
        }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def find_models(model_dir: Path, formats: Sequence[str] | None = None) -> list[ExportedModel]:
    """Find the programs of an exported model.

    Args:
        model_dir: The folder.
        formats: Those that have to be there; whichever of :data:`FORMATS` is there when None.

    Raises:
        FileNotFound: There is no such folder, or no such program in it.
        BadInput: A format is unknown.
        BadModel: The folder holds several models.
    """
    remedy = "export the model with scripts/export_model.py"
    if not model_dir.is_dir():
        raise FileNotFound(f"there is no folder {model_dir}: {remedy}")
    found = []
    for format_ in FORMATS if formats is None else formats:
        if format_ not in FORMATS:
            raise BadInput(f"unknown format {format_!r}; choose among {', '.join(FORMATS)}")
        programs = [
            path
            for path in sorted(model_dir.glob(f"*.{format_}"))
            if path.with_suffix(".pdiparams").is_file()
        ]
        if len(programs) > 1:
            raise BadModel(f"{model_dir} holds several models: {programs[0]} and {programs[1]}")
        if not programs and formats is not None:
            raise FileNotFound(f"{model_dir} has no .{format_} with .pdiparams: {remedy}")
        found += [ExportedModel(format_, path, path.with_suffix(".pdiparams")) for path in programs]
    if not found:
        raise FileNotFound(f"{model_dir} has neither .pdmodel nor .json: {remedy}")
    return found


def _in_batches(
    run: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    images: NDArray[np.float32],
    batch_size: int,
) -> NDArray[np.float32]:
    parts = (images[i : i + batch_size] for i in range(0, len(images), batch_size))
    return np.concatenate([run(part) for part in parts])


def run_dygraph(
    layer: paddle.nn.Layer, images: NDArray[np.float32], batch_size: int
) -> NDArray[np.float32]:
    """Run the layer itself; float32 [N, ...] in, float32 [N, classes] out."""
    import paddle

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        output: NDArray[np.float32] = layer(paddle.to_tensor(batch)).numpy()
        return output

    with paddle.no_grad():
        return _in_batches(run, images, batch_size)


def run_paddle_inference(case: Case, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run a model with ``paddle.inference``, configured as ``paddle_engine.cc`` does.

    The files are not checked: Paddle crashes on some damaged ones, so let :class:`Predictor` load
    the model first.
    """
    from paddle.inference import Config, PrecisionType, create_predictor

    def option(name: str) -> Callable[..., None]:
        # Paddle 3.1 knows oneDNN only by its older name, for which later versions print a warning.
        method: Callable[..., None] | None = getattr(config, name, None)
        return method or getattr(config, name.replace("onednn", "mkldnn"))

    with tempfile.TemporaryDirectory(prefix="lenet-") as cache:
        config = Config(str(case.model.program), str(case.model.params))
        config.disable_gpu()
        config.disable_glog_info()
        config.set_cpu_math_library_num_threads(case.threads)
        config.switch_ir_optim(True)
        if case.model.format == "json":
            config.enable_new_executor(True)
            config.enable_new_ir(True)
        else:
            config.enable_memory_optim(False)
        if case.accelerator == "onednn":
            option("enable_onednn")()
            option("set_onednn_cache_capacity")(_ONEDNN_SHAPES)
        else:
            option("disable_onednn")()
        if case.accelerator == "openvino":
            config.set_optim_cache_dir(cache)
            config.enable_openvino_engine(PrecisionType.Float32)
        predictor = create_predictor(config)
        source = predictor.get_input_handle(predictor.get_input_names()[0])
        output = predictor.get_output_handle(predictor.get_output_names()[0])

        def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
            source.reshape(batch.shape)
            source.copy_from_cpu(batch)
            predictor.run()
            result: NDArray[np.float32] = output.copy_to_cpu()
            return result

        return _in_batches(run, images, case.batch_size)


def run_lenet_cpp(case: Case, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run a model with :class:`lenet_cpp.Predictor`.

    Raises:
        lenet_cpp.Error: As the predictor does.
    """
    with Predictor(
        case.model.program,
        case.model.params,
        accelerator=case.accelerator,
        threads=case.threads,
        check_finite=case.check_finite,
    ) as predictor:
        return _in_batches(predictor.run, images, case.batch_size)


def run_program(program: Path, case: Case, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run a model with the C++ program, in a process of its own.

    Raises:
        FileNotFound: There is no such program, or it cannot be started.
        lenet_cpp.Error: What the program reported by its exit code.
        BackendFailure: The program crashed.
    """
    with tempfile.TemporaryDirectory(prefix="lenet-") as name:
        source, output = Path(name, "images.npy"), Path(name, "outputs.npy")
        np.save(source, images)
        _call_program(
            program,
            f"--model_file={case.model.program}",
            f"--params_file={case.model.params}",
            f"--input={source}",
            f"--output={output}",
            f"--accelerator={case.accelerator}",
            f"--batch_size={case.batch_size}",
            f"--threads={case.threads}",
            f"--check_finite={str(case.check_finite).lower()}",
        )
        result: NDArray[np.float32] = np.load(output)
        return result


def _call_program(program: Path, *arguments: str) -> str:
    try:
        child = subprocess.run(  # noqa: S603 - the program that the user asks to verify
            [program.absolute(), *arguments], capture_output=True, check=False, text=True
        )
    except OSError as error:
        raise FileNotFound(
            f"cannot run {program} ({error.strerror}): build it with ./run.sh"
        ) from error
    if child.returncode == 0:
        return child.stdout
    said = child.stderr.strip().splitlines() or ["it said nothing"]
    if child.returncode < 0:
        raise BackendFailure(f"{program} was ended by signal {-child.returncode}: {said[-1]}")
    kinds = (getattr(errors, name) for name in errors.__all__)
    by_exit_code = {kind.exit_code: kind for kind in kinds}
    raise by_exit_code.get(child.returncode, BackendFailure)(said[-1])


def compare(
    reference: NDArray[np.float32],
    found: NDArray[np.float32],
    *,
    names: tuple[str, str] = ("reference", "found"),
    exact: bool = False,
) -> Comparison:
    """Compare the outputs of two routes for the same images.

    Values that are not finite agree when they are the same infinity or both NaN.

    Args:
        reference: float32 [N, classes].
        found: As ``reference``.
        names: What to call the two.
        exact: Whether they have to be the same bits.

    Raises:
        BadModel: The shapes or dtypes differ.
    """
    if reference.shape != found.shape or reference.dtype != found.dtype:
        raise BadModel(
            f"{names[1]} gives {found.dtype} {list(found.shape)} where {names[0]} gives"
            f" {reference.dtype} {list(reference.shape)}: they do not run the same model"
        )
    difference, close = _differences(reference, found)
    same_class = reference.argmax(axis=1) == found.argmax(axis=1)
    return Comparison(
        *names,
        exact=exact,
        identical=reference.tobytes() == found.tobytes(),
        within=bool(close.all() and (same_class | _near_ties(reference)).all()),
        largest_difference=float(difference.max()),
        equal_predictions=int(same_class.sum()),
        images=len(reference),
    )


def _differences(
    reference: NDArray[np.float32], found: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Absolute differences of all elements, and which of them are within the tolerance."""
    a, b = reference.astype(np.float64), found.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0, np.abs(a - b))
    difference[np.isnan(difference)] = np.inf
    allowed = np.where(np.isfinite(a), allowed_difference(a), 0)
    return difference, difference <= allowed


def _near_ties(outputs: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which rows' two largest values are closer than the tolerance."""
    if outputs.shape[1] < 2:
        return np.zeros(len(outputs), np.bool_)
    top = np.sort(outputs.astype(np.float64), axis=1)[:, -2:]
    with np.errstate(invalid="ignore"):
        near: NDArray[np.bool_] = top[:, 1] - top[:, 0] < allowed_difference(outputs)[:, 0]
    return near


def _load_layer(model_dir: Path, params: Path) -> paddle.nn.Layer:
    """The trained network that the folder's model was exported from, softmax included."""
    import paddle

    from lenet_cpp.checkpoint import load_parameters

    manifest = read_manifest(model_dir) if has_manifest(model_dir) else None
    layer = models.build((manifest and manifest.topology) or "lenet")
    load_parameters(layer, params)
    layer.eval()
    if manifest and manifest.softmax:
        layer = paddle.nn.Sequential(("", layer), ("softmax", paddle.nn.Softmax()))
    return layer


def _other_checkpoint(model_dir: Path, params: Path) -> str | None:
    """Say so when the manifest has another checksum for the checkpoint than it has now."""
    training = read_manifest(model_dir).training if has_manifest(model_dir) else None
    files = (training or {}).get("files")
    trained = files.get(params.name) if isinstance(files, dict) else None
    if trained is None or trained == sha256_file(params):
        return None
    return (
        f"by its manifest, {model_dir} was exported from another {params.name} than {params};"
        " export it again with scripts/export_model.py"
    )


def verify(
    model_dir: Path,
    images: NDArray[np.float32],
    labels: NDArray[np.int64] | None = None,
    *,
    program: Path,
    params: Path | None = None,
    formats: Sequence[str] | None = None,
    accelerators: Sequence[str] = ACCELERATORS,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    threads: int = 1,
    check_finite: bool = True,
    progress: bool = False,
) -> Report:
    """Run the same images through every route and compare.

    Args:
        model_dir: Folder of the exported model.
        images: float32 [N, channels, height, width], at least one image.
        labels: int64 [N], to measure each route's accuracy; None leaves that out.
        program: The C++ program.
        params: The ``.pdparams`` that the model was exported from; None leaves dygraph out, and
            ``paddle.inference`` with plain kernels becomes the reference.
        formats: As for :func:`find_models`.
        accelerators: Some of :data:`ACCELERATORS`.
        batch_sizes: Images a run, 1 to 1024.
        threads: CPU threads of a run.
        check_finite: Whether the C++ routes refuse NaN and infinity.
        progress: Whether to show a progress bar on a terminal.

    Raises:
        FileNotFound: A file is missing.
        BadModel: The model or the parameters are damaged, or do not fit each other.
        BadInput: An argument; an image that is not finite.
        BackendFailure: A route failed.
    """
    _check_arguments(images, labels, accelerators, batch_sizes)
    found = find_models(model_dir, formats)
    with Predictor(found[0].program, found[0].params, accelerator="plain"):
        pass  # Paddle would crash on a damaged file.
    import paddle

    exact, notes = _same_engine(str(paddle.__version__), program)
    layer = None
    if params is not None:
        layer = _load_layer(model_dir, params)
    references: dict[int, NDArray[np.float32]] = {}
    for size in batch_sizes:
        case = Case(found[0], "plain", size, threads, check_finite)
        references[size] = (
            run_paddle_inference(case, images)
            if layer is None
            else run_dygraph(layer, images, size)
        )
    reference = f"paddle.inference, plain .{found[0].format}" if layer is None else "dygraph"
    unavailable = {
        (model.format, "openvino"): "OpenVINO runs .pdmodel programs only"
        for model in found
        if model.format == "json" and "openvino" in accelerators
    }
    cases = [
        Case(model, accelerator, size, threads, check_finite)
        for model in found
        for accelerator in accelerators
        for size in batch_sizes
        if (model.format, accelerator) not in unavailable
    ]
    if not cases:
        raise BadInput(f"nothing to compare: {'; '.join(unavailable.values())}")
    rows = []
    correct: dict[str, int] = {}
    bar = tqdm(cases, desc="verify", unit="case", disable=None if progress else True)
    for case in bar:
        bar.set_postfix_str(f"{case.model.format} {case.accelerator} {case.batch_size}")
        outputs = {"lenet_cpp": run_lenet_cpp(case, images)}
        outputs["C++ program"] = run_program(program, case, images)
        outputs["paddle.inference"] = run_paddle_inference(case, images)
        if layer is not None:
            outputs["dygraph"] = references[case.batch_size]
        rows.append(_row(case, outputs, (reference, references[case.batch_size]), exact))
        if labels is not None:
            for route, output in outputs.items():
                right = int((output.argmax(axis=1) == labels).sum())
                correct[route] = min(right, correct.get(route, right))
    if params is not None and not all(row.agrees for row in rows):
        notes += filter(None, [_other_checkpoint(model_dir, params)])
    return Report(
        model_dir=model_dir,
        images=len(images),
        reference=reference,
        rows=tuple(rows),
        unavailable=unavailable,
        correct={route: correct[route] for route in ROUTES if route in correct},
        notes=tuple(notes),
    )


def _check_arguments(
    images: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
    accelerators: Sequence[str],
    batch_sizes: Sequence[int],
) -> None:
    if images.dtype != np.float32 or len(images) == 0:
        raise BadInput(f"expected float32 images, at least one; got {images.dtype}[{len(images)}]")
    if labels is not None and len(labels) != len(images):
        raise BadInput(f"{len(labels)} labels for {len(images)} images")
    if unknown := [name for name in accelerators if name not in ACCELERATORS]:
        raise BadInput(
            f"unknown accelerator {unknown[0]!r}; choose among {', '.join(ACCELERATORS)}"
        )
    # The C++ predictor cuts larger batches, and Paddle then rounds otherwise.
    most = _core.Config().max_batch_size
    if not batch_sizes or not all(1 <= size <= most for size in batch_sizes):
        raise BadInput(f"batch sizes are from 1 to {most}; got {list(batch_sizes)}")


def _same_engine(paddle_version: str, program: Path) -> tuple[dict[str, bool], list[str]]:
    """Tell which of the C++ routes run on the Paddle that Python has, and note which do not."""
    match = re.search(r"^Paddle Inference (\S+)$", _call_program(program, "--version"), re.M)
    versions = {
        "C++ program": match[1] if match else "unknown",
        "lenet_cpp": _core.paddle_version(),
    }
    exact = {route: version == paddle_version for route, version in versions.items()}
    notes = [
        f"{route} runs on Paddle {versions[route]}, Python on {paddle_version}: compared within"
        " the tolerance"
        for route, same in exact.items()
        if not same
    ]
    return exact, notes


def _row(
    case: Case,
    outputs: dict[str, NDArray[np.float32]],
    reference: tuple[str, NDArray[np.float32]],
    exact: dict[str, bool],
) -> Row:
    inference = "paddle.inference"
    comparisons = [
        compare(outputs[inference], outputs[route], names=(inference, route), exact=exact[route])
        for route in ("C++ program", "lenet_cpp")
    ]
    comparisons.append(compare(reference[1], outputs[inference], names=(reference[0], inference)))
    classes = np.stack([output.argmax(axis=1) for output in outputs.values()])
    same = (classes == classes[0]).all(axis=0)
    return Row(case, tuple(comparisons), int(same.sum()))


# Layer to the operators that exporting may make of it; a bias becomes an addition after it.
_OPERATORS = {
    "Conv2D": {"conv2d"},
    "Linear": {"matmul", "matmul_v2"},
    "MaxPool2D": {"pool2d"},
    "Softmax": {"softmax"},
}
_ADDITIONS = {"add", "elementwise_add"}


def compare_layers(
    model_dir: Path,
    images: NDArray[np.float32],
    *,
    params: Path,
    formats: Sequence[str] | None = None,
) -> list[LayerComparison]:
    """Compare the network layer by layer, to see where the exported model departs first.

    The first 64 images go through the trained layers and through the exported program with plain
    kernels and without graph optimization.

    Args:
        model_dir: Folder of the exported model.
        images: float32 [N, channels, height, width], at least one image.
        params: The ``.pdparams`` that the model was exported from.
        formats: As for :func:`find_models`.

    Returns:
        For each format the layers in the order of execution.

    Raises:
        FileNotFound: A file is missing.
        BadModel: The model or the parameters are damaged, or do not fit each other.
    """
    images = images[:_LAYER_IMAGES]
    found = find_models(model_dir, formats)
    layer = _load_layer(model_dir, params)
    layers = _record_layers(layer, images)
    result = []
    for model in found:
        with Predictor(
            model.program, model.params, accelerator="plain", ir_optim=False
        ) as predictor:
            operators = predictor.run_layers(images)
        result += _match_layers(model, layers, operators)
    return result


@dataclass(frozen=True)
class _LayerRun:
    """One call of a layer."""

    name: str
    kind: str
    biased: bool
    output: NDArray[np.float32]


def _record_layers(layer: paddle.nn.Layer, images: NDArray[np.float32]) -> list[_LayerRun]:
    """Run the network and keep what each of its layers returned."""
    runs: list[_LayerRun] = []

    def recorder(name: str) -> Callable[[Any, Any, Any], None]:
        def record(sublayer: Any, _inputs: Any, output: Any) -> None:
            biased = getattr(sublayer, "bias", None) is not None
            # A copy: an operator that works in place may overwrite it afterwards.
            values = np.array(output.numpy())
            runs.append(_LayerRun(name, type(sublayer).__name__, biased, values))

        return record

    hooks = [
        sublayer.register_forward_post_hook(recorder(name.lstrip(".")))
        for name, sublayer in layer.named_sublayers()
        if not sublayer.sublayers()
    ]
    try:
        run_dygraph(layer, images, len(images))
    finally:
        for hook in hooks:
            hook.remove()
    return runs


def _operator_kind(op_type: str) -> str:
    """``pd_op.add_:1`` is the in-place form of ``add``, second in its program."""
    return re.sub(r"^pd_op\.|_?:\d+$", "", op_type)


def _match_layers(
    model: ExportedModel, layers: Sequence[_LayerRun], operators: Sequence[LayerOutput]
) -> list[LayerComparison]:
    """Walk through layers and operators side by side, in the order of execution."""
    remaining = iter(operators)

    def next_operator(kinds: set[str], layer: _LayerRun) -> LayerOutput:
        for operator in remaining:
            if _operator_kind(operator.op_type) in kinds:
                return operator
        raise BadModel(
            f"{model.program} has no operator for the layer {layer.name} ({layer.kind}):"
            " it is a model of another topology"
        )

    result = []
    for layer in layers:
        kinds = _OPERATORS.get(layer.kind)
        if kinds is None:
            shape = layer.output.shape
            result.append(
                LayerComparison(model.format, layer.name, layer.kind, "", shape, 0.0, departs=False)
            )
            continue
        operator = next_operator(kinds, layer)
        if layer.biased:
            operator = next_operator(_ADDITIONS, layer)
        if operator.values.shape != layer.output.shape:
            raise BadModel(
                f"{model.program}: {operator.op_type} gives {list(operator.values.shape)} where the"
                f" layer {layer.name} gives {list(layer.output.shape)}"
            )
        difference, close = _differences(layer.output, operator.values)
        result.append(
            LayerComparison(
                model.format,
                layer.name,
                layer.kind,
                operator.op_type,
                operator.values.shape,
                float(difference.max()),
                departs=not close.all(),
            )
        )
    return result
