"""``lenet-cpp train``: train a network on MNIST and write a checkpoint."""

import dataclasses
import signal
import sys
from pathlib import Path
from typing import Any

from click import option

from lenet_cpp._base.optional import require_paddle
from lenet_cpp.cli import _options as cli
from lenet_cpp.data.mnist import load_mnist
from lenet_cpp.errors import BadInput, FileNotFound
from lenet_cpp.formats.checkpoint import load_record
from lenet_cpp.models import resolve
from lenet_cpp.training.loop import train
from lenet_cpp.training.recipes import TrainingConfig, config_from_record, recipe_for


@cli.command("""
%prog --data-dir mnist --epochs 10 -o longer
    train LeNet on the four files in mnist, longer than the guide
%prog --resume -o longer --epochs 20
    continue a training that was stopped
""")
@cli.network(default="lenet")
@option(
    "--recipe",
    type=cli.choice("guide", "best"),
    help="recipe (default: guide); best takes over half an hour on full MNIST",
)
@option("--epochs", type=cli.INTEGER, help="passes over the training images")
@cli.batch_size(help="images per step")
@cli.learning_rate()
@cli.seed(
    help="seed of the initial parameters, the order and distortion of the images (default: 0)"
)
@cli.data_dir()
@option("--download", is_flag=True, help="download MNIST into Paddle's cache if it is missing")
@cli.output_dir(help="folder for the checkpoint (default: checkpoints/NAME)")
@option("--resume", is_flag=True, help="continue the checkpoint in the output folder")
def main(
    network: str,
    recipe: str | None,
    epochs: int | None,
    batch_size: int | None,
    learning_rate: float | None,
    seed: int | None,
    data_dir: Path | None,
    download: bool,
    output_dir: Path | None,
    resume: bool,
) -> int:
    """Train a network on MNIST and write a checkpoint.

    The default is the recipe of Paddle's deployment guide: batches of 64, Adam at 1e-3, 2 epochs
    of the full MNIST, or the same 1,876 steps if only the embedded sample is available. After every
    epoch the command writes NAME.pdparams, NAME.pdopt and NAME.train.json; after Ctrl-C it writes
    them and stops.
    """
    require_paddle()
    name = resolve(network).name
    output_dir = output_dir or Path("checkpoints") / name
    mnist = load_mnist(data_dir, download=download)
    print(f"data: {mnist.describe()}", flush=True)
    given = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    if resume:
        config = _resumed(output_dir / name, network, recipe, seed, given)
    else:
        made = recipe_for(recipe or "guide", mnist, **given)
        config = TrainingConfig(recipe=made, model=network, seed=seed or 0)

    # It installs a SIGTERM handler, which ours must replace.
    import paddle  # noqa: F401 - for what importing it does

    stopped: list[int] = []  # by which signals; training stops between two steps
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: stopped.append(received))
    result = train(
        config,
        mnist,
        output_dir,
        resume=resume,
        should_stop=lambda: bool(stopped),
        report=lambda line: print(line, flush=True),
        progress=None,
    )
    where = f"{output_dir / name}.pdparams, .pdopt and .train.json"
    if not result.complete:
        print(
            f"train: stopped after step {result.steps} of {result.total_steps}; saved {where};"
            " continue with --resume",
            file=sys.stderr,
        )
        return 128 + (stopped or [signal.SIGINT])[-1]
    print(f"test accuracy: {result.accuracy}")
    print(f"saved {where}")
    return 0


def _resumed(
    stem: Path, network: str, recipe: str | None, seed: int | None, given: dict[str, Any]
) -> TrainingConfig:
    try:
        record = load_record(stem.with_suffix(".pdparams"))
    except FileNotFound as error:
        raise FileNotFound(
            f"there is no checkpoint to resume: {error}; name the folder of an earlier training"
            " with -o, or train without --resume"
        ) from error
    config = config_from_record(record, network)
    if recipe not in (None, config.recipe.name):
        raise BadInput(
            f"the checkpoint in {stem.parent} was trained with the recipe {config.recipe.name},"
            f" not {recipe}: leave out --recipe, or train without --resume"
        )
    changes = {key: value for key, value in given.items() if value is not None}
    if "epochs" in changes:
        changes["steps"] = None
    seed = config.seed if seed is None else seed
    return dataclasses.replace(
        config, recipe=dataclasses.replace(config.recipe, **changes), seed=seed
    )
