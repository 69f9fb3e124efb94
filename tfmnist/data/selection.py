"""Which examples: some classes, a share of each, a few of each; drawn by a key, and by nothing else."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tfmnist.errors import InputError, did_you_mean

Labels = npt.NDArray[np.int64]


def choose_classes(names: Sequence[str], only: Sequence[str]) -> Labels:
    """Returns int64 `[classes]`: the number that each class has among those to keep, all where `only` is empty, or -1.

    Example:
        >>> choose_classes(["ant", "bee", "cat"], only=["cat", "ant"]).tolist()
        [1, -1, 0]
    """
    for name in only:
        if name not in names:
            raise InputError(f"recipe key 'data.only' has {name!r}: no such class{did_you_mean(name, names)}")
    if len(set(only)) < len(only):
        raise InputError(f"recipe key 'data.only' is {list(only)}: expected no class twice.")
    number = np.full(len(names), -1, np.int64)
    number[[list(names).index(name) for name in only or names]] = np.arange(len(only or names))
    return number


def stratify(labels: Labels, rows: Labels, count: int, random_key: int) -> tuple[Labels, Labels]:
    """Draws `count` of the rows, from each class its share, by largest remainder.

    Args:
        labels: int64 `[n]`, the classes of all examples.
        rows: int64 `[m]`, ascending: the examples to draw from.
        count: how many to draw; of each class at least one stays.
        random_key: decides which.

    Returns:
        The rows, ascending, that stay and that are drawn.

    Raises:
        InputError: of some class none would stay.
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
        taught = np.count_nonzero(counts)
        most = len(labels) - taught
        raise InputError(
            f"data.validation is {count}, expected 0 to {most}: of {len(labels)} training examples, at least one in "
            f"each of {taught} classes must stay; set it (--data.validation) to {min(most, len(labels) // 10)}, say, "
            "or to 0 for none."
        )
    place, rank = _shuffle_classes(labels, random_key)
    drawn = np.zeros(len(labels), np.bool_)
    drawn[place] = rank < np.repeat(quota, counts)
    return rows[~drawn], rows[drawn]


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
    place, rank = _shuffle_classes(labels, random_key)
    return rows[np.sort(place[rank < per_class])]


def _shuffle_classes(labels: Labels, random_key: int) -> tuple[Labels, Labels]:
    """Returns all places by class, at random within each, and the number of each within its class."""
    order = np.argsort(np.random.Philox(key=[random_key, 0]).random_raw(len(labels)), kind="stable")
    order = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    return order, np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
