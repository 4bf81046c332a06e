"""How an imported model runs, for the comparison with what it was imported from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet_cpp.errors import BackendFailure, Error
from lenet_cpp.export.checks import check_agreement
from lenet_cpp.formats.installation import ExportResult
from lenet_cpp.inference.predictor import Predictor
from lenet_cpp.paddle_engines.running import run_model


def outputs_by_route(
    folder: Path, programs: Sequence[str], inputs: Sequence[NDArray[np.float32]]
) -> dict[str, list[NDArray[Any]]]:
    """Run each exported program on each batch, by ``paddle.inference`` and by ``Predictor``."""
    found: dict[str, list[NDArray[Any]]] = {}
    for name in programs:
        program, params = folder / name, (folder / name).with_suffix(".pdiparams")
        runs = run_model(program, params, inputs).outputs
        found[f"{name} in paddle.inference"] = [outputs[0] for outputs in runs]
        with Predictor(program, params) as predictor:
            found[f"{name} in lenet_cpp"] = [predictor.run(batch) for batch in inputs]
    return found


def compare_routes(
    source: str,
    exported: ExportResult,
    inputs: Sequence[NDArray[np.float32]],
    expected: Sequence[NDArray[Any]],
    error: type[Error] = BackendFailure,
) -> float:
    """Compare every way to run an export with its source; return the largest difference.

    One that does not give what the source gives raises ``error``.
    """
    routes = outputs_by_route(exported.folder, list(exported.manifest.models), inputs)
    return max(
        check_agreement(
            zip(expected, found, strict=True),
            (source, route),
            error=error,
            conclusion="; nothing was written",
        )
        for route, found in routes.items()
    )
