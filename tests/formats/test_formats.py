"""Every cell of the tables in docs/formats.md."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
from paddle_formats import FORMATS, images, run

from lenet_cpp import errors, export, formats
from lenet_cpp.agreement import compare
from lenet_cpp.cli.convert_model import main
from lenet_cpp.cli.export_model import main as export_main
from lenet_cpp.inference.engine_loading import load

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("one_child")]

DOCUMENT = Path(__file__).parents[2] / "docs" / "formats.md"
# Which names each format's files have when it is written as LeNet.
VARIABLES = {f"{kind}_{i}.{part}_0" for kind, n in (("conv2d", 2), ("linear", 3)) for i in range(n)
             for part in "wb"}  # fmt: skip
FILES = {
    "pdparams": {"lenet.pdparams"},
    "persistables": VARIABLES,
    "pdmodel": {"lenet.pdmodel", "lenet.pdiparams"},
    "model-params": {"model", "params"},
    "separate": {"__model__", *VARIABLES},
    "json": {"lenet.json", "lenet.pdiparams"},
}
COMPANIONS = {"preprocess.json", "manifest.json", "SHA256SUMS"}


def table(heading):
    """The first table after a heading of the document: column title to cell, for each row."""
    text = DOCUMENT.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1]
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip().replace("`", "") for cell in row] for row in rows]
    width = next((i for i, row in enumerate(cells) if len(row) != len(cells[0])), len(cells))
    body = cells[2:width]
    found = []
    for row in body:
        if row[0] not in FORMATS:
            break
        found.append(dict(zip(cells[0], row, strict=True)))
    return found


CONVERSIONS = table("From one to the other")
READERS = table("Who reads it")
WRITERS = table("Who writes it")


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
    script, *arguments = row["command"].split()
    assert script == "scripts/convert_model.py"
    at = arguments.index("-o") + 1
    assert arguments[at] == "out"
    arguments[at] = str(tmp_path / "out")
    assert main(arguments) == 0
    assert f"({row['from']}) to {row['to']}" in capsys.readouterr().out

    written = {path.name for path in (tmp_path / "out").iterdir()}
    if row["to"] == "pdparams":
        assert written == FILES["pdparams"]
    elif row["to"] == "persistables":
        assert written == FILES["persistables"] | {"SHA256SUMS"}
    else:
        assert written - {"preprocess.json"} == FILES[row["to"]] | COMPANIONS - {"preprocess.json"}
        if row["how"] == "parameters":
            assert "preprocess.json" in written
    found = run(row["to"], tmp_path / "out", images())
    assert compare(expected, found).agrees
    if row["how"] == "kept" and row["to"] != "persistables":
        assert np.array_equal(found, run(row["from"], sources / row["from"], images()))
        names = {"separate": "__model__", "model-params": "model", "pdmodel": "lenet.pdmodel"}
        if row["to"] in names:
            program = (tmp_path / "out" / names[row["to"]]).read_bytes()
            assert program == (sources / "pdmodel" / "lenet.pdmodel").read_bytes()
    parameters = sources / "pdmodel" / "lenet.pdiparams"
    if row["to"] in {"pdmodel", "model-params", "json"}:
        name = "params" if row["to"] == "model-params" else "lenet.pdiparams"
        assert (tmp_path / "out" / name).read_bytes() == parameters.read_bytes()
    if row["to"] in {"separate", "persistables"}:
        stored = b"".join((tmp_path / "out" / name).read_bytes() for name in sorted(VARIABLES))
        assert stored == parameters.read_bytes()


ENGINES = {
    "layer (infer.py)": "dygraph",
    "executor (py_infer.py)": "executor",
    "inference engine (predict.py --engine=python)": "python",
    "lenet_cpp.Predictor": "paddle",
}


@pytest.mark.parametrize("row", READERS, ids=[row["format"] for row in READERS])
@pytest.mark.parametrize("reader", [*READERS[0]][1:])
def test_reader(row, reader, sources, expected, tmp_path, run_program):
    paths = {"model_dir": sources / row["format"]}
    reads = {"yes": True, "no": False}[row[reader]]
    if reader == "C++ program":
        np.save(tmp_path / "x.npy", images())
        output = tmp_path / "y.npy"
        flags = [f"--{name}={path}" for name, path in paths.items()]
        done = run_program(*flags, f"--input={tmp_path / 'x.npy'}", f"--output={output}")
        if not reads:
            assert done.returncode in {3, 4}
            assert re.fullmatch("lenet_infer_test: (FileNotFound|BadModel): .*\n", done.stderr)
            assert not output.exists()
            return
        assert done.returncode == 0, done.stderr
        found = np.load(output)
    else:
        if ENGINES[reader] == "dygraph":
            files = [path for path in (sources / row["format"]).iterdir() if path.is_file()]
            arguments = ("lenet", files[0])
            paths = {}
        else:
            arguments = ()
        if not reads:
            with pytest.raises((errors.BadModel, errors.FileNotFound)) as error:
                load(ENGINES[reader], *arguments, options={}, **paths)
            assert "\n" not in str(error.value)
            return
        loaded = load(ENGINES[reader], *arguments, options={}, **paths)
        found = loaded.engine.run(images())
        loaded.engine.close()
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
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES[row["format"]] | COMPANIONS


def test_train_writes_a_state_dict(tmp_path, layer):
    from lenet_cpp.formats.checkpoint import save_checkpoint

    save_checkpoint(
        tmp_path,
        "lenet",
        parameters=layer.state_dict(),
        optimizer={"step": 1},
        record={},
        save=paddle.save,
    )  # what train.py does
    assert formats.find_source(tmp_path) == formats.Source("pdparams", tmp_path / "lenet.pdparams")
    done = export.convert_model(tmp_path / "lenet", tmp_path / "out", "json", model="lenet")
    assert (done.folder / "lenet.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["nowhere", "-o", "out", "--to", "json"], 3, "nowhere is not a model"),
        (["persistables", "-o", "out", "--to", "json"], 5, "the network has to be named"),
        (["pdparams", "-o", "out", "--to", "json", "-m", "AlexNet"], 4, "does not fit"),
    ],
)
def test_commands(arguments, status, message, sources, monkeypatch, capsys):
    monkeypatch.chdir(sources)
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(f".*{message}.*\n", captured.err)
    assert not (sources / "out").exists()


def test_the_script_in_a_process_of_its_own(root, sources, tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, root / "scripts" / "convert_model.py"),
            *(sources / "separate" / "__model__", "-o", tmp_path / "out", "--to", "json"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "checked: outputs differ from the source's by at most " in done.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("model.json", "model.pdiparams", "manifest.json", "SHA256SUMS")
    }
