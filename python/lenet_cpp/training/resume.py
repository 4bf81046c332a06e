"""Check whether a checkpoint can be continued, with the same configuration and data."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from lenet_cpp.errors import BadInput, BadModel
from lenet_cpp.training.recipes import TrainingConfig, config_from_record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from lenet_cpp.data.mnist import Mnist


def check_resumable(
    record: Mapping[str, Any], config: TrainingConfig, mnist: Mnist, folder: Path
) -> None:
    """Check that training by ``config`` on ``mnist`` may continue from a checkpoint.

    Args:
        record: The checkpoint's training record.
        config: The configuration. With a constant learning rate its length may differ.
        mnist: The data.
        folder: The checkpoint's folder, for the messages.

    Raises:
        BadInput: The checkpoint has another configuration, other data, or more steps.
        BadModel: The record is incomplete.
    """
    stored = config_from_record(record, config.model)
    if record.get("data", {}).get("md5") != mnist.md5:
        raise BadInput(
            f"the checkpoint in {folder} was trained on other data"
            f" ({record.get('data', {}).get('train_images')} images) than {mnist.folder}:"
            " name the folder of its data"
        )
    done = record.get("steps_done")
    seconds = record.get("seconds")
    if not isinstance(done, int) or done < 1 or not isinstance(seconds, (int, float)):
        raise BadModel(f"the training record in {folder} does not have its number of steps")
    before, now = _flat(stored) | {"model": record["model"]}, _flat(config)
    # With a constant learning rate the length does not affect the steps already done.
    free = {"epochs", "steps"} if stored.recipe.schedule == "constant" else set()
    faults = [
        f"{key} was {before[key]}, not {now[key]}"
        for key in before
        if before[key] != now[key] and key not in free
    ]
    if faults:
        raise BadInput(f"cannot resume the checkpoint in {folder} differently: {'; '.join(faults)}")
    total = config.total_steps(len(mnist.train))
    if done > total:
        raise BadInput(
            f"the checkpoint in {folder} has {done} steps, more than the {total} asked for"
        )


def _flat(config: TrainingConfig) -> dict[str, Any]:
    recipe = dataclasses.asdict(config.recipe)
    return {"model": config.spec.name, "seed": config.seed, "recipe": recipe.pop("name"), **recipe}
