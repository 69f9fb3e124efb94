"""Pictures of digits on papers that are not blank, drawn with Pillow: in boxes and circles, on lines, on a table.

The digits are written by three hands: the strokes of `drawings`, the same without curves, and MNIST's test digits,
enlarged as ink. A way draws one digit, except `touching` and `apart`, which write `second(digit)` behind it.
"""

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from drawings import Array, Drawing, Points, Random, draw_paths, encode, lay, shading, smooth, to_bytes, write_digit
from numpy.typing import NDArray
from PIL import Image, ImageFilter

import tfmnist

Ink = NDArray[np.float32]  # [h, w] in [0, 1]
Size = tuple[int, int]  # width and height
PENS = [(30, 30, 30), (15, 15, 20), (60, 60, 65), (30, 50, 150), (20, 30, 120), (15, 70, 50)]
PAPERS = [(245, 245, 245), (255, 255, 255), (250, 250, 246), (252, 252, 250), (236, 233, 224), (226, 222, 214)]
RINGS = [(200, 30, 30), (230, 60, 50), (30, 60, 190), (30, 30, 35), (30, 130, 60)]


@cache
def handwriting() -> dict[int, NDArray[np.uint8]]:
    """MNIST's test images of each digit."""
    test = tfmnist.load("mnist").test
    return {digit: test.images[test.labels == digit] for digit in range(10)}


def bounds(ink: Ink, least: float = 0.3) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the ink, the last two exclusive."""
    rows, columns = (np.nonzero((ink > least).any(axis=axis))[0] for axis in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def by_hand(
    random: Random, digit: int, size: Size, height: float, place: tuple[float, float] = (0.5, 0.5), hand: int = -1
) -> Ink:
    """A digit's ink, its height and the place of its middle as in `write_digit`, by one of three hands or by any."""
    hand = int(random.integers(3)) if hand < 0 else hand
    if hand < 2:
        return write_digit(random, digit, size, height, height * random.uniform(0.045, 0.12), place, angular=hand == 1)
    image = handwriting()[digit][random.integers(len(handwriting()[digit]))]
    left, top, right, bottom = bounds(image / np.float32(255))
    scale = height / max(bottom - top, 0.6 * (right - left))
    cut = Image.fromarray(image).crop((left - 2, top - 2, right + 2, bottom + 2))
    wide, high = (round(side * scale) for side in cut.size)
    grey = np.asarray(cut.resize((wide, high), Image.Resampling.BICUBIC), np.float32) / 255
    crisp = np.clip((grey - random.uniform(0.35, 0.5)) * random.uniform(1.2, 5) + 0.5, 0, 1)
    x, y = round(place[0] * size[0] - wide / 2), round(place[1] * size[1] - high / 2)
    sheet = Image.new("F", size)
    sheet.paste(Image.fromarray(crisp), (x, y))
    return np.asarray(sheet)


def pick(random: Random, choices: list[tuple[int, int, int]]) -> NDArray[np.float32]:
    return np.array(choices[random.integers(len(choices))], np.float32)


def page(random: Random, size: Size) -> NDArray[np.float32]:
    """Blank paper, `[h, w, 3]` in [0, 255]."""
    return np.broadcast_to(pick(random, PAPERS), [size[1], size[0], 3]).copy()


def grey(random: Random, low: int, high: int) -> NDArray[np.float32]:
    return np.full(3, random.integers(low, high), np.float32)


def finish(random: Random, values: Array, kind: int | None = None) -> bytes:
    """The file: clean (0), scanned with noise (1), photographed (2) or out of focus (3)."""
    kind = int(random.integers(4)) if kind is None else kind
    if kind == 0:
        return encode(to_bytes(values))
    if kind == 1:
        return encode(to_bytes(values + random.normal(0, random.uniform(1, 6), values.shape)))
    if kind == 2:
        values = values * shading(random, (values.shape[1], values.shape[0]), random.uniform(0.55, 0.9))
        values = values + random.normal(0, random.uniform(2, 6), values.shape)
        return encode(to_bytes(values), "JPEG", quality=int(random.integers(60, 92)))
    soft = Image.fromarray(to_bytes(values)).filter(ImageFilter.GaussianBlur(random.uniform(0.5, 1.6)))
    return encode(soft, "JPEG", quality=int(random.integers(70, 92)))


