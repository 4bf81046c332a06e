"""lenet-cpp predict-many for many images: every input and output, and going on after any death."""

import csv
import json
import os
import signal
import sys
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from digit_photos import photo
from lenet_cpp import BackendFailure, BadInput, classify, predict
from lenet_cpp.bulk import parts as bulk
from lenet_cpp.bulk import tables
from lenet_cpp.bulk.batch_predictor import BatchPredictor
from lenet_cpp.cli import main
from lenet_cpp.data.mnist import read_idx, write_idx
from predictor_cases import close
from snippets import run_command

ROWS = 300


@pytest.fixture(scope="module")
def pixels(root):
    return read_idx(root / "data/mnist_sample/t10k-images-idx3-ubyte.gz")[:ROWS].copy()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, pixels):
    """The same digits as .npy, IDX and .parquet files, and three photos of each of eight."""
    folder = tmp_path_factory.mktemp("inputs")
    np.save(folder / "digits.npy", pixels)
    write_idx(folder / "digits-idx3-ubyte.gz", pixels)
    (folder / "tables").mkdir()
    for number in range(3):
        part = slice(100 * number, 100 * number + 100)
        table = pa.table(
            {
                "id": np.arange(ROWS)[part],
                "image": pa.array([row.tobytes() for row in pixels[part]]),
                "tensor": pa.FixedShapeTensorArray.from_numpy_ndarray(pixels[part]),
            }
        )
        name = folder / "tables" / f"{number}.parquet"
        parquet.write_table(table, name, row_group_size=(15, 40, 100)[number])
    (folder / "photos").mkdir()
    for number in range(24):
        photo(pixels[number], "paper", number).save(folder / "photos" / f"{number:02}.jpg")
    return folder


def read_results(path):
    """Return the rows of a result, as dictionaries of Python's types."""
    if path.suffix == ".parquet":
        return parquet.read_table(path).to_pylist()
    with path.open(newline="", errors="surrogateescape") as file:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in file]
        types = {"row": int, "id": int, "class_id": int, "probability": float}
        types |= dict.fromkeys(("logits", "probabilities", "class_ids"), json.loads)
        return [
            {
                name: None if value == "" else types.get(name, str)(value)
                for name, value in row.items()
            }
            for row in csv.DictReader(file)
        ]


def run(*arguments):
    return main(["predict-many", "--bundled", *map(str, arguments)])


@pytest.mark.parametrize(
    ("name", "more", "suffix"),
    [
        ("digits.npy", ["--workers=2"], ".csv"),
        ("digits-idx3-ubyte.gz", [], ".jsonl"),
        ("tables", ["--keep=id"], ".csv"),
        ("tables", ["--keep=id", "--workers=1"], ".jsonl"),
        ("tables", ["--column=tensor", "--keep=id", "--workers=1"], ".parquet"),
        ("tables/*.parquet", ["--part-rows=7"], ".csv"),
    ],
)
def test_tables(inputs, tmp_path, pixels, capsys, name, more, suffix):
    """Each row once, in order, with what predict gives for it."""
    target = tmp_path / f"out{suffix}"
    options = ["--output", target, "--logits", "--probabilities", "--part-rows=64", *more]
    assert run(inputs / name, *options) == 0
    assert f"predictions for {ROWS} images" in capsys.readouterr().out
    rows = read_results(target)
    assert close(np.array([row["logits"] for row in rows], np.float32), predict(pixels))
    expected = classify(pixels)
    assert [row["label"] for row in rows] == expected.labels
    assert [row["class_id"] for row in rows] == list(map(int, expected.labels))
    shares = expected.probabilities
    assert np.abs(np.array([row["probabilities"] for row in rows]) - shares).max() < 1e-5
    assert np.abs(np.array([row["probability"] for row in rows]) - shares.max(axis=1)).max() < 1e-5
    assert {row["model"] for row in rows} == {BatchPredictor().checksum}
    assert {row["error"] for row in rows} == {None}
    places = [(row["file"], row["row"]) for row in rows]
    if "tables" in name:
        files = [str(inputs / "tables" / f"{number}.parquet") for number in range(3)]
        assert places == [(file, row) for file in files for row in range(100)]
    else:
        assert places == [(str(inputs / name), row) for row in range(ROWS)]
    if "--keep=id" in more:
        assert [row["id"] for row in rows] == list(range(ROWS))
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_image_files(inputs, tmp_path):
    """A folder, a glob and a list, with the results of classify."""
    photos = sorted((inputs / "photos").iterdir())
    (inputs / "list.txt").write_text("".join(f"photos/{path.name} 7\n" for path in photos))
    expected = classify(photos)
    for name, suffix in zip(("photos", "photos/*.jpg", "list.txt"), tables.SUFFIXES, strict=True):
        target = tmp_path / f"out{suffix}"
        assert run(inputs / name, "--workers=1", "--part-rows=5", "--output", target) == 0
        rows = read_results(target)
        assert [row["file"] for row in rows] == list(map(str, photos))
        assert [row["label"] for row in rows] == expected.labels
        found = np.array([row["probability"] for row in rows])
        assert np.abs(found - expected.probabilities.max(axis=1)).max() < 1e-5


