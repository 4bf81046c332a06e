"""The legacy separate layout: the program as ``__model__`` and one file for each variable.

Models are rewritten from the combined layout (``NAME.pdmodel`` and ``NAME.pdiparams``) to the
separate one and back, with the same manifest and checksums as in any export. :func:`rewrite` is
the general form: it reads and writes any file names, and writes PIR too.

:func:`transcribe` does the work in a child process with ``FLAGS_enable_pir_api=0``, because Paddle
reads that flag when it is imported, because static-graph mode is a state of the whole process, and
because a damaged program can crash Paddle.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lenet_cpp._base.files import PREPROCESS_NAME
from lenet_cpp._base.frameworks import paddle
from lenet_cpp._base.optional import require_paddle
from lenet_cpp._base.worker import PROGRAM_DESC, Report, WorkerCrashed, call
from lenet_cpp.errors import BackendFailure, BadInput, BadModel, FileNotFound, Unsupported
from lenet_cpp.export.checks import check_agreement, read_back, run_or_raise
from lenet_cpp.formats.installation import ExportResult, checked_name, install, staging_folder
from lenet_cpp.formats.manifest import (
    CHECKSUMS_NAME,
    MANIFEST_NAME,
    Manifest,
    ModelSignature,
    describe_model,
    parse_signature,
    read_origin,
)
from lenet_cpp.formats.source import LEGACY_PROGRAM, find_source
from lenet_cpp.formats.tensor_spec import fix_image
from lenet_cpp.paddle_engines.running import last_line, random_batches, signature_of


class _Files(NamedTuple):
    """A program and its combined parameters; None when each variable has a file of its own."""

    program: Path
    params: Path | None


def write_separate(
    source: str | Path, output_dir: str | Path, *, name: str | None = None
) -> ExportResult:
    """Rewrite a combined ``.pdmodel`` model in the separate layout, one file for each variable.

    The source is the exported model's folder, its ``.pdmodel``, or the path of that without suffix.
    Checksums beside it are verified first. ``name`` is that of the model in the manifest, by
    default the source's.

    Raises:
        BadInput: The output folder holds another model's export or is the source's, or the source
            folder holds several models.
        FileNotFound: The source is missing.
        BadModel: The source is damaged, or the written model does not give exactly the same
            outputs.
        OSError: The folder cannot be written.
    """
    found = find_source(source, "pdmodel")
    return rewrite(found.path, found.params, output_dir, (LEGACY_PROGRAM, None), name=name)


def combine_separate(
    source: str | Path, output_dir: str | Path, *, name: str | None = None
) -> ExportResult:
    """Rewrite a model in the separate layout as ``NAME.pdmodel`` and ``NAME.pdiparams``.

    The source is the folder with ``__model__``, or ``model`` as in PaddleClas 1, and one file for
    each variable. Checksums in it are verified first. ``name`` is the common stem of the files, by
    default that in the source's manifest, and ``model`` without one.

    Raises:
        BadModel: A variable is missing, damaged or of the wrong shape or size; all are listed.
        lenet_cpp.Error: As :func:`write_separate`.
    """
    program = find_source(source, "separate").path
    return rewrite(program, None, output_dir, ("{}.pdmodel", "{}.pdiparams"), name=name)


def rewrite(
    program: Path,
    params: Path | None,
    output_dir: str | Path,
    names: tuple[str, str | None],
    *,
    name: str | None = None,
    sizes: Sequence[int] = (),
) -> ExportResult:
    """Rewrite a ProgramDesc model under other names, in another layout, or as PIR.

    In the same format the outputs must stay the same bits, as PIR they must stay within the
    tolerance. Then the product's own reader has to take what was written.

    Checksums beside the program are verified first. Without ``params`` each variable has a file
    beside it. ``names`` are those of the written program and of its combined parameters (None: a
    file for each variable); ``{}`` stands for the name of the model, which by default is the one in
    the source's manifest, or that of the program. A program whose name ends in ``.json`` is written
    as PIR. ``sizes`` are those of all images, as :func:`fix_image` takes them; a ``.json`` stays
    one.

    Raises:
        BadInput: The program does not take these sizes.
        Unsupported: Paddle cannot translate the program.
        lenet_cpp.Error: As :func:`combine_separate`.
    """
    require_paddle()
    origin = read_origin(program.parent, program.name)
    stem = checked_name(_default_name(program, params, origin) if name is None else name)
    output = Path(output_dir)
    if output.resolve() == program.parent.resolve():
        raise BadInput(f"{output} holds the model to convert: choose another output folder")
    to_program, to_params = names
    topology = None if origin is None else origin.topology
    with staging_folder(output, stem, topology) as staging:
        target = _Files(
            staging / to_program.format(stem),
            None if to_params is None else staging / to_params.format(stem),
        )
        found = _transcribe_in_child(_Files(program, params), target, sizes)
        companions = []
        # The preprocessing is the same in every format.
        if (preprocess := program.with_name(PREPROCESS_NAME)).is_file():
            shutil.copyfile(preprocess, staging / PREPROCESS_NAME)
            companions.append(PREPROCESS_NAME)
        manifest = describe_model(
            staging,
            stem,
            {target.program.name: parse_signature(found["signature"], "signature")},
            [*found["files"], *companions],
            paddle_version=found["paddle_version"],
            origin=origin,
        )
        return install(staging, output, manifest, found["max_difference"], read_back(*target))


def _default_name(program: Path, params: Path | None, origin: Manifest | None) -> str:
    """Return the name of the written model when the caller gives none."""
    if origin is not None:
        return origin.name
    # In the other layouts every model has the same file names.
    combined = params is not None and program.suffix in {".pdmodel", ".json"}
    return program.stem if combined else "model"


def _transcribe_in_child(source: _Files, target: _Files, sizes: Sequence[int]) -> dict[str, Any]:
    """Return the result of :func:`transcribe`; BadModel when Paddle crashes on the program."""
    try:
        found: dict[str, Any] = call(
            f"{__name__}:transcribe",
            {
                "program": str(source.program.resolve()),
                "params": None if source.params is None else str(source.params.resolve()),
                "output": str(target.program.parent.resolve()),
                "to_program": target.program.name,
                "to_params": None if target.params is None else target.params.name,
                "sizes": sizes,
            },
            doing="converting the model",
            variables=PROGRAM_DESC,
        ).result
    except WorkerCrashed as error:
        raise BadModel(
            f"{source.program} is damaged: Paddle crashed on it ({error.signal})"
        ) from error
    return found


def transcribe(
    program: str,
    params: str | None,
    output: str,
    to_program: str,
    to_params: str | None,
    sizes: Sequence[int],
    report: Report,
) -> dict[str, Any]:
    """Write a model in another layout, or as PIR, into an existing folder; called in the child.

    Parameters of None stand for the separate layout, and the suffix ``.json`` requests PIR.
    """
    report("converting", 0, 1)
    paddle.enable_static()
    source = _Files(Path(program), None if params is None else Path(params))
    folder = Path(output)
    target = _Files(folder / to_program, None if to_params is None else folder / to_params)
    to_pir = source.program.suffix != ".json" and to_program.endswith(".json")
    if source.program.suffix == ".json":
        shape, written = _fix_pir(source.program, sizes, target.program), [str(to_params)]
        shutil.copyfile(str(source.params), str(target.params))
    else:
        shape, written = _transcribe(source, target, sizes, to_pir=to_pir)
    signature, difference = compare_outputs(random_batches(shape), source, target, exact=not to_pir)
    return {
        "files": [to_program, *written],
        "paddle_version": str(paddle.__version__),
        "max_difference": difference,
        "signature": asdict(signature),
    }


def _transcribe(
    source: _Files, target: _Files, sizes: Sequence[int], *, to_pir: bool
) -> tuple[tuple[int, ...], list[str]]:
    """Write a ProgramDesc; return the shape of its input, and the files of its parameters."""
    parsed = _parse(source.program)
    shape = _input_shape(source.program, parsed, sizes)
    if to_pir and _scales(parsed):
        raise Unsupported(
            f"{source.program} is quantized: Paddle runs nothing quantized in its new format;"
            " convert the float model"
        )
    written = _write_parameters(source, target, parsed)
    # The program is the same in both layouts, and a copy keeps every byte.
    content = parsed.desc.serialize_to_string() if sizes else source.program.read_bytes()
    target.program.write_bytes(content)
    if to_pir:
        _translate(*target)
    return shape, written


def _write_parameters(source: _Files, target: _Files, program: paddle.static.Program) -> list[str]:
    """Write the parameters in the target's layout; return the names of the files."""
    names = _variable_names(source.program, program)
    originals = _parameter_files(source, names)
    copies = _parameter_files(target, names)
    missing = [path.name for path in originals if not path.is_file()]
    if source.params is None and missing:
        raise BadModel(f"{source.program.parent} lacks files of variables: {', '.join(missing)}")
    place = source.params or source.program.parent
    _copy_variables(program, place, target.params or target.program.parent)
    # A combined file is the others in a row. Paddle silently ignores missing and superfluous bytes
    # at the end of a variable.
    if _joined(originals) != _joined(copies):
        raise BadModel(f"{place}: the parameters are truncated, damaged or of another program")
    return [path.name for path in copies]


