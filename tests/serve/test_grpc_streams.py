"""ModelStreamInfer, as NVIDIA's client and others call it."""

import json
import queue
import re
import signal
import time

import numpy as np
import pytest
from grpc_calls import (
    ONE_BY_ONE,
    SERVICE,
    Code,
    channel_to,
    code_of,
    grpc,
    named,
    proto,
    request_of,
    slow_request_of,
    tensor_of,
    triton,
)

METHOD = f"/{SERVICE}/ModelStreamInfer"
TOKEN = "correct horse battery staple"


@pytest.fixture(scope="module")
def server(start_grpc):
    with start_grpc() as running:
        yield running


class Stream:
    """An open stream: `send` requests, and take answers by `next`."""

    def __init__(self, stub, **more):
        self.requests = queue.Queue()
        self.call = stub.ModelStreamInfer(iter(self.requests.get, None), timeout=60, **more)

    def send(self, *requests):
        for request in requests:
            self.requests.put(request)
        return self

    def ask(self, request):
        self.send(request)
        return next(self.call)

    def end(self):
        """Send no more; return what is left, and the status."""
        left = list(self.send(None).call)
        return left, self.call.code()

    def code(self):
        """Wait until the server ends it."""
        code = self.call.code()
        self.send(None)
        return code


@pytest.fixture
def stub(server):
    with channel_to(server) as stub:
        yield stub


def test_client_of_triton(server, digit, expected):
    many = [np.roll(digit, i, axis=3) for i in range(50)]
    found = queue.Queue()
    with triton.InferenceServerClient(server.grpc) as client:
        for packed in (None, "gzip", "deflate"):
            client.start_stream(
                lambda result, error: found.put((result, error)), compression_algorithm=packed
            )
            for number, image in enumerate(many):
                model = "none" if number == 20 else "lenet"
                client.async_stream_infer(model, [tensor_of(image)], request_id=f"{number}")
            for number, image in enumerate(many):
                result, error = found.get(timeout=30)
                if number == 20:
                    assert (result, "no model 'none'" in error.message()) == (None, True)
                    continue
                response = result.get_response()
                assert (error, response.id) == (None, f"{number}")
                assert response.parameters["triton_final_response"].bool_param
                alone = client.infer("lenet", [tensor_of(image)]).as_numpy("linear_2.tmp_1")
                np.testing.assert_array_equal(result.as_numpy("linear_2.tmp_1"), alone)
            client.stop_stream()
    assert found.empty()


def with_output(name):
    request = request_of(request_id="g")
    request.outputs.add(name=name)
    return request


def test_errors_do_not_end_a_stream(stub):
    """They have the id of their request, as far as it was read."""
    stream = Stream(stub)
    shared = request_of(request_id="b")
    shared.inputs[0].parameters["shared_memory_region"].string_param = "a"
    for request, words in (
        (named("none", id="a"), "no model 'none'"),
        (shared, "shared memory"),
        (request_of(raw=bytes(5), request_id="c"), "takes 3136"),
        (named("", id="d"), "name of the model"),
        (named(raw_input_contents=[b""] * 10_000, id="e"), "more than 65536"),
        (with_output("\u00e9" * 600), "no output '\u00e9"),  # its message is cut
    ):
        answer = stream.ask(request)
        assert words in answer.error_message
        assert answer.infer_response == proto.ModelInferResponse(id=request.id)
        answer = stream.ask(request_of(request_id="f"))
        assert (answer.error_message, answer.infer_response.id) == ("", "f")
    assert stream.end() == ([], Code.OK)


def test_damaged_messages(server):
    with grpc.insecure_channel(server.grpc) as channel:
        call = channel.stream_stream(METHOD)
        good = request_of(request_id="a").SerializeToString()
        messages = [b"\x0a", good, b"\x2a\x02\x0a\x05abcde", good]
        answers = [proto.ModelStreamInferResponse.FromString(one) for one in call(iter(messages))]
    assert [one.error_message for one in answers] == ["the message is damaged", ""] * 2
    assert [one.infer_response.id for one in answers] == ["", "a"] * 2


