#!/usr/bin/env python3
"""Compare C++ with Python on the same images; see ``--help``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lenet_cpp.cli.verify import main

ROOT = Path(__file__).resolve().parents[1]


def caffe2(context: Any) -> Any:
    """Run Caffe2, which is not in the wheel, as one of the ways of ``--across``."""
    sys.path.insert(0, str(ROOT))
    from tools.caffe2.route import run

    return run(context)


if __name__ == "__main__":
    sys.exit(main(root=ROOT, more_routes={"Caffe2": caffe2}))
