"""What is not quantized, loses too much or is interrupted: the message, and no file is changed."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lenet_cpp import quantize as quantization
from lenet_cpp._base.worker import PROGRAM_DESC, call
from lenet_cpp.cli import quantize as command
from lenet_cpp.data.mnist import sample_dir
from lenet_cpp.errors import BadInput, BadModel, FileNotFound, Unsupported
from lenet_cpp.export import convert_model
from lenet_cpp.quantize import Quality, QuantizationSettings, check_settings, deployed, int8_weights
from lenet_cpp.quantize.deployed import Deployed
from quantized_models import ROOT, model_of
from shared_models import contents


def test_what_needs_the_network_says_so(made, tmp_path, residual):
    with quantization.open_source(model_dir=made / "classifier") as source:
        images = quantization.own_images(source, made / "photos")
        with pytest.raises(Unsupported, match=r"dygraph-qat builds the network again.*--model"):
            quantization.quantize(source, images, "dygraph-qat", tmp_path / "out")
    with (
        quantization.open_source(residual, model_dir=made / "classifier") as source,
        pytest.raises(Unsupported, match=r"ends in a softmax, which static-qat would leave out"),
    ):
        quantization.quantize(source, images, "static-qat", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_program_is_refused_before_the_work(tmp_path, capsys):
    target = tmp_path / "out"
    options = ("--method=static-ptq", f"--program={tmp_path / 'no'}", f"--output-dir={target}")
    assert command.main(options) == FileNotFound.exit_code
    assert f"--program {tmp_path / 'no'} does not exist" in capsys.readouterr().err
    assert not target.exists()


def test_images_at_a_time(made, tmp_path):
    """Of images without labels fewer at a time, as they are trained with a smaller rate too."""
    with quantization.open_source(model_dir=made / "classifier") as source:
        photos = quantization.own_images(source, made / "photos")
        labelled = replace(photos, labels=np.zeros(len(photos.test), np.int64))
        for images, size in ((photos, 8), (labelled, 64)):
            settings = QuantizationSettings()
            task = quantization.make_task(
                source, images, "static-ptq", settings, tmp_path, tmp_path
            )
            assert task.batch_size == size


def without_cast(stored):
    """Quantize once as the package does, but leave the weights as ``convert`` leaves them."""

    def run(tasks, **_):
        (task,) = tasks
        if not stored.exists():
            arguments = {"tasks": [asdict(task)]}
            function = f"{__file__}:quantize_without_cast"
            call(function, arguments, doing="x", variables=PROGRAM_DESC)
            shutil.copytree(task.output, stored)
        shutil.copytree(stored, task.output, dirs_exist_ok=True)

    return run


def quantize_without_cast(tasks, report):
    from lenet_cpp.quantize import int8_weights, methods

    int8_weights._cast = lambda *_: None
    methods.quantize(tasks, report)


def test_weights_left_in_float_are_refused(tmp_path, monkeypatch, sample):
    """Without that check they are refused when they are run; test_precision.py shows why."""
    monkeypatch.setattr(quantization, "run_tasks", without_cast(tmp_path / "stored"))
    with quantization.open_source() as source:
        with pytest.raises(BadModel, match=r"float32 in the program and float32 .* int8 was exp"):
            quantization.quantize(source, sample, "dygraph-ptq", tmp_path / "out")
        monkeypatch.setattr(quantization, "check_int8", lambda *_: [])
        with pytest.raises(Unsupported, match="stored as float32"):
            quantization.quantize(source, sample, "dygraph-ptq", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("values", [[0.5, 1], [1, 129], [np.nan, 1]])
def test_weights_that_are_no_integers_are_not_cast(values):
    tensor = np.asarray(values, np.float32)
    scope = SimpleNamespace(find_var=lambda _: SimpleNamespace(get_tensor=lambda: tensor))
    weight = SimpleNamespace(name="w", persistable=True, dtype="float32")
    with pytest.raises(BadModel, match="w was to be quantized, but is not made of integers"):
        int8_weights._cast(weight, scope, "m.pdmodel")


def test_a_model_that_cannot_be_run_is_reported_and_the_others_run(made, tmp_path, mnist_test):
    models = [Deployed(path, "int8") for path in (tmp_path / "a", model_of(made, "static-ptq"))]
    for route in ("paddle.inference", "native"):
        timing = {"batch_sizes": (1,), "seconds": 0.01}
        (bad, good), _ = deployed.serve(models, mnist_test.images[:2], route, **timing)
        assert isinstance(bad.error, FileNotFound), route
        assert good.error is None
        assert good.outputs.shape == (2, 10)
        assert good.seconds.keys() == {"1"}


@pytest.mark.parametrize(
    ("correct", "equal", "error", "max_drop", "refused"),
    [
        (989, 990, 0.05, None, True),
        (990, 991, 0.05, None, False),
        (994, 990, 0.05, 0.0, True),
        (989, 990, 0.05, 1.0, False),
        (995, 995, 0.6, None, True),
        (None, 500, 0.05, None, False),
        (None, 989, 0.05, 1.0, True),
        (None, 1000, 0.6, None, True),
    ],
)
def test_what_loses_too_much(correct, equal, error, max_drop, refused):
    accuracies = (None, None) if correct is None else (correct / 1000, 0.995)
    drop = (1000 - equal if correct is None else 995 - correct) / 10
    quality = Quality(1000, correct, *accuracies, equal, equal / 1000, drop, 1.0, error)
    refusal = pytest.raises(BadModel, match="nothing was written") if refused else nullcontext()
    with refusal:
        deployed.check_quality("static-ptq", quality, max_drop)


def test_bad_calibration_leaves_the_older_model(made, tmp_path, sample):
    folder = Path(shutil.copytree(made / "inference_model" / "lenet_static-ptq", tmp_path / "old"))
    before = contents(folder)
    blind = replace(sample, calibration=np.full((8, 28, 28), 1, np.uint8))
    settings = QuantizationSettings(algo="abs_max")
    refusal = pytest.raises(BadModel, match=r"static-ptq: .* more than the 0\.5 points")
    with refusal, quantization.open_source() as source:
        quantization.quantize(source, blind, "static-ptq", folder, settings)
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "give one of --method and --analyse"),
        (["--method", "magic"], 2, "is not one of"),
        (["--method", "all", "--analyse"], 2, "give one of"),
        (["--method", "all", "--plot", "x.png"], 2, "--plot goes with --analyse"),
        (["--analyse", "-o", "x"], 2, "writes no model"),
        (["--method", "all", "--calibration-images", "0"], 2, "0 is not in the range"),
        (["--method", "static-ptq", "--algo", "best"], 5, "calibrates by hist, KL, avg"),
        (["--method", "dygraph-ptq", "--algo", "mse"], 5, "not 'mse'"),
        (["--method", "static-qat", "--max-drop", "-1"], 5, "expected 0 or more"),
        (["--method", "static-ptq", "--model", "lennet"], 5, "did you mean lenet or"),
        (["--method", "static-ptq", "--model", "ResNet18"], 5, "needs its parameters"),
        (["--method", "static-ptq", "--data-dir", "no"], 3, "there is no folder no"),
        (["--method", "static-ptq", "--model-dir", "no"], 3, "no is not a model: no such files"),
        (["--method", "static-ptq", "--calibration-images", "7000"], 5, "cannot draw 7000"),
        (["--method", "static-ptq", "--params", "a", "--seed", "1"], 5, "give one"),
        (["--method", "static-ptq", "--calibration", "no"], 3, "no does not exist"),
        (["--method", "static-ptq", "--calibration", "no", "--data-dir", "no"], 5, "is MNIST"),
    ],
)
def test_refusals_of_the_command(capsys, monkeypatch, tmp_path, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    try:
        found = command.main(arguments)
    except SystemExit as ended:
        found = ended.code
    assert said in capsys.readouterr().err
    assert found == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("learning_rate", (1e-6, 1), (0, -1e-4, 1.5, np.nan)),
        ("max_drop", (0, 2.5), (-0.1, np.nan)),
        ("steps", (1,), (0,)),
    ],
)
def test_limits_of_settings(name, good, bad):
    for value in good:
        check_settings("static-ptq", QuantizationSettings(**{name: value}))
    for value in bad:
        with pytest.raises(BadInput, match=f"{name.replace('_rate', '.rate')} is .*expected"):
            check_settings("static-ptq", QuantizationSettings(**{name: value}))


def test_json_is_refused(tmp_path, model_dir):
    for name in ("lenet.json", "lenet.pdiparams"):
        shutil.copy(model_dir / name, tmp_path / name)
    message = r"lenet\.json: Paddle quantizes \.pdmodel programs only.* lenet-cpp export"
    for path in (tmp_path, tmp_path / "lenet.json"):
        with pytest.raises(Unsupported, match=message), quantization.open_source(model_dir=path):
            pass


def test_a_float_model_is_not_overwritten(tmp_path, model_dir, sample):
    folder = Path(shutil.copytree(model_dir, tmp_path / "float"))
    before = contents(folder)
    with pytest.raises(BadInput, match="holds a float model"), quantization.open_source() as source:
        quantization.quantize(source, sample, "static-ptq", folder)
    assert contents(folder) == before


def test_a_quantized_model_is_not_quantized_again_nor_made_a_state_dict(made, tmp_path):
    folder = made / "inference_model" / "lenet_static-ptq"
    with pytest.raises(BadInput, match="quantized already"):
        quantization.open_source(model_dir=folder).__enter__()
    with pytest.raises(Unsupported, match=r"lenet\.pdmodel is quantized, and the network is not"):
        convert_model(folder, tmp_path / "out", "pdparams")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("older", [True, False])
def test_ctrl_c_leaves_what_was_there(made, tmp_path, older):
    """Sent to all as a terminal does, and to the command alone as ``kill -INT`` does."""
    folder = tmp_path / "model"
    if older:
        shutil.copytree(made / "inference_model" / "lenet_static-ptq", folder)
    before = contents(folder) if older else None
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, ROOT / "scripts" / "quantize.py", "--method", "dygraph-qat"]
    command += ["--data-dir", sample_dir(), "--epochs", "1000", "--output-dir", folder]
    with subprocess.Popen(
        [*map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(scratch)},
        start_new_session=True,
    ) as process:
        try:
            end = time.monotonic() + 120
            while not any(map(begins, children(process.pid))):
                assert time.monotonic() < end, "the command did not get that far"
                time.sleep(0.05)
            assert list(folder.glob(".export-*"))
            (child,) = children(process.pid)
            (os.killpg if older else os.kill)(process.pid, signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert err == "quantize.py: interrupted\n"
    assert "wrote" not in out
    assert not Path("/proc", child).exists()
    assert (contents(folder) if folder.exists() else None) == before
    assert list(scratch.iterdir()) == []


def begins(pid):
    """Tell whether a process is the worker and has Paddle; its training takes minutes."""
    try:
        command, maps = (Path("/proc", pid, name).read_bytes() for name in ("cmdline", "maps"))
    except (FileNotFoundError, ProcessLookupError):
        return False  # it has ended; the command starts others too
    # Until a new process executes its program, its memory is that of the command.
    return b"worker_main" in command and b"libpaddle" in maps


def children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
