"""Get from a photo to its class with each library; a child process of ``--photos`` imports this.

As in ``engines.py``, each function takes a model and returns what runs: here a function from the
path of a photo to the number of its class and the probability of that. A model also has
``preprocess``, the description that the Classifier reads; ``folder``, the folder of the model and
its description, which also has PaddleX's; and ``cache``, a folder for temporary files. The others
compute the same by hand.
"""

from __future__ import annotations

import os
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Classify = Callable[[str], tuple[int, float]]
    Model = Mapping[str, Any]

SHORT_SIDE, CROP = 256, 224
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
STD = np.array([0.229, 0.224, 0.225], np.float32)
# PaddleX knows its own names only. Any classifier's will do: the files decide what runs.
PADDLEX_MODEL = "ResNet50"
_MANY = 1_000_000


def classifier(model: Model) -> Classify:
    """Run ``lenet_cpp.Classifier`` on the file."""
    from lenet_cpp import Classifier

    made = Classifier(
        model["program"],
        preprocess=model["preprocess"],
        engine="native",
        threads=model["threads"],
        top=1,
    )

    def run(path: str) -> tuple[int, float]:
        result = made(path)
        return result.class_id, result.probability

    return run


def paddlex(model: Model) -> Classify:
    """Run PaddleX with its defaults: oneDNN on ten threads."""
    return _paddlex(model)


def paddlex_one_thread(model: Model) -> Classify:
    """Run PaddleX with its defaults, but on one thread."""
    return _paddlex(model, engine_config={"cpu_threads": 1})


def _paddlex(model: Model, **options: Any) -> Classify:
    # The model is local, so PaddleX need not look for servers that have models.
    os.environ["PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK"] = "True"
    os.environ["PADDLE_PDX_CACHE_HOME"] = model["cache"]
    from paddlex import create_model

    made = create_model(PADDLEX_MODEL, model_dir=model["folder"], **options)
    # The first answer is checked, so its probability is computed from the logits of all classes.
    # PaddleX would round a probability of its own to five decimals.
    counts = chain([_MANY], repeat(1))

    def run(path: str) -> tuple[int, float]:
        (result,) = made.predict(path, topk=next(counts))
        logits = result["scores"]
        return int(result["class_ids"].flat[0]), float(1 / np.exp(logits - logits[0]).sum())

    return run


def opencv(model: Model) -> Classify:
    """Read and resize with cv2, run onnxruntime."""
    import cv2

    cv2.setNumThreads(model["threads"])
    session = _session(model)

    def run(path: str) -> tuple[int, float]:
        picture: Any = cv2.imread(path)
        height, width = picture.shape[:2]
        scale = SHORT_SIDE / min(height, width)
        size = (round(width * scale), round(height * scale))
        resized: Any = cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)
        top, left = (size[1] - CROP) // 2, (size[0] - CROP) // 2
        crop: Any = cv2.cvtColor(resized[top : top + CROP, left : left + CROP], cv2.COLOR_BGR2RGB)
        return session(np.asarray(crop))

    return run


def pillow(model: Model) -> Classify:
    """Read and resize with Pillow, as torchvision's transforms do; run onnxruntime."""
    from PIL import Image

    session = _session(model)

    def run(path: str) -> tuple[int, float]:
        picture = Image.open(path).convert("RGB")
        width, height = picture.size
        shorter = min(width, height)
        size = (int(SHORT_SIDE * width / shorter), int(SHORT_SIDE * height / shorter))
        resized = picture.resize(size, Image.Resampling.BILINEAR)
        left, top = round((size[0] - CROP) / 2), round((size[1] - CROP) / 2)
        return session(np.asarray(resized.crop((left, top, left + CROP, top + CROP))))

    return run


def _session(model: Model) -> Callable[[NDArray[np.uint8]], tuple[int, float]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = model["threads"]
    session = onnxruntime.InferenceSession(
        model["onnx"], options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name

    def run(pixels: NDArray[np.uint8]) -> tuple[int, float]:
        values = (pixels.astype(np.float32) / np.float32(255) - MEAN) / STD
        batch = np.ascontiguousarray(values.transpose(2, 0, 1)[np.newaxis])
        logits = session.run(None, {name: batch})[0][0]
        shares = np.exp(logits - logits.max())
        return int(logits.argmax()), float(1 / shares.sum())

    return run
