"""Random networks, and each that was ever wrong, through every engine, format and binding.

tools/differential draws, exports, runs and judges them; it prints the smallest network of a find.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

CASES = "tools/differential/cases.json"


def differential(root: Path, folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-W", "ignore", "-m", "tools.differential", *arguments]
    done = subprocess.run(
        [*command, f"--save-dir={folder}", "--jobs=2"],
        cwd=root, capture_output=True, text=True, check=False, timeout=580,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-2000:]
    return done.stdout


def test_random_networks(root: Path, tmp_path: Path) -> None:
    said = differential(root, tmp_path, "run", "--seed=15", "--count=150", "--most=3")
    assert "150 networks ran" in said


def test_networks_that_were_wrong(root: Path, tmp_path: Path) -> None:
    differential(root, tmp_path, "replay", CASES, "--no-minimise")