def line(a: tuple[float, float], b: tuple[float, float]) -> Points:
    return [a, b]


def rectangle(left: float, top: float, right: float, bottom: float, turn: float = 0.0) -> Points:
    """A closed path, turned by `turn` degrees about its middle."""
    x, y, angle = (left + right) / 2, (top + bottom) / 2, np.deg2rad(turn)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    return [
        (x + (u - x) * np.cos(angle) - (v - y) * np.sin(angle), y + (u - x) * np.sin(angle) + (v - y) * np.cos(angle))
        for u, v in corners
    ]


def wobbly(random: Random, path: Points, by: float) -> Points:
    """A curve through points beside those of a path."""
    return smooth([(x + random.normal(0, by), y + random.normal(0, by)) for x, y in path])


def spaced(random: Random, length: int, spacing: float) -> list[float]:
    return list(np.arange(random.uniform(0, spacing), length, spacing))


def rules(random: Random, size: Size, spacing: float) -> list[Points]:
    return [line((-9, y), (size[0] + 9, y)) for y in spaced(random, size[1], spacing)]


def squares(random: Random, size: Size, spacing: float) -> list[Points]:
    upright = [line((x, -9), (x, size[1] + 9)) for x in spaced(random, size[0], spacing)]
    return rules(random, size, spacing) + upright


def written(random: Random, digit: int, size: Size, height: float, place: tuple[float, float] = (0.5, 0.5)) -> Array:
    """A digit in ink on blank paper."""
    return lay(by_hand(random, digit, size, height, place), page(random, size), pick(random, PENS))


def clean(random: Random, digit: int) -> bytes:
    size = (int(random.integers(160, 420)), int(random.integers(200, 480)))
    return finish(random, written(random, digit, size, random.uniform(0.4, 0.75) * min(size)))


def in_box(
    random: Random, digit: int, least: float, most: float, turn: float = 0.0, pen: Array | None = None
) -> tuple[Array, tuple[int, int, int, int]]:
    """A digit in a printed box, with gaps of `least` to `most` of its height, and left, top, right, bottom of that."""
    height = random.uniform(70, 230)
    size = (int(height * 2.6), int(height * 2.6))
    ink = by_hand(random, digit, size, height)
    left, top, right, bottom = bounds(ink)
    if random.random() < 0.5:  # nearly square
        middle, half = (left + right) / 2, max(right - left, 0.9 * height) / 2
        left, right = int(middle - half), int(middle + half)
    gaps, line_width = height * random.uniform(least, most, 4), random.uniform(1, 0.035 * height + 1)
    box = (left - gaps[0], top - gaps[1], right + gaps[2], bottom + gaps[3])
    printed = draw_paths(size, [rectangle(*box, turn)], line_width)
    values = lay(printed, page(random, size), grey(random, 20, 180))
    left, top, right, bottom = map(round, box)
    return lay(ink, values, pick(random, PENS) if pen is None else pen), (left, top, right, bottom)


def boxed(random: Random, digit: int) -> bytes:
    return finish(random, in_box(random, digit, 0.12, 0.5)[0])


def boxed_closely(random: Random, digit: int) -> bytes:
    return finish(random, in_box(random, digit, 0.04, 0.1)[0])


def boxed_and_turned(random: Random, digit: int) -> bytes:
    return finish(random, in_box(random, digit, 0.15, 0.4, random.uniform(-5, 5))[0])


def boxed_and_cut(random: Random, digit: int) -> bytes:
    """The picture's border runs along the box's lines, or cuts one side or two off."""
    values, (left, top, right, bottom) = in_box(random, digit, 0.12, 0.4)
    sides = random.permutation(4)[: random.integers(1, 5)]
    cuts = [random.integers(-3, 4) if side in sides else random.integers(15, 40) for side in range(4)]
    high, wide = values.shape[:2]
    rows = slice(max(0, top - cuts[0]), min(high, bottom + cuts[1]))
    return finish(random, values[rows, max(0, left - cuts[2]) : min(wide, right + cuts[3])])


