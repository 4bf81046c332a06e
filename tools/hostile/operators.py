"""The table of ONNX's operators, and how a graph draws a node of each."""

from functools import cache

import onnx

from tools.hostile.drawers.constants import CLASSES
from tools.hostile.drawers.elementwise import (
    COMPARISONS,
    among,
    cast,
    clip,
    combined,
    gelu,
    judged,
    modulo,
    of_bools,
    plain,
    power,
    prelu,
    several,
    to_float,
    where,
)
from tools.hostile.drawers.layers import (
    batch_norm,
    conv,
    conv_transpose,
    einsum,
    gemm,
    global_pool,
    group_norm,
    instance_norm,
    layer_norm,
    lrn,
    matmul,
    pool,
)
from tools.hostile.drawers.moves import (
    along,
    arg,
    blocks_of,
    col2im,
    concat,
    cum_sum,
    expand,
    flatten,
    gather,
    gather_elements,
    gather_nd,
    pad,
    reduce,
    reshape,
    resize,
    scatter_elements,
    scatter_nd,
    slice_,
    split,
    squeeze,
    tile,
    top_k,
    transpose,
    unsqueeze,
    upsample,
)

PLAIN = (
    "Abs Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Dropout Erf Exp Floor HardSwish Identity"
    " Log Mish Neg Reciprocal Relu Round Selu Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Tan Tanh"
)
COMBINED = ("Add", "Sub", "Mul", "Div", "Max", "Min")
REDUCTIONS = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare"
# fmt: off
OPERATORS = {
    **{op: plain(op) for op in PLAIN.split()},
    **{op: combined(op) for op in COMBINED},
    **{op: combined(op, to_float) for op in COMPARISONS},
    **{f"Reduce{name}": reduce(f"Reduce{name}") for name in REDUCTIONS.split()},
    **{op: of_bools(op) for op in ("And", "Or", "Xor", "Not")},
    **{op: judged(op) for op in ("IsNaN", "IsInf")},
    **{op: several(op) for op in ("Sum", "Mean")},
    **{op: pool(op) for op in ("MaxPool", "AveragePool")},
    **{op: global_pool(op) for op in ("GlobalMaxPool", "GlobalAveragePool")},
    **{op: arg(op) for op in ("ArgMax", "ArgMin")},
    **{op: along(op) for op in ("Softmax", "LogSoftmax", "Hardmax")},
    "Cast": cast, "Pow": power, "Mod": modulo, "PRelu": prelu, "Where": where, "Clip": clip,
    "Gelu": gelu,
    "LeakyRelu": plain("LeakyRelu", alpha=among(None, 0.3, -0.5)),
    "Elu": plain("Elu", alpha=among(None, 0.3)),
    "Celu": plain("Celu", alpha=among(None, 0.5)),
    "HardSigmoid": plain("HardSigmoid", alpha=among(None, 1 / 6), beta=among(None, 0.6)),
    "ThresholdedRelu": plain("ThresholdedRelu", alpha=among(None, 0.3)),
    "Shrink": plain("Shrink", lambd=among(None, 0.2), bias=among(None, 0.1)),
    "Transpose": transpose, "Reshape": reshape, "Flatten": flatten, "Squeeze": squeeze,
    "Unsqueeze": unsqueeze, "Slice": slice_, "Split": split, "Concat": concat, "Expand": expand,
    "Tile": tile, "Pad": pad, "Gather": gather, "GatherND": gather_nd,
    "GatherElements": gather_elements, "ScatterND": scatter_nd,
    "ScatterElements": scatter_elements,
    "DepthToSpace": blocks_of("DepthToSpace", 11, mode=among("DCR", "CRD")),
    "SpaceToDepth": blocks_of("SpaceToDepth", 1), "Col2Im": col2im,
    "Resize": resize, "Upsample": upsample,
    "Conv": conv, "ConvTranspose": conv_transpose, "MatMul": matmul, "Gemm": gemm,
    "Einsum": einsum, "BatchNormalization": batch_norm, "LayerNormalization": layer_norm,
    "GroupNormalization": group_norm, "InstanceNormalization": instance_norm, "LRN": lrn,
    "LpNormalization": along("LpNormalization", p=among(1, 2)), "TopK": top_k, "CumSum": cum_sum,
}
# fmt: on
WITH_CONSTANT = (*COMBINED, *COMPARISONS, "Pow", "Mod", "PRelu", "Where")
"""Operators of which a constant of each class is drawn."""
ITEMS = [
    *((op, None) for op in OPERATORS),
    *((op, name) for op in WITH_CONSTANT for name in CLASSES),
]
"""An operator, and the class of its constant or None: what is drawn side by side."""
SETS = (*range(13, 23), 17, 17, 17, 20, 11, 12, 9)
"""The operator sets that a graph may have, each as often as it is drawn."""
GIVES_TRUTH = {*COMPARISONS, "And", "Or", "Xor", "Not", "IsNaN", "IsInf"}
READS_TRUTH = {"And", "Or", "Xor", "Not", "Where", "Cast"}
GIVES_INTEGERS = {"ArgMax", "ArgMin"}
STEPS = {
    *("Ceil", "Floor", "Round", "Sign", "Mod", "ArgMax", "ArgMin", "Hardmax", "TopK", "IsInf"),
    *("And", "Or", "Xor", "Not", "Where", "Shrink", "ThresholdedRelu", "Cast"),
    *COMPARISONS,
}
"""Operators that jump: what rounds their input may change their output by a whole step."""
NOT_DRAWN = {
    **dict.fromkeys(
        ("Constant", "ConstantOfShape", "Range", "Shape", "Size", "OneHot", "Trilu"),
        "makes or moves constants",
    ),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear"), "rounds"),
    "CastLike": "a Cast",
    **dict.fromkeys(("RMSNormalization", "Swish"), "newer than the package onnx of the tests"),
    **dict.fromkeys(("GRU", "LSTM"), "Unsupported in the native engine"),
}
"""Operators of the native engine that a graph does not draw by themselves, and why."""


@cache
def sets_of(op):
    """Return the operator sets in which a graph draws an operator."""
    since = 21 if op == "GroupNormalization" else 1  # before, its weights are those of a group

    def has(number):
        try:
            return not onnx.defs.get_schema(op, number, "").deprecated
        except onnx.defs.SchemaError:
            return False

    return {number for number in SETS if number >= since and has(number)}


def drawn(g, op, name, x):
    """Draw an operator, with a constant of a class where one is named."""
    draw = OPERATORS[op]
    return draw(g, x) if name is None else draw(g, x, name)
