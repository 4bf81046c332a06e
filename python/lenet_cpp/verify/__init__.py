"""Check parity: run the same images through four routes and compare the outputs.

The routes are

* ``dygraph``: the ``paddle.nn.Layer`` with the trained ``.pdparams``, in Python, on the training
  engine; or that engine with the exported model, when there are no trained parameters;
* ``paddle.inference``: the exported model, in Python;
* ``C++ program``: the exported model, in a separate process of ``lenet_infer_test``;
* ``lenet_cpp``: the exported model, in this package.

The last three use one engine: with the same options their outputs must be the same bits. In
addition to Paddle's accelerators, the last two also run on the native engine. There they must be
the same bits as each other, and within the tolerance of ``paddle.inference``. The layer's own
arithmetic and each accelerator's differ in the order of additions: there every output must be
within ``tolerance * max(1, |a|)`` of the reference, by default 1e-5, with ``|a|`` the largest
output of that image, and the predicted class must be the same unless the two largest outputs are
closer than that; integers and bools must be the same (:mod:`lenet_cpp.agreement`). Every output of
the model is compared, by name. With a precision of bf16 or int8 the first rule is the same, and the
tolerance is the precision's. The native engine in int8 is compared with ``paddle.inference`` in
float32, which computes what the quantized program says, within
:data:`~lenet_cpp.agreement.ROUNDING_TOLERANCE`; and with Paddle's int8, if that runs too, within
the tolerance of int8.

Paddle is imported when a check runs, not with this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lenet_cpp import _core
from lenet_cpp._base.frameworks import paddle
from lenet_cpp._base.optional import require_paddle
from lenet_cpp.agreement import (
    ROUNDING_TOLERANCE,
    TOLERANCES,
    compare_outputs,
    predicted,
    same_predictions,
)
from lenet_cpp.errors import BadInput, Unsupported
from lenet_cpp.formats.source import Source
from lenet_cpp.inference.model import Model, check_model
from lenet_cpp.inference.options import Precision
from lenet_cpp.models import ModelSpec
from lenet_cpp.paddle_engines.engines import ExecutorEngine
from lenet_cpp.verify.files import find_models, load_trained_layer, other_checkpoint, random_seed
from lenet_cpp.verify.report import Recorded, Report, Row
from lenet_cpp.verify.routes import (
    ACCELERATORS,
    NATIVE,
    NO_PROGRAM,
    ROUTES,
    Case,
    OpenModels,
    Outputs,
    named_as,
    paddle_version_of,
    run_dygraph,
    run_lenet_cpp,
    run_paddle_inference,
    run_program,
    run_training_engine,
)

BATCH_SIZES = (1, 3, 64, 1000)
MAX_BATCH_SIZE = 1024
_COMPUTED_BY = {"bf16": ("onednn", NATIVE), "int8": ("onednn", NATIVE)}
PRECISIONS = ("fp32", *_COMPUTED_BY)
"""Those of the processor, which computes what is compared."""


def verify(
    model_dir: Path,
    images: NDArray[np.float32],
    labels: NDArray[np.int64] | None = None,
    *,
    program: Path | None,
    params: Path | None = None,
    formats: Sequence[str] | None = None,
    accelerators: Sequence[str] | None = None,
    batch_sizes: Sequence[int] = BATCH_SIZES,
    threads: int = 1,
    check_finite: bool = True,
    progress: bool = False,
    spec: ModelSpec | None = None,
    precision: Precision = "fp32",
    tolerance: float | None = None,
    training_engine: bool = False,
    record: bool = False,
) -> Report:
    """Run the same images through every route and compare.

    Args:
        model_dir: The folder of the exported model.
        images: float32 [N, channels, height, width], at least one image.
        labels: int64 [N], to measure each route's accuracy; None for no accuracy.
        program: The C++ program; None leaves that route out, and a note says so.
        params: The ``.pdparams`` that the model was exported from. When None, ``paddle.inference``
            with plain kernels is the reference instead of dygraph, unless the manifest has the
            seed of the parameters.
        formats: As for :func:`find_models`.
        accelerators: Some of :data:`ACCELERATORS`; None for all that support the precision and the
            model. Of those that are named, each has to support the model, but for native.
        batch_sizes: Images per run, 1 to 1024.
        threads: CPU threads of a run.
        check_finite: Whether the C++ routes refuse NaN and infinity.
        progress: Whether to show a progress bar on a terminal.
        spec: The network, when no manifest beside the model names it.
        precision: The precision of the exported model's arithmetic: ``fp32``, ``bf16`` or
            ``int8``. The reference is computed in float32.
        tolerance: As for :func:`lenet_cpp.agreement.compare`; when None, the precision's in
            :data:`lenet_cpp.agreement.TOLERANCES`.
        training_engine: Without parameters, use the training engine with the exported model as the
            reference.
        record: Keep the outputs of the row that differs most.

    Raises:
        FileNotFound: A file is missing.
        BadModel: The model or the parameters are damaged, or do not fit each other.
        BadInput: An argument is wrong, or an image is not finite.
        BackendFailure: A route failed.
    """
    require_paddle()
    named = accelerators is not None
    if accelerators is None:
        accelerators = _COMPUTED_BY.get(precision, ACCELERATORS)
    if tolerance is None:
        tolerance = TOLERANCES.get(precision, 0)
    _check_images(images, labels)
    _check_accelerators(accelerators, precision)
    _check_limits(batch_sizes, tolerance)
    sources = find_models(model_dir, formats)
    # First, because Paddle would crash on a damaged file.
    model = check_model(sources[0].program, sources[0].params)
    exact, notes = _same_engine(str(paddle.__version__), program)
    layer = _original_layer(model, params, spec)
    unavailable = _unavailable(sources, accelerators, precision, quantized=model.quantized)
    case_of = partial(Case, threads=threads, check_finite=check_finite)
    plain = [case_of(sources[0], "plain", size) for size in batch_sizes]
    pairs = _pairs(sources, accelerators, unavailable)
    cases = [case_of(*pair, size, precision=precision) for pair in pairs for size in batch_sizes]
    with closing(OpenModels(max(batch_sizes))) as models:
        reference, references = _run_reference(
            plain, images, layer=layer, trained=model if training_engine else None, models=models
        )
        table = _Table(
            images,
            labels,
            program=program,
            models=models,
            reference=reference,
            references=references,
            shows_reference=reference in ROUTES or training_engine,
            exact=exact,
            tolerance=tolerance,
            named=named,
            unavailable=unavailable,
            notes=notes,
        )
        bar = tqdm(cases, desc="verify", unit="case", disable=None if progress else True)
        for case in bar:
            bar.set_postfix_str(f"{case.model.format} {case.accelerator} {case.batch_size}")
            table.add(case)
    if not table.rows:
        refused = Unsupported if cases else BadInput  # by the model, or by what was asked for
        raise refused(f"nothing to compare: {'; '.join(unavailable.values())}")
    notes += _notes_on_parameters(table.rows, model, params)
    return Report(
        model_dir=model_dir,
        images=len(images),
        reference=reference,
        rows=tuple(table.rows),
        unavailable=unavailable,
        correct=table.correct_by_route(),
        notes=tuple(notes),
        precision=precision,
        tolerance=tolerance,
        recorded=table.recorded(model.output_role) if record else None,
    )


class _Table:
    """Collects the rows of a verification, and holds the values that all rows need."""

    def __init__(
        self,
        images: NDArray[np.float32],
        labels: NDArray[np.int64] | None,
        *,
        program: Path | None,
        models: OpenModels,
        reference: str,
        references: dict[int, Outputs],
        shows_reference: bool,
        exact: dict[str, bool],
        tolerance: float,
        named: bool,
        unavailable: dict[tuple[str, str], str],
        notes: list[str],
    ) -> None:
        """Begin without rows.

        Args:
            images: As for :func:`verify`.
            labels: As for :func:`verify`.
            program: As for :func:`verify`.
            models: What the routes of this process have open.
            reference: The name of the reference of ``paddle.inference``.
            references: Its outputs for each batch size, in the program's order.
            shows_reference: Whether the reference is a route, whose predictions count.
            exact: Whether a C++ route runs on Python's Paddle, by the route.
            tolerance: As for :func:`lenet_cpp.agreement.compare`.
            named: Whether the user named the accelerators: then a refusal is an error.
            unavailable: Gets the reason why a format and an accelerator cannot be combined.
            notes: Gets a note for each output that is not compared.
        """
        self.rows: list[Row] = []
        self._images, self._labels = images, labels
        self._program, self._models = program, models
        self._reference, self._references = reference, references
        self._shows_reference = shows_reference
        self._exact, self._tolerance, self._named = exact, tolerance, named
        self._unavailable, self._notes = unavailable, notes
        self._correct: dict[str, int] = {}
        self._worst: tuple[Row, dict[str, Outputs]] | None = None
        self._inference: dict[tuple[str, str, Precision, int], Outputs] = {}

    def add(self, case: Case) -> None:
        """Run a case in every route and compare the outputs, unless the model refuses the case."""
        outputs = self._run_cpp(case)
        if outputs is None:
            return
        expected, given = self._run_inference(case), outputs["lenet_cpp"]
        for note in _left_out(case, expected, given):
            if note not in self._notes:
                self._notes.append(note)
        outputs["paddle.inference"] = _those_of(expected, given)
        renamed = _those_of(named_as(self._references[case.batch_size], expected), given)
        if self._shows_reference:
            outputs[self._reference] = renamed
        row = _row(
            case,
            outputs,
            reference=self._reference,
            expected=renamed,
            by_onednn=self._inference.get((case.model.format, "onednn", "int8", case.batch_size)),
            exact=self._exact,
            tolerance=self._tolerance,
            images=len(self._images),
        )
        self.rows.append(row)
        if self._worst is None or _severity(row) > _severity(self._worst[0]):
            self._worst = row, outputs
        if self._labels is not None:
            _count_correct(outputs, self._labels, self._correct)

    def correct_by_route(self) -> dict[str, int]:
        """Return the correct predictions of each route, the fewest of all rows."""
        routes = (*ROUTES, self._reference)
        return {route: self._correct[route] for route in routes if route in self._correct}

    def recorded(self, output_role: str) -> Recorded | None:
        """Return the first outputs of the row that differs most; None without rows."""
        if self._worst is None:
            return None
        row, outputs = self._worst
        first = {route: next(iter(every.values())) for route, every in outputs.items()}
        return Recorded(row, first, output_role)

    def _run_cpp(self, case: Case) -> dict[str, Outputs] | None:
        """Run a case in C++; None where the model is refused.

        The reason is noted for the native engine, and for an accelerator that is tried by default.
        Where the user named the accelerator, the error is raised.
        """
        place = case.model.format, case.accelerator
        if place in self._unavailable:
            return None
        try:
            outputs = {"lenet_cpp": run_lenet_cpp(case, self._images, self._models)}
        except Unsupported as error:
            if self._named and not case.native:
                raise
            self._unavailable[place] = str(error)
            return None
        if self._program is not None:
            outputs["C++ program"] = run_program(self._program, case, self._images)
        return outputs

    def _run_inference(self, case: Case) -> Outputs:
        """Run a case in ``paddle.inference``, once for Paddle's row and that of native."""
        key = case.model.format, case.paddle_accelerator, case.paddle_precision, case.batch_size
        if key not in self._inference:
            self._inference[key] = run_paddle_inference(case, self._images, self._models)
        return self._inference[key]


