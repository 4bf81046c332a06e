"""Export a model's parameters in Paddle's inference formats.

A combined export of LeNet is one folder with

* ``lenet.json``: the program in Paddle 3's PIR format,
* ``lenet.pdmodel``: the same program in the older ProgramDesc format,
* ``lenet.pdiparams``: the parameters, the same bytes for both,
* ``preprocess.json``: the preprocessing of images, see :mod:`lenet_cpp.data.images`,
* ``manifest.json`` and ``SHA256SUMS``: see :mod:`lenet_cpp.formats.manifest`.

For every other model the first three are called ``inference``, as in Paddle's guides.

:mod:`lenet_cpp.export.separate_layout` has the legacy separate layout.

With the ``.pdmodel`` Paddle also writes ``lenet.pdiparams.info``, a pickle with the name that each
parameter has in the layer, which ``paddle.load`` gives it. Nothing here unpickles it.

Exports are reproducible: generated names are numbered from zero, and the call stack that Paddle
records in a ``.pdmodel``, with the file names of the exporting machine, is removed. Only the
``.json`` has a numbering of layer calls that continues within a process, so its bytes are the same
in every process, but not in every call.
"""

from __future__ import annotations

import inspect
import re
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lenet_cpp import models
from lenet_cpp._base.files import PREPROCESS_NAME
from lenet_cpp._base.frameworks import paddle
from lenet_cpp._base.optional import require_paddle
from lenet_cpp.agreement import TOLERANCE
from lenet_cpp.errors import BadInput, BadModel, FileNotFound, Unsupported
from lenet_cpp.export.checks import check_agreement, read_back, run_or_raise
from lenet_cpp.export.separate_layout import write_separate
from lenet_cpp.formats import checkpoint
from lenet_cpp.formats.installation import ExportResult, checked_name, install, staging_folder
from lenet_cpp.formats.manifest import ModelSignature, describe_model, sha256_file
from lenet_cpp.formats.training_record import measured_accuracy
from lenet_cpp.models import ModelSpec
from lenet_cpp.models.weights import fetch, load_parameters
from lenet_cpp.paddle_engines.running import random_batches, signature_of

Inputs = list[npt.NDArray[np.float32]]
Outputs = list[npt.NDArray[Any]]

EXPORT_FORMATS = ("json", "pdmodel")
INPUT_NAME = "x"
EXPORT_TOLERANCE = TOLERANCE
"""By how much the outputs of an export may differ, when the largest is not above 1."""


def export_model(
    params: str | Path | None,
    output_dir: str | Path,
    *,
    model: str | ModelSpec = "lenet",
    name: str | None = None,
    formats: Iterable[str] = EXPORT_FORMATS,
    softmax: bool = False,
    num_classes: int | None = None,
    image_size: int | None = None,
    seed: int | None = None,
    sha256: str | None = None,
    facts: Mapping[str, Any] | None = None,
) -> ExportResult:
    """Export a model for inference, and check that the written model agrees.

    The batch size of the exported model is free. An export of the same name in the folder is
    replaced atomically, after the new one was loaded with ``paddle.inference`` and its outputs for
    random images agree with those of the layer (:mod:`lenet_cpp.agreement`). The caller's random
    state does not change.

    Args:
        params: The ``.pdparams`` file, with or without the suffix, or its URL, or a folder with a
            file for each variable (:func:`lenet_cpp.models.weights.fetch`). A training record
            beside it becomes part of the manifest. None with a seed.
        output_dir: The output folder; created if necessary.
        model: The network, as :func:`lenet_cpp.models.resolve` takes it.
        name: Common stem of the files; that of the specification when None.
        formats: ``json`` (PIR), ``pdmodel`` (ProgramDesc), or both.
        softmax: Whether to append a softmax, so that the model returns probabilities.
        num_classes: Number of classes; that of the specification when None.
        image_size: Height and width of the images; those of the specification when None.
        seed: The seed of random parameters, instead of trained ones
            (:func:`lenet_cpp.models.random_parameters.seed_parameters`).
        sha256: The expected SHA-256 of the parameter file.
        facts: Fields of the manifest, in place of what is known here.

    Raises:
        BadInput: The model, a format, the number of classes or the size of images is unknown or
            not supported, both or neither of parameters and seed are given, or the folder contains
            another model's export.
        FileNotFound: There is no such parameter file.
        BadModel: The parameters are damaged or not finite, do not fit the model (every difference
            is listed), or the written model does not compute what the layer computes. The folder
            then stays unchanged.
        Unsupported: Paddle is in static-graph mode.
        OSError: The folder cannot be written.
    """
    require_paddle()
    spec = models.resolve(model)
    stem = checked_name(name or spec.stem)
    wanted = _checked_formats(formats)
    if (params is None) == (seed is None):
        raise BadInput(f"{spec.name} needs parameters or a seed for random ones, and not both")
    source = _Source(
        spec,
        params=None if params is None else fetch(params, sha256=sha256),
        seed=seed,
        num_classes=num_classes,
        image_size=image_size,
        softmax=softmax,
    )
    output = Path(output_dir)
    inputs, outputs, record = _reference_outputs(source)
    known = {"classes": spec.class_names(num_classes), **_training_facts(record, source.params)}

    with staging_folder(output, stem, spec.name) as staging:
        _write_programs(source, staging, stem, wanted)
        params_name = f"{stem}.pdiparams"
        signatures: dict[str, ModelSignature] = {}
        difference, refusal = 0.0, ""
        for program in (f"{stem}.{format_}" for format_ in wanted):
            files = staging / program, staging / params_name
            signatures[program], found = check_exported(*files, inputs, outputs)
            difference = max(difference, found)
            refusal = refusal or read_back(*files)
        spec.pipeline(image_size).save(staging / PREPROCESS_NAME)
        info = [f"{params_name}.info"] if "pdmodel" in wanted else []
        manifest = describe_model(
            staging,
            stem,
            signatures,
            [params_name, *info, PREPROCESS_NAME],
            paddle_version=str(paddle.__version__),
            **{"topology": spec.name, "softmax": softmax, **known, **(facts or {})},
        )
        return install(staging, output, manifest, difference, refusal)


