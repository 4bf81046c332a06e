"""The LitServe server that ``serve.py`` compares lenet_serve with: litserve_server.py PORT.

LENET_MODEL is the folder of the model, LENET_PATH the path of requests. All else is as LitServe has
it by default: one process for the model, one for HTTP, no batching.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import litserve
import numpy as np

from lenet_cpp import Predictor


class Lenet(litserve.LitAPI):
    """LeNet by the predictor that the other servers have."""

    def setup(self, _: str) -> None:
        """Load the model."""
        self._predictor = Predictor(model_dir=os.environ["LENET_MODEL"], engine="native")

    def decode_request(self, request):  # type: ignore[no-untyped-def] # FastAPI checks annotated
        """Return the images of a request."""
        (tensor,) = request["inputs"]
        return np.asarray(tensor["data"], np.float32).reshape(tensor["shape"])

    def predict(self, images: Any) -> Any:
        """Run the model."""
        return self._predictor.run(images)

    def encode_response(self, result: Any) -> dict[str, Any]:
        """Return what becomes the JSON of a response."""
        output: dict[str, Any] = {"name": self._predictor.output_spec.name, "datatype": "FP32"}
        output |= {"shape": result.shape, "data": result.ravel().tolist()}
        return {"model_name": "lenet", "model_version": "1", "outputs": [output]}


if __name__ == "__main__":
    server = litserve.LitServer(Lenet(api_path=os.environ["LENET_PATH"]))
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)
