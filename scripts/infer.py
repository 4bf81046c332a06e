#!/usr/bin/env python3
"""Classify images with trained parameters, in Paddle's training engine; see --help."""

import sys

from predict import infer

if __name__ == "__main__":
    sys.exit(infer())
