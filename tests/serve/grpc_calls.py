"""Calls of gRPC, by NVIDIA's client and by hand."""

import io
import socket
import struct
from contextlib import contextmanager

import pytest
from PIL import Image

grpc = pytest.importorskip("grpc")
triton = pytest.importorskip("tritonclient.grpc")
proto = triton.service_pb2
health = pytest.importorskip("grpc_health.v1.health_pb2")
health_grpc = pytest.importorskip("grpc_health.v1.health_pb2_grpc")
Code = grpc.StatusCode
SERVICE = "inference.GRPCInferenceService"
INFER = f"/{SERVICE}/ModelInfer"
OUTPUT = {"name": "linear_2.tmp_1"}
SERVING = health.HealthCheckResponse.SERVING
NOT_SERVING = health.HealthCheckResponse.NOT_SERVING
ONE_BY_ONE = ("--workers=1", "--loop_us=0", "--max_batch_size=1")


def tensor_of(array, datatype="FP32"):
    tensor = triton.InferInput("x", list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return tensor


def request_of(
    shape=(1, 1, 28, 28), datatype="FP32", raw=bytes(3136), outputs=(), request_id="", **contents
):
    """Return a request with one input: raw, or with contents."""
    tensor = {"name": "x", "datatype": datatype, "shape": shape}
    if contents:
        tensor["contents"] = contents
    return proto.ModelInferRequest(
        model_name="lenet",
        id=request_id,
        inputs=[tensor],
        outputs=outputs,
        raw_input_contents=[] if contents or raw is None else [raw],
    )


def slow_request_of(**more):
    """Return a short message that takes 100 ms: an image file of many pixels."""
    file = io.BytesIO()
    page = Image.new("L", (5000, 5000))
    page.paste(255, (2300, 1500, 2600, 3500))  # a digit
    page.save(file, "PNG", compress_level=9)
    return request_of((1,), "BYTES", bytes_contents=[file.getvalue()], **more)


def named(model_name="lenet", **fields):
    return proto.ModelInferRequest(model_name=model_name, **fields)


@contextmanager
def channel_to(server):
    with grpc.insecure_channel(server.grpc) as channel:
        yield triton.service_pb2_grpc.GRPCInferenceServiceStub(channel)


def code_of(call, *arguments, **more):
    """Return the status of a call that is refused, and its message."""
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, timeout=30, **more)
    return caught.value.code(), caught.value.details()


def check(channel, service="", **more):
    request = health.HealthCheckRequest(service=service)
    return health_grpc.HealthStub(channel).Check(request, timeout=30, **more).status


def frame(kind, flags=0, stream=0, payload=b""):
    """Return a frame of HTTP/2."""
    return struct.pack(">IBI", len(payload) << 8 | kind, flags, stream) + payload


def connect(server):
    """Return a connection of HTTP/2."""
    host, port = server.grpc.split(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4))
    return connection


def begin_call(server, body, coding, method="ModelInfer"):
    """Send one message as it is, marked as packed; return the connection."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": f"/{SERVICE}/{method}",
        ":authority": server.grpc,
        "content-type": "application/grpc",
        "te": "trailers",
        "grpc-encoding": coding,
    }
    texts = [text.encode() for field in fields.items() for text in field]
    lengths = [bytes([len(text)]) for text in texts]  # below 127
    header = b"".join(
        b"\0" * (i % 2 == 0) + length + text
        for i, (length, text) in enumerate(zip(lengths, texts, strict=True))
    )
    message = struct.pack(">BI", 1, len(body)) + body
    connection = connect(server)
    connection.sendall(frame(1, 4, 1, header))
    while message:
        piece, message = message[:16384], message[16384:]
        connection.sendall(frame(0, 0 if message else 1, 1, piece))
    return connection


def end_call(connection):
    """Return what was sent until the status, from its field on."""
    received = b""
    with connection:
        while b"grpc-status" not in received:
            piece = connection.recv(1 << 16)
            assert piece, received
            received += piece
    return received[received.index(b"grpc-status") + len(b"grpc-status") :]
