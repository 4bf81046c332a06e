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

from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from lenet_cpp import _core
from lenet_cpp.errors import BadInput
from lenet_cpp.predictor import Predictor
from lenet_cpp.verify.comparison import Comparison, compare
from lenet_cpp.verify.files import (
    FORMATS,
    ExportedModel,
    find_models,
    load_trained_layer,
    other_checkpoint,
)
from lenet_cpp.verify.layers import LayerComparison, compare_layers
from lenet_cpp.verify.report import Report, Row
from lenet_cpp.verify.routes import (
    ACCELERATORS,
    ROUTES,
    Case,
    paddle_version_of,
    run_dygraph,
    run_lenet_cpp,
    run_paddle_inference,
    run_program,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

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

BATCH_SIZES = (1, 3, 64, 1000)
MAX_BATCH_SIZE = 1024


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
        layer = load_trained_layer(model_dir, params)
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
        notes += filter(None, [other_checkpoint(model_dir, params)])
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
    if not batch_sizes or not all(1 <= size <= MAX_BATCH_SIZE for size in batch_sizes):
        raise BadInput(f"batch sizes are from 1 to {MAX_BATCH_SIZE}; got {list(batch_sizes)}")


def _same_engine(paddle_version: str, program: Path) -> tuple[dict[str, bool], list[str]]:
    """Tell which of the C++ routes run on the Paddle that Python has, and note which do not."""
    versions = {
        "C++ program": paddle_version_of(program),
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