@pytest.mark.parametrize("suffix", tables.SUFFIXES)
def test_an_image_in_which_nothing_is_found_is_no_error(tmp_path, suffix):
    """A network that marks the classes whose pixel is bright: none, the second, two of them."""
    onnx = pytest.importorskip("onnx")
    node, of = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    nodes = [
        node("Flatten", ["x"], ["flat"]),
        node("Sigmoid", ["flat"], ["shares"]),
        node("Greater", ["shares", "least"], ["bright"]),
        node("Cast", ["bright"], ["y"], to=onnx.TensorProto.INT64),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "marks",
        [of("x", onnx.TensorProto.FLOAT, ["N", 1, 1, 3])],
        [of("y", onnx.TensorProto.INT64, ["N", 3])],
        [onnx.numpy_helper.from_array(np.array(0.6, np.float32), "least")],
    )
    model = tmp_path / "marks.onnx"
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]), model
    )
    images = np.array([[0, 0, 0], [0, 1, 0], [1, 0, 1]], np.float32)
    np.save(tmp_path / "images.npy", images.reshape(3, 1, 1, 3))
    target = tmp_path / f"out{suffix}"
    command = ["predict-many", model, tmp_path / "images.npy", "--workers=1", "--output", target]
    assert main([*map(str, command)]) == 0
    rows = read_results(target)
    assert [row["error"] for row in rows] == [None] * 3
    assert [row["class_id"] for row in rows] == [None, 1, 0]
    assert [row["class_ids"] for row in rows] == [[], [1], [0, 2]]


JUNK = {
    "empty.png": b"",
    "text.jpg": b"this is no picture",
    "half.png": None,
    'a "quoted", name\n.png': b"\x89PNG\r\n\x1a\n",
}


def test_skip_errors(inputs, tmp_path, capsys):
    """Junk costs itself alone: it is in the result, once, with what is wrong."""
    folder = tmp_path / "many"
    folder.mkdir()
    for path in (inputs / "photos").iterdir():
        (folder / path.name).symlink_to(path)
    Image.fromarray(np.zeros((50, 50), np.uint8)).save(folder / "half.png")
    JUNK["half.png"] = (folder / "half.png").read_bytes()[:40]
    for name, content in JUNK.items():
        (folder / name).write_bytes(content)
    listed = tmp_path / "list.txt"
    names = [path.name for path in folder.iterdir() if "\n" not in path.name]
    listed.write_text("\n".join(f"many/{name}" for name in [*names, "missing.png"]))
    everything = folder, set(JUNK)
    for suffix, (source, bad) in {
        ".csv": everything,
        ".jsonl": everything,
        ".parquet": (listed, {*names, "missing.png"} & {*JUNK, "missing.png"}),
    }.items():
        target = tmp_path / f"out{suffix}"
        command = [source, "--part-rows=4", "--workers=2", "--output", target]
        assert run(*command, "--skip-errors") == 0
        captured = capsys.readouterr()
        assert f"{len(bad)} of {24 + len(bad)} images could not be classified" in captured.err
        assert len(captured.err.splitlines()) == 1
        rows = read_results(target)
        count = Counter(row["file"].rpartition("/")[2] for row in rows)
        assert (set(count.values()), len(count)) == ({1}, 24 + len(bad))
        wrong = {row["file"].rpartition("/")[2]: row for row in rows if row["error"]}
        assert set(wrong) == bad
        assert {(row["class_id"], row["label"], row["probability"]) for row in wrong.values()} == {
            (None, None, None)
        }
    assert "missing.png" in wrong["missing.png"]["error"]


