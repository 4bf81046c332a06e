"""tools/zoo: what counts as right, what a refusal names, and the table that pages have of it."""

import numpy as np
import pytest

from tools.zoo import tables
from tools.zoo.__main__ import summarise
from tools.zoo.verdict import judge, operator, worst

EXPECTED = np.array([[1.0, 50.0, 3.0]], "float32")  # so that 5e-4 is the tolerance


def off_by(difference):
    return EXPECTED + np.array([[difference, 0, 0]], "float32")


def judged(found, truth=None, own=False):
    """The verdict on an answer; the truth is of float64."""
    exact = [np.float64(truth)] if truth is not None else None
    return judge([EXPECTED], [found], lambda: exact, lambda: own)


def test_an_answer_within_the_tolerance_is_right():
    def not_asked():
        raise AssertionError

    found = judge([EXPECTED], [off_by(4e-4)], not_asked, not_asked)
    assert found == {"outcome": "right", "share": pytest.approx(0.8, rel=1e-3)}


@pytest.mark.parametrize(
    ("difference", "truth", "outcome"),
    [
        (1e-3, EXPECTED, "wrong"),  # the framework is right
        (1e-3, off_by(9e-4), "right"),  # the framework is farther from it
        (1e-3, off_by(-6e-4), "wrong"),  # the framework is off by 1.2, this one by 3.2
        (6e-4, off_by(-6.1e-4), "right"),  # 1.22 and 2.42, less than twice
        (1e-3, off_by(4e-4), "wrong"),  # the framework is within the tolerance, this one is not
        (1e-3, None, "wrong"),
    ],
)
def test_float64_decides_where_two_differ(difference, truth, outcome):
    truth = truth if truth is None else truth.astype("float64") + 1e-9
    assert judged(off_by(difference), truth)["outcome"] == outcome


def test_what_the_library_itself_answers_is_its_own_fault():
    assert judged(off_by(1e-3), EXPECTED, own=True)["outcome"] == "own"
    assert judged(off_by(1e-4), EXPECTED, own=True)["outcome"] == "right"


def test_other_shapes_and_values_that_are_no_numbers_are_wrong():
    assert judged(EXPECTED[:, :2])["outcome"] == "wrong"
    assert judged(np.full_like(EXPECTED, np.nan))["outcome"] == "wrong"
    assert worst([judged(EXPECTED), judged(off_by(1)), judged(off_by(1e-4))])["share"] > 1000


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("'m.json' has an operator '1.unfold', which lenet cannot check", "unfold"),
        ("'m.json': no operator that mixes images (reshape, which gives 'value 4')", "reshape"),
        ("'m.onnx' fails (Mod, which gives 'y') (engine native: (Cast, which gives 'z'))", "Mod"),
        ("'m.onnx' operator 4 (Gather) has a value that the program does not fix", "Gather"),
        ("'m.onnx' has 2 inputs", ""),
    ],
)
def test_the_operator_that_a_message_names(said, name):
    assert operator(said) == name


def row(network, suffix, native, **more):
    right = {"outcome": "right", "share": 0.25}
    other = {"onnx": "onnxruntime"}.get(suffix, "paddle")
    of = {"source": "timm" if suffix == "onnx" else "PaddleClas", "family": "f"}
    return of | {"network": network, "format": suffix, "native": native, other: right} | more


def test_tables():
    refused = {"outcome": "Unsupported", "operator": "roll", "said": ""}
    wrong = {"outcome": "wrong", "share": 14.0, "float64": [14.0, 0.5]}
    own = {"outcome": "own", "share": 1.5}
    rows = [
        row("Swin", "json", refused, auto=own),
        row("Swin", "pdmodel", refused, paddle=own, auto=refused),
        row("DPN", "json", wrong, auto={"outcome": "BadModel", "said": ""}),
        {**row("DPN", "pdmodel", {}), "not_written": "why"},
    ]
    for key in ("native", "paddle"):
        del rows[3][key]
    old = {"networks": [row("DPN", "json", own), row("dpn48b", "onnx", own, auto=own)]}
    result = summarise(rows, old)
    names = [(one["network"], one["format"]) for one in result["networks"]]
    both = ("DPN", "json"), ("DPN", "pdmodel"), ("Swin", "json"), ("Swin", "pdmodel")
    assert names == [*both, ("dpn48b", "onnx")]
    result["networks"].pop()
    first, second = tables.networks(result, "PaddleClas").splitlines()[2:]
    text = "**wrong**, 1,400 % (from float64 1,400 %, the framework 50 %)"
    assert first == f"| f | DPN | `.json` | {text} | 25 % | **BadModel** |"
    cells = "`.json` 25 %, `.pdmodel` Paddle's own, 150 %"
    assert second.startswith(f"| f | Swin | `.json`, `.pdmodel` | `roll` | {cells} | ")
    counts = tables.totals(result).splitlines()[2:]
    own, refused = "its library's own", "1 refused"
    cells = f"0, 1 wrong, {refused} | 2 | 0, 1 BadModel, 1 {own}"
    assert counts[0] == f"| PaddleClas | `.json` | 2 of 2 | {cells} |"
    cells = f"0, {refused} | 0, 1 {own} | 0, {refused}"
    assert counts[1] == f"| PaddleClas | `.pdmodel` | 1 of 2 | {cells} |"
    lines = ["| `.json` | `roll` 1 |", "| `.pdmodel` | `roll` 1 |"]
    assert tables.operators(result).splitlines()[2:] == lines
    assert tables.not_exported(result) == "PaddleClas `.pdmodel`: DPN"
