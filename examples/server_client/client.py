"""Send pictures to lenet_serve and print their classes; Python's standard library is enough.

python client.py http://localhost:8000 lenet photo.jpg ...
"""

import http.client
import json
import sys
import time
from pathlib import Path
from urllib.parse import quote, urlsplit


class Server:
    """One connection to a server, which all requests use."""

    def __init__(self, address):
        self.connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)

    def ask(self, method, path, body=None):
        """Return what the server answers; a status from 400 on is an error with its text."""
        self.connection.request(method, path, body)
        response = self.connection.getresponse()
        text = response.read()
        if response.status >= 400:
            raise RuntimeError(f"{path}: {response.status}: {json.loads(text)['error']}")
        return json.loads(text) if text else None

    def wait_until_ready(self, seconds):
        """Wait until the server listens and its models are loaded."""
        until = time.monotonic() + seconds
        while True:
            try:
                return self.ask("GET", "/v2/health/ready")
            except (OSError, RuntimeError):
                if time.monotonic() > until:
                    raise
            self.connection.close()
            time.sleep(0.1)

    def classify(self, model, picture, top):
        """Return the most probable classes of a picture, which the server decodes and prepares."""
        path = f"/v2/models/{quote(model)}/infer?classification={top}"
        return self.ask("PUT", path, picture)


def main():
    address, model, *files = sys.argv[1:]
    server = Server(address)
    server.wait_until_ready(seconds=10)
    for file in files:
        best, second = server.classify(model, Path(file).read_bytes(), top=2)
        print(f"{file}: {best['label']}, {best['probability']:.1%}; then {second['label']}")


if __name__ == "__main__":
    main()
