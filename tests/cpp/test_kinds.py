"""Rules and engines ask for operators by the names of ONNX, and by a few of our own."""

import re
from pathlib import Path

import onnx.defs

from tools.hostile.operators import NOT_DRAWN, OPERATORS

SOURCES = Path(__file__).parents[2] / "cpp" / "src"
PAGE = Path(__file__).parents[2] / "docs" / "native-engine.md"
ONNX = {schema.name for schema in onnx.defs.get_all_schemas_with_history()} | {
    "Swish",
    "RMSNormalization",
}
"""Two of them belong to the operator sets 24 and 23, which an older package does not know."""
OURS = {
    *("Feed", "Fetch", "While", "LoopVariables", "Branch", "Choice"),
    *("Fill", "FillLike", "Linspace", "Eye", "Meshgrid"),
    *("Scale", "Square", "Rsqrt", "FloorDiv", "Maximum", "Minimum", "NotEqual", "Log1p"),
    *("IsFinite", "Relu6", "TanhShrink", "LogSigmoid", "SoftShrink", "ScaledTanh", "Logit"),
    *("Expm1", "Log2", "Log10", "Trunc", "AdaptiveMaxPool", "AdaptiveAveragePool"),
    *("FlattenRange", "Flip", "Stack", "Unbind", "Roll", "Unfold", "ChannelShuffle", "SetValue"),
    *("FlatMatMul", "ChannelAffine", "ReduceLp", "QuantizeByRange", "DequantizeByRange"),
}
"""What ONNX does not have."""

TEXT = r'(?:"[^"]*"\s*)+'
ROW = re.compile(rf"\{{(k\w+),\s*({TEXT}),\s*({TEXT}),")


def joined(texts):
    return "".join(re.findall(r'"([^"]*)"', texts))


def rows():
    """Yield the dialects, types and kinds of each row of the rules."""
    for path in sorted((SOURCES / "model" / "rules").glob("*.cc")):
        for dialects, types, kinds in ROW.findall(path.read_text()):
            yield dialects, joined(types).split(), joined(kinds).split()


def paddle_types():
    """Return the names of Paddle's operators in both formats that ONNX does not have."""
    found = set()
    for dialects, types, _ in rows():
        if dialects != "kOnnx":
            found.update(name for words in types for name in words.split("/") if name)
    return found - ONNX


def asked_kinds():
    """Return the kinds that the native engine and the evaluator of constants ask for."""
    native = sorted((SOURCES / "engines" / "native").glob("read_*.cc"))
    shared = [SOURCES / "model" / "boxes.cc", *sorted((SOURCES / "model").glob("evaluate*.cc"))]
    found = set()
    for path in [*native, *shared]:
        text = path.read_text()
        lists = re.findall(r'kind(?:\(\))? [!=]= "(\w+)"', text)
        lists += re.findall(rf"has_word\(\s*({TEXT}),\s*[\w>.()-]*kind", text)
        lists += re.findall(rf"\{{({TEXT}),\s*(?:&?\w+::|[a-jl-z]\w*[}}<]|\[\])", text)
        found.update(word for words in lists for word in (joined(words) or words).split())
    return found


def test_kinds_are_names_of_onnx_or_ours():
    kinds = {kind for _, _, words in rows() for kind in words}
    assert len(kinds) > 100
    assert kinds - ONNX - OURS == set()
    assert not OURS & ONNX


def test_native_asks_for_no_name_of_paddle():
    asked = asked_kinds()
    assert {"Conv", "Gather", "LRN", "Fetch", "ReduceMean", "Sigmoid", "Transpose"} <= asked
    assert not asked & paddle_types()


def listed_operators():
    """Return the operators of ONNX that the page of the native engine lists."""
    by_name = {name.lower(): name for name in ONNX}
    found = set()
    for paddle, onnx_names in re.findall(r"^\| (.*?) \| (.*?) \| .*\|$", PAGE.read_text(), re.M):
        if "the same" in onnx_names:
            paddle_names = re.findall(r"`(\w+)`", paddle)
            plain_names = [name.replace("_", "").lower() for name in paddle_names]
            found |= {by_name[name] for name in plain_names if name in by_name}
        found |= ONNX.intersection(re.findall(r"`(\w+)`", onnx_names))
    return found


def test_random_networks_draw_every_operator():
    read = {name for dialects, types, _ in rows() if dialects == "kOnnx" for name in types}
    every = (read & ONNX) | listed_operators()
    assert {"Conv", "Einsum", "Softsign", "GatherND", "RMSNormalization"} <= listed_operators()
    assert {*OPERATORS} | {*NOT_DRAWN} == every
    assert not {*OPERATORS} & {*NOT_DRAWN}
