"""Weights of a program: which can be quantized, made int8, and found to be int8.

``paddle.quantization``'s ``convert`` leaves integers in float32. Paddle Inference reads them
as if they were int8 when its int8 switch is on, and then answers wrongly without a word.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lenet_cpp import _core
from lenet_cpp._base.frameworks import paddle
from lenet_cpp.errors import BadModel
from lenet_cpp.export.inference_model import drop_attributes, parsed_program
from lenet_cpp.formats.tensors import read_combined

QUANTIZED_OPS = ("conv2d", "depthwise_conv2d", "mul", "matmul_v2")
"""Operators with weights that are quantized; Paddle's own default leaves out ``matmul_v2``."""

_ROUNDING_OPS = ("quantize_linear", "dequantize_linear")
# What training needs and inference does not; the others are X, Scale, ZeroPoint and Y.
_TRAINING_SLOTS = {"InState", "InAccum", "OutState", "OutAccum", "OutScale"}

# The Python call stacks, with the file names of the exporting machine; a mark for passes that
# quantize, which Paddle writes as an integer although it is a boolean; PaddleSlim's ranges, such as
# Filter0_threshold, which no operator has.
_LEFT_OVER = r"op_callstack|skip_quant|[A-Za-z]+\d+_threshold"


def quantizable_weights(program: Path) -> dict[str, tuple[int, ...]]:
    """Return the name and the shape of each weight that can be quantized, in their order."""
    with parsed_program(program) as parsed:
        block = parsed.global_block()
        weights = [
            block.var(name)
            for op in block.ops
            if op.type in QUANTIZED_OPS
            for name in op.input("Filter" if "conv" in op.type else "Y")
        ]
        return {weight.name: tuple(weight.shape) for weight in weights if weight.persistable}


@contextmanager
def opened_program(program: Path) -> Iterator[tuple[Any, list[str], list[str], Any]]:
    """Load a program with its parameters, in static mode with the old IR.

    Yields the program, the names of its inputs and of its outputs, and the scope.
    """
    paddle.enable_static()
    scope = paddle.static.Scope()
    with paddle.static.scope_guard(scope):
        loaded, feeds, fetches = paddle.static.load_inference_model(
            str(program.parent),
            paddle.static.Executor(paddle.CPUPlace()),
            model_filename=program.name,
            params_filename=program.with_suffix(".pdiparams").name,
        )
        yield loaded, feeds, [output.name for output in fetches], scope


def save_program(path: Path, program: Any, feeds: Iterable[str], fetches: Iterable[str]) -> None:
    """Write a program, with inputs and outputs of these names, and its parameters."""
    block = program.global_block()
    paddle.static.save_inference_model(
        str(path.with_suffix("")),
        [block.var(name) for name in feeds],
        [block.var(name) for name in fetches],
        paddle.static.Executor(paddle.CPUPlace()),
        program=program,
        clip_extra=True,
    )


def finish_program(path: Path) -> None:
    """Rewrite a quantized program as it is deployed; in static mode with the old IR.

    Weights become int8, operators lose what only training needs, and what an exporting machine
    leaves of itself (call stacks) is taken out. The ``.pdiparams`` beside it is replaced too.

    Raises:
        BadModel: A weight is not made of integers from -128 to 127.
    """
    with opened_program(path) as (program, feeds, fetches, scope):
        block = program.global_block()
        _drop_repetitions(block)
        for op in block.ops:
            if op.type in _ROUNDING_OPS:
                for slot in _TRAINING_SLOTS & set(op.input_names):
                    op.desc.remove_input(slot)
                for slot in _TRAINING_SLOTS & set(op.output_names):
                    op.desc.remove_output(slot)
            if op.type == "dequantize_linear":
                _cast(block.var(op.input("X")[0]), scope, path.name)
        save_program(path, program, feeds, fetches)
    drop_attributes(path, _LEFT_OVER)


def _drop_repetitions(block: Any) -> None:
    """Take out operators that only observe what an earlier one has quantized to the same name."""
    written: set[str] = set()
    repeated: list[int] = []
    for index, op in enumerate(block.ops):
        if op.type not in _ROUNDING_OPS:
            continue
        (output,) = op.output("Y")
        if output in written and op.has_attr("only_observer") and op.attr("only_observer"):
            repeated.append(index)
        written.add(output)
    for index in reversed(repeated):
        block._remove_op(index, sync=False)  # noqa: SLF001 - there is no other way
    block._sync_with_cpp()  # noqa: SLF001 - Paddle has no public name for it


def _cast(weight: Any, scope: Any, program: str) -> None:
    """Make a weight int8, in the program and in the scope; not an activation."""
    if not weight.persistable or weight.dtype == paddle.int8:
        return
    tensor = scope.find_var(weight.name).get_tensor()
    values = np.array(tensor)
    whole = np.rint(values)
    if not (np.isfinite(values).all() and (whole == values).all() and np.abs(whole).max() <= 128):
        raise BadModel(
            f"{program}: the weight {weight.name} was to be quantized, but is not made of integers"
            " from -128 to 127"
        )
    tensor.set(np.clip(whole, -128, 127).astype(np.int8), paddle.CPUPlace())
    weight.desc.set_dtype(paddle.base.core.VarDesc.VarType.INT8)


def check_int8(program: Path) -> list[str]:
    """Check that the weights of a ``.pdmodel`` are int8, by readers of our own; return their names.

    Raises:
        BadModel: Nothing is quantized, or a weight is not int8 in the program or in the file.
    """
    arrays = read_combined(program.with_suffix(".pdiparams"), _core.parameter_names(program))
    with parsed_program(program) as parsed:
        block = parsed.global_block()
        rounded = {op.input("X")[0] for op in block.ops if op.type == "dequantize_linear"}
        weights = sorted(rounded & arrays.keys())  # the others are activations
        for name in weights:
            declared = str(block.var(name).dtype).rpartition(".")[2].lower()
            found = arrays[name].dtype
            if declared != "int8" or found != np.int8:
                raise BadModel(
                    f"the quantized weight {name} is {declared} in the program and {found} in the"
                    " parameters where int8 was expected: with int8 switched on, Paddle would"
                    " answer wrongly and say nothing"
                )
    if not weights:
        raise BadModel("no weight of the model was quantized")
    return weights
