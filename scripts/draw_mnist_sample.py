#!/usr/bin/env python3
"""Draw the embedded MNIST sample from the full data set: stratified, seeded, reproducible."""

import sys

from lenet_cpp.cli.draw_mnist_sample import main

if __name__ == "__main__":
    sys.exit(main())
