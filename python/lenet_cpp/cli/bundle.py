"""``lenet-cpp bundle``: a program and a model as one thing to move."""

from __future__ import annotations

from pathlib import Path

from lenet_cpp.cli._options import Options, command
from lenet_cpp.deploy import write_bundle
from lenet_cpp.errors import FileNotFound
from lenet_cpp.inference.program import find_built

_NAME = "lenet_infer_native"


@command(
    """
Arguments:
  [MODEL]  folder of an exported model, or its program (default: the bundled LeNet)
Options:
  -o, --output PATH  the folder to write, or an archive NAME.tar.gz, or the single file [required]
  --single-file  write one file, a static program with the model inside
  --program FILE
      what runs the model: lenet_infer_native, lenet_classify, lenet_serve, or one of yours, which
      gets the model's folder as its first argument (default: lenet_infer_native of build/, of this
      package or in PATH; with --single-file that of build/static)
Examples:
  %prog inference_model/lenet -o digits  then: digits/lenet_infer_native
  %prog inference_model/lenet -o digits.tar.gz  the same folder as an archive
  %prog inference_model/lenet --program build/lenet_serve -o server  then: server/lenet_serve
  %prog inference_model/lenet --single-file --program build/static/lenet_classify -o classify
      then: ./classify photo.jpg
"""
)
def main(options: Options) -> int:
    """Write a C++ program with a model and the libraries it needs, to run on another computer.

    There nothing has to be installed, neither Python nor this package: the program is started
    by its name in the folder, with the model that is beside it. The native engine runs it.
    """
    names = [_NAME] if not options.single_file else [f"static/{_NAME}", _NAME]
    found = (find_built(name, Path()) for name in names)
    program = options.program or next(filter(None, found), None)
    if program is None:
        raise FileNotFound(f"{_NAME} is not here: name the program with --program")
    said = write_bundle(options.model, options.output, program, single_file=options.single_file)
    print(f"wrote {options.output}\n  " + "\n  ".join(said))
    return 0
