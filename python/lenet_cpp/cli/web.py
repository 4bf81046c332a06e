"""``lenet-cpp web``: a page that runs a model in the browser."""

from __future__ import annotations

from lenet_cpp.cli._options import Options, command, print_files
from lenet_cpp.deploy import write_page


@command(
    """
Arguments:
  [MODEL]  folder of an exported model, or its .pdmodel (default: the bundled LeNet)
Options:
  -o, --output-dir DIR  [required]
Examples:
  %prog inference_model/lenet -o page
"""
)
def main(options: Options) -> int:
    """Write a folder with a page that runs a model in the browser, without a server of ours.

    The model runs by WebAssembly in the page. Serve the folder with any web server, such as
    python3 -m http.server -d DIR.
    """
    files = write_page(options.model, options.output_dir)
    print(f"wrote {options.output_dir}")
    print_files(files)
    return 0
