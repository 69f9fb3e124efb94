"""Selecting examples: some classes, a fraction of each, a few of each; drawn as a function of a key."""

from collections.abc import Sequence

import numpy as np

from tfmnist.data.split import Labels
from tfmnist.errors import InputError, did_you_mean
from tfmnist.seeds import key


def choose_classes(names: Sequence[str], only: Sequence[str]) -> Labels:
    """Returns each class's new label, int64 `[classes]`: its index in `only`, or -1; an empty `only` keeps all."""
    for name in only:
        if name not in names:
            raise InputError(f"recipe key 'data.only' has {name!r}: no such class{did_you_mean(name, names)}")
    if len(set(only)) < len(only):
        raise InputError(f"recipe key 'data.only' is {list(only)}: expected no class twice.")
    new_labels = np.full(len(names), -1, np.int64)
    new_labels[[list(names).index(name) for name in only or names]] = np.arange(len(only or names))
    return new_labels


def stratify(labels: Labels, rows: Labels, count: int, random_key: int) -> tuple[Labels, Labels]:
    """Draws `count` of the rows, int64 `[m]`, ascending, from each class in proportion, by largest remainder.

    `labels`, int64 `[n]`, are those of all examples.

    Returns:
        The rows that remain, and those drawn, both ascending.

    Raises:
        InputError: no example of some class would remain.
    """
    labels = labels[rows]
    counts = np.bincount(labels)
    quota, remainder = np.divmod(counts * count, len(labels))
    extra = count - int(quota.sum())
    # One more for the largest remainders, among the classes that keep an example to train on.
    while extra > 0 and len(able := np.flatnonzero(quota + 1 < counts)):
        chosen = able[np.argsort(-remainder[able], kind="stable")[:extra]]
        quota[chosen] += 1
        extra -= len(chosen)
    if count < 0 or quota.sum() != count or (quota >= counts)[counts > 0].any():
        classes = np.count_nonzero(counts)
        most = len(labels) - classes
        raise InputError(
            f"data.validation is {count}, expected 0 to {most}: of {len(labels)} training examples, at least one in "
            f"each of {classes} classes must stay; set it (--data.validation) to {min(most, len(labels) // 10)}, for "
            "example, or to 0 for none."
        )
    order, rank = _shuffle_classes(labels, random_key)
    drawn = np.zeros(len(labels), np.bool_)
    drawn[order] = rank < np.repeat(quota, counts)
    return rows[~drawn], rows[drawn]


def draw_test(labels: Labels, share: float) -> tuple[Labels, Labels]:
    """Draws the rows that become the test set of a source without one, the same for every seed, as `stratify` does."""
    count = int(np.floor(share * np.bincount(labels)).sum() or share * len(labels))
    return stratify(labels, np.arange(len(labels)), count, key(0, "test"))


def keep_few(labels: Labels, rows: Labels, per_class: int, random_key: int, names: Sequence[str]) -> Labels:
    """Returns `per_class` of the rows of each class, ascending; `labels` are those of all examples, int64 `[n]`."""
    labels = labels[rows]
    counts = np.bincount(labels, minlength=len(names))
    if (short := counts < per_class).any():
        label = int(np.argmax(short))
        raise InputError(
            f"recipe key 'data.per_class' is {per_class}: class {names[label]!r} has {counts[label]} training "
            "examples; lower it, or data.validation."
        )
    order, rank = _shuffle_classes(labels, random_key)
    return rows[np.sort(order[rank < per_class])]


def _shuffle_classes(labels: Labels, random_key: int) -> tuple[Labels, Labels]:
    """Returns all indices sorted by class, in random order within each, and the rank of each within its class."""
    order = np.argsort(np.random.Philox(key=[random_key, 0]).random_raw(len(labels)), kind="stable")
    order = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    return order, np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
