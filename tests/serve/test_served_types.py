"""Models whose input is no float32 tensor, in every protocol of the server."""

import io
import json
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lenet_cpp.agreement import compare
from shared_models import run_export
from typed_models import EXACT, NATIVE_NUMBERS, NUMBERS

SCRIPT = Path(__file__).parents[1] / "typed_models.py"
DATATYPES = {
    "uint8": "UINT8",
    "int32": "INT32",
    "int64": "INT64",
    "float64": "FP64",
    "float16": "FP16",
}
CONTENTS = {
    "UINT8": "uint_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP64": "fp64_contents",
    "FP32": "fp32_contents",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder of models, by type."""
    made, folder = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("models")
    run_export(SCRIPT, made, "json")
    for name in (*NUMBERS, *NATIVE_NUMBERS, "exact", "outputs"):
        (folder / name).mkdir()
        for suffix in (".json", ".pdiparams", ".npy", "_expected.npy", "_expected.npz"):
            if (made / f"{name}{suffix}").exists():
                (made / f"{name}{suffix}").rename(folder / name / f"{name}{suffix}")
    normalize = {"type": "Normalize", "scale": 1.0, "mean": [0.0] * 3, "std": [1.0] * 3}
    described = {"format_version": 1, "mode": "RGB", "steps": [normalize, {"type": "ToCHW"}]}
    (folder / "uint8" / "preprocess.json").write_text(json.dumps(described))
    return folder


@pytest.fixture(scope="module")
def running(run_server, serve_program, grpc_program, models):
    with run_server(serve_program, models, "--port=0", "--grpc_port=0") as server:
        yield server


def infer(server, name, datatype, values, *, binary, shape=None):
    """Return status and output, or error, of a request in JSON or with binary data."""
    content = values.tobytes() if binary else b""
    tensor = {"name": "x", "datatype": datatype, "shape": list(shape or values.shape)}
    if binary:
        tensor["parameters"] = {"binary_data_size": len(content)}
    else:
        tensor["data"] = values.ravel().tolist()
    text = json.dumps({"inputs": [tensor]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))} if binary else {}
    status, _, body = server.ask("POST", f"/v2/models/{name}/infer", text + content, headers)
    answer = json.loads(body)
    if status != 200:
        return status, answer["error"]
    output = answer["outputs"][0]
    return status, np.float32(output["data"]).reshape(output["shape"])


def load(models, name):
    folder = models / name
    return np.load(folder / f"{name}.npy"), np.load(folder / f"{name}_expected.npy")


@pytest.mark.parametrize("name", [*NUMBERS, *NATIVE_NUMBERS])
def test_http(running, models, name):
    numbers, expected = load(models, name)
    metadata = json.loads(running.ask("GET", f"/v2/models/{name}")[2])
    assert metadata["inputs"][0]["datatype"] == DATATYPES[name]
    assert metadata["outputs"][0]["datatype"] == "FP32"
    config = json.loads(running.ask("GET", f"/v2/models/{name}/config")[2])
    assert config["input"][0]["data_type"] == f"TYPE_{DATATYPES[name]}"
    small = numbers if name == "uint8" else numbers % 1000
    small = small.astype(name)
    in_json = running_answer = infer(running, name, DATATYPES[name], numbers, binary=True)
    assert in_json[0] == 200, in_json
    assert compare(expected, running_answer[1]).agrees
    by_json = infer(running, name, DATATYPES[name], small, binary=False)
    by_binary = infer(running, name, DATATYPES[name], small, binary=True)
    as_floats = infer(running, name, "FP32", small.astype(np.float32), binary=True)
    assert by_json[0] == by_binary[0] == as_floats[0] == 200, (by_json, as_floats)
    assert compare(by_binary[1], by_json[1]).agrees
    assert compare(by_binary[1], as_floats[1]).agrees
    raw = running.ask(
        "POST",
        f"/v2/models/{name}/infer",
        numbers.tobytes(),
        {"Inference-Header-Content-Length": "0"},
    )
    assert raw[0] == 200, raw[2]
    length = int(raw[1]["Inference-Header-Content-Length"])
    assert compare(expected, np.frombuffer(raw[2][length:], np.float32).reshape(-1, 5)).agrees
    if np.dtype(name).kind != "f":
        wrong = small.astype(np.float32)
        wrong[0, 0, 0, 0] = 0.5
        for binary in (True, False):
            status, why = infer(running, name, "FP32", wrong, binary=binary)
            assert (status, "no number of the model's" in why) == (400, True), why


def test_json_of_integers_that_float32_has_not(running):
    status, why = infer(running, "exact", "INT64", EXACT, binary=False)
    assert (status, "send the values as binary data" in why) == (400, True), why
    status, found = infer(running, "exact", "INT64", EXACT, binary=True)
    assert (status, found.tolist()) == (200, (EXACT - 2**24).tolist())
    other = infer(running, "exact", "INT32", EXACT.astype(np.int32), binary=True)
    assert (other[0], "use INT64, FP32, UINT8 or BYTES" in other[1]) == (400, True), other


def test_short_and_long_bodies(running, models):
    numbers, _ = load(models, "int64")
    for values, shape in ((numbers[:1], (2, 3, 8, 8)), (numbers, (1, 3, 8, 8))):
        status, why = infer(running, "int64", "INT64", values, binary=True, shape=shape)
        assert (status, "takes" in why) == (400, True), why


def test_image_files_of_a_model_of_pixels(running, models):
    """They are prepared as preprocess.json says, which gives numbers from 0 to 255."""
    numbers, expected = load(models, "uint8")
    file = io.BytesIO()
    Image.fromarray(numbers[0].transpose(1, 2, 0)).save(file, "PNG")
    status, _, body = running.ask("POST", "/v2/models/uint8/infer?raw", file.getvalue())
    assert status == 200, body
    found = np.float32(json.loads(body)["outputs"][0]["data"])
    assert compare(expected[:1], found.reshape(1, -1)).agrees


@pytest.mark.parametrize("name", NUMBERS)
def test_grpc(running, models, name):
    calls = pytest.importorskip("grpc_calls")
    numbers, expected = load(models, name)
    datatype = DATATYPES[name]
    with calls.channel_to(running) as stub:
        metadata = stub.ModelMetadata(calls.proto.ModelMetadataRequest(name=name))
        assert metadata.inputs[0].datatype == datatype
        tensor = {"name": "x", "datatype": datatype, "shape": numbers.shape}
        raw = calls.proto.ModelInferRequest(
            model_name=name, inputs=[tensor], raw_input_contents=[numbers.tobytes()]
        )
        found = np.frombuffer(stub.ModelInfer(raw).raw_output_contents[0], np.float32)
        assert compare(expected, found.reshape(-1, 5)).agrees
        contents = {CONTENTS[datatype]: numbers.ravel().tolist()}
        typed = calls.proto.ModelInferRequest(
            model_name=name, inputs=[{**tensor, "contents": contents}]
        )
        found = stub.ModelInfer(typed).outputs[0].contents.fp32_contents
        assert compare(expected, np.float32(found).reshape(-1, 5)).agrees
        other = "INT64" if datatype != "INT64" else "INT32"
        mixed = {CONTENTS[other]: numbers.astype(int).ravel().tolist()[:3]}
        wrong = calls.proto.ModelInferRequest(
            model_name=name, inputs=[{**tensor, "contents": mixed}]
        )
        code, why = calls.code_of(stub.ModelInfer, wrong)
        assert (code, f"has contents of {other}" in why) == (calls.Code.INVALID_ARGUMENT, True)


@pytest.fixture(scope="module")
def outputs(models):
    """The input of the model that gives every type, and its outputs by name: floats come first."""
    folder = models / "outputs"
    with np.load(folder / "outputs_expected.npz") as made:
        named = {f"fetch_name_{i}": made[key] for i, key in enumerate(made)}
    ordered = sorted(named.items(), key=lambda item: item[1].dtype.kind != "f")
    return np.load(folder / "outputs.npy"), dict(ordered)


TYPES = {
    "float32": "FP32",
    "float64": "FP64",
    "int64": "INT64",
    "int32": "INT32",
    "bool": "BOOL",
    "uint8": "UINT8",
}


def assert_same(expected, found):
    """The tolerance of floats is that of float32, also where the model's type is float64."""
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    else:
        np.testing.assert_array_equal(found, expected)


def test_metadata_of_outputs(running, outputs):
    _, expected = outputs
    types = [(name, TYPES[value.dtype.name]) for name, value in expected.items()]
    metadata = json.loads(running.ask("GET", "/v2/models/outputs")[2])
    assert [(one["name"], one["datatype"]) for one in metadata["outputs"]] == types
    config = json.loads(running.ask("GET", "/v2/models/outputs/config")[2])
    told = [(one["name"], one["data_type"]) for one in config["output"]]
    assert told == [(name, f"TYPE_{datatype}") for name, datatype in types]
    shapes = {one["name"]: one["shape"] for one in metadata["outputs"]}
    assert [len(shapes[name]) for name in expected] == [one.ndim for one in expected.values()]


@pytest.mark.parametrize("binary", [False, True])
def test_all_outputs_in_the_types_of_the_model(running, outputs, binary):
    triton = pytest.importorskip("tritonclient.http")
    x, expected = outputs
    tensor = triton.InferInput("x", list(x.shape), "FP32")
    tensor.set_data_from_numpy(x, binary_data=binary)
    with triton.InferenceServerClient(f"127.0.0.1:{running.port}") as client:
        asked = [triton.InferRequestedOutput(name, binary_data=binary) for name in expected]
        for wanted in (None, asked, asked[::-1]):
            found = client.infer("outputs", [tensor], outputs=wanted)
            told = {one["name"]: one["datatype"] for one in found.get_response()["outputs"]}
            assert told == {name: TYPES[value.dtype.name] for name, value in expected.items()}
            for name, value in expected.items():
                assert_same(value, found.as_numpy(name))


def test_json_of_integers_and_bools(running, outputs):
    x, expected = outputs
    tensor = {"name": "x", "datatype": "FP32", "shape": x.shape, "data": x.ravel().tolist()}
    body = json.dumps({"inputs": [tensor]}).encode()
    answer = json.loads(running.ask("POST", "/v2/models/outputs/infer", body)[2])
    assert [one["name"] for one in answer["outputs"]] == list(expected)
    for one in answer["outputs"]:
        value = expected[one["name"]]
        assert one["shape"] == list(value.shape)
        if value.dtype.kind != "f":
            assert one["data"] == value.ravel().tolist()
            assert {type(number) for number in one["data"]} == {type(value.item(0))}


@pytest.mark.parametrize("typed", [False, True])
def test_all_outputs_by_grpc(running, outputs, typed):
    calls = pytest.importorskip("grpc_calls")
    x, expected = outputs
    tensor = {"name": "x", "datatype": "FP32", "shape": x.shape}
    values = {"contents": {"fp32_contents": x.ravel().tolist()}} if typed else {}
    raw = [] if typed else [x.tobytes()]
    request = calls.proto.ModelInferRequest(
        model_name="outputs", inputs=[{**tensor, **values}], raw_input_contents=raw
    )
    lists = {**CONTENTS, "BOOL": "bool_contents"}
    with calls.channel_to(running) as stub:
        answer = stub.ModelInfer(request)
        metadata = stub.ModelMetadata(calls.proto.ModelMetadataRequest(name="outputs"))
        config = stub.ModelConfig(calls.proto.ModelConfigRequest(name="outputs")).config
    assert [output.name for output in answer.outputs] == list(expected)
    assert [one.datatype for one in metadata.outputs] == [one.datatype for one in answer.outputs]
    for i, output in enumerate(answer.outputs):
        value = expected[output.name]
        assert output.datatype == TYPES[value.dtype.name]
        types = config.output[i].DESCRIPTOR.fields_by_name["data_type"].enum_type
        assert types.values_by_number[config.output[i].data_type].name == f"TYPE_{output.datatype}"
        if typed:
            found = np.array(getattr(output.contents, lists[output.datatype]), value.dtype)
        else:
            found = np.frombuffer(answer.raw_output_contents[i], value.dtype)
        assert_same(value, found.reshape(output.shape))


def test_requests_for_a_scalar_are_not_run_together(running, outputs):
    """The mean of one request has nothing of the others."""
    x, expected = outputs
    (name,) = (name for name, value in expected.items() if value.ndim == 0)
    layer_of = expected["fetch_name_5"]

    def ask(image):
        tensor = {"name": "x", "datatype": "FP32", "shape": [1, 12], "data": x[image].tolist()}
        body = json.dumps({"inputs": [tensor], "outputs": [{"name": name}]}).encode()
        status, _, answer = running.ask("POST", "/v2/models/outputs/infer", body)
        return status, json.loads(answer)["outputs"][0]

    with ThreadPoolExecutor(8) as pool:
        for image, (status, found) in enumerate(pool.map(ask, [0, 1, 2, 3] * 8)):
            assert (status, found["shape"]) == (200, [])
            mean = layer_of[image % 4].mean()
            np.testing.assert_allclose(found["data"], [mean], rtol=1e-5, atol=1e-6)


def test_truncated_doubles_of_grpc(running):
    """A packed list whose length is no multiple of eight bytes is a damaged message."""
    calls = pytest.importorskip("grpc_calls")
    contents = b"\x3a\x05" + struct.pack("<d", 1.0)[:5]  # field 7, five bytes
    shape = b"\x1a\x04\x01\x03\x08\x08"
    tensor = b"\x0a\x01x\x12\x04FP64" + shape + b"\x2a" + bytes([len(contents)]) + contents
    body = b"\x0a\x07float64\x2a" + bytes([len(tensor)]) + tensor
    with calls.grpc.insecure_channel(running.grpc) as channel:
        call = channel.unary_unary(calls.INFER)
        with pytest.raises(calls.grpc.RpcError) as caught:
            call(body, timeout=30)
    assert caught.value.code() in {calls.Code.INVALID_ARGUMENT, calls.Code.INTERNAL}
