"""``lenet-cpp predict-many``: folders and tables of any size, in parts."""

import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from click import option
from tqdm import tqdm

from lenet_cpp._base.lazy import Unpack
from lenet_cpp._base.text import printable
from lenet_cpp.bulk import tables
from lenet_cpp.bulk.batch_predictor import BatchPredictor
from lenet_cpp.bulk.parts import predict_all
from lenet_cpp.cli import _options as cli
from lenet_cpp.cli.predict import (
    ENGINES,
    Computed,
    Files,
    check_output,
    computed_by,
    described,
    labels_from,
    model_and_images,
    of_images,
    of_results,
    read_labels,
    status_of,
)


@cli.command("""
%prog resnet50-vd photos --skip-errors -o classes.parquet
    classify a million images; repeat the command to continue after an interruption
%prog inference_model/lenet digits.parquet --column image --keep id -o classes.csv
    classify the images of a table, and copy its column id
%prog /shared/resnet50-vd /shared/photos --on ray://HEAD:6379 -o /shared/classes.parquet
    use a cluster whose machines see the same files
""")
@model_and_images
@cli.option_group("Model", *described)
@cli.option_group(
    "Images",
    *of_images,
    option(
        "--column",
        metavar="NAME",
        default="image",
        help="the column of .parquet files that holds pixels, image files or paths",
    ),
)
@cli.option_group(
    "Results",
    option(
        "-o",
        "--output",
        type=cli.FILE,
        required=True,
        help="the file to write, with a row for each image: .parquet, .csv or .jsonl",
    ),
    *of_results,
    option("--keep", type=cli.Several(), metavar="NAME,...", help="columns to copy to the output"),
    cli.switch("--probabilities", help="also write the probability of every class"),
    cli.switch("--logits", help="also write the model's raw outputs"),
)
@cli.option_group(
    "Engine",
    option(
        "--engine",
        type=cli.choice(*ENGINES[:4]),
        default="auto",
        help="native (own kernels), paddle, onnxruntime (for .onnx), or auto, the fastest of them"
        " that runs the model",
    ),
    *computed_by,
)
@cli.option_group(
    "Processes",
    option("--workers", type=cli.COUNT, help="number of processes (default: one per processor)"),
    option(
        "--on",
        metavar="CLUSTER",
        help="compute on a cluster, whose machines see the same files: ray, spark, or either with"
        " ://HOST:PORT",
    ),
    option(
        "--part-rows",
        type=cli.COUNT,
        help="approximate number of images per part (default: 1024 files, 16384 rows of a table)",
    ),
)
def main(
    files: Files,
    images: list[Path],
    network: str | None,
    check_program: bool | None,
    preprocess: Path | None,
    skip_errors: bool,
    column: str,
    output: Path,
    threshold: float | None,
    labels: Path | None,
    keep: tuple[str, ...] | None,
    probabilities: bool,
    logits: bool,
    engine: str,
    workers: int | None,
    on: str | None,
    part_rows: int | None,
    **computed: Unpack[Computed],
) -> int:
    """Classify folders and tables of images of any size, in several processes or on a cluster.

    IMAGE may also be .npy, IDX and .parquet files, and folders or globs of these. The input is
    split into parts. If the command is stopped, the finished parts are kept; repeat the command to
    continue.
    """
    check_output(output, tables.SUFFIXES)
    if on is not None and not re.fullmatch(r"(ray|spark)(://.+)?", on):
        raise click.UsageError(
            f"--on: expected ray, spark, ray://HOST:PORT or spark://HOST:PORT, got {on}"
        )
    settings: dict[str, Any] = {
        **files,
        **computed,
        "engine": engine,
        "check_program": check_program,
        "preprocess": preprocess,
        "model_name": network,
        "threshold": threshold,
        "labels": read_labels(labels),
    }
    predictor = BatchPredictor(**{k: value for k, value in settings.items() if value is not None})
    _ = predictor.output_role  # loads the model
    with labels_from(labels):
        usual = predictor.usual_outputs
    outputs = {"probabilities": probabilities, "logits": logits}
    errors: list[str] = []
    with ExitStack() as stack:

        def start(total: int, done: int) -> Callable[[int], object]:
            bar = tqdm(total=total, initial=done, desc="predict", unit="image", disable=None)
            return stack.enter_context(bar).update

        try:
            total = predict_all(
                predictor,
                images,
                output,
                outputs=[*usual, *(name for name in outputs if outputs[name])],
                column=column,
                keep=keep or (),
                skip_errors=skip_errors,
                workers=workers,
                threads=computed["threads"] or 1,
                on=on,
                part_rows=part_rows,
                start=start,
                skipped=errors.append,
            )
        except KeyboardInterrupt:
            stack.close()  # the progress bar
            cli.note("the finished parts are kept; repeat the command to continue")
            raise
    earlier = f", {total.resumed} of them in an earlier run" if total.resumed else ""
    good = total.rows - total.skipped
    print(f"wrote the predictions for {good} images to {printable(output)}{earlier}")
    return status_of(total.skipped, total.rows, errors, skip_errors=skip_errors)
