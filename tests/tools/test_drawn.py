"""The draw of operators: a sample is right, and refusals are followed."""

import json

from tools.drawn.__main__ import is_failure, main
from tools.drawn.tables import counts
from tools.drawn.verdicts import remedy_of

# What Paddle keeps of a run before must not reach the next one: index_put writes into it.
RIGHT = ("tensor.std", "nn.InstanceNorm1D", "nn.LPPool2D", "tensor.nanmean", "functional.one_hot")
REFUSED = ("tensor.index_fill",)


def test_a_sample_is_right_and_a_refusal_is_followed(tmp_path, capfd):
    target = tmp_path / "drawn.json"
    chosen = ["--writer", "Paddle 3.3.1", "--layout", "json", "--output", str(target)]
    assert main([*chosen, "--operator", *RIGHT, *REFUSED]) == 0, capfd.readouterr().out
    (column,) = json.loads(target.read_text(encoding="utf-8"))["columns"]
    found = {row["name"]: row for row in column["operators"]}
    assert {name: found[name]["outcome"] for name in RIGHT} == dict.fromkeys(RIGHT, "right")
    for name in REFUSED:
        assert found[name]["outcome"] == "Unsupported"
        assert found[name]["remedy"] == "right with check_program"


def test_a_sample_of_pytorch(tmp_path, capfd):
    """The old exporter drops softplus's threshold, which is then none of our answers."""
    target = tmp_path / "drawn.json"
    chosen = ["nn.GELU", "functional.relu_", "functional.softplus", "nn.Sequential"]
    command = ["--writer", "PyTorch", "--layout", "legacy", "--output", str(target)]
    assert main([*command, "--operator", *chosen]) == 0, capfd.readouterr().out
    (column,) = json.loads(target.read_text(encoding="utf-8"))["columns"]
    assert column["writer"] == "PyTorch"
    found = {row["name"]: row["outcome"] for row in column["operators"]}
    outcomes = ["right", "right", "exported otherwise", "unreachable"]
    assert found == dict(zip(chosen, outcomes, strict=True))


def test_remedies_are_read_from_messages():
    said = "for a model that you trust set check_program to false"
    assert remedy_of(said) == {"check_program": False}
    assert remedy_of("set isolated=True") == {"check_program": False, "isolated": True}
    assert remedy_of("use --engine=onnxruntime") == {"engine": "onnxruntime"}
    assert remedy_of("there is no kernel") is None


def test_what_is_no_answer_counts():
    rows = [
        {"name": "a", "outcome": "right"},
        {"name": "b", "outcome": "Unsupported", "remedy": "right with check_program"},
        {"name": "c", "outcome": "Unsupported", "remedy": "wrong with check_program: 1"},
        {"name": "d", "outcome": "BadModel", "remedy": "right with check_program"},
        {"name": "e", "outcome": "not exported"},
        {"name": "f", "outcome": "unreachable", "said": "random"},
    ]
    assert [row["name"] for row in rows if is_failure(row)] == ["c", "d"]
    column = {"writer": "Paddle 3.3.1", "layout": "json", "operators": rows}
    row = counts({"columns": [column]}).splitlines()[-1]
    assert row == "| Paddle 3.3.1 | `json` | 6 | 1 | 1 | 1 | 1 | 1 | 1 BadModel |"
