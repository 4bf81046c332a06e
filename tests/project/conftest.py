"""What the tests of the project's scripts share: a clone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def clone(root, tmp_path_factory):
    """A copy of the working tree, with an environment that has all packages of this one."""
    folder = tmp_path_factory.mktemp("clone") / "lenet_한글"  # as some users' folders are called
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=root, capture_output=True, text=True, check=True).stdout
    for name in names.rstrip("\0").split("\0"):
        if (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name)
    venv = folder / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (site,) = venv.glob("lib/python3*/site-packages")
    (site / "tests.pth").write_text("\n".join(path for path in sys.path if "-packages" in path))
    for program in Path(sys.executable).parent.iterdir():
        if os.access(program, os.X_OK) and not (venv / "bin" / program.name).exists():
            (venv / "bin" / program.name).symlink_to(program)
    (venv / "bin" / "pip").unlink()  # run.sh takes the folder in it for the one it was moved from
    return folder
