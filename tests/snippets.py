"""Commands, and the fenced blocks of a Markdown page, run as its reader would run them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

RUN = ("sh", "python")
FILES = ("cpp", "cmake")  # saved under the name in the comment of their first line

_FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_NAME = re.compile(r"(?://|#) ([\w./-]+)$")


class Snippet(NamedTuple):
    page: str
    line: int
    language: str
    text: str

    @property
    def place(self):
        return f"{self.page}:{self.line}"


def read_snippets(page):
    """Return all fenced blocks in their order."""
    text = page.read_text(encoding="utf-8")
    return [
        Snippet(page.name, 1 + text.count("\n", 0, match.start()), match["language"], match["text"])
        for match in _FENCE.finditer(text)
    ]


def run_command(*command, **options):
    """Run a command; return its exit status and what it printed."""
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, **options
    )


def printed_by(*command, **options):
    """Run a command that succeeds; return what it printed."""
    done = run_command(*command, **options)
    assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def run_snippet(snippet, folder, environment, **variables):
    """Run a block in a folder, with the programs of a virtual environment before all others."""
    interpreter = {"sh": ["sh", "-eu"], "python": [environment / "bin" / "python"]}
    variables = {**os.environ, "PATH": f"{environment}/bin:{os.environ['PATH']}", **variables}
    command = (*interpreter[snippet.language], "-c", snippet.text)
    return run_command(*command, cwd=folder, env=variables)


def run_page(page, folder, model_dir):
    """Run its commands in a folder like a clone after ./run.sh; return what each block printed."""
    root = page.parents[1]
    for name in ("scripts", "data", "examples"):
        (folder / name).symlink_to(root / name)
    (folder / "build").mkdir()
    for name in ("lenet_infer_test", "lenet_infer_native", "lenet_classify", "lenet_serve"):
        (folder / "build" / name).symlink_to(root / "build" / name)
    shutil.copytree(model_dir, folder / "inference_model" / "lenet")
    environment = Path(sys.executable).parents[1]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    outputs = []
    for snippet in read_snippets(page):
        if snippet.language not in RUN:
            continue
        done = run_snippet(snippet, folder, environment, PYTHONPATH=path, PYTHONWARNINGS="ignore")
        assert done.returncode == 0, f"{snippet.place}: {done.stderr}"
        outputs.append(done.stdout)
    return outputs


def save_snippet(snippet, folder):
    """Save a block under the name that its first line has in a comment."""
    match = _NAME.match(snippet.text.splitlines()[0])
    assert match, f"{snippet.place}: the first line does not name a file"
    path = folder / match[1]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(snippet.text, encoding="utf-8")
