#!/usr/bin/env python3
"""Damage models and see what happens; see ``--help``."""

from __future__ import annotations

import sys

from lenet_cpp.cli.mutate_models import main

if __name__ == "__main__":
    sys.exit(main())