def _pairs(
    sources: Sequence[Source],
    accelerators: Sequence[str],
    unavailable: dict[tuple[str, str], str],
) -> list[tuple[Source, str]]:
    """Return every model with every accelerator, without the pairs that cannot be combined."""
    pairs = product(sources, accelerators)
    return [pair for pair in pairs if (pair[0].format, pair[1]) not in unavailable]


def _notes_on_parameters(rows: Sequence[Row], model: Model, params: Path | None) -> list[str]:
    """Return a note where rows differ and the parameters are not those of the model."""
    if params is None or all(row.agrees for row in rows):
        return []
    note = other_checkpoint(model, params)
    return [] if note is None else [note]


def _original_layer(
    model: Model, params: Path | None, spec: ModelSpec | None
) -> paddle.nn.Layer | None:
    """Return the network that was exported, as :func:`load_trained_layer` does.

    None without ``params``, unless the manifest has the seed of random ones.
    """
    if params is None and random_seed(model.manifest) is None:
        return None
    return load_trained_layer(model, params, spec)


def _run_reference(
    cases: Sequence[Case],
    images: NDArray[np.float32],
    *,
    layer: paddle.nn.Layer | None,
    trained: Model | None,
    models: OpenModels,
) -> tuple[str, dict[int, Outputs]]:
    """Run the reference of ``paddle.inference``; return its name and outputs for each batch size.

    The outputs are in the program's order; their names may be others than those of a case.

    Without a layer it is the training engine with the model ``trained``, if that is given.
    """
    sizes, label = [case.batch_size for case in cases], cases[0].model.label
    if layer is not None:
        return "dygraph", {size: run_dygraph(layer, images, size) for size in sizes}
    if trained is not None:
        with closing(ExecutorEngine(trained)) as engine:
            found = {size: run_training_engine(engine, images, size) for size in sizes}
        return f"training engine {label}", found
    found = {case.batch_size: run_paddle_inference(case, images, models) for case in cases}
    return f"paddle.inference, plain {label}", found


