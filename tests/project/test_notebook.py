"""examples/walkthrough.ipynb: its code, run as a program, and what it shows a reader.

python -m pip install nbclient nbformat ipykernel
jupyter execute --inplace examples/walkthrough.ipynb        writes its pictures anew
"""

import json
import os
import re
import subprocess
import sys

import pytest

pytest.importorskip("matplotlib", reason="no matplotlib: it is in the extra bench")


@pytest.fixture(scope="module")
def cells(root):
    path = root / "examples" / "walkthrough.ipynb"
    assert path.stat().st_size < 400_000
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def test_the_code_runs(cells, root, program, tmp_path):
    """In a folder like a clone after ./run.sh, without Jupyter: it uses nothing of it."""
    (tmp_path / "run.sh").touch()
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "lenet_infer_test").symlink_to(program)
    (tmp_path / "examples").symlink_to(root / "examples")
    code = "\n\n".join("".join(one["source"]) for one in cells if one["cell_type"] == "code")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"([\d.]+)% right, (\S+) the same class, differs by (\S+)", done.stdout)
    assert len(rows) == 4
    for accuracy, same, difference in rows:
        assert float(accuracy) > 95
        assert same == "1,000"
        assert float(difference) <= 1e-5
    assert "['2', '3', '5', '7']" in done.stdout


def test_the_outputs_are_there(cells):
    """Each picture that the code shows, and no error, warning or path of the machine."""
    shown = 0
    for cell in cells:
        for output in cell.get("outputs", ()):
            assert output["output_type"] in {"stream", "display_data"}
            assert output.get("name") != "stderr", output
            text = "".join(output.get("text", ()))
            assert not re.search(r"/(home|root|tmp|work)/", text)
            shown += "image/png" in output.get("data", {})
    assert shown == 8
