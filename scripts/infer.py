#!/usr/bin/env python3
"""Classify images with a training engine and trained parameters; see ``--help``."""

from __future__ import annotations

import sys

from lenet_cpp.cli.infer import main

if __name__ == "__main__":
    sys.exit(main())
