"""Variables and modules at any depth: found once each, named by path, and never two of one name."""

from abc import ABC
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfmnist
from tfmnist import nn
from tfmnist.errors import InputError
from tfmnist.nn.modules import named_variables, walk


class Pair(nn.Layer):
    """Two dense layers, as a block of a network holds them."""

    def __init__(self, units: int, *, seed: int = 0, name: str, inner: tuple[str, str] = ("one", "two")) -> None:
        super().__init__(name, (units,))
        self.first = nn.Dense(units, units, seed=seed, name=inner[0])
        self.second = nn.Dense(units, units, seed=seed, name=inner[1])
        self.drop = nn.Dropout((units,), 0.5, seed=seed, name="drop")

    def forward(self, x: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
        return self.drop.forward(
            self.second.forward(self.first.forward(x, training, step), training, step), training, step
        )


class Blocks(nn.Network):
    def __init__(self, *blocks: nn.Layer, seed: int = 0) -> None:
        super().__init__((2, 2), 2, "blocks")
        self.layers = [nn.Flatten((2, 2)), *blocks, nn.Dense(4, 2, seed=seed, name="logits")]


class TwoBlocks(Blocks):
    def __init__(self) -> None:
        super().__init__(Pair(4, name="block_1"), Pair(4, name="block_2"))


def values(model: nn.Network) -> dict[str, Any]:
    return {name: variable.numpy() for name, variable in model.named_variables().items()}


def test_variables_are_named_by_the_path_of_the_layers() -> None:
    names = [f"{block}/{dense}/{v}" for block in ("block_1", "block_2") for dense in ("one", "two") for v in _BOTH]
    model = TwoBlocks()
    assert list(model.named_variables()) == [*names, "logits/kernel", "logits/bias"]
    assert {id(v) for v in model.named_variables().values()} == {id(v) for v in model.variables}
    assert model.parameters == list(model.named_variables().values())
    assert model.parameter_count == 4 * 20 + 10


_BOTH = ("kernel", "bias")


def test_equal_layers_in_two_blocks_neither_start_equal_nor_drop_the_same_units() -> None:
    model = TwoBlocks()
    weights = values(model)
    assert not np.array_equal(weights["block_1/one/kernel"], weights["block_2/one/kernel"])
    assert not np.array_equal(weights["block_1/one/kernel"], weights["block_1/two/kernel"])
    drops = [block.drop for block in model.layers[1:3] if isinstance(block, Pair)]
    one, other = (drop.forward(tf.ones([1, 4000]), True, tf.constant(3, tf.int64)).numpy() for drop in drops)
    assert not np.array_equal(one, other)
    again = values(TwoBlocks())
    assert all(np.array_equal(weights[name], again[name]) for name in weights)


def test_equal_layers_that_were_made_outside_of_their_blocks_are_refused() -> None:
    class Holder(nn.Layer):
        def __init__(self, inner: nn.Layer, name: str) -> None:
            super().__init__(name, inner.output_shape)
            self.inner = inner

    def holders(**second: Any) -> Blocks:
        return Blocks(Holder(nn.Dense(4, 4), "a"), Holder(nn.Dense(4, 4, **second), "b"))

    with pytest.raises(
        InputError, match=r"layers a/dense and b/dense draw the same random numbers.*different names or seeds"
    ):
        holders()
    assert len(holders(seed=1).parameters) == len(holders(name="other").parameters) == 6


def test_two_layers_of_one_name_are_refused_when_the_network_is_built() -> None:
    with pytest.raises(
        InputError, match=r"two layers or variables are named 'dense' \(at layers/1 and layers/2\).*rename one"
    ):
        Blocks(nn.Dense(4, 4), nn.Dense(4, 4, seed=1))
    with pytest.raises(InputError, match=r"named 'block/same' \(at layers/1.first and layers/1.second\)"):
        Blocks(Pair(4, name="block", inner=("same", "same")))


def test_a_layer_that_is_used_twice_is_one() -> None:
    dense = nn.Dense(4, 4, name="shared")
    model = Blocks(dense, dense)
    assert list(model.named_variables()) == ["shared/kernel", "shared/bias", "logits/kernel", "logits/bias"]


def test_plain_modules_are_named_by_their_attributes() -> None:
    class Branch(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = tf.Variable(tf.ones([1]))

    class Both(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branches = [Branch(), Branch()]
            self.by_name = {"left": Branch()}
            self.dense = nn.Dense(1, 1, name="named")
            self.pair = (tf.Variable(tf.ones([])), tf.Variable(tf.zeros([]), trainable=False))

    module = Both()
    assert list(named_variables(module)) == [
        "branches/0/weight",
        "branches/1/weight",
        "by_name/left/weight",
        "named/kernel",
        "named/bias",
        "pair/0",
        "pair/1",
    ]
    assert {id(v) for v in named_variables(module).values()} == {id(v) for v in module.variables}


def test_a_block_is_frozen_with_all_inside() -> None:
    model = TwoBlocks()
    model.freeze(["block_1", "block_2/two"])
    assert list(model.named_parameters()) == [f"{name}/{v}" for name in ("block_2/one", "logits") for v in _BOTH]
    assert model.frozen_layers == ["block_1/one", "block_1/two", "block_2/two"]
    frozen = [path for path, item, is_frozen in walk(model) if isinstance(item, nn.Layer) and is_frozen]
    assert frozen == ["block_1", "block_1/one", "block_1/two", "block_1/drop", "block_2/two"]
    assert model.parameter_count == TwoBlocks().parameter_count


def test_the_summary_counts_what_is_inside() -> None:
    lines = TwoBlocks().summary().splitlines()
    assert [line.split()[-1] for line in lines if line.startswith(("block", "logits", "total"))] == [
        "40",
        "40",
        "10",
        "90",
    ]


@pytest.mark.parametrize("name", ["", "1st", "a b", "a/b"])
def test_a_name_that_would_spoil_a_path_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="expected letters, digits and underscores"):
        nn.Dense(1, 1, name=name)


def test_what_a_constructor_raises_leaves_no_path_behind() -> None:
    class Broken(nn.Layer):
        def __init__(self) -> None:
            super().__init__("broken", (1,))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        Broken()
    assert nn.Dense(1, 1).path == "dense"
    assert tfmnist.MLP(hidden=[4]).layers[1].path == "dense_1"


class Normed(tf.Module):
    """A plain module, no layer, around layers."""

    def __init__(self) -> None:
        super().__init__()
        self.dense, self.norm = nn.Dense(4, 4), nn.BatchNorm((4,))

    def forward(self, x: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
        return self.norm.forward(self.dense.forward(x, training, step), training, step)


class Frozen(nn.Layer):
    """A layer that is frozen before those inside are made."""

    def __init__(self) -> None:
        super().__init__("frozen", (4,))
        self.frozen = True
        self.inner = Normed()

    def forward(self, x: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
        return self.inner.forward(x, training, step)


class Around(nn.Network):
    def __init__(self, inner: Any) -> None:
        super().__init__((2, 2), 2, "around")
        self.flatten, self.inner, self.head = nn.Flatten((2, 2)), inner, nn.Dense(4, 2, name="head")

    def forward(self, images: tf.Tensor, training: bool = False, step: tf.Tensor | None = None) -> tf.Tensor:
        x = self.flatten.forward(images, training, step)
        return self.head.forward(self.inner.forward(x, training, step), training, step)


@pytest.mark.parametrize("kind", ["module", "layer"])
def test_batch_statistics_inside_of_what_is_frozen_stay(kind: str) -> None:
    model = Around(Normed() if kind == "module" else Frozen())
    if kind == "module":
        model.freeze(["inner"])
    before = values(model)
    images = np.random.default_rng(0).integers(0, 256, (30, 2, 2), np.uint8)
    tfmnist.fit(model, (images, np.arange(30) % 2), epochs=1, batch_size=10, compile="graph", progress=False)
    changed = {name for name, value in values(model).items() if not np.array_equal(value, before[name])}
    assert changed == {"head/kernel", "head/bias"}


def test_what_a_network_inside_has_frozen_stays_frozen_and_a_layer_can_be_released() -> None:
    class Raw(nn.Network):
        def __init__(self) -> None:
            super().__init__((2, 2), 4, "raw")
            self.scale, self.shift = tf.Variable(tf.ones([4])), tf.Variable(tf.zeros([4]))

        def forward(self, images: tf.Tensor, training: bool = False, step: tf.Tensor | None = None) -> tf.Tensor:
            return images * self.scale + self.shift

    inner = Raw()
    inner.freeze(["scale"])
    assert list(Around(inner).named_parameters()) == ["inner/shift", "head/kernel", "head/bias"]
    model = tfmnist.MLP((2, 2), [3], 2)
    model.freeze(["dense_1"])
    model.layers[1].frozen = False
    assert len(model.parameters) == 4


def test_an_attribute_named_key_says_nothing_about_random_numbers() -> None:
    class Attention(nn.Layer):
        def __init__(self, name: str) -> None:
            super().__init__(name, (4,))
            self.key = 4
            self.dense = nn.Dense(4, 4)

    Blocks(Attention("one"), Attention("two"))


def test_constructors_that_forget_the_base_are_named_and_bases_may_be_abstract() -> None:
    class Orphan(nn.Layer):
        def __init__(self) -> None:
            pass

    class OrphanNet(nn.Network):
        def __init__(self) -> None:
            self.layers = []

    class Abstract(nn.Layer, ABC):
        pass

    with pytest.raises(InputError, match=r"Orphan: its constructor must call super\(\).__init__\(name, output_shape\)"):
        Orphan()
    with pytest.raises(InputError, match=r"OrphanNet: its constructor must call super\(\).__init__\(image_shape"):
        OrphanNet()
    assert Abstract("one", (4,)).path == "one"
