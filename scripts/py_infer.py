#!/usr/bin/env python3
"""Classify images with an exported model in Paddle's training engine; see --help."""

from lenet_cpp.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
