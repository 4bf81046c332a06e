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
    " own, which gets the model's folder as its first argument (default: lenet_infer_native); a"
    " bare name is looked for in build/, in this package and in PATH, with --single-file in"
    " build/static first"
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
    if program is None:
        program = _found(_NAME, single_file)
    elif len(program.parts) == 1 and not program.is_file():
        program = _found(program.name, single_file)
    said = write_bundle(model, output, program, single_file=single_file)
    print(f"wrote {output}\n  " + "\n  ".join(said))
    return 0


def _found(name: str, single_file: bool) -> Path:
    """Return the program of a name; FileNotFound if there is none."""
    names = [f"static/{name}", name] if single_file else [name]
    program = next(filter(None, (find_built(each, Path()) for each in names)), None)
    if program is None:
        folders = "build/static, build/" if single_file else "build/"
        raise FileNotFound(
            f"{name} is not in {folders}, in this package or in PATH: build it with ./run.sh, or"
            " name the file of another program with --program"
        )
    return program
