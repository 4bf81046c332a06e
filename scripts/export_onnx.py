#!/usr/bin/env python3
"""Write a classifier as an ONNX file; see ``--help``."""

from __future__ import annotations

import sys

from lenet_cpp.cli.export_onnx import main

if __name__ == "__main__":
    sys.exit(main())
