"""``python -m lenet_cpp``: the command ``lenet-cpp``."""

import sys

from lenet_cpp.cli import main

if __name__ == "__main__":
    sys.exit(main())
