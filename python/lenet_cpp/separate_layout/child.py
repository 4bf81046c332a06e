"""Conversion between the combined and the separate layout, run as a child process.

Started by :mod:`lenet_cpp.separate_layout` with ``FLAGS_enable_pir_api=0`` in the environment,
because Paddle reads that when it is imported, because static-graph mode is a state of the whole
process, and because a damaged program can crash Paddle.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp._paddle_run import last_line, random_batches, run_model, signature_of
from lenet_cpp.errors import BackendFailure, BadModel, Error, FileNotFound, Unsupported
from lenet_cpp.manifest import CHECKSUMS_NAME, MANIFEST_NAME

if TYPE_CHECKING:
    import paddle

    from lenet_cpp.manifest import ModelSignature

__all__ = ["LEGACY_PROGRAM", "main"]

LEGACY_PROGRAM = "__model__"


def main() -> None:
    """Read a request from standard input, do it, and print the answer as one line of JSON.

    The request holds ``task`` (``separate`` or ``combine``), ``output`` (an existing folder),
    ``stem``, and ``model`` and ``params`` or ``folder``. The answer holds ``model``, ``files``,
    ``inputs``, ``outputs`` and ``paddle_version``; or ``error``, the name of a class in
    :mod:`lenet_cpp.errors`, and ``message``.
    """
    request = json.load(sys.stdin)
    try:
        answer = _serve(request)
    except Error as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    print("\n" + json.dumps(answer), flush=True)


def _serve(request: dict[str, str]) -> dict[str, Any]:
    import paddle

    paddle.enable_static()
    output, stem = Path(request["output"]), request["stem"]
    before: tuple[Path, Path | None]
    after: tuple[Path, Path | None]
    if request["task"] == "separate":
        model, params = Path(request["model"]), Path(request["params"])
        program = _parse(model)
        names = _variable_names(model, program)
        _transcribe(program, params.parent, params.name, output, None)
        _check_same_bytes([params], [output / name for name in names], damaged=params)
        files = [LEGACY_PROGRAM, *names]
        before, after = (model, params), (output, None)
    else:
        folder = Path(request["folder"])
        model = folder / LEGACY_PROGRAM
        program = _parse(model)
        names = _variable_names(model, program)
        if missing := [name for name in names if not (folder / name).is_file()]:
            raise BadModel(f"{folder} lacks files of variables: {', '.join(missing)}")
        files = [f"{stem}.pdmodel", f"{stem}.pdiparams"]
        _transcribe(program, folder, None, output, files[1])
        _check_same_bytes([folder / name for name in names], [output / files[1]], damaged=folder)
        before, after = (folder, None), (output / files[0], output / files[1])
    # The program is the same in both layouts: a copy keeps it exact, whatever wrote it.
    shutil.copyfile(model, output / files[0])
    signature = _check_same_outputs(_input_shape(model, program), before, after)
    return {
        "model": files[0],
        "files": files,
        "paddle_version": str(paddle.__version__),
        **asdict(signature),
    }


def _parse(model: Path) -> paddle.static.Program:
    import paddle

    try:
        return paddle.static.Program.parse_from_string(model.read_bytes())
    except OSError as error:
        raise FileNotFound(f"cannot read {model}: {error.strerror}") from error
    except Exception as error:
        raise BadModel(f"{model} is damaged or is not a Paddle program") from error


def _variables(program: paddle.static.Program) -> dict[str, Any]:
    from paddle.static.io import is_persistable

    return {var.name: var for var in program.list_vars() if is_persistable(var)}


def _variable_names(model: Path, program: paddle.static.Program) -> list[str]:
    """Return the names of the variables in the order in which a combined file holds them."""
    names = sorted(_variables(program))
    if not names:
        raise BadModel(f"{model} has no parameters")
    reserved = {LEGACY_PROGRAM, MANIFEST_NAME, CHECKSUMS_NAME, ".", ".."}
    if wrong := [name for name in names if name in reserved or "/" in name]:
        raise Unsupported(f"{model}: a variable called {wrong[0]!r} cannot have a file of its own")
    return names


def _transcribe(
    program: paddle.static.Program,
    source: Path,
    source_name: str | None,
    output: Path,
    output_name: str | None,
) -> None:
    """Load all variables from one layout and save them in the other; a name means combined."""
    import paddle

    scope = paddle.static.Scope()
    executor = paddle.static.Executor(paddle.CPUPlace())
    variables = _variables(program)
    with paddle.static.scope_guard(scope):
        try:
            paddle.static.io.load_vars(
                executor, str(source), vars=list(variables.values()), filename=source_name
            )
        except Exception as error:
            raise BadModel(
                f"{source / (source_name or '')}: the parameters are damaged or are not those of"
                " the program"
            ) from error
        faults = []
        for name, variable in variables.items():
            found = tuple(scope.find_var(name).get_tensor().shape())
            if found != tuple(variable.shape):
                faults.append(f"{name} is {list(found)}, expected {list(variable.shape)}")
        if faults:
            raise BadModel(
                f"{source / (source_name or '')}: wrong shapes of variables: {'; '.join(faults)}"
            )
        paddle.static.io.save_vars(
            executor, str(output), vars=list(variables.values()), filename=output_name
        )


def _check_same_bytes(before: list[Path], after: list[Path], *, damaged: Path) -> None:
    """Check that two layouts hold the same bytes: a combined file is the others in a row.

    Paddle reads over missing and superfluous bytes at the end of a variable without a word.
    """

    def digest(paths: list[Path]) -> str:
        result = hashlib.sha256()
        for path in paths:
            result.update(path.read_bytes())
        return result.hexdigest()

    if digest(before) != digest(after):
        raise BadModel(f"{damaged}: the parameters are truncated, damaged or of another program")


def _input_shape(model: Path, program: paddle.static.Program) -> tuple[int, ...]:
    names = program.desc.get_feed_target_names()
    if len(names) != 1:
        raise Unsupported(f"{model} has {len(names)} inputs; models with one are supported")
    shape = tuple(program.global_block().var(names[0]).shape)
    if any(size < 1 for size in shape[1:]):
        raise Unsupported(f"{model}: only the batch may be free, its input is {list(shape)}")
    return shape


def _check_same_outputs(
    shape: tuple[int, ...], before: tuple[Path, Path | None], after: tuple[Path, Path | None]
) -> ModelSignature:
    """Check that two models give bit-identical outputs; return their signature."""
    inputs = random_batches(shape)
    try:
        expected = run_model(*before, inputs)
    except Exception as error:
        raise BadModel(f"{before[0]} cannot be run: {last_line(error)}") from error
    try:
        found = run_model(*after, inputs)
    except Exception as error:
        raise BackendFailure(f"the converted model cannot be run: {last_line(error)}") from error
    for ours, theirs in zip(expected.outputs, found.outputs, strict=True):
        if not all(np.array_equal(a, b, equal_nan=True) for a, b in zip(ours, theirs, strict=True)):
            raise BackendFailure("the converted model gives other outputs than the original")
    return signature_of(inputs, found)
