#!/usr/bin/env python3
"""Classify images with an exported model, in Paddle's training engine; see --help."""

import sys

from predict import py_infer

if __name__ == "__main__":
    sys.exit(py_infer())
