"""Compare with PaddleClas and PaddleX: folders that they exported, their tensors and results.

    nox -s paddleclas          makes the environments and runs this

Networks of random weights stand for theirs. The configurations and label lists are those of the
installed package of PaddleClas, and the Python that reads them is that of the toolkits. In four
steps, because neither toolkit runs beside the Paddle of lenet_cpp:

    python -m tools.toolkits prepare DIR   by the toolkits: inference.yml, pictures, tensors
    python -m tools.toolkits ours DIR      by lenet_cpp's Paddle: networks, outputs of the tensors
    python -m tools.toolkits theirs DIR    by the toolkits: the results of these outputs
    python -m tools.toolkits judge DIR     in lenet_cpp: what each of its faces says; the verdict

The exit status of judge is 1 where something differs.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> int:
    description, _, text = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="tools.toolkits",
        description=description,
        epilog=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("step", choices=("prepare", "ours", "theirs", "judge"))
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the steps keep everything")
    help_ = "of the steps prepare and theirs: the folder of paddlex2 and paddlex3 (default: DIR)"
    parser.add_argument("--packages", type=Path, metavar="FOLDER", help=help_)
    help_ = "of judge: the folder of lenet_classify and lenet_serve (default: %(default)s)"
    parser.add_argument(
        "--programs", type=Path, metavar="FOLDER", default=Path("build"), help=help_
    )
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    # Each environment has what its own steps import.
    if options.step == "judge":
        for path in (options.programs / name for name in ("lenet_classify", "lenet_serve")):
            if not path.is_file():
                parser.error(f"{path} is missing: run ./run.sh, or name its folder by --programs")
        from tools.toolkits.verdict import judge

        return judge(options.folder, options.programs)
    if options.step == "ours":
        from tools.toolkits.networks import ours

        ours(options.folder)
    else:
        from tools.toolkits import reference

        step = reference.prepare if options.step == "prepare" else reference.theirs
        step(options.folder, options.packages or options.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
