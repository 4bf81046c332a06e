"""NVIDIA's client of the Open Inference Protocol."""

import numpy as np
import pytest
from onnx import helper, parser

triton = pytest.importorskip("tritonclient.http")


@pytest.fixture(scope="module")
def client(server):
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        yield client


def tensor_of(array, binary=True):
    tensor = triton.InferInput("x", list(array.shape), "FP32")
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize("packed", [None, "gzip", "deflate"])
def test_infer(client, digit, expected, binary_in, binary_out, packed):
    name = client.get_model_metadata("lenet")["outputs"][0]["name"]
    many = np.repeat(digit, 50, axis=0)
    result = client.infer(
        "lenet",
        [tensor_of(many, binary_in)],
        outputs=[triton.InferRequestedOutput(name, binary_data=binary_out)],
        request_id="a",
        request_compression_algorithm=packed,
        response_compression_algorithm=packed,
    )
    assert result.get_response()["id"] == "a"
    np.testing.assert_array_equal(result.as_numpy(name), np.repeat(expected, 50, axis=0))


@pytest.fixture(scope="module")
def two_outputs(run_server, serve_program, tmp_path_factory):
    """A client of a server whose model gives the sums of rows, and their squares."""
    nodes = "a = Flatten(x) s = MatMul(a, w) q = Mul(s, s)"
    graph = "g (float[N,2,2,2] x) => (float[N,2] s, float[N,2] q) <float[8,2] w = {%s}> { %s }"
    weights = ",".join(map(str, range(16)))
    made = helper.make_model(
        parser.parse_graph(graph % (weights, nodes)),
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
    )
    path = tmp_path_factory.mktemp("two") / "two.onnx"
    path.write_bytes(made.SerializeToString())
    with (
        run_server(serve_program, f"two={path}", "--port=0") as server,
        triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client,
    ):
        yield client


@pytest.mark.parametrize("asked", ["s", "q", "sq", "qs"])
@pytest.mark.parametrize("binary", [True, False])
def test_outputs_that_are_asked_for(two_outputs, asked, binary):
    x = np.random.default_rng(3).integers(-4, 5, (3, 2, 2, 2)).astype(np.float32)
    sums = x.reshape(3, 8) @ np.arange(16, dtype=np.float32).reshape(8, 2)
    expected = {"s": sums, "q": sums * sums}
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in asked]
    result = two_outputs.infer("two", [tensor_of(x)], outputs=outputs)
    assert [output["name"] for output in result.get_response()["outputs"]] == list(asked)
    for name in asked:
        np.testing.assert_array_equal(result.as_numpy(name), expected[name])


def test_questions_about_server_and_models(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("lenet")
    assert client.is_model_ready("lenet", "1")
    assert not client.is_model_ready("none")
    assert client.get_server_metadata()["name"] == "lenet_serve"
    assert [model["name"] for model in client.get_model_repository_index()] == ["lenet"]
    assert client.get_model_config("lenet")["name"] == "lenet"
    assert client.get_inference_statistics("lenet")["model_stats"][0]["name"] == "lenet"


def test_errors(client, digit):
    with pytest.raises(triton.InferenceServerException, match="27") as caught:
        client.infer("lenet", [tensor_of(np.ascontiguousarray(digit[..., :27]))])
    assert caught.value.status() == "400"
    with pytest.raises(triton.InferenceServerException):
        client.load_model("lenet")  # not allowed over the network
