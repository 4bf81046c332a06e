"""The legacy separate layout: the program as ``__model__`` and one file for each variable.

Models are rewritten from the combined layout (``NAME.pdmodel`` and ``NAME.pdiparams``) to the
separate one and back, with the same manifest and checksums as in any export. :func:`rewrite` is
the general form: it reads and writes any file names, and writes PIR too.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from lenet_cpp._base.files import PREPROCESS_NAME
from lenet_cpp._base.optional import require_paddle
from lenet_cpp._base.worker import PROGRAM_DESC, WorkerCrashed, call
from lenet_cpp.errors import BadInput, BadModel, FileNotFound
from lenet_cpp.formats.installation import ExportResult, checked_name, install, staging_folder
from lenet_cpp.formats.legacy_names import LEGACY_PROGRAM
from lenet_cpp.formats.manifest import (
    describe_model,
    parse_signature,
    read_origin,
)
from lenet_cpp.formats.source import find_source

# Files beside a model that are valid for it in any format.
_COMPANIONS = (PREPROCESS_NAME,)


def write_separate(
    source: str | Path, output_dir: str | Path, *, name: str | None = None
) -> ExportResult:
    """Rewrite a combined ``.pdmodel`` model in the separate layout, one file for each variable.

    A child process does the work, so that a model that crashes Paddle does not end the caller, and
    static-graph mode does not affect the caller's Paddle.

    Args:
        source: The exported model's folder, its ``.pdmodel``, or the path of that without suffix.
            Checksums beside it are verified first.
        output_dir: The output folder; created if necessary.
        name: Name of the model in the manifest; that of the source when None.

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

    A child process does the work; see :func:`write_separate`.

    Args:
        source: The folder with ``__model__`` and one file for each variable. Checksums in it are
            verified first.
        output_dir: The output folder; created if necessary.
        name: Common stem of the files; when None, the name in the source's manifest, and
            ``model`` without one.

    Raises:
        BadInput: The folder holds another model's export, or the source folder is the output.
        FileNotFound: The source is missing.
        BadModel: A variable is missing, damaged or of the wrong shape or size (all are listed),
            or the written model does not give exactly the same outputs.
        OSError: The folder cannot be written.
    """
    folder = Path(source)
    if not (folder / LEGACY_PROGRAM).is_file():
        raise FileNotFound(f"cannot read {folder / LEGACY_PROGRAM}: no such file")
    return rewrite(
        folder / LEGACY_PROGRAM, None, output_dir, ("{}.pdmodel", "{}.pdiparams"), name=name
    )


def rewrite(
    program: Path,
    params: Path | None,
    output_dir: str | Path,
    names: tuple[str, str | None],
    *,
    name: str | None = None,
) -> ExportResult:
    """Rewrite a ProgramDesc model under other names, in another layout, or as PIR.

    A child process does the work; see :func:`write_separate`. In the same format the outputs must
    stay the same bits, as PIR they must stay within the tolerance.

    Args:
        program: The program; checksums beside it are verified first.
        params: Its combined parameters; None when each variable has a file beside the program.
        output_dir: The output folder; created if necessary.
        names: The names of the program and of the combined parameters (None: a file for each
            variable); ``{}`` stands for the name of the model. A program whose name ends in
            ``.json`` is written as PIR.
        name: Name of the model; when None, the name in the source's manifest, and without a
            manifest that of the program.

    Raises:
        Unsupported: Paddle cannot translate the program.
        lenet_cpp.Error: As :func:`combine_separate`.
    """
    require_paddle()
    origin = read_origin(program.parent, program.name)
    if name is None:
        combined = params is not None and program.suffix == ".pdmodel"
        name = origin.name if origin else program.stem if combined else "model"
    stem = checked_name(name)
    output = Path(output_dir)
    if output.resolve() == program.parent.resolve():
        raise BadInput(f"{output} holds the model to convert: choose another output folder")
    to_program, to_params = (part and part.format(stem) for part in names)
    topology = None if origin is None else origin.topology
    with staging_folder(output, stem, topology) as staging:
        try:
            found = call(
                "lenet_cpp.export.separate_child:transcribe",
                {
                    "program": str(program.resolve()),
                    "params": None if params is None else str(params.resolve()),
                    "output": str(staging.resolve()),
                    "to_program": to_program,
                    "to_params": to_params,
                },
                doing="converting the model",
                variables=PROGRAM_DESC,
            ).result
        except WorkerCrashed as error:
            raise BadModel(
                f"{program} is damaged: Paddle crashed on it ({error.signal})"
            ) from error
        companions = [each for each in _COMPANIONS if (program.parent / each).is_file()]
        for companion in companions:
            shutil.copyfile(program.parent / companion, staging / companion)
        manifest = describe_model(
            staging,
            stem,
            {str(to_program): parse_signature(found["signature"])},
            [*found["files"], *companions],
            paddle_version=found["paddle_version"],
            origin=origin,
        )
        return install(staging, output, manifest, found["max_difference"])
