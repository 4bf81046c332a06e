"""Trains it on pictures made here, in a loop like any other: train.py FOLDER."""

import sys
from pathlib import Path

import numpy as np
import paddle
from colours import SPEC
from PIL import Image

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
random = np.random.default_rng(0)
paddle.seed(0)


def picture(label):
    """Noise in which one channel is brighter."""
    pixels = random.integers(0, 120, (80, 100, 3), dtype=np.uint8)
    pixels[:, :, label] += 90
    return Image.fromarray(pixels)


network, prepare = SPEC.build(), SPEC.pipeline()
adam = paddle.optimizer.Adam(0.02, parameters=network.parameters())
for _ in range(60):
    labels = random.integers(0, 3, 16)
    images = prepare.batch([picture(label) for label in labels])
    loss = paddle.nn.functional.cross_entropy(
        network(paddle.to_tensor(images)), paddle.to_tensor(labels)
    )
    loss.backward()
    adam.step()
    adam.clear_grad()

paddle.save(network.state_dict(), str(folder / "colours.pdparams"))
for label, name in enumerate(SPEC.labels):
    picture(label).save(folder / f"{name}.png")
print(f"loss {float(loss):.4f}; wrote colours.pdparams and a picture of each class in {folder}")
