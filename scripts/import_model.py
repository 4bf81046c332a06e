#!/usr/bin/env python3
"""Import another framework's classifier; see ``--help``."""

from __future__ import annotations

import sys

from lenet_cpp.cli.import_model import main

if __name__ == "__main__":
    sys.exit(main())
