"""Random networks, and each that was ever wrong, through every engine, format and binding."""

import json
import os
from pathlib import Path

import pytest

from tools.hostile.__main__ import main
from tools.hostile.children import LATE, do_steps
from tools.hostile.networks import Layer, Network

CASES = Path(__file__).parents[2] / "tools" / "hostile" / "cases.json"


def hostile(folder, *arguments):
    assert main([*arguments, f"--save-dir={folder}"]) == 0


@pytest.mark.nightly
def test_random_networks(tmp_path, capsys):
    hostile(tmp_path, "networks", "--seed=15", "--count=20", "--most=3", "--jobs=1")
    assert "20 networks ran" in capsys.readouterr().out


def test_channel_traffic(tmp_path, capsys):
    """What shares memory: parts of concatenations, sums written in place, copies left out."""
    hostile(tmp_path, "traffic", "--count=500", "--most=3")
    assert "500 networks ran; 0 could not be made" in capsys.readouterr().out


def test_networks_that_were_wrong(tmp_path):
    hostile(tmp_path, "replay", str(CASES), "--no-minimise")


def test_an_activation_is_not_left_to_the_next_model(tmp_path):
    """What ended a .pdmodel on oneDNN was computed again at the beginning of the next .json."""
    conv = Layer("conv2d", [0], {"out": 3, "kernel": [1, 1], "bias": False})
    layers = [conv, Layer("leaky_relu", [1], {"negative_slope": 0.2})]
    network = Network("paddle", [2, 3, 3], layers, [2], 1).to_json()
    both = tmp_path / "both.json"
    both.write_text(json.dumps([{"name": name, "network": network} for name in "ab"]), "utf-8")
    targets = ["--targets", "pdmodel/paddle/onednn", "json/paddle/onednn"]
    hostile(tmp_path, "replay", str(both), "--jobs=1", *targets)


def step(what, folder):
    """What the children below do: answer, or end."""
    if what == "answer":
        return {"folder": folder, "child": os.getpid()}
    exec(what)
    return {}


def test_a_child_that_ends_or_hangs_is_an_outcome_and_the_next_takes_over():
    """The instrument itself: a child that dies must not pass for one that answered."""
    steps = [
        "answer", "import signal; signal.raise_signal(signal.SIGSEGV)", "answer",
        "import time; time.sleep(60)", "import os; os._exit(3)", "answer", "answer",
    ]  # fmt: skip
    heard = []
    name = f"{step.__module__}:step"
    do_steps(name, steps, lambda _, said: heard.append(said), seconds=3, folder="f")
    ends = [None, "SIGSEGV", None, LATE, "exit", None, None]
    assert [said.get("outcome") for said in heard] == ends
    answered = [said for said in heard if "outcome" not in said]
    assert {said["folder"] for said in answered} == {"f"}
    children = [said["child"] for said in answered]
    assert children[-2] == children[-1]
    assert len(set(children)) == 3
