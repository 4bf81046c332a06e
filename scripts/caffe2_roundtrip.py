#!/usr/bin/env python3
"""From PyTorch over ONNX to Caffe2 and to Caffe2 alone; see ``--help``."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from tools.caffe2.cli import main

    sys.exit(main())
