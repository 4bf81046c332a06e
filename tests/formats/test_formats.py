"""Every cell of the tables in docs/formats.md."""

import itertools
import re
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle_formats import FORMATS, images, run, run_engine

from lenet_cpp import errors, export, formats
from lenet_cpp.agreement import compare
from lenet_cpp.cli.convert_model import main
from lenet_cpp.cli.export_model import main as export_main
from snippets import printed_by

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("one_child")]

DOCUMENT = Path(__file__).parents[2] / "docs" / "formats.md"
# Which names each format's files have when it is written as LeNet.
VARIABLES = {
    f"{kind}_{i}.{part}_0"
    for kind, n in (("conv2d", 2), ("linear", 3))
    for i in range(n)
    for part in "wb"
}
FILES = {
    "pdparams": {"lenet.pdparams"},
    "persistables": VARIABLES,
    "pdmodel": {"lenet.pdmodel", "lenet.pdiparams"},
    "model-params": {"model", "params"},
    "separate": {"__model__", *VARIABLES},
    "json": {"lenet.json", "lenet.pdiparams"},
}
COMPANIONS = {"preprocess.json", "manifest.json", "SHA256SUMS"}
INFO = {"lenet.pdiparams.info"}  # of a .pdmodel whose network was built


def table(heading):
    """The first table after a heading of the document: column title to cell, for each row."""
    text = DOCUMENT.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1]
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip().replace("`", "") for cell in row] for row in rows]
    width = next((i for i, row in enumerate(cells) if len(row) != len(cells[0])), len(cells))
    body = itertools.takewhile(lambda row: row[0] in FORMATS, cells[2:width])
    return [dict(zip(cells[0], row, strict=True)) for row in body]


def conversions():
    """The page's matrix, as a row for each pair with the command to type."""
    for row in table("From one to the other"):
        for to in FORMATS:
            how, _, flag = row[to].partition(", ")
            if how:
                needs = "--model" if how == "parameters" else flag
                yield {
                    "from": row["from"],
                    "to": to,
                    "how": how,
                    "command": f"{row['SOURCE']} -o out --to {to}"
                    + f" {needs} lenet" * bool(needs),
                }


CONVERSIONS = [*conversions()]
READERS = table("What reads it")
WRITERS = table("What writes it")


def test_the_document_has_every_pair():
    assert set(formats.FORMATS) == set(FORMATS)
    pairs = [(row["from"], row["to"]) for row in CONVERSIONS]
    assert pairs == [(a, b) for a in FORMATS for b in FORMATS if a != b]
    for rows in (READERS, WRITERS):
        assert [row["format"] for row in rows] == list(FORMATS)