def _parameter_files(files: _Files, names: Sequence[str]) -> list[Path]:
    """Return the combined file, or the file of each variable, in the order of ``names``."""
    if files.params is not None:
        return [files.params]
    return [files.program.parent / name for name in names]


def _joined(paths: Sequence[Path]) -> bytes:
    return b"".join(path.read_bytes() for path in paths)


def _translate(model: Path, params: Path | None) -> None:
    """Write the program as PIR in its place, with Paddle's own translation."""
    # With this flag Paddle translates a program while it loads it.
    os.environ |= {"FLAGS_enable_pir_in_executor": "1"}
    with paddle.static.scope_guard(paddle.static.Scope()):
        try:
            program, _, outputs = paddle.static.load_inference_model(
                str(model.parent),
                paddle.static.Executor(paddle.CPUPlace()),
                model_filename=model.name,
                params_filename=params and params.name,
            )
        except Exception as error:
            raise Unsupported(
                f"{model}: Paddle cannot translate it to PIR ({last_line(error)})"
            ) from error
        with paddle.pir_utils.IrGuard():
            inputs = [
                op.result(0) for op in program.global_block().ops if op.name() == "pd_op.data"
            ]
            normal = paddle.static.normalize_program(program, inputs, outputs)
            paddle.base.core.serialize_pir_program(normal, str(model), True, False, True)
    document = json.loads(model.read_bytes())
    for op in document["program"]["regions"][0]["blocks"][0]["ops"]:
        _tidy(op)
    model.write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")


