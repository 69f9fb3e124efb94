"""Sweep files: which keys of a recipe to search, in which ranges, how, and for how long.

    recipe = "mlp"

    [fixed]
    "train.epochs" = 3

    [space]
    "optimizer.kind" = ["adam", "momentum"]
    "optimizer.learning_rate" = {low = 1e-4, high = 0.1, log = true}
    "optimizer.momentum" = {low = 0.5, high = 0.99, when = {"optimizer.kind" = "momentum"}}

    [search]
    sampler = "tpe"
    trials = 40

Everything is checked before the first trial: every key and both ends of every range, by the recipe's own checks.
Nothing here imports TensorFlow or Optuna.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tfmnist.errors import InputError, did_you_mean, show
from tfmnist.recipe import Count, Recipe, is_own, locate, nearest_key, parse_toml, suggest_key
from tfmnist.runs.own_code import pin, source_digest

Value = Any  # of a recipe key

_IDLE = {  # keys without effect in a sweep, and why
    "train.seed": "has no effect because search.seeds decides the seeds of the trials; set that",
    "train.progress": "has no effect because a sweep shows its trials, not their steps; remove it",
}
MOST_POINTS = 10_000  # of a grid, all of which are checked before the first trial, 10,000 per second
_UNSEARCHED = ("export.model", "export.report", "train.threads", "train.log_steps", "train.tensorboard")


_Number = Annotated[int | float, Field(ge=-(2.0**62), le=2.0**62)]


class _Table(BaseModel):
    """A table of a sweep file: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Range(_Table):
    """The values of one key: a list to choose from, or the numbers from `low` to `high`."""

    choice: tuple[Value, ...] = ()
    """The values of a list."""
    low: _Number | None = None
    """The smallest value."""
    high: _Number | None = None
    """The largest value, included."""
    log: bool = False
    """Whether to search on a logarithmic scale."""
    points: int = Field(default=0, ge=0, le=MOST_POINTS)
    """Number of values in a grid, both ends included: 2 or more."""
    when: dict[str, Value] = {}
    """Values that other keys must have for this one to be searched; otherwise it keeps the recipe's value."""

    @model_validator(mode="before")
    @classmethod
    def _list_is_choice(cls, data: Any) -> Any:
        return {"choice": data} if isinstance(data, list) else data

    @model_validator(mode="after")
    def _is_list_or_range(self) -> Self:
        if bool(self.choice) == (self.low is not None or self.high is not None):
            raise ValueError("expected a list of values, or low and high")
        if self.choice:
            return self
        if self.low is None or self.high is None:
            raise ValueError("expected both low and high")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"low {self.low:g} must be below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low:g}: with log it must be above 0")
        return self

    @property
    def ends(self) -> tuple[float, float]:
        """`low` and `high`; not for a list."""
        assert self.low is not None and self.high is not None
        return self.low, self.high

    def can_be(self, value: Value) -> bool:
        """Whether a search can hit a value exactly: an item of a list, a whole number, or a point of a grid."""
        if self.choice:
            return value in self.choice
        low, high = self.ends
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            return False
        return isinstance(value, int) or (self.points > 1 and value in self.grid(False))

    def grid(self, whole: bool) -> list[Value]:
        """Returns the values in a grid, rounded if `whole`, each once."""
        if self.choice:
            return list(self.choice)
        low, high = self.ends
        parts = [index / (self.points - 1) for index in range(self.points)]
        values = [low * (high / low) ** part if self.log else low + (high - low) * part for part in parts]
        values[-1] = high  # not a rounding error beyond it
        return list(dict.fromkeys(round(value) for value in values)) if whole else values