def test_a_bad_row_stops_and_the_command_goes_on_without_it(tmp_path, pixels, capsys):
    table = pa.table({"image": [row.tobytes() for row in pixels[:99]] + [b"junk"]})
    parquet.write_table(table, tmp_path / "in.parquet", row_group_size=10)
    target = tmp_path / "out.parquet"
    command = [tmp_path / "in.parquet", "--part-rows=10", "--workers=1", "--output", target]
    assert run(*command) == 5
    assert "in.parquet[99]: " in capsys.readouterr().err
    assert not target.exists()
    assert run(*command, "--skip-errors") == 0
    assert "images to " in (said := capsys.readouterr().out)
    assert "90 of them in an earlier run" in said
    rows = read_results(target)
    assert [row["row"] for row in rows] == list(range(100))
    assert [row["row"] for row in rows if row["error"]] == [99]


# It dies just before a file gets its name: the file is complete but for that, or only half of it.
DYING = """
import os, pathlib, signal
real = pathlib.Path.replace
def replace(self, target):
    mark = pathlib.Path(os.environ["MARK"])
    final = pathlib.Path(target)
    again = os.environ["WHO"] == "always"
    if final.name == os.environ["AT"] and (again or not mark.exists()):
        assert self.is_file() and not final.exists()
        with mark.open("a") as file:
            parts = [each for each in os.listdir(final.parent) if each.startswith("part-")]
            file.write(f"{len(parts)}\\n")
        if os.environ["WHO"] == "writer":
            os.truncate(self, self.stat().st_size // 2)
        if os.environ["WHO"] == "driver":
            os.kill(os.getppid(), signal.SIGKILL)
        if os.environ["WHO"] == "interrupted":
            os.kill(os.getppid(), signal.SIGINT)
            import time; time.sleep(60)
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, target)
pathlib.Path.replace = replace
"""


@pytest.fixture
def dying(tmp_path, inputs):
    """Run the command so that one of its processes dies; give its exit status and what it said."""
    (tmp_path / "sitecustomize.py").write_text(DYING)

    def start(who, at, target):
        variables = {"WHO": who, "AT": at, "MARK": str(tmp_path / "mark")}
        command = [
            sys.executable,
            "-m",
            "lenet_cpp",
            "predict-many",
            "--bundled",
            inputs / "digits.npy",
            "--logits",
        ]
        command += ["--part-rows=20", "--workers=2", "--output", target]
        variables |= {"PYTHONPATH": str(tmp_path)}
        done = run_command(*command, env=os.environ | variables)
        return done.returncode, done.stdout + done.stderr

    return start


@pytest.mark.parametrize(
    ("who", "status", "suffix"),
    [
        ("worker", 0, ".parquet"),
        ("writer", 0, ".csv"),
        ("driver", -signal.SIGKILL, ".parquet"),
        ("interrupted", 130, ".csv"),
        ("joining driver", -signal.SIGKILL, ".parquet"),
        ("always", 8, ".csv"),
    ],
)
def test_going_on_after_a_death(dying, tmp_path, pixels, who, status, suffix):
    """Whoever dies, in the middle: the same command ends with each row once."""
    target = tmp_path / f"out{suffix}"
    at = target.name if who == "joining driver" else f"part-000007{suffix}"
    found, said = dying(who, at, target)
    assert found == status, said
    assert "Traceback" not in said
    assert ("repeat the command to continue" in said) == (who == "interrupted")
    parts = list(map(int, (tmp_path / "mark").read_text().split()))
    if who == "always":
        assert len(parts) == 3
        assert "3 processes ended with code -9" in said
    elif who != "joining driver":  # some of the fifteen parts were there, and one was not
        assert len(parts) == 1
        assert 1 <= parts[0] < 15
    if status:
        assert not target.exists()
        journal = (tmp_path / f"{target.name}.parts" / "journal.jsonl").read_text().splitlines()
        assert 1 < len(journal) < 16 or who == "joining driver"
        found, said = dying("nobody", "", target)
        assert (found, "in an earlier run" in said) == (0, True), said
    rows = read_results(target)
    assert [row["row"] for row in rows] == list(range(ROWS))
    assert close(np.array([row["logits"] for row in rows], np.float32), predict(pixels))
    assert not (tmp_path / f"{target.name}.parts").exists()