def _tidy(op: dict[str, Any]) -> None:
    """Give a translated operator the form that ``paddle.jit.save`` writes."""
    if isinstance(op["A"], list):
        # The call stack has file names of the exporting machine.
        op["A"] = [
            item
            for item in op["A"]
            if not isinstance(item, dict) or item.get("N") != "op_callstack"
        ]
    for output in op["O"] if isinstance(op["O"], list) else [op["O"]]:
        # An output that the older program omits, such as a normalization's reserve space, has a
        # number but no type; in a PIR program an omitted output has number 0.
        if output["TT"].get("#") == "NULL":
            output["%"] = 0


def _parse(model: Path) -> paddle.static.Program:
    try:
        return paddle.static.Program.parse_from_string(model.read_bytes())
    except OSError as error:
        raise FileNotFound(f"cannot read {model}: {error.strerror}") from error
    except Exception as error:
        raise BadModel(f"{model} is damaged or is not a Paddle program") from error


def _variables(program: paddle.static.Program) -> dict[str, Any]:
    return {var.name: var for var in program.list_vars() if paddle.static.io.is_persistable(var)}


def _variable_names(model: Path, program: paddle.static.Program) -> list[str]:
    """Return the names of the variables in the order in which a combined file holds them."""
    names = sorted(_variables(program))
    if not names:
        raise BadModel(f"{model} has no parameters")
    reserved = {LEGACY_PROGRAM, MANIFEST_NAME, CHECKSUMS_NAME, ".", ".."}
    if wrong := [name for name in names if name in reserved or "/" in name]:
        raise Unsupported(f"{model}: a variable called {wrong[0]!r} cannot have a file of its own")
    return names


