"""Headless Chromium, driven by its DevTools protocol over pipes: no package is needed for it."""

import base64
import json
import os
import shutil
import subprocess
import tempfile

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")


class Chromium:
    """A browser with one page.

    What the page asked for is in ``requests``; what it threw or was refused in ``complaints``.
    """

    def __init__(self, *flags):
        from_browser, to_us = os.pipe()
        from_us, to_browser = os.pipe()
        self._folder = tempfile.mkdtemp(prefix="lenet-chromium-")

        def give_pipes():  # the protocol's are 3 and 4
            os.dup2(from_us, 100)
            os.dup2(to_us, 101)
            os.dup2(100, 3)
            os.dup2(101, 4)

        self._process = subprocess.Popen(
            [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe",
             f"--user-data-dir={self._folder}", *flags, "about:blank"],
            pass_fds=(3, 4), stderr=subprocess.DEVNULL, start_new_session=True,
            preexec_fn=give_pipes,  # noqa: PLW1509 - it only copies descriptors
        )  # fmt: skip
        os.close(from_us)
        os.close(to_us)
        self._in = os.fdopen(from_browser, "rb")
        self._out = os.fdopen(to_browser, "wb", 0)
        self._left, self._count, self._session = b"", 0, None
        self.requests, self.complaints = [], []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(each["targetId"] for each in targets if each["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._session = None
        self.call("Browser.close")
        self._process.wait(20)
        self._in.close()
        self._out.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def call(self, method, **params):
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        while True:
            reply = self._read()
            if reply.get("id") == self._count:
                assert "error" not in reply, reply
                return reply["result"]
            self._note(reply)

    def _read(self):
        while b"\0" not in self._left:
            more = os.read(self._in.fileno(), 1 << 16)
            assert more, "the browser has ended"
            self._left += more
        message, _, self._left = self._left.partition(b"\0")
        return json.loads(message)

    def _note(self, event):
        method, params = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"])
        elif method == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(params["entry"])

    def open(self, url):
        self.call("Page.navigate", url=url)

    def js(self, expression):
        """The value of an expression, or what its promise gives."""
        done = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def wait_for(self, condition, seconds=60):
        """Wait in the page until an expression is true."""
        found = self.js(
            f"(async () => {{ for (let i = 0; i < {seconds * 50}; i++) {{ if ({condition}) return"
            " true; await new Promise((done) => setTimeout(done, 20)); } return false; })()"
        )
        assert found, (condition, self.js("document.body.innerText"), self.complaints)

    def mouse(self, kind, x, y):
        down = 0 if kind == "mouseReleased" else 1
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=down,
                  clickCount=1)  # fmt: skip

    def key(self, key, text=""):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, text=text)

    def screenshot(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))
