"""The Paddle network that x2paddle writes for a tidy ONNX model; for a child process only.

What x2paddle reads has to come from :mod:`lenet_cpp.interchange.onnx.tidy`: it writes Python code,
with names from the model in it, which is run here.
"""

from __future__ import annotations

import importlib.util
import re
from typing import TYPE_CHECKING, Any

from lenet_cpp._base.optional import require
from lenet_cpp.errors import BackendFailure, Unsupported
from lenet_cpp.models.paddle_run import last_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnx
    import paddle

PARAMETERS_NAME = "model.pdparams"
_FAILED = re.compile(r"convert failed node:.*op_type is (\w+)")


def write_network(model: onnx.ModelProto, folder: Path) -> Callable[..., paddle.nn.Layer]:
    """Let x2paddle write a network as Python code, and its parameters as ``model.pdparams``.

    Args:
        model: From :func:`lenet_cpp.interchange.onnx.tidy.tidy`.
        folder: An empty one, for the code.

    Returns:
        What builds the network, as a :class:`lenet_cpp.models.ModelSpec` takes it.

    Raises:
        Unsupported: x2paddle cannot convert an operator; or a package that it needs is missing.
    """
    for module in ("x2paddle", "six", "requests", "sympy", "packaging"):  # it declares the last two
        require(module, extra="onnx")
    import onnx
    import paddle

    source = folder / "tidy.onnx"
    onnx.save(model, source)
    from x2paddle.decoder.onnx_decoder import ONNXDecoder
    from x2paddle.op_mapper.onnx2paddle.onnx_op_mapper import ONNXOpMapper

    try:
        graph = ONNXOpMapper(ONNXDecoder(str(source), enable_onnx_checker=False)).paddle_graph
        graph.build()
        graph.gen_code(str(folder))
    except Exception as error:
        said = last_line(error)
        match = _FAILED.search(said)
        what = f"the ONNX operator {match[1]}" if match else f"the ONNX model: {said}"
        raise Unsupported(f"x2paddle cannot convert {what}") from error
    _restore_old_operators()
    network = _network(folder / "x2paddle_code.py", graph.name)
    # Of what it renames, x2paddle keeps the old name as well.
    state = {key: graph.parameters.get(key) for key in network().state_dict()}
    if missing := [key for key, value in state.items() if value is None]:
        raise Unsupported(f"x2paddle lost the weights {', '.join(missing)}")
    paddle.save(state, str(folder / PARAMETERS_NAME))
    return lambda num_classes: network()  # noqa: ARG005 - as ModelSpec calls it


def _network(code: Path, name: str) -> type[paddle.nn.Layer]:
    spec = importlib.util.spec_from_file_location(code.stem, code)
    if spec is None or spec.loader is None:
        raise BackendFailure("x2paddle wrote no code")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    class Network(getattr(module, name)):  # type: ignore[misc]
        """The network, of which there may be several: the code itself names its parameters."""

        def create_parameter(self, *arguments: Any, **options: Any) -> paddle.Tensor:
            return super().create_parameter(*arguments, **{**options, "attr": None})

    return Network


_BINARY = {"multiply": "mul", "maximum": "max", "minimum": "min"}
_UNARY = ("exp", "log", "sqrt", "abs", "floor", "ceil", "sin", "cos")
_ACTIVATIONS = ("sigmoid", "tanh")


def _restore_old_operators() -> None:
    """Let functions build ``.pdmodel`` programs that in Paddle 3.3 build PIR only."""
    import paddle

    def matmul(x: Any, y: Any, transpose_x: bool = False, transpose_y: bool = False) -> Any:
        return _append("matmul_v2", {"X": x, "Y": y}, trans_x=transpose_x, trans_y=transpose_y)

    def softplus(x: Any, beta: float = 1, threshold: float = 20, _name: Any = None) -> Any:
        return _append("softplus", {"X": x}, beta=float(beta), threshold=float(threshold))

    functional = paddle.nn.functional
    _replace(paddle, "matmul", matmul)
    _replace(functional, "softplus", softplus)
    for name, ending in _BINARY.items():
        _replace(paddle, name, _elementwise(f"elementwise_{ending}"))
    for name in _UNARY:
        _replace(paddle, name, _function(name))
    for name in _ACTIVATIONS:
        _replace(functional, name, _function(name))


def _elementwise(kind: str) -> Callable[..., Any]:
    return lambda x, y: _append(kind, {"X": x, "Y": y}, axis=-1)


def _function(kind: str) -> Callable[..., Any]:
    return lambda x, _name=None: _append(kind, {"X": x})


def _append(kind: str, inputs: dict[str, Any], **attributes: Any) -> Any:
    """Append an operator to the ``.pdmodel`` program that is being built."""
    from paddle.base.layer_helper import LayerHelper

    helper = LayerHelper(kind)
    output = helper.create_variable_for_type_inference(dtype=inputs["X"].dtype)
    helper.append_op(type=kind, inputs=inputs, outputs={"Out": output}, attrs=attributes)
    return output


def _replace(module: Any, name: str, old: Callable[..., Any]) -> None:
    import paddle

    original = getattr(module, name)

    def function(*arguments: Any, **options: Any) -> Any:
        if paddle.in_dynamic_mode() or paddle.framework.in_pir_mode():
            return original(*arguments, **options)
        return old(*arguments, **options)

    setattr(module, name, paddle.jit.not_to_static(function))