def test_journal(tmp_path, inputs, pixels):
    """What a crash leaves of it is used, and what belongs to other work is refused."""
    target = tmp_path / "out.jsonl"
    folder = tmp_path / "out.jsonl.parts"
    arguments = ([inputs / "digits.npy"], target)

    def stop_after(parts):
        def report(_total, _done):
            seen = []

            def one(rows):
                seen.append(rows)
                if len(seen) > parts:
                    raise KeyboardInterrupt

            return one

        with pytest.raises(KeyboardInterrupt):
            bulk.predict_all(BatchPredictor(), *arguments, workers=1, part_rows=50, start=report)

    def damages(_total, _done):
        path = folder / "part-000000.jsonl"
        return lambda _rows: path.write_text(path.read_text().replace(": ", ":  ", 1))

    stop_after(4)
    with (folder / "journal.jsonl").open("a") as file:
        file.write('{"part": 5, "ro')  # the power failed
    with pytest.raises(BadInput, match="another input"):
        bulk.predict_all(BatchPredictor(), [inputs / "digits-idx3-ubyte.gz"], target, part_rows=50)
    with pytest.raises(BadInput, match="another outputs"):
        bulk.predict_all(BatchPredictor(), *arguments, outputs=["class_id"], part_rows=50)
    flipped = folder / "part-000001.jsonl"
    flipped.write_text(flipped.read_text().replace('"class_id": ', '"class_id": 1'))
    done = bulk.predict_all(BatchPredictor(), *arguments, workers=2, part_rows=50)
    assert (done.rows, done.skipped, done.resumed) == (ROWS, 0, 150)
    rows = read_results(target)
    assert [row["class_id"] for row in rows] == predict(pixels).argmax(axis=1).tolist()
    stop_after(1)
    with pytest.raises(BackendFailure, match=r"part-000000\.jsonl was changed since"):
        bulk.predict_all(BatchPredictor(), *arguments, workers=1, part_rows=50, start=damages)
    assert read_results(target) == rows  # those of the run before
    part = '{"part": 0, "rows": 50, "skipped": 0, "sha256": ""'
    nested = "[" * 100_000
    begin = '{"input": "'
    lines = [
        f'{begin}x"}}\n{part}, "worker": 1}}',
        f'{begin}x"}}\n{part.replace("50", chr(34) + "many" + chr(34))}}}',
        f'{begin}x"}}\n{part.replace("50", "true")}}}',
        f'{begin}x"}}\n{part.replace("50", "-1")}}}',
        f'{begin}x"}}\n{part.replace("50", "5.5")}}}',
        f'{begin}x"}}\n{part.replace("0,", "[0],", 1)}}}',
        f'{begin}x"}}\n{part}, "examples": 7}}',
        f'{begin}x"}}\n{part[:-2]}null}}',
        f"{begin}{nested}",
        f'{begin}x"}}\n[]\n' * 3,
        begin + "x" * (5 << 20),
    ]
    foreign = ["[]\n{}", f"1\n{part}}}", f"\n{part}}}", f"{{}}\n{part}}}", nested, "my notes"]
    for journal in (*lines, *foreign):
        content = f"{journal}\n".encode()
        (folder / "journal.jsonl").write_bytes(content)
        with pytest.raises(BadInput, match=r"damaged, or another (version|program) wrote it"):
            bulk.predict_all(BatchPredictor(), *arguments, part_rows=50)
        assert (folder / "journal.jsonl").read_bytes() == content
    busy = bulk._journal(tmp_path / "busy.jsonl.parts", {"input": "x"})
    with busy, pytest.raises(BadInput, match="another process"):
        bulk.predict_all(BatchPredictor(), arguments[0], tmp_path / "busy.jsonl")


