"""verify.py for any classifier, and its outputs recorded as reprod_log records them."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lenet_cpp
import shared_models
from lenet_cpp import errors, export, models, verify
from lenet_cpp.cli.verify import main
from lenet_cpp.data.mnist import sample_dir
from lenet_cpp.data.synthetic import made_images
from lenet_cpp.paddle_engines import records
from lenet_cpp.verify import reprod
from lenet_cpp.verify.text import report_text
from snippets import printed_by

import paddle  # isort: skip

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("narrow")]

RECORDS = {
    *(f"output_{name}_engine.npy" for name in ("training", "inference")),
    *("output_cpp_program.npy", "output_lenet_cpp.npy", "diff.txt"),
}
SMALL = {"num_classes": 7, "image_size": 64}
NARROW = {"num_classes": 6, "image_size": 64}  # of the ResNets here alone, which have fewer filters
LIGHT = "SqueezeNet1_1"  # of the registry the quickest to build and to export


@pytest.fixture
def run_verify(program, capsys):
    def run(*arguments, **more):
        status = main([*arguments, f"--program={program}", "--json"], **more)
        return status, json.loads(capsys.readouterr().out)

    return run


def read(path):
    """A record, as check scripts read it."""
    return np.load(path, allow_pickle=True).tolist()


@pytest.mark.parametrize(
    ("name", "options", "accelerators", "batches"),
    [
        ("ResNet18_vd", NARROW, "openvino,native", (1, 3)),
        pytest.param("ResNet50_vd", NARROW, "plain", (1, 3), marks=pytest.mark.nightly),
        pytest.param("AlexNet", {"num_classes": 10}, "plain", (3,), marks=pytest.mark.nightly),
    ],
)
def test_exported_classifier_agrees_in_both_formats(
    name, options, accelerators, batches, run_verify, tmp_path
):
    folder = shared_models.exported(name, options["num_classes"], options.get("image_size", 224))
    arguments = [f"--model-dir={folder}", f"--accelerators={accelerators}"]
    if len(batches) == 1:
        arguments.append(f"--batch-sizes={batches[0]}")
    status, found = run_verify(*arguments, f"--reprod-dir={tmp_path}")
    assert status == 0
    assert found["agrees"] is True
    # The manifest says of which seed the parameters are: the layer is built anew from it.
    assert found["reference"] == "dygraph"
    assert (found["data"], found["images"], found["equal_predictions"]) == (
        "synthetic images",
        3,
        3,
    )
    given = accelerators.split(",")
    wanted = {(f, a, b) for f in ("pdmodel", "json") for a in given for b in batches}
    rows = {(row["format"], row["accelerator"], row["batch_size"]) for row in found["rows"]}
    assert rows == {row for row in wanted if row[:2] != ("json", "openvino")}
    assert {path.name for path in tmp_path.iterdir()} == RECORDS
    records = {path.name: read(path) for path in tmp_path.glob("*.npy")}
    expected = trained_outputs(name, options, made_images(3))
    exponentials = np.exp(expected.astype(np.float64))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    for record in records.values():
        assert list(record) == ["class_id", "prob", "output"]
        output = record["output"]
        assert output.shape == (3, options["num_classes"])
        assert np.abs(output - expected).max() <= 1e-5 * max(1, np.abs(expected).max())
        assert record["class_id"].dtype == np.int64
        assert record["class_id"].tolist() == expected.argmax(axis=1).tolist()
        assert np.abs(record["prob"] - probabilities.max(axis=1)).max() <= 1e-5


def trained_outputs(name, options, images):
    """What the layer itself gives for images that the pipeline prepares."""
    (net := models.build(name, **options, seed=1)).eval()
    x = models.get(name).pipeline(options.get("image_size")).batch(images)
    return net(paddle.to_tensor(x)).numpy()


# Two scripts as people have them for a comparison with reprod_log, one with the package itself.
CHECK_SCRIPT = """
import sys
from reprod_log import ReprodDiffHelper

