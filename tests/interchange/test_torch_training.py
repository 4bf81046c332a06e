"""Training in PyTorch, and the record of it."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from support import torch_outputs

import lenet_cpp
from lenet_cpp.cli import torch_train as command
from lenet_cpp.data.images import Pipeline
from lenet_cpp.data.mnist import Mnist, Split, read_mnist_dir, sample_dir
from lenet_cpp.errors import BadInput
from lenet_cpp.formats.training_record import record_path, write_torch_record
from lenet_cpp.interchange.torch import models as torch_models
from lenet_cpp.interchange.torch import state as interchange
from lenet_cpp.interchange.torch.models import create_network, save_state
from lenet_cpp.training.recipes import RECIPES

torch = pytest.importorskip("torch", reason="an extra: pip install '.[torch]'")
training = pytest.importorskip("lenet_cpp.interchange.torch.training")

ROOT = Path(__file__).parents[2]


def test_training_is_repeatable(tmp_path, capsys):
    """Other seeds give other parameters: test_torch.py."""
    files = [tmp_path / "first.prm", tmp_path / "again.prm"]
    for number, file in enumerate(files):
        torch.manual_seed(number)
        assert command.main(["--epochs=1", "--batch-size=200", "--seed=1", "-o", str(file)]) == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    record = json.loads(record_path(files[0]).read_text(encoding="utf-8"))
    # Five standard deviations above guesses of 10 classes. A seed gives 570, another one 693.
    assert record["test"]["correct"] > 147
    assert f"({record['test']['correct']} of 1000)" in capsys.readouterr().out


@pytest.mark.parametrize("progress", [True, False])
def test_progress_is_shown_where_it_is_wanted(capsys, progress):
    whole = read_mnist_dir(sample_dir(), kind="sample")
    mnist = replace(whole, train=Split(whole.train.images[:64], whole.train.labels[:64]))
    recipe = replace(training.default_recipe("lenet"), epochs=1)
    settings = training.TorchTrainingSettings("lenet", recipe)
    training.train(settings, mnist, report=lambda _: None, progress=progress)
    assert ("batch/s" in capsys.readouterr().err) == progress


@pytest.mark.nightly
def test_resnet18_learns_and_brings_its_image_size(tmp_path, monkeypatch):
    whole = read_mnist_dir(sample_dir(), kind="sample")
    train_part = Split(whole.train.images[:640], whole.train.labels[:640])
    test_part = Split(whole.test.images[:200], whole.test.labels[:200])
    mnist = Mnist(train_part, test_part, "other", whole.folder, whole.md5)
    settings = training.TorchTrainingSettings("resnet18", training.default_recipe("resnet18"))
    result = training.train(settings, mnist, report=lambda _: None)
    assert result.accuracy.fraction > 0.7  # chance is a half
    assert not result.net.training
    path = tmp_path / "net.prm"
    save_state(result.net, path)
    write_torch_record(path, result.record)
    manifest = interchange.import_state(
        path, "resnet18", tmp_path / "out", formats=("json",)
    ).manifest
    assert manifest.classes == ("even", "odd")
    assert manifest.image_size == 32
    assert manifest.accuracy.top1 == result.accuracy.fraction
    # what the exported model makes of pictures of digits
    labels = test_part.labels[:50] % 2
    pipeline = Pipeline.load(tmp_path / "out" / "preprocess.json")
    images = pipeline.batch([Image.fromarray(digit) for digit in test_part.images[:50]])
    with lenet_cpp.Predictor(model_dir=tmp_path / "out") as predictor:
        found = predictor.run(images).argmax(axis=1)
    expected = torch_outputs(result.net, images).argmax(axis=1)
    assert (found == expected).all()
    assert (found == labels).mean() > 0.7


@pytest.mark.parametrize("key", ["image_size", "img_size"])
def test_records_bring_the_image_size_by_its_older_name_too(tmp_path, key):
    path = tmp_path / "net.prm"
    save_state(create_network("resnet18", seed=1), path)
    write_torch_record(path, {key: 64})
    network = torch_models.get("resnet18")
    assert interchange.read_source(path, network, None, None, weights_only=True).shape[1:] == (
        64,
        64,
    )


def test_recipes_of_paddle_that_have_more_are_refused():
    training.TorchTrainingSettings(recipe=RECIPES["guide"])
    training.TorchTrainingSettings(recipe=replace(RECIPES["guide"], batch_size=2))
    with pytest.raises(BadInput, match="the recipe best is not for PyTorch"):
        training.TorchTrainingSettings(recipe=RECIPES["best"])


def test_ctrl_c_leaves_nothing(tmp_path):
    # What a shell starts in the background ignores SIGINT, and so would the child.
    command_line = ["env", "--default-signal=INT", sys.executable, ROOT / "scripts/torch_train.py"]
    child = subprocess.Popen(
        [*command_line, "--epochs", "99", "-o", "net.prm"],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in child.stdout:
            if line.startswith("epoch"):
                break
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=60)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 130, errors
    assert errors.splitlines()[-1] == "torch_train.py: interrupted"
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("--epochs -1", 5, "epochs must be at least 1"),
        ("--batch-size 1", 5, "the batch size must be at least 2"),
        ("--device nowhere", 5, "cannot train on 'nowhere'"),
        ("--model resnet18 --img_size 8", 5, "takes images of size 32 to 1024, not 8"),
        ("--data-dir missing", 3, "there is no folder missing"),
        ("--epochs 0 -o .", 5, "is a folder"),
        ("--lr 1e30 --epochs 1", 5, "lower the learning rate"),
    ],
)
def test_refusals(tmp_path, monkeypatch, capsys, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    assert command.main(arguments.split()) == code
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert list(tmp_path.iterdir()) == []
