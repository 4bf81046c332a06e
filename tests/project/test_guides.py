"""docs/guides and the examples: what they tell a reader to type, typed."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import onnx.parser
import pytest
from pyarrow import parquet

import lenet_cpp
from lenet_cpp.cli import COMMANDS, load
from scripts.predict import infer, predict, py_infer
from snippets import FILES, RUN, printed_by, read_snippets, run_snippet, save_snippet

ROOT = Path(__file__).parents[2]
ENVIRONMENT = Path(sys.prefix)
OF_DOCS = ("coming-from", "hostile-models", "models", "predict", "scale")
PAGES = [ROOT / "docs" / f"{name}.md" for name in OF_DOCS]
PAGES += sorted((ROOT / "docs" / "guides").glob("*.md"))
TRANSLATED = sorted((ROOT / "docs" / "guides").glob("??/*.md")) + sorted(ROOT.glob("README.*.md"))
QUIET = {"GLOG_minloglevel": "2", "PYTHONWARNINGS": "ignore:No ccache found"}

MAPS = [ROOT / folder / "README.md" for folder in ("cpp", "python", "scripts", "tests", "tools")]
DOCUMENTS = [*ROOT.glob("*.md"), *MAPS]
DOCUMENTS += [page for part in ("docs", "examples") for page in (ROOT / part).rglob("*.md")]
LINK = re.compile(r"(?:\[[^\]]*\]\(|<img src=\")([^)\s\"]+)[)\"]")
CODE = re.compile(r"`[^`]+`")
COMMAND = re.compile(r"(?:lenet-cpp +([a-z-]+)|scripts/(\w+)\.py)([^|>&;\n]*)")
NAMES = {place: name for name, (place, _) in COMMANDS.items()}
SCRIPTS = {"predict": predict, "infer": infer, "py_infer": py_infer}
NETWORK = """<ir_version: 8, opset_import: ["" : 17]> network (float[N,3,8,8] x) => (float[N,3] y)
{ a = Relu(x) b = GlobalAveragePool(a) y = Flatten(b) }"""
RUN_BY = {
    "scripts/benchmark.py ": ("tests/tools/test_benchmark.py", "benchmark.md"),
    "--allow_origin": ("tests/serve/test_access.py", "--allow_origin=http"),
    "buildah build": ("tests/serve/test_deployment.py", "buildah"),
    "cmake --preset aarch64": ("noxfile.py", '"--preset", "aarch64"'),
    "cmake --preset package": ("tests/cpp/test_cmake_package.py", "preset package"),
    "cmake --preset static": ("tests/serve/test_deployment.py", "--preset static"),
    "cmake -S . -B build/native -DLENET_PADDLE=OFF": ("noxfile.py", "-DLENET_PADDLE=OFF"),
    "curl -T": ("tests/serve/test_pictures.py", "test_the_command_of_the_page"),
    "pip install .": ("noxfile.py", '"LENET_PADDLE": "OFF"'),
    "python -m tools.musl": ("noxfile.py", '"-m", "tools.musl"'),
    "python -m tools.wheels": ("tests/project/test_wheels.py", "tools.wheels"),
    "python -m tools.windows": ("noxfile.py", '"-m", "tools.windows"'),
    "run.sh --without-paddle": ("noxfile.py", "--without-paddle"),
}
"""What runs the blocks marked console that contain a command, and a word of where it does."""
SLOW = {"check-and-log", "export", "models", "predict", "three-ways", "train"}
SLOW |= {"predict-cpp", "predict-python", "scale", "separate-and-combined"}
"""Pages that train, export, or start Paddle or processes more than twice."""


@pytest.fixture(scope="module")
def finished(program, model_dir, tmp_path_factory, pytestconfig):
    """The repository's folder as ./run.sh leaves it, with a shorter training.

    The pages that are not slow need the model alone: theirs is the bundled one.
    """
    folder = tmp_path_factory.mktemp("finished")
    for name in ("scripts", "examples"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "data").symlink_to(ROOT / "data")
    (folder / "build").symlink_to(program.parent)
    (folder / ".venv").symlink_to(ENVIRONMENT)
    if not pytestconfig.getoption("nightly"):
        shutil.copytree(model_dir, folder / "inference_model" / "lenet")
        return folder
    for command in ("train.py --epochs 1", "export_model.py"):
        arguments = [sys.executable, *f"scripts/{command}".split()]
        subprocess.run(arguments, cwd=folder, capture_output=True, check=True)
    return folder


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of it for one page, with an ``.onnx`` of the user's own."""
    copy = Path(shutil.copytree(finished, tmp_path / "lenet_cpp", symlinks=True))
    onnx.save(onnx.parser.parse_model(NETWORK), copy / "model.onnx")
    yield copy
    shutil.rmtree(copy)  # pytest would keep it, and AlexNet is large


