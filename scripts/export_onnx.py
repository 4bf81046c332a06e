#!/usr/bin/env python3
"""Write a model as an ONNX file; see --help."""

from lenet_cpp.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
