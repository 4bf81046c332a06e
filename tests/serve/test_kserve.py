"""KServe's inference client, in an environment of its own.

It brings some sixty packages, Kubernetes' client among them, and wants older ones of psutil and
protobuf than ours: 450 MB. Where its environment is not made the test is skipped; `nox -s nightly`
makes it.
"""

import json
import subprocess
import sys

import numpy as np
import pytest

import lenet_cpp
from lenet_cpp.errors import BackendFailure
from lenet_cpp.quantize.environments import Environment

KSERVE = Environment(
    name="kserve-0.21",
    title="KServe's client",
    requirements=("kserve==0.21.0",),
    trial="import kserve",
    remedy="it needs the network",
)
CLIENT = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

async def main(url, digits):
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    ready = [await client.is_server_live(url), await client.is_server_ready(url),
             await client.is_model_ready(url, "lenet")]
    found = []
    for binary in (False, True):
        tensor = InferInput("x", list(digits.shape), "FP32")
        tensor.set_data_from_numpy(digits, binary_data=binary)
        request = InferRequest("lenet", [tensor], request_id="a")
        answer = await client.infer(url, request, model_name="lenet")
        found.append(answer.outputs[0].as_numpy().astype(np.float32).tobytes().hex())
    try:
        tensor = InferInput("x", [1, 27], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 27), np.float32), binary_data=False)
        await client.infer(url, InferRequest("lenet", [tensor]), model_name="lenet")
    except Exception as error:
        refused = str(error)
    await client.close()
    return [ready, answer.id, found, refused]

print(json.dumps(asyncio.run(main(sys.argv[1], np.load(sys.argv[2])))))
"""


@pytest.fixture(scope="module")
def python(request):
    """The interpreter of KServe's environment."""
    if KSERVE.find() is None and not request.config.getoption("nightly"):
        pytest.skip("KServe's environment (450 MB) is not made: nox -s nightly")
    try:
        return KSERVE.make(sys.executable)
    except BackendFailure as error:
        pytest.skip(f"KServe's environment cannot be made: {error}")


def test_the_same_bits_as_in_process(python, server, digit, model_dir, tmp_path):
    digits = np.repeat(digit, 3, axis=0)
    np.save(tmp_path / "digits.npy", digits)
    command = [python, "-c", CLIENT, f"http://127.0.0.1:{server.port}", tmp_path / "digits.npy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    ready, identity, found, refused = json.loads(done.stdout.splitlines()[-1])
    with lenet_cpp.Predictor(model_dir=model_dir, engine="native") as predictor:
        expected = predictor.run(digits)
    assert ready == [True, True, True]
    assert identity == "a"
    assert found == [expected.tobytes().hex()] * 2
    assert "27" in refused
    assert "400 Bad Request" in refused
