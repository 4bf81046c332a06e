"""examples/walkthrough.ipynb: its code, run as a program, and what it shows a reader.

python -m pip install nbclient nbformat ipykernel
jupyter execute --inplace examples/walkthrough.ipynb        writes its pictures anew
"""

import json
import os
import re
import sys

import pytest

from lenet_cpp import Classifier
from snippets import printed_by

pytest.importorskip("matplotlib", reason="no matplotlib: it is in the extra bench")


PHOTO = "examples/photos/5-board.jpg"


@pytest.fixture(scope="module")
def cells(root):
    path = root / "examples" / "walkthrough.ipynb"
    assert path.stat().st_size < 400_000
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


@pytest.mark.nightly
def test_the_code_runs(cells, root, program, soname, tmp_path):
    """In a folder like a clone after ./run.sh, without Jupyter: it uses nothing of it."""
    (tmp_path / "run.sh").touch()
    (tmp_path / "build").mkdir()
    for name in (program.name, "liblenet.so", soname):
        (tmp_path / "build" / name).symlink_to(program.with_name(name))
    for name in ("cpp", "examples"):
        (tmp_path / name).symlink_to(root / name)
    code = "\n\n".join("".join(one["source"]) for one in cells if one["cell_type"] == "code")
    variables = os.environ | {"MPLBACKEND": "Agg"}
    printed = printed_by(sys.executable, "-W", "ignore", "-c", code, cwd=tmp_path, env=variables)
    rows = re.findall(r"([\d.]+)% right, (\S+) the same class, differs by (\S+)", printed)
    assert len(rows) == 4
    for accuracy, same, difference in rows:
        assert float(accuracy) > 95
        assert same == "1,000"
        assert float(difference) <= 1e-5
    assert "['2', '3', '5', '7']" in printed
    from_cpp, from_python = re.findall(r"class (\d), logit (\S+)\n", printed)
    assert from_cpp[0] == from_python[0]
    assert float(from_cpp[1]) == pytest.approx(float(from_python[1]), abs=2e-3)
    (accuracy, same) = re.search(r"int8 .* (\S+)% right, (\S+)% the same", printed).groups()
    assert min(float(accuracy), float(same)) > 95
    assert re.search(r"us 100\.0% +total\n", printed)


def test_the_outputs_are_there(cells, root, monkeypatch):
    """Each picture that the code shows, and no error, warning or path of the machine."""
    shown = 0
    for cell in cells:
        for output in cell.get("outputs", ()):
            assert output["output_type"] in {"stream", "display_data", "execute_result"}
            assert output.get("name") != "stderr", output
            text = "".join(output.get("text", ()))
            assert not re.search(r"/(home|root|tmp|work)/", text)
            shown += "image/png" in output.get("data", {})
    assert shown == 8
    monkeypatch.chdir(root)  # the caption is the path as it was given
    outputs = [one for cell in cells for one in cell.get("outputs", ())]
    (result,) = (one for one in outputs if one["output_type"] == "execute_result")
    assert re.fullmatch(r"5 \(\d+\.\d %\).*", "".join(result["data"]["text/plain"]))
    html, now = "".join(result["data"]["text/html"]), Classifier()(PHOTO)._repr_html_()
    assert html.startswith('<img src="data:image/png;base64,')
    assert html.partition("<table>")[2] == now.partition("<table>")[2]
