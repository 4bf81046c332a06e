"""gRPC as NVIDIA's client speaks it, and as attackers do."""

import io
import json
import re
import shutil
import signal
import time
from contextlib import contextmanager

import numpy as np
import pytest
from grpc_calls import (
    INFER,
    NOT_SERVING,
    ONE_BY_ONE,
    OUTPUT,
    SERVICE,
    SERVING,
    Code,
    channel_to,
    check,
    code_of,
    connect,
    frame,
    grpc,
    health,
    health_grpc,
    named,
    proto,
    request_of,
    slow_request_of,
    tensor_of,
    triton,
)
from PIL import Image
from raw_http import RAW

import lenet_cpp
from slow_loads import wait_until
from snippets import read_snippets, run_command

TOKEN = "correct horse battery staple"


@pytest.fixture(scope="module")
def server(start_grpc):
    with start_grpc() as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with triton.InferenceServerClient(server.grpc) as client:
        yield client


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return triton.service_pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture(scope="module")
def predictor(model_dir):
    with lenet_cpp.Predictor(model_dir=model_dir, engine="native") as predictor:
        yield predictor


def inputs_of(*inputs):
    return named(inputs=inputs, raw_input_contents=[b""] * len(inputs))


def asked(parameter, value):
    request = request_of(outputs=[OUTPUT])
    request.outputs[0].parameters[parameter].int64_param = value
    return request


@pytest.mark.parametrize("images", [1, 50])
@pytest.mark.parametrize("packed", [None, "gzip", "deflate"])
def test_infer(client, digit, predictor, images, packed):
    many = np.concatenate([np.roll(digit, i, axis=3) for i in range(images)])
    how = {"request_id": "é\n", "compression_algorithm": packed}
    result = client.infer("lenet", [tensor_of(many)], **how)
    assert result.get_response().id == "é\n"
    assert result.get_response().model_version == "1"
    np.testing.assert_array_equal(result.as_numpy("linear_2.tmp_1"), predictor.run(many))


def test_contents_of_each_type(stub, digit, predictor):
    """Values in contents get theirs in contents; raw ones raw."""
    response = stub.ModelInfer(request_of(fp32_contents=digit.ravel()))
    assert not response.raw_output_contents
    output = response.outputs[0].contents.fp32_contents
    np.testing.assert_array_equal(np.float32(output), predictor.run(digit).ravel())
    pixels = np.uint8(digit * 255)
    expected = predictor.run(pixels).ravel()
    typed = stub.ModelInfer(request_of(datatype="UINT8", uint_contents=pixels.ravel()))
    np.testing.assert_array_equal(np.float32(typed.outputs[0].contents.fp32_contents), expected)
    raw = stub.ModelInfer(request_of(datatype="UINT8", raw=pixels.tobytes()))
    np.testing.assert_array_equal(np.frombuffer(raw.raw_output_contents[0], "<f4"), expected)
    empty = stub.ModelInfer(request_of(shape=(0, 1, 28, 28), raw=b""))
    assert (list(empty.outputs[0].shape), empty.raw_output_contents[0]) == ([0, 10], b"")


def test_image_files_and_classes(server, client, stub, digit):
    file = io.BytesIO()
    Image.fromarray(np.uint8(digit[0, 0] * 255)).save(file, "PNG")
    body = server.ask("POST", "/v2/models/lenet/infer?raw", file.getvalue())[2]
    expected = np.float32(json.loads(body)["outputs"][0]["data"])
    files = tensor_of(np.array([file.getvalue()] * 2, dtype=object), "BYTES")
    result = client.infer("lenet", [files]).as_numpy("linear_2.tmp_1")
    np.testing.assert_array_equal(result, [expected] * 2)
    asked = triton.InferRequestedOutput("linear_2.tmp_1", class_count=3)
    classes = client.infer("lenet", [files], outputs=[asked]).as_numpy("linear_2.tmp_1")
    assert classes.shape == (2, 3)
    for text, index in zip(classes[0], np.argsort(-expected), strict=False):
        value, number, *_ = text.split(b":")
        assert (np.float32(value), int(number)) == (expected[index], index)
    request = request_of((2,), "BYTES", bytes_contents=[file.getvalue()] * 2)
    request.outputs.add(name="linear_2.tmp_1").parameters["classification"].int64_param = 3
    response = stub.ModelInfer(request)
    assert list(response.outputs[0].contents.bytes_contents) == list(classes.ravel())