def boxed_in_pencil(random: Random, digit: int) -> bytes:
    return finish(random, in_box(random, digit, 0.15, 0.4, pen=grey(random, 110, 150))[0])


def in_a_form(random: Random, digit: int) -> bytes:
    """One of a row of boxes, which share their walls or stand apart."""
    side, count = random.uniform(60, 140), int(random.integers(2, 6))
    gap = 0.0 if random.random() < 0.5 else side * random.uniform(0.1, 0.3)
    wide, high = side * random.uniform(0.75, 1.0), side * random.uniform(1.0, 1.2)
    margin = side * random.uniform(0.2, 0.6)
    size = (int(2 * margin + count * wide + (count - 1) * gap), int(2 * margin + high))
    lefts = [margin + number * (wide + gap) for number in range(count)]
    boxes = [rectangle(left, margin, left + wide, margin + high) for left in lefts]
    printed = draw_paths(size, boxes, random.uniform(1, 4))
    middle = lefts[random.integers(count)] + wide / 2
    ink = by_hand(random, digit, size, high * random.uniform(0.5, 0.68), (middle / size[0], 0.5))
    values = lay(printed, page(random, size), grey(random, 30, 170))
    return finish(random, lay(ink, values, pick(random, PENS)))


def in_ring(random: Random, digit: int, wobble: float) -> bytes:
    height = random.uniform(80, 200)
    size = (int(height * random.uniform(2.0, 2.6)), int(height * random.uniform(2.0, 2.6)))
    ink = by_hand(random, digit, size, height)
    left, top, right, bottom = bounds(ink)
    x, y = (left + right) / 2, (top + bottom) / 2
    half = (np.hypot(right - left, bottom - top) / 2 + height * random.uniform(0.08, 0.25)) * np.ones(2)
    half *= random.uniform(1, 1.2, 2)
    start, sweep = random.uniform(0, 2 * np.pi), 2 * np.pi * (1 + (random.uniform(-0.02, 0.06) if wobble else 0))
    angles = start + np.linspace(0, sweep, 13 if wobble else 180)
    ring = [(x + half[0] * np.cos(angle), y + half[1] * np.sin(angle)) for angle in angles]
    ring = wobbly(random, ring, wobble * height) if wobble else ring
    drawn = draw_paths(size, [ring], random.uniform(2, 0.05 * height))
    return finish(random, lay(ink, lay(drawn, page(random, size), pick(random, RINGS)), pick(random, PENS)))


def circled(random: Random, digit: int) -> bytes:
    return in_ring(random, digit, 0)


def circled_by_hand(random: Random, digit: int) -> bytes:
    return in_ring(random, digit, 0.02)


def on_lines(
    random: Random, digit: int, paths: Callable[[Random, Size, float], list[Points]], colour: Array,
    pen: Array | None = None, margin: bool = False, kind: int | None = None,
) -> bytes:  # fmt: skip
    """A digit on printed lines, one to eight spacings high."""
    height = random.uniform(90, 230)
    size = (int(height * random.uniform(1.5, 2.2)), int(height * random.uniform(1.5, 2.2)))
    spacing = max(14.0, height / random.uniform(1, 8))
    values = page(random, size)
    values = lay(draw_paths(size, paths(random, size, spacing), random.uniform(1, 3)), values, colour)
    if margin:
        x = random.uniform(0.04, 0.16) * size[0]
        x = x if random.random() < 0.75 else size[0] - x
        red = pick(random, [(220, 60, 60), (235, 120, 120), (200, 40, 70)])
        values = lay(draw_paths(size, [line((x, -9), (x, size[1] + 9))], random.uniform(1.5, 4)), values, red)
    ink = by_hand(random, digit, size, height, (random.uniform(0.48, 0.54), random.uniform(0.45, 0.55)))
    return finish(random, lay(ink, values, pick(random, PENS) if pen is None else pen), kind)