def make_foreign(tmp_path, kind):
    """Put something that is not ours in the way of the parts; return what must stay."""
    parts, old = tmp_path / "out.csv.parts", tmp_path / ".out.csv.parts.old"
    other = tmp_path / "other"
    other.mkdir()
    mine = other / "mine.txt"
    if kind in {"folder", "folder of trash", "files of parts without a journal"}:
        folder = old if kind == "folder of trash" else parts
        folder.mkdir()
        mine = folder / ("part-000000.csv" if "parts" in kind else "mine.txt")
    elif kind.startswith("link"):
        (old if "trash" in kind else parts).symlink_to(other)
    elif kind == "link to nothing":
        parts.symlink_to(tmp_path / "nothing")
    elif kind == "file":
        mine = parts
    else:
        parts.mkdir()
        (parts / "journal.jsonl").write_text('{"input": "a"}\n')
        if kind == "own folder with a foreign file":
            mine = parts / "mine.txt"
        elif kind == "own folder with a folder":
            (parts / "part-000001.csv").mkdir()
            mine = parts / "part-000001.csv" / "mine.txt"
        else:
            (parts / "journal.jsonl").unlink()
            how = kind.removeprefix("journal that is a ")
            mine = parts / "part-000007.csv"
            if how == "fifo":
                os.mkfifo(parts / "journal.jsonl")
            elif how == "folder":
                (parts / "journal.jsonl").mkdir()
            elif how == "link":
                (parts / "journal.jsonl").symlink_to(other / "mine.txt")
            else:
                (parts / "journal.jsonl").symlink_to("/dev/zero")
    mine.write_text("the user's")
    return mine


@pytest.mark.parametrize("way", ["command", "function"])
@pytest.mark.parametrize(
    "kind",
    [
        "folder",
        "folder of trash",
        "link",
        "link of trash",
        "file",
        "files of parts without a journal",
        "own folder with a foreign file",
        "own folder with a folder",
        "journal that is a fifo",
        "journal that is a folder",
        "journal that is a link",
        "journal that is a device",
    ],
)
def test_nothing_is_removed_that_is_not_ours(tmp_path, inputs, capsys, monkeypatch, kind, way):
    mine = make_foreign(tmp_path, kind)
    before = sorted(tmp_path.rglob("*"))
    # Before anything is computed.
    monkeypatch.setattr(bulk, "_results", lambda *_: pytest.fail("it was computed"))
    target = tmp_path / "out.csv"
    if way == "command":
        assert run(inputs / "digits.npy", "--output", target) == 5
        said = capsys.readouterr().err
        assert ".parts" in said
        assert "move or remove it" in said
        assert said.count("\n") == 1
    else:
        with pytest.raises(BadInput, match="move or remove it"):
            bulk.predict_all(BatchPredictor(), [inputs / "digits.npy"], target)
    assert mine.read_text() == "the user's"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_foreign_file_that_comes_meanwhile_stays(tmp_path, inputs):
    target, folder = tmp_path / "out.csv", tmp_path / "out.csv.parts"

    def puts(_total, _done):
        (folder / "mine.txt").write_text("the user's")
        return lambda _rows: None

    bulk.predict_all(BatchPredictor(), [inputs / "digits.npy"], target, workers=1, start=puts)
    assert len(read_results(target)) == ROWS
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in left} == {"out.csv", "mine.txt"}


def test_what_a_killed_run_leaves_is_ours(tmp_path, inputs):
    """It may be killed at any step of making and of removing the folder."""
    target, folder = tmp_path / "out.csv", tmp_path / "out.csv.parts"
    trash = tmp_path / ".out.csv.parts.old"
    arguments = (BatchPredictor(), [inputs / "digits.npy"], target)
    bulk.predict_all(*arguments, workers=1)
    expected = target.read_bytes()
    for place in (folder, trash):
        for files in ((), ("journal.jsonl",), ("part-000001.csv", "journal.jsonl")):
            place.mkdir()
            for name in files:
                (place / name).write_text('{"input": "a"}\n' if "journal" in name else "half a li")
            if files[1:]:
                (place / ".part-000000.0123456789ab.csv").touch()
            bulk.predict_all(*arguments, workers=1)
            assert target.read_bytes() == expected
            assert {path.name for path in tmp_path.iterdir()} == {"out.csv"}
    folder.mkdir()
    (folder / "journal.jsonl").touch()  # killed before its first line
    bulk.predict_all(*arguments, workers=1)
    assert not folder.exists()