def _checked_formats(formats: Iterable[str]) -> tuple[str, ...]:
    """Return the formats without repetitions; BadInput when there is none or an unknown one."""
    wanted = tuple(dict.fromkeys(formats))
    if not wanted or not set(wanted) <= set(EXPORT_FORMATS):
        raise BadInput(
            f"formats are one or both of {', '.join(EXPORT_FORMATS)}; got {list(wanted)}"
        )
    return wanted


def _training_facts(record: Mapping[str, Any] | None, params: Path | None) -> dict[str, Any]:
    """Return the fields of the manifest that the training record of the parameters has."""
    if record is None:
        return {}
    training = dict(record)
    data = training.pop("data", None)
    return {"data": data, "training": training, "accuracy": measured_accuracy(record, params)}


def _write_programs(source: _Source, folder: Path, stem: str, formats: Sequence[str]) -> None:
    """Write the program in each format, and the parameters, which are the same for all formats.

    Raises:
        BadModel: Paddle wrote different parameters for the two formats.
    """
    # The PIR program first: its numbering of layers then does not depend on the other format.
    for format_ in sorted(formats):
        _save(source, folder / format_ / stem, format_)
    params_name = f"{stem}.pdiparams"
    sums = {format_: sha256_file(folder / format_ / params_name) for format_ in formats}
    if len(set(sums.values())) > 1:
        raise BadModel(f"Paddle wrote different {params_name} for the two formats: {sums}")
    for format_ in formats:
        for written in (folder / format_).iterdir():
            written.replace(folder / written.name)
        (folder / format_).rmdir()


def export_separate(
    params: str | Path | None, output_dir: str | Path, **options: Any
) -> ExportResult:
    """Export a model in the separate layout.

    This is :func:`export_model` to ``pdmodel``, in a temporary folder, followed by
    :func:`write_separate`, with their arguments and errors.
    """
    with tempfile.TemporaryDirectory(prefix="lenet_cpp-") as folder:
        combined = export_model(params, folder, formats=("pdmodel",), **options)
        result = write_separate(folder, output_dir)
    return replace(result, max_difference=combined.max_difference)


