"""The drawing page in headless Chromium: drawn on with real pointer events, read as a user reads it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import CHROMIUM, Browser, Page, Point
from drawings import GLYPHS, encode, smooth
from PIL import Image, ImageDraw

import tfmnist

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium")
OpenPage = Callable[..., Page]
SETTLED = "!document.body.classList.contains('waiting')"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service with a network that has trained for two seconds."""
    data = tfmnist.load("mnist", validation=0).train
    model = tfmnist.MLP((28, 28), [512], 10, seed=0)
    train = tfmnist.Split(data.images[:12_000], data.labels[:12_000])
    tfmnist.fit(model, train, optimizer=tfmnist.Adam(model.parameters, learning_rate=0.002), epochs=2, progress=False)
    folder = tmp_path_factory.mktemp("page")
    tfmnist.export(model, folder / "model")
    command = [sys.executable, "-m", "tfmnist", "serve", str(folder / "model"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().split()[-1] + "/"
        process.terminate()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.close()


@pytest.fixture
def open_page(browser: Browser, url: str) -> Iterator[OpenPage]:
    """Opens the page; in the end, the console must be empty, and no other host have been asked for anything."""
    pages: list[Page] = []

    def open_page(**options: Any) -> Page:
        pages.append(Page(browser, url, **options))
        return pages[-1]

    yield open_page
    for page in pages:
        assert not page.errors()
        assert page.hosts() == {url.split("/")[2]}
        page.close()


def strokes(digit: int, style: int, left: float, top: float, width: float, height: float) -> list[list[Point]]:
    """The strokes of a digit in a box, a point about every tenth of its height."""

    def points(stroke: list[Any]) -> list[Point]:
        if stroke[0] != "/":
            return smooth(stroke)[::3]
        steps = np.linspace(0, 1, 10)[:, None]
        lines = [(1 - steps) * a + steps * b for a, b in zip(np.array(stroke[1:-1]), np.array(stroke[2:]))]
        return [(x, y) for x, y in np.concatenate(lines)]

    return [[(left + x * width, top + y * height) for x, y in points(stroke)] for stroke in GLYPHS[digit][style]]


def write(page: Page, number: str, style: int = 0, touch: bool = False) -> str:
    """Writes a number across the paper, and returns what the page says it is."""
    left, top, width, height = page.box("#canvas")
    high = min(0.6 * height, width / len(number))
    for i, digit in enumerate(number):
        middle = left + width * (i + 0.5) / len(number)
        for stroke in strokes(int(digit), style, middle - 0.375 * high, top + (height - high) / 2, 0.75 * high, high):
            page.drag(stroke, touch=touch)
    return read(page)


def read(page: Page) -> str:
    """What the page says, once it has the answer to all that is on the paper."""
    page.wait(SETTLED)
    return page.text("#text")


def test_digits_drawn_with_the_mouse(open_page: OpenPage) -> None:
    page = open_page()
    page.evaluate(
        "(real => { window.atOnce = window.most = window.asked = 0; window.fetch = async (...request) => {"
        "  asked++; most = Math.max(most, ++atOnce);"
        "  try { return await real(...request) } finally { atOnce-- } } })(window.fetch)"
    )
    wrong = {}
    for digit, styles in GLYPHS.items():
        for style in range(len(styles)):
            if (answer := write(page, str(digit), style)) != str(digit):
                wrong[digit, style] = answer
            page.press("Escape")
    assert not wrong
    assert page.evaluate("[most, asked >= 20]") == [1, True]


def test_digits_drawn_with_a_finger_on_a_phone(open_page: OpenPage) -> None:
    page = open_page(width=390, height=844)
    page.call("Emulation.setTouchEmulationEnabled", enabled=True)
    answers = []
    for digit in range(10):
        answers.append(write(page, str(digit), touch=True))
        page.click("#clear")
    assert answers == list("0123456789")
    assert page.evaluate("scrollY") == 0


def test_bars_move_while_drawing(open_page: OpenPage) -> None:
    page = open_page()
    left, top, width, height = page.box("#canvas")
    (stroke,) = strokes(7, 0, left + width / 3, top + 0.2 * height, 0.4 * height, 0.6 * height)
    page.drag(stroke[:-4], release=False)
    page.wait("document.querySelector('#bars .best span')?.textContent.endsWith('%')")
    shares = page.evaluate(
        "[...document.querySelectorAll('#bars i')].map(bar => +bar.style.getPropertyValue('--share'))"
    )
    assert len(shares) == 10 and sum(shares) == pytest.approx(1, abs=1e-4)
    page.drag(stroke[-4:])
    assert read(page) == "7"
    assert page.text("#bars .best b") == "7"


def test_number(open_page: OpenPage) -> None:
    page = open_page()
    assert write(page, "407") == "407"
    assert (
        page.evaluate("[...document.querySelectorAll('#seen canvas')].map(image => [image.width, image.height])")
        == [[28, 28]] * 3
    )
    assert page.text("#which") == "Probabilities of digit 3 of 3" and page.text("#bars .best b") == "7"
    page.click("#seen button:nth-child(2)")
    assert page.text("#which") == "Probabilities of digit 2 of 3" and page.text("#bars .best b") == "0"
    page.wait("document.querySelector('#spoken').textContent.startsWith('407, At least')")


def test_undo_and_clear(open_page: OpenPage) -> None:
    page = open_page()
    assert write(page, "1") == "1"
    assert write(page, "7", style=1) != "1"  # two strokes
    for _ in range(2):
        page.press("z", control=True)
    assert read(page) == "1"
    page.press("Delete")
    assert read(page) == "" and page.text("#message").startswith("The answer appears here")
    page.click("#undo")  # what was cleared comes back
    assert read(page) == "1"
    page.drag(strokes(7, 0, 300, 200, 200, 300)[0], release=False)
    page.press("Escape")  # before the button is let go
    page.drag([(400, 400)])
    assert read(page) == ""
    page.click("#undo")
    page.click("#undo")
    page.click("#undo")  # there is nothing left, and nothing happens
    assert read(page) == "" and page.evaluate("document.querySelector('#undo').ariaDisabled") == "true"
    inked = "document.querySelector('#canvas').getContext('2d').getImageData(0, 0, 600, 600).data.some(Boolean)"
    assert not page.evaluate(f"new Promise(done => requestAnimationFrame(() => setTimeout(() => done({inked}))))")


def test_no_digit_is_no_answer(open_page: OpenPage) -> None:
    page = open_page()
    left, top, width, height = page.box("#canvas")
    page.drag([(left + width / 2, top + height / 2)])  # a dot
    assert read(page) == ""
    assert page.text("#message") == "No digit yet. Draw it larger."
    assert page.evaluate("document.querySelectorAll('#seen button, #bars .best').length") == 0


def test_resized_drawing_stays_whole(open_page: OpenPage) -> None:
    page = open_page()
    assert write(page, "407") == "407"
    page.resize(390, 844)
    page.wait("document.querySelector('#canvas').width < 400")
    left, _, width, _ = page.box("#canvas")
    page.drag([(left + width / 2, 100)])
    page.press("z", control=True)
    assert read(page) == "407"


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, Path]:
    """A written 5, blank paper, and a text."""
    paper = np.full([300, 240], 225, np.uint8)
    image = Image.fromarray(paper)
    for stroke in strokes(5, 0, 70, 60, 110, 170):
        ImageDraw.Draw(image).line(stroke, fill=40, width=14, joint="curve")
    contents = {"five.png": encode(image), "blank.png": encode(paper), "notes.png": b"no picture at all"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: tmp_path / name for name in contents}


def test_pictures(open_page: OpenPage, pictures: dict[str, Path]) -> None:
    page = open_page()
    assert write(page, "3") == "3"
    page.choose(pictures["five.png"], lambda: page.click("#choose"))
    page.wait("document.querySelector('#picture').naturalWidth === 240")
    assert read(page) == "5"
    page.click("#back")
    assert read(page) == "3"

    page.drop(pictures["five.png"], "#bars")
    page.wait("document.querySelector('#picture').naturalWidth === 240")
    assert read(page) == "5"
    page.press("z", control=True)
    assert read(page) == "3"

    page.evaluate("document.querySelector('#choose').focus()")
    page.evaluate(COPY)
    page.press("v", control=True, command="paste")
    page.wait("!document.querySelector('#picture').hidden")
    assert read(page) == "3"


# copies the drawing, as a picture with a white ground
COPY = """
(async () => {
  const [drawing, copy] = [document.querySelector("#canvas"), document.createElement("canvas")];
  [copy.width, copy.height] = [drawing.width, drawing.height];
  const context = copy.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, copy.width, copy.height);
  context.drawImage(drawing, 0, 0);
  const picture = await new Promise(resolve => copy.toBlob(resolve));
  await navigator.clipboard.write([new ClipboardItem({"image/png": picture})]);
})()
"""


def test_refused_pictures(open_page: OpenPage, pictures: dict[str, Path]) -> None:
    page = open_page()
    page.drop(pictures["blank.png"], "#paper")
    page.wait("!document.querySelector('#picture').hidden")
    assert read(page) == "" and "o digit" in page.text("#message")
    page.drop(pictures["notes.png"], "#paper")
    page.wait("!document.querySelector('#unshown').hidden")
    assert read(page) == "" and page.text("#message").startswith("Not a ")
    assert page.text("#unshown") == "notes.png: this browser cannot show it."


def test_keyboard(open_page: OpenPage, pictures: dict[str, Path]) -> None:
    page = open_page()
    focus = "(e => e.id || e.parentElement.id || e.textContent)(document.activeElement)"

    def tab() -> str:
        page.press("Tab")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"  # it is seen
        return page.evaluate(focus)

    assert [tab() for _ in range(4)] == ["API", "undo", "clear", "choose"]
    page.choose(pictures["five.png"], lambda: page.press("Enter", text="\r"))
    assert read(page) == "5"
    page.press("Escape")
    assert write(page, "42") == "42"
    assert [tab() for _ in range(2)] == ["seen", "seen"]
    page.evaluate("document.querySelector('#clear').focus()")
    page.press("Enter", text="\r")
    assert read(page) == "" and page.evaluate(focus) == "clear"


@pytest.mark.parametrize("width, height", [(1280, 800), (390, 844), (844, 390), (320, 568)])
@pytest.mark.parametrize("dark", [False, True])
def test_layout(open_page: OpenPage, width: int, height: int, dark: bool) -> None:
    page = open_page(width=width, height=height, dark=dark)
    assert write(page, "407") == "407"
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.box("#canvas")[2] >= (width - 26 if width < 600 else width / 2.2)
    assert page.evaluate(CONTRASTS) == []
    page.click("#clear")
    assert read(page) == "" and page.evaluate(CONTRASTS) == []
    assert page.evaluate("parseInt(getComputedStyle(document.body).backgroundColor.slice(4)) < 128") == dark


# the texts that are shown with a contrast below 4.5, which WCAG's AA asks for
CONTRASTS = """
(() => {
  const parse = color => color.match(/[\\d.]+/g).map(Number);
  const linear = part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  const luminance = color => {
    const [red, green, blue] = parse(color).map(part => linear(part / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = element => {
    const color = getComputedStyle(element).backgroundColor;
    return (parse(color)[3] ?? 1) ? color : ground(element.parentElement);
  };
  const contrast = element => {
    const [dark, light] = [getComputedStyle(element).color, ground(element)].map(luminance).sort((a, b) => a - b);
    return (light + 0.05) / (dark + 0.05);
  };
  const hasText = element => [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
  const shown = [...document.querySelectorAll("body *")].filter(e => e.checkVisibility() && hasText(e));
  return shown.filter(e => contrast(e) < 4.5).map(e => e.outerHTML);
})()
"""


ANSWERS = """
(real => {
  window.answers = %s;
  window.fetch = async (url, request) => {
    if (!answers.length) return real(url, request);
    const [status, body, headers] = answers.shift();
    if (status) return new Response(JSON.stringify(body ?? {}), {status, headers});
    throw new TypeError("no connection");
  };
})(window.fetch)
"""


@pytest.mark.parametrize(
    "status, message",
    [(0, "Cannot reach"), (429, "is busy"), (503, "is not ready"), (504, "took too long")],
)
def test_recovers(open_page: OpenPage, status: int, message: str) -> None:
    page = open_page()
    page.evaluate(ANSWERS % json.dumps([[status]] * 1000))
    page.drag(strokes(1, 0, 300, 200, 200, 300)[0])
    page.wait(f"document.querySelector('#message').textContent.includes('{message}')")
    assert page.text("#text") == "" and page.text("#message").endswith("Trying again…")
    page.evaluate("answers = []")
    assert read(page) == "1" and page.text("#message") == ""


def test_other_errors_are_said(open_page: OpenPage) -> None:
    page = open_page()
    page.evaluate(ANSWERS % json.dumps([[413, {"error": "a body of 9 MB: expected at most 8 MB."}]] * 1000))
    assert write(page, "1") == "" and page.text("#message") == "A body of 9 MB: expected at most 8 MB."
    page.evaluate("answers = [[502]]")
    page.press("Escape")
    page.drag(strokes(1, 0, 300, 200, 200, 300)[0])
    page.wait("document.querySelector('#message').textContent === 'The service answered with status 502.'")


def test_token(open_page: OpenPage) -> None:
    page = open_page()
    page.evaluate(
        "(real => { window.fetch = (url, request) => request.headers.Authorization === 'Bearer secret'"
        " ? real(url, request) : new Response('{}', {status: 401}) })(window.fetch)"
    )
    page.drag(strokes(1, 0, 300, 200, 200, 300)[0])
    for token, shown in (("wrong", "requires a token"), ("secret", "rejected this token")):
        page.wait(f"document.querySelector('#message').textContent.includes('{shown}')")
        page.evaluate(f"document.querySelector('#token').value = '{token}'")
        page.click("#ask button")
    assert read(page) == "1"
    assert page.evaluate("[sessionStorage.getItem('token'), document.querySelector('#ask').hidden]") == ["secret", True]


def test_many_named_classes(open_page: OpenPage) -> None:
    page = open_page()
    probabilities = {f"class {i}": 0.001 for i in range(20)} | {"Ankle boot": 0.7, "T-shirt/top": 0.28}
    digit = {"class": "Ankle boot", "confidence": 0.7, "sure": False, "probabilities": probabilities}
    digit["normalized"] = [[0, 255]] * 3
    page.evaluate(ANSWERS % json.dumps([[200, {"text": "Ankle boot", "status": 0, "digits": [digit]}]] * 1000))
    assert write(page, "1") == "Ankle boot"
    assert page.evaluate("document.querySelector('#sure').textContent") == "Not sure: 70.0%"
    rows = page.evaluate(
        "[...document.querySelectorAll('#bars li')].map(row => row.innerText.split(/\\s*\\n\\s*/).join(' '))"
    )
    assert len(rows) == 10 and rows[:3] == ["Ankle boot 70.0%", "T-shirt/top 28.0%", "class 0 0.1%"]
