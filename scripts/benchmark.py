#!/usr/bin/env python3
"""Measure every way to run the model, side by side; see ``--help``."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from tools.benchmark.cli import main

    sys.exit(main(root=ROOT))
