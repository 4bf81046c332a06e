"""Random networks, and each that was ever wrong, through every engine, format and binding.

tools/differential draws, exports, runs and judges them; it prints the smallest network of a find.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CASES = "tools/differential/cases.json"


def differential(root: Path, folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-W", "ignore", "-m", "tools.differential", *arguments]
    done = subprocess.run(
        [*command, f"--save-dir={folder}"],
        cwd=root, capture_output=True, text=True, check=False, timeout=580,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
    return done.stdout


def test_random_networks(root: Path, tmp_path: Path) -> None:
    said = differential(root, tmp_path, "run", "--seed=15", "--count=150", "--most=3")
    assert "150 networks ran" in said


def test_networks_that_were_wrong(root: Path, tmp_path: Path) -> None:
    differential(root, tmp_path, "replay", CASES, "--no-minimise")


def test_an_activation_is_not_left_to_the_next_model(root: Path, tmp_path: Path) -> None:
    """What ended a .pdmodel on oneDNN was computed again at the beginning of the next .json."""
    layers = [
        {"op": "conv2d", "inputs": [0], "attributes": {"out": 3, "kernel": [1, 1], "bias": False}},
        {"op": "leaky_relu", "inputs": [1], "attributes": {"negative_slope": 0.2}},
    ]
    network = {"kind": "paddle", "shape": [2, 3, 3], "layers": layers, "outputs": [2], "seed": 1}
    both = tmp_path / "both.json"
    both.write_text(json.dumps([{"name": name, "network": network} for name in "ab"]), "utf-8")
    targets = ["--targets", "pdmodel/paddle/onednn", "json/paddle/onednn"]
    differential(root, tmp_path, "replay", str(both), "--jobs=1", *targets)
