#!/usr/bin/env python3
"""Train a network on MNIST; see --help."""

from lenet_cpp.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
