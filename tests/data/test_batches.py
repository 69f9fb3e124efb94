"""Examples in the caller's own form: arrays and datasets become the same split, and datasets the same blocks."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tfmnist.data.batches import BatchSource, as_split, augment_steps, check_batches
from tfmnist.data.split import Split
from tfmnist.errors import InputError

IMAGES = np.arange(23 * 4, dtype=np.uint8).reshape(23, 2, 2)
LABELS = np.arange(23) % 3


def dataset(batch: int = 5, images: Any = IMAGES, labels: Any = LABELS) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(batch)


def blocks(source: BatchSource, epochs: int = 1) -> list[tuple[int, int, int, bool, list[int]]]:
    return [
        (
            block.epoch,
            block.first,
            block.end,
            block.last,
            block.images[: block.end - block.first, :, 0, 0].numpy().ravel().tolist(),
        )
        for block in source.blocks(range(epochs))
    ]


def test_arrays_and_datasets_become_the_same_split() -> None:
    for examples in (Split(IMAGES, LABELS), (IMAGES, LABELS), [IMAGES, LABELS.tolist()], dataset()):
        split = as_split(examples)  # type: ignore[arg-type]
        assert np.array_equal(split.images, IMAGES) and np.array_equal(split.labels, LABELS)


def test_a_dataset_comes_in_blocks_of_batches_of_one_size() -> None:
    source = BatchSource(dataset(), 3, 3, 100)
    assert (source.steps, source.batch_size, source.shapes, source.image_shape) == (5, 5, [(3, 5)], (2, 2))
    first = (IMAGES[:, 0, 0]).tolist()
    assert blocks(source, 2) == [
        (epoch, *part)
        for epoch in (0, 1)
        for part in ((0, 3, False, first[:15]), (3, 4, False, first[15:20]), (4, 5, True, first[20:]))
    ]
    padded = next(iter(BatchSource(dataset(), 3, 4, 100).blocks(range(1))))
    assert padded.images.shape == [4, 5, 2, 2] and padded.end == 4


def test_steps_per_epoch_cut_a_dataset_and_continue_it() -> None:
    source = BatchSource(dataset().take(4).repeat(), 3, 2, 100, steps_per_epoch=3)
    starts = [start for _, _, _, _, numbers in blocks(source, 2) for start in numbers[::5]]
    assert starts == [0, 20, 40, 60, 0, 20]
    assert [last for _, _, _, last, _ in blocks(source, 2)] == [False, True, False, True]
    once = BatchSource(dataset().take(4), 3, 2, 100, steps_per_epoch=3)
    assert blocks(once, 2) == blocks(source, 2), "a dataset that ends starts over"


def test_augmentation_sees_the_number_of_the_step() -> None:
    seen = augment_steps(lambda images, seed: tf.fill(tf.shape(images), tf.cast(seed[1], tf.uint8)), 7, (2, 2))
    source = BatchSource(dataset(), 3, 3, 100, augment=seen)
    numbers = [
        block.images[step, 0, 0, 0].numpy()
        for block in source.blocks(range(2))
        for step in range(block.end - block.first)
    ]
    assert numbers == list(range(10))
    keys = augment_steps(lambda images, seed: tf.fill(tf.shape(images), tf.cast(seed[0], tf.uint8)), 7, (4, 4))
    assert set(keys(tf.zeros([2, 3, 4, 4], tf.uint8), tf.constant(0, tf.int64)).numpy().ravel()) == {7}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda images, seed: tf.cast(images, tf.float32), "returns float32"),
        (lambda images, seed: images[:, :1], "returns uint8 .*expected uint8"),
    ],
)
def test_what_an_augmentation_returns_is_checked(change: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        augment_steps(change, 0, (4, 4))


def endless() -> Iterator[Any]:
    while True:
        yield IMAGES[:5], LABELS[:5]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (dataset().unbatch(), "call batch\\(\\) on it"),
        (dataset(images=IMAGES.astype(np.float32)), "float32 .*expected batches"),
        (dataset(labels=LABELS.astype(np.float32)), "and float32"),
        (dataset(labels=np.eye(3)[LABELS].astype(np.int64)), "expected batches"),
        (dataset(images=IMAGES[..., np.newaxis]), "expected batches"),
        (dataset().map(lambda images, labels: {"x": images, "y": labels}), "expected batches"),
        (dataset().map(lambda images, labels: images), "expected batches"),
    ],
)
def test_datasets_of_another_form_are_named(data: Any, said: str) -> None:
    for refuse in (check_batches, as_split, lambda data: BatchSource(data, 3, 1, 100)):
        with pytest.raises(InputError, match=said) as caught:
            refuse(data)
        assert "\n" not in str(caught.value)


def test_datasets_that_cannot_be_an_epoch_are_named() -> None:
    with pytest.raises(InputError, match="never ends: set steps_per_epoch"):
        BatchSource(dataset().repeat(), 3, 1, 100)
    with pytest.raises(InputError, match="never ends: expected each example once"):
        as_split(dataset().repeat())
    with pytest.raises(InputError, match="is empty"):
        BatchSource(dataset().take(0), 3, 1, 100)
    with pytest.raises(InputError, match="label 2 in epoch 1, step 1 or later, is beyond the model's 2 classes"):
        blocks(BatchSource(dataset(), 2, 3, 100))
    with pytest.raises(InputError, match="the examples are a ndarray"):
        as_split(IMAGES)  # type: ignore[arg-type]


@pytest.mark.parametrize(("most", "factor"), [(1, 255), (15, 17), (16, 15)])
def test_arrays_of_few_grey_levels_are_refused(most: int, factor: int) -> None:
    with pytest.raises(InputError, match=f"pixels reach {most}, expected 0 to 255; multiply them by {factor}"):
        as_split((IMAGES % (most + 1), LABELS))
    assert len(as_split((IMAGES % 18, LABELS))) == len(as_split((IMAGES * 0, LABELS))) == 23


def test_a_generator_of_unknown_length_is_a_pass_per_epoch() -> None:
    spec = (tf.TensorSpec([None, 2, 2], tf.uint8), tf.TensorSpec([None], tf.int64))
    data = tf.data.Dataset.from_generator(
        lambda: ((IMAGES[n : n + 5], LABELS[n : n + 5]) for n in (0, 5)), output_signature=spec
    )
    source = BatchSource(data, 3, 8, 100)
    assert source.steps == 0
    assert [(first, end, last) for _, first, end, last, _ in blocks(source, 2)] == [(0, 2, True)] * 2
    forever = tf.data.Dataset.from_generator(endless, output_signature=spec)
    assert len(blocks(BatchSource(forever, 3, 2, 100, steps_per_epoch=4), 3)) == 6


def test_a_generator_that_can_be_read_once_loses_no_batch() -> None:
    spec = (tf.TensorSpec([None, 2, 2], tf.uint8), tf.TensorSpec([None], tf.int64))
    once = ((IMAGES[n : n + 5], LABELS[n : n + 5]) for n in (0, 5, 10))
    source = BatchSource(tf.data.Dataset.from_generator(lambda: once, output_signature=spec), 3, 8, 100)
    assert [(first, end) for _, first, end, _, _ in blocks(source)] == [(0, 3)]


def test_batches_without_examples_or_with_other_labels_are_named() -> None:
    spec = (tf.TensorSpec([None, 2, 2], tf.uint8), tf.TensorSpec([None], tf.int64))

    def source(images: int, labels: int) -> BatchSource:
        batches = [(IMAGES[:5], LABELS[:5]), (IMAGES[:images], LABELS[:labels])]
        data = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=spec)
        return BatchSource(data, 3, 8, 100)

    for images, labels in ((0, 0), (3, 2)):
        with pytest.raises(InputError, match=f"a batch of {images} images and {labels} labels"):
            blocks(source(images, labels))
