#!/usr/bin/env python3
"""Compare with PaddleClas: the ResNet-D family, in both directions, and how images are prepared.

    nox -s paddleclas          makes the environments and runs this

Run in three steps, because PaddleClas 2.6 needs an older NumPy and an older Paddle:

    compare_paddleclas.py ours DIR     in the environment of lenet_cpp: our weights and outputs
    compare_paddleclas.py theirs DIR   in that of PaddleClas: theirs, and theirs with our weights
    compare_paddleclas.py judge DIR    in ours again: ours with their weights, and the verdict
"""

from __future__ import annotations

import argparse
import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

DEPTHS = (18, 34, 50, 101, 152, 200)
# Two versions of Paddle with different kernels: the tolerance of another engine.
TOLERANCE = 1e-5
CLASSES = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("ours", "theirs", "judge"))
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    return {"ours": ours, "theirs": theirs, "judge": judge}[options.step](options.folder)


def images(size: int) -> np.ndarray:
    """Odd sizes too: there the average-pooling of shortcuts has an incomplete window."""
    return np.random.default_rng(size).standard_normal((2, 3, size, size)).astype("float32")


SIZES = (64, 75)
# What stands under ResizeImage in an inference.yml, and the sizes of pictures, [height, width].
RESIZES: tuple[dict[str, Any], ...] = (
    {"resize_short": 256},
    {"resize_short": 230, "interpolation": "area"},
    {"size": [300, 231], "interpolation": "nearest", "backend": "cv2"},
    {"resize_short": 231, "backend": "pil"},
    {"resize_short": 301, "interpolation": "bilinear", "backend": "pil"},
)
PICTURES = ((301, 417), (600, 450), (512, 512), (97, 61), (1203, 902))


