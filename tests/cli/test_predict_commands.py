"""predict.py, infer.py and py_infer.py, and InferenceEngine under them: three ways, one answer."""

from __future__ import annotations

import csv
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

import lenet_cpp
import shared_models
from lenet_cpp import InferenceEngine, errors, models
from lenet_cpp.cli import infer as infer_command
from lenet_cpp.cli import predict as predict_command
from lenet_cpp.cli import py_infer as py_infer_command
from lenet_cpp.data import images
from lenet_cpp.data.mnist import read_idx
from lenet_cpp.export.separate_layout import write_separate
from snippets import RUN, Snippet, read_snippets, run_snippet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "data" / "mnist_sample"
MAINS = {
    "predict": predict_command.main,
    "infer": infer_command.main,
    "py_infer": py_infer_command.main,
}
FORMATS = ("pdmodel", "json", "separate")
ENGINES = ("native", "paddle", "python", "executor")


class Case(NamedTuple):
    """A model in every form, and images for it."""

    name: str
    params: Path
    exported: Path
    separate: Path
    photos: Path
    sizes: dict[str, int]

    def files(self, format_: str) -> dict[str, Path]:
        if format_ == "separate":
            return {"model_dir": self.separate}
        (program,) = self.exported.glob("*.pdmodel")
        return {"model_file": program.with_suffix(f".{format_}")}

    def flags(self, format_: str) -> list[str]:
        return [f"--{name}={path}" for name, path in self.files(format_).items()]

    def infer_flags(self) -> list[str]:
        sizes = [f"--{name}={size}" for name, size in self.sizes.items()]
        return [f"--m={self.name}", f"--p={self.params}", *sizes]


def write_digits(folder: Path, count: int) -> list[int]:
    """Write real digits as PNG files; return what they are."""
    pixels = read_idx(SAMPLE / "t10k-images-idx3-ubyte.gz")[:count]
    folder.mkdir(exist_ok=True)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"{number:03d}.png")
    return read_idx(SAMPLE / "t10k-labels-idx1-ubyte.gz")[:count].tolist()


