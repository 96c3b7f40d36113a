"""A headless Chromium, driven over its DevTools pipe with the standard library alone.

Chromium reads commands from its descriptor 3 and writes answers and events to 4 (`--remote-debugging-pipe`), each as
JSON with a zero byte behind it. https://chromedevtools.github.io/devtools-protocol
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    "--remote-debugging-pipe",
)
_ON_3_AND_4 = """
import fcntl, os, sys
commands, answers = (fcntl.fcntl(int(number), fcntl.F_DUPFD, 20) for number in sys.argv[1:3])
os.dup2(commands, 3); os.dup2(answers, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Puts the two pipes where Chromium looks for them; `subprocess` alone keeps their numbers."""


class BrowserError(Exception):
    """The browser said no, or nothing."""


def find_chromium() -> str | None:
    """Path of a Chromium or Chrome; None without one."""
    return next((path for name in NAMES if (path := shutil.which(name)) is not None), None)


class Browser:
    """One browser process."""

    def __init__(self, program: str, profile: Path, *, timeout_s: float = 120.0) -> None:
        """Start it with a profile of its own."""
        commands_out, self._commands = os.pipe()
        self._answers, answers_in = os.pipe()
        self._log = (profile / "log.txt").open("wb")
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-S", "-E", "-c", _ON_3_AND_4, str(commands_out), str(answers_in)),
                *(program, *_FLAGS, f"--user-data-dir={profile}", "about:blank"),
            ],
            pass_fds=(commands_out, answers_in),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        os.close(commands_out)
        os.close(answers_in)
        self._timeout_s = timeout_s
        self._last_id = 0
        self._buffer = b""
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        """Use it in a `with`."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End this very process, and wait for it."""
        self._process.terminate()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._commands)
        os.close(self._answers)
        self._log.close()

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events that come meanwhile are kept."""
        self._last_id += 1
        message: dict[str, Any] = {"id": self._last_id, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        payload = json.dumps(message).encode() + b"\0"
        while payload:
            payload = payload[os.write(self._commands, payload) :]
        wanted = self._last_id
        deadline = time.monotonic() + self._timeout_s
        while True:
            received = self._receive(deadline)
            if received.get("id") == wanted:
                if "error" in received:
                    msg = f"{method}: {received['error']}"
                    raise BrowserError(msg)
                result: dict[str, Any] = received["result"]
                return result
            self.events.append(received)

    def wait_for(self, method: str, session: str) -> dict[str, Any]:
        """Wait for an event, or take one that has come already."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            for event in self.events:
                if event.get("method") == method and event.get("sessionId") == session:
                    self.events.remove(event)
                    return event
            self.events.append(self._receive(deadline))

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self._answers, 1 << 20) if ready else b""
            if not chunk:
                msg = f"Chromium ended or was silent for {self._timeout_s:g} s; its words are in {self._log.name}"
                raise BrowserError(msg)
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message


class Page:
    """One tab."""

    def __init__(self, browser: Browser) -> None:
        """Open a tab and listen to what it complains about."""
        self._browser = browser
        self.target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.call("Target.attachToTarget", targetId=self.target, flatten=True)
        self._session: str = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command to this tab."""
        return self._browser.call(method, self._session, **params)

    def open(self, path: Path) -> None:
        """Go to a file and wait until it is loaded."""
        self._forget("Page.loadEventFired")
        self.call("Page.navigate", url=path.resolve().as_uri())
        self._browser.wait_for("Page.loadEventFired", self._session)

    def reload(self) -> None:
        """Load the file again."""
        self._forget("Page.loadEventFired")
        self.call("Page.reload")
        self._browser.wait_for("Page.loadEventFired", self._session)

    def run(self, expression: str) -> Any:
        """Evaluate JavaScript, wait for its promise, and take its value."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise BrowserError(json.dumps(answer["exceptionDetails"])[:2000])
        return answer["result"].get("value")

    def until(self, expression: str, *, timeout_s: float = 60.0) -> None:
        """Wait until an expression is true."""
        deadline = time.monotonic() + timeout_s
        while not self.run(expression):
            if time.monotonic() > deadline:
                msg = f"not true after {timeout_s:g} s: {expression}"
                raise BrowserError(msg)
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """Press and release a key, as a keyboard does."""
        codes = {"ArrowRight": 39, "ArrowLeft": 37, "ArrowDown": 40, "ArrowUp": 38, "Tab": 9, "Enter": 13}
        known: dict[str, Any] = {"key": key, "code": key if key in codes else f"Key{key.upper()}"}
        known["windowsVirtualKeyCode"] = codes.get(key, ord(key[0].upper()))
        text = {} if key in codes and key != "Enter" else {"text": "\r" if key == "Enter" else key}
        self.call("Input.dispatchKeyEvent", type="keyDown", **known, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **known)

    def resize(self, width: int, height: int, *, is_mobile: bool = False) -> None:
        """Give the tab a size."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=is_mobile
        )

    def use_scheme(self, scheme: str) -> None:
        """Prefer `light` or `dark`."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path: Path, *, is_whole: bool = False) -> None:
        """Take a picture of what is seen, or of the whole page."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=is_whole)
        path.write_bytes(base64.b64decode(answer["data"]))

    def pdf(self) -> bytes:
        """Print."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, exceptions, and requests that left the page; since it was opened."""
        self.run("1")  # whatever has been said by now has come
        found = []
        for event in self._browser.events:
            if event.get("sessionId") != self._session:
                continue
            params = event["params"]
            match event["method"]:
                case "Runtime.exceptionThrown":
                    found.append(json.dumps(params["exceptionDetails"])[:500])
                case "Runtime.consoleAPICalled" if params["type"] in {"error", "warning", "assert"}:
                    found.append(json.dumps(params["args"])[:500])
                case "Log.entryAdded" if params["entry"]["level"] in {"error", "warning"}:
                    found.append(params["entry"]["text"])
                case "Network.requestWillBeSent":
                    url: str = params["request"]["url"]
                    if not url.startswith(("file:", "data:", "about:", "blob:")):
                        found.append(f"request to {url}")
                case _:
                    pass
        return found

    def _forget(self, method: str) -> None:
        events = self._browser.events
        events[:] = [one for one in events if one.get("method") != method or one.get("sessionId") != self._session]


@contextmanager
def opened_browser(program: str, folder: Path) -> Iterator[Browser]:
    """A browser with an empty profile, ended with the block."""
    profile = folder / "profile"
    profile.mkdir(parents=True, exist_ok=True)
    with Browser(program, profile) as browser:
        yield browser