def _check_images(images: NDArray[np.float32], labels: NDArray[np.int64] | None) -> None:
    if images.dtype != np.float32 or len(images) == 0:
        raise BadInput(f"expected float32 images, at least one; got {images.dtype}[{len(images)}]")
    if labels is not None and len(labels) != len(images):
        raise BadInput(f"{len(labels)} labels for {len(images)} images")


def _check_accelerators(accelerators: Sequence[str], precision: Precision) -> None:
    if unknown := [name for name in accelerators if name not in ACCELERATORS]:
        raise BadInput(
            f"unknown accelerator {unknown[0]!r}; choose among {', '.join(ACCELERATORS)}"
        )
    if precision not in PRECISIONS:
        raise BadInput(f"unknown precision {precision!r}; choose among {', '.join(PRECISIONS)}")
    known = _COMPUTED_BY.get(precision, ACCELERATORS)
    if other := [name for name in accelerators if name not in known]:
        raise BadInput(
            f"precision {precision} is computed by {' and '.join(known)}, not by {other[0]}"
        )


def _check_limits(batch_sizes: Sequence[int], tolerance: float) -> None:
    if not batch_sizes or not all(1 <= size <= MAX_BATCH_SIZE for size in batch_sizes):
        raise BadInput(f"batch sizes are from 1 to {MAX_BATCH_SIZE}; got {list(batch_sizes)}")
    if not 0 <= tolerance < np.inf:
        raise BadInput(f"a threshold is 0 or more; got {tolerance}")


