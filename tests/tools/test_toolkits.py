"""tools/toolkits: what the comparison with PaddleClas and PaddleX notices."""

import numpy as np
import pytest

from tools.toolkits import verdict
from tools.toolkits.cases import Case

CLASSES = {"class_ids": [7, 2], "label_names": ["seven", "two: a pair"], "scores": [0.6, 0.25]}
ROWS = [(7, "seven", 0.60001), (2, "two: a pair", 0.24999)]
VEHICLE = {"attributes": "Color: (red, prob: 0.75), Type unknown", "output": [0, 1]}


def predictions(rows):
    keys = ("class_id", "label", "probability")
    return {"predictions": [dict(zip(keys, row, strict=True)) for row in rows]}


def test_the_same_classes():
    assert verdict.difference(CLASSES, predictions(ROWS)) == ""
    row = dict(zip(("class_id", "label", "probability"), ROWS[0], strict=True))
    assert verdict.row_difference(CLASSES, {"error": None, **row}) == ""
    texts = ["0.60001:7:seven", "0.24999:2:two: a pair", ""]
    assert verdict.served_difference(CLASSES, texts) == ""
    none = {key: [] for key in CLASSES}
    assert verdict.difference(none, predictions([])) == ""
    assert verdict.served_difference(none, ["", ""]) == ""


@pytest.mark.parametrize(
    "rows",
    [
        ROWS[::-1],
        ROWS[:1],
        [],
        [ROWS[0], (3, *ROWS[1][1:])],
        [ROWS[0], (2, "two", 0.25)],
        [ROWS[0], (2, None, 0.25)],
        [ROWS[0], (2, "two: a pair", 0.25003)],
        [ROWS[0], (2, "two: a pair", None)],
    ],
)
def test_other_classes(rows):
    assert verdict.difference(CLASSES, predictions(rows))
    assert verdict.served_difference(CLASSES, [f"{row[2] or 0}:{row[0]}:{row[1]}" for row in rows])


@pytest.mark.parametrize(
    ("texts", "output", "same"),
    [
        (["Color: (red, prob: 0.750011)", "Type unknown"], [0, 1], True),
        (["Color: (red, prob: 0.75003)", "Type unknown"], [0, 1], False),
        (["Color: (blue, prob: 0.75)", "Type unknown"], [0, 1], False),
        (["Color: (red, prob: 0.75)"], [0, 1], False),
        (["Color: (red, prob: 0.75)", "Type unknown"], [1, 1], False),
        (None, None, False),
    ],
)
def test_attributes(texts, output, same):
    found = {"attributes": texts, "output": output}
    assert (verdict.difference(VEHICLE, found) == "") == same
    lists = {"attributes": ["Hat: True", "Boots"], "output": [0, 1]}
    assert verdict.difference(lists, lists) == ""
    assert verdict.difference(lists, found)


@pytest.mark.parametrize(("toolkit", "allowed"), [("PaddleClas 2.6.0", 0), ("PaddleX 3.7.2", 1e-6)])
def test_tensors_and_refusals(tmp_path, toolkit, allowed):
    def trial(unsupported):
        case = Case("a", toolkit, "inference.yml", "Topk", 2, 2, (), unsupported)
        tensor = np.linspace(-2, 2, 300, dtype=np.float32).reshape(3, 10, 10)
        return verdict.Trial(case, tmp_path, tmp_path, ["a.png"], [tensor], [CLASSES])

    (tensor,) = trial("").tensors
    for other in (tensor[::-1], tensor + np.float32(3e-6), tensor[:, 1:], tensor.astype(float)):
        assert verdict.tensors_difference(trial(""), [other])
    last_bit = np.nextafter(tensor, np.float32(9))
    assert (verdict.tensors_difference(trial(""), [last_bit]) == "") == (allowed > 0)
    assert verdict.tensors_difference(trial(""), [tensor]) == ""
    assert trial("").verdict("a problem") == "a problem"
    refused = trial("channel_num")
    assert refused.verdict("exit status 6: a.yml: NormalizeImage.channel_num 4") == ""
    for problem in ("", "exit status 4: channel_num", "exit status 6: Resize"):
        assert refused.verdict(problem)