helper = ReprodDiffHelper()
inference = helper.load_info(sys.argv[1] + "/output_inference_engine.npy")
training = helper.load_info(sys.argv[1] + "/output_training_engine.npy")
helper.compare_info(inference, training)
helper.report(path=sys.argv[2], diff_method=sys.argv[3], diff_threshold=float(sys.argv[4]))
"""


class Ends(paddle.nn.Layer):
    """Ends with what a function makes of scores."""

    def __init__(self, end):
        super().__init__()
        self.end = end
        self.convolution, self.linear = paddle.nn.Conv2D(3, 4, 3), paddle.nn.Linear(4, 6)

    def forward(self, x):
        return self.end(self.linear(self.convolution(x).mean([2, 3])) * 9)


ENDS = {
    "class numbers": lambda y: paddle.argmax(y, 1),
    "class numbers first": lambda y: (paddle.argmax(y, 1, dtype="int32"), y),
    "top-k": lambda y: paddle.topk(y, 3),
    "one value": lambda y: y.max(1),
    "heads": lambda y: y.reshape([-1, 2, 3]),
    "bools and a mean": lambda y: (y > 0, y.mean(), {"z": y, "a": y.max(0)}),
}


@pytest.mark.filterwarnings("ignore:Found 'dict' in given outputs")
@pytest.mark.parametrize("end", ENDS)
def test_every_output_is_compared(end, program, tmp_path, monkeypatch):
    paddle.seed(3)
    layer = Ends(ENDS[end])
    suffix = "pdmodel" if end in {"heads", "bools and a mean"} else "json"
    shared_models.fixed_format(layer, [None, 3, 8, 8], tmp_path / "m", suffix)
    monkeypatch.setattr(verify, "load_trained_layer", lambda *_: layer)
    images = np.random.default_rng(0).random((6, 3, 8, 8), np.float32)
    how = {"program": program, "batch_sizes": (1, 3), "params": Path("trained")}
    report = verify.verify(tmp_path, images, **how)
    text = report_text(report, None, "images")
    assert report.agrees, text
    assert (report.reference, report.equal_predictions) == ("dygraph", 6)
    assert {row.case.accelerator for row in report.rows} >= {"plain", "onednn"}
    assert "DIFFERS" not in text
    assert not report.notes
    assert set(report.unavailable) <= {(suffix, "openvino"), (suffix, "native")}


@pytest.mark.filterwarnings("ignore:Found 'dict' in given outputs")
@pytest.mark.parametrize(("end", "output"), [("class numbers first", 1), ("bools and a mean", 3)])
@pytest.mark.parametrize("route", ["run_lenet_cpp", "run_program"])
def test_an_output_that_differs_in_one_route(end, output, route, program, tmp_path, monkeypatch):
    """The last ones, which are integers or bools, are compared too."""
    shared_models.fixed_format(Ends(ENDS[end]), [None, 3, 8, 8], tmp_path / "m", "json")
    images = np.random.default_rng(0).random((3, 3, 8, 8), np.float32)
    how = {"program": program, "batch_sizes": [3], "accelerators": ["plain"]}
    run = getattr(verify, route)

    def change(*arguments):
        outputs = run(*arguments)
        name = sorted(outputs, key=lambda name: outputs[name].dtype.kind != "f")[output]
        values = outputs[name].copy()
        values[-1] = 1 - values[-1].astype(int)
        return outputs | {name: values}

    assert verify.verify(tmp_path, images, **how).agrees
    monkeypatch.setattr(verify, route, change)
    report = verify.verify(tmp_path, images, **how)
    assert not report.agrees
    assert "DIFFERS" in report_text(report, None, "images")


@pytest.fixture(scope="module")
def lenet_records(program, tmp_path_factory):
    """The bundled LeNet on the training engine, and on the others with oneDNN."""
    folder = tmp_path_factory.mktemp("records")
    report = verify.verify(
        lenet_cpp.bundled_model_dir(),
        np.random.default_rng(0).random((5, 1, 28, 28), dtype=np.float32),
        program=program,
        formats=["pdmodel"],
        accelerators=["plain", "onednn"],
        batch_sizes=[5],
        training_engine=True,
        record=True,
    )
    reprod.write_records(folder, report)
    return folder, report


def check(folder, log, method, threshold):
    command = (sys.executable, "-W", "ignore", "-c", CHECK_SCRIPT, folder, log, method, threshold)
    said = printed_by(*command)
    assert log.read_text() in said
    return log.read_text()


def test_existing_check_script_reads_the_records(lenet_records, tmp_path):
    folder, report = lenet_records
    text = check(folder, tmp_path / "log", "mean", 1e-5)
    for key in ("class_id", "prob", "output"):
        assert f"{key}: " in text
    assert text.rstrip().endswith("diff check passed")
    # The row that differs more of the two was recorded: oneDNN's, whose bits are others.
    text = check(folder, tmp_path / "log", "max", 0)
    assert text.rstrip().endswith("diff check failed")
    values = [float(value) for value in re.findall(r"value: (\S+)", text)]
    assert max(values) > 0
    assert max(values) == report.largest_difference


def test_diff_report(lenet_records, program):
    folder, report = lenet_records
    text = (folder / "diff.txt").read_text()
    assert text.startswith(f"model {lenet_cpp.bundled_model_dir()}, 5 images\n")
    assert "recorded: .pdmodel, accelerator onednn, batch size 5" in text
    sections = text.split("\n\n")
    first = [section.splitlines()[0] for section in sections[1:4]]
    others = [("training", "inference_engine")]
    others += [("inference", other) for other in ("lenet_cpp", "cpp_program")]
    assert first == [f"output_{a}_engine.npy - output_{b}.npy" for a, b in others]
    training, inference = (
        read(folder / f"output_{name}_engine.npy") for name in ("training", "inference")
    )
    for key in ("class_id", "prob", "output"):
        difference = np.abs(training[key] - inference[key])
        for method in ("min", "max", "mean"):
            value = getattr(difference, method)()
            line = f"\t{method} diff: check passed: True, value: {value}\n"
            assert line in sections[1].split(f"{key}: \n")[1]
    assert sections[1].endswith("has to be within the threshold: within tolerance")
    assert sections[2].endswith("has to be the same bits: identical")
    assert sections[4] == "diff check passed\n"
    assert report.reference == "training engine .pdmodel"


@pytest.fixture
def quick():
    """Few digits, for a model that takes them."""
    return [f"--data-dir={sample_dir()}", "--images=8", "--batch-sizes=8"]


def test_different_outputs_are_a_failure_everywhere(model_dir, quick, tmp_path, run_verify):
    """Other parameters than the model was exported from."""
    paddle.save(models.build("lenet", seed=2).state_dict(), str(tmp_path / "other.pdparams"))
    arguments = [f"--model-dir={model_dir}", f"--params={tmp_path / 'other.pdparams'}", *quick]
    arguments += ["--formats=pdmodel", "--accelerators=plain"]
    status, found = run_verify(*arguments, f"--reprod-dir={tmp_path / 'records'}")
    assert status == 1
    assert found["agrees"] is False
    text = (tmp_path / "records" / "diff.txt").read_text()
    assert "check passed: False" in text
    assert text.endswith("has to be the same bits: identical\n\ndiff check failed\n")


def test_threshold(model_dir, quick, run_verify):
    arguments = [f"--model-dir={model_dir}", "--formats=json", "--accelerators=onednn", *quick]
    status, found = run_verify(*arguments)
    largest = found["largest_difference"]
    assert (status, found["tolerance"]) == (0, 1e-5)
    assert largest > 0
    status, found = run_verify(*arguments, "--threshold=1e-9")
    assert (status, found["tolerance"], found["largest_difference"]) == (1, 1e-9, largest)
    assert found["rows"][0]["verdict"] == "DIFFERS"


def test_model_that_was_not_exported(program, tmp_path, capsys):
    arguments = ["--model", "resnet18_VD", "--class_dim=7", "--img_size=32", "--seed=3"]
    arguments += [f"--program={program}", "--accelerators=plain", "--batch-sizes=3", "--layers"]
    assert main(arguments, root=tmp_path) == 0
    text = capsys.readouterr().out
    assert "ResNet18_vd was exported for this check only, with random parameters, seed 3" in text
    # Conv2D and BatchNorm2D of 8 blocks, the stem and 4 shortcuts, in both formats.
    assert len(re.findall(r"\(BatchNorm2D\) +\S*batch_norm\S* +\[3, ", text)) == 2 * 23
    assert re.search(r"^\.json +fc \(Linear\) +\S*add\S* +\[3, 7\] .*identical$", text, re.M)
    assert "DIFFERS" not in text
    assert list(tmp_path.iterdir()) == []


def test_model_named_by_its_parameters(tmp_path, run_verify):
    """The usual folders, as training and exporting leave them."""
    net = models.build(LIGHT, **SMALL, seed=4)
    trained = tmp_path / "checkpoints" / LIGHT / f"{LIGHT}.pdparams"
    trained.parent.mkdir(parents=True)
    paddle.save(net.state_dict(), str(trained))
    exported = tmp_path / "inference_model" / LIGHT
    export.export_model(trained, exported, model=LIGHT, softmax=True, **SMALL)
    arguments = [f"--model={LIGHT}", "--accelerators=plain", "--formats=json"]
    arguments += ["--batch-sizes=3", f"--reprod-dir={tmp_path / 'records'}"]
    assert run_verify(*arguments, root=tmp_path)[0] == 0
    record = read(tmp_path / "records" / "output_training_engine.npy")
    # The model ends in a softmax: its outputs are the probabilities.
    assert np.array_equal(record["prob"], record["output"].max(axis=1))
    assert np.abs(record["output"].sum(axis=1) - 1).max() < 1e-6


@pytest.mark.usefixtures("one_child")
@pytest.mark.parametrize(
    ("layout", "program_name"),
    [("separate", "__model__"), ("separate", "model"), ("model-params", "model")],
)
def test_other_layouts(layout, program_name, model_dir, quick, tmp_path, run_verify):
    folder = tmp_path / "model"
    export.convert_model(model_dir, folder, layout)
    if program_name not in {path.name for path in folder.iterdir()}:  # as older guides have it
        (folder / "__model__").rename(folder / program_name)
        for name in ("SHA256SUMS", "manifest.json"):
            (folder / name).unlink()
    status, found = run_verify(f"--model-dir={folder}", "--accelerators=openvino,onednn", *quick)
    assert status == 0
    assert [(row["format"], row["accelerator"]) for row in found["rows"]] == [(layout, "onednn")]
    unavailable = [(each["format"], each["accelerator"]) for each in found["unavailable"]]
    assert unavailable == [(layout, "openvino")]


def test_images_of_the_users_own(tmp_path, run_verify):
    folder = shared_models.exported(LIGHT, *SMALL.values())
    (tmp_path / "photos").mkdir()
    first, second, third = made_images(3)
    first.save(tmp_path / "photos" / "a.png")
    second.convert("L").save(tmp_path / "photos" / "b.bmp")
    third.save(tmp_path / "c.jpg", quality=95)
    arguments = [f"--model-dir={folder}", "--formats=json", "--accelerators=plain"]
    arguments += ["--batch-sizes=3", f"-i={tmp_path / 'photos'}", f"-i={tmp_path / 'c.jpg'}"]
    status, found = run_verify(*arguments, f"--reprod-dir={tmp_path / 'records'}")
    assert (status, found["data"], found["images"]) == (0, "image files", 3)
    record = read(tmp_path / "records" / "output_training_engine.npy")
    files = [tmp_path / "photos" / "a.png", tmp_path / "photos" / "b.bmp", tmp_path / "c.jpg"]
    expected = trained_outputs(LIGHT, SMALL, [Image.open(path) for path in files])
    assert np.abs(record["output"] - expected).max() <= 1e-5 * max(1, np.abs(expected).max())


def test_digits_as_files_for_lenet(model_dir, mnist_test, tmp_path, run_verify):
    digits = mnist_test.images[:4]
    for number, pixels in enumerate(digits):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    arguments = [f"--model-dir={model_dir}", "--formats=json", "--accelerators=plain"]
    status, found = run_verify(*arguments, f"-i={tmp_path}", f"--reprod-dir={tmp_path / 'records'}")
    assert (status, found["images"]) == (0, 4)
    record = read(tmp_path / "records" / "output_lenet_cpp.npy")
    expected = lenet_cpp.predict(digits)
    assert np.abs(record["output"] - expected).max() <= 1e-5 * np.abs(expected).max()
    _, found = run_verify(*arguments, f"-i={tmp_path}", "--images=3")
    assert found["images"] == 3


class Malicious:
    def __reduce__(self):
        return os.system, ("touch executed",)


def test_record_that_would_run_code_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "a.npy", {"class_id": Malicious()})
    with pytest.raises(errors.BadInput, match=r"a\.npy is damaged or is not a record.*system"):
        records.read_record(tmp_path / "a.npy")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "value",
    [np.zeros(3), {"a": 1}, {"a": np.array([None])}, {1: np.zeros(1)}, [np.zeros(1)], b"damaged"],
)
def test_other_files_are_refused(value, tmp_path):
    path = tmp_path / "a.npy"
    with pytest.raises(errors.FileNotFound, match="cannot read"):
        records.read_record(path)
    if isinstance(value, bytes):
        np.save(path, {"a": np.zeros(3)})
        path.write_bytes(path.read_bytes()[:-20])
    else:
        np.save(path, value)
    with pytest.raises(errors.BadInput, match="is not a record of reprod_log"):
        records.read_record(path)


def test_records_are_replaced_whole(lenet_records, tmp_path, monkeypatch):
    from reprod_log import ReprodLogger

    folder, report = lenet_records
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full_disk(self, path):
        Path(path).write_bytes(b"a part")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ReprodLogger, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        reprod.write_records(tmp_path, report)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--model=ResNet50_vdd"], 5, "did you mean ResNet50_vd"),
        (["--model=own.py:SPEC"], 3, "cannot read own.py"),
        (["--model-dir={}", "-i=nowhere.jpg"], 3, "nowhere.jpg"),
        (["--model-dir={}", "--data-dir=."], 5, "does not take digits"),
        (["--model-dir={}", "--threshold=-1"], 5, "a threshold is 0 or more"),
        (["--model-dir={}", "--threshold=nan"], 5, "a threshold is 0 or more"),
        (["--model-dir={}", "--formats=separate"], 3, "has no __model__"),
        (["--model-dir={}", "--model=lenet", "-p={params}"], 5, "lenet takes images of size 28"),
        (["--model-dir={}", "--model=SqueezeNet1_0", "-p={params}"], 4, "does not fit the model"),
    ],
)
def test_what_is_missing_or_wrong_is_one_line(
    arguments, status, message, program, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    folder = shared_models.exported(LIGHT, *SMALL.values())
    params = tmp_path / "p.pdparams"
    if "-p={params}" in arguments:
        net = models.build(LIGHT, **SMALL, seed=1)
        paddle.save(net.state_dict(), str(params))
    filled = [argument.format(folder, params=params) for argument in arguments]
    assert main([*filled, f"--program={program}"], root=tmp_path) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(f".*{message}.*\n", captured.err)


def test_made_images_are_the_same_each_time_and_differ():
    first, again = made_images(5), made_images(5)
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(np.asarray(a), np.asarray(b))
    x = models.get(LIGHT).pipeline(64).batch(first)
    assert x.shape == (5, 3, 64, 64)
    assert len({image.tobytes() for image in x}) == 5
    assert x.std() > 0.3
