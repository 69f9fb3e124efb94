"""Training on more images than memory holds: how soon an epoch begins, what memory it takes, how fast it is.

    python experiments/large_data.py [--millions 1 5 20] [--turns 7] [--folder DIR]

Makes sets of random images of 28 x 28 as plain IDX files in a temporary folder, or in DIR, where they stay for the next
time. The first 5 million images are written (3.9 GB); the rest of a file is a hole, which takes no room on the disk and
reads as zeros. So a start is measured at any size, and speed where every image has bytes of its own. Memory is the most
until eleven blocks of steps are done, without pages of files. Digests are those of a first run, then of a second.
Writes `results/large_data.md`.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tensorflow as tf
from tables import markdown

import tfmnist
from tfmnist.data.idx import make_header
from tfmnist.recipe import Recipe
from tfmnist.runs.build import build_trainer, digest_of, load_section
from tfmnist.system.machine import processor_name, processors
from tfmnist.training.events import Progress

WRITTEN = 5_000_000
IN_MEMORY = 100_000
VALIDATION = 5000
BLOCKS = 10  # of about 10,000 images, a turn
_CHUNK = 50_000  # images


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--millions", type=int, nargs="+", default=[1, 5, 20])
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where the sets stay")
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:  # in a process of its own, so that memory is that of one size
        print(json.dumps(MEASURES[options.measure](options.folder, options.turns)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        rows: list[dict[str, Any]] = []
        for millions in options.millions:
            source = make_set(folder / f"{millions}m", millions * 1_000_000, min(WRITTEN, millions * 1_000_000))
            rows.append({"images": millions * 1_000_000, **measure("start", source)})
            print(rows[-1], flush=True)
        speed = measure("speed", make_set(folder / "5m", WRITTEN, WRITTEN), options.turns)
    text = report(rows, speed)
    results = Path(__file__).parent / "results"
    (results / "large_data.md").write_text(text + "\n")
    print(text)


def measure(what: str, source: Path, turns: int = 0) -> dict[str, Any]:
    """Runs a measurement in a process of its own, and returns what it prints."""
    options = ["--measure", what, "--folder", str(source), "--turns", str(turns)]
    done = subprocess.run([sys.executable, __file__, *options], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def make_set(folder: Path, count: int, written: int) -> Path:
    """Makes a set of `count` images, of which the first `written` are random pixels, unless it exists."""
    random = np.random.default_rng(count)
    folder.mkdir(parents=True, exist_ok=True)
    for part, number, filled in (("train", count, written), ("t10k", 1000, 1000)):
        path, labels = folder / f"{part}-images-idx3-ubyte", folder / f"{part}-labels-idx1-ubyte"
        if labels.exists():
            continue
        with path.open("wb") as file:
            file.write(make_header(path, np.dtype(np.uint8), (number, 28, 28)))
            start = file.tell()
            for first in range(0, filled, _CHUNK):
                file.write(random.bytes(784 * min(_CHUNK, filled - first)))
            file.truncate(start + 784 * number)
        header = make_header(labels, np.dtype(np.uint8), (number,))
        labels.write_bytes(header + random.integers(0, 10, number, np.uint8).tobytes())
    return folder


def measure_start(source: Path, _: int = 0) -> dict[str, float]:
    """Measures how a run begins, in seconds, and the most memory that it takes, in bytes."""
    recipe = Recipe.load("mlp").replace({"data.source": str(source), "data.validation": VALIDATION})
    found: dict[str, float] = {}
    tf.constant(0)  # TensorFlow begins
    with peak_memory(found):
        with lap(found, "load"):
            digits = load_section(recipe.data, 0)
        trainer = build_trainer(recipe, digits)
        trainer.compile()
        events = trainer.run()
        with lap(found, "first block"):
            next(events)
        for _ in range(BLOCKS):
            next(events)
    del trainer, events
    with lap(found, "digests"):
        digests = digest_of(digits), digits.sha256
    del digits
    with lap(found, "digests again"):
        again = load_section(recipe.data, 0)
        assert (digest_of(again), again.sha256) == digests
    return found


def measure_speed(source: Path, turns: int) -> dict[str, Any]:
    """Measures images per second and per second of processor time, from the mapped file and from memory, by turns."""
    recipe = Recipe.load("mlp").replace({"data.source": str(source), "data.validation": 0, "train.epochs": 100_000})
    mapped = load_section(recipe.data, 0)
    with (source / "train-images-idx3-ubyte").open("rb") as file:
        while file.read(1 << 24):  # so that the system's cache has what fits in it
            pass
    few = np.arange(min(IN_MEMORY, len(mapped.train)))
    memory = replace(mapped, train=tfmnist.Split(*mapped.train.take(few)))
    trainers = {"mapped": build_trainer(recipe, mapped), "memory": build_trainer(recipe, memory)}
    for trainer in trainers.values():
        trainer.compile()
    images = {way: BLOCKS * trainer.plan.block * trainer.plan.batch_size for way, trainer in trainers.items()}
    events = {way: trainer.run() for way, trainer in trainers.items()}
    found: dict[str, Any] = {name: [] for name in ("mapped", "memory", "mapped, processor", "memory, processor")}
    before = bytes_read()
    for turn in range(turns + 1):  # the first is to warm up
        for way in events if turn % 2 else reversed(events):
            began = time.process_time()  # of all threads, which other work on the machine changes less
            seconds = {way: sum(time_block(events[way]) for _ in range(BLOCKS))}
            seconds[f"{way}, processor"] = time.process_time() - began
            for name, some in seconds.items():
                found[name] += [images[way] / some] if turn else []
    found["bytes an image"] = (bytes_read() - before) / images["mapped"] / (turns + 1)
    return found


def time_block(events: Iterator[Any]) -> float:
    """Returns the seconds of the next block of steps that is not the last of an epoch."""
    while True:
        began = time.perf_counter()
        if isinstance(next(events), Progress):
            return time.perf_counter() - began


@contextmanager
def lap(found: dict[str, float], name: str) -> Iterator[None]:
    """Keeps the seconds that the block takes."""
    began = time.perf_counter()
    yield
    found[name] = time.perf_counter() - began


@contextmanager
def peak_memory(found: dict[str, float]) -> Iterator[None]:
    """Keeps the memory before the block and the most in it, without pages of mapped files."""
    found["memory before"] = found["memory"] = anonymous_memory()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.005):
            found["memory"] = max(found["memory"], anonymous_memory())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def anonymous_memory() -> int:
    """Returns this process's memory without pages of files, in bytes."""
    return 1024 * find_number("/proc/self/status", r"RssAnon:\s+(\d+) kB")


