"""Chromium for tests, spoken to over a pipe in its own protocol (CDP): nothing to install beside the browser.

Messages are JSON, each ended by a zero byte, on the file descriptors 3 and 4 of the browser's process.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_TIMEOUT_S = 60.0
_NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str:
    """Return the path of a Chromium; where there is none, skip the test, or fail it where CI is set."""
    for name in _NAMES:
        if path := shutil.which(name):
            return path
    why = f"no {' or '.join(_NAMES)} on this machine (Debian: apt-get install chromium)"
    if os.environ.get("CI"):
        pytest.fail(f"{why}, and CI must look at the page")
    pytest.skip(why)


class Browser:
    """One page of a running browser. `errors` and `requests` are what it told since the last `open`."""

    def __init__(self, send: int, receive: int) -> None:
        self._send, self._receive = send, receive
        self._ids = itertools.count(1)
        self._rest = b""
        self._session: str | None = None
        self.errors: list[str] = []
        self.requests: list[str] = []

    def attach(self) -> None:
        """Open a page and listen to it."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def open(self, page: Path | str, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Show a file or address in a window of this size, a phone's below 600 pixels, and wait until it is loaded."""
        self.errors.clear()
        self.requests.clear()
        phone = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=page if isinstance(page, str) else page.resolve().as_uri())
        self.evaluate(
            "new Promise(done => document.readyState == 'complete' ? done() : addEventListener('load', done))"
        )

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression on the page; of a promise, what it gives."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """Write a picture of the whole page."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def call(self, method: str, **parameters: Any) -> Any:
        """Send a command and return its result; what the page tells meanwhile is noted."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        for told in self._messages(time.monotonic() + _TIMEOUT_S):
            if told.get("id") == number:
                assert "error" not in told, (method, told["error"])
                return told["result"]
            self._note(told)
        raise AssertionError(f"the browser closed the pipe during {method}")

    def _messages(self, deadline: float) -> Iterator[dict[str, Any]]:
        while True:
            while b"\0" in self._rest:
                message, self._rest = self._rest.split(b"\0", 1)
                yield json.loads(message)
            assert select.select([self._receive], [], [], max(0.0, deadline - time.monotonic()))[0], "no answer in time"
            if not (block := os.read(self._receive, 1 << 20)):
                return
            self._rest += block

    def _note(self, told: dict[str, Any]) -> None:
        facts = told.get("params", {})
        if told.get("method") == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(facts["exceptionDetails"]))
        elif told.get("method") == "Log.entryAdded" and facts["entry"]["level"] in ("error", "warning"):
            self.errors.append(facts["entry"]["text"])
        elif told.get("method") == "Runtime.consoleAPICalled" and facts["type"] in ("error", "warning", "assert"):
            self.errors.append(json.dumps(facts["args"]))
        elif told.get("method") == "Network.requestWillBeSent":
            self.requests.append(facts["request"]["url"])


@contextmanager
def browsing() -> Iterator[Browser]:
    """Run a browser while the body runs."""
    program = find_browser()
    to_browser, to_us = os.pipe(), os.pipe()
    flags = ["--headless=new", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
    flags += ["--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")  # which root may not have; the page is our own
    with tempfile.TemporaryDirectory(prefix="longreel-browser-", ignore_cleanup_errors=True) as profile:
        command = [program, *flags, f"--user-data-dir={profile}"]
        # The shell puts the pipes where the browser looks for them.
        wrapper = ["bash", "-c", f'exec 3<&{to_browser[0]} 4>&{to_us[1]}; exec "$@"', "bash", *command]
        with subprocess.Popen(
            wrapper, pass_fds=(to_browser[0], to_us[1]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            os.close(to_browser[0])
            os.close(to_us[1])
            browser = Browser(to_browser[1], to_us[0])
            try:
                browser.attach()
                yield browser
            finally:
                os.close(to_browser[1])  # at the end of its pipe the browser ends
                os.close(to_us[0])
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()