def _unavailable(
    models: Sequence[Source], accelerators: Sequence[str], precision: Precision, *, quantized: bool
) -> dict[tuple[str, str], str]:
    """Return why formats and accelerators cannot be combined, for those that cannot."""
    found = {}
    for model in models:
        if "openvino" in accelerators and model.format != "pdmodel":
            found[model.format, "openvino"] = "OpenVINO runs .pdmodel programs only"
        elif "openvino" in accelerators and quantized:
            found[model.format, "openvino"] = "OpenVINO cannot convert a quantized model"
        if precision == "int8" and model.format == "json":
            found |= {
                (model.format, name): "nothing of a .json runs in int8" for name in accelerators
            }
    return found


def _same_engine(paddle_version: str, program: Path | None) -> tuple[dict[str, bool], list[str]]:
    """Return which C++ routes run on Python's Paddle, with notes about the others."""
    versions = {"lenet_cpp": _core.engine_version("paddle")}
    if program is not None:
        versions = {"C++ program": paddle_version_of(program), **versions}
    exact = {route: version == paddle_version for route, version in versions.items()}
    notes = [
        f"{route} runs on Paddle {versions[route]}, Python on {paddle_version}: compared within"
        " the tolerance"
        for route, same in exact.items()
        if not same
    ]
    return exact, notes + (
        [f"the C++ program is left out: {NO_PROGRAM}"] if program is None else []
    )


