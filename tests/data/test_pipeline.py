"""From arrays to blocks: every example once an epoch, in an order that depends on the seed and the epoch alone."""

import gc
import os
import platform
import subprocess
import sys
import tempfile
import time
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tfmnist import seeds
from tfmnist.data import mapped
from tfmnist.data.augment import augment_block
from tfmnist.data.idx import read_images, write_idx
from tfmnist.data.pipeline import Block, Plan, make_plan, stream_blocks
from tfmnist.data.split import Split
from tfmnist.errors import InputError
from tfmnist.recipe import Augment

Array = NDArray[Any]


def numbered(count: int, rows: Array | None = None) -> Split:
    """Images of 2 x 3 pixels that say which they are, in the first two pixels; so do the labels."""
    number = np.arange(count)
    images = np.zeros([count, 2, 3], np.uint8)
    images[:, 0, 0], images[:, 0, 1] = number % 256, number // 256
    return Split(images, number, rows)


def read(block: Block) -> list[list[int]]:
    """The numbers of the examples in each step of a block, padding left out; images and labels must agree."""
    steps = block.end - block.first
    images, labels = np.asarray(block.images)[:steps].astype(int), np.asarray(block.labels)[:steps]
    numbers = images[..., 0, 0] + 256 * images[..., 0, 1]
    assert np.array_equal(numbers, labels)
    return numbers.tolist()


def batches(split: Split, plan: Plan, seed: int = 1, epochs: range = range(1), skip: int = 0) -> list[list[int]]:
    return [batch for block in stream_blocks(split, plan, seed=seed, epochs=epochs, skip=skip) for batch in read(block)]


plans = st.builds(Plan, count=st.integers(1, 500), batch_size=st.integers(1, 60), block=st.integers(1, 40))


