#!/usr/bin/env python3
"""Draw the embedded MNIST sample from the full data set: stratified, seeded, reproducible."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from tools.draw_mnist_sample import main

    sys.exit(main())
