"""Chromium driven through its DevTools protocol over two pipes: no driver, no socket, no package.

--remote-debugging-pipe reads commands from descriptor 3 and writes answers to 4, JSON texts that
end with a zero byte (https://chromedevtools.github.io/devtools-protocol/).
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
    # A camera that shows a moving test picture, and nobody to ask for it.
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
SECONDS = 120


def find_browser() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


class BrowserError(AssertionError):
    """The browser or a script in the page failed."""


class Browser:
    """One page of a headless browser."""

    def __init__(self, profile: Path) -> None:
        commands, self._write = os.pipe()
        self._read, answers = os.pipe()
        self._buffer = b""
        self._last = 0
        self.messages: list[dict[str, Any]] = []
        # The browser expects its pipes at 3 and 4. The numbers here may be the same, so they are
        # moved out of the way first.
        high = [os.dup2(commands, 60), os.dup2(answers, 61)]
        self._process = subprocess.Popen(
            [
                "bash",  # redirects descriptors of two digits, which sh need not
                "-c",
                'exec "$@" 3<&60 4>&61 60<&- 61>&-',
                "bash",
                str(find_browser()),
                *FLAGS,
                f"--user-data-dir={profile}",
                "about:blank",
            ],
            pass_fds=high,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for descriptor in (commands, answers, *high):
            os.close(descriptor)
        targets = self._send("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attached = self._send("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> Any:
        """A command to the page, and its answer."""
        return self._send(method, session=self._session, **parameters)

    def _send(self, method: str, session: str = "", **parameters: Any) -> Any:
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + SECONDS
        while True:
            answer = self._next(deadline, method)
            if answer.get("id") == self._last:
                if "error" in answer:
                    raise BrowserError(f"{method}: {answer['error']['message']}")
                return answer["result"]
            self.messages.append(answer)

    def _next(self, deadline: float, waiting_for: str) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready = select.select([self._read], [], [], max(0, deadline - time.monotonic()))[0]
            data = os.read(self._read, 1 << 20) if ready else b""
            if not data:
                raise BrowserError(f"the browser did not answer {waiting_for}")
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(text)

    def open(self, url: str) -> None:
        """Go to a page, and wait until it is loaded."""
        self.send("Page.navigate", url=url)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        answer = self.send(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(details.get("exception", details).get("description", details))
        return answer["result"].get("value")

    def wait(self, condition: str, seconds: float = 60) -> None:
        """Until an expression in the page is true."""
        deadline = time.monotonic() + seconds
        while not self.evaluate(condition):
            if time.monotonic() > deadline:
                raise BrowserError(f"after {seconds:.0f} s it is not so: {condition}")
            time.sleep(0.05)

    def give_file(self, selector: str, path: Path) -> None:
        """What choosing a file does."""
        root = self.send("DOM.getDocument")["root"]["nodeId"]
        node = self.send("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.send("DOM.setFileInputFiles", files=[str(path)], nodeId=node)

    def requested(self) -> set[str]:
        """Addresses of everything that was asked for so far."""
        return {
            message["params"]["request"]["url"]
            for message in self.messages
            if message.get("method") == "Network.requestWillBeSent"
        }

    def screenshot(self, path: Path, width: int, height: int, dark: bool) -> None:
        """The page as a phone or a desktop of this size shows it."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2,
            mobile=width < 600,
        )
        self.send("Emulation.setTouchEmulationEnabled", enabled=width < 600)
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[theme])
        data = self.send("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        for descriptor in (self._write, self._read):
            os.close(descriptor)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30)


@contextlib.contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    """A browser with an empty profile, ended in any case."""
    browser = Browser(profile)
    try:
        yield browser
    finally:
        browser.close()