@pytest.mark.parametrize(
    "row", CONVERSIONS, ids=[f"{row['from']} to {row['to']}" for row in CONVERSIONS]
)
def test_conversion(row, sources, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(sources)
    arguments = row["command"].split()
    out = tmp_path / "out"
    arguments[arguments.index("out")] = str(out)
    assert main(arguments) == 0
    assert f"({row['from']}) to {row['to']}" in capsys.readouterr().out

    written = {path.name for path in out.iterdir()}
    if row["to"] == "pdparams":
        assert written == FILES["pdparams"]
    elif row["to"] == "persistables":
        assert written == FILES["persistables"] | {"SHA256SUMS"}
    else:
        more = {"preprocess.json"} | (INFO if row["to"] == "pdmodel" else set())
        assert written - more == FILES[row["to"]] | COMPANIONS - more
        if row["how"] == "parameters":
            assert "preprocess.json" in written
    found = run(row["to"], out, images())
    assert compare(expected, found).agrees
    if row["how"] == "kept" and row["to"] != "persistables":
        assert np.array_equal(found, run(row["from"], sources / row["from"], images()))
        names = {"separate": "__model__", "model-params": "model", "pdmodel": "lenet.pdmodel"}
        if row["to"] in names:
            program = (out / names[row["to"]]).read_bytes()
            assert program == (sources / "pdmodel" / "lenet.pdmodel").read_bytes()
    if row["to"] != "pdparams":  # all variables in one file, or one after the other in many
        stored = written & {"params", "lenet.pdiparams"} or VARIABLES
        parameters = (sources / "pdmodel" / "lenet.pdiparams").read_bytes()
        assert b"".join((out / name).read_bytes() for name in sorted(stored)) == parameters


ENGINES = {
    "layer (infer.py)": "dygraph",
    "executor (py_infer.py)": "executor",
    "inference engine (predict.py --engine=python)": "python",
    "lenet_cpp.Predictor": "paddle",
}


@pytest.mark.parametrize("row", READERS, ids=[row["format"] for row in READERS])
@pytest.mark.parametrize("reader", [*READERS[0]][1:])
def test_reader(row, reader, sources, expected, tmp_path, run_program):
    folder = sources / row["format"]
    assert row[reader] in {"yes", "yes: the variables", "no"}
    if reader == "C++ program":
        np.save(tmp_path / "x.npy", images())
        output = tmp_path / "y.npy"
        files = (f"--input={tmp_path / 'x.npy'}", f"--output={output}")
        done = run_program(f"--model_dir={folder}", *files)
        if row[reader] == "no":
            assert done.returncode in {3, 4}
            assert re.fullmatch("lenet_infer_test: (FileNotFound|BadModel): .*\n", done.stderr)
            assert not output.exists()
            return
        assert done.returncode == 0, done.stderr
        found = np.load(output)
    else:
        arguments, named = (), {"model_dir": folder}
        if ENGINES[reader] == "dygraph":
            arguments, named = ("lenet", folder), {}
        if row[reader] == "no":
            with pytest.raises((errors.BadModel, errors.FileNotFound)) as error:
                run_engine(ENGINES[reader], images(), *arguments, **named)
            assert "\n" not in str(error.value)
            return
        found = run_engine(ENGINES[reader], images(), *arguments, **named)
    assert compare(expected, found).agrees


@pytest.mark.parametrize("row", WRITERS, ids=[row["format"] for row in WRITERS])
def test_export_writes_what_the_table_says(row, sources, tmp_path, capsys):
    params = sources / "pdparams" / "lenet.pdparams"
    arguments = ["-m", "lenet", "-p", str(params), "-o", str(tmp_path / "out")]
    assert row["convert_model.py"] == "yes"  # test_conversion has a row for each
    assert (row["train.py"] == "yes") == (row["format"] == "pdparams")
    if row["export_model.py"] == "no":
        with pytest.raises(SystemExit):
            export_main([*arguments, "--format", row["format"]])
        assert "Invalid value" in capsys.readouterr().err
        return
    flags = re.fullmatch("yes: (--format .+)", row["export_model.py"])
    assert flags
    assert export_main([*arguments, *flags[1].split()]) == 0
    written = {path.name for path in (tmp_path / "out").iterdir()}
    info = INFO if row["format"] == "pdmodel" else set()
    assert written == FILES[row["format"]] | COMPANIONS | info


def test_train_writes_a_state_dict(tmp_path, layer):
    from lenet_cpp.formats.checkpoint import save_checkpoint

    state = {"parameters": layer.state_dict(), "optimizer": {"step": 1}, "record": {}}
    save_checkpoint(tmp_path, "lenet", **state, save=paddle.save)  # what train.py does
    assert formats.find_source(tmp_path) == formats.Source("pdparams", tmp_path / "lenet.pdparams")
    done = export.convert_model(tmp_path / "lenet", tmp_path / "out", "json", model="lenet")
    assert (done.folder / "lenet.json").is_file()


def test_a_wrong_command(sources, monkeypatch, capsys):
    monkeypatch.chdir(sources)
    assert main(["nowhere", "-o", "out", "--to", "json"]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(".*nowhere is not a model.*\n", captured.err)
    assert not (sources / "out").exists()


def test_the_script_in_a_process_of_its_own(root, sources, tmp_path):
    script = (sys.executable, root / "scripts" / "convert_model.py")
    arguments = (sources / "separate" / "__model__", "-o", tmp_path / "out", "--to", "json")
    said = printed_by(*script, *arguments)
    assert "checked: outputs differ from the source's by at most " in said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("model.json", "model.pdiparams", "manifest.json", "SHA256SUMS")
    }