def bytes_read() -> int:
    """Returns how many bytes this process has read with calls, from caches or disks."""
    return find_number("/proc/self/io", r"rchar: (\d+)")


def find_number(path: str, pattern: str) -> int:
    """Returns the number that a pattern finds in a file of Linux's /proc."""
    match = re.search(pattern, Path(path).read_text())
    assert match, f"{path}: {pattern!r} not found; is this Linux?"
    return int(match[1])


def report(rows: list[dict[str, float]], speed: dict[str, Any]) -> str:
    """Returns both tables in Markdown."""
    head = ("images", "load", "first block", "digests", "again", "memory", "TensorFlow alone")
    names = ("load", "first block", "digests", "digests again")
    table = [
        [f"{row['images']:,}", *(f"{row[name]:.2f} s" for name in names)]
        + [f"{row[name] / 1e6:.0f} MB" for name in ("memory", "memory before")]
        for row in rows
    ]
    mapped, memory = speed["mapped"], speed["memory"]
    ways = {f"{WRITTEN:,} images, mapped": mapped, f"{IN_MEMORY:,} images, in memory": memory}
    wall, work = (
        median(one / other for one, other in zip(speed[f"mapped{what}"], speed[f"memory{what}"]))
        for what in ("", ", processor")
    )
    return f"""{markdown(head, table)}

{markdown(("mlp", "images/s, median"), [[name, f"{median(found):,.0f}"] for name, found in ways.items()])}

Of {len(mapped)} turns, mapped reaches {wall:.1%} of the speed in memory (median), and {work:.1%} by processor time;
{speed["bytes an image"]:.0f} bytes an image were read by calls, from the system's cache.
{processor_name()}, {processors()} processors."""


MEASURES: dict[str, Callable[[Path, int], dict[str, Any]]] = {"start": measure_start, "speed": measure_speed}

if __name__ == "__main__":
    main()
