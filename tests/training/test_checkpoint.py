"""Checkpoints: saved as a whole, refused when damaged, read without running code."""

import os
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest

from lenet_cpp import models
from lenet_cpp.errors import BadModel, FileNotFound
from lenet_cpp.formats import checkpoint
from lenet_cpp.models import load_parameters
from numpy_reference import LENET

RECORD = "net.train.json"


def save(folder, value):
    values = {"parameters": value, "optimizer": -value}
    states = {name: {"weight": np.full(4, of, np.float32)} for name, of in values.items()}
    checkpoint.save_checkpoint(folder, "net", **states, record={"value": value}, save=paddle.save)


def load(folder):
    """The value of a checkpoint, of which all three files must agree."""
    found = checkpoint.load_checkpoint(folder, "net")
    value = found.record["value"]
    assert found.parameters["weight"].tolist() == [value] * 4
    assert found.optimizer["weight"].tolist() == [-value] * 4
    return value


def test_killed_at_any_instant_the_checkpoint_is_whole(tmp_path):
    folder, taken = tmp_path / "folder", []

    def take():
        taken.append(tmp_path / f"snapshot{len(taken)}")
        shutil.copytree(folder, taken[-1])

    def wrap(function):
        def wrapped(*args, **options):
            take()
            result = function(*args, **options)
            take()
            return result

        return wrapped

    save(folder, 1)
    # Before and after everything that a save does to the folder: what a kill leaves.
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (
            (paddle, "save"),
            (Path, "replace"),
            (Path, "unlink"),
            (Path, "write_text"),
        ):
            patch.setattr(owner, name, wrap(getattr(owner, name)))
        save(folder, 2)
    assert len(taken) >= 14  # two state dicts and the record staged, four renames
    # The record as it lies there, before anybody recovers, never describes other parameters
    # unless the journal that says so lies beside it.
    found = []
    for snapshot in taken:
        again = snapshot.with_name(f"{snapshot.name}-again")
        shutil.copytree(snapshot, again)
        found.append(load(snapshot))
        # Reading the parameters alone gives the same checkpoint, and saving over it works.
        assert checkpoint.load_record(again / "net.pdparams")["value"] == found[-1]
        save(again, 3)
        assert load(again) == 3
        assert {path.name for path in again.iterdir()} == {"net.pdopt", "net.pdparams", RECORD}
    assert found == sorted(found)  # old, and from the commit point on new
    assert {1, 2} == set(found)


@pytest.mark.parametrize("number", [1, 2])
def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch, number):
    save(tmp_path, 1)
    real, calls = paddle.save, []

    def full(state, path):
        calls.append(path)
        real(state, path)
        if len(calls) == number:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(paddle, "save", full)
    with pytest.raises(OSError, match="No space") as caught:
        save(tmp_path, 2)
    assert Path(caught.value.filename).suffix == (".pdparams", ".pdopt")[number - 1]
    assert load(tmp_path) == 1
    assert len(list(tmp_path.iterdir())) == 3


def values_of(layer):
    return {name: tensor.numpy().copy() for name, tensor in layer.state_dict().items()}


@pytest.fixture
def parameters():
    generator = np.random.default_rng(0)
    return {name: generator.normal(size=s).astype(np.float32) for name, s in LENET.items()}


def test_load_parameters(tmp_path, parameters):
    layer, path = models.build("lenet"), tmp_path / "x.pdparams"
    layer.set_state_dict(parameters)
    paddle.save(layer.state_dict(), str(path))  # as the guide does
    other = models.build("lenet")
    load_parameters(other, path)
    np.testing.assert_equal(values_of(other), parameters)
    (tmp_path / "folder").mkdir()
    for missing in (tmp_path / "y.pdparams", tmp_path / "folder"):
        with pytest.raises(FileNotFound, match=re.escape(str(missing))):
            load_parameters(other, missing)


def test_every_difference_is_listed_and_nothing_is_loaded(tmp_path, parameters):
    del parameters["conv1.bias"], parameters["linear2.weight"]
    parameters["conv3.weight"] = np.zeros(3, np.float32)
    parameters["linear1.weight"] = parameters["linear1.weight"].T.copy()
    parameters["linear3.bias"] = parameters["linear3.bias"].astype(np.float64)
    path = tmp_path / "x.pdparams"
    paddle.save(parameters, str(path))
    layer = models.build("lenet")
    before = values_of(layer)
    with pytest.raises(BadModel) as caught:
        load_parameters(layer, path)
    for fault in (
        str(path),
        "missing conv1.bias, linear2.weight;",
        "unexpected conv3.weight",
        "linear1.weight is float32[120, 400], expected float32[400, 120]",
        "linear3.bias is float64[10], expected float32[10]",
    ):
        assert fault in str(caught.value)
    np.testing.assert_equal(values_of(layer), before)


def damaged(good):
    return {
        "empty": b"",
        "cut": good[: len(good) // 2],
        "short by one byte": good[:-1],
        "text": b"<html>not found</html>",
        "noise": np.random.default_rng(0).bytes(5000),
        "a list": pickle.dumps([1, 2]),
        "not names": pickle.dumps({1: np.zeros(3)}),
        "objects": pickle.dumps({"weight": np.array(["a"])}),
    }


@pytest.mark.parametrize("case", damaged(b""))
def test_damaged_parameters_are_named(tmp_path, parameters, case):
    path = tmp_path / "x.pdparams"
    paddle.save(parameters, str(path))
    path.write_bytes(damaged(path.read_bytes())[case])
    with pytest.raises(BadModel, match=re.escape(str(path))) as caught:
        load_parameters(models.build("lenet"), path)
    assert "\n" not in str(caught.value)


def test_reading_runs_no_code_from_the_file(tmp_path):
    path, trace = tmp_path / "x.pdparams", tmp_path / "trace"

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(trace),)

    path.write_bytes(pickle.dumps({"weight": Hostile()}))
    with pytest.raises(BadModel, match="mkdir"):
        checkpoint.read_state(path)
    assert not trace.exists()


def test_arrays_of_two_rows_are_no_pair_of_a_name_and_an_array(tmp_path):
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    path = tmp_path / "x.pdparams"
    path.write_bytes(pickle.dumps({"plain": rows, "named": ("linear_0.w_0", rows)}))
    state = checkpoint.read_state(path)
    for name in ("plain", "named"):
        np.testing.assert_array_equal(state[name], rows)


def test_checkpoint_files_of_another_training_are_refused(tmp_path):
    save(tmp_path / "a", 1)
    save(tmp_path / "b", 2)
    for name in ("net.pdparams", "net.pdopt"):
        kept = (tmp_path / "a" / name).read_bytes()
        shutil.copy(tmp_path / "b" / name, tmp_path / "a" / name)
        with pytest.raises(BadModel, match=f"{name} is not the file"):
            checkpoint.load_checkpoint(tmp_path / "a", "net")
        (tmp_path / "a" / name).unlink()
        with pytest.raises(FileNotFound, match=name):
            checkpoint.load_checkpoint(tmp_path / "a", "net")
        (tmp_path / "a" / name).write_bytes(kept)
    assert load(tmp_path / "a") == 1


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"format": 2}', '{"format": 1}', '{"format": 1, "files": 3}']
)
def test_damaged_record_is_named(tmp_path, content):
    save(tmp_path, 1)
    (tmp_path / RECORD).write_text(content)
    with pytest.raises(BadModel, match=r"net\.train\.json"):
        checkpoint.load_checkpoint(tmp_path, "net")
