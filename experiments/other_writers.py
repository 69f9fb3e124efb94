"""Measures how many digits of other writers are read, enlarged to pictures as people have them.

    python experiments/other_writers.py RUN_OR_MODEL [--ways plain blurred ...] [--count 1797]

The digits are scikit-learn's `load_digits`: 1,797 scans of 8x8 pixels in 17 grey levels, not from MNIST, and not drawn
by us. Needs scikit-learn. `baseline` is the same model behind a few lines of NumPy, which ours must not be below.
The last row enlarges MNIST's own test digits; its baseline is the model on the original images.
"""

import argparse
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from tables import markdown

import tfmnist

RESULTS = Path(__file__).parent / "results"
Array = NDArray[Any]
Random = np.random.Generator


def enlarge(scan: Array, side: int = 160, method: int = Image.Resampling.BICUBIC, margin: float = 0.125) -> Array:
    """Ink in [0, 1], float32 `[side, side]`, of a scan in [0, 1], with a margin that is a fraction of the side."""
    inner = round(side * (1 - 2 * margin))
    large = Image.fromarray(scan.astype(np.float32)).resize((inner, inner), Image.Resampling(method))
    before = (side - inner) // 2
    return np.pad(np.clip(np.asarray(large), 0, 1), [(before, side - inner - before)] * 2)


def encode(values: Array, kind: str = "PNG", **options: Any) -> bytes:
    """A picture file of grey values or colours from 0 to 255."""
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.round(values), 0, 255).astype(np.uint8)).save(buffer, kind, **options)
    return buffer.getvalue()


def plain(random: Random, scan: Array) -> bytes:
    return encode(255 * (1 - enlarge(scan)))


def lanczos(random: Random, scan: Array) -> bytes:
    return encode(255 * (1 - enlarge(scan, method=Image.Resampling.LANCZOS)))


def no_margin(random: Random, scan: Array) -> bytes:
    return encode(255 * (1 - enlarge(scan, margin=0)))


def blurred(random: Random, scan: Array) -> bytes:
    sharp = Image.fromarray(np.round(255 * (1 - enlarge(scan))).astype(np.uint8))
    return encode(np.asarray(sharp.filter(ImageFilter.GaussianBlur(random.uniform(3, 6)))))


def blocky(random: Random, scan: Array) -> bytes:
    return encode(255 * (1 - enlarge(scan, method=Image.Resampling.NEAREST)))


def noisy_jpeg(random: Random, scan: Array) -> bytes:
    values = 235 - 190 * enlarge(scan)
    return encode(values + random.normal(0, 10, values.shape), "JPEG", quality=70)


def low_quality(random: Random, scan: Array) -> bytes:
    return encode(255 * (1 - enlarge(scan)), "JPEG", quality=15)


def faint(random: Random, scan: Array) -> bytes:
    return encode(210 - random.uniform(45, 70) * enlarge(scan))


def faint_and_noisy(random: Random, scan: Array) -> bytes:
    values = 205 - 70 * enlarge(scan)
    return encode(values + random.normal(0, 4, values.shape), "JPEG", quality=80)


def shaded(random: Random, scan: Array) -> bytes:
    ink = enlarge(scan)
    y, x = np.meshgrid(np.linspace(-0.5, 0.5, len(ink)), np.linspace(-0.5, 0.5, len(ink)), indexing="ij")
    angle = random.uniform(0, 2 * np.pi)
    light = 0.8 + 0.4 * (x * np.cos(angle) + y * np.sin(angle))
    return encode((240 - 190 * ink) * np.clip(light, 0, 1))


def white_on_black(random: Random, scan: Array) -> bytes:
    return encode(255 * enlarge(scan))


def chalk(random: Random, scan: Array) -> bytes:
    values = 60 + 160 * enlarge(scan)
    return encode(values + random.normal(0, 5, values.shape), "JPEG", quality=80)


def grey_page(random: Random, scan: Array) -> bytes:
    return encode(150 - 120 * enlarge(scan))


def off_the_middle(random: Random, scan: Array) -> bytes:
    page = np.zeros([480, 360])
    top, left = random.integers(0, 480 - 160), random.integers(0, 360 - 160)
    page[top : top + 160, left : left + 160] = enlarge(scan)
    return encode(240 - 200 * page)


def small(random: Random, scan: Array) -> bytes:
    return encode(255 * (1 - enlarge(scan, 60)))


def large(random: Random, scan: Array) -> bytes:
    return encode(255 * (1 - enlarge(scan, 400)))


def coloured(random: Random, scan: Array) -> bytes:
    inks = [(30, 50, 160), (180, 30, 40), (20, 110, 60), (90, 60, 30)]
    ink = enlarge(scan)[..., np.newaxis]
    return encode(np.array([250, 248, 240]) * (1 - ink) + np.array(inks[random.integers(4)]) * ink)


