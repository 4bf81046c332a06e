"""Files as other tools write them, on engines native and auto; tools/exporters makes them."""

import json
import re
from functools import partial

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp._base.files import cache_folder
from references import REFERENCES
from tools.exporters.corpus import (
    CORPUS,
    ENGINES,
    OF_ONE_MACHINE,
    RESULTS,
    STEPS,
    File,
    compare,
    files,
    judge,
    read_index,
    reason,
    unpack,
)
from tools.exporters.tables import tools
from tools.survey.machine import processor_flags

ROWS = {row["tool"]: row for row in json.loads(RESULTS.read_text(encoding="utf-8"))["tools"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exporters")
    unpack(folder)
    return folder


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("tool", list(read_index()))
def test_answers_are_right_and_refusals_those_that_the_table_has(tool, engine, folder):
    """Where this fails after a change of an engine: python -m tools.exporters check."""
    if engine == "auto":
        pytest.importorskip("onnxruntime")
        if tool in OF_ONE_MACHINE and "avx512_vnni" not in processor_flags():
            pytest.skip("the answers in the corpus are those of onnxruntime with AVX-512 VNNI")
    found = {file.name: judge(file, folder, engine) for file in files() if file.tool == tool}
    assert found
    kinds = {"right", "near", "Unsupported"}
    assert {name: said for name, said in found.items() if said[0] not in kinds} == {}
    refused = {name: reason(said) for name, (kind, said) in found.items() if kind == "Unsupported"}
    listed = ROWS[tool][engine]["refused"].items()
    assert refused == {name: why for why, names in listed for name in names}
    if engine == "native":
        check_references_of(tool, folder, refused)


def check_references_of(tool, folder, refused):
    """Judge what native runs of a tool without passes, and by the plain program."""
    for name, options in REFERENCES.items():
        others = {
            file.name: judge(file, folder, **options)[0]
            for file in files()
            if file.tool == tool and file.name not in refused
        }
        assert set(others.values()) <= {"right", "near"}, (name, others)


def test_the_corpus_is_small_complete_and_of_no_machine(folder):
    assert sum(path.stat().st_size for path in CORPUS.parent.iterdir()) < 300e3
    assert {file.tool for file in files()} == set(ROWS) == set(read_index())
    assert (
        len({str(file) for file in files()})
        == len(files())
        == sum(row["files"] for row in ROWS.values())
    )
    assert {file.network for file in files() if file.tool == "torch-dynamo"} >= {"lenet", "vit"}
    for file in files():
        assert np.ptp(file.expected, 0).max() > 0.005, f"{file} answers alike for all images"
    for path in folder.rglob("*"):
        if path.is_file():
            assert not re.search(rb"/(tmp|home|root|work)/", path.read_bytes()), path
    assert str(cache_folder()) not in (folder / "index.json").read_text(encoding="utf-8")


def test_an_answer_is_right_near_or_wrong():
    expected = [[0.0, 4.0], [3.0, 1.0], [2.0, 2.1], [0.0, 4.0]]
    file = File("tool", "name", "lenet", (1,), "float", 17, True, expected, 0.2, step=0.5)

    def outcome(*changes):
        found = np.asarray(expected)
        for image, value in changes:
            found[image, 0] += value
        return compare(file, found)[0]

    assert outcome() == outcome((0, 0.2 * 4), (1, 0.2 * 3)) == "right"
    assert outcome((1, 0.7)) == outcome((2, STEPS * 0.5)) == "near"
    assert outcome((1, STEPS * 0.5 + 0.1)) == outcome((0, 2.2)) == "wrong"
    assert compare(file, np.zeros((4, 3)))[0] == "wrong"


def test_outcomes_become_a_row():
    found = {"right": 2, "near": ["a"], "refused": {"`Cast`": ["b", "c"]}, "failures": {}}
    other = {**found, "refused": {}, "failures": {"d": ["crashed", "exit status 7"]}}
    row = {"tool": "t", "versions": {"p": "1+cpu"}, "opsets": [9, 13], "files": 6}
    table = tools({"tools": [{**row, "native": found, "auto": other}]})
    last = "| t | p 1 | 9, 13 | 6 | 2, 1 near | `Cast` 2 | 2, 1 near, 1 crashed |  |"
    assert table.splitlines()[-1] == last


def test_operators_of_integers_that_do_not_fit_are_named(folder, tmp_path):
    """A softmax of another operator set, and an argument too many, are not what the rule reads."""
    onnx = pytest.importorskip("onnx", reason="the files are changed with it")

    path = tmp_path / "model.onnx"

    def write(kind, change):
        model = onnx.load(folder / "quantized-qoperator" / "squeezenet-u8u8.onnx")
        change(next(node for node in model.graph.node if node.op_type == kind))
        onnx.save(model, path)

    def refused(kind, change):
        write(kind, change)
        with pytest.raises(lenet_cpp.Unsupported, match=rf"this operator \([\w.]*{kind}, which"):
            lenet_cpp.Predictor(path, engine="native", precision="int8")

    def of_set(number, node):
        (opset,) = (each for each in node.attribute if each.name == "opset")
        opset.i = number

    refused("QLinearSoftmax", partial(of_set, 12))
    write("QLinearSoftmax", partial(of_set, 13))  # the first in which it is along one axis
    lenet_cpp.Predictor(path, engine="native", precision="int8").close()
    refused("QLinearConv", lambda node: node.input.append(node.input[0]))
