"""Folded networks compute what the networks do, whatever follows what; networks of your own are not folded."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import tfmnist
from tfmnist import nn
from tfmnist.artifacts import folded
from tfmnist.artifacts.folded import fold
from tfmnist.nn.ensemble import Ensemble
from tfmnist.nn.layers import Dropout, Layer, Pool

SHAPE = (9, 8)
PIXELS = np.random.default_rng(1).integers(0, 256, (7, *SHAPE)).astype(np.uint8)


def disturb(network: nn.Network) -> nn.Network:
    """Gives all variables values unlike the initial ones, scales of both signs."""
    random = np.random.default_rng(2)
    for name, variable in network.named_variables().items():
        value = variable.numpy()
        change = random.normal(0.0, 0.7, value.shape)
        variable.assign(np.exp(change) if name.endswith("variance") else value + change)
    return network


def in_order(layers: Sequence[Layer]) -> nn.Network:
    return nn.Network(SHAPE, 3, "own", layers)


GREY = (*SHAPE, 1)
NETWORKS: dict[str, Any] = {
    "mlp": lambda: tfmnist.MLP(SHAPE, [6, 5], 3),
    "no hidden layer": lambda: tfmnist.MLP(SHAPE, [], 3),
    "no biases": lambda: tfmnist.MLP(SHAPE, [6], 3, bias=False, activation="gelu"),
    "mlp with batch norm": lambda: tfmnist.MLP(SHAPE, [6], 3, batch_norm=True, dropout=0.5, activation="sigmoid"),
    "cnn": lambda: tfmnist.CNN(SHAPE, ["conv 4 3x3", "max 2", "conv 5 3x3 /2 valid", "global max", "dense 6"], 3),
    "cnn without batch norm": lambda: tfmnist.CNN(SHAPE, ["conv 4 3x3", "average 2", "dense 6"], 3, batch_norm=False),
    "pixels activated first": lambda: in_order(
        [nn.Flatten(SHAPE), nn.Activation((72,), "sigmoid"), nn.Dense(72, 3, name="logits")]
    ),
    "batch norm first": lambda: in_order([nn.Flatten(SHAPE), nn.BatchNorm((72,)), nn.Dense(72, 3, name="logits")]),
    "batch norm twice, and last": lambda: in_order(
        [
            nn.AddChannel(SHAPE),
            Pool(GREY, 2),
            nn.Conv2D((4, 4, 1), 2, (3, 3), name="conv"),
            nn.BatchNorm((4, 4, 2), name="first"),
            nn.BatchNorm((4, 4, 2), name="second"),
            nn.GlobalPool((4, 4, 2)),
            Dropout((2,), 0.5),
            nn.Dense(2, 3, name="logits"),
            nn.BatchNorm((3,), name="third"),
        ]
    ),
    "batch norm after pooling": lambda: in_order(
        [
            nn.AddChannel(SHAPE),
            nn.Conv2D(GREY, 2, (3, 3), padding="VALID", stride=2, name="conv"),
            Pool((4, 3, 2), 2),
            nn.BatchNorm((2, 1, 2)),
            nn.Flatten((2, 1, 2)),
            nn.Dense(4, 3, name="logits"),
        ]
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_it_computes_what_the_network_does(name: str) -> None:
    network = disturb(NETWORKS[name]())
    forward = fold(network)
    assert forward
    expected = network.logits(PIXELS).numpy()
    assert np.ptp(expected) > 0.01
    atol = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(forward(tf.constant(PIXELS, tf.float32)), expected, rtol=1e-4, atol=atol)


def test_an_ensemble_is_folded_if_all_its_members_are() -> None:
    members = [disturb(NETWORKS[name]()) for name in ("mlp", "cnn", "batch norm first")]
    double = Ensemble(members, [lambda logits: logits, lambda logits: logits / 2, lambda logits: logits])
    forward = fold(double)
    assert forward
    np.testing.assert_allclose(
        forward(tf.constant(PIXELS, tf.float32)), double.logits(PIXELS).numpy(), rtol=1e-4, atol=1e-4
    )
    assert fold(Ensemble([members[0], Backwards(SHAPE, [6], 3)], [tf.identity, tf.identity])) is None


def test_what_it_computes_stays_when_the_variables_change() -> None:
    network = NETWORKS["mlp"]()
    forward, expected = fold(network), network.logits(PIXELS).numpy()
    disturb(network)
    assert forward
    np.testing.assert_allclose(forward(tf.constant(PIXELS, tf.float32)), expected, rtol=1e-4, atol=1e-5)


class Doubled(nn.Dense):
    def forward(self, x: tf.Tensor, training: bool, step: tf.Tensor | None) -> tf.Tensor:
        return 2.0 * super().forward(x, training, step)


class Backwards(tfmnist.MLP):
    def forward(self, images: tf.Tensor, training: bool = False, step: tf.Tensor | None = None) -> tf.Tensor:
        return super().forward(images[:, ::-1], training, step)


def test_networks_of_your_own_are_not_folded() -> None:
    assert fold(in_order([nn.Flatten(SHAPE), Doubled(72, 3, name="logits")])) is None
    assert fold(Backwards(SHAPE, [6], 3)) is None


def test_what_a_graph_cannot_hold_is_not_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folded, "_LARGEST", 4 * (72 * 3 + 3) - 1)
    assert fold(tfmnist.MLP(SHAPE, [], 3)) is None
