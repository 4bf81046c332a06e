"""The page of ``lenet-cpp web`` in headless Firefox, and what its console says."""

import json
import re
import shutil
import socket
import subprocess
import time

import pytest
from test_page import served

from chromium import ANSWER, STROKES, needs_module

FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
CONSOLE = "return Services.console.getMessageArray().map((each) => each.message)"

pytestmark = [
    needs_module,
    pytest.mark.skipif(
        FIREFOX is None, reason="no firefox, no Python package: apt-get install firefox-esr"
    ),
]


class Firefox:
    """A browser that is driven by Marionette, its own protocol: [kind, id, command, arguments].

    https://firefox-source-docs.mozilla.org/testing/marionette/Protocol.html; Firefox 138 or later.
    """

    def __init__(self, folder):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        (folder / "user.js").write_text(f'user_pref("marionette.port", {port});\n')
        self._process = subprocess.Popen(
            [
                FIREFOX,
                "--headless",
                "--marionette",
                "--remote-allow-system-access",
                "--profile",
                str(folder),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"HOME": str(folder), "PATH": "/usr/bin:/bin", "MOZ_HEADLESS": "1"},
        )
        for _ in range(600):
            try:
                self._socket = socket.create_connection(("127.0.0.1", port))
                break
            except OSError:
                assert self._process.poll() is None, "the browser does not start"
                time.sleep(0.1)
        self._file = self._socket.makefile("rb")
        self._read()  # it introduces itself
        self._count = 0
        self.call("WebDriver:NewSession", capabilities={})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.call("Marionette:Quit")
        self._file.close()
        self._socket.close()
        self._process.wait(30)

    def _read(self):
        length = b""
        while not length.endswith(b":"):
            byte = self._file.read(1)
            assert byte, "the browser has ended"
            length += byte
        return json.loads(self._file.read(int(length[:-1])))

    def call(self, command, **arguments):
        self._count += 1
        message = json.dumps([0, self._count, command, arguments]).encode()
        self._socket.sendall(b"%d:%s" % (len(message), message))
        _kind, number, error, result = self._read()
        assert (number, error) == (self._count, None)
        return result

    def js(self, script):
        return self.call("WebDriver:ExecuteScript", script=script, args=[])["value"]

    def wait_for(self, condition):
        for _ in range(600):
            if self.js(f"return {condition}"):
                return
            time.sleep(0.1)
        raise AssertionError((condition, self.js("return document.body.innerText")))

    def console(self):
        """Return what pages and the browser itself have complained about."""
        self.call("Marionette:SetContext", value="chrome")
        return self.js(CONSOLE)


def test_drawing(page, tmp_path):
    with served(page) as server, Firefox(tmp_path) as firefox:
        firefox.call("WebDriver:Navigate", url=server.address)
        firefox.wait_for(f"{ANSWER}?.startsWith('Ready')")
        box = "document.querySelector('#pad').getBoundingClientRect()"
        left, top, width = firefox.js(f"const {{x, y, width}} = {box}; return [x, y, width]")
        for digit, strokes in STROKES.items():
            firefox.js("document.getElementById('clear').click()")
            actions = []
            for points in strokes:
                places = [(left + x * width / 280, top + y * width / 280) for x, y in points]
                moves = [
                    {"type": "pointerMove", "x": round(x), "y": round(y), "duration": 50}
                    for x, y in places
                ]
                down = {"type": "pointerDown", "button": 0}
                actions += [moves[0], down, *moves[1:], {"type": "pointerUp", "button": 0}]
            pointer = {"type": "pointer", "id": "mouse", "actions": actions}
            firefox.call("WebDriver:PerformActions", actions=[pointer])
            firefox.wait_for(rf"/, \d+\.\d %$/.test({ANSWER})")
            assert firefox.js(f"return {ANSWER}").startswith(f"{digit}, ")
        said = [
            each for each in firefox.console() if re.search(rf"WebAssembly|{server.address}", each)
        ]
    # Of docs/browser.md, "Build"; nothing else.
    assert [each for each in said if "'try' instruction is deprecated" not in each] == []
