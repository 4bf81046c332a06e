"""What ``serve.py`` compares lenet_serve with: the Python servers that one would write oneself.

Uvicorn imports ``starlette`` or ``fastapi`` from here. LENET_MODEL is the folder of the model.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request  # noqa: TC002 - FastAPI looks at the annotations
from starlette.responses import Response
from starlette.routing import Route

from lenet_cpp import Predictor

_PREDICTOR = Predictor(model_dir=os.environ["LENET_MODEL"], engine="native")
_NAME = _PREDICTOR.output_spec.name


async def infer(request: Request) -> Response:
    """Answer in the form of the request: JSON, or JSON followed by the values as bytes."""
    body, size = await request.body(), request.headers.get("inference-header-content-length")
    header = json.loads(body if size is None else body[: int(size)])
    (tensor,) = header["inputs"]
    values = tensor["data"] if size is None else np.frombuffer(body, "<f4", offset=int(size))
    result = _PREDICTOR.run(np.asarray(values, np.float32).reshape(tensor["shape"]))
    output: dict[str, Any] = {"name": _NAME, "datatype": "FP32", "shape": result.shape}
    answer = {"model_name": "lenet", "model_version": "1", "outputs": [output]}
    if size is None:
        output["data"] = result.ravel().tolist()
        return Response(json.dumps(answer), media_type="application/json")
    output["parameters"] = {"binary_data_size": result.nbytes}
    text = json.dumps(answer).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    return Response(text + result.tobytes(), 200, headers, "application/octet-stream")


class Tensor(BaseModel):
    """A tensor in JSON."""

    name: str
    datatype: str
    shape: list[int]
    data: list[float]


class Question(BaseModel):
    """A request in JSON."""

    inputs: list[Tensor]


class Answer(BaseModel):
    """A response in JSON."""

    model_name: str
    model_version: str
    outputs: list[Tensor]


async def infer_json(question: Question) -> Answer:
    """Answer JSON, which FastAPI has read and checked by the types."""
    (tensor,) = question.inputs
    result = _PREDICTOR.run(np.asarray(tensor.data, np.float32).reshape(tensor.shape))
    shape = list(result.shape)
    output = Tensor(name=_NAME, datatype="FP32", shape=shape, data=result.ravel().tolist())
    return Answer(model_name="lenet", model_version="1", outputs=[output])


_BINARY, _JSON = "/v2/models/lenet/infer", "/v2/models/lenet/versions/1/infer"
starlette = Starlette(routes=[Route(path, infer, methods=["POST"]) for path in (_BINARY, _JSON)])
fastapi = FastAPI()
fastapi.post(_BINARY)(infer)
fastapi.post(_JSON)(infer_json)
