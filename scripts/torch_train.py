#!/usr/bin/env python3
"""Train a network in PyTorch and save its parameters; see --help."""

import sys

from lenet_cpp.cli.torch_train import main

if __name__ == "__main__":
    sys.exit(main())