def follow(page, folder):
    """Do what a page says, block by block; return what was printed."""
    printed = ""
    for snippet in read_snippets(page):
        if snippet.language in FILES:
            save_snippet(snippet, folder)
        elif snippet.language in RUN:
            done = run_snippet(snippet, folder, ENVIRONMENT, **QUIET)
            assert done.returncode == 0, f"{snippet.place}\n{done.stdout[-2000:]}{done.stderr}"
            if page.stem in {"predict", "scale"}:  # neither Paddle nor a library speaks of itself
                assert snippet.language != "sh" or done.stderr == "", snippet.place
            printed += done.stdout
        else:
            assert snippet.language == "text", f"{snippet.place}: not run"
    return printed


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=[pytest.mark.nightly] * (p.stem in SLOW), id=p.stem) for p in PAGES],
)
def test_page(page, folder):
    before = {path.name for path in folder.iterdir()}
    follow(page, folder)
    made = {path.name for path in folder.iterdir()} - before
    if page.stem == "scale":
        assert parquet.read_metadata(folder / "classes.parquet").num_rows == 4
        assert len((folder / "classes.csv").read_text().splitlines()) == 1001
        assert len((folder / "classes.jsonl").read_text().splitlines()) == 4
    # What a page leaves beside its folder are pictures and descriptions of a few lines.
    small = {"digit.png", "digit.jpg", "test.png", "preprocess.json", "inference.yml"}
    small |= {"classes.csv", "classes.json", "classes.jsonl", "classes.parquet", "photos.parquet"}
    assert made - {"guide", "resnet50-vd", "ResNet50_vd.pdparams", "benchmark.log"} <= small


@pytest.mark.nightly
def test_own_classifier(folder):
    example = folder / "examples" / "own_classifier"
    printed = follow(example / "README.md", folder)
    assert read_snippets(example / "README.md")[0].text == (example / "colours.py").read_text()
    assert re.search(r"green\.png +1 +green", printed)
    assert "green.png\n  0.9" in printed  # of the C++ program
    assert "The routes agree" in printed


def test_the_program_of_the_readme_compiles_and_runs(finished, tmp_path):
    (snippet,) = (each for each in read_snippets(ROOT / "README.md") if each.language == "cpp")
    source, made = tmp_path / "readme.cc", tmp_path / "readme"
    source.write_text(snippet.text)
    library = (finished / "build").resolve()
    options = ("-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'cpp' / 'include'}")
    linked = (f"-L{library}", "-llenet", f"-Wl,-rpath,{library}")
    printed_by("c++", *options, source, "-o", made, *linked)
    assert re.fullmatch(r"-?\d+\.\d+\n", printed_by(made, cwd=finished))


def test_photos(folder):
    """C++, the command and Python give the digit that each name begins with."""
    names = sorted(path.name for path in (folder / "examples" / "photos").glob("*.jpg"))
    assert len(names) == 4
    printed = follow(folder / "examples" / "photos" / "README.md", folder)
    for name in names:
        assert re.search(rf"{name}\n  (?:0\.9|1)[\d.]* +class \d+  {name[0]}\n", printed)  # C++
        assert re.search(rf"{name} +(\d) +{name[0]} +(0\.9|1\.0)", printed)  # the command
    assert "['3', '5']" in printed


def test_server_client(folder, built):
    """It prints the digit that each name begins with."""
    built("lenet_serve")
    printed = follow(folder / "examples" / "server_client" / "README.md", folder)
    lines = re.findall(
        r"^examples/photos/(\d)-\w+\.jpg: (\d), [\d.]+%; then \d$", printed, re.MULTILINE
    )
    assert len(lines) == 4
    assert all(named == answered for named, answered in lines)


