"""The model that MLServer serves when ``serve.py`` compares lenet_serve with it.

MLServer runs in an environment of its own, which lacks lenet_cpp: LENET_SITE is the folder of
packages that has it.
"""

from __future__ import annotations

import os
import site

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

site.addsitedir(os.environ["LENET_SITE"])  # behind the environment's own packages

from lenet_cpp import Predictor


class Lenet(MLModel):
    """LeNet by the predictor that the other servers have."""

    async def load(self) -> bool:
        """Load the model from the folder that the settings name."""
        self._predictor = Predictor(model_dir=self.settings.parameters.uri, engine="native")
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Return the outputs of one tensor of images."""
        images = NumpyCodec.decode_input(payload.inputs[0])
        name, result = self._predictor.output_spec.name, self._predictor.run(images)
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output(name, result)]
        )
