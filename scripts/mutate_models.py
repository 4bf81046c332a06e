#!/usr/bin/env python3
"""Damage models and see what happens; see ``--help``."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from tools.hostile.__main__ import main

    sys.exit(main(["mutants", *sys.argv[1:]]))