class Search(_Table):
    """How to search, and for how long."""

    sampler: Literal["grid", "random", "tpe", "cmaes"] = "tpe"
    """How values are drawn. grid: all combinations; random: at random; tpe, cmaes: near the best trials so far."""
    pruner: Literal["none", "median", "halving", "hyperband"] = "none"
    """Rule that ends poor trials early, by their result after each epoch."""
    objective: Literal["accuracy", "loss", "accuracy and time"] = "accuracy"
    """Validation result by which trials are compared; with time, the seconds of training are a second objective."""
    trials: Count = 0
    """Number of trials; 0 for all points of a grid, otherwise 30."""
    minutes: float = Field(default=0, ge=0, le=1e9)
    """No trial begins after this many minutes; 0 for no limit."""
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**62)], ...] = Field(default=(0,), min_length=1)
    """Seeds to train each trial with; its result is the mean over them."""
    seed: int = Field(default=0, ge=0, lt=2**62)
    """Seed of the sampler."""
    confirm: int = Field(default=5, ge=0, le=MOST_POINTS)
    """Number of fresh seeds with which the best recipe and the base recipe are trained again and tested; 0 for none."""
    keep: str = "all"
    """Run folders to keep: 'all', or for example 'best 5', those of the five best trials so far."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not re.fullmatch(r"all|best [1-9]\d{0,5}", self.keep):
            raise ValueError(f"keep is {self.keep!r}: expected 'all', or for example 'best 5'")
        if self.times and self.pruner != "none":
            raise ValueError("a pruner compares one result, not accuracy and time; set pruner to none")
        if self.times and self.sampler == "cmaes":
            raise ValueError("cmaes searches for one result, not accuracy and time; use tpe")
        return self

    @property
    def times(self) -> bool:
        """Whether training time is an objective too."""
        return self.objective == "accuracy and time"

    @property
    def metric(self) -> str:
        """The validation result that is compared, by its name in `metrics.jsonl`."""
        return "validation_loss" if self.objective == "loss" else "validation_accuracy"

    @property
    def best_kept(self) -> int:
        """Number of best trials whose run folders are kept, if not all are."""
        return int(self.keep.partition(" ")[2])


class File(_Table):
    """A sweep file as it is written."""

    recipe: str = "mlp"
    """The base recipe: a shipped one, or a .toml file, whose path is relative to the folder of the sweep file."""
    fixed: dict[str, Value] = {}
    """Keys of the recipe, with or without quotes, and their values in all trials."""
    space: dict[str, Range] = Field(min_length=1)
    """Keys of the recipe, with or without quotes, and the values to search."""
    search: Search = Search()
    """How to search, and for how long."""


class Sweep(_Table):
    """A sweep file, checked."""

    name: str
    """The name of the file, without its extension."""
    recipe: Recipe
    """The base recipe, with the fixed keys set."""
    space: dict[str, Range]
    """The keys to search."""
    search: Search
    """How to search them."""
    text: str = ""
    """The file's content."""
    sources: dict[str, str] = {}
    """The digest of the source code that each kind in the space names, if it is the user's."""

    @classmethod
    def load(cls, path: str | Path) -> "Sweep":
        """Reads a sweep file.

        Raises:
            InputError: no such file, no valid TOML, a key that no recipe has, or a range that it does not allow.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8").removeprefix("\ufeff")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8"
            raise InputError(f"{path}: cannot read the sweep: {reason}; give a .toml file.") from None
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._") or "sweep"
        try:
            return cls.parse(text, name, path.parent)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    @classmethod
    def parse(cls, text: str, name: str, folder: Path = Path()) -> "Sweep":
        """Reads a sweep from TOML; a recipe that is a file is looked for in `folder`."""
        values = parse_toml(text)
        for where in ("fixed", "space"):
            if isinstance(values.get(where), dict):
                values[where] = _in_full(where, values[where])
        try:
            file = File.model_validate(values)
        except ValidationError as error:
            raise InputError(_sentence(error)) from None
        is_file = file.recipe.endswith(".toml")
        recipe = Recipe.load(folder / file.recipe if is_file else file.recipe)
        space = {key: _located(key, within, folder) for key, within in file.space.items()}
        for key in file.fixed:
            _check_key("fixed", key)
        fixed = {key: _locate(key, value, folder) for key, value in file.fixed.items()}
        recipe = pin(recipe.with_values(fixed).without_stale_claims(recipe))
        kinds = [(key.partition(".")[0], v) for key in space if key.endswith(".kind") for v in space[key].choice]
        sources = {kind: source_digest(section, kind) for section, kind in kinds if is_own(str(kind))}
        sweep = cls(name=name, recipe=recipe, space=space, search=file.search, text=text, sources=sources)
        sweep.check_effects(file.fixed)
        return sweep

    @cached_property
    def trials(self) -> int:
        """Total number of trials."""
        if self.search.sampler != "grid":
            return self.search.trials or 30
        points = len(self.grid())
        return min(self.search.trials or points, points)

    def is_whole(self, key: str) -> bool:
        """Whether a key holds whole numbers; an option of user code does if both ends of its range are written so."""
        section, _, name = key.partition(".")
        if name.startswith("options."):
            return not self.space[key].choice and all(isinstance(end, int) for end in self.space[key].ends)
        return _takes_int(Recipe.tables()[section].model_fields[name].annotation)

    def is_searched(self, key: str, values: Mapping[str, Value]) -> bool:
        """Whether a key is searched, given the values of the keys before it."""
        current = self.recipe.values() | dict(values)
        return all(current.get(name) == wanted for name, wanted in self.space[key].when.items())

    def grid(self) -> list[dict[str, Value]]:
        """Returns all points of the grid, each once, the last key changing fastest."""
        values_of = {key: within.grid(self.is_whole(key)) for key, within in self.space.items()}
        points = self._points(values_of, MOST_POINTS)
        if not points:
            count = math.prod(map(len, values_of.values()))
            raise InputError(
                f"space: the grid has {count:,} combinations: expected at most {MOST_POINTS:,}; give fewer values, or "
                "set search.sampler to 'random' and search.trials to the number of trials that you want."
            )
        return points

    def _points(self, values_of: Mapping[str, list[Value]], most: float = math.inf) -> list[dict[str, Value]]:
        """Returns all combinations of values, each of the keys that are searched in it; none if more than `most`."""
        points: list[dict[str, Value]] = [{}]
        for key, values in values_of.items():
            searched = [self.is_searched(key, point) for point in points]
            if sum(len(values) if has_key else 1 for has_key in searched) > most:
                return []
            points = [
                longer
                for point, has_key in zip(points, searched)
                for longer in ([{**point, key: v} for v in values] if has_key else [point])
            ]
        return points

    def recipe_of(self, values: Mapping[str, Value], seed: int, suffix: str) -> Recipe:
        """Returns the recipe of a trial, named after the sweep with a suffix."""
        own = {key: str(value) for key, value in values.items() if str(value) in self.sources}
        pinned = {key.replace(".kind", ".source_sha256"): self.sources[kind] for key, kind in own.items()}
        recipe = self.recipe.replace({**values, **pinned, "train.seed": seed})
        return recipe.model_copy(update={"name": f"{self.name}-{suffix}"})

    @model_validator(mode="after")
    def _check(self) -> Self:
        before: list[str] = []
        if not self.recipe.data.validation:
            raise InputError(
                "recipe key 'data.validation' is 0: trials are compared by validation; set it in [fixed], for example "
                "to 5000."
            )
        for key in self.space:  # all of them first, since the values of one depend on the others
            _check_key("space", key)
        for key, values in self.space.items():
            if key == "train.seed":
                raise InputError("space: 'train.seed' cannot be searched; set search.seeds, the seeds of each trial.")
            for other in values.when:
                _check_key(f"space: when of {key!r}", other)
                if other in self.space and other not in before:
                    raise InputError(f"space: {key!r} depends on {other!r}, which comes after it; move that before it.")
            before.append(key)
            self._check_values(key, values)
        if self.search.sampler == "grid":
            for point in self.grid():
                try:
                    self.recipe.with_values(point)
                except InputError as error:
                    raise InputError(f"space: point {point} of the grid: {error} Add when, or change ranges.") from None
        if self.search.pruner != "none" and self.recipe.train.epochs < 2:
            raise InputError(
                f"search.pruner is {self.search.pruner!r} but 'train.epochs' is {self.recipe.train.epochs}: trials are "
                "pruned between epochs; train for more epochs, or set the pruner to none."
            )
        return self

    def check_effects(self, fixed: Iterable[str]) -> None:
        """Raises an `InputError` if a fixed or searched key has no effect, or its condition cannot occur."""
        for key in (*fixed, *self.space):
            if key in _IDLE:
                raise InputError(f"{'space' if key in self.space else 'fixed'}: {key!r} {_IDLE[key]}.")
        if unsearched := [key for key in _UNSEARCHED if key in self.space]:
            raise InputError(f"space: {unsearched[0]!r} has no effect on the training of a trial; leave it out.")
        for key in fixed:
            reasons = [self.recipe.with_values(point).why_idle(key) for point in self._contexts(key)]
            if all(reasons):
                raise InputError(f"fixed: {key!r} has no effect because {reasons[0]}; remove it.")
        for key in self.space:
            points = [point for point in self._contexts(key) if key in point]
            if not points:
                raise InputError(
                    f"space: {key!r} is searched when {self.space[key].when}, which cannot occur; expected values that "
                    "those keys can take in this sweep."
                )
            for point in points:
                if reason := self.recipe.with_values(point).why_idle(key):
                    raise InputError(
                        f"space: {key!r} has no effect where {reason}; remove it, or add a condition under which it "
                        "has an effect: when = {...}."
                    )

    def _contexts(self, key: str) -> list[dict[str, Value]]:
        """Returns the combinations of values that decide whether a key is searched and has an effect.

        They combine its own values, those of the other keys in its section, and those of the keys in conditions.
        """
        section = key.partition(".")[0]
        needed, waiting = set[str](), [key, *(other for other in self.space if other.startswith(f"{section}."))]
        while waiting:
            if (other := waiting.pop()) in self.space and other not in needed:
                needed.add(other)
                waiting += self.space[other].when
        conditions = [within.when for within in self.space.values()]
        values_of: dict[str, list[Value]] = {}
        for other in (other for other in self.space if other in needed):
            within = self.space[other]
            wanted = [when[other] for when in conditions if other in when and within.can_be(when[other])]
            low, high = (0.0, 0.0) if within.choice else within.ends
            is_drawn = self.search.sampler != "grid" and not within.choice and not self.is_whole(other)
            # a value that a sampler may draw, unlike the ends or one that a condition names
            drawn = low + 0.381966 * (high - low)
            values = list(within.choice) or ([drawn] if is_drawn else [low, high, *wanted])
            values_of[other] = values if other == key else self._different(other, values, wanted)
        points = self._points(values_of)
        valid = [point for point in points if self._is_valid(point)]
        return valid or points

    def _different(self, key: str, values: Sequence[Value], wanted: Sequence[Value]) -> list[Value]:
        """Returns some of a key's values, one of those that make the same keys idle: most lists are only numbers."""
        first: dict[tuple[str, bool, str], Value] = {}
        for value in values:
            try:
                idle = str(getattr(self.recipe.with_values({key: value}), key.partition(".")[0]).idle())
            except InputError as error:
                idle = str(error)
            first.setdefault((idle, bool(value), str(value) if value in wanted else ""), value)
        return list(first.values())

    def _is_valid(self, point: Mapping[str, Value]) -> bool:
        try:
            self.recipe.with_values(point)
        except InputError:
            return False
        return True

    def _check_values(self, key: str, values: Range) -> None:
        if self.search.sampler == "grid" and not values.choice and values.points < 2:
            raise InputError(f"space: {key!r} has no points: a grid needs a list, or a range with points, e.g. 5.")
        for value in values.choice or values.ends:
            if self.is_whole(key) and isinstance(value, float):
                if value != round(value):
                    raise InputError(f"space: {key!r} reaches {value:g}: expected whole numbers.")
                value = round(value)
            if not values.choice and not self.is_whole(key):
                value = float(value)
            try:
                recipe = pin(self.recipe.with_values({**values.when, key: value}))
            except InputError as error:
                if any(point.get(key) == value and self._is_valid(point) for point in self._contexts(key)):
                    continue  # it needs other keys of the space
                raise InputError(f"space: {error}") from None
            if not recipe.data.validation:
                raise InputError(f"space: {key!r} is {value}: trials are compared by validation; start at, e.g., 1000.")