def _left_out(case: Case, expected: Outputs, given: Outputs) -> list[str]:
    """Return a note for each output of the model that the C++ routes do not give."""
    engine = case.engine if case.native else f"{case.engine} ({case.accelerator})"
    return [
        f"engine {engine} gives no output {name!r}: it is not compared"
        for name in expected
        if name not in given
    ]


def _those_of(outputs: Outputs, given: Outputs) -> Outputs:
    """Return the outputs that the C++ routes give too, in their order."""
    return {name: outputs[name] for name in given if name in outputs}


def _count_correct(
    routes: dict[str, Outputs], labels: NDArray[np.int64], correct: dict[str, int]
) -> None:
    """Count the correct predictions of each route, unless ``correct`` has fewer."""
    for route, outputs in routes.items():
        classes = _classes(outputs)
        if classes is not None:
            right = int((classes == labels).sum())
            correct[route] = min(right, correct.get(route, right))


def _classes(outputs: Outputs) -> NDArray[Any] | None:
    """Return the class of each image, [N]; None where the outputs do not tell.

    They are the class numbers that the model gives itself beside sorted scores or alone, or the
    largest of its first output [N, classes].
    """
    shapes = {output.shape for output in outputs.values() if output.dtype.kind == "f"}
    rows = [output for output in outputs.values() if output.ndim == 2]
    for output in rows:
        if output.dtype.kind in "iu" and output.shape in shapes:
            return output[:, 0]
    for output in rows:
        if output.dtype.kind == "f":
            return predicted(output)
    for output in outputs.values():
        if output.dtype.kind in "iu" and output.ndim > 0 and output.size == len(output):
            return output.ravel()
    return None


def _row(
    case: Case,
    outputs: dict[str, Outputs],
    *,
    reference: str,
    expected: Outputs,
    by_onednn: Outputs | None,
    exact: dict[str, bool],
    tolerance: float,
    images: int,
) -> Row:
    """Compare the outputs of all routes.

    Args:
        case: What was run.
        outputs: The outputs by the route, with those of ``paddle.inference``.
        reference: The name of the reference of ``paddle.inference``.
        expected: The reference's outputs.
        by_onednn: The outputs of Paddle's int8, if it ran.
        exact: The C++ routes, and whether each runs on Python's Paddle.
        tolerance: As for :func:`lenet_cpp.agreement.compare`.
        images: The number of images.
    """
    inference, program = "paddle.inference", "C++ program"
    compare = partial(compare_outputs, images=images)
    limit = min(tolerance, ROUNDING_TOLERANCE) if case.computes_as_written else tolerance
    comparisons = [
        compare(
            outputs[inference],
            outputs[route],
            names=(inference, route),
            exact=same_engine and not case.native,
            tolerance=limit,
        )
        for route, same_engine in exact.items()
    ]
    comparisons.append(
        compare(
            expected,
            outputs[inference],
            names=(reference, inference),
            exact=False,
            tolerance=tolerance,
        )
    )
    if case.native and program in exact:
        comparisons.append(
            compare(
                outputs[program],
                outputs["lenet_cpp"],
                names=(program, "lenet_cpp"),
                exact=True,
                tolerance=0,
            )
        )
    if case.computes_as_written and by_onednn is not None:
        comparisons.append(
            compare(
                _those_of(by_onednn, outputs["lenet_cpp"]),
                outputs["lenet_cpp"],
                names=("paddle.inference in int8", "lenet_cpp"),
                tolerance=tolerance,
            )
        )
    return Row(case, tuple(comparisons), _equal_predictions(list(outputs.values()), images))


def _equal_predictions(routes: Sequence[Outputs], images: int) -> int:
    """Return of how many images every route predicts the same, in each output."""
    same = np.ones(images, np.bool_)
    for name, reference in routes[0].items():
        if reference.ndim > 0 and len(reference) == images:
            for outputs in routes:
                same &= same_predictions(reference, outputs[name])
    return int(same.sum())


def _severity(row: Row) -> tuple[bool, float]:
    return not row.agrees, row.share
