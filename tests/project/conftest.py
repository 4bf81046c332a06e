"""What the tests of the project's scripts share: a clone, and builds that compile nothing twice."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# What CMake calls as LAUNCHER COMPILER ... -MF DEPENDENCIES -o OBJECT -c SOURCE.
LAUNCHER = """#!/bin/sh
for argument; do
    case $before in -o) object=$argument ;; -MF) dependencies=$argument ;; esac
    before=$argument
done
# A wheel decodes no photos.
case $object in */images/decode.cc.o) exec "$@" ;; esac
[ -n "$object" ] && [ -f "$LENET_BUILT/$object" ] || exec "$@"
cp "$LENET_BUILT/$object" "$object" && echo "$object:" >"$dependencies"
"""


@pytest.fixture(scope="session")
def reuse(root, tmp_path_factory):
    """Variables for a build of the same sources: it takes the object files of ``build/``.

    Compiling takes minutes, and the build in ``build/`` has just done it. When that one is not up
    to date, there are no such variables, and everything is compiled.
    """
    build = root / "build"
    sources = [root / "CMakeLists.txt", *(root / "cmake").rglob("*"), *(root / "cpp").rglob("*")]
    newest = max(source.stat().st_mtime for source in sources if source.is_file())
    compiled = build / "compiled"  # by ./run.sh
    if not compiled.exists() or compiled.stat().st_mtime < newest:
        return {}
    launcher = tmp_path_factory.mktemp("launcher") / "reuse"
    launcher.write_text(LAUNCHER)
    launcher.chmod(0o755)
    return {"CMAKE_CXX_COMPILER_LAUNCHER": str(launcher), "LENET_BUILT": str(build)}


@pytest.fixture(scope="session")
def clone(root, tmp_path_factory):
    """A copy of the working tree, with an environment that has all packages of this one."""
    folder = tmp_path_factory.mktemp("clone") / "lenet_cpp"
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
    shutil.copy(Path(sys.prefix, "lenet-environment"), venv)
    return folder
