#!/usr/bin/env python3
"""Export a trained model for inference; see ``--help``."""

from __future__ import annotations

import sys

from lenet_cpp.cli.export_model import main

if __name__ == "__main__":
    sys.exit(main())
