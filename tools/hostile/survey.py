"""Load and run a series of mutants, each in a child process, and count what became of them."""

import resource
import signal
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lenet_cpp.errors import BadInput, BadModel, Error
from lenet_cpp.formats.tensors import read_combined
from lenet_cpp.inference.predictor import Predictor
from tools.hostile.children import LATE, do_steps
from tools.hostile.models import parse_message, record
from tools.hostile.mutants import make_mutant

# What can run each format.
ACCELERATORS = {
    "pdmodel": ("plain", "onednn", "openvino"),
    **dict.fromkeys(("json", "separate"), ("plain", "onednn")),
    "onnx": ("plain",),  # in the native engine
}
SECONDS = 10  # that a mutant may take with one accelerator
MEMORY = 4 << 30  # bytes of address space of the child
_MOST_VALUES = 1 << 22
_KINDS = {"float32": 5, "int32": 2, "int8": 21}  # VarType.Type


class Outcome(NamedTuple):
    """What happened to a mutant.

    It is refused (a typed error), equal (output bit-identical to the original's), different (other
    output, or non-finite), or killed (the child died or hung).
    """

    kind: str
    detail: str = ""  # the class of the error, finite or non-finite, the signal, or timeout
    message: str = ""  # of the error, or the last words of the child


class Tally:
    """The outcomes of one format."""

    def __init__(self, model_format):
        self.format = model_format
        self.details = Counter()  # by kind and detail
        self.killers = []  # mutants that killed the child, and how

    @property
    def outcomes(self):
        """Return how many there were of each kind."""
        return Counter(kind for kind, _ in self.details.elements())

    def shares(self):
        total, outcomes = self.details.total(), self.outcomes
        kinds = ("refused", "equal", "different", "killed")
        *others, killed = (f"{outcomes[kind]} ({outcomes[kind] / total:.1%})" for kind in kinds)
        return [self.format, total, *others, self.details["different", "non-finite"], killed]


@cache
def read_model(model_dir, model_format):
    """Read an exported model as ``model_format`` has it, once; ``separate`` is made from the rest.

    Raises:
        BadInput: The folder does not hold one such model.
    """
    suffix = "pdmodel" if model_format == "separate" else model_format
    found = model_dir.glob(f"*.{suffix}")
    alone = suffix == "onnx"
    programs = [path for path in found if alone or path.with_suffix(".pdiparams").is_file()]
    if len(programs) != 1:
        raise BadInput(f"{model_dir} holds {len(programs)} models NAME.{suffix}; expected one")
    program, params = programs[0], programs[0].with_suffix(".pdiparams")
    if alone:
        return {program.name: program.read_bytes()}
    if model_format != "separate":
        return {path.name: path.read_bytes() for path in (program, params)}
    contents = program.read_bytes()
    values = read_combined(params, list(_persistable_names(contents)))
    records = (record(v.shape, v.tobytes(), _KINDS[v.dtype.name]) for v in values.values())
    return {"__model__": contents, **dict(zip(values, records, strict=True))}


def _persistable_names(program):
    tensor = 7
    for block in parse_message(program, "Program"):
        for variable in block.value if block.kind == "Block" else []:
            if variable.kind == "Var":
                parts = {part.number: part.value for part in variable.value}
                if parts.get(3) and parts[2][0].value == tensor:
                    yield parts[1].decode()


def try_mutant(index, *, folder, model_dir, model_format, seed, accelerators, **options):
    """Load and run a mutant with each accelerator until one refuses it, in a child."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    files = read_model(Path(model_dir), model_format)
    if index >= 0:
        files = make_mutant(files, model_format, seed, index).files
    outcome = Outcome("equal")
    for accelerator in accelerators:
        signal.alarm(SECONDS)
        expected = _expected(folder, model_dir, model_format, accelerator, **options)
        try:
            found = _run(folder, files, accelerator, **options)
        except Error as error:
            return Outcome("refused", type(error).__name__, str(error)[:500])._asdict()
        if found.shape != expected.shape or found.tobytes() != expected.tobytes():
            finite = "finite" if np.isfinite(found).all() else "non-finite"
            outcome = Outcome("different", finite)
    return outcome._asdict()


@cache
def _expected(folder, model_dir, model_format, accelerator, **options):
    return _run(folder, read_model(Path(model_dir), model_format), accelerator, **options)


def _run(folder, files, accelerator, **options):
    """Run a model on the same numbers whatever input it asks for, with two batch sizes."""
    for name, contents in files.items():
        Path(folder, name).write_bytes(contents)
    model = Path(folder, next(iter(files)))
    alone = model.name == "__model__" or model.suffix == ".onnx"
    params = None if alone else model.with_suffix(".pdiparams")
    options = {"accelerator": accelerator, "check_hashes": False, **options}
    with Predictor(model, params, **options) as predictor:
        shape = [3 if size < 0 else size for size in predictor.input_spec.shape]
        if np.prod(shape, dtype=float) > _MOST_VALUES:
            shape = [3, 1, 28, 28]
        images = np.resize(np.random.default_rng(7).random(2352, dtype=np.float32), shape)
        predictor.run(images[:1])
        return predictor.run(images)


def survey(model_dir, model_format, indices, done=lambda: None, *, seed, accelerators, **options):
    """Try a series of mutants.

    A mutant that kills a child which others ran in before is tried again in a new one; when it does
    not kill that, its message says so.

    Of the accelerators, those that cannot run the format are left out; ``options`` are ``engine``
    and ``precision``, as in :class:`lenet_cpp.Options`.

    Raises:
        BadModel: The unchanged model is refused or gives another output than itself.
    """
    files = read_model(model_dir, model_format)
    usable = [name for name in ACCELERATORS[model_format] if name in accelerators]
    tally = Tally(model_format)

    def try_all(indices, done=lambda: None):
        found = {}

        def heard(step, said):
            if "outcome" in said:
                detail = "timeout" if said["outcome"] == LATE else said["outcome"]
                said = {"kind": "killed", "detail": detail, "message": said["detail"]}
            found[indices[step]] = outcome = Outcome(**said)
            if indices[step] >= 0:
                done()
            elif outcome.kind != "equal":
                said = f"{outcome.kind} {outcome.message}"
                raise BadModel(f"the unchanged {model_format} model: {said}")

        seconds = SECONDS * (len(usable) + 1)
        how = {"model_dir": str(model_dir), "model_format": model_format, "accelerators": usable}
        with tempfile.TemporaryDirectory(prefix="lenet-mutants-") as folder:
            how |= {"folder": folder, "seed": seed, **options}
            do_steps("tools.hostile.survey:try_mutant", indices, heard, seconds=seconds, **how)
        return found

    found = try_all([-1, *indices], done)
    for index, outcome in list(found.items())[1:]:
        if outcome.kind == "killed":
            again = try_all([index])[index]
            if again.kind != "killed":
                again = outcome._replace(message=f"(not when alone) {outcome.message}")
            tally.killers.append((make_mutant(files, model_format, seed, index), again))
            found[index] = again
    tally.details.update((kind, detail) for kind, detail, _ in list(found.values())[1:])
    return tally
