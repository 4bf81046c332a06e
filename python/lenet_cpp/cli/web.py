"""``lenet-cpp web``: a page that runs a model in the browser."""

from pathlib import Path

from lenet_cpp.cli import _options as cli
from lenet_cpp.deploy import write_page


@cli.command("%prog inference_model/lenet -o page")
@cli.exported(help="an exported model: its folder, or its .pdmodel (default: the bundled LeNet)")
@cli.output_dir(required=True)
def main(model: Path | None, output_dir: Path) -> int:
    """Write a folder with a page that runs a model in the browser.

    The model runs in WebAssembly in the page. Serve the folder with any web server, such as
    python3 -m http.server -d DIR.
    """
    files = write_page(model, output_dir)
    print(f"wrote {output_dir}")
    cli.print_files(files)
    return 0