def test_questions_about_server_and_models(server, client, stub):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("lenet", "1")
    assert not client.is_model_ready("none")
    assert "classification" in client.get_server_metadata().extensions
    metadata = client.get_model_metadata("lenet", as_json=True)
    shape = ["-1", "1", "28", "28"]
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": shape}]
    config = client.get_model_config("lenet").config
    assert (config.input[0].data_type, config.output[0].dims) == (11, [-1, 10])
    assert config.version_policy.specific.versions == [1]
    assert [model.name for model in client.get_model_repository_index().models] == ["lenet"]
    before = client.get_inference_statistics().model_stats[0]
    stub.ModelInfer(request_of())
    after = client.get_inference_statistics("lenet").model_stats[0]
    assert after.inference_stats.success.count == before.inference_stats.success.count + 1
    assert after.inference_stats.success.ns > before.inference_stats.success.ns
    http = json.loads(server.ask("GET", "/v2/models/lenet/stats")[2])["model_stats"][0]
    assert http["inference_count"] == after.inference_count


@pytest.mark.parametrize(
    ("code", "words", "request_"),
    [
        (Code.NOT_FOUND, "no model 'none'", named("none")),
        (Code.INVALID_ARGUMENT, "name of the model", named("")),
        (Code.NOT_FOUND, "version 9", named(model_version="9")),
        (Code.INVALID_ARGUMENT, "27", request_of(shape=(1, 1, 28, 27), raw=bytes(3024))),
        (Code.RESOURCE_EXHAUSTED, "more than 65536", request_of(shape=[1] * 100_000)),
        (Code.INVALID_ARGUMENT, "0 raw_input_contents for 1", request_of(raw=None)),
        (Code.INVALID_ARGUMENT, "1 raw_input_contents for 0", named(raw_input_contents=[b"a"])),
        (Code.INVALID_ARGUMENT, "more than 64 tensors", inputs_of(*[{}] * 65)),
        (Code.RESOURCE_EXHAUSTED, "more than 65536", named(inputs=[{}] * 10_000)),
        (Code.RESOURCE_EXHAUSTED, "more than 65536", named(raw_input_contents=[b""] * 10_000)),
        (Code.INVALID_ARGUMENT, "contents of UINT8", request_of(uint_contents=[0] * 784)),
        (Code.INVALID_ARGUMENT, "contents are for", request_of(datatype="BOOL", bool_contents=[0])),
        (Code.INVALID_ARGUMENT, "two types", request_of(fp32_contents=[0], uint_contents=[0])),
        (Code.INVALID_ARGUMENT, "image 0", request_of((1,), "BYTES", bytes_contents=[b"no image"])),
        (Code.UNIMPLEMENTED, "shared memory", asked("shared_memory_region", 1)),
    ],
    ids=range(15),
)
def test_bad_requests(stub, code, words, request_):
    """As far as gRPC's own fields go; cpp/tests/test_serve.cc has what the service refuses."""
    found, message = code_of(stub.ModelInfer, request_)
    assert (found, words in message) == (code, True), message


@pytest.mark.parametrize(
    "message",
    [
        b"\x0a",  # ends within a field
        b"\x0a\xff\xff\xff\xff\x0f",  # a length of 4 GB
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01a",  # a negative one
        b"\x0a\x05ab",  # a length beyond the message
        b"\x2a\x02\x0a\x05abcde",  # a length beyond the message in it
        b"\x2a\x04\x2a\x02\x32\x03abc",  # floats of three bytes
        b"\x2a\x04\x18" + b"\xff" * 11,  # an integer without an end
        b"\x00\x00",  # no field is number 0
        b"\x2b\x2c",  # a group
        b"\x08\x01",  # a text that is a number
    ],
)
def test_damaged_messages(channel, message):
    def call(data, timeout):
        return channel.unary_unary(INFER)(data, timeout=timeout)

    code, words = code_of(call, message)
    assert (code, words) == (Code.INVALID_ARGUMENT, "the message is damaged")
    for end in range(0, 40, 3):  # of a good one
        cut = request_of().SerializeToString()[:end]
        assert code_of(call, cut)[0] in (Code.INVALID_ARGUMENT, Code.NOT_FOUND)


def test_text_that_is_not_utf8(start_grpc):
    """Each is refused, and nothing is written for it, which could fill a disk."""
    good = request_of(request_id="id").SerializeToString()
    wrong = [
        (INFER, good.replace(b"\x1a\x02id", b"\x1a\x02\xffd")),
        (INFER, good.replace(b"\x0a\x05lenet", b"\x0a\x05len\xc0t")),
        (INFER, good.replace(b"FP32", b"FP\xed\xa0")),
        (INFER, good + b"\x32\x04\x0a\x02\xf5\x80"),  # the name of an output
        (INFER.replace("ModelInfer", "ModelReady"), b"\x0a\x02\xff\xff"),
        (INFER.replace("ModelInfer", "RepositoryModelLoad"), b"\x12\x02\xff\xff"),
    ]
    with start_grpc(ends=False) as server:
        with grpc.insecure_channel(server.grpc) as channel:
            for method, message in wrong * 20:
                assert message != good
                assert code_of(channel.unary_unary(method), message)[0] == Code.INVALID_ARGUMENT
            assert channel.unary_unary(INFER)(good, timeout=30)
        server.process.terminate()
        assert server.process.wait(30) == 0
        lines = server.process.stderr.read().splitlines()
        assert len(lines) < 10, lines


