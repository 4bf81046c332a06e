"""Headless Chromium, driven by its DevTools protocol over pipes: no package is needed for it."""

import base64
import json
import re
import shutil
import subprocess
import tempfile
from itertools import pairwise

import numpy as np
import pytest

from lenet_cpp.deploy import web

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")

browser = pytest.mark.skipif(
    BROWSER is None,
    reason="no chromium, no Python package: apt-get install chromium, as ./test.sh does for root",
)
needs_module = pytest.mark.skipif(
    not (web.PAGE / "lenet.wasm").is_file(),
    reason="built without Emscripten, no Python package: apt-get install emscripten, then ./run.sh,"
    " as ./test.sh does for root",
)


class Chromium:
    """A browser with one page.

    What the page asked for is in ``requests``; what it threw, was refused or did not get in
    ``complaints``.
    """

    def __init__(self, *flags):
        self._folder = tempfile.mkdtemp(prefix="lenet-chromium-")
        # The protocol's pipes are 3 and 4: the shell makes them of those that Popen makes.
        pipes = 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1'
        self._process = subprocess.Popen(
            [
                "sh",
                "-c",
                pipes,
                "sh",
                BROWSER,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--remote-debugging-pipe",
                f"--user-data-dir={self._folder}",
                *flags,
                "about:blank",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        self._in, self._out = self._process.stdout, self._process.stdin
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
            more = self._in.read(1 << 16)
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

    def pointer(self, kind, action, x, y):
        """Let a ``mouse``, ``pen`` or ``touch`` begin, move or end at a place of the window."""
        if kind == "touch":
            names = {"begin": "touchStart", "move": "touchMove", "end": "touchEnd"}
            points = [] if action == "end" else [{"x": x, "y": y}]
            self.call("Input.dispatchTouchEvent", type=names[action], touchPoints=points)
            return
        names = {"begin": "mousePressed", "move": "mouseMoved", "end": "mouseReleased"}
        self.call(
            "Input.dispatchMouseEvent",
            type=names[action],
            x=x,
            y=y,
            button="left",
            buttons=int(action != "end"),
            clickCount=1,
            pointerType=kind,
        )

    def key(self, key, text=""):
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, text=text)

    def choose_file(self, selector, path):
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        control = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=control, files=[str(path)])

    def drop_file(self, x, y, path):
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def window(self, width, height, *, dark=False):
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self):
        """Return the window as a PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])


STROKES = {
    1: [[(140, 40), (140, 240)]],
    7: [[(70, 60), (210, 60), (120, 240)]],
    4: [[(100, 50), (80, 150), (210, 150)], [(180, 60), (175, 245)]],
}
"""Digits as one draws them: pixels of the drawing, which has 280 each way."""

OPEN_NINE = [
    [(120, 50), (85, 100), (80, 150), (185, 150)],
    [(120, 50), (145, 60)],
    [(185, 60), (178, 245)],
]
"""Between a 4 and a 9."""

LAYOUT = """(() => {
  const transparent = 'rgba(0, 0, 0, 0)';
  const seen = [...document.body.querySelectorAll('*')].map((element) => {
    const range = document.createRange();
    const texts = [...element.childNodes].filter((node) => node.nodeType === 3 && node.data.trim());
    let box = element.getBoundingClientRect();
    if (texts.length) {
      range.setStartBefore(texts[0]);
      range.setEndAfter(texts.at(-1));
      box = range.getBoundingClientRect();
    }
    let behind = element;
    while (getComputedStyle(behind).backgroundColor === transparent) behind = behind.parentElement;
    return {
      element, box: [box.left, box.top, box.right, box.bottom],
      name: element.id || element.className || element.tagName.toLowerCase(),
      text: texts.map((node) => node.data.trim()).join(' '),
      colours: [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor],
    };
  }).filter(({ element, text }) =>
    element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })
    && (text || element.matches('canvas, img, button, .button, .track')));
  const overlapping = [];
  seen.forEach((a, i) => seen.slice(i + 1).forEach((b) => {
    const [left, top] = [0, 1].map((side) => Math.max(a.box[side], b.box[side]));
    const [right, bottom] = [2, 3].map((side) => Math.min(a.box[side], b.box[side]));
    const nested = a.element.contains(b.element) || b.element.contains(a.element);
    if (!nested && right - left > 0.5 && bottom - top > 0.5) overlapping.push([a.name, b.name]);
  }));
  return { seen: seen.map(({ element, ...rest }) => rest), overlapping };
})()"""

ANSWER = "document.getElementById('answer')?.textContent"
CLEAR = "document.getElementById('clear').click();"


class LenetPage(Chromium):
    """A browser with the page of ``lenet-cpp web``."""

    def open_ready(self, url):
        self.open(url)
        self.wait_for(f"{ANSWER}?.startsWith('Ready')")

    def place(self):
        """Return where the drawing is in the window: left, top and the length of a pixel."""
        box = "document.querySelector('#pad').getBoundingClientRect()"
        return self.js(f"(({{x, y, width}}) => [x, y, width / 280])({box})")

    def draw(self, strokes, kind="mouse"):
        """Draw, and return the class that the page answers."""
        self.js(CLEAR)
        left, top, pixel = self.place()
        for points in strokes:
            corners = np.array(points) * pixel + (left, top)
            self.pointer(kind, "begin", *corners[0].tolist())
            for start, end in pairwise(corners):
                for part in np.linspace(0, 1, 9)[1:]:
                    self.pointer(kind, "move", *(start + (end - start) * part).tolist())
            self.pointer(kind, "end", *corners[-1].tolist())
        return self.answer()

    def answer(self):
        """Return the class that the page shows when the pen rests."""
        self.wait_for(
            rf"/, \d+\.\d %$/.test({ANSWER})"
            " && document.getElementById('answer').ariaBusy === 'false'"
        )
        return re.sub(r", \d+\.\d %$", "", self.js(ANSWER))

    def layout(self):
        """Return what is seen: boxes with their texts and colours, and pairs that overlap."""
        return self.js(LAYOUT)

    def text(self, selector):
        return self.js(f"document.querySelector({json.dumps(selector)}).textContent")
