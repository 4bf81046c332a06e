"""Train scikit-learn's classifiers of random points, and have skl2onnx write them as .onnx.

    pip install scikit-learn skl2onnx
    python make.py

writes NAME.onnx beside this file, and expected.json: the points, and scikit-learn's own labels and
probabilities of them. The points are drawn here, so that no one else has rights to the files.
"""

import json
from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

NAMES = ["zebra", "ant", "Éléphant", "cat"]  # which sorts otherwise than the numbers
MODELS = {
    "logistic": (lambda: make_pipeline(StandardScaler(), LogisticRegression()), NAMES),
    "forest": (lambda: RandomForestClassifier(2, max_depth=2, random_state=0), [-5, 100, 7, 20]),
    "mlp": (lambda: MLPClassifier((5,), max_iter=900, random_state=0), NAMES),
    "numbered": (lambda: LogisticRegression(), [0, 1, 2, 3]),
}


def main() -> None:
    """Write the files."""
    folder = Path(__file__).parent
    random = np.random.default_rng(0)
    drawn = random.integers(0, 4, 80)
    points = random.normal(0, 1, (80, 4)) + 2 * np.eye(4)[drawn]
    points = points.astype("float32")
    expected = {"points": points[:7].tolist()}
    for name, (make, names) in MODELS.items():
        model = make().fit(points, np.array(names)[drawn])
        for zip_map in (True, False):
            made = to_onnx(
                model, points[:1], target_opset=17, options={id(model): {"zipmap": zip_map}}
            )
            path = folder / f"{name}{'' if zip_map else '_plain'}.onnx"
            path.write_bytes(made.SerializeToString())
        expected[name] = {
            "classes": model.classes_.tolist(),
            "labels": model.predict(points[:7]).tolist(),
            "probabilities": model.predict_proba(points[:7]).tolist(),
        }
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
