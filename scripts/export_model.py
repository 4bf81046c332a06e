#!/usr/bin/env python3
"""Export trained parameters as an inference model; see --help."""

from lenet_cpp.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
