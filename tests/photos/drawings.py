"""Pictures of digits as users make them, drawn with Pillow: strokes of a pen, on paper, on a screen, photographed."""

import io
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Points = list[tuple[float, float]]
Random = np.random.Generator
Array = NDArray[Any]

# Ways to write each digit: strokes of points that a smooth curve goes through, x to the right and y down in [0, 1].
# A stroke that starts with "/" is straight from point to point.
GLYPHS: dict[int, list[list[Any]]] = {
    0: [
        [[(0.5, 0), (0.22, 0.15), (0.15, 0.5), (0.25, 0.87), (0.5, 1), (0.76, 0.85), (0.85, 0.5), (0.76, 0.13),
          (0.5, 0)]],
        [[(0.6, 0.02), (0.3, 0.12), (0.2, 0.5), (0.3, 0.9), (0.5, 0.98), (0.7, 0.85), (0.78, 0.45), (0.68, 0.1),
          (0.5, 0.03)]],
    ],
    1: [
        [["/", (0.5, 0), (0.5, 1)]],
        [["/", (0.3, 0.22), (0.55, 0), (0.55, 1)]],
        [["/", (0.32, 0.2), (0.5, 0), (0.5, 1)], ["/", (0.28, 1), (0.74, 1)]],
        [["/", (0.6, 0), (0.42, 1)]],
    ],
    2: [
        [[(0.2, 0.25), (0.3, 0.06), (0.55, 0), (0.78, 0.15), (0.75, 0.4), (0.5, 0.7), (0.18, 1)],
         ["/", (0.18, 1), (0.85, 1)]],
        [[(0.2, 0.2), (0.45, 0.0), (0.75, 0.12), (0.72, 0.42), (0.45, 0.8), (0.25, 0.97),
          (0.15, 0.88), (0.3, 0.82), (0.55, 0.96), (0.85, 0.92)]],
    ],
    3: [
        [
            [(0.2, 0.13), (0.48, 0), (0.75, 0.12), (0.73, 0.36), (0.42, 0.48)],
            [(0.42, 0.48), (0.76, 0.58), (0.8, 0.82), (0.5, 1), (0.17, 0.88)],
        ],
        [["/", (0.2, 0.02), (0.78, 0.02), (0.45, 0.4)],
         [(0.45, 0.4), (0.78, 0.55), (0.76, 0.86), (0.45, 1), (0.18, 0.87)]],
    ],
    4: [
        [["/", (0.25, 0.0), (0.18, 0.55), (0.8, 0.55)], ["/", (0.7, 0.02), (0.68, 1)]],
        [["/", (0.62, 1), (0.62, 0), (0.12, 0.68), (0.85, 0.68)]],
        [[(0.2, 0.05), (0.18, 0.35), (0.25, 0.53), (0.5, 0.55), (0.72, 0.48)], ["/", (0.78, 0.0), (0.66, 1)]],
    ],
    5: [
        [["/", (0.78, 0.02), (0.3, 0.02), (0.25, 0.43)],
         [(0.25, 0.43), (0.55, 0.37), (0.8, 0.55), (0.76, 0.85), (0.45, 1), (0.17, 0.9)]],
        [
            ["/", (0.33, 0.1), (0.27, 0.45)],
            [(0.27, 0.45), (0.55, 0.42), (0.76, 0.62), (0.7, 0.88), (0.45, 1), (0.2, 0.9)],
            ["/", (0.36, 0.02), (0.82, 0.0)],
        ],
    ],
    6: [
        [[(0.68, 0.0), (0.4, 0.2), (0.22, 0.6), (0.3, 0.92), (0.55, 1), (0.76, 0.83),
          (0.7, 0.58), (0.48, 0.52), (0.27, 0.68)]],
        [[(0.5, 0.0), (0.25, 0.45), (0.22, 0.82), (0.45, 1), (0.72, 0.9), (0.72, 0.65), (0.5, 0.55), (0.26, 0.72)]],
    ],
    7: [
        [["/", (0.15, 0.02), (0.82, 0.02), (0.4, 1)]],
        [["/", (0.15, 0.05), (0.8, 0.02), (0.42, 1)], ["/", (0.32, 0.5), (0.78, 0.48)]],
        [[(0.18, 0.12), (0.25, 0.03), (0.5, 0.06), (0.8, 0.02), (0.6, 0.4), (0.45, 1)]],
    ],
    8: [
        [[(0.5, 0.46), (0.25, 0.27), (0.3, 0.06), (0.52, 0), (0.74, 0.1), (0.72, 0.3), (0.5, 0.46),
          (0.24, 0.68), (0.24, 0.9), (0.5, 1), (0.78, 0.9), (0.77, 0.67), (0.5, 0.46)]],
        [[(0.75, 0.12), (0.5, 0), (0.28, 0.12), (0.32, 0.36), (0.55, 0.5), (0.74, 0.7), (0.68, 0.94),
          (0.42, 1), (0.26, 0.82), (0.4, 0.58), (0.66, 0.38), (0.75, 0.12)]],
    ],
    9: [
        [[(0.75, 0.2), (0.55, 0.0), (0.28, 0.1), (0.22, 0.34), (0.4, 0.5), (0.65, 0.42), (0.75, 0.2)],
         ["/", (0.75, 0.15), (0.7, 1)]],
        [[(0.74, 0.16), (0.5, 0.01), (0.25, 0.17), (0.28, 0.43), (0.52, 0.5), (0.73, 0.3), (0.75, 0.12),
          (0.75, 0.55), (0.62, 0.9), (0.35, 1)]],
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """A picture file, the digit in it and the way it was made."""

    way: str
    digit: int
    contents: bytes


def encode(picture: Image.Image | Array, kind: str = "PNG", **options: Any) -> bytes:
    """A picture as the bytes of a file."""
    buffer = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(buffer, kind, **options)
    return buffer.getvalue()


def smooth(points: Points) -> Points:
    """A Catmull-Rom curve through the points."""
    ends = [points[0], *points, points[-1]]
    if points[0] == points[-1]:
        ends = [points[-2], *points, points[1]]
    found: Points = []
    for a, b, c, d in zip(ends, ends[1:], ends[2:], ends[3:]):
        for t in np.linspace(0, 1, 16):
            found.append(
                tuple(
                    0.5 * (2 * q + (r - p) * t + (2 * p - 5 * q + 4 * r - s) * t * t + (3 * q - p - 3 * r + s) * t**3)
                    for p, q, r, s in zip(a, b, c, d)
                )  # type: ignore[arg-type]
            )
    return found


def draw_paths(size: tuple[int, int], paths: list[Points], pen: float) -> NDArray[np.float32]:
    """Ink in [0, 1], float32 `[h, w]`, of a pen drawn along paths over paper of the width and height `size`."""
    fine = 3 if max(size) <= 1000 else 1
    sheet = Image.new("L", (size[0] * fine, size[1] * fine))
    draw, radius = ImageDraw.Draw(sheet), pen * fine / 2
    for path in paths:
        path = [(x * fine, y * fine) for x, y in path]
        draw.line(path, fill=255, width=max(1, round(pen * fine)), joint="curve")
        for x, y in path:
            draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=255)
    return np.asarray(sheet.resize(size, Image.Resampling.BOX), np.float32) / np.float32(255)


def write_digit(
    random: Random,
    digit: int,
    size: tuple[int, int],
    height: float,
    pen: float,
    place: tuple[float, float] = (0.5, 0.5),
    turn: float = 5.0,
    style: int | None = None,
    angular: bool = False,
) -> NDArray[np.float32]:
    """Ink in [0, 1], float32 `[h, w]`: a digit by a hand that trembles.

    The paper has the width and height `size`, the digit the height `height` and its middle at `place`, in fractions of
    the paper; it leans by up to `turn` degrees, and is written in the given style or in any, `angular` without curves.
    """
    styles = GLYPHS[digit]
    strokes = styles[int(random.integers(len(styles))) if style is None else style]
    angle, slant = np.deg2rad(random.uniform(-turn, turn)), random.uniform(-0.05, 0.2)
    wide = random.uniform(0.65, 0.95)
    paths: list[Points] = []
    for stroke in strokes:
        straight = stroke[0] == "/"
        points = [(x + random.normal(0, 0.012), y + random.normal(0, 0.012)) for x, y in stroke[straight:]]
        if stroke[straight] == stroke[-1]:
            points[-1] = points[0]
        path: Points = []
        for x, y in points if straight or angular else smooth(points):
            u, v = (x - 0.5) * wide - (y - 0.5) * slant, y - 0.5
            u, v = u * np.cos(angle) - v * np.sin(angle), u * np.sin(angle) + v * np.cos(angle)
            path.append((place[0] * size[0] + u * height, place[1] * size[1] + v * height))
        paths.append(path)
    return draw_paths(size, paths, pen)


def seven(size: int = 120, pen: float = 8.0, place: tuple[float, float] = (0.5, 0.5)) -> NDArray[np.float32]:
    """Ink of a 7, in [0, 1]."""
    return write_digit(np.random.default_rng(7), 7, (size, size), size * 0.6, pen, place, style=0)


def lay(ink: Array, paper: Any, pen: Any) -> NDArray[np.float32]:
    """Ink of one colour on paper of one or of many: float32 `[h, w, 3]` in [0, 255]."""
    cover = ink[..., np.newaxis]
    return (np.asarray(paper, np.float32) * (1 - cover) + np.asarray(pen, np.float32) * cover).astype(np.float32)


def to_bytes(values: Array) -> NDArray[np.uint8]:
    """Rounded and clipped to 0 to 255."""
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def shading(random: Random, size: tuple[int, int], least: float) -> NDArray[np.float32]:
    """Light that falls off from one side to the other and into the corners: `[h, w, 1]` in [least, 1]."""
    y, x = np.meshgrid(np.linspace(-1, 1, size[1]), np.linspace(-1, 1, size[0]), indexing="ij")
    angle = random.uniform(0, 2 * np.pi)
    fall = 0.5 + 0.35 * (x * np.cos(angle) + y * np.sin(angle)) + 0.15 * (x * x + y * y)
    fall = (fall - fall.min()) / (fall.max() - fall.min())
    return (1 - (1 - least) * fall)[..., np.newaxis].astype(np.float32)


def thick(random: Random, digit: int) -> bytes:
    ink = write_digit(random, digit, (240, 300), 220, random.uniform(24, 34))
    return encode(to_bytes(255 * (1 - ink)))


def thin(random: Random, digit: int) -> bytes:
    ink = write_digit(random, digit, (400, 400), 300, random.uniform(1.5, 4))
    return encode(to_bytes(255 * (1 - ink)))


def corner(random: Random, digit: int) -> bytes:
    place = (random.choice([0.14, 0.86]), random.choice([0.14, 0.86]))
    ink = write_digit(random, digit, (600, 450), 70, random.uniform(4, 8), place)
    return encode(to_bytes(255 * (1 - ink)))


def turned(random: Random, digit: int) -> bytes:
    ink = write_digit(random, digit, (280, 280), 200, 16, turn=12.0)
    return encode(to_bytes(255 * (1 - ink)))


def shaded(random: Random, digit: int) -> bytes:
    size = (480, 360)
    ink = write_digit(random, digit, size, random.uniform(140, 250), random.uniform(9, 16))
    values = lay(ink, [214, 209, 196], [52, 52, 60]) * shading(random, size, 0.45)
    return encode(to_bytes(values + random.normal(0, 4, values.shape)))


def coloured(random: Random, digit: int) -> bytes:
    pens = [(200, 30, 40), (30, 50, 190), (20, 140, 60), (250, 220, 40), (120, 190, 245), (255, 140, 190)]
    ink = write_digit(random, digit, (360, 360), 240, random.uniform(10, 20))
    return encode(to_bytes(lay(ink, [252, 252, 250], pens[digit % len(pens)])), "JPEG", quality=85)


def light_on_dark(random: Random, digit: int) -> bytes:
    size = (320, 400)
    ink = write_digit(random, digit, size, 240, random.uniform(10, 18))
    values = lay(ink, [38, 66, 54], [225, 228, 220])
    return encode(to_bytes(values + random.normal(0, 6, values.shape)), "JPEG", quality=80)


def on_screen(random: Random, digit: int) -> bytes:
    ink = write_digit(random, digit, (280, 280), 190, 20)
    return encode(to_bytes(255 * ink))


def transparent(random: Random, digit: int) -> bytes:
    ink = write_digit(random, digit, (300, 300), 220, 14)
    colour = 0 if digit % 2 else 255
    rgba = np.full([300, 300, 4], colour, np.uint8)
    rgba[..., 3] = to_bytes(255 * ink)
    return encode(rgba)


def tight(random: Random, digit: int) -> bytes:
    ink = write_digit(random, digit, (300, 300), 220, random.uniform(24, 40))
    rows, columns = np.nonzero(ink.any(axis=1))[0], np.nonzero(ink.any(axis=0))[0]
    margin = 4
    cut = ink[rows[0] - margin : rows[-1] + margin, columns[0] - margin : columns[-1] + margin]
    return encode(to_bytes(30 + 200 * (1 - cut)))


def tiny(random: Random, digit: int) -> bytes:
    ink = write_digit(random, digit, (32, 32), 24, random.uniform(2, 3.5))
    return encode(to_bytes(255 * (1 - ink)))


def ruled(random: Random, digit: int) -> bytes:
    size = (420, 420)
    paper = np.full([420, 420, 3], [250, 250, 246], np.float32)
    paper[20::52] = paper[21::52] = [168, 196, 226]
    if digit % 2:
        paper[:, 20::52] = paper[:, 21::52] = [168, 196, 226]
    ink = write_digit(random, digit, size, 230, random.uniform(8, 13))
    return encode(to_bytes(lay(ink, paper, [25, 30, 70]) * shading(random, size, 0.75)), "JPEG", quality=85)


def shadowed(random: Random, digit: int) -> bytes:
    """A hand's shadow, its edge across the paper."""
    size = (480, 480)
    ink = write_digit(random, digit, size, 260, random.uniform(10, 18))
    y, x = np.meshgrid(np.arange(480), np.arange(480), indexing="ij")
    edge = random.uniform(140, 340) + 0.5 * (y - 240) * random.uniform(-1, 1)
    shadow = 1 - 0.4 / (1 + np.exp((edge - x) / 6.0))
    return encode(to_bytes(lay(ink, [228, 224, 214], [40, 45, 60]) * shadow[..., np.newaxis]), "JPEG", quality=88)


def pencilled(random: Random, digit: int) -> bytes:
    """Grey on grey, pressed unevenly."""
    size = (500, 400)
    ink = write_digit(random, digit, size, 220, 5)
    values = lay(ink * random.uniform(0.5, 1, ink.shape), [205, 203, 200], [140, 140, 142]) * shading(random, size, 0.6)
    return encode(to_bytes(values + random.normal(0, 4, values.shape)), "JPEG", quality=75)


def on_desk(random: Random, digit: int) -> bytes:
    """The dark desk shows at two sides of the paper."""
    values = lay(write_digit(random, digit, (400, 400), 180, 9), [225, 222, 215], [40, 40, 60])
    width = int(random.integers(15, 60))
    values[:, :width] = values[: width // 2] = [70, 50, 35]
    return encode(to_bytes(values + random.normal(0, 3, values.shape)))


def framed(random: Random, digit: int) -> bytes:
    """In a black frame."""
    values = 255 * (1 - write_digit(random, digit, (300, 300), 170, 12))
    return encode(np.pad(to_bytes(values), 6))


def photo(random: Random, digit: int) -> bytes:
    """Of 12 megapixels, out of a phone."""
    size = (4000, 3000)
    place = (random.uniform(0.35, 0.65), random.uniform(0.4, 0.6))
    ink = write_digit(random, digit, size, random.uniform(900, 1700), random.uniform(26, 60), place)
    soft = np.asarray(Image.fromarray(to_bytes(255 * ink)).filter(ImageFilter.GaussianBlur(4)), np.float32) / 255
    coarse = Image.fromarray(to_bytes(random.normal(128, 16, [750, 1000]))).resize(size, Image.Resampling.BICUBIC)
    texture = (np.asarray(coarse, np.float32) - 128)[..., np.newaxis] * 0.4
    fine = random.standard_normal([3000, 4000, 1], np.float32) * 8
    values = (lay(soft, [205, 200, 188], [45, 50, 95]) + texture) * shading(random, size, 0.5) + fine
    return encode(to_bytes(values), "JPEG", quality=85)


def quarters(orientation: int | None, endian: str = "<") -> bytes:
    """A JPEG of 48x32, each quarter of a grey of its own, EXIF written by hand in either byte order."""
    values = np.kron(np.array([[0, 80], [160, 240]], np.uint8), np.ones([16, 24], np.uint8))
    exif = b""
    if orientation is not None:
        entry = struct.pack(endian + "HHIHH", 274, 3, 1, orientation, 0)
        make = struct.pack(endian + "HHI4s", 271, 2, 4, b"abc\0")
        tiff = (b"II" if endian == "<" else b"MM") + struct.pack(endian + "HIH", 42, 8, 2) + make + entry + b"\0" * 4
        exif = b"Exif\0\0" + tiff
    return encode(values, "JPEG", quality=95, exif=exif)


WAYS: dict[str, Callable[[Random, int], bytes]] = {
    way.__name__: way
    for way in (
        thick, thin, corner, turned, shaded, coloured, light_on_dark, on_screen, transparent, tight, tiny, ruled,
        shadowed, pencilled, on_desk, framed,
    )
}  # fmt: skip


def draw_all(seed: int, ways: dict[str, Callable[[Random, int], bytes]] | None = None) -> Iterator[Drawing]:
    """Yields a drawing of each digit in each way; which they are is a function of (seed, way, digit)."""
    for number, (name, way) in enumerate((ways or WAYS).items()):
        for digit in range(10):
            yield Drawing(name, digit, way(np.random.default_rng([seed, number, digit]), digit))
