"""``lenet-cpp bundle``: a program and a model as one thing to move."""

from pathlib import Path

from click import option

from lenet_cpp.cli import _options as cli
from lenet_cpp.deploy import write_bundle
from lenet_cpp.errors import FileNotFound
from lenet_cpp.inference.program import find_built

_NAME = "lenet_infer_native"


@cli.command("""
%prog inference_model/lenet -o digits
    then: digits/lenet_infer_native; digits.tar.gz would be the same as an archive
%prog inference_model/lenet --single-file --program build/static/lenet_classify -o classify
    then: ./classify photo.jpg
""")
@cli.exported()
@option(
    "-o",
    "--output",
    type=cli.FILE,
    required=True,
    metavar="PATH",
    help="the folder to write, or an archive NAME.tar.gz, or the single file",
)
@option("--single-file", is_flag=True, help="write one file: a static program with the model in it")
@cli.program(
    help="what runs the model: lenet_infer_native, lenet_classify, lenet_serve, or one of yours,"
    " which gets the model's folder as its first argument (default: lenet_infer_native of build/,"
    " of this package or in PATH; with --single-file that of build/static)"
)
def main(model: Path | None, output: Path, single_file: bool, program: Path | None) -> int:
    """Write a C++ program with a model and the libraries it needs, to run on another computer.

    There nothing has to be installed, neither Python nor this package: the program is started
    by its name in the folder, with the model that is beside it. The native engine runs it.
    """
    names = [_NAME] if not single_file else [f"static/{_NAME}", _NAME]
    found = (find_built(name, Path()) for name in names)
    program = program or next(filter(None, found), None)
    if program is None:
        raise FileNotFound(f"{_NAME} is not here: name the program with --program")
    said = write_bundle(model, output, program, single_file=single_file)
    print(f"wrote {output}\n  " + "\n  ".join(said))
    return 0
