"""Makes third_party/paddle_inference, from the installed paddlepaddle or the official archive.

It runs before anything is built or installed, so it needs the standard library only. The command
is scripts/fetch_paddle_inference.py.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_CLONE = ROOT.name != "fetch_paddle"  # which is a wheel's copy
COMMAND = "fetch_paddle_inference.py" if _CLONE else "lenet-cpp fetch-paddle"
THIRD_PARTY = (ROOT if _CLONE else Path.cwd()) / "third_party"
