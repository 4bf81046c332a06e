"""Read the parameters of a source in any format as the state dict of a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from lenet_cpp import _core
from lenet_cpp._base.files import PREPROCESS_NAME
from lenet_cpp._base.frameworks import paddle
from lenet_cpp.formats import checkpoint
from lenet_cpp.formats.manifest import CHECKSUMS_NAME, MANIFEST_NAME, verify_checksums
from lenet_cpp.formats.source import OLD_PROGRAMS, Source
from lenet_cpp.formats.tensors import read_combined, read_variable
from lenet_cpp.models.parameter_names import as_state_dict

_NO_VARIABLES = {CHECKSUMS_NAME, MANIFEST_NAME, PREPROCESS_NAME, *OLD_PROGRAMS}


class ProgramFiles(Protocol):
    """The files of a program; :class:`lenet_cpp.inference.model.Model` has these properties."""

    @property
    def program(self) -> Path:
        """The program, which has the names of the variables."""

    @property
    def params(self) -> Path | None:
        """The combined parameters; None when each variable has a file."""


def read_arrays(source: Source, model: ProgramFiles | None) -> dict[str, Any]:
    """Read the parameters of a source under its own names; see :func:`load_state`.

    Checksums beside the variables of a source without a program are verified first.
    """
    if source.format == "pdparams":
        return checkpoint.read_state(source.path)
    if model is None:
        if (source.path / CHECKSUMS_NAME).is_file():
            verify_checksums(source.path)
        names = sorted(
            path.name
            for path in source.path.iterdir()
            if path.name not in _NO_VARIABLES and not path.name.startswith(".")
        )
        return {name: read_variable(source.path / name) for name in names}
    variables = _core.parameter_names(model.program)
    if model.params is None:
        return {name: read_variable(model.program.with_name(name)) for name in variables}
    return dict(read_combined(model.params, variables))


def load_state(
    source: Source, model: ProgramFiles | None, layer: paddle.nn.Layer
) -> dict[str, NDArray[Any]]:
    """Load a source's parameters into a network, and return them as a state dict.

    ``model`` is the source's program after the C++ checks, if it has one; the layer is of
    :func:`lenet_cpp.models.building.build_layer`.

    Raises:
        FileNotFound: A file cannot be read.
        BadModel: A file is damaged.
        Unsupported: A variable has a type that cannot be converted.
        StateMismatch: The parameters are not those of the network.
    """
    arrays = read_arrays(source, model)
    state = as_state_dict(source.path, arrays, layer, checked=source.has_program)
    layer.set_state_dict(state)
    return state