def test_a_folder_as_the_output(tmp_path, inputs):
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(BadInput, match="is a folder"):
        bulk.predict_all(BatchPredictor(), [inputs / "digits.npy"], tmp_path / "out.csv")
    assert not (tmp_path / "out.csv.parts").exists()


def write_damaged_parquet(path, place):
    """Write a table whose name or text at a place is not UTF-8."""
    images = pa.array([bytes(784)] * 3, pa.binary())
    # Arrow writes no text that is not UTF-8: these four bytes are replaced in the file.
    texts = pa.array(["good", "XXXX", "good"])
    names = ["image", "note", "YYYY"]
    table = pa.table([images, texts, texts], names=names)
    parquet.write_table(table, path, compression="none", use_dictionary=False)
    content = path.read_bytes()
    old = {"name": b"YYYY", "text": b"XXXX"}[place]
    # The copy of the schema in Arrow's form is base64, and is left out.
    metadata = parquet.read_metadata(path).metadata
    assert old in content
    if place == "name":
        table = table.replace_schema_metadata(None)
        with parquet.ParquetWriter(path, table.schema, store_schema=False, compression="none") as w:
            w.write_table(table)
        content = path.read_bytes()
    assert metadata is None or place == "text" or old in content
    path.write_bytes(content.replace(old, b"\xff\xfe\xfd\xfc"))


@pytest.mark.parametrize("suffix", tables.SUFFIXES)
def test_names_and_texts_that_are_not_utf8(tmp_path, capsys, suffix):
    write_damaged_parquet(tmp_path / "name.parquet", "name")
    for more in ((), ("--keep=note",), ("--column=nothing",)):
        assert run(tmp_path / "name.parquet", "--output", tmp_path / f"a{suffix}", *more) == 5
        said = capsys.readouterr().err
        assert "name.parquet" in said
        assert "UTF-8" in said
        assert said.count("\n") == 1
    write_damaged_parquet(tmp_path / "text.parquet", "text")
    name = tmp_path / "text.parquet"
    assert run(name, "--output", tmp_path / f"b{suffix}") == 0
    assert len(read_results(tmp_path / f"b{suffix}")) == 3
    capsys.readouterr()
    status = run(name, "--output", tmp_path / f"c{suffix}", "--keep=note")
    said = capsys.readouterr().err
    if suffix == ".parquet":  # hands on the bytes that are there
        assert status == 0, said
    else:
        assert (status, "'note' holds text that is not UTF-8" in said) == (5, True), said
    # As a column of paths they are names of files, of which this one is not there.
    status = run(name, "--output", tmp_path / f"d{suffix}", "--column=note", "--skip-errors")
    assert status == 5
    rows = read_results(tmp_path / f"d{suffix}")
    assert [row["class_id"] for row in rows] in ([None] * 3, [""] * 3)
    assert all("cannot read" in row["error"] for row in rows)


def test_paths_that_are_not_utf8(tmp_path, pixels):
    """In a column of text, a path has the bytes of the file's name."""
    name = os.fsencode(tmp_path) + b"/\xff.png"
    Image.fromarray(pixels[0]).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(os.fsdecode(name))
    strings = pa.array([name], pa.binary()).view(pa.string())
    found = BatchPredictor(kind="path").columns(strings)
    assert (
        found["class_id"].tolist()
        == BatchPredictor().columns([name.decode("utf-8", "surrogateescape")])["class_id"].tolist()
    )
    np.save(os.fsdecode(os.fsencode(tmp_path) + b"/\xfe.npy"), pixels[:2])
    for suffix in tables.SUFFIXES:
        target = tmp_path / f"out{suffix}"
        assert run(os.fsdecode(os.fsencode(tmp_path) + b"/\xfe.npy"), "--output", target) == 0
        assert len(read_results(target)) == 2


