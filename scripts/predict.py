#!/usr/bin/env python3
"""Classify images with an inference engine and an exported model; see ``--help``."""

from __future__ import annotations

import sys

from lenet_cpp.cli.predict import main

if __name__ == "__main__":
    sys.exit(main())
