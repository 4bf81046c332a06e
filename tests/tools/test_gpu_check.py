"""tools/gpu: a rehearsal of the whole check on the processor, and the tables of its results."""

import copy
import json

import pytest

from tools.gpu import tables
from tools.gpu.__main__ import failures, main, without_folders

FILE_NOT_FOUND = 3


@pytest.fixture(scope="module")
def rehearsed(program, tmp_path_factory):
    output = tmp_path_factory.mktemp("gpu") / "gpu.json"
    given = "check --device cpu --networks lenet --batches 1 3 --turns 2 --seconds 0.01"
    assert main([*given.split(), f"--program={program}", f"--output={output}"]) == 0
    return json.loads(output.read_text())


def test_a_rehearsal_runs_all_parts(rehearsed):
    rows = rehearsed["rows"]
    assert [(row["engine"], row["format"], row["precision"]) for row in rows] == [
        ("onnxruntime", "onnx", "fp32"),
        ("paddle", "pdmodel", "fp32"),
        ("paddle", "json", "fp32"),
    ]
    for row in rows:
        assert [cell["images"] for cell in row["cells"]] == [1, 3]
        assert list(row["program"]) == ["1", "3"]
        found = [*row["cells"], *row["program"].values()]
        assert all(each["agrees"] and 0 < each["share"] < 1 for each in found)
    assert len(rows[0]["cells"][0]["ratios"]) == 2
    said = {row["what"]: row["said"] for row in rehearsed["errors"]}
    assert "they agree" in said["two predictors in two threads"]
    assert said["GPU 1000"].startswith("Unsupported")
    assert rehearsed["not_run"] == {}
    assert rehearsed["gpu"] == {}


def test_what_is_not_as_it_should_be_is_named(rehearsed):
    assert failures(rehearsed) == []
    broken = copy.deepcopy(rehearsed)
    broken["rows"][0]["cells"][1] |= {"agrees": False, "share": 6.4}
    broken["rows"][1]["program"]["3"]["agrees"] = False
    broken["errors"].append(
        {"engine": "paddle", "what": "GPU 9", "expected": "Unsupported: .*", "said": "runs"}
    )
    first, second, third = failures(broken)
    assert first == "lenet.onnx onnxruntime fp32, Python, 3 images: 6.4 of the tolerance"
    assert second.startswith("lenet.pdmodel paddle fp32, C++, 3 images")
    assert third == "paddle, GPU 9: runs"


def test_the_tables():
    def cell(images, share, own, more):
        return {"images": images, "share": share, "lenet_cpp": own} | more

    own = {"median_us": 1500.0, "p99_us": 2250.0, "first_s": 0.5}
    row = {
        "network": "ResNet18",
        "engine": "onnxruntime",
        "format": "onnx",
        "precision": "fp32",
        "cells": [cell(1, 0.25, own, {"ratio": 0.5}), cell(8, 0.1, own, {})],
        "program": {"8": {"share": 0.125}},
        "lenet_cpp": {"load_s": 0.75, "memory_mb": 1234.0},
        "onnxruntime": {"memory_mb": None},
    }
    said = [{"what": "no GPU", "said": "a | b"}]
    result = {"rows": [row], "errors": said}
    assert tables.runs(result).splitlines()[2:] == [
        "| ResNet18, `.onnx` | 1 | 25.0% | 1.50 (2.25) | 0.50 | - | - | - |",
        "| ResNet18, `.onnx` | 8 | 12.5% | 1.50 (2.25) | - | - | - | - |",  # the program's
    ]
    assert tables.costs(result).splitlines()[2] == (
        "| ResNet18, `.onnx` | 0.75 | 0.50 | 0.50 | 1,234 | - |"
    )
    assert tables.errors(result).splitlines()[2] == "| no GPU | a \\| b |"


def test_messages_name_files_and_not_their_folders():
    said = "cannot load '/a/b c/d/m.onnx': library /x/y/libz.so with error: libq.so.10"
    assert without_folders(said) == (
        "cannot load '/a/b c/d/m.onnx': library libz.so with error: libq.so.10"
    )
    assert without_folders("cannot load '/a/b/m.onnx'") == "cannot load 'm.onnx'"


@pytest.mark.parametrize(
    ("given", "said"),
    [("--turns=0", "at least 1"), ("--batches 1 0", "at least 1"), ("--device=gpu:x", "gpu:ID")],
)
def test_wrong_options(capsys, given, said):
    with pytest.raises(SystemExit) as ended:
        main(["check", "--device=cpu", *given.split()])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_nothing_is_written_where_no_engine_computes(program, tmp_path, capsys):
    (tmp_path / "models").mkdir()
    output = tmp_path / "gpu.json"
    output.write_text("those of another machine")
    given = f"check --device cpu --networks lenet --models {tmp_path / 'models'}"
    assert main([*given.split(), f"--program={program}", f"--output={output}"]) == 1
    assert "no engine computes there" in capsys.readouterr().out
    assert output.read_text() == "those of another machine"


def test_the_program_is_needed(capsys):
    given = ["check", "--device=cpu", "--program=none/lenet_infer_test"]
    assert main(given) == FILE_NOT_FOUND
    assert "./run.sh builds it" in capsys.readouterr().err