@given(plans)
def test_blocks_cover_every_step_once(plan: Plan) -> None:
    assert plan.steps == -(-plan.count // plan.batch_size)
    assert plan.full * plan.batch_size + plan.short == plan.count
    assert [step for first, end in plan.blocks for step in range(first, end)] == list(range(plan.steps))
    assert all(0 < end - first <= plan.block for first, end in plan.blocks)


@given(plans)
def test_blocks_have_two_shapes_at_most(plan: Plan) -> None:
    shapes = {(plan.block, plan.batch_size) if first < plan.full else (1, plan.short) for first, _ in plan.blocks}
    assert shapes == set(plan.shapes)
    assert len(plan.shapes) == len(shapes) <= 2


@given(st.integers(1, 500), st.integers(1, 60), st.integers(1, 400))
def test_automatic_blocks_have_about_the_images_asked_for(count: int, batch: int, images: int) -> None:
    plan = make_plan(count, batch, "auto", images)
    assert plan.block == 1 or plan.block * batch <= 1.5 * images + batch
    full = [end - first for first, end in plan.blocks if first < plan.full]
    assert sum(plan.block - steps for steps in full) < max(1, plan.block)  # padding, of one block at most
    assert all(steps == plan.block for steps in full[:-1])


@pytest.mark.parametrize(
    ("count", "batch", "images", "length"),
    [(60_000, 64, 5000, 79), (60_000, 64, 60_000, 937), (1000, 10, 100, 10), (1000, 10, 300, 34), (1000, 10, 3, 1)],
)
def test_automatic_blocks_are_nearly_equal(count: int, batch: int, images: int, length: int) -> None:
    assert make_plan(count, batch, "auto", images).block == length


def test_a_block_longer_than_an_epoch_is_not_padded_beyond_it() -> None:
    assert make_plan(23, 5, 1_000_000, 100).shapes == [(4, 5), (1, 3)]
    assert make_plan(3, 5, 1_000_000, 100).shapes == [(1, 3)]


@given(st.integers(1, 2000), st.integers(1, 60), st.just("auto") | st.integers(1, 200), st.integers(1, 150))
def test_with_progress_a_block_ends_at_every_multiple(count: int, batch: int, block: int | str, progress: int) -> None:
    plan, free = make_plan(count, batch, block, 1000, progress), make_plan(count, batch, block, 1000)
    ends = {end for _, end in plan.blocks}
    assert set(range(progress, plan.steps + 1, progress)) <= ends
    assert plan.block <= free.block and (plan.count, plan.batch_size) == (free.count, free.batch_size)
    assert progress % plan.block == 0
    assert not any(progress % steps == 0 for steps in range(plan.block + 1, min(free.block, progress) + 1))


@pytest.mark.parametrize(
    ("progress", "length"), [(0, 78), (100, 50), (1, 1), (7, 7), (938, 67), (10_000, 50), (101, 1)]
)
def test_blocks_are_as_long_as_progress_lets_them_be(progress: int, length: int) -> None:
    assert make_plan(60_000, 64, 78, 0, progress).block == length


def test_a_short_last_batch_is_a_block_of_its_own() -> None:
    plan = Plan(count=23, batch_size=5, block=3)
    assert (plan.steps, plan.full, plan.short) == (5, 4, 3)
    assert plan.blocks == [(0, 3), (3, 4), (4, 5)]
    blocks = list(stream_blocks(numbered(23), plan, seed=1, epochs=range(1)))
    assert [tuple(block.images.shape) for block in blocks] == [(3, 5, 2, 3), (3, 5, 2, 3), (1, 3, 2, 3)]
    assert [tuple(block.labels.shape) for block in blocks] == [(3, 5), (3, 5), (1, 3)]
    assert {(block.images.dtype.name, block.labels.dtype.name) for block in blocks} == {("uint8", "int64")}
    assert [(block.epoch, block.first, block.end) for block in blocks] == [(0, 0, 3), (0, 3, 4), (0, 4, 5)]
    assert [block.last for block in blocks] == [False, False, True]


def test_the_last_block_of_each_epoch_says_so() -> None:
    blocks = stream_blocks(numbered(20), Plan(20, 5, 3), seed=1, epochs=range(2, 4))
    assert [(block.epoch, block.end, block.last) for block in blocks] == [
        (2, 3, False),
        (2, 4, True),
        (3, 3, False),
        (3, 4, True),
    ]


@pytest.mark.parametrize("block", [1, 3, 100])
def test_skipping_leaves_exactly_the_remaining_batches(block: int) -> None:
    split, plan = numbered(23), Plan(23, 5, block)
    whole = batches(split, plan, epochs=range(1, 3))
    for skip in range(plan.steps + 1):
        blocks = list(stream_blocks(split, plan, seed=1, epochs=range(1, 3), skip=skip))
        assert [batch for block in blocks for batch in read(block)] == whole[skip:]
        assert (blocks[0].epoch, blocks[0].first) == divmod(plan.steps + skip, plan.steps)
        assert {tuple(block.labels.shape) for block in blocks} <= set(plan.shapes)


def test_a_split_by_rows_gives_those_rows() -> None:
    rows = np.arange(3, 40, 2)
    found = batches(numbered(50, rows), Plan(len(rows), 4, 2))
    assert sorted(number for batch in found for number in batch) == rows.tolist()


def test_a_mapped_file_can_be_streamed(tmp_path: Path) -> None:
    split = numbered(23)
    np.save(tmp_path / "images.npy", split.images)
    from_disk = Split(np.load(tmp_path / "images.npy", mmap_mode="r"), np.arange(23))
    assert batches(from_disk, Plan(23, 5, 3)) == batches(split, Plan(23, 5, 3))


@pytest.mark.skipif(not hasattr(os, "preadv"), reason="the file is read through its map")
def test_a_file_that_is_cut_short_ends_the_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "_LARGE", 0)
    write_idx(tmp_path / "images", np.zeros([2000, 8, 8], np.uint8))
    split = Split(read_images(tmp_path / "images"), np.zeros(2000, np.int64))
    stream = stream_blocks(split, Plan(2000, 10, 2), seed=1, epochs=range(1))
    next(stream)
    os.truncate(tmp_path / "images", 1000)
    with pytest.raises(InputError, match="images: was cut short while it was read"):
        list(stream)


def test_a_stream_can_be_closed_early_and_started_again() -> None:
    split, plan = numbered(300), Plan(300, 5, 2)
    for _ in range(3):
        stream: Any = stream_blocks(split, plan, seed=1, epochs=range(1000))
        first = read(next(stream))
        stream.close()
        assert first == batches(split, plan)[:2]


@pytest.mark.parametrize("taken", [1, 15], ids=["closed early", "read to its end"])
def test_a_stream_that_is_over_lets_go_of_the_images(taken: int) -> None:
    split = numbered(23)
    stream: Any = stream_blocks(split, Plan(23, 5, 1), seed=1, epochs=range(3))
    for _ in range(taken):
        next(stream)
    stream.close()
    reference = weakref.ref(split)
    del split, stream
    for _ in range(100):  # the thread that prefetched may take a moment
        gc.collect()
        if reference() is None:
            break
        time.sleep(0.02)
    assert reference() is None


