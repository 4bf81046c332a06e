"""The steps of the toolkits' environment: what they make of pictures, and of outputs."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from tools.toolkits.cases import PICTURES, Case, paths, read_cases, write_cases
from tools.toolkits.folders import write_paddleclas, write_paddlex2, write_paddlex3
from tools.toolkits.packages import PADDLEX2_TOPK, toolkit_of

if TYPE_CHECKING:
    from pathlib import Path

OUTPUTS = {"PersonAttribute": 26, "VehicleAttribute": 19, "TableAttribute": 6, "ThreshOutput": 2}
UNSUPPORTED = {"cls_ch4": "channel_num"}


def prepare(folder: Path, packages: Path) -> None:
    """Write the pictures, the folders and the tensors.

    Args:
        folder: Where.
        packages: The folder with those of PaddleX, paddlex2 and paddlex3.
    """
    import yaml

    if (folder / "cases.json").is_file():
        for case in read_cases(folder):
            shutil.rmtree(folder / case.name)
    draw(folder / "pictures")
    write_paddleclas(folder)
    write_paddlex3(folder)
    write_paddlex2(folder, packages)
    cases = []
    for config in sorted([*folder.glob("*/inference.yml"), *folder.glob("*/model.yml")]):
        toolkit = toolkit_of(config, packages)
        np.savez(config.with_name("tensors.npz"), **{p: toolkit.tensor(p) for p in paths(folder)})
        content = yaml.load(config.read_text("utf-8"), yaml.Loader)  # has tuples; written above
        post = content.get("PostProcess", {"Topk": {}})
        (kind,) = post.keys() - {"main_indicator", "SavePreLabel"}
        names = content.get("_Attributes", {}).get("labels") or post[kind].get("label_list")
        count = len(names or label_lines(config.parent)) or OUTPUTS[kind]
        shown = {"Topk": post[kind].get("topk", PADDLEX2_TOPK), "ThreshOutput": 1}
        case = Case(
            *(config.parent.name, toolkit.name, config.name, kind),
            count=count,
            shown=shown.get(kind, count),
            thresholds=toolkit.thresholds,
            unsupported=UNSUPPORTED.get(config.parent.name, ""),
        )
        cases.append(case)
    write_cases(folder, cases)


def label_lines(folder: Path) -> list[str]:
    return [line for file in folder.glob("*.txt") for line in file.read_text("utf-8").splitlines()]


def draw(folder: Path) -> None:
    """Write pictures of blocks of 8 x 8 pixels under noise, each with its own tint."""
    folder.mkdir(exist_ok=True)
    for index, (name, (height, width), mode) in enumerate(PICTURES):
        random = np.random.default_rng(index)
        blocks = random.integers(0, 200, (height // 8 + 1, width // 8 + 1, 3))
        blocks = blocks.repeat(8, 0).repeat(8, 1)[:height, :width]
        pixels = (blocks + random.integers(0, 56, blocks.shape)) * random.uniform(0.2, 1, 3)
        options: dict[str, Any] = {"quality": 90} if name.endswith("jpg") else {}
        if name == "turned.jpg":
            options["exif"] = exif = Image.Exif()
            exif[0x112] = 6  # the orientation: to be turned by a quarter
        Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(folder / name, **options)


def theirs(folder: Path, packages: Path) -> None:
    """Write the results of the outputs."""
    for case in read_cases(folder):
        made = folder / case.name
        toolkit = toolkit_of(made / case.config, packages)
        with np.load(made / "outputs.npz") as outputs:
            results = [toolkit.result(path, outputs[path]) for path in paths(folder)]
        text = json.dumps(results, default=lambda value: value.item(), indent=1)
        (made / "results.json").write_text(text)
