"""A headless Chromium, driven by the DevTools protocol over two pipes.

As a program it takes a picture of a page: python -m tests.report.chromium PAGE OUT.png --width 1400
"""

import argparse
import base64
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from fcntl import F_DUPFD_CLOEXEC, fcntl
from pathlib import Path

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip

# A loaded machine of two cores takes several seconds to start a browser.
PATIENCE = 60


class Chromium:
    """A browser with a profile of its own in `folder`; a context, at whose end its processes are gone."""

    def __init__(self, folder):
        self._folder, self._unread, self._number = folder, b"", 0
        self.events = []

    def __enter__(self):
        theirs_in, self._out = _pipe()
        self._in, theirs_out = _pipe()
        self._log = (Path(self._folder) / "chromium.log").open("wb")
        command = ["chromium", *FLAGS, f"--user-data-dir={self._folder}/profile"]
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{theirs_in}- 4>&{theirs_out}-', "bash", *command, "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        return self

    def __exit__(self, *_):
        os.close(self._out)  # its end of input is the browser's end
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self._in)
        self._log.close()

    def call(self, method, session=None, **params):
        """What the browser answers to `method`; events that come before it are kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        message |= {"sessionId": session} if session else {}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while "id" not in (answer := self._read()):
            self.events.append(answer)
        assert answer["id"] == self._number
        assert "error" not in answer, f"{method}: {answer['error']}"
        return answer["result"]

    def wait_for(self, method, session):
        """Nothing, once the event `method` of `session` has come."""
        while not any(e["method"] == method and e.get("sessionId") == session for e in self.events):
            self.events.append(self._read())

    def _read(self):
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._unread:
            ready = select.select([self._in], [], [], max(0, deadline - time.monotonic()))[0]
            received = os.read(self._in, 1 << 20) if ready else b""
            assert received, "Chromium says nothing more: " + Path(self._log.name).read_text(errors="replace")
            self._unread += received
        message, self._unread = self._unread.split(b"\0", 1)
        return json.loads(message)

    def open(self, path, *, width=1400, height=900, dark=False, scripts=True):
        """The file at `path`, loaded in a window of `width` pixels."""
        return Page(self, Path(path).resolve().as_uri(), width, height, dark=dark, scripts=scripts)


def _pipe():
    """A pipe, both ends above 9: the browser reads 3 and writes 4, and moving one end there must not hit the other."""
    low = os.pipe()
    high = [fcntl(fd, F_DUPFD_CLOEXEC, 10) for fd in low]
    for fd in low:
        os.close(fd)
    return high


class Page:
    """One page; `url` is what it was opened by."""

    def __init__(self, browser, url, width, height, *, dark, scripts):
        self._browser, self.url = browser, url
        self._target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        theme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=theme)
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.resize(width, height)
        self.call("Page.navigate", url=url)
        browser.wait_for("Page.loadEventFired", self._session)

    def call(self, method, **params):
        """What the browser answers to `method` about this page."""
        return self._browser.call(method, self._session, **params)

    def evaluate(self, expression):
        """The value of a JavaScript expression; of a promise, what it comes to."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def resize(self, width, height=900):
        """Nothing; the window has this size."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def wait_until(self, expression):
        """Nothing, once a JavaScript expression is true."""
        soon = time.monotonic() + PATIENCE
        while not self.evaluate(f"Boolean({expression})"):
            assert time.monotonic() < soon, f"never true: {expression}"
            time.sleep(0.05)

    def close(self):
        """Nothing; the page is gone."""
        self._browser.call("Target.closeTarget", targetId=self._target)

    def point_at(self, x, y):
        """Nothing; the mouse moves to a place of the window."""
        for step in (3, 0):  # a browser tells scripts of movements, not of places
            self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x + step, y=y)

    def complaints(self):
        """Texts of console messages, log entries (violations of the policy among them) and exceptions so far."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(params) for method, params in self._events() if method in kinds]

    def requests(self):
        """Addresses asked for so far, that of the page first."""
        return [params["request"]["url"] for method, params in self._events() if method == "Network.requestWillBeSent"]

    def _events(self):
        self.evaluate("0")  # what came before the answer has been read
        mine = [event for event in self._browser.events if event.get("sessionId") == self._session]
        return [(event["method"], event["params"]) for event in mine]

    def picture(self, *, whole=True):
        """The page as PNG: all of it, or what the window shows."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize" if whole else "cssLayoutViewport"]
        width, height = (size.get(name) or size[f"client{name.title()}"] for name in ("width", "height"))
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        answer = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(answer["data"])


def main():
    """Nothing; a picture of a page is written."""
    parser = argparse.ArgumentParser(description="Take a picture of a page with headless Chromium.")
    parser.add_argument("page", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", type=int, default=1400)
    parser.add_argument("--height", type=int, help="of the picture; the whole page where it is not given")
    parser.add_argument("--dark", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, Chromium(folder) as browser:
        page = browser.open(options.page, width=options.width, height=options.height or 900, dark=options.dark)
        options.out.write_bytes(page.picture(whole=options.height is None))


def missing():
    """Why no browser can be opened here, or None."""
    return None if shutil.which("chromium") else "no chromium on PATH (Debian: apt-get install chromium)"


if __name__ == "__main__":
    main()
