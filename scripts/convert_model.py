#!/usr/bin/env python3
"""Convert a model from one format to another; see ``--help``."""

from __future__ import annotations

import sys

from lenet_cpp.cli.convert_model import main

if __name__ == "__main__":
    sys.exit(main())
