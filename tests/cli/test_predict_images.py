"""From image files to results: sources, batches, tables, files, images that cannot be read."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from classifiers import MAINS, ROOT, answers, fails, run, write_digits
from PIL import Image

import lenet_cpp
from lenet_cpp.cli import main
from lenet_cpp.data import images


@pytest.fixture
def predict(lenet):
    """predict.py with the bundled model, in this process."""

    def call(*arguments):
        return MAINS["predict"]([*map(str, arguments), f"--model_dir={lenet.exported}"])

    return call


def test_image_sources(predict, lenet, tmp_path):
    """In the order that find_images gives them (tests/data)."""
    first, second, *_ = sorted(lenet.photos.iterdir())
    listed, target = tmp_path / "list.txt", tmp_path / "out.json"
    listed.write_text(f"{second}\n{first} 7\n")
    sources = [first, listed, lenet.photos / "00[0].png"]
    assert predict("-i", *sources, f"--output={target}") == 0
    found = [one["file"] for one in json.loads(target.read_text())]
    assert found == list(map(str, (first, second, first, first)))


@pytest.mark.parametrize("name", ["predict", "py_infer"])
def test_the_bundled_model_is_the_default(name, tmp_path):
    labels = write_digits(tmp_path / "digits", 4)
    target = tmp_path / "found.json"
    assert MAINS[name]([str(tmp_path / "digits"), "--topk=1", f"--output={target}"]) == 0
    assert [label for [(_, label, _)] in answers(target).values()] == list(map(str, labels))


def test_table(predict, lenet, capsys):
    assert predict(f"-i={lenet.photos}", "--topk=2") == 0
    captured = capsys.readouterr()
    header, _, *rows = captured.out.splitlines()
    assert header.split() == ["file", "class_id", "label", "probability"]
    assert len(rows) == 16
    assert rows[0].split()[0] == str(lenet.photos / "000.png")
    assert len(rows[1].split()) == 3  # the second class of the same image
    probabilities = lenet_cpp.classify(np.asarray(Image.open(lenet.photos / "000.png")))
    assert float(rows[0].split()[-1]) == pytest.approx(probabilities.probabilities.max(), abs=6e-7)
    assert captured.err == ""  # no progress bar where there is no terminal


def test_output_files_say_the_same(predict, lenet, tmp_path, capsys):
    labels, names = tmp_path / "labels.txt", ["nought, zero", *"ABCDEFGHI"]
    labels.write_text("".join(f"{i} {name}\n" for i, name in enumerate(names)))
    for suffix in ("csv", "json", "jsonl"):
        output = f"--output={tmp_path / f'out.{suffix}'}"
        assert predict(f"-i={lenet.photos}", output, f"--labels={labels}", "--topk=3") == 0
    assert "wrote the predictions for 8 images" in capsys.readouterr().out
    document = json.loads((tmp_path / "out.json").read_text())
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == document
    expected = [
        {"file": image["file"], "rank": rank, **one, "error": ""}
        for image in document
        for rank, one in enumerate(image["predictions"], start=1)
    ]
    with (tmp_path / "out.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {key: str(value) for key, value in row.items()} for row in expected
        ]
    assert all(one["label"] == names[one["class_id"]] for one in expected)
    assert len(expected) == 24
    for image in document:
        values = [-one["probability"] for one in image["predictions"]]
        assert values == sorted(values)


def test_json_into_a_pipe(predict, lenet, tmp_path):
    os.mkfifo(tmp_path / "out.json")
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit((tmp_path / "out.json").read_text)
        assert predict(f"-i={lenet.photos}", f"--output={tmp_path / 'out.json'}") == 0
        assert len(json.loads(read.result(60))) == 8


def test_file_names_of_any_bytes(lenet, tmp_path):
    names = ['a "b", c.png', "new\nline.png", "\udcff.png", "日本.png", "\x1b[31m.png"]
    for name in names:
        Image.new("L", (28, 28)).save(tmp_path / name)
    for suffix in ("csv", "json", "jsonl"):
        target = tmp_path / f"out.{suffix}"
        flags = (f"--model_dir={lenet.exported}", "--topk=1", f"--output={target}")
        assert MAINS["predict"]([f"-i={tmp_path}", *flags]) == 0
    expected = sorted(str(tmp_path / name) for name in names)
    document = json.loads((tmp_path / "out.json").read_text())
    assert sorted(one["file"] for one in document) == expected
    with (tmp_path / "out.csv").open(newline="", errors="surrogateescape") as file:
        rows = list(csv.reader(file))
    assert sorted(row[0] for row in rows[1:]) == expected
    done = run("predict", f"-i={tmp_path}", f"--model_dir={lenet.exported}", "--topk=1")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2 + len(names)
    assert "\x1b" not in done.stdout


@pytest.fixture
def bad(tmp_path):
    """The second of four files: a PNG file that was cut short."""
    write_digits(tmp_path / "digits", 4)
    bad = tmp_path / "digits" / "001.png"
    bad.write_bytes(bad.read_bytes()[:100])
    return bad


def test_an_unreadable_image_alone(lenet, bad, tmp_path):
    target = tmp_path / "out.csv"
    target.write_text("as it was")
    flags = [f"--model_dir={lenet.exported}", f"--output={target}"]
    fails(5, str(bad), "predict", f"-i={bad}", *flags)
    assert target.read_text() == "as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits", "out.csv"]


@pytest.mark.parametrize("size", [1, 3])
def test_an_unreadable_image_among_others(lenet, bad, size, capsys):
    """The others are answered; the status and one line say that one was not."""
    flags = (f"--model-dir={lenet.exported}", f"-b={size}", "--topk=1")
    assert main(["predict", str(bad.parent), *flags]) == 5
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith(f"lenet-cpp: error: 1 of 4 images could not be classified: {bad} is ")
    assert line.endswith("; with --skip-errors the exit status is 0")
    rows = said.out.splitlines()[2:]
    assert [row.split()[0] for row in rows[:3]] == [
        str(bad.with_name(f"{n:03d}.png")) for n in (0, 2, 3)
    ]
    assert rows[3].startswith(f"{bad} is a damaged PNG")


@pytest.mark.parametrize("command", ["predict", "predict-many"])
def test_a_file_is_written_into_a_folder_that_there_is(command, lenet, tmp_path, capsys):
    image = str(lenet.photos / "000.png")
    for name, said in (
        (str(tmp_path / "none" / "x.csv"), f"there is no folder {tmp_path / 'none'}; create it"),
        ("~/none/x.csv", "only a shell replaces '~'"),
    ):
        assert main([command, str(lenet.exported), image, "-o", name]) == 3
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [1, 3])
def test_skip_errors(predict, bad, tmp_path, size, capsys):
    for suffix in ("csv", "json"):
        output = f"--output={tmp_path / f'out.{suffix}'}"
        flags = ("--skip_errors", output, f"-b={size}", "--topk=1", "--benchmark")
        assert predict(f"-i={bad.parent}", *flags) == 0
    error = capsys.readouterr().err
    assert (
        error.count(
            f"note: 1 of 4 images could not be classified: {bad} is a damaged PNG: it is cut short"
        )
        == 2
    )
    document = json.loads((tmp_path / "out.json").read_text())
    assert [Path(one["file"]).name for one in document] == [f"{n:03d}.png" for n in range(4)]
    assert ["error" in one for one in document] == [False, True, False, False]
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["error"]) for row in rows] == [False, True, False, False]
    # Those after it are their own, not their neighbour's.
    assert predict(f"-i={bad.with_name('002.png')}", f"--output={tmp_path / 'o.json'}") == 0
    (alone,) = answers(tmp_path / "o.json").values()
    assert document[2]["predictions"][0]["class_id"] == alone[0][0]


@pytest.mark.parametrize("name", ["predict", "py_infer"])
@pytest.mark.parametrize("file", ["lenet.pdmodel", "lenet.json", "lenet.pdiparams", "__model__"])
def test_damaged_models(name, file, lenet, tmp_path):
    """Paddle itself ends in a crash for some of these: exit codes below zero would show that."""
    separate = file == "__model__"
    folder = shutil.copytree(lenet.separate if separate else lenet.exported, tmp_path / "model")
    for path in (folder / "SHA256SUMS", folder / "manifest.json"):
        path.unlink()
    contents = (folder / file).read_bytes()
    (folder / file).write_bytes(contents[: len(contents) * 2 // 3])
    program = "lenet.pdmodel" if file.endswith("params") else file
    model = f"-d={folder}" if separate else f"-m={folder / program}"
    engine = ["--engine=python"] if name == "predict" else []
    fails(4, str(folder / file), name, f"-i={lenet.photos}", model, *engine)


def test_wrong_parameters_are_listed(lenet, tmp_path):
    import paddle

    state = paddle.load(str(lenet.params))
    state["extra.weight"] = state.pop("conv1.bias")
    state["conv2.bias"] = paddle.zeros([17])
    paddle.save(state, str(tmp_path / "wrong.pdparams"))
    flags = (f"-i={lenet.photos}", "-m=lenet", f"-p={tmp_path / 'wrong'}")
    line = fails(4, "wrong.pdparams", "infer", *flags)
    for name in ("conv1.bias", "extra.weight", "conv2.bias"):
        assert name in line


@pytest.mark.parametrize(
    ("name", "flags", "code", "said"),
    [
        ("predict", "-m=no.pdmodel", 3, "no.pdmodel"),
        ("predict", "-d=nowhere", 3, "nowhere"),
        ("infer", "-m=lenet -p=no", 3, "no.pdparams"),
        ("infer", "-m=lenet -p=PARAMS --class_dim=5", 4, "linear3"),
        ("infer", "-m=lenet -p=PARAMS --img_size=32", 5, "32"),
        ("predict", "-d=MODEL -i=no.png", 3, "no.png"),
        ("predict", "-d=MODEL --topk=11", 5, "11"),
        ("predict", "-d=MODEL --labels=no.txt", 3, "no.txt"),
        ("predict", "-d=MODEL --labels=nine.txt", 5, "nine.txt: 9 labels"),
        ("predict", "-d=MODEL --preprocess=no.json", 3, "no.json"),
        ("predict", "-d=MODEL --preprocess=large.json", 5, "[1, 28, 28]"),
        ("predict", "-m=MODEL/lenet.json --accelerator=openvino", 6, "OpenVINO"),
        ("predict", "-d=MODEL --use_tensorrt --device=gpu", 6, "device gpu: "),
        ("predict", "-d=MODEL --device=gpu:9", 6, "device gpu:9: "),
        ("predict", "-m=MODEL/lenet.json --use_mkldnn=False --engine=python", 0, ""),
    ],
)
def test_refusals(name, flags, code, said, lenet, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("nine.txt").write_text("a\n" * 9)
    images.imagenet(32).save("large.json")
    flags = flags.replace("MODEL", str(lenet.exported)).replace("PARAMS", str(lenet.params))
    assert MAINS[name]([f"-i={lenet.photos}", *flags.split()]) == code
    error = capsys.readouterr().err.splitlines()
    assert len(error) == (code != 0)
    assert said in "".join(error)


@pytest.mark.parametrize("count", [1, 2000])
def test_closed_pipe(count, lenet, tmp_path):
    """Whether what is printed fits into a buffer or not."""
    listed = tmp_path / "many.txt"
    listed.write_text(f"{lenet.photos / '000.png'}\n" * count)
    command = [sys.executable, ROOT / "scripts/predict.py", f"-i={listed}", "-b=100"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command.append(f"--model_dir={lenet.exported}")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, **pipes) as child:
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(timeout=60) == 141


def test_interrupt_leaves_nothing_half_written(lenet, tmp_path):
    listed, folder = tmp_path / "many.txt", tmp_path / "out"
    folder.mkdir()
    listed.write_text(f"{lenet.photos / '000.png'}\n" * 50_000)
    command = [sys.executable, ROOT / "scripts/predict.py", f"-i={listed}"]
    command += [f"--model_dir={lenet.exported}", f"--output={folder / 'out.jsonl'}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as child:
        deadline = time.monotonic() + 60
        # Only once something was written has the command begun to classify.
        while not any(path.stat().st_size for path in folder.iterdir()):
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=60) == 130
        assert child.stderr.read().decode() == "predict.py: interrupted\n"
    assert list(folder.iterdir()) == []
