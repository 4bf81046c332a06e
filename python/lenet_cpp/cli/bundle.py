"""``lenet-cpp bundle``: a program and a model as one thing to move."""

from pathlib import Path

import click
from click import option

from lenet_cpp.cli import _options as cli
from lenet_cpp.deploy import write_bundle
from lenet_cpp.errors import FileNotFound
from lenet_cpp.inference.program import find_built

_NAME = "lenet_infer_native"
_OTHER_ARCHIVES = {".7z", ".bz2", ".tar", ".tgz", ".xz", ".zip", ".zst"}
"""Suffixes of names that would be mistaken for archives, but would be folders."""


@cli.command("""
%prog inference_model/lenet -o digits
    write a folder; start the program with digits/lenet_infer_native
%prog inference_model/lenet -o digits.tar.gz
    write the same folder as an archive
%prog inference_model/lenet --single-file --program build/static/lenet_classify -o classify
    write one file; start it with ./classify photo.jpg
""")
@cli.exported()
@option(
    "-o",
    "--output",
    type=cli.FILE,
    required=True,
    metavar="PATH",
    help="the folder, the archive NAME.tar.gz or, with --single-file, the file to write",
)
@option("--single-file", is_flag=True, help="write one file: a static program with the model in it")
@cli.program(
    help="the program that runs the model: lenet_infer_native, lenet_classify, lenet_serve, or your"
    " own, which gets the model's folder as its first argument (default: lenet_infer_native in"
    " build/, in this package or in PATH; with --single-file in build/static)"
)
def main(model: Path | None, output: Path, single_file: bool, program: Path | None) -> int:
    """Write a C++ program with a model and its libraries, to run on another computer.

    That computer needs neither Python nor this package. Start the program by its name in the
    folder; it uses the model beside it, and the native engine. All files of the model come along,
    also its labels and the values of an .onnx that are in other files. The bundle is written only
    if its program gives the same results as before.
    """
    if not single_file and output.suffix in _OTHER_ARCHIVES:
        raise click.UsageError(f"--output: archives are called NAME.tar.gz, not {output.name}")
    names = [_NAME] if not single_file else [f"static/{_NAME}", _NAME]
    found = (find_built(name, Path()) for name in names)
    program = program or next(filter(None, found), None)
    if program is None:
        raise FileNotFound(
            f"{_NAME} is not in build/, in this package or in PATH: build it with ./run.sh, or"
            " name another program with --program"
        )
    said = write_bundle(model, output, program, single_file=single_file)
    print(f"wrote {output}\n  " + "\n  ".join(said))
    return 0
