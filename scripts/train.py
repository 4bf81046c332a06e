#!/usr/bin/env python3
"""Train a model on MNIST and leave a checkpoint; see --help."""

import sys

from lenet_cpp.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
