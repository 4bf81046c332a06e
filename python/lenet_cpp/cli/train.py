"""``lenet-cpp train``: train a model on MNIST and leave a checkpoint."""

from __future__ import annotations

import dataclasses
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lenet_cpp._base.optional import require_paddle
from lenet_cpp.cli._options import Options, command
from lenet_cpp.data.mnist import load_mnist
from lenet_cpp.errors import BadInput
from lenet_cpp.formats.checkpoint import load_record
from lenet_cpp.models import resolve
from lenet_cpp.training.loop import train
from lenet_cpp.training.recipes import TrainingConfig, config_from_record, recipe_for

if TYPE_CHECKING:
    from lenet_cpp.data.mnist import Mnist


@command(
    """
  --model  which model: a registered name, or FILE.py:SPEC [default: lenet]
  --recipe guide|best  best takes over half an hour on full MNIST (default: guide)
  --epochs EPOCHS  passes over the training images
  --batch-size  images a step
  --lr
  --seed  of parameters, order and distortion (default: 0)
  --data-dir
  --download  fetch MNIST into Paddle's cache if missing
  --output-dir  where the checkpoint goes (default: checkpoints/MODEL)
  --resume  continue the checkpoint in the output folder
Examples:
  %prog  LeNet by the guide's recipe, to checkpoints/lenet
  %prog --data-dir mnist --epochs 10 --output-dir longer  longer, on the four files in mnist
  %prog --resume --output-dir longer --epochs 20  and on from where it stopped
"""
)
def main(options: Options) -> int:
    """Train a model on MNIST and leave a checkpoint.

    The default is the recipe of Paddle's deployment guide: batches of 64, Adam at 1e-3, 2 epochs
    of the full MNIST, or the same 1,876 steps when only the embedded sample is there. Writes
    NAME.pdparams, NAME.pdopt and NAME.train.json after every epoch and at the end. Ctrl-C saves
    and stops; --resume continues as if nothing had happened.
    """
    require_paddle()
    name = resolve(options.model).name
    output_dir: Path = options.output_dir or Path("checkpoints") / name
    mnist = load_mnist(options.data_dir, download=options.download)
    print(f"data: {mnist.describe()}", flush=True)
    config = _config(options, mnist, output_dir / name)

    # It installs a SIGTERM handler, which ours must replace.
    import paddle  # noqa: F401 - for what importing it does

    stopped: list[int] = []  # by which signals; training stops between two steps
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: stopped.append(received))
    result = train(
        config,
        mnist,
        output_dir,
        resume=options.resume,
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


def _config(options: Options, mnist: Mnist, stem: Path) -> TrainingConfig:
    given = {**options.only("epochs", "batch_size"), "learning_rate": options.lr}
    if not options.resume:
        recipe = recipe_for(options.recipe or "guide", mnist, **given)
        return TrainingConfig(recipe=recipe, model=options.model, seed=options.seed or 0)
    config = config_from_record(load_record(stem.with_suffix(".pdparams")), options.model)
    if options.recipe not in (None, config.recipe.name):
        raise BadInput(
            f"the checkpoint in {stem.parent} was trained by the recipe {config.recipe.name},"
            f" not {options.recipe}"
        )
    changes = {key: value for key, value in given.items() if value is not None}
    if "epochs" in changes:
        changes["steps"] = None
    seed = config.seed if options.seed is None else options.seed
    return dataclasses.replace(
        config, recipe=dataclasses.replace(config.recipe, **changes), seed=seed
    )
