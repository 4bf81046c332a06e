#!/usr/bin/env python3
"""Compare the answers of C++ and Python; see --help."""

import sys
from pathlib import Path
from typing import Any

from lenet_cpp.cli import run_script


def caffe2(context: Any) -> Any:
    """Run Caffe2, which is not in the wheel, as one of the ways of ``--across``."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tools.caffe2.roundtrip import run

    return run(context)


if __name__ == "__main__":
    run_script(__file__, more_routes={"Caffe2": caffe2})