def squared(random: Random, digit: int) -> bytes:
    return on_lines(random, digit, squares, pick(random, [(170, 195, 225), (190, 200, 210), (200, 180, 160)]))


def squared_dark(random: Random, digit: int) -> bytes:
    return on_lines(random, digit, squares, grey(random, 85, 150) + np.array([0, 0, 10]))


def squared_photo(random: Random, digit: int) -> bytes:
    return on_lines(random, digit, squares, grey(random, 100, 170) + np.array([0, 0, 10]), kind=2)


def squared_in_pencil(random: Random, digit: int) -> bytes:
    return on_lines(random, digit, squares, pick(random, [(170, 195, 225), (200, 205, 212)]), grey(random, 90, 130))


def ruled_margin(random: Random, digit: int) -> bytes:
    colour = pick(random, [(130, 165, 215), (168, 196, 226), (110, 140, 190)])
    return on_lines(random, digit, rules, colour, margin=True)


def ruled_dark(random: Random, digit: int) -> bytes:
    return on_lines(random, digit, rules, grey(random, 70, 150))


def ruled_photo(random: Random, digit: int) -> bytes:
    return on_lines(random, digit, rules, pick(random, [(130, 165, 215), (120, 120, 130)]), margin=True, kind=2)


def ruled_in_pencil(random: Random, digit: int) -> bytes:
    return on_lines(random, digit, rules, pick(random, [(168, 196, 226), (190, 205, 225)]), grey(random, 90, 130))


def on_underline(random: Random, digit: int, wobble: float, gaps: tuple[float, float]) -> bytes:
    height = random.uniform(80, 220)
    size = (int(height * random.uniform(1.8, 2.6)), int(height * random.uniform(1.8, 2.4)))
    ink = by_hand(random, digit, size, height)
    left, _, right, bottom = bounds(ink)
    width = height * random.uniform(0.015, 0.09)
    y, middle = bottom + width / 2 + height * random.uniform(*gaps), (left + right) / 2
    half = max(0.2 * height, (right - left) / 2 * random.uniform(0.7, 1.8))
    half = size[0] if random.random() < 0.15 else half  # from edge to edge
    path = [(middle + half * part, y + height * random.uniform(-0.01, 0.01)) for part in np.linspace(-1, 1, 5)]
    path = wobbly(random, path, wobble * height) if wobble else line((middle - half, y), (middle + half, y))
    pen = pick(random, PENS)
    values = lay(draw_paths(size, [path], width), page(random, size), pen if random.random() < 0.6 else (190, 40, 40))
    return finish(random, lay(ink, values, pen))


def underlined(random: Random, digit: int) -> bytes:
    return on_underline(random, digit, 0, (0.08, 0.25))


def underlined_by_hand(random: Random, digit: int) -> bytes:
    return on_underline(random, digit, 0.008, (0.09, 0.25))


def underlined_and_touching(random: Random, digit: int) -> bytes:
    return on_underline(random, digit, 0, (-0.04, 0.0))


def on_table(random: Random, digit: int) -> bytes:
    """A table shows at one side to three of the paper, dark or light, its edge a little aslant, with a shadow."""
    height = random.uniform(90, 200)
    size = (int(height * 2.4), int(height * 2.4))
    values = written(random, digit, size, height)
    y, x = np.meshgrid(np.linspace(0, 1, size[1]), np.linspace(0, 1, size[0]), indexing="ij")
    table = pick(random, [(70, 50, 35), (30, 30, 32), (150, 110, 75), (120, 125, 130), (95, 60, 45)])
    grain = table + 8 * np.sin(40 * y + 6 * np.sin(3 * x))[..., np.newaxis]
    for side in random.permutation(4)[: random.integers(1, 4)]:
        across, along = (x, y) if side % 2 else (y, x)
        across = 1 - across if side >= 2 else across
        edge = random.uniform(0.03, 0.18) + random.uniform(-0.05, 0.05) * along
        values = np.where((across < edge)[..., np.newaxis], grain, values)
        values = values * (1 - 0.3 * np.exp(-np.abs(across - edge) / 0.01))[..., np.newaxis]
    return finish(random, values, int(random.integers(1, 4)))