def test_no_memory_is_an_error_of_ours(tmp_path, inputs, monkeypatch):
    def fails(*_args, **_more):
        raise MemoryError

    monkeypatch.setattr(np, "concatenate", fails)
    with pytest.raises(BackendFailure, match="out of memory while predicting"):
        bulk.predict_all(BatchPredictor(), [inputs / "digits.npy"], tmp_path / "o.csv", workers=1)
    monkeypatch.undo()
    monkeypatch.setattr(np, "full", fails)
    with pytest.raises(BackendFailure, match="out of memory while predicting"):
        BatchPredictor()({"image": np.zeros((2, 28, 28), np.uint8)})
    with pytest.raises(BackendFailure, match="out of memory while predicting"):
        BatchPredictor().columns(np.zeros((2, 28, 28), np.uint8))


def test_wrong_usage(tmp_path, inputs, capsys, monkeypatch):
    digits, target = inputs / "digits.npy", tmp_path / "out.parquet"
    for arguments, status, why in (
        ([digits], 2, "Missing option '-o' / '--output'"),
        ([digits, "--output", tmp_path / "out.json"], 2, "does not end in .parquet, .csv, .jsonl"),
        ([digits, "--output", target, "--on=slurm"], 2, "expected ray"),
        ([digits, "--output", target, "--on=ray://127.0.0.1:1"], 8, "no cluster at 127.0.0.1:1"),
        ([digits, "--output", target, "--on=spark://nowhere"], 8, "no cluster at nowhere"),
        ([digits, "--output", target, "--engine=python"], 2, "'python' is not one of 'auto', 'na"),
        ([inputs / "tables", "--column=picture", "--output", target], 5, "no column 'picture'"),
        ([inputs / "tables", "--keep=label", "--output", target], 5, "--keep label"),
        ([digits, "--keep=id", "--output", target], 5, "only .parquet files have further columns"),
        ([tmp_path / "no.npy", "--output", target], 3, "no.npy"),
        ([inputs / "nothing*", "--output", target], 3, "nothing"),
    ):
        try:
            found = run(*arguments)
        except SystemExit as error:
            found = error.code
        assert (found, why in (said := capsys.readouterr().err)) == (status, True), said
    assert not [*tmp_path.glob("out*")]
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert run(digits, "--output", target) == 6
    assert "needs the Python package pyarrow: pip install" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY", b"\0\0\x08\x03\0\0\0\x05\0\0\0\x1c\0\0\0\x1c", b"PAR1junkPAR1"]
)
@pytest.mark.parametrize("name", ["in.npy", "in-idx3-ubyte", "in.parquet"])
def test_damaged_tables(tmp_path, capsys, name, content):
    (tmp_path / name).write_bytes(content)
    assert run(tmp_path / name, "--output", tmp_path / "out.csv") == 5
    assert name in capsys.readouterr().err


def test_empty_tables(tmp_path):
    np.save(tmp_path / "in.npy", np.zeros((0, 28, 28), np.uint8))
    parquet.write_table(pa.table({"image": pa.array([], pa.binary())}), tmp_path / "in.parquet")
    for name in ("in.npy", "in.parquet"):
        for suffix in tables.SUFFIXES:
            assert run(tmp_path / name, "--output", tmp_path / f"out{suffix}") == 0
            assert read_results(tmp_path / f"out{suffix}") == []
    assert "class_id" in parquet.read_schema(tmp_path / "out.parquet").names


def test_tables_that_end_in_row_groups_without_rows(tmp_path, pixels):
    table = pa.table({"image": pa.array([row.tobytes() for row in pixels[:3]])})
    for rows in (0, 3):
        with parquet.ParquetWriter(tmp_path / "in.parquet", table.schema) as writer:
            for count in (rows, 0, 0):
                writer.write_table(table[:count])
        assert run(tmp_path / "in.parquet", "--output", tmp_path / "out.csv", "--part-rows=3") == 0
        assert len(read_results(tmp_path / "out.csv")) == rows