def _check_key(where: str, key: str) -> None:
    """Raises an `InputError` if a key is neither one of a recipe's nor an option of user code."""
    if key in Recipe.sections():
        raise InputError(f"{where}: {_section(key)}")
    if key not in Recipe.key_names() and ".options." not in key:
        meant = "; did you mean search.seeds, the seeds of each trial?" if nearest_key(key) == "train.seed" else ""
        raise InputError(f"{where}: recipe key {key!r} does not exist{meant or suggest_key(key)}")


def _in_full(where: str, table: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Returns a table of a sweep file by full key; TOML reads a key without quotes as a table in a table."""
    full: dict[str, Any] = {}
    for name, value in table.items():
        key = path + name
        is_path = key in Recipe.sections() or (key.endswith(".options") and key.count(".") == 1)
        if isinstance(value, dict) and isinstance(when := value.get("when"), dict):
            value = {**value, "when": _in_full(f"{where}: when of {key!r}", when)}
        inside = _in_full(where, value, f"{key}.") if is_path and isinstance(value, dict) else {key: value}
        if twice := set(full) & set(inside):
            raise InputError(f"{where}: {min(twice)!r} is there twice, with quotes and without; remove one.")
        full |= inside
    return full


def _section(name: str) -> str:
    """Returns the complaint about a section of a recipe in a sweep file."""
    key = f"{name}.{next(iter(Recipe.tables()[name].model_fields))}"
    return f'{name!r} is a section: expected its keys in [fixed] or [space], such as "{key}".'


def _locate(key: str, value: Value, folder: Path) -> Value:
    """Returns the value of a key; if it names a file of code, with the absolute path, given the folder of the sweep."""
    return locate(value, folder) if key.endswith(".kind") and isinstance(value, str) else value


def _located(key: str, within: Range, folder: Path) -> Range:
    choice = tuple(_locate(key, value, folder) for value in within.choice)
    return within.model_copy(
        update={"choice": choice, "when": {k: _locate(k, value, folder) for k, value in within.when.items()}}
    )


def _takes_int(annotation: Any) -> bool:
    """Whether a key's type is int, also `int | Literal["auto"]` with limits."""
    parts = get_args(annotation) if get_origin(annotation) in (Annotated, Union, UnionType) else ()
    return annotation is int or any(_takes_int(part) for part in parts)


def encode(value: Value) -> str | int | float | bool:
    """Returns a value as Optuna can hold it: lists as JSON."""
    return value if isinstance(value, str | int | float | bool) else json.dumps(value)


def _sentence(error: ValidationError) -> str:
    """Describes the first validation error in one line."""
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        *tables, name = map(str, first["loc"])
        for part in (name, *tables):
            if part in Recipe.sections():
                return _section(part)
        table: Any = {"search": Search, "space": Range}.get(tables[0] if tables else "", File)
        hint, meant = did_you_mean(name, table.model_fields), nearest_key(name)
        if meant and table is not Range and not hint.startswith("; did you mean"):
            hint = f'; did you mean "{meant}", in [fixed]?'
        return f"key {show(where)} does not exist{hint}"
    if first["type"] == "missing" and where == "space":
        return "there is no [space]: expected at least one recipe key to search."
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    given = f" is {show(first['input'])}" if first["type"] != "value_error" else ""
    return f"{where!r}{given}: {message}."
