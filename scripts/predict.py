#!/usr/bin/env python3
"""Classify images in C++; see --help."""

from lenet_cpp.cli import load, run_script

# Of the guides' infer.py, which this script stands for.
TENSORRT = """
TensorRT:
  --max-batch-size N  [ignored: TensorRT is not used]
  --min-subgraph-size N  [ignored: TensorRT is not used]
"""

if __name__ == "__main__":
    load("predict").declare(TENSORRT)
    run_script(__file__)
