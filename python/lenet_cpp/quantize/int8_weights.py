"""Weights of a quantized program: made int8, and found to be int8.

``paddle.quantization``'s ``convert`` leaves whole numbers in float32. Paddle Inference reads them
as if they were int8 when its int8 switch is on, and then answers wrongly without a word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from lenet_cpp.errors import BadModel

if TYPE_CHECKING:
    from pathlib import Path

    import paddle

Weights = dict[str, tuple[str, tuple[int, ...]]]
"""Name of each quantized weight to its dtype and shape."""

# What training needs and inference does not; the others are X, Scale, ZeroPoint and Y.
_TRAINING_SLOTS = {"InState", "InAccum", "OutState", "OutAccum", "OutScale"}


def finish_program(
    program_path: Path, params_path: Path
) -> dict[str, tuple[str, tuple[int, ...], str]]:
    """Rewrite a quantized program as it is deployed; in static mode with the old IR.

    Weights become int8, operators lose what only training needs, and what an exporting machine
    leaves of itself (call stacks) is taken out.

    Args:
        program_path: The ``.pdmodel``, which is replaced.
        params_path: Its ``.pdiparams``, which is replaced.

    Returns:
        ``input`` and ``output``: name, shape and dtype of each.

    Raises:
        BadModel: A weight is not made of whole numbers from -128 to 127.
    """
    import paddle

    place = paddle.CPUPlace()
    executor = paddle.static.Executor(place)
    scope = paddle.static.Scope()
    with paddle.static.scope_guard(scope):
        program, feeds, fetches = paddle.static.load_inference_model(
            str(program_path.parent),
            executor,
            model_filename=program_path.name,
            params_filename=params_path.name,
        )
        block = program.global_block()
        _drop_repetitions(block)
        for op in block.ops:
            if op.type in {"quantize_linear", "dequantize_linear"}:
                _drop_training_slots(op)
            if op.type == "dequantize_linear":
                _cast(block.var(op.input("X")[0]), scope, place, program_path.name)
        prefix = str(program_path.with_suffix(""))
        inputs = [block.var(name) for name in feeds]
        paddle.static.save_inference_model(
            prefix, inputs, fetches, executor, program=program, clip_extra=True
        )
        _drop_call_stacks(program_path)
        return {"input": _spec(inputs[0]), "output": _spec(fetches[0])}


def _drop_call_stacks(path: Path) -> None:
    """Take out the Python call stacks, with the file names of the exporting machine."""
    import paddle

    program = paddle.static.Program.parse_from_string(path.read_bytes())
    for block in program.blocks:
        for op in block.ops:
            if op.has_attr("op_callstack"):
                op.desc.remove_attr("op_callstack")
    path.write_bytes(program.desc.serialize_to_string())


def _spec(variable: Any) -> tuple[str, tuple[int, ...], str]:
    dtype = str(variable.dtype).rpartition(".")[2].lower()
    names = {"fp32": "float32"}
    return variable.name, tuple(variable.shape), names.get(dtype, dtype)


def _drop_repetitions(block: Any) -> None:
    """Take out operators that only observe what an earlier one has quantized to the same name."""
    written: set[str] = set()
    repeated: list[int] = []
    for index in range(len(block.ops)):
        op = block.ops[index]
        if op.type not in {"quantize_linear", "dequantize_linear"}:
            continue
        (output,) = op.output("Y")
        if output in written and op.has_attr("only_observer") and op.attr("only_observer"):
            repeated.append(index)
        written.add(output)
    for index in reversed(repeated):
        block._remove_op(index, sync=False)  # noqa: SLF001 - there is no other way
    block._sync_with_cpp()  # noqa: SLF001 - Paddle has no public name for it


def _drop_training_slots(op: Any) -> None:
    for slot in _TRAINING_SLOTS & set(op.input_names):
        op.desc.remove_input(slot)
    for slot in _TRAINING_SLOTS & set(op.output_names):
        op.desc.remove_output(slot)


def _cast(weight: Any, scope: Any, place: Any, program: str) -> None:
    """Make a weight int8, in the program and in the scope; not an activation."""
    import paddle

    if not weight.persistable or weight.dtype == paddle.int8:
        return
    tensor = scope.find_var(weight.name).get_tensor()
    values = np.array(tensor)
    whole = np.rint(values)
    if not (np.isfinite(values).all() and (whole == values).all() and np.abs(whole).max() <= 128):
        raise BadModel(
            f"{program}: the weight {weight.name} was to be quantized, but is not made of whole"
            " numbers from -128 to 127"
        )
    tensor.set(np.clip(whole, -128, 127).astype(np.int8), place)
    weight.desc.set_dtype(paddle.base.core.VarDesc.VarType.INT8)


def inspect_program(program: paddle.static.Program, arrays: dict[str, Any]) -> Weights:
    """Find the quantized weights of a program, and see that they are int8 in both files.

    Args:
        program: Of the old IR.
        arrays: Name to value of every parameter, as the parameter file has it.

    Raises:
        BadModel: Nothing is quantized, or a weight is not int8 in the program or in the file.
    """
    weights: Weights = {}
    block = program.global_block()
    for op in block.ops:
        if op.type != "dequantize_linear":
            continue
        name = op.input("X")[0]
        if name not in arrays:
            continue  # an activation
        declared = str(block.var(name).dtype).rpartition(".")[2].lower()
        found = arrays[name].dtype
        if declared != "int8" or found != np.int8:
            raise BadModel(
                f"the quantized weight {name} is {declared} in the program and {found} in the"
                " parameters where int8 was expected: with int8 switched on, Paddle would answer"
                " wrongly and say nothing"
            )
        weights[name] = (str(found), arrays[name].shape)
    if not weights:
        raise BadModel("no weight of the model was quantized")
    return weights


def check_int8(program: Path, params: Path) -> Weights:
    """See that the weights of a quantized model are int8, by readers of our own.

    Returns:
        Name of each quantized weight to its dtype and shape.

    Raises:
        BadModel: They are not.
    """
    import paddle
    from paddle import pir_utils
    from paddle.static.io import is_persistable

    from lenet_cpp.formats.tensors import read_combined

    with pir_utils.OldIrGuard():
        parsed = paddle.static.Program.parse_from_string(program.read_bytes())
        names = [var.name for var in parsed.list_vars() if is_persistable(var)]
        return inspect_program(parsed, read_combined(params, names))
