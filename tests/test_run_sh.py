"""./run.sh and what the README tells a user to type after it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from snippets import RUN, Snippet, read_snippets, run_snippet

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TRANSLATIONS = [ROOT / "README.ko.md", ROOT / "README.zh.md"]


def bare(text: str) -> str:
    """Code without comments, which are translated."""
    return re.sub(r" *(?:#|//) .*", "", text)


# Of blocks that are the same in several languages the first.
SNIPPETS: dict[str, Snippet] = {}
for _page in (README, *TRANSLATIONS):
    for _snippet in read_snippets(_page):
        if _snippet.language in RUN:
            SNIPPETS.setdefault(bare(_snippet.text), _snippet)


def shell(command: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def finished(root: Path) -> str:
    """What ./run.sh prints, after every step has been done at least once."""
    done = shell(["./run.sh"], root)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_summary(finished: str) -> None:
    summary = finished[finished.index("Done") :]
    accuracies = [float(text) for text in re.findall(r"([\d.]+) %", summary)]
    assert len(accuracies) >= 2, summary
    assert all(accuracy > 95 for accuracy in accuracies)
    assert "inference_model/lenet" in summary
    assert "./build/lenet_infer_test" in summary
    assert re.search(r"largest difference.*\d", summary)
    assert re.search(r"latency.*[\d.]+ ms", summary)


def test_again_skips_finished_steps(finished: str, root: Path, tmp_path: Path) -> None:
    before = (root / "checkpoints/lenet/lenet.pdparams").stat().st_mtime_ns
    exported = (root / "inference_model/lenet/lenet.pdmodel").stat().st_mtime_ns
    done = shell(["sh", str(root / "run.sh")], tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("environment", "package", "train", "export"):
        assert f"{name}: done already" in done.stdout
    assert (root / "checkpoints/lenet/lenet.pdparams").stat().st_mtime_ns == before
    assert (root / "inference_model/lenet/lenet.pdmodel").stat().st_mtime_ns == exported
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("snippet", list(SNIPPETS.values()), ids=lambda snippet: snippet.place)
def test_readme_snippet(finished: str, root: Path, snippet: Snippet) -> None:
    done = run_snippet(snippet, root, root / ".venv")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.parametrize("page", TRANSLATIONS, ids=lambda page: page.stem)
def test_translation_keeps_to_the_readme(page: Path) -> None:
    text, english = page.read_text(encoding="utf-8"), README.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    for other in {README, *TRANSLATIONS} - {page}:
        assert f"]({other.name})" in text
    # C++ is not run: it is the README's.
    code = {bare(snippet.text) for snippet in read_snippets(README)}
    for snippet in read_snippets(page):
        assert snippet.language in {*RUN, "cpp", "console", "text"}, snippet.place
        if snippet.language in {"cpp", "console"}:
            assert bare(snippet.text) in code, snippet.place
    errors = re.compile(r"^\| (`\w+` \| \d) \|", re.MULTILINE)
    assert errors.findall(text) == errors.findall(english) != []


@pytest.mark.relinks
def test_lib_dir_is_the_library_of_the_program(finished: str, root: Path, tmp_path: Path) -> None:
    mine = tmp_path / "my paddle"
    mine.symlink_to(root / "third_party" / "paddle_inference")
    plug_in = str(root / "build" / "liblenet_paddle.so")
    try:
        done = subprocess.run(
            ["./run.sh", "--build-only"],
            cwd=root,
            env={**os.environ, "LIB_DIR": str(mine)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert str(mine / "paddle" / "lib") in shell(["readelf", "-d", plug_in], root).stdout
        ran = shell(["build/lenet_infer_test", "--model_dir=inference_model/lenet"], root)
        assert ran.returncode == 0, ran.stderr
    finally:
        shell(["./run.sh", "--build-only"], root)
    assert str(mine) not in shell(["readelf", "-d", plug_in], root).stdout


def test_help_names_every_step(root: Path) -> None:
    text = shell(["./run.sh", "--help"], root).stdout
    for word in ("environment", "library", "train", "export", "LIB_DIR", "--data-dir"):
        assert word in text


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "said"),
    [
        (["--nonsense"], {}, 2, "--nonsense"),
        (["--data-dir"], {}, 2, "--data-dir"),
        (["--data-dir", "/no/such/folder"], {}, 3, "/no/such/folder"),
        ([], {"LIB_DIR": "/no/such/folder"}, 3, "LIB_DIR"),
        (["--build-only"], {"CXX": "/no/such/compiler"}, 1, "compiler"),
    ],
)
def test_failure_is_one_line(
    root: Path, arguments: list[str], environment: dict[str, str], code: int, said: str
) -> None:
    done = subprocess.run(
        ["./run.sh", *arguments],
        cwd=root,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
