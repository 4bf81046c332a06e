#!/usr/bin/env python3
"""Measure every way to run the model, side by side; see ``--help``."""

from __future__ import annotations

import sys
from pathlib import Path

from lenet_cpp.cli.benchmark import main

if __name__ == "__main__":
    sys.exit(main(root=Path(__file__).resolve().parents[1]))