@pytest.mark.parametrize("method", ["ServerLive", "ModelInfer"])
def test_a_call_without_a_message(channel, method):
    call = channel.stream_unary(f"/{SERVICE}/{method}")
    assert code_of(call, iter(())) == (Code.INVALID_ARGUMENT, "the call has no message")


def test_unknown_fields(channel):
    later = b"\xf8\x07\x01" + b"\xfa\x07\x03abc" + b"\xfd\x07" + bytes(4) + b"\xf9\x07" + bytes(8)
    answer = channel.unary_unary(INFER)(request_of().SerializeToString() + later, timeout=30)
    assert proto.ModelInferResponse.FromString(answer).model_name == "lenet"


def test_messages_that_protobuf_would_blow_up(server, channel):
    """Of 8 million empty messages protobuf would make a gigabyte."""
    before = server.resident()
    for piece in (b"\x2a\x00", b"\x32\x00", b"\x3a\x00", b"\x2a\x02\x22\x00"):
        call = channel.unary_unary(INFER)
        assert code_of(call, piece * (16_000_000 // len(piece)))[0] == Code.RESOURCE_EXHAUSTED
    parameters = b"".join(b"\x1a\x06\x0a\x04%04x" % number for number in range(10_000))
    load = channel.unary_unary(INFER.replace("ModelInfer", "RepositoryModelLoad"))
    assert code_of(load, parameters)[0] == Code.RESOURCE_EXHAUSTED
    assert server.resident() - before < 150_000_000


def test_limit_of_a_message(start_grpc):
    with start_grpc("--max_body_bytes=100000") as server, channel_to(server) as stub:
        stub.ModelInfer(request_of((20, 1, 28, 28), raw=bytes(62_720)))
        request = request_of((50, 1, 28, 28), raw=bytes(156_800))
        assert code_of(stub.ModelInfer, request)[0] == Code.RESOURCE_EXHAUSTED


def test_token(start_grpc, tmp_path):
    (tmp_path / "token").write_text(TOKEN + "\n")
    with start_grpc(f"--token_file={tmp_path / 'token'}") as server, channel_to(server) as stub:
        assert stub.ServerLive(proto.ServerLiveRequest()).live
        assert stub.ServerReady(proto.ServerReadyRequest()).ready
        with grpc.insecure_channel(server.grpc) as channel:
            assert check(channel) == SERVING
        calls = [
            (stub.ModelInfer, request_of()),
            (stub.ModelMetadata, proto.ModelMetadataRequest(name="lenet")),
            (stub.ServerMetadata, proto.ServerMetadataRequest()),
            (stub.ModelReady, proto.ModelReadyRequest(name="lenet")),
        ]
        for call, request in calls:
            call(request, metadata=[("authorization", f"bearer {TOKEN} ")])
            for wrong in ("", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}"):
                metadata = [("authorization", wrong)] if wrong else []
                assert code_of(call, request, metadata=metadata)[0] == Code.UNAUTHENTICATED


def test_access_log(start_grpc, tmp_path, digit):
    """Its lines are those of HTTP, in the same file, with gRPC's status."""
    log = tmp_path / "log"
    with start_grpc(f"--access_log={log}") as server, channel_to(server) as stub:
        answer = stub.ModelInfer(request_of())
        assert code_of(stub.ModelInfer, named("none"))[0] == Code.NOT_FOUND
        assert code_of(stub.ModelInfer, request_of(raw=b""))[0] == Code.INVALID_ARGUMENT
        assert len(log.read_text().splitlines()) == 3  # while there is no connection of HTTP
        server.ask("POST", "/v2/models/lenet/infer", digit.tobytes(), RAW)
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert {tuple(entry) for entry in entries} == {tuple(entries[3])}
    *calls, _http = entries
    assert [entry["status"] for entry in entries] == [0, 5, 3, 200]
    assert {(entry["method"], entry["path"]) for entry in calls} == {("gRPC", INFER)}
    assert calls[0]["received"] == request_of().ByteSize()
    assert [entry["sent"] for entry in calls] == [answer.ByteSize(), 0, 0]
    for entry in entries:
        assert entry["microseconds"] > 0
        assert re.fullmatch(r"127\.0\.0\.1:\d+", entry["client"])


@pytest.fixture(scope="module")
def slow_request():
    return slow_request_of()


@contextmanager
def busy(server, request, count=4):
    """Have a server of one worker take slow requests, which must be answered."""
    with channel_to(server) as stub:
        pending = [stub.ModelInfer.future(request) for _ in range(count)]
        while server.metric("lenet_queued_requests") < count - 1:
            time.sleep(0.005)
        yield
        assert {one.code() for one in pending} == {Code.OK}


def test_nobody_computes_after_the_deadline(start_grpc, slow_request):
    with start_grpc(*ONE_BY_ONE) as server, channel_to(server) as stub:
        with busy(server, slow_request):
            # Others than long ones would not wait behind them.
            late = [stub.ModelInfer.future(slow_request, timeout=0.1) for _ in range(3)]
            assert {one.code() for one in late} == {Code.DEADLINE_EXCEEDED}
        # A short request is answered before the long ones that wait, late ones too.
        stub.ModelInfer(request_of())

        def counted():
            model = stub.ModelStatistics(proto.ModelStatisticsRequest(name="lenet")).model_stats[0]
            return model.execution_count, model.inference_stats.fail.count

        wait_until(lambda: counted()[1] == 3)
        assert counted() == (5, 3)


def test_too_many_wait(start_grpc, slow_request):
    with start_grpc(*ONE_BY_ONE, "--max_queued_requests=4") as server:
        with channel_to(server) as stub, busy(server, slow_request):
            # Short ones are answered before the long ones that wait, and so need not wait.
            pending = [stub.ModelInfer.future(slow_request) for _ in range(20)]
            codes = [one.code() for one in pending]
        assert codes.count(Code.RESOURCE_EXHAUSTED) >= 20 - 5
        assert set(codes) <= {Code.OK, Code.RESOURCE_EXHAUSTED}


def test_stop_answers_what_was_accepted(start_grpc, slow_request):
    with start_grpc(*ONE_BY_ONE, ends=False) as server, channel_to(server) as stub:
        with grpc.insecure_channel(server.grpc) as channel:
            request = health.HealthCheckRequest(service=SERVICE)
            watch = health_grpc.HealthStub(channel).Watch(request, timeout=30)
            assert next(watch).status == SERVING
            assert check(channel, SERVICE) == SERVING
            with pytest.raises(grpc.RpcError, match="NOT_FOUND"):
                check(channel, "none")
            with busy(server, slow_request):
                server.process.send_signal(signal.SIGTERM)
                assert next(watch).status == NOT_SERVING
                assert check(channel) == NOT_SERVING
                assert code_of(stub.ModelInfer, request_of())[0] == Code.UNAVAILABLE
        assert server.process.wait(10) == 0


def test_stop_has_a_limit_of_time(start_grpc, slow_request):
    options = ["--stop_seconds=0", *ONE_BY_ONE]
    with start_grpc(*options, ends=False) as server, channel_to(server) as stub:
        pending = [stub.ModelInfer.future(slow_request) for _ in range(9)]
        while server.metric("lenet_queued_requests") < 8:
            time.sleep(0.005)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 8
        assert "requests were not answered" in server.process.stderr.read()
        assert Code.UNAVAILABLE in {one.code() for one in pending}


def test_pings_have_a_limit(server):
    """A client that asks all the time whether the server is there is sent away."""
    with connect(server) as connection:
        received = b""
        while b"too_many_pings" not in received:
            connection.sendall(frame(6, payload=b"12345678"))
            piece = connection.recv(1 << 16)
            assert piece, received
            received += piece


def test_memory_stays(start_grpc):
    with start_grpc() as server, channel_to(server) as stub:
        found = []
        for number in (1000, 2000):
            for _ in range(number):
                stub.ModelInfer(request_of())
                stub.ModelInfer.future(request_of(raw=bytes(5))).code()
            found.append(server.resident())
    assert found[1] - found[0] < 1_000_000


def test_example_of_the_documents(server, root, capsys):
    code = next(one for one in read_snippets(root / "docs" / "serve.md") if one.language == "py")
    assert "127.0.0.1:8001" in code.text
    exec(code.text.replace("127.0.0.1:8001", server.grpc), {})
    assert capsys.readouterr().out.strip() in set("0123456789")


def test_without_grpc(serve_program, model_dir, tmp_path):
    alone = shutil.copy(serve_program, tmp_path)
    variables = {"LD_LIBRARY_PATH": str(serve_program.parent)}
    done = run_command(alone, model_dir, "--grpc_port=0", timeout=60, env=variables)
    assert done.returncode == 6
    assert "libgrpc++-dev libprotobuf-dev protobuf-compiler-grpc" in done.stderr


def test_a_port_that_is_taken(server, serve_program, model_dir):
    port = server.grpc.split(":")[1]
    command = (serve_program, model_dir, "--port=0", f"--grpc_port={port}")
    done = run_command(*command, timeout=60)
    assert (done.returncode, done.stdout) == (8, "")
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