@dataclass(frozen=True)
class _Source:
    """The network to export, with its parameters."""

    spec: ModelSpec
    _: KW_ONLY
    params: Path | None
    seed: int | None
    num_classes: int | None
    image_size: int | None
    softmax: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return self.spec.shape(self.image_size)

    def layer(self) -> paddle.nn.Layer:
        """Return the network with its parameters, for inference."""
        state = paddle.get_rng_state()
        try:
            layer = self.spec.build(self.num_classes, self.image_size, seed=self.seed)
        finally:
            paddle.set_rng_state(state)  # building draws random parameters, which are replaced
        _check_forward(layer)
        if self.params is not None:
            load_parameters(layer, self.params)
        for key, value in layer.state_dict().items():
            if not np.isfinite(value.numpy()).all():
                raise BadModel(
                    f"{self.params}: {key} is not finite: train again, or use another file"
                )
        if self.softmax:
            layer = paddle.nn.Sequential(layer, paddle.nn.Softmax())
        layer.eval()
        return layer


def _check_forward(layer: paddle.nn.Layer) -> None:
    """Check the name of ``self``: with another one, Paddle silently uses the tensor for it."""
    forward = type(layer).forward
    first = next(iter(inspect.signature(forward).parameters), None)
    if first != "self":
        raise BadInput(
            f"the first parameter of {forward.__qualname__} has to be called self, not {first}:"
            " Paddle exports no others"
        )


def _reference_outputs(source: _Source) -> tuple[Inputs, Outputs, dict[str, Any] | None]:
    """Return random images, the layer's outputs, and the training record."""
    if not paddle.in_dynamic_mode():
        raise Unsupported("exporting needs Paddle's dynamic mode: call paddle.disable_static()")
    with paddle.utils.unique_name.guard():  # parameters may have the names that Paddle generates
        layer = source.layer()
    record: dict[str, Any] | None = None
    if source.params is None:
        record = {"random_parameters": {"seed": source.seed}}
    else:
        with suppress(FileNotFound):
            record = checkpoint.load_record(source.params)
    if not isinstance((record or {}).get("data", {}), (dict, type(None))):
        raise BadModel(f"the training record of {source.params} is damaged: data is not an object")
    inputs = random_batches((-1, *source.shape))
    with paddle.no_grad():
        outputs = [layer(paddle.to_tensor(x)).numpy() for x in inputs]
    return inputs, outputs, record


def _save(source: _Source, prefix: Path, format_: str) -> None:
    """Write ``PREFIX.json`` or ``PREFIX.pdmodel``, and ``PREFIX.pdiparams``."""
    # Within a process, these guards have the effect of FLAGS_enable_pir_api in the environment.
    guards = paddle.pir_utils
    guard = guards.DygraphPirGuard if format_ == "json" else guards.DygraphOldIrGuard
    # Both formats order the parameters by generated name, where 10 precedes 9: names that continue
    # the numbering of earlier layers could order two exports of a model differently.
    with guard(), paddle.utils.unique_name.guard(), warnings.catch_warnings():
        # Paddle warns of each "+=" in the ResNets of paddle.vision, for users of Paddle 1.
        warnings.filterwarnings("ignore", r"[\s\S]*expression A \+ B has", DeprecationWarning)
        static = paddle.jit.to_static(
            source.layer(),
            input_spec=[paddle.static.InputSpec([None, *source.shape], "float32", name=INPUT_NAME)],
            full_graph=True,
        )
        paddle.jit.save(static, str(prefix))
    if format_ == "pdmodel":
        drop_attributes(prefix.with_name(f"{prefix.name}.pdmodel"), "op_callstack")


@contextmanager
def parsed_program(program: Path) -> Iterator[paddle.static.Program]:
    """Yield a ``.pdmodel`` without its parameters."""
    with paddle.pir_utils.OldIrGuard():
        yield paddle.static.Program.parse_from_string(program.read_bytes())


def drop_attributes(program: Path, pattern: str) -> None:
    """Take the attributes with such names, a regular expression, from a ``.pdmodel``'s operators.

    ``op_callstack`` has the file names of the exporting machine.
    """
    with parsed_program(program) as parsed:
        for op in (op for block in parsed.blocks for op in block.ops):
            for name in filter(re.compile(pattern).fullmatch, op.attr_names):
                op.desc.remove_attr(name)
        program.write_bytes(parsed.desc.serialize_to_string())


def check_exported(
    program: Path, params: Path, inputs: Inputs, outputs: Outputs
) -> tuple[ModelSignature, float]:
    """Compare an exported model with the layer; return its signature and largest difference."""
    written = f"{program.name}, which was written,"
    runs = run_or_raise(program, params, inputs, name=written)
    pairs = zip(outputs, [run[0] for run in runs.outputs], strict=True)
    return signature_of(inputs, runs), check_agreement(pairs, ("the layer", written))