def transparent(random: Random, scan: Array) -> bytes:
    ink = 255 * enlarge(scan)
    return encode(np.stack([0 * ink, 0 * ink, 0 * ink, ink], axis=-1))


WAYS: dict[str, Callable[[Random, Array], bytes]] = {
    way.__name__: way
    for way in (
        plain, lanczos, no_margin, blurred, blocky, noisy_jpeg, low_quality, faint, faint_and_noisy, shaded,
        white_on_black, chalk, grey_page, off_the_middle, small, large, coloured, transparent,
    )
}  # fmt: skip


def read_plainly(content: bytes) -> NDArray[np.uint8]:
    """The baseline: uint8 `[28, 28]`, made as MNIST's images were; a threshold finds the ink and changes none of it."""
    picture = Image.open(io.BytesIO(content))
    if picture.mode == "RGBA":
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    grey = np.asarray(picture.convert("L"), np.float32)
    border = np.ones(grey.shape, bool)
    border[2:-2, 2:-2] = False
    y, x = np.nonzero(border)
    plane = np.linalg.lstsq(np.stack([y, x, np.ones_like(x)], axis=-1), grey[border])[0]
    ink = np.add.outer(plane[0] * np.arange(len(grey)), plane[1] * np.arange(grey.shape[1])) + plane[2] - grey
    ink = ink if ink.max() > -ink.min() else -ink
    ink = np.clip(ink / np.quantile(ink, 0.995), 0, 1)
    rows, columns = (np.nonzero((ink > 0.2).any(axis=axis))[0] for axis in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = (max(1, round(20 * side / max(ink.shape))) for side in ink.shape)
    fitted = np.clip(np.asarray(Image.fromarray(ink).resize((width, height), Image.Resampling.LANCZOS)), 0, 1)
    y, x = (np.average(np.arange(len(mass)), weights=mass) for mass in (fitted.sum(axis=1), fitted.sum(axis=0)))
    top, left = (int(np.clip(round(14 - middle), 0, 28 - side)) for middle, side in ((y, height), (x, width)))
    return np.round(255 * np.pad(fitted, [(top, 28 - height - top), (left, 28 - width - left)])).astype(np.uint8)


def read(model: tfmnist.Exported, contents: list[bytes]) -> tuple[Array, int]:
    """The class of each picture, and how many were refused."""
    classes, refused = [], 0
    for start in range(0, len(contents), 64):
        predictions = model.predict_pictures(contents[start : start + 64])
        status = getattr(predictions, "status", np.zeros_like(predictions.digits))
        refused += int(((predictions.digits != 1) | (status != 0)).sum())
        classes.append(predictions.classes)
    return np.concatenate(classes), refused


def main() -> None:
    from sklearn.datasets import load_digits  # pyright: ignore[reportMissingImports]

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", help="folder of a run or of an exported model")
    parser.add_argument("--ways", nargs="+", choices=[*WAYS, "mnist"], default=[*WAYS, "mnist"], metavar="WAY")
    parser.add_argument("--count", type=int, default=1797, help="number of digits, evenly spread")
    arguments = parser.parse_args()
    model = tfmnist.load_exported(arguments.model)
    scans, labels = load_digits(return_X_y=True)
    chosen = np.linspace(0, len(scans) - 1, arguments.count).astype(int)
    scans, labels = scans.reshape(-1, 8, 8)[chosen] / 16, labels[chosen]
    rows: list[tuple[str, ...]] = []
    totals: list[tuple[float, float]] = []

    def add(way: str, labels: Array, baseline: Array, contents: list[bytes]) -> tuple[float, float]:
        ours, refused = read(model, contents)
        before, after = float((baseline == labels).mean()), float((ours == labels).mean())
        name, gain = way.replace("_", " "), f"{100 * (after - before):+.1f}"
        rows.append((name, str(len(labels)), f"{before:.1%}", f"{after:.1%}", gain, str(refused)))
        print(*rows[-1], sep="\t", flush=True)
        return before, after

    for way in arguments.ways:
        if way != "mnist":
            contents = [WAYS[way](np.random.default_rng(number), scan) for number, scan in enumerate(scans)]
            baseline = model.predict(np.stack([read_plainly(content) for content in contents])).classes
            totals.append(add(way, labels, baseline, contents))
    if totals:
        before, after = np.mean(totals, axis=0)
        rows.append(("**mean**", "", f"{before:.1%}", f"{after:.1%}", f"{100 * (after - before):+.1f}", ""))
    if "mnist" in arguments.ways:
        test = tfmnist.load("mnist").test
        images, labels = test.images[:2000], test.labels[:2000]
        contents = [encode(255 * (1 - enlarge(image / 255, 170, margin=0))) for image in images]
        add("MNIST at 170 pixels", labels, model.predict(images).classes, contents)
    head = ("way", "digits", "baseline", "predict_pictures", "points", "refused")
    table = markdown(head, rows)
    print(table)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "other_writers.md").write_text(table + "\n")


if __name__ == "__main__":
    main()