def test_blocks_that_no_page_test_runs():
    """A block marked console is run elsewhere, or says that it is not tested, and why."""
    pages = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    blocks = [each for page in pages for each in read_snippets(page) if each.language == "console"]
    assert len(blocks) >= 14
    for block in blocks:
        known = any(command in block.text for command in RUN_BY)
        assert known or "# not tested: " in block.text, block.place
    for file, word in RUN_BY.values():
        assert word in (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("#"):
            assert (page.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_understood(page):
    """All that a page has a reader type has the options and values of today; nothing is run."""
    shell = [s.text for s in read_snippets(page) if s.language in {"sh", "console"}]
    indented = re.findall(r"^    (.*\n)", page.read_text(encoding="utf-8"), re.MULTILINE)
    text = "".join([*shell, *(line for line in indented if "[--" not in line)])
    for name, script, arguments in COMMAND.findall(text.replace("\\\n", " ")):
        if name or (script in NAMES | SCRIPTS and script != "benchmark"):  # another command
            command = SCRIPTS.get(script) or load(name or NAMES[script])
            try:
                command.make_context(name or script, shlex.split(arguments, comments=True))
            except click.exceptions.Exit:
                assert "--help" in arguments


def english(page):
    """The page that a page is a translation of: of docs/guides, or of docs; or the page itself."""
    if page.name.startswith("README.") and page.parent == ROOT:
        return ROOT / "README.md"
    if page not in TRANSLATED:
        return page
    return next(each for each in page.parents[1:3] if (each / page.name).is_file()) / page.name


def content(page):
    """What a translation may not change: code, links, the code in tables, and figures."""
    text = page.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    languages = text.split("\n")[2]
    links = [target.partition("#") for target in LINK.findall(text.replace(languages, "", 1))]
    return {
        # Comments are translated.
        "code": [re.sub(r" *(?:#|//) .*", "", s.text) for s in read_snippets(page)],
        "tables": [sorted(CODE.findall(row)) for row in rows],
        "links": sorted(
            str(english((page.parent / place).resolve())) + anchor for place, _, anchor in links
        ),
        "figures": sorted(re.findall(r"<!-- results: .*? -->", text)),
    }


@pytest.mark.parametrize("page", TRANSLATED, ids=lambda page: str(page.relative_to(ROOT)))
def test_translation_keeps_to_its_page(page):
    original = english(page)
    assert content(page) == content(original)
    for one, other in ((page, original), (original, page)):
        line = one.read_text(encoding="utf-8").split("\n")[2]
        assert f"]({os.path.relpath(other, one.parent)})" in line


def test_one_sentence_says_what_the_project_is():
    """README, the site, the package's metadata and docstring, the command, and the citation."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").split("\n")
    sentence = lines[4]
    assert sentence.startswith("Run PaddlePaddle and ONNX image classifiers from C++,")
    first = sentence.partition(";")[0]
    assert f'description = "{sentence[:-1]}"' in (ROOT / "pyproject.toml").read_text()
    assert f"\n{sentence}\n" in (ROOT / "docs" / "index.rst").read_text()
    assert f"abstract: {sentence[:-1]}\n" in (ROOT / "CITATION.cff").read_text()
    assert lenet_cpp.__doc__.startswith(f"{first}.\n")
    help_text = printed_by(sys.executable, "-m", "lenet_cpp", "--help")
    assert f" {first}. " in " ".join(help_text.split())


def test_nothing_tells_to_install_what_is_not_published():
    """The name is free in the package index: somebody else could take it."""
    package = (ROOT / "python").rglob("*.py")
    for file in (*DOCUMENTS, *package):
        said = re.search(r"install +['\"`]?lenet-cpp|lenet-cpp\[", file.read_text(encoding="utf-8"))
        assert said is None, f"{file}: {said}"


def test_every_option_is_described():
    rows = re.findall(r"^\| (`.*?`) \|", (ROOT / "docs" / "options.md").read_text(), re.MULTILINE)
    described = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    known = {*lenet_cpp.Options.__annotations__, "model_dir", "model_file", "params_file"}
    assert described == known


INDEXES = ("docs", "docs/guides", "docs/guides/ko", "docs/guides/zh", "examples", "tests")


@pytest.mark.parametrize("index", [f"{folder}/README.md" for folder in INDEXES])
def test_indexes_are_complete(index):
    page = ROOT / index
    if page.parent.name == "tests":
        names = {path.name for path in page.parent.iterdir() if list(path.glob("test_*.py"))}
    else:
        pattern = "*" if page.parent.name == "examples" else "*.md"
        names = {path.name for path in page.parent.glob(pattern)} - {page.name}
    text = page.read_text(encoding="utf-8")
    assert {name for name in names if name not in text} == set()
