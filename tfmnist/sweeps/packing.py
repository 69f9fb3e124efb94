"""Which trainings can share one compiled graph, and who gets which. No TensorFlow."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from tfmnist.errors import InputError
from tfmnist.recipe import Recipe
from tfmnist.sweeps.sweep_file import Search

# weights of all networks of a pack that stay near the processor, with gradients, from one step to the next: beyond it
# each by itself is faster (experiments/packing.py)
_IN_CACHE = 260_000
_INPUTS, _CLASSES = 784, 10  # of the networks that this was measured of

# what may differ between trainings of one pack: numbers that the graph takes as tensors, with a value a training
_NUMBERS = {
    "model": ("initializer", "init_scale", "dropout"),
    "loss": ("label_smoothing", "l1", "l2"),
    "optimizer": (
        "learning_rate",
        "momentum",
        "rho",
        "beta1",
        "beta2",
        "epsilon",
        "weight_decay",
        "clip_norm",
    ),
    "schedule": ("warmup", "factor", "every", "start", "peak", "end"),
    "train": ("seed", "average"),
}
# of these, whether it is 0 decides what the graph computes
_SWITCHES = (
    ("model", "dropout"),
    ("loss", "label_smoothing"),
    ("loss", "l1"),
    ("loss", "l2"),
    ("optimizer", "clip_norm"),
    ("train", "average"),
)


@dataclass(frozen=True)
class Job:
    """One training: a recipe and the folder it goes to, where it may have begun already."""

    name: str
    folder: str
    recipe: dict[str, Any]
    evaluate_test: bool = False
    """Whether to read the test set at the end, export and report; else it stops when it is trained."""
    alone: bool = False
    """Whether it trains by itself, as where its process has ended before."""
    mixed: bool = False
    """Whether it may train together with other seeds, where others would be alone in that."""


def pack_key(recipe: Recipe) -> str | None:
    """Returns what is alike in recipes that can train together; None where a recipe trains by itself only.

    Together train dense networks of the same shapes on the same data, which differ in numbers: learning rate and other
    numbers of the optimizer, of the schedule and the loss, initial weights, dropout, seed.

    Example:
        >>> slow, fast = (Recipe().replace({"optimizer.learning_rate": rate}) for rate in (0.001, 0.01))
        >>> pack_key(slow) == pack_key(fast) != pack_key(Recipe().replace({"model.hidden": [8]}))
        True
    """
    alone = (
        recipe.model.kind != "mlp"
        or recipe.model.init_from
        or recipe.model.freeze
        or recipe.train.patience
        or recipe.train.compile == "eager"
    )
    if alone:
        return None
    alike = recipe.model_dump(mode="json", exclude={"name", "about", "export"})
    for section, key in _SWITCHES:
        alike[section][f"has {key}"] = bool(alike[section][key])
    for section, keys in _NUMBERS.items():
        for key in keys:
            del alike[section][key]
    return json.dumps(alike)


def choose_pack(
    asked: int | Literal["auto"], recipe: Recipe, search: Search | None = None, searched: Iterable[str] = ()
) -> int:
    """Returns how many trainings may share a graph.

    Args:
        asked: a number, or `auto`: 16 or 8 where that pays, else 1.
        recipe: what the trainings are like.
        search: how they are searched; None for the seeds of one recipe.
        searched: the keys that are; where one changes what is computed, packs would be half empty.

    Raises:
        InputError: less than 1, or packed trials whose time is to be compared.

    Example:
        >>> choose_pack("auto", Recipe()), choose_pack("auto", Recipe().replace({"model.hidden": [30]}))
        (1, 8)
    """
    if asked == "auto":
        if search and (search.times or search.pruner != "none" or search.sampler in ("tpe", "cmaes")):
            return 1  # what is compared by time trains alone; the others learn from trials that have ended
        numbers = {f"{section}.{key}" for section, keys in _NUMBERS.items() for key in keys}
        if pack_key(recipe) is None or not numbers.issuperset(searched):
            return 1
        fit = _IN_CACHE // sum(inputs * units for inputs, units in pairwise((_INPUTS, *recipe.model.hidden, _CLASSES)))
        return max((size for size in (8, 16) if size <= fit), default=1)
    if asked < 1:
        raise InputError(f"pack is {asked}: expected 1 or more, or auto.")
    if asked > 1 and search and search.times:
        raise InputError(f"pack is {asked}: trials whose time is compared train alone; leave it out.")
    return asked


def packs(jobs: Sequence[Job], pack: int) -> list[list[Job]]:
    """Returns the jobs in packs that train together, of at most so many; each by itself that cannot, or for 1."""
    alike: defaultdict[tuple[str, int], list[Job]] = defaultdict(list)
    alone: list[Job] = []
    for job in sorted(jobs, key=_order):
        (alike[_order(job)] if kind_of(job, pack) else alone).append(job)
    cut = [group[first : first + pack] for group in alike.values() for first in range(0, len(group), pack)]
    return [*cut, *([job] for job in alone)]


def kind_of(job: Job, pack: int) -> str:
    """Returns what is compiled for a job in a pack, be it the only one there; "" where it trains alone."""
    return _order(job)[0] if pack > 1 else ""


def shares(jobs: Sequence[Job], workers: int) -> list[list[Job]]:
    """Returns the jobs in as many shares as there are workers, or fewer; those that can train together stay together.

    Example:
        >>> [len(share) for share in shares([Job(str(n), "", Recipe().model_dump(mode="json")) for n in range(5)], 2)]
        [3, 2]
    """
    rows = sorted(jobs, key=_order)
    number = min(workers, len(rows))
    cuts = [-(-len(rows) * place // number) for place in range(number + 1)]
    return [rows[first:end] for first, end in pairwise(cuts)]


def _order(job: Job) -> tuple[str, int]:
    """Returns what is compiled for a job, and the seed where those of a pack must have the same."""
    recipe = Recipe.model_validate(job.recipe)
    key = None if job.alone else pack_key(recipe)
    return (f"{key} {job.mixed}", -1 if job.mixed else recipe.train.seed) if key else ("", 0)
