"""Selecting examples: some classes, a fraction of each, a few of each; drawn as a function of a key."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tfmnist.data.split import Integers, Labels, count_labels
from tfmnist.errors import InputError, did_you_mean
from tfmnist.seeds import key

Mask = npt.NDArray[np.bool_]

_CHUNK = 1 << 20  # examples
_MOST_CELLS = 20  # bits of the number of cells that random numbers are counted in


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


def relabel(labels: Integers, new_labels: Labels) -> npt.NDArray[np.int16]:
    """Returns the new label of each example, int16 `[n]`, given that of each class; -1 for none."""
    found = np.empty(len(labels), np.int16)
    for start in range(0, len(labels), _CHUNK):
        found[start : start + _CHUNK] = new_labels[labels[start : start + _CHUNK]]
    return found


def stratify(labels: Integers, among: Mask, count: int, random_key: int) -> Mask:
    """Draws `count` examples from each class in proportion, by largest remainder.

    Args:
        labels: integers `[n]`.
        among: bool `[n]`: those that may be drawn.
        count: how many to draw.
        random_key: decides which are drawn.

    Returns:
        Those drawn, bool `[n]`.

    Raises:
        InputError: no example of some class would remain.
    """
    labels = labels[among]
    counts = count_labels(labels)
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
    return _draw(labels, among, quota, random_key)


def draw_test(labels: Integers, share: float) -> Mask:
    """Draws the examples that become the test set of a source without one, the same for every seed; see `stratify`."""
    count = int(np.floor(share * count_labels(labels)).sum() or share * len(labels))
    return stratify(labels, np.ones(len(labels), np.bool_), count, key(0, "test"))


def keep_few(labels: Integers, among: Mask, per_class: int, random_key: int, names: Sequence[str]) -> Mask:
    """Draws `per_class` examples of each class; arguments and result are otherwise those of `stratify`."""
    labels = labels[among]
    counts = count_labels(labels, len(names))
    if (short := counts < per_class).any():
        label = int(np.argmax(short))
        raise InputError(
            f"recipe key 'data.per_class' is {per_class}: class {names[label]!r} has {counts[label]} training "
            "examples; lower it, or data.validation."
        )
    return _draw(labels, among, np.full(len(counts), per_class), random_key)


def _draw(labels: Integers, among: Mask, quota: Labels, random_key: int) -> Mask:
    """Draws from each class the `quota`, int64 `[classes]`, of examples that have the smallest random numbers.

    Numbers are counted by class and leading bits first: so only those in the cell at a quota are sorted.

    Args:
        labels: those that may be drawn have, integers `[m]`.
        among: bool `[n]`: those that may be drawn, m of n.
        quota: no more than there are of a class.
        random_key: decides the numbers, one for each that may be drawn.

    Returns:
        Those drawn, bool `[n]`.
    """
    chosen = np.zeros(len(among), np.bool_)
    if not quota.any():
        return chosen
    bits = max(1, min(_MOST_CELLS, len(labels).bit_length()) - len(quota).bit_length())
    cells = np.zeros(len(quota) << bits, np.int64)
    for _, of_chunk, cell, _ in _random_cells(labels, bits, random_key):
        cells += np.bincount((of_chunk << bits) + cell, minlength=len(cells))
    cumulated = cells.reshape(len(quota), -1).cumsum(axis=1)
    border = (cumulated < quota[:, np.newaxis]).sum(axis=1)  # the first cell that is not drawn whole
    whole = np.where(border > 0, cumulated[np.arange(len(quota)), border - 1], 0)
    drawn = np.zeros(len(labels), np.bool_)
    parts: list[tuple[Integers, ...]] = []
    for start, of_chunk, cell, random in _random_cells(labels, bits, random_key):
        drawn[start : start + len(cell)] = cell < border[of_chunk]
        at_border = np.flatnonzero(cell == border[of_chunk])
        parts.append((start + at_border, of_chunk[at_border], random[at_border]))
    rows, of_row, random = (np.concatenate(arrays) for arrays in zip(*parts))
    order = np.lexsort((random, of_row))
    counts = np.bincount(of_row, minlength=len(quota))
    rank = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    drawn[rows[order[rank < np.repeat(quota - whole, counts)]]] = True
    chosen[among] = drawn
    return chosen


def _random_cells(labels: Integers, bits: int, random_key: int) -> Iterator[tuple[int, Labels, Labels, Integers]]:
    """Yields, chunk by chunk, its start, labels, and for each example a random number's leading bits and the number."""
    generator = np.random.Philox(key=[random_key, 0])
    for start in range(0, len(labels), _CHUNK):
        of_chunk = labels[start : start + _CHUNK].astype(np.int64)
        random = generator.random_raw(len(of_chunk))
        yield start, of_chunk, (random >> (64 - bits)).astype(np.int64), random
