"""What ./test.sh and tests/conftest.py promise of the suite itself."""

import os
import re
import subprocess
import sys
from pathlib import Path

LEAVES_A_PROCESS = """
import pathlib, subprocess, pytest

def test_left():
    child = subprocess.Popen(["sleep", "1000"])
    pathlib.Path("pid").write_text(str(child.pid))

@pytest.mark.nightly
def test_slow():
    pass
"""


def test_a_process_that_is_left_is_ended_and_an_error(root, tmp_path):
    (tmp_path / "test_left.py").write_text(LEAVES_A_PROCESS)
    command = ("-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-o", "markers=nightly")
    done = subprocess.run(
        [sys.executable, *command],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(root / "tests")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "1 passed, 1 deselected, 1 error" in done.stdout
    assert "['sleep 1000']" in done.stdout
    assert not Path("/proc", (tmp_path / "pid").read_text()).exists()


def test_the_quick_tests_are_there(root):
    listed = re.search(r'^heart="(.*?)"$', (root / "test.sh").read_text(), re.DOTALL | re.MULTILINE)
    assert listed
    assert [path for path in listed[1].split() if not (root / path).exists()] == []
