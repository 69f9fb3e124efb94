"""A headless Chromium for tests, driven by the DevTools protocol through a pair of pipes, and a page open in it."""

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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
        command = {"id": self._sent, "method": method, "params": parameters}
        if session:
            command["sessionId"] = session
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
    """A page in a profile of its own."""

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
        self.call(
            "Browser.grantPermissions",
            permissions=["clipboardReadWrite", "clipboardSanitizedWrite"],
            browserContextId=self._context,
        )
        count = "window.lifted = 0; addEventListener('pointerup', () => { lifted++ }, true)"
        self.call("Page.addScriptToEvaluateOnNewDocument", source=count)
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

    def drag(self, points: Sequence[Point], *, touch: bool = False, release: bool = True) -> None:
        """Presses the mouse's button at the first point, or touches it, moves over the others, and lets go."""
        if touch:
            steps = [("touchStart", points[:1]), *(("touchMove", [point]) for point in points[1:])]
            steps += [("touchEnd", [])] * release
            events = [{"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in at]} for kind, at in steps]
        else:
            moves = [("mousePressed", points[0]), *(("mouseMoved", point) for point in points[1:])]
            moves += [("mouseReleased", points[-1])] * release
            events = [{"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1} for kind, (x, y) in moves]
        method = f"Input.dispatch{'Touch' if touch else 'Mouse'}Event"
        lifted = self.evaluate("lifted")
        self.call(method, **events[0])  # alone: a burst of all that starts with a touch may be taken for scrolling
        for number in [self._browser.send(method, self._session, **event) for event in events[1:]]:
            self._browser.wait(number)
        self.wait(f"lifted === {lifted + release}")  # some events are confirmed before the page has them

    def click(self, selector: str) -> None:
        left, top, width, height = self.box(selector)
        self.drag([(left + width / 2, top + height / 2)])

    def press(self, key: str, *, control: bool = False, command: str = "", text: str = "") -> None:
        """Presses a key; `command` is what the browser's own shortcut for it does, "paste" for example."""
        common = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS.get(key, ord(key[0].upper()))}
        common["modifiers"] = 2 * control
        self.call("Input.dispatchKeyEvent", type="keyDown", commands=[command] if command else [], text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def drop(self, file: Path, selector: str) -> None:
        """Drags a file from the desktop to an element."""
        left, top, width, height = self.box(selector)
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=left + width / 2, y=top + height / 2, data=data)

    def choose(self, file: Path, ask: Callable[[], None]) -> None:
        """Chooses a file in the dialog that `ask` opens."""
        self.call("Page.setInterceptFileChooserDialog", enabled=True)
        ask()
        end = time.monotonic() + SECONDS
        while not (opened := self.events("Page.fileChooserOpened")):
            assert time.monotonic() < end, "no file is asked for"
            self.evaluate("0")
        self.call("DOM.setFileInputFiles", files=[str(file)], backendNodeId=opened[-1]["backendNodeId"])

    def events(self, method: str) -> list[dict[str, Any]]:
        """What the browser has reported by this name since the page was opened."""
        return [event["params"] for event in self._browser.events if event["method"] == method]

    def errors(self) -> list[str]:
        """What the console shows as errors or warnings, breaches of the Content-Security-Policy among them."""
        entries = [event["entry"] for event in self.events("Log.entryAdded")]
        thrown = [event["exceptionDetails"] for event in self.events("Runtime.exceptionThrown")]
        return [str(entry["text"]) for entry in entries] + list(map(str, thrown))

    def hosts(self) -> set[str]:
        """The hosts that it has asked for anything."""
        urls = [urlsplit(event["request"]["url"]) for event in self.events("Network.requestWillBeSent")]
        return {url.netloc for url in urls if url.scheme not in ("blob", "data")}

    def close(self) -> None:
        self._browser.call("Target.disposeBrowserContext", browserContextId=self._context)

    def screenshot(self, path: Path, *, full: bool = False) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", captureBeyondViewport=full)["data"]))
