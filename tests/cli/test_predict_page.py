"""docs/predict.md: its commands run, and it has every flag."""

import re
import sys
from pathlib import Path

import pytest
from classifiers import MAINS, ROOT

from snippets import RUN, read_snippets, run_snippet

PAGE = ROOT / "docs" / "predict.md"
SNIPPETS = [snippet for snippet in read_snippets(PAGE) if snippet.language in RUN]


@pytest.fixture(scope="module")
def documented(tmp_path_factory, lenet, resnet50):
    """A folder with everything that the page speaks of."""
    folder = tmp_path_factory.mktemp("page")
    for name, target in {
        "scripts": ROOT / "scripts",
        "inference_model/lenet": lenet.exported,
        "checkpoints/lenet/lenet.pdparams": lenet.params,
        "resnet50-vd": resnet50.exported,
        "ResNet50_vd.pdparams": resnet50.params,
        "photos": resnet50.photos,
        "digits": lenet.photos,
        "digit.png": lenet.photos / "000.png",
        "test.jpeg": resnet50.photos / "0.jpg",
    }.items():
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    return folder


@pytest.mark.nightly  # project/test_guides.py looks at the flags of every page
@pytest.mark.parametrize("snippet", SNIPPETS, ids=[snippet.place for snippet in SNIPPETS])
def test_page(snippet, documented):
    done = run_snippet(snippet, documented, Path(sys.prefix))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    if snippet.language == "sh":  # where Paddle is kept from speaking of itself
        assert done.stderr == ""
    assert done.stdout


@pytest.mark.parametrize("name", MAINS)
def test_page_has_every_flag(name, capsys):
    with pytest.raises(SystemExit):
        MAINS[name](["--help"])
    flags = set(re.findall(r"(?<![\w-])--\w[\w-]+", capsys.readouterr().out.replace("_", "-")))
    page = PAGE.read_text(encoding="utf-8").replace("_", "-")
    missing = {flag for flag in flags if f"{flag}`" not in page and f"{flag}=" not in page}
    # What a training engine's -m and -p are called at length.
    assert missing <= {"--help", "--model", "--params", "--pretrained"}
