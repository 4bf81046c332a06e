"""Write the figures of docs/results into README and docs: ``python -m tools.pages``.

It measures nothing, and prints each file that it changed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.pages.marks import write_pages

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Run the command, which has no options but --help."""
    description = (__doc__ or "").partition(":")[0]
    argparse.ArgumentParser(prog="python -m tools.pages", description=description).parse_args()
    for path in write_pages(ROOT):
        print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
