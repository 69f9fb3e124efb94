"""Which trainings share a graph."""

from typing import Any

import pytest

from tfmnist.errors import InputError
from tfmnist.recipe import Recipe
from tfmnist.sweeps.packing import Job, choose_pack, pack_key, packs, shares
from tfmnist.sweeps.sweep_file import Search


def job(name: str, **keys: Any) -> Job:
    changes = {key.replace("__", "."): value for key, value in keys.items()}
    return Job(name, "", Recipe().replace(changes).model_dump(mode="json"))


@pytest.mark.parametrize(
    ("key", "value", "together"),
    [
        ("optimizer.learning_rate", 0.1, True),
        ("train.seed", 3, True),
        ("loss.l2", 0.1, False),
        ("optimizer.clip_norm", 0.1, False),
        ("optimizer.beta1", 0.1, True),
        ("schedule.warmup", 1.0, True),
        ("model.init_scale", 2.0, True),
        ("export.report", False, True),
        ("train.average", 0.5, False),
        ("model.dropout", 0.1, False),
        ("model.hidden", [8], False),
        ("optimizer.kind", "sgd", False),
        ("optimizer.nesterov", True, False),
        ("train.epochs", 7, False),
        ("train.batch_size", 7, False),
        ("data.per_class", 7, False),
        ("augment.shift", 1.0, False),
        ("schedule.kind", "cosine", False),
    ],
)
def test_numbers_may_differ_and_nothing_else(key: str, value: Any, together: bool) -> None:
    assert (pack_key(Recipe().replace({key: value})) == pack_key(Recipe())) is together


@pytest.mark.parametrize("keys", [{"train.patience": 2}, {"train.compile": "eager"}, {"model.freeze": ["dense_1"]}])
def test_some_train_alone(keys: dict[str, Any]) -> None:
    assert pack_key(Recipe().replace(keys)) is None and pack_key(Recipe.load("cnn")) is None


def test_jobs_are_grouped() -> None:
    alike = [job(str(n), optimizer__learning_rate=n) for n in (1, 2)]
    others = [job("small", model__hidden=[8]), job("early", train__patience=1), job("early too", train__patience=1)]
    found = [[member.name for member in pack] for pack in packs([others[0], alike[0], *others[1:], alike[1]], 16)]
    assert sorted(found) == [["1", "2"], ["early"], ["early too"], ["small"]]
    assert [len(share) for share in shares([*alike, *others], 2)] == [3, 2]
    assert [len(share) for share in shares(alike, 8)] == [1, 1]


def test_where_packing_is_chosen() -> None:
    small = Recipe().replace({"model.hidden": [10]})
    assert [choose_pack("auto", Recipe().replace({"model.hidden": [width]})) for width in (30, 64)] == [8, 1]
    assert choose_pack(8, Recipe(), Search()) == 8 and choose_pack(1, small) == 1
    assert choose_pack("auto", small, Search(sampler="random"), ["optimizer.learning_rate", "loss.l2"]) == 16
    assert choose_pack("auto", small, Search(sampler="random"), ["optimizer.learning_rate", "train.epochs"]) == 1
    for search in (Search(sampler="tpe"), Search(sampler="grid", pruner="median")):
        assert choose_pack("auto", small, search) == 1
    timed = Search(objective="accuracy and time", sampler="random")
    assert choose_pack("auto", small, timed) == choose_pack("auto", Recipe.load("cnn")) == 1
    with pytest.raises(InputError, match="time is compared train alone"):
        choose_pack(2, small, timed)
    with pytest.raises(InputError, match="pack is 0: expected 1 or more"):
        choose_pack(0, small)
