#!/usr/bin/env python3
"""Classify images with an exported model, in Paddle's training engine; see --help."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    from predict import py_infer

    sys.exit(py_infer())
