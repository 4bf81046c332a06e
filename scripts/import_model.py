#!/usr/bin/env python3
"""Import a model from PyTorch, ONNX or Caffe2; see --help."""

from lenet_cpp.cli import run_script

if __name__ == "__main__":
    run_script(__file__)