def small_in_a_photo(random: Random, digit: int) -> bytes:
    size = [(1200, 900), (1600, 1200), (900, 1200)][random.integers(3)]
    place = (random.uniform(0.2, 0.8), random.uniform(0.2, 0.8))
    return finish(random, written(random, digit, size, random.uniform(30, 70), place))


def from_edge_to_edge(random: Random, digit: int) -> bytes:
    """The ink touches the upper and the lower edge."""
    values = written(random, digit, (500, 500), random.uniform(150, 300))
    grey = values.min(axis=-1)
    left, top, right, bottom = bounds(1 - grey / grey.max(), 0.5)
    gaps = random.integers(20, 90, 2)
    return finish(random, values[top:bottom, left - gaps[0] : right + gaps[1]], 0)


def bar(random: Random, digit: int) -> bytes:
    """A thin 1 from the upper to the lower edge; the digit is always 1."""
    size = (int(random.integers(100, 320)), int(random.integers(160, 420)))
    x, lean = random.uniform(0.3, 0.7) * size[0], random.choice([0, random.uniform(-0.06, 0.1)]) * size[1]
    ink = draw_paths(size, [line((x + lean, -9), (x - lean, size[1] + 9))], random.uniform(2, 14))
    return finish(random, lay(ink, page(random, size), pick(random, PENS)), int(random.integers(2)))


def second(digit: int) -> int:
    return (7 * digit + 3) % 10


def pair(random: Random, digit: int, gaps: tuple[float, float], least: bool) -> bytes:
    """Two digits; their gap in heights is that of their boxes, or with `least` the smallest of their rows' gaps."""
    height, hand = random.uniform(70, 180), int(random.integers(3))
    size = (int(4 * height), int(1.7 * height))
    first = by_hand(random, digit, size, height, (0.3, 0.5), hand)
    other = by_hand(random, second(digit), size, height, (0.7, 0.5), hand)
    columns = np.arange(size[0])
    ends, starts = np.where(first > 0.5, columns, -1).max(axis=1), np.where(other > 0.5, columns, 9999).min(axis=1)
    between = (
        int((starts - ends)[(ends >= 0) & (starts < 9999)].min()) if least else bounds(other)[0] - bounds(first)[2]
    )
    ink = np.maximum(first, np.roll(other, round(height * random.uniform(*gaps)) - between, axis=1))
    left, _, right, _ = bounds(ink)
    margin = int(height * random.uniform(0.3, 0.6))
    ink = ink[:, max(0, left - margin) : right + margin]
    return finish(random, lay(ink, page(random, (ink.shape[1], ink.shape[0])), pick(random, PENS)))


def touching(random: Random, digit: int) -> bytes:
    return pair(random, digit, (-0.06, -0.01), least=True)


def apart(random: Random, digit: int) -> bytes:
    return pair(random, digit, (0.12, 0.6), least=False)


PAIRS = ("touching", "apart")
PAPER_WAYS: dict[str, Callable[[Random, int], bytes]] = {
    way.__name__: way
    for way in (
        clean, boxed, boxed_closely, boxed_and_turned, boxed_and_cut, boxed_in_pencil, in_a_form, circled,
        circled_by_hand, squared, squared_dark, squared_photo, squared_in_pencil, ruled_margin, ruled_dark, ruled_photo,
        ruled_in_pencil, underlined, underlined_by_hand, underlined_and_touching, on_table, small_in_a_photo,
        from_edge_to_edge, bar, touching, apart,
    )
}  # fmt: skip


def draw_papers(seed: int, names: list[str] | None = None) -> Iterator[Drawing]:
    """Yields ten drawings in each way; which they are is a function of (seed, way, digit)."""
    for name in names or PAPER_WAYS:
        for number in range(10):
            digit = 1 if name == "bar" else number
            random = np.random.default_rng([seed, list(PAPER_WAYS).index(name), number])
            yield Drawing(name, digit, PAPER_WAYS[name](random, digit))