def test_values_come_as_they_went(stub, digit, expected):
    answer = Stream(stub).ask(request_of(fp32_contents=digit.ravel())).infer_response
    assert not answer.raw_output_contents
    np.testing.assert_array_equal(np.float32(answer.outputs[0].contents.fp32_contents), expected[0])


def test_a_message_that_is_too_long(start_grpc):
    with start_grpc("--max_body_bytes=10000") as server, channel_to(server) as stub:
        stream = Stream(stub)
        assert stream.ask(request_of(request_id="a")).infer_response.id == "a"
        assert stream.send(request_of(raw=bytes(20_000))).code() == Code.RESOURCE_EXHAUSTED


def test_token(start_grpc, tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    with start_grpc(f"--token_file={tmp_path / 'token'}") as server, channel_to(server) as stub:
        assert Stream(stub).code() == Code.UNAUTHENTICATED
        stream = Stream(stub, metadata=[("authorization", f"Bearer {TOKEN}")])
        assert stream.ask(request_of(request_id="a")).infer_response.id == "a"
        assert stream.end() == ([], Code.OK)


@pytest.mark.timeout(60)
def test_limit_of_streams(start_grpc):
    """One more takes the place of the one that has waited longest; none is taken from a request."""
    with start_grpc("--max_connections=2") as server, channel_to(server) as stub:
        first, second = Stream(stub), Stream(stub)
        second.ask(request_of())
        first.ask(request_of())
        assert Stream(stub).code() == Code.RESOURCE_EXHAUSTED  # both are in use
        time.sleep(1.2)
        third = Stream(stub)
        third.ask(request_of())
        assert second.code() == Code.UNAVAILABLE
        for stream in (first, third):
            assert stream.end() == ([], Code.OK)
    with start_grpc("--max_connections=2", *ONE_BY_ONE) as server, channel_to(server) as stub:
        slow = slow_request_of()
        busy = [Stream(stub).send(*[slow] * 9) for _ in range(2)]
        for stream in busy:
            next(stream.call)
        assert Stream(stub).code() == Code.RESOURCE_EXHAUSTED
        for stream in busy:
            left, code = stream.end()
            assert (len(left), code) == (8, Code.OK)


def test_access_log(start_grpc, tmp_path):
    """Each request has a line."""
    log = tmp_path / "log"
    with start_grpc(f"--access_log={log}") as server, channel_to(server) as stub:
        stream = Stream(stub)
        answer = stream.ask(request_of())
        stream.ask(named("none"))
        stream.end()
    first, second = (json.loads(line) for line in log.read_text().splitlines())
    assert (first["path"], first["status"], second["status"]) == (METHOD, 0, 5)
    assert (first["received"], first["sent"]) == (request_of().ByteSize(), answer.ByteSize())


def test_deadline(stub):
    stream = stub.ModelStreamInfer(iter(queue.Queue().get, None), timeout=0.2)
    assert stream.code() == Code.DEADLINE_EXCEEDED


def test_clients_that_disappear(start_grpc):
    with start_grpc(*ONE_BY_ONE) as server:
        for _ in range(8):
            with channel_to(server) as stub:
                idle, busy = Stream(stub), Stream(stub).send(slow_request_of())
                idle.ask(request_of())
                idle.send(None)
                busy.send(None)
        server.wait_until_closed()
        with channel_to(server) as stub:
            assert Stream(stub).ask(request_of(request_id="a")).infer_response.id == "a"


def test_a_client_that_does_not_read(start_grpc):
    """It can send as much as its own buffers take of answers."""
    request = request_of((200, 1, 28, 28), raw=bytes(200 * 3136))
    sent = []

    def endless():
        while len(sent) < 3000:
            sent.append(request)
            yield request

    with start_grpc() as server, channel_to(server) as stub:
        stub.ModelInfer(request)
        start = server.resident()
        call = stub.ModelStreamInfer(endless())
        before = -1
        while len(sent) > before:
            before = len(sent)
            time.sleep(1)
        assert 1 <= before < 2000
        assert server.resident() - start < 30 << 20
        call.cancel()


def test_stop(start_grpc):
    """What was asked is answered first."""
    with start_grpc(*ONE_BY_ONE, ends=False) as server, channel_to(server) as stub:
        idle, busy, silent = Stream(stub), Stream(stub), Stream(stub)
        assert idle.ask(request_of(request_id="a")).infer_response.id == "a"
        busy.ask(request_of())
        busy.send(*[slow_request_of(request_id="b")] * 9)
        while server.metric("lenet_running_requests") < 1:
            time.sleep(0.002)
        server.process.send_signal(signal.SIGTERM)
        assert idle.code() == Code.UNAVAILABLE
        assert silent.code() == Code.UNAVAILABLE
        answers = []
        with pytest.raises(grpc.RpcError, match="stopping"):
            answers.extend(busy.send(None).call)
        assert [one.infer_response.id for one in answers] == ["b"] * len(answers)
        assert 1 <= len(answers) < 9
        assert server.process.wait(10) == 0


def test_streams_that_wait_keep_no_message(server, stub):
    before = server.resident()
    streams = [Stream(stub) for _ in range(24)]
    for stream in streams:
        assert stream.ask(request_of(raw=bytes(16 << 20))).error_message
    assert server.resident() - before < 200 << 20  # of 384; malloc keeps some
    for stream in streams:
        stream.end()


def test_memory_stays(start_grpc):
    """A stream leaves nothing behind, in a server of its own: what malloc keeps of the large
    messages of other tests would be used and given back here."""
    found = []
    with start_grpc() as server, channel_to(server) as stub:
        for number in (300, 1200):
            for _ in range(number):
                stream = Stream(stub)
                stream.ask(request_of())
                stream.ask(request_of(raw=bytes(5)))
                stream.end()
            found.append(server.resident())
    assert found[1] - found[0] < 1_000_000


# What does not ask the server, or what the other tests call.
OTHERS = {
    *("async_infer", "async_stream_infer", "close", "infer", "plugin", "register_plugin"),
    *("start_stream", "stop_stream", "unregister_plugin"),
}
ANSWERED = {
    "get_inference_statistics": (),
    "get_model_config": ("lenet",),
    "get_model_metadata": ("lenet",),
    "get_model_repository_index": (),
    "get_server_metadata": (),
    "is_model_ready": ("lenet",),
    "is_server_live": (),
    "is_server_ready": (),
}
REFUSED = {
    "get_cuda_shared_memory_status": ("CudaSharedMemoryStatus",),
    "get_log_settings": ("LogSettings",),
    "get_system_shared_memory_status": ("SystemSharedMemoryStatus",),
    "get_trace_settings": ("TraceSetting",),
    "load_model": ("does not load models", "lenet"),
    "register_cuda_shared_memory": ("CudaSharedMemoryRegister", "a", b"YQ==", 0, 1),
    "register_system_shared_memory": ("SystemSharedMemoryRegister", "a", "b", 1),
    "unload_model": ("does not load models", "lenet"),
    "unregister_cuda_shared_memory": ("CudaSharedMemoryUnregister",),
    "unregister_system_shared_memory": ("SystemSharedMemoryUnregister",),
    "update_log_settings": ("LogSettings", {}),
    "update_trace_settings": ("TraceSetting",),
}


def test_all_methods_of_the_client(server, root):
    document = (root / "docs" / "serve.md").read_text()
    methods = {name for name in dir(triton.InferenceServerClient) if name[0] != "_"}
    assert methods == OTHERS | set(ANSWERED) | set(REFUSED)
    with triton.InferenceServerClient(server.grpc) as client:
        for name, arguments in ANSWERED.items():
            assert getattr(client, name)(*arguments)
        for name, (words, *arguments) in REFUSED.items():
            with pytest.raises(triton.InferenceServerException, match=words) as caught:
                getattr(client, name)(*arguments)
            assert caught.value.status() == "StatusCode.UNIMPLEMENTED"
            kind = re.sub("(Status|Register|Unregister)$", "", words)
            assert kind in document or "load" in name


def test_what_nobody_offers(server):
    with grpc.insecure_channel(server.grpc) as channel:
        for method in ("/a/b", f"/{SERVICE}/{'a' * 5000}"):
            code, words = code_of(channel.unary_unary(method), b"")
            assert code == Code.UNIMPLEMENTED
            assert len(words) < 300