FAULTS = """
import resource
import numpy as np
from tfmnist import Split
from tfmnist.data.pipeline import Plan, stream_blocks

split = Split(np.zeros((23, 2, 2), np.uint8), np.zeros(23, np.int64))
list(stream_blocks(split, Plan(23, 5, 2), seed=1, epochs=range(1)))
for count in (10, 100):  # some to warm up
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        np.empty(1 << 20, np.uint8).fill(1)
    found = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(found)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="about glibc's malloc")
def test_memory_that_is_freed_after_a_stream_is_used_again() -> None:
    """TensorFlow's generator data set ends that for the process: every megabyte then costs 256 page faults."""
    clean = {name: value for name, value in os.environ.items() if "MALLOC" not in name and name != "GLIBC_TUNABLES"}
    found = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True, env=clean)
    assert int(found.stdout) < 2560


def moved(plan: Plan, augment: Augment | None, skip: int = 0, seed: int = 1, rows: slice = slice(None)) -> list[Array]:
    random = np.random.default_rng(0)
    split = Split(random.integers(0, 256, [23, 6, 6], np.uint8), np.arange(23))
    change = augment and partial(augment_block, seed=seed, rows=rows, **augment.model_dump())
    stream = stream_blocks(split, plan, seed=seed, epochs=range(2), skip=skip, augment=change, rows=rows)
    return [np.asarray(images) for block in stream for images in block.images[: block.end - block.first]]


def test_no_generated_code_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    moved(Plan(23, 5, 3), Augment(rotate=20, elastic=1.0))
    assert list(tmp_path.iterdir()) == []


def same(one: list[Array], other: list[Array]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_augmented_images_depend_on_neither_block_nor_skip() -> None:
    augment = Augment(rotate=20, shift=1, scale=0.1)
    whole = moved(Plan(23, 5, 3), augment)
    assert not same(whole, moved(Plan(23, 5, 3), None))
    for block in (1, 100):
        assert same(whole, moved(Plan(23, 5, block), augment))
    for skip in (1, 3, 4):
        assert same(whole[skip:], moved(Plan(23, 5, 3), augment, skip))


@pytest.mark.parametrize("augment", [None, Augment(rotate=20, elastic=1.0)])
def test_rows_of_each_batch_are_those_of_the_whole_batch(augment: Augment | None) -> None:
    whole = moved(Plan(23, 5, 3), augment)  # the last batch has three examples
    for rows in (slice(0, None, 4), slice(1, None, 4), slice(3, None, 4)):
        assert same([images[rows] for images in whole], moved(Plan(23, 5, 3), augment, rows=rows))


@pytest.mark.parametrize("skip", [0, 1, 2, 4])
def test_augmentation_is_told_the_number_of_a_blocks_first_step(skip: int) -> None:
    plan = Plan(23, 5, 3)  # five steps per epoch
    told: list[int] = []

    def augment(images: Any, step: Any, batch: Any) -> Any:
        return images + tf.cast(step, tf.uint8)  # as a number in every pixel, of which the last is 0

    for block in stream_blocks(numbered(23), plan, seed=1, epochs=range(2, 4), skip=skip, augment=augment):
        told.append(int(np.asarray(block.images)[0, 0, -1, -1]))
        assert told[-1] == 5 * block.epoch + block.first
    assert told[0] == 10 + skip and told[-3:] == [15, 18, 19]


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 6), st.integers(0, 2**63 - 1), st.data())
def test_any_plan_has_the_seeds_order_and_resumes(
    count: int, batch: int, block: int, seed: int, data: st.DataObject
) -> None:
    split, plan = numbered(count), make_plan(count, batch, block, 10)
    assert all(end - first == block for first, end in plan.blocks[:-2])
    assert all(end - first <= block for first, end in plan.blocks)
    whole = batches(split, plan, seed, range(1, 3))
    orders = [seeds.permutation(seed, epoch, count).tolist() for epoch in (1, 2)]
    assert whole == [order[start : start + batch] for order in orders for start in range(0, count, batch)]
    skip = data.draw(st.integers(0, plan.steps - 1))
    assert batches(split, plan, seed, range(1, 3), skip) == whole[skip:]
