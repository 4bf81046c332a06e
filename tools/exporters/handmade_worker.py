"""Write what no exporter writes alike: other types of the input and output, and unused outputs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from onnx import compose, parser

sys.path.insert(0, str(Path(__file__).parents[2]))
from tools.exporters.networks import base, make_all

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.exporters.networks import Report

NETWORK = "squeezenet"
_NORMALIZE = """
    scale = Constant <value = float {127.5}> ()
    one = Constant <value = float {1.0}> ()
    scaled = Div (pixels, scale)
    image = Sub (scaled, one)
"""
_CAST = "pixels = Cast <to = 1> (raw)" + _NORMALIZE
_NHWC = "(%s[N,16,16,3] raw) => (float[N,3,16,16] image)"
_NCHW = "(%s[N,3,16,16] raw) => (float[N,3,16,16] image)"
BEFORE = {
    **{f"{kind}-input": f"{_NCHW % kind} {{ {_CAST} }}" for kind in ("uint8", "int64", "int32")},
    **{
        f"{kind}-input": f"{_NCHW % kind} {{ image = Cast <to = 1> (raw) }}"
        for kind in ("double", "float16")
    },
    "uint8-nhwc": f"{_NHWC % 'uint8'} {{ nchw = Transpose <perm = [0, 3, 1, 2]> (raw)"
    f" {_CAST.replace('raw', 'nchw')} }}",
    "nhwc": f"{_NHWC % 'float'} {{ image = Transpose <perm = [0, 3, 1, 2]> (raw) }}",
    "bgr-gather": f"{_NCHW % 'float'} {{ order = Constant <value = int64[3] {{2, 1, 0}}> ()"
    " image = Gather <axis = 1> (raw, order) }",
    "mean-and-deviation": f"{_NCHW % 'float'} {{"
    " mean = Constant <value = float[1,3,1,1] {0.1, -0.1, 0.2}> ()"
    " deviation = Constant <value = float[1,3,1,1] {0.8, 0.7, 0.9}> ()"
    " centred = Sub (raw, mean) image = Div (centred, deviation) }",
    "resize-first": "(float[N,3,8,8] raw) => (float[N,3,16,16] image) {"
    " scales = Constant <value = float[4] {1.0, 1.0, 2.0, 2.0}> ()"
    ' image = Resize <mode = "linear"> (raw, , scales) }',
    "pad-first": "(float[N,3,14,14] raw) => (float[N,3,16,16] image) {"
    " pads = Constant <value = int64[8] {0, 0, 1, 1, 0, 0, 1, 1}> () image = Pad (raw, pads) }",
}
_LABEL = "label = ArgMax <axis = 1, keepdims = 0> (p)"
AFTER = {
    "label-alone": f"(float[N,5] p) => (int64[N] label) {{ {_LABEL} }}",
    "label-first": f"(float[N,5] p) => (int64[N] label, float[N,5] same)"
    f" {{ {_LABEL} same = Identity (p) }}",
    "label-second": f"(float[N,5] p) => (float[N,5] same, int64[N] label)"
    f" {{ {_LABEL} same = Identity (p) }}",
    "double-output": "(float[N,5] p) => (double[N,5] wide) { wide = Cast <to = 11> (p) }",
    "float16-output": "(float[N,5] p) => (float16[N,5] half) { half = Cast <to = 10> (p) }",
    "top-two": "(float[N,5] p) => (float[N,2] best, int64[N,2] labels) {"
    " two = Constant <value = int64[1] {2}> () best, labels = TopK (p, two) }",
    "unit-length": "(float[N,5] p) => (float[N,5] unit) { unit = LpNormalization <axis = 1> (p) }",
}


def _use_more_outputs(model: Any, kind: str, names: tuple[str, ...]) -> None:
    for number, node in enumerate(model.graph.node):
        if node.op_type == kind:
            node.output.extend(f"{name}{number}" for name in names)


def _add_input(model: Any) -> None:
    model.graph.input.append(onnx.helper.make_tensor_value_info("unused", 1, ["N", 3]))


def _add_weights_to_inputs(model: Any) -> None:
    for tensor in model.graph.initializer:
        info = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.input.append(info)


def _leave_out_shape(model: Any) -> None:
    model.graph.input[0].type.tensor_type.ClearField("shape")


CHANGES: dict[str, tuple[str, Callable[[Any], None]]] = {
    "norm-five-outputs": (
        "densenet-13",
        lambda model: _use_more_outputs(
            model, "BatchNormalization", ("mean", "var", "saved_mean", "saved_var")
        ),
    ),
    "pool-indices": (
        "squeezenet-13",
        lambda model: _use_more_outputs(model, "MaxPool", ("indices",)),
    ),
    "second-input": ("squeezenet-17", _add_input),
    "weights-as-inputs": ("squeezenet-17", _add_weights_to_inputs),
    "no-shape": ("squeezenet-17", _leave_out_shape),
}


def make(folder: str, base_folder: str, report: Report) -> dict[str, Any]:
    """Write each of ``BEFORE``, ``AFTER`` and ``CHANGES``."""

    def write(
        network: str, path: Path, before: str = "", after: str = "", change: str = ""
    ) -> None:
        if change:
            name, function = CHANGES[change]
            made = onnx.load(Path(base_folder, f"{name}.onnx"))
            function(made)
        else:
            model = onnx.load(base(base_folder, NETWORK))
            text = BEFORE.get(before) or AFTER[after]
            header = f'<ir_version: {model.ir_version}, opset_import: ["" : 17]> more'
            more = parser.parse_model(f"{header} {text}")
            if before:
                pair, names = (more, model), [("image", "x")]
            else:
                pair, names = (model, more), [("y", "p")]
            made = compose.merge_models(*pair, io_map=names)
        onnx.save(made, path)

    cases: list[Any] = [(name, NETWORK, {"before": name}) for name in BEFORE]
    cases += [(name, NETWORK, {"after": name}) for name in AFTER]
    cases += [(name, CHANGES[name][0].split("-")[0], {"change": name}) for name in CHANGES]
    return make_all(folder, cases, write, report)
