"""Requests as bytes, and the reading of their answers."""

INFER = "/v2/models/lenet/infer"
READY = b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n"
RAW = {"Inference-Header-Content-Length": "0"}


def post(path, *lines):
    """Return the header of a request."""
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", *lines, "", ""]).encode(
        "latin-1"
    )


def read_all(connection):
    """Return what the other end sends until it closes the connection."""
    received = b""
    try:
        while piece := connection.recv(1 << 16):
            received += piece
    except ConnectionResetError:
        pass
    return received
