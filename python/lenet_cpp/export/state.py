"""The parameters of a source in any format, as the state dict of a registered network."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from lenet_cpp.agreement import compare_batches
from lenet_cpp.errors import BadModel
from lenet_cpp.export.parameter_names import as_state_dict
from lenet_cpp.formats import checkpoint
from lenet_cpp.formats.manifest import CHECKSUMS_NAME, MANIFEST_NAME
from lenet_cpp.formats.tensors import read_combined, read_variable
from lenet_cpp.models.paddle_run import last_line, random_batches, run_model

if TYPE_CHECKING:
    from pathlib import Path

    import paddle
    from numpy.typing import NDArray

    from lenet_cpp.formats.source import Source
    from lenet_cpp.inference.checked_model import CheckedModel
    from lenet_cpp.models import ModelSpec


def build_layer(spec: ModelSpec, class_dim: int | None, img_size: int | None) -> paddle.nn.Layer:
    """Build a network with names numbered from zero; Paddle's random state stays as it was."""
    import paddle

    state = paddle.get_rng_state()
    try:
        with paddle.utils.unique_name.guard():
            layer = spec.build(class_dim, img_size)
    finally:
        paddle.set_rng_state(state)
    layer.eval()
    return layer


def read_arrays(source: Source, model: CheckedModel | None) -> dict[str, Any]:
    """Read the parameters of a source, under the names that it has for them.

    Args:
        source: Where they are.
        model: The source's program, checked by C++; None when it has none.

    Raises:
        FileNotFound: A file cannot be read.
        BadModel: A file is damaged.
        Unsupported: A variable has a type that cannot be converted.
    """
    if source.format == "pdparams":
        return checkpoint.read_state(source.path)
    if model is None:
        names = sorted(
            path.name
            for path in source.path.iterdir()
            if path.name not in {CHECKSUMS_NAME, MANIFEST_NAME} and not path.name.startswith(".")
        )
        return {name: read_variable(source.path / name) for name in names}
    names = _variables(model)
    if model.params is None:
        return {name: read_variable(model.program.with_name(name)) for name in names}
    return dict(read_combined(model.params, names))


def _variables(model: CheckedModel) -> list[str]:
    """The names of the variables of a program that C++ found sound."""
    if model.is_pir():
        program = json.loads(model.program.read_bytes())["program"]
        operators = program["regions"][0]["blocks"][0]["ops"]
        return [op["A"][3] for op in operators if op["#"] == "p"]
    import paddle
    from paddle import pir_utils
    from paddle.static.io import is_persistable

    with pir_utils.OldIrGuard():
        parsed = paddle.static.Program.parse_from_string(model.program.read_bytes())
        return [var.name for var in parsed.list_vars() if is_persistable(var)]


def load_state(
    source: Source, model: CheckedModel | None, layer: paddle.nn.Layer
) -> dict[str, NDArray[Any]]:
    """Load a source's parameters into a network, and return them as a state dict.

    Args:
        source: Where they are.
        model: The source's program, checked by C++; None when it has none.
        layer: From :func:`build_layer`.

    Raises:
        StateMismatch: They are not those of the network.
        lenet_cpp.Error: As :func:`read_arrays`.
    """
    arrays = read_arrays(source, model)
    state = as_state_dict(source.path, arrays, layer, checked=source.has_program)
    layer.set_state_dict(state)
    return state


def compare_with_program(layer: paddle.nn.Layer, model: CheckedModel) -> tuple[bool, float]:
    """Compare a network's outputs with those of the program that its parameters came from.

    Returns:
        Whether the program has a softmax at its end that the network has not, and the largest
        difference.

    Raises:
        BadModel: The outputs are others, or the program cannot be run.
    """
    import paddle

    inputs = random_batches(model.input_shape)
    where: tuple[Path, Path | None] = (
        (model.program.parent, None) if model.params is None else (model.program, model.params)
    )
    try:
        expected = [outputs[0] for outputs in run_model(*where, inputs).outputs]
    except Exception as error:
        raise BadModel(f"{model.program} cannot be run: {last_line(error)}") from error
    softmax = model.ends_in_softmax()
    with paddle.no_grad():
        logits = [layer(paddle.to_tensor(x)) for x in inputs]
        found = [(paddle.nn.functional.softmax(y) if softmax else y).numpy() for y in logits]
    names = "the network with the same parameters", str(model.program)
    comparison = compare_batches(zip(found, expected, strict=True), names=names)
    if not comparison.agrees:
        raise BadModel(f"{comparison.mismatch}: it is another network")
    return softmax, comparison.largest_difference
