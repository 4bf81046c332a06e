#!/usr/bin/env python3
"""Quantize a model to 8-bit integers; see ``--help``."""

from __future__ import annotations

import sys

from lenet_cpp.cli.quantize import main

if __name__ == "__main__":
    sys.exit(main())
