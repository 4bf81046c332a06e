#!/usr/bin/env python3
"""Compare C++ with Python on the same images; see ``--help``."""

from __future__ import annotations

import sys
from pathlib import Path

from lenet_cpp.cli.verify import main

if __name__ == "__main__":
    sys.exit(main(root=Path(__file__).resolve().parents[1]))
