"""What the tests of scripts/fetch_paddle_inference.py share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from paddle_archives import Clone

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clone:
    monkeypatch.setenv("no_proxy", "*")
    return Clone(tmp_path / "repo", monkeypatch)
