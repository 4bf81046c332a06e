"""What the tests of scripts/fetch_paddle_inference.py share."""

import pytest
from paddle_archives import Clone


@pytest.fixture
def clone(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    return Clone(tmp_path / "repo", monkeypatch)