def operators(resize: dict[str, Any]) -> list[dict[str, Any]]:
    """Return PreProcess.transform_ops of an inference.yml."""
    normalize = {"scale": 0.00392157, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    return [
        {"ResizeImage": resize},
        {"CropImage": {"size": 224}},
        {"NormalizeImage": {**normalize, "order": ""}},
        {"ToCHWImage": None},
    ]


def picture(size: tuple[int, int]) -> np.ndarray:
    """Return blocks of 8 x 8 pixels under noise, uint8 [height, width, 3]."""
    random = np.random.default_rng(size[0])
    blocks = random.integers(0, 200, (size[0] // 8 + 1, size[1] // 8 + 1, 3)).repeat(8, 0)
    noise = random.integers(0, 56, (*size, 3))
    return (blocks.repeat(8, 1)[: size[0], : size[1]] + noise).astype(np.uint8)


def outputs(layer: Any) -> dict[str, Any]:
    import paddle

    layer.eval()
    with paddle.no_grad():
        return {str(size): layer(paddle.to_tensor(images(size))).numpy() for size in SIZES}


def describe(layer: Any) -> dict[str, list[int]]:
    return {name: list(value.shape) for name, value in layer.state_dict().items()}


def ours(folder: Path) -> int:
    from lenet_cpp import models

    for depth in DEPTHS:
        layer = models.build(f"ResNet{depth}_vd", CLASSES, seed=depth)
        # Not with paddle.save: what NumPy 2 pickles, NumPy 1 cannot read.
        state = {name: value.numpy() for name, value in layer.state_dict().items()}
        np.savez(folder / f"our_state{depth}.npz", **state)
        np.savez(folder / f"ours{depth}.npz", **outputs(layer))
        (folder / f"ours{depth}.json").write_text(json.dumps(describe(layer)))
    return 0


def theirs(folder: Path) -> int:
    import paddle

    resnet = import_module("paddleclas.ppcls.arch.backbone.legendary_models.resnet")
    preprocess = import_module("paddleclas.deploy.python.preprocess")
    for index, resize in enumerate(RESIZES):
        prepared: dict[str, Any] = {}
        steps = preprocess.create_operators(operators(resize))
        for height_width in PICTURES:
            values = picture(height_width)
            for step in steps:
                values = step(values)
            prepared[str(height_width)] = values
        np.savez(folder / f"prepared{index}.npz", **prepared)
    opencv = preprocess.cv2.__version__
    versions = {"paddle": paddle.__version__, "numpy": np.__version__, "opencv": opencv}
    (folder / "versions.json").write_text(json.dumps(versions))
    for depth in DEPTHS:
        paddle.seed(depth)
        layer = getattr(resnet, f"ResNet{depth}_vd")(class_num=CLASSES)
        (folder / f"theirs{depth}.json").write_text(json.dumps(describe(layer)))
        # Its own initial values; their statistics of batches are changed by training a little.
        layer.train()
        for size in SIZES:
            layer(paddle.to_tensor(images(size)))
        paddle.save(layer.state_dict(), str(folder / f"theirs{depth}.pdparams"))
        np.savez(folder / f"theirs{depth}.npz", **outputs(layer))
        with np.load(folder / f"our_state{depth}.npz") as state:
            missing, unexpected = layer.set_state_dict(dict(state))
        if missing or unexpected:
            print(f"ResNet{depth}_vd: missing {missing}, unexpected {unexpected}", file=sys.stderr)
            return 1
        np.savez(folder / f"theirs_with_ours{depth}.npz", **outputs(layer))
    return 0


def judge(folder: Path) -> int:
    import paddle

    from lenet_cpp import models
    from lenet_cpp.data.images import Pipeline

    versions = json.loads((folder / "versions.json").read_text())
    print(f"PaddleClas 2.6.0 on Paddle {versions['paddle']}, NumPy {versions['numpy']};")
    print(f"lenet_cpp on Paddle {paddle.__version__}, NumPy {np.__version__}\n")
    print("| network | tensors | parameters | names, shapes | our weights | their weights |")
    print("| --- | --- | --- | --- | --- | --- |")
    fine = True
    for depth in DEPTHS:
        layer = models.build(f"ResNet{depth}_vd", CLASSES)
        models.load_pretrained(layer, folder / f"theirs{depth}.pdparams")
        read = [
            json.loads((folder / f"{who}{depth}.json").read_text()) for who in ("ours", "theirs")
        ]
        same = list(read[0].items()) == list(read[1].items())
        with np.load(folder / f"theirs{depth}.npz") as expected:
            forward = largest(dict(expected), outputs(layer))
        with (
            np.load(folder / f"ours{depth}.npz") as expected,
            np.load(folder / f"theirs_with_ours{depth}.npz") as found,
        ):
            back = largest(dict(expected), dict(found))
        fine &= same and max(forward, back) <= TOLERANCE
        count = sum(p.size for p in layer.parameters())
        print(
            f"| ResNet{depth}_vd | {len(read[0])} | {count:,} | {'the same' if same else 'DIFFER'}"
            f" | {back:.1e} | {forward:.1e} |"
        )
    for index, resize in enumerate(RESIZES):
        description = {"PreProcess": {"transform_ops": operators(resize)}}
        (folder / "inference.yml").write_text(json.dumps(description))
        pipeline = Pipeline.load(folder / "inference.yml")
        with np.load(folder / f"prepared{index}.npz") as expected:
            different = [
                size for size in PICTURES if (pipeline(picture(size)) != expected[str(size)]).any()
            ]
        fine &= not different
        same_tensors = f"DIFFERENT for {different}" if different else "the same"
        print(f"ResizeImage {json.dumps(resize)}: {same_tensors}, OpenCV {versions['opencv']}")
    print("\nLargest differences, relative to the largest output of an image (at least 1).")
    print("verdict:", "the same" if fine else "NOT the same")
    return 0 if fine else 1


def largest(expected: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> float:
    worst = 0.0
    for size, reference in expected.items():
        scale = np.maximum(1, np.abs(reference).max(axis=1, keepdims=True))
        worst = max(worst, float((np.abs(found[size] - reference) / scale).max()))
    return worst


if __name__ == "__main__":
    sys.exit(main())
