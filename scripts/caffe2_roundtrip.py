#!/usr/bin/env python3
"""From PyTorch over ONNX to Caffe2 and to Caffe2 alone; see ``--help``."""

from __future__ import annotations

import sys

from lenet_cpp.cli.caffe2_roundtrip import main

if __name__ == "__main__":
    sys.exit(main())
