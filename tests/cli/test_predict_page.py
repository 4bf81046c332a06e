"""docs/predict.md and docs/scale.md: their commands run, and every flag is there."""

import re
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from classifiers import MAINS, ROOT
from pyarrow import parquet

from lenet_cpp.data.mnist import read_idx
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


def test_scale_page(tmp_path, lenet):
    """docs/scale.md: its commands run."""
    page, environment = ROOT / "docs" / "scale.md", Path(sys.prefix)
    digits = read_idx(ROOT / "data" / "mnist_sample" / "t10k-images-idx3-ubyte.gz")[:100]
    np.save(tmp_path / "digits.npy", digits)
    (tmp_path / "photos").symlink_to(lenet.photos)
    (tmp_path / "tables").mkdir()
    columns = {"id": range(100), "image": [digit.tobytes() for digit in digits]}
    parquet.write_table(pa.table(columns), tmp_path / "tables" / "0.parquet")
    for snippet in read_snippets(page):
        done = run_snippet(snippet, tmp_path, environment)
        assert (done.returncode, done.stderr) == (0, ""), snippet.place
    for name, rows in (
        ("classes.parquet", len(list(lenet.photos.iterdir()))),
        ("classes.csv", 101),
    ):
        path = tmp_path / name
        found = (
            parquet.read_table(path) if path.suffix == ".parquet" else path.read_text().splitlines()
        )
        assert len(found) == rows