def _copy_variables(program: paddle.static.Program, source: Path, target: Path) -> None:
    """Load all variables from one layout and save them in the other; a file has all of them."""

    def at(path: Path) -> dict[str, Any]:
        folder, name = (path, None) if path.is_dir() else (path.parent, path.name)
        return {"dirname": str(folder), "filename": name, "vars": list(variables.values())}

    scope = paddle.static.Scope()
    executor = paddle.static.Executor(paddle.CPUPlace())
    variables = _variables(program)
    with paddle.static.scope_guard(scope):
        try:
            paddle.static.io.load_vars(executor, **at(source))
        except Exception as error:
            raise BadModel(
                f"{source}: the parameters are damaged or are not those of the program"
            ) from error
        faults, scales = [], _scales(program)
        for name, variable in variables.items():
            found, expected = list(scope.find_var(name).get_tensor().shape()), list(variable.shape)
            alike = name in scales and _without_ones(found) == _without_ones(expected)
            if found != expected and not alike:
                faults.append(f"{name} is {found}, expected {expected}")
        if faults:
            raise BadModel(f"{source}: wrong shapes of variables: {'; '.join(faults)}")
        paddle.static.io.save_vars(executor, **at(target))


def _without_ones(shape: list[int]) -> list[int]:
    return [size for size in shape if size != 1]


def _scales(program: paddle.static.Program) -> set[str]:
    """Return the scales of quantized values, whose declared and written shapes differ.

    Paddle declares ``[1]`` for ``[]`` and ``[6]`` for ``[1, 6]``, as PostTrainingQuantization does.
    """
    return {
        name
        for block in program.blocks
        for op in block.ops
        if op.type in {"quantize_linear", "dequantize_linear"}
        for slot in ("Scale", "ZeroPoint")
        for name in op.input(slot)
    }


def _input_shape(
    model: Path, program: paddle.static.Program, sizes: Sequence[int]
) -> tuple[int, ...]:
    """Return the shape of the input, which the program has from now on."""
    names = program.desc.get_feed_target_names()
    if len(names) != 1:
        raise Unsupported(f"{model} has {len(names)} inputs; models with one are supported")
    feed = program.global_block().var(names[0])
    shape = tuple(feed.shape)
    if sizes:
        shape = (*shape[:1], *fix_image(model, shape[1:], sizes))
        feed.desc.set_shape(shape)
    if any(size < 1 for size in shape[1:]):
        raise Unsupported(f"{model}: only the batch may be free, its input is {list(shape)}")
    return shape


def _fix_pir(model: Path, sizes: Sequence[int], target: Path) -> tuple[int, ...]:
    """Write a PIR program for images of these sizes, and return the shape of its input."""
    try:
        document = json.loads(model.read_bytes())
        ops = document["program"]["regions"][0]["blocks"][0]["ops"]
        (feed,) = (op for op in ops if op["#"] == "1.data")
        (stored,) = (attribute["AT"] for attribute in feed["A"] if attribute["N"] == "shape")
        batch, *image = stored["D"]
        declared = feed["O"][0]["TT"]["D"]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BadModel(f"{model} is damaged or does not have exactly one input") from error
    stored["D"] = declared[1] = shape = (batch, *fix_image(model, image, sizes))
    target.write_text(json.dumps(document, separators=(",", ":")), encoding="utf-8")
    return shape


def compare_outputs(
    inputs: list[NDArray[np.float32]],
    before: tuple[Path, Path | None],
    after: tuple[Path, Path | None],
    *,
    exact: bool,
) -> tuple[ModelSignature, float]:
    """Compare a model with what was written; return its signature and the largest difference."""
    expected = run_or_raise(*before, inputs)
    found = run_or_raise(*after, inputs, error=BackendFailure, name="the converted model")
    pairs = [
        pair
        for expected_batch, found_batch in zip(expected.outputs, found.outputs, strict=True)
        for pair in zip(expected_batch, found_batch, strict=True)
    ]
    names = "the source", "the converted model"
    difference = check_agreement(pairs, names, exact=exact, error=BackendFailure)
    return signature_of(inputs, found), difference