def write_photos(folder: Path, count: int) -> None:
    """Write smooth pictures of several sizes, so that resizing and cropping have work to do."""
    folder.mkdir()
    random = np.random.default_rng(4)
    for number in range(count):
        small = random.integers(0, 256, (5 + number, 7, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize((300 - 40 * number, 200 + 50 * number))
        picture.save(folder / f"{number}.jpg", quality=95)


def trained_lenet(separate: Path, target: Path) -> None:
    """Write the bundled model's parameters as a state dict.

    A variable's file ends in its values (float32), after a header.
    """
    import paddle

    places = {"conv": "conv2d", "linear": "linear"}
    state = models.build("lenet").state_dict()
    for name, tensor in state.items():
        layer, kind = name.split(".")
        number = int(layer[-1]) - 1
        file = separate / f"{places[layer[:-1]]}_{number}.{kind[0]}_0"
        values = np.frombuffer(file.read_bytes()[-4 * tensor.size :], np.float32)
        tensor.set_value(values.reshape(tensor.shape))
    paddle.save(state, str(target))


@pytest.fixture(scope="session")
def lenet(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Case:
    """The bundled model, trained, in every form."""
    folder = tmp_path_factory.mktemp("lenet")
    write_separate(model_dir, folder / "separate")
    trained_lenet(folder / "separate", folder / "lenet.pdparams")
    write_digits(folder / "digits", 8)
    return Case(
        "lenet", folder / "lenet.pdparams", model_dir, folder / "separate", folder / "digits", {}
    )


def seeded(folder: Path, name: str, **sizes: int) -> Case:
    import paddle

    from lenet_cpp import export

    params = folder / f"{name}.pdparams"
    paddle.save(models.build(name, seed=1, **sizes).state_dict(), str(params))
    export.export_model(params, folder / "exported", model=name, **sizes)
    write_separate(folder / "exported", folder / "separate")
    write_photos(folder / "photos", 3)
    return Case(name, params, folder / "exported", folder / "separate", folder / "photos", sizes)


@pytest.fixture(scope="session")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    folder = tmp_path_factory.mktemp("resnet")
    yield seeded(folder, "ResNet50_vd", img_size=64)
    shutil.rmtree(folder)  # 300 MB, which pytest would keep for the next three runs


@pytest.fixture(scope="session")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    import paddle

    folder = tmp_path_factory.mktemp("alexnet")
    params = folder / "AlexNet.pdparams"
    paddle.save(models.build("AlexNet", 10, seed=shared_models.SEED).state_dict(), str(params))
    write_photos(folder / "photos", 3)
    described = "AlexNet", 10, 224
    exports = shared_models.exported(*described), shared_models.separate(*described)
    yield Case("AlexNet", params, *exports, folder / "photos", {"class_dim": 10})
    shutil.rmtree(folder)  # 230 MB


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    return request.getfixturevalue(request.param)


def run(name: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command as a user does."""
    command = [sys.executable, str(ROOT / "scripts" / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, **options
    )


def answers(path: Path) -> dict[str, list[tuple[int, str, float]]]:
    """What a JSON file of predictions says of each image."""
    return {
        Path(found["file"]).name: [
            (one["class_id"], one["label"], one["probability"]) for one in found["predictions"]
        ]
        for found in json.loads(path.read_text())
    }


# The three ways agree


def outputs(engine: InferenceEngine, case: Case) -> np.ndarray:
    batch = engine.preprocess(sorted(case.photos.iterdir()))
    return engine.run(batch)


def assert_same(reference: np.ndarray, found: np.ndarray) -> None:
    assert reference.shape == found.shape
    assert np.ptp(reference) > 0.1  # something is there to be different
    allowed = 1e-5 * np.maximum(1, np.abs(reference))
    assert (np.abs(reference - found) <= allowed).all(), np.abs(reference - found).max()
    np.testing.assert_array_equal(reference.argmax(axis=1), found.argmax(axis=1))


@pytest.mark.parametrize("case", ["lenet", "resnet", "alexnet"], indirect=True)
def test_three_ways_agree(case: Case) -> None:
    with InferenceEngine("dygraph", **case.sizes).load_predictor(case.name, case.params) as engine:
        reference = outputs(engine, case)
        topk = engine.topk(reference)
    pairs = list(itertools.product(ENGINES, FORMATS))
    if case.name == "AlexNet":  # its 230 MB take seconds to load each time
        pairs = list(zip(ENGINES[1:], FORMATS, strict=True))
    for name, format_ in pairs:
        with InferenceEngine(name).load_predictor(**case.files(format_)) as engine:
            found = outputs(engine, case)
            assert_same(reference, found)
            ids = [[one.class_id for one in row] for row in engine.topk(found, 1)]
            assert ids == [[row[0].class_id] for row in topk]


@pytest.mark.parametrize("accelerator", ["auto", "plain", "onednn", "openvino"])
def test_accelerators_agree(lenet: Case, accelerator: str) -> None:
    with InferenceEngine("executor").load_predictor(**lenet.files("pdmodel")) as engine:
        reference = outputs(engine, lenet)
    for name in ("paddle", "python"):
        made = InferenceEngine(name, accelerator=accelerator, memory_optim=True)
        with made.load_predictor(**lenet.files("pdmodel")) as engine:
            assert_same(reference, outputs(engine, lenet))


@pytest.mark.parametrize("case", ["lenet", "resnet"], indirect=True)
def test_commands_agree(case: Case, tmp_path: Path) -> None:
    """With the whole output, through files, in this process."""
    runs = {
        "predict": case.flags("pdmodel"),
        "infer": case.infer_flags(),
        "py_infer": case.flags("separate"),
    }
    found = {}
    for name, flags in runs.items():
        target = tmp_path / f"{name}.json"
        arguments = [f"-i={case.photos}", "-b=2", "--topk=7", f"--output={target}", *flags]
        assert MAINS[name](arguments) == 0
        found[name] = answers(target)
    reference = found.pop("infer")
    assert list(reference) == [path.name for path in sorted(case.photos.iterdir())]
    for one in found.values():
        assert one.keys() == reference.keys()
        for name, expected in reference.items():
            assert one[name][0][:2] == expected[0][:2]
            by_class = {class_id: probability for class_id, _, probability in one[name]}
            for class_id, _, probability in expected:
                assert by_class.get(class_id, 0) == pytest.approx(probability, abs=1e-5)


def test_digits_are_right_in_every_process(lenet: Case, tmp_path: Path) -> None:
    truth = write_digits(tmp_path / "digits", 100)
    flags = {
        "predict": ["--engine=python", *lenet.flags("json")],
        "infer": lenet.infer_flags(),
        "py_infer": lenet.flags("json"),
    }
    found = {}
    for name, model in flags.items():
        done = run(name, "-i", tmp_path / "digits", "-b", 64, "--topk", 1, *model)
        assert done.returncode == 0, done.stderr
        rows = [line.split() for line in done.stdout.splitlines()[2:]]
        found[name] = [int(row[1]) for row in rows]
        assert [row[1] for row in rows] == [row[2] for row in rows]  # a digit's label is itself
        assert done.stderr == ""
    assert found["predict"] == found["infer"] == found["py_infer"]
    right = sum(a == b for a, b in zip(found["infer"], truth, strict=True))
    assert right >= 95


def test_outputs_are_those_of_the_bundled_predictor(lenet: Case) -> None:
    """The engine adds nothing: array in, the predictor's own numbers out."""
    predictor = lenet_cpp.Predictor(model_dir=lenet.exported)
    pixels = np.stack([np.asarray(Image.open(path)) for path in sorted(lenet.photos.iterdir())])
    with InferenceEngine().load_predictor(model_dir=lenet.exported) as engine:
        np.testing.assert_array_equal(engine.run(pixels), predictor.run(pixels))
        expected = lenet_cpp.classify(pixels)
        np.testing.assert_allclose(
            engine.probabilities(engine.run(pixels)), expected.probabilities, rtol=0, atol=1e-6
        )
        labels = [row[0].label for row in engine.topk(engine.run(pixels), 1)]
        assert labels == expected.labels


# Flags


IMAGE_FLAGS = [
    ["-i=IMAGE"],
    ["-i", "IMAGE"],
    ["-iIMAGE"],
    ["--i=IMAGE"],
    ["--i", "IMAGE"],
    ["--image_file=IMAGE"],
    ["--image_file", "IMAGE"],
    ["--image-file", "IMAGE"],
]


@pytest.mark.parametrize("flags", IMAGE_FLAGS, ids=" ".join)
def test_image_flag_as_the_guide_writes_it(
    lenet: Case, flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("L", (28, 28)).save("one.png")
    given = [flag.replace("IMAGE", "./one.png") for flag in flags]
    target = tmp_path / "out.jsonl"
    assert MAINS["predict"]([*given, f"--model_dir={lenet.exported}", f"--output={target}"]) == 0
    assert json.loads(target.read_text())["file"] == "one.png"


@pytest.mark.parametrize("style", ["-{}={}", "--{}={}", "-{} {}", "--{} {}"])
def test_model_flags_as_the_guide_writes_them(lenet: Case, style: str, tmp_path: Path) -> None:
    program = lenet.files("pdmodel")["model_file"]
    target = tmp_path / "out.json"

    def flag(name: str, value: object) -> list[str]:
        return style.format(name, value).split(" ")

    exported = [*flag("m", program), *flag("p", program.with_suffix(".pdiparams"))]
    trained = [*flag("m", "LeNet"), *flag("p", lenet.params.with_suffix(""))]
    for name, model in (("predict", exported), ("py_infer", exported), ("infer", trained)):
        arguments = [*flag("i", lenet.photos), *flag("b", 3), *model, f"--output={target}"]
        assert MAINS[name](arguments) == 0, name
        assert len(answers(target)) == 8
        target.unlink()


def test_guide_commands_with_cpu(lenet: Case, tmp_path: Path) -> None:
    """Every flag of the guide at once."""
    program = lenet.files("pdmodel")["model_file"]
    arguments = [
        f"-i={lenet.photos / '000.png'}",
        f"-m={program}",
        f"-p={program.with_suffix('.pdiparams')}",
        *("--use_gpu=0", "--use_tensorrt=False", "--ir_optim=True", "--gpu_mem=8000", "-b=1"),
        *("--enable_benchmark=False", "--model_name=LeNet", "--cpu_threads=2", "--use_mkldnn=True"),
        f"--output={tmp_path / 'out.json'}",
    ]
    assert MAINS["predict"](arguments) == 0
    d = ["-i", str(lenet.photos / "000.png"), f"--output={tmp_path / 'out2.json'}", "--use_gpu=No"]
    for model in (
        [f"--d={lenet.exported}", "--m=lenet.json", "--p=lenet.pdiparams"],
        [f"--d={lenet.exported}", f"--m={program}", f"--p={program.with_suffix('.pdiparams')}"],
        [f"-d={lenet.separate}"],
        [f"-d={lenet.separate}", "-m=__model__"],
    ):
        assert MAINS["py_infer"]([*d, *model]) == 0
        first, second = answers(tmp_path / "out.json"), answers(tmp_path / "out2.json")
        assert first["000.png"][0][0] == second["000.png"][0][0]


def test_model_and_params(lenet: Case, tmp_path: Path) -> None:
    """The names that the guide's files have."""
    program = lenet.files("pdmodel")["model_file"]
    shutil.copy(program, tmp_path / "model")
    shutil.copy(program.with_suffix(".pdiparams"), tmp_path / "params")
    target = tmp_path / "out.json"
    flags = [f"-i={lenet.photos}", "--model_name=lenet", "--topk=1", f"--output={target}"]
    found = []
    for name, more in (
        ("predict", []),
        ("predict", ["--engine=python"]),
        ("py_infer", []),
        ("py_infer", [f"-d={tmp_path}"]),
    ):
        model = [f"-m={tmp_path / 'model'}", f"-p={tmp_path / 'params'}"]
        assert MAINS[name]([*flags, *model, *more]) == 0
        found.append({key: value[0] for key, value in answers(target).items()})
    assert len(found[0]) == 8
    for others in found[1:]:
        assert others.keys() == found[0].keys()
        for key, (class_id, label, probability) in found[0].items():
            assert others[key] == (class_id, label, pytest.approx(probability, abs=1e-5))


@pytest.mark.parametrize(
    ("flags", "value"),
    [
        *((f"--use_gpu={text}", True) for text in ("1", "True", "true", "yes", "on")),
        *((f"--use-gpu {text}", False) for text in ("0", "False", "false", "no", "off")),
        ("--use_gpu", True),
        ("--use_gpu -i x", True),
        ("--use_gpu x", True),
        ("", False),
    ],
)
def test_booleans(flags: str, value: bool) -> None:
    parsed = MAINS["infer"].make_context("", ["-i=x", "-m=x", "-p=x", *flags.split()])
    assert parsed.params["use_gpu"] is value


@pytest.mark.parametrize("name", MAINS)
@pytest.mark.parametrize(
    "flags",
    [
        ["--use_gpu=maybe"],
        ["-b=0"],
        ["-b=many"],
        ["--topk=-1"],
        ["-i="],
        ["--output=result.xlsx"],
        ["--output="],
        ["--gpu_mem=-1"],
        ["--batch=3"],
    ],
    ids=" ".join,
)
def test_wrong_usage(name: str, flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    model = ["-m=lenet", "-p=x"] if name == "infer" else ["-m=x.pdmodel"]
    with pytest.raises(SystemExit) as caught:
        MAINS[name]([*model, "--use_gpu=0", "-i=x", *flags])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "error: " in line


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("predict", ["-i=x"]),
        ("py_infer", ["-i=x"]),
        ("predict", ["-i=x", "-p=x"]),
        ("infer", ["-i=x", "-m=lenet"]),
        ("infer", ["-i=x", "-p=x"]),
        ("predict", ["-m=x"]),
        ("predict", ["-i=x", "-m=x", "--use_onednn=1", "--accelerator=plain"]),
        ("predict", ["-i=x", "-m=x", "--use_onednn=0", "--accelerator=onednn"]),
    ],
)
def test_flags_that_are_missing_or_contradict(name: str, flags: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        MAINS[name](flags)
    assert caught.value.code == 2


@pytest.mark.parametrize("name", MAINS)
def test_no_gpu(name: str, lenet: Case) -> None:
    model = lenet.infer_flags() if name == "infer" else [f"--model_dir={lenet.exported}"]
    done = run(name, f"-i={lenet.photos}", *model, "--use_gpu=1")
    assert (done.returncode, done.stdout) == (6, "")
    assert len(done.stderr.splitlines()) == 1
    assert "--use_gpu" in done.stderr
    assert "CPU" in done.stderr


@pytest.mark.parametrize("flags", [["--use_tensorrt=True"], ["--use_tensorrt", "--benchmark"]])
def test_no_tensorrt(flags: list[str], lenet: Case, capsys: pytest.CaptureFixture[str]) -> None:
    assert MAINS["predict"]([f"-i={lenet.photos}", f"--model_dir={lenet.exported}", *flags]) == 6
    assert "--use_tensorrt" in capsys.readouterr().err


# Images and results


@pytest.fixture
def predict(lenet: Case) -> Callable[..., int]:
    """predict.py with the bundled model, in this process."""

    def call(*arguments: object) -> int:
        return MAINS["predict"]([*map(str, arguments), f"--model_dir={lenet.exported}"])

    return call


def test_image_sources(predict: Callable[..., int], lenet: Case, tmp_path: Path) -> None:
    first, second, *_ = sorted(lenet.photos.iterdir())
    listed = tmp_path / "list.txt"
    listed.write_text(f"{second}\n{first} 7\n")
    target = tmp_path / "out.json"
    for sources, expected in (
        ([first], [first]),
        ([second, first], [second, first]),
        ([lenet.photos], sorted(lenet.photos.iterdir())),
        ([lenet.photos / "00[01].png"], [first, second]),
        ([listed], [second, first]),
        ([first, listed], [first, second, first]),
    ):
        assert predict("-i", *sources, f"--output={target}") == 0
        assert [found["file"] for found in json.loads(target.read_text())] == list(
            map(str, expected)
        )


def test_the_batch_size_changes_nothing(
    predict: Callable[..., int], lenet: Case, tmp_path: Path
) -> None:
    found = []
    for size in (1, 3, 100):
        target = tmp_path / f"{size}.json"
        flags = ("--accelerator=plain", "--topk=10", f"--output={target}")
        assert predict(f"-i={lenet.photos}", f"-b={size}", *flags) == 0
        found.append(answers(target))
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for name, expected in found[0].items():
            assert [one[:2] for one in other[name]][:1] == [one[:2] for one in expected][:1]
            values = [sorted(one[2] for one in found_)[-1] for found_ in (other[name], expected)]
            assert values[0] == pytest.approx(values[1], abs=1e-6)


def test_table(
    predict: Callable[..., int], lenet: Case, capsys: pytest.CaptureFixture[str]
) -> None:
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


def test_output_files_say_the_same(
    predict: Callable[..., int], lenet: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = tmp_path / "labels.txt"
    names = ["nought, zero", *"ABCDEFGHI"]
    labels.write_text("".join(f"{i} {name}\n" for i, name in enumerate(names)))
    for suffix in ("csv", "json", "jsonl"):
        flags = (
            f"--output={tmp_path / 'deep' / f'out.{suffix}'}",
            f"--labels={labels}",
            "--topk=3",
        )
        assert predict(f"-i={lenet.photos}", *flags) == 0
    assert "wrote the predictions for 8 images" in capsys.readouterr().out
    document = json.loads((tmp_path / "deep/out.json").read_text())
    lines = (tmp_path / "deep/out.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == document
    with (tmp_path / "deep/out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = [
        (image["file"], rank, one["class_id"], one["label"], one["probability"])
        for image in document
        for rank, one in enumerate(image["predictions"], start=1)
    ]
    assert [
        (
            row["file"],
            int(row["rank"]),
            int(row["class_id"]),
            row["label"],
            float(row["probability"]),
        )
        for row in rows
    ] == expected
    assert {row["error"] for row in rows} == {""}
    assert all(one[3] == names[one[2]] for one in expected)
    assert len(expected) == 24
    for image in document:
        values = [one["probability"] for one in image["predictions"]]
        assert values == sorted(values, reverse=True)


def test_file_names_of_any_bytes(lenet: Case, tmp_path: Path) -> None:
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


def write_bad_image(folder: Path) -> Path:
    """A PNG file that was cut short."""
    good = folder / "000.png"
    bad = folder / "001.png"
    bad.write_bytes(good.read_bytes()[:100])
    return bad


def test_an_unreadable_image_stops(lenet: Case, tmp_path: Path) -> None:
    write_digits(tmp_path / "digits", 4)
    bad = write_bad_image(tmp_path / "digits")
    target = tmp_path / "out.csv"
    target.write_text("as it was")
    flags = [f"--model_dir={lenet.exported}", f"--output={target}"]
    done = run("predict", f"-i={tmp_path / 'digits'}", *flags)
    assert done.returncode == 5
    assert len(done.stderr.splitlines()) == 1
    assert str(bad) in done.stderr
    assert target.read_text() == "as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits", "out.csv"]


@pytest.mark.parametrize("size", [1, 3])
def test_skip_errors(
    predict: Callable[..., int], tmp_path: Path, size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    write_digits(tmp_path / "digits", 4)
    bad = write_bad_image(tmp_path / "digits")
    found = {}
    for suffix in ("csv", "json"):
        target = tmp_path / f"out.{suffix}"
        flags = ("--skip_errors", f"--output={target}", f"-b={size}", "--topk=1", "--benchmark")
        assert predict(f"-i={tmp_path / 'digits'}", *flags) == 5
        found[suffix] = target.read_text()
    error = capsys.readouterr().err
    assert "1 of 4 images" in error
    assert error.count(f"skipped {bad}") == 2
    document = json.loads(found["json"])
    assert [Path(one["file"]).name for one in document] == [f"{n:03d}.png" for n in range(4)]
    assert ["error" in one for one in document] == [False, True, False, False]
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [bool(row["error"]) for row in rows] == [False, True, False, False]
    # Those after it are their own, not their neighbour's.
    assert predict(f"-i={tmp_path / 'digits' / '002.png'}", f"--output={tmp_path / 'o.json'}") == 0
    (alone,) = json.loads((tmp_path / "o.json").read_text())
    assert document[2]["predictions"][0]["class_id"] == alone["predictions"][0]["class_id"]


def test_nothing_but_unreadable_images(
    predict: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.png").touch()
    target = tmp_path / "out.json"
    flags = ("--skip_errors", "--benchmark", f"--output={target}")
    assert predict(f"-i={tmp_path}", *flags) == 5
    assert "1 of 1 images" in capsys.readouterr().err
    assert [one["file"] for one in json.loads(target.read_text())] == [str(tmp_path / "empty.png")]


# What is refused


def damaged(source: Path, folder: Path, name: str) -> Path:
    """A copy of a model's folder without checksums, one of its files cut short."""
    shutil.copytree(source, folder)
    for path in (folder / "SHA256SUMS", folder / "manifest.json"):
        path.unlink()
    contents = (folder / name).read_bytes()
    (folder / name).write_bytes(contents[: len(contents) * 2 // 3])
    return folder


@pytest.mark.parametrize("name", ["predict", "py_infer"])
@pytest.mark.parametrize("file", ["lenet.pdmodel", "lenet.json", "lenet.pdiparams", "__model__"])
def test_damaged_models(name: str, file: str, lenet: Case, tmp_path: Path) -> None:
    """Paddle itself ends in a crash for some of these: exit codes below zero would show that."""
    source = lenet.separate if file == "__model__" else lenet.exported
    folder = damaged(source, tmp_path / "model", file)
    program = "lenet.pdmodel" if file.endswith("params") else file
    model = [f"-d={folder}"] if file == "__model__" else [f"-m={folder / program}"]
    engine = ["--engine=python"] if name == "predict" else []
    done = run(name, f"-i={lenet.photos}", *model, *engine)
    assert done.returncode == 4, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert str(folder / file) in done.stderr


def test_wrong_parameters_are_listed(lenet: Case, tmp_path: Path) -> None:
    import paddle

    state = paddle.load(str(lenet.params))
    state["extra.weight"] = state.pop("conv1.bias")
    state["conv2.bias"] = paddle.zeros([17])
    paddle.save(state, str(tmp_path / "wrong.pdparams"))
    done = run("infer", f"-i={lenet.photos}", "-m=lenet", f"-p={tmp_path / 'wrong'}")
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    for name in ("wrong.pdparams", "conv1.bias", "extra.weight", "conv2.bias"):
        assert name in done.stderr


@pytest.mark.parametrize(
    ("name", "flags", "code", "said"),
    [
        ("predict", ["-m=no.pdmodel"], 3, "no.pdmodel"),
        ("predict", ["-d=nowhere"], 3, "nowhere"),
        ("predict", ["-d=nowhere", "-m=x"], 3, "nowhere"),
        ("py_infer", ["-d=nowhere"], 3, "nowhere"),
        ("predict", ["-m=no.pdmodel", "--engine=python"], 3, "no.pdmodel"),
        ("infer", ["-m=lenet", "-p=no"], 3, "no.pdparams"),
        ("infer", ["-m=ResNet99", "-p=no"], 5, "ResNet99"),
        ("infer", ["-m=lenet", "-p=PARAMS", "--class_dim=5"], 4, "linear3"),
        ("infer", ["-m=lenet", "-p=PARAMS", "--img_size=32"], 5, "32"),
        ("predict", ["-d=MODEL", "-i=no.png"], 3, "no.png"),
        ("predict", ["-d=MODEL", "--topk=11"], 5, "11"),
        ("predict", ["-d=MODEL", "--labels=no.txt"], 3, "no.txt"),
        ("predict", ["-d=MODEL", "--labels=nine.txt"], 5, "9 labels"),
        ("predict", ["-d=MODEL", "--preprocess=no.json"], 3, "no.json"),
        ("predict", ["-d=MODEL", "--preprocess=large.json"], 5, "[1, 28, 28]"),
        ("predict", ["-m=MODEL/lenet.json", "--accelerator=openvino"], 6, "OpenVINO"),
        ("predict", ["-m=MODEL/lenet.json", "--use_mkldnn=False", "--engine=python"], 0, ""),
    ],
)
def test_refusals(
    name: str,
    flags: list[str],
    code: int,
    said: str,
    lenet: Case,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nine.txt").write_text("a\n" * 9)
    images.imagenet(32).save("large.json")
    known = {"MODEL": str(lenet.exported), "PARAMS": str(lenet.params)}
    for word, path in known.items():
        flags = [flag.replace(word, path) for flag in flags]
    assert MAINS[name]([f"-i={lenet.photos}", *flags]) == code
    error = capsys.readouterr().err.splitlines()
    assert len(error) == (code != 0)
    assert said in "".join(error)


def test_json_with_openvino_in_python(lenet: Case) -> None:
    with pytest.raises(lenet_cpp.Unsupported, match="OpenVINO"):
        InferenceEngine("python", accelerator="openvino").load_predictor(**lenet.files("json"))


@pytest.mark.parametrize("count", [1, 2000])
def test_closed_pipe(count: int, lenet: Case, tmp_path: Path) -> None:
    """Whether what is printed fits into a buffer or not."""
    listed = tmp_path / "many.txt"
    listed.write_text(f"{lenet.photos / '000.png'}\n" * count)
    command = [sys.executable, ROOT / "scripts/predict.py", f"-i={listed}", "-b=100"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        [*command, f"--model_dir={lenet.exported}"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(timeout=60) == 141


def test_interrupt_leaves_nothing_half_written(lenet: Case, tmp_path: Path) -> None:
    listed = tmp_path / "many.txt"
    listed.write_text(f"{lenet.photos / '000.png'}\n" * 50_000)
    folder = tmp_path / "out"
    command = [sys.executable, ROOT / "scripts/predict.py", f"-i={listed}"]
    with subprocess.Popen(
        [*command, f"--model_dir={lenet.exported}", f"--output={folder / 'out.jsonl'}"],
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stderr is not None
        deadline = time.monotonic() + 60
        # Only once something was written has the command begun to classify.
        while not (folder.is_dir() and any(path.stat().st_size for path in folder.iterdir())):
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=60) == 130
        assert child.stderr.read().decode() == "predict.py: interrupted\n"
    assert list(folder.iterdir()) == []


# What is beside a model


def bare_copy(source: Path, folder: Path) -> Path:
    """A model as somebody else's export would leave it: nothing but program and parameters."""
    shutil.copytree(source, folder)
    for name in ("SHA256SUMS", "manifest.json", "preprocess.json"):
        (folder / name).unlink(missing_ok=True)
    return folder


def test_preprocessing_has_to_be_known(
    lenet: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = bare_copy(lenet.exported, tmp_path / "bare")
    flags = [f"-i={lenet.photos}", f"--model_dir={folder}", f"--output={tmp_path / 'o.json'}"]
    assert MAINS["predict"](flags) == 3
    error = capsys.readouterr().err
    assert "preprocess.json" in error
    assert "--model_name" in error
    assert MAINS["predict"]([*flags, "--model_name=lenet"]) == 0
    images.digit().save(tmp_path / "mine.json")
    assert MAINS["predict"]([*flags, f"--preprocess={tmp_path / 'mine.json'}"]) == 0
    assert MAINS["predict"]([*flags, "--model_name=mine"]) == 5  # no such model
    images.digit().save(folder / "preprocess.json")
    assert MAINS["predict"]([*flags, "--model_name=mine"]) == 0  # needed for the report alone


def test_a_changed_preprocess_json_is_noticed(resnet: Case, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for path in resnet.exported.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "preprocess.json").unlink()
    images.imagenet(64).save(folder / "preprocess.json")
    text = (folder / "preprocess.json").read_text()
    assert text == (resnet.exported / "preprocess.json").read_text()
    (folder / "preprocess.json").write_text(text.replace("0.485", "0.486"))
    engine = InferenceEngine(accelerator="plain").load_predictor(model_dir=folder)
    with engine, pytest.raises(lenet_cpp.BadModel, match=r"preprocess\.json"):
        engine.preprocess(resnet.photos / "0.jpg")
    given = InferenceEngine(preprocess=folder / "preprocess.json", accelerator="plain")
    with given.load_predictor(model_dir=folder) as engine:
        changed = engine.preprocess(resnet.photos / "0.jpg")
    with InferenceEngine(accelerator="plain").load_predictor(model_dir=resnet.exported) as engine:
        assert (engine.preprocess(resnet.photos / "0.jpg") != changed).any()


INFERENCE_YML = """\
PreProcess:
  transform_ops:
  - ResizeImage:
      resize_short: 73
  - CropImage:
      size: 64
  - NormalizeImage:
      scale: 1.0/255.0
      mean: [0.485, 0.456, 0.406]
      std: [0.229, 0.224, 0.225]
      order: ''
  - ToCHWImage:
"""


def test_inference_yml_beside_the_model(resnet: Case, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("inference.pdmodel", "inference.pdiparams"):
        (folder / name).symlink_to(resnet.exported / name)
    (folder / "inference.yml").write_text(INFERENCE_YML)
    with InferenceEngine(accelerator="plain").load_predictor(model_dir=folder) as engine:
        found = engine.preprocess(resnet.photos / "1.jpg")
    with InferenceEngine(accelerator="plain").load_predictor(model_dir=resnet.exported) as engine:
        expected = engine.preprocess(resnet.photos / "1.jpg")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def with_softmax(tmp_path_factory: pytest.TempPathFactory, lenet: Case) -> Path:
    from lenet_cpp import export

    folder = tmp_path_factory.mktemp("softmax") / "model"
    export.export_model(lenet.params, folder, model="lenet", softmax=True)
    return folder


@pytest.mark.parametrize("format_", ["pdmodel", "json"])
@pytest.mark.parametrize("bare", [False, True])
def test_softmax_is_applied_once(
    format_: str, bare: bool, with_softmax: Path, lenet: Case, tmp_path: Path
) -> None:
    """Known from the manifest; without one seen from the program."""
    image = lenet.photos / "000.png"
    expected = lenet_cpp.classify(np.asarray(Image.open(image))).probabilities
    for source in (with_softmax, lenet.exported):
        folder = bare_copy(source, tmp_path / source.name) if bare else source
        made = InferenceEngine(model_name="lenet", accelerator="plain")
        with made.load_predictor(folder / f"lenet.{format_}") as engine:
            found = engine.probabilities(engine.run(engine.preprocess(image)))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    with made.load_predictor(with_softmax / f"lenet.{format_}") as engine:
        assert engine.run(engine.preprocess(image)).sum() == pytest.approx(1, abs=1e-5)


# Models that take images of any size


@pytest.fixture(scope="module")
def any_size(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """A layer of Paddle, and the folder that it was exported to, for images of 40 x 40."""
    import paddle
    from paddle import nn, pir_utils

    paddle.seed(1)
    net = nn.Sequential(
        nn.Conv2D(3, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2D(8, 16, 3, padding=1),
        nn.AdaptiveAvgPool2D(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    )
    net.eval()
    folder = tmp_path_factory.mktemp("any size")
    spec = [paddle.static.InputSpec([None, 3, None, None], "float32", name="x")]
    for guard in (pir_utils.DygraphPirGuard, pir_utils.DygraphOldIrGuard):
        with guard():
            static = paddle.jit.to_static(net, input_spec=spec, full_graph=True)
            paddle.jit.save(static, str(folder / "open"))
    images.imagenet(40).save(folder / "preprocess.json")
    return net, folder


@pytest.mark.parametrize("format_", ["pdmodel", "json"])
@pytest.mark.parametrize("engine", ["auto", "paddle", "python", "executor"])
def test_images_of_any_size(
    engine: str, format_: str, any_size: tuple[Any, Path], resnet: Case
) -> None:
    import paddle

    net, folder = any_size
    with InferenceEngine(engine).load_predictor(folder / f"open.{format_}") as loaded:
        assert loaded.input_shape == (-1, 3, -1, -1)
        prepared = loaded.preprocess(sorted(resnet.photos.iterdir()))
        assert prepared.shape == (3, 3, 40, 40)
        random = np.random.default_rng(1)
        for x in (prepared, random.random((2, 3, 33, 57), np.float32)):
            expected = net(paddle.to_tensor(x)).numpy()
            np.testing.assert_allclose(loaded.run(x), expected, rtol=0, atol=1e-5)
        np.testing.assert_array_equal(loaded.run(x[0]), loaded.run(x[:1]))
        for wrong in ((2, 4, 33, 57), (33, 57), (2, 3, 0, 57)):
            with pytest.raises(lenet_cpp.BadInput, match=r"expected shape \[N, 3, H, W\]"):
                loaded.run(np.zeros(wrong))


def test_commands_with_images_of_any_size(
    any_size: tuple[Any, Path], resnet: Case, tmp_path: Path
) -> None:
    _, folder = any_size
    for name in ("predict", "py_infer"):
        done = run(name, f"-i={resnet.photos}", f"-d={folder}", "--topk=1")
        assert (done.returncode, done.stderr) == (0, "")
        assert len(done.stdout.splitlines()) == 2 + 3
    bare = bare_copy(folder, tmp_path / "bare")
    flags = [f"--model-dir={bare}", "--formats=json", "--accelerators=plain", "--batch-sizes=3"]
    verified = run("verify", *flags)
    assert verified.returncode == 3
    assert "--preprocess" in verified.stderr
    verified = run("verify", *flags, f"--preprocess={folder / 'preprocess.json'}")
    assert verified.returncode == 0, verified.stderr
    pytest.importorskip("paddle2onnx", reason="export_onnx.py needs it")
    target = tmp_path / "open.onnx"
    exported = run("export_onnx", folder / "open.json", f"--output={target}")
    assert exported.returncode == 0, exported.stderr
    x = np.random.default_rng(1).random((2, 3, 33, 57), np.float32)
    with lenet_cpp.Predictor(folder / "open.json") as ours, lenet_cpp.Predictor(target) as theirs:
        assert theirs.input_spec.shape == (-1, 3, -1, -1)
        np.testing.assert_allclose(ours.run(x), theirs.run(x), rtol=0, atol=1e-5)


# InferenceEngine


def test_template_steps(lenet: Case) -> None:
    engine = InferenceEngine()
    assert engine.load_predictor(*lenet.files("pdmodel").values()) is engine
    image = engine.preprocess(lenet.photos / "000.png")
    assert (image.shape, image.dtype) == ((1, 1, 28, 28), np.float32)
    output = engine.run(image)
    class_id, probability = engine.postprocess(output)
    expected = lenet_cpp.classify(np.asarray(Image.open(lenet.photos / "000.png")))
    assert type(class_id) is int
    assert type(probability) is float
    assert str(class_id) == expected.labels[0]
    assert probability == pytest.approx(float(expected.probabilities.max()), abs=1e-6)
    with Image.open(lenet.photos / "001.png") as opened:
        several = engine.preprocess(
            [lenet.photos / "000.png", str(lenet.photos / "001.png"), opened]
        )
    np.testing.assert_array_equal(several[1], several[2])
    for wrong in (3, None, [None], []):
        with pytest.raises(lenet_cpp.BadInput):
            engine.preprocess(wrong)
    with pytest.raises(lenet_cpp.BadInput, match="topk"):
        engine.postprocess(engine.run(several))
    assert [len(row) for row in engine.topk(engine.run(several))] == [5, 5, 5]
    engine.close()
    engine.close()
    with pytest.raises(lenet_cpp.BadInput, match="load_predictor"):
        engine.run(image)


def test_topk_from_the_definition(lenet: Case) -> None:
    engine = InferenceEngine(labels=list("abcdefghij")).load_predictor(model_dir=lenet.exported)
    logits = np.array([[0, 3, 1, 3, -2, 0, 0, 0, 0, 50]], np.float32)
    with engine:
        (row,) = engine.topk(logits, 3)
        assert [(one.class_id, one.label) for one in row] == [(9, "j"), (1, "b"), (3, "d")]
        exponentials = np.exp(logits.astype(np.float64))
        expected = exponentials[0, [9, 1, 3]] / exponentials.sum()
        np.testing.assert_allclose([one.probability for one in row], expected, rtol=1e-6)
        assert engine.postprocess(logits[0]) == (9, pytest.approx(1.0))
        for k in (0, 11):
            with pytest.raises(lenet_cpp.BadInput, match="classes"):
                engine.topk(logits, k)
        with pytest.raises(lenet_cpp.BadInput, match="outputs"):
            engine.topk(np.zeros((0, 10), np.float32))


@pytest.mark.parametrize("name", ["paddle", "python", "executor", "dygraph"])
def test_arrays_are_checked_in_every_engine(name: str, lenet: Case) -> None:
    engine = InferenceEngine(name)
    model = ("lenet", lenet.params) if name == "dygraph" else lenet.files("json").values()
    zeros = np.zeros((2, 1, 28, 28))
    with engine.load_predictor(*model):
        assert engine.run(zeros).shape == (2, 10)
        assert engine.run(zeros[:, :, ::-1]).dtype == np.float32
        for wrong in (zeros[:, :, 1:], zeros.astype(int), "zeros", np.full_like(zeros, np.nan)):
            with pytest.raises(lenet_cpp.BadInput):
                engine.run(wrong)
        with pytest.raises(lenet_cpp.BadInput, match="at least one"):
            engine.run(zeros[:0])
        assert engine.run(zeros).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("paddle ", {}, "unknown engine"),
        ("dygraph", {"threads": 2}, "threads"),
        ("executor", {"accelerator": "plain"}, "accelerator"),
        ("python", {"threads": 0}, "threads"),
        ("python", {"accelerator": "fast"}, "accelerator"),
        ("paddle", {"accelerator": "fast"}, "accelerator"),
        ("paddle", {"class_dim": 3}, "number of classes"),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], said: str, lenet: Case) -> None:
    model = ("lenet", lenet.params) if name == "dygraph" else lenet.files("json").values()
    with pytest.raises(errors.BadInput, match=said):
        InferenceEngine(name, **options).load_predictor(*model)


def test_static_mode_is_left_as_it_was(lenet: Case) -> None:
    import paddle

    with InferenceEngine("executor").load_predictor(model_dir=lenet.separate) as engine:
        before = paddle.get_flags("FLAGS_enable_pir_api")
        engine.run(np.zeros((1, 1, 28, 28)))
        assert paddle.in_dynamic_mode()
        assert paddle.get_flags("FLAGS_enable_pir_api") == before
        assert float(paddle.ones([2]).sum()) == 2


def test_threads_take_turns(lenet: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from lenet_cpp.models.paddle_inference_engine import PaddleInferenceEngine

    inside = 0
    original = PaddleInferenceEngine.run

    def watched(self: PaddleInferenceEngine, batch: np.ndarray) -> np.ndarray:
        nonlocal inside
        assert inside == 0
        inside += 1
        time.sleep(0.01)
        output = original(self, batch)
        inside -= 1
        return output

    paths = sorted(lenet.photos.iterdir())
    monkeypatch.setattr(PaddleInferenceEngine, "run", watched)
    with InferenceEngine("python").load_predictor(model_dir=lenet.exported) as engine:
        expected = [engine.run(engine.preprocess(path)) for path in paths]
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(lambda path: engine.run(engine.preprocess(path)), paths * 2))
    np.testing.assert_array_equal(np.concatenate(found), np.concatenate(expected * 2))


def test_predict_imports_no_paddle(lenet: Case) -> None:
    code = (
        "import sys\nfrom lenet_cpp.cli.predict import main\n"
        f"assert main(['-i={lenet.photos}', '--model_dir={lenet.exported}', '--benchmark']) == 0\n"
        "sys.exit('paddle' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_labels_file(tmp_path: Path) -> None:
    from lenet_cpp.inference.classification import read_labels

    path = tmp_path / "labels.txt"
    for text, expected in {
        "0 tench, Tinca tinca\n1 goldfish\n": ("tench, Tinca tinca", "goldfish"),
        "tench\r\n goldfish \n\n": ("tench", "goldfish"),
        "3 doors\n5 doors\n": ("3 doors", "5 doors"),
        "0\n1\n": ("0", "1"),
        "\ufeffé\n": ("é",),
    }.items():
        path.write_text(text, encoding="utf-8")
        assert read_labels(path) == expected
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(lenet_cpp.BadInput, match="labels"):
        read_labels(path)
    path.write_text("\n")
    with pytest.raises(lenet_cpp.BadInput, match="no label"):
        read_labels(path)


# docs/predict.md


PAGE = ROOT / "docs" / "predict.md"
SNIPPETS = [snippet for snippet in read_snippets(PAGE) if snippet.language in RUN]


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory, lenet: Case, resnet: Case) -> Path:
    """A folder with everything that the page speaks of."""
    folder = tmp_path_factory.mktemp("page")
    for name, target in {
        "scripts": ROOT / "scripts",
        "inference_model/lenet": lenet.exported,
        "checkpoints/lenet/lenet.pdparams": lenet.params,
        "resnet50-vd": resnet.exported,
        "ResNet50_vd.pdparams": resnet.params,
        "photos": resnet.photos,
        "digits": lenet.photos,
        "digit.png": lenet.photos / "000.png",
        "test.jpeg": resnet.photos / "0.jpg",
    }.items():
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    return folder


@pytest.mark.parametrize("snippet", SNIPPETS, ids=[snippet.place for snippet in SNIPPETS])
def test_page(snippet: Snippet, documented: Path) -> None:
    done = run_snippet(snippet, documented, Path(sys.prefix))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    if snippet.language == "sh":  # where Paddle is kept from speaking of itself
        assert done.stderr == ""
    assert done.stdout


@pytest.mark.parametrize("name", MAINS)
def test_page_has_every_flag(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        MAINS[name](["--help"])
    flags = set(re.findall(r"(?<![\w-])--\w\w+", capsys.readouterr().out)) - {"--help", "--name"}
    page = PAGE.read_text(encoding="utf-8")
    missing = {flag for flag in flags if flag not in page}
    assert missing <= {"--model"}  # infer.py's third name for -m
