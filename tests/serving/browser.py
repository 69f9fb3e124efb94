"""A headless Chromium for tests, driven by the DevTools protocol through a pair of pipes, and a page open in it."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"]
SECONDS = 30  # until an answer or a change of the page is overdue
KEYS = {"Tab": 9, "Enter": 13, "Escape": 27, "Delete": 46}
Point = tuple[float, float]


class Browser:
    """A running Chromium: `call` sends a command of the protocol and returns its result, and collects the events."""

    def __init__(self, folder: Path):
        assert CHROMIUM
        for name in ("commands", "answers"):
            os.mkfifo(folder / name)
        start = 'exec "$0" "$@" 3<commands 4>answers >log 2>&1'  # the two descriptors that --remote-debugging-pipe uses
        options = [*FLAGS, *QUIET, "--remote-debugging-pipe", f"--user-data-dir={folder / 'profile'}"]
        self._process = subprocess.Popen(["sh", "-c", start, CHROMIUM, *options], cwd=folder)
        self._commands = os.open(folder / "commands", os.O_WRONLY)
        self._answers = os.open(folder / "answers", os.O_RDONLY)
        self._sent, self._received = 0, b""
        self._results: dict[int, dict[str, Any]] = {}
        self.events: list[dict[str, Any]] = []

    def send(self, method: str, session: str = "", **parameters: Any) -> int:
        self._sent += 1
        command = {"id": self._sent, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        return self._sent

    def wait(self, number: int) -> dict[str, Any]:
        """Returns the result of the command with this number."""
        while number not in self._results:
            message = self._receive()
            if "id" in message:
                self._results[message["id"]] = message
            else:
                self.events.append(message)
        answer = self._results.pop(number)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        return self.wait(self.send(method, session, **parameters))

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._received:
            assert select.select([self._answers], [], [], SECONDS)[0], "Chromium does not answer"
            received = os.read(self._answers, 1 << 20)
            assert received, "Chromium has ended"
            self._received += received
        message, _, self._received = self._received.partition(b"\0")
        return json.loads(message)

    def close(self) -> None:
        self.send("Browser.close")
        self._process.wait(SECONDS)
        os.close(self._commands)
        os.close(self._answers)


class Page:
    """A page in a profile of its own; `mistakes` and `hosts` say what must not have happened in it."""

    def __init__(self, browser: Browser, url: str, *, width: int = 1280, height: int = 800, dark: bool = False):
        self._browser = browser
        browser.events.clear()
        self._context = browser.call("Target.createBrowserContext")["browserContextId"]
        target = browser.call("Target.createTarget", url="about:blank", browserContextId=self._context)["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Browser.grantPermissions", permissions=["clipboardReadWrite"], browserContextId=self._context)
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def resize(self, width: int, height: int, scale: float = 1) -> None:
        phone = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
        self.call("Emulation.setDeviceMetricsOverride", **phone)

    def evaluate(self, expression: str) -> Any:
        """The JSON value of a JavaScript expression, awaited if it is a promise."""
        options = {"returnByValue": True, "awaitPromise": True, "userGesture": True}
        result = self.call("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, condition: str) -> None:
        """Waits until a JavaScript expression is true."""
        end = time.monotonic() + SECONDS
        while not self.evaluate(condition):
            assert time.monotonic() < end, f"still not true: {condition}"
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        return self.evaluate(f"document.querySelector({selector!r}).textContent.trim()")

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of an element."""
        box = f"document.querySelector({selector!r}).getBoundingClientRect()"
        return tuple(self.evaluate(f"(b => [b.left, b.top, b.width, b.height])({box})"))

    def drag(self, points: Iterable[Point], touch: bool = False) -> None:
        """Presses the mouse's button, or touches, at the first point, moves over the others, and lets go."""
        points = list(points)
        if touch:
            steps = [("touchStart", points[0]), *(("touchMove", point) for point in points[1:]), ("touchEnd", None)]
            numbers = [
                self._send("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": at[0], "y": at[1]}] if at else [])
                for kind, at in steps
            ]
        else:
            steps = [("mousePressed", points[0]), *(("mouseMoved", point) for point in points[1:])]
            numbers = [
                self._send(
                    "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=held, clickCount=1
                )
                for kind, (x, y), held in [*((*step, 1) for step in steps), ("mouseReleased", points[-1], 0)]
            ]
        for number in numbers:
            self._browser.wait(number)

    def _send(self, method: str, **parameters: Any) -> int:
        return self._browser.send(method, self._session, **parameters)

    def click(self, selector: str) -> None:
        left, top, width, height = self.box(selector)
        self.drag([(left + width / 2, top + height / 2)])

    def press(self, key: str, *, control: bool = False, command: str = "", text: str = "") -> None:
        """Presses a key; `command` is what the browser's own shortcut for it does, "paste" for example."""
        common = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS.get(key, ord(key[0].upper()))}
        common["modifiers"] = 2 if control else 0
        self.call("Input.dispatchKeyEvent", type="keyDown", commands=[command] if command else [], text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def drop(self, file: Path, selector: str) -> None:
        """Drags a file from the desktop to an element."""
        left, top, width, height = self.box(selector)
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=left + width / 2, y=top + height / 2, data=data)

    def choose(self, file: Path, selector: str) -> None:
        """Clicks a button that asks for a file, and chooses this one."""
        self.call("Page.setInterceptFileChooserDialog", enabled=True)
        self.click(selector)
        event = next(self._wait_for("Page.fileChooserOpened"))
        self.call("DOM.setFileInputFiles", files=[str(file)], backendNodeId=event["backendNodeId"])

    def _wait_for(self, method: str) -> Iterable[dict[str, Any]]:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            yield from (event["params"] for event in self._browser.events if event["method"] == method)
            self.evaluate("0")
        raise AssertionError(f"no {method}")

    def screenshot(self, path: Path, *, full: bool = False) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=full)["data"]))
