"""docs/predict.md has every flag; project/test_guides.py runs its commands."""

import re

import pytest
from classifiers import MAINS, ROOT

PAGE = ROOT / "docs" / "predict.md"


@pytest.mark.parametrize("name", MAINS)
def test_page_has_every_flag(name, capsys):
    with pytest.raises(SystemExit):
        MAINS[name](["--help"])
    flags = set(re.findall(r"(?<![\w-])--\w[\w-]+", capsys.readouterr().out.replace("_", "-")))
    page = PAGE.read_text(encoding="utf-8").replace("_", "-")
    missing = {flag for flag in flags if f"{flag}`" not in page and f"{flag}=" not in page}
    # What a training engine's -m and -p are called at length.
    assert missing <= {"--help", "--model", "--params", "--pretrained"}
